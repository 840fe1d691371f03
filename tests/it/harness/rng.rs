//! Numbers from a seed that is printed, so that a failure can be repeated.

use arbiter_testkit::Draw;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The variable that gives a seed instead of a new one.
const SEED: &str = "ARBITER_IT_SEED";

/// A generator that says how to repeat it.
pub struct Dice(Draw);

impl Dice {
    /// Dice with a new seed, or that of the variable; says which.
    pub fn thrown() -> Self {
        let chosen = std::env::var(SEED).ok().map(|text| text.parse().unwrap());
        let seed = chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("to repeat: {SEED}={seed}");
        Self(Draw::new(seed))
    }

    /// Other dice that depend on these.
    pub fn other(&mut self) -> Self {
        Self(Draw::new(self.0.number()))
    }

    /// A number from 0 to `sides - 1`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0.number() % sides
    }
}
