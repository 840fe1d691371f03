//! Cost of a key derivation, as a type that holds only valid values.
//!
//! Owns the limits of the format.

use crate::VaultError;

/// Rounds of PBKDF2-HMAC-SHA256, from [`Iterations::MIN`] to [`Iterations::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iterations(u32);

impl Iterations {
    /// Lower limit, 100,000: the fixed count of the v1 format.
    pub const MIN: Self = Self(100_000);
    /// Default, 600,000 (OWASP Password Storage, 2023).
    pub const DEFAULT: Self = Self(600_000);
    /// Upper limit, 10,000,000: about 2.5 s on a slow core, so that a file cannot block the process.
    pub const MAX: Self = Self(10_000_000);

    /// Returns the number of rounds.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Iterations {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u32> for Iterations {
    type Error = VaultError;

    fn try_from(rounds: u32) -> Result<Self, VaultError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&rounds) {
            Ok(Self(rounds))
        } else {
            Err(VaultError::Iterations(rounds))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn iterations_outside_the_range_are_refused() {
        for bad in [0, 99_999, 10_000_001, u32::MAX] {
            assert!(matches!(Iterations::try_from(bad), Err(VaultError::Iterations(n)) if n == bad));
        }
        assert_eq!(Iterations::try_from(100_000).unwrap(), Iterations::MIN);
        assert_eq!(Iterations::try_from(10_000_000).unwrap(), Iterations::MAX);
        assert_eq!(Iterations::default().get(), 600_000);
    }
}
