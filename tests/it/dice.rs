//! Numbers from a seed that is printed, so that a failure can be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The variable that gives a seed instead of a new one.
const SEED: &str = "ARBITER_IT_SEED";

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    /// Dice with a new seed, or that of the variable; says which.
    pub fn thrown() -> Self {
        let chosen = std::env::var(SEED).ok().map(|text| text.parse().unwrap());
        let seed = chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("to repeat: {SEED}={seed}");
        Self(seed)
    }

    /// Other dice that depend on these.
    pub fn other(&mut self) -> Self {
        Self(self.next())
    }

    /// A number from 0 to `sides - 1`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
