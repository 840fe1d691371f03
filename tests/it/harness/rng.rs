//! Random numbers from a seed that is printed, so that a failure can be repeated.

use arbiter_testkit::SplitMix64;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The variable that gives a seed instead of a new one.
const SEED: &str = "ARBITER_IT_SEED";

/// A generator that says how to repeat it.
pub struct SeededRng(SplitMix64);

impl SeededRng {
    /// Dice with a new seed, or that of the variable; says which.
    pub fn from_env_or_random() -> Self {
        let chosen = std::env::var(SEED).ok().map(|text| text.parse().unwrap());
        let seed = chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("to repeat: {SEED}={seed}");
        Self(SplitMix64::new(seed))
    }

    /// Other dice that depend on these.
    pub fn fork(&mut self) -> Self {
        Self(SplitMix64::new(self.0.next_u64()))
    }

    /// A number from 0 to `sides - 1`.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0.next_u64() % sides
    }
}
