//! How much a key derivation costs, as a type that cannot hold a bad answer.
//!
//! Owns the limits of the format. Must not know what is derived.

use crate::VaultError;

/// Rounds of PBKDF2-HMAC-SHA256, always between [`Iterations::MIN`] and [`Iterations::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iterations(u32);

impl Iterations {
    /// 100,000: what the v1 format has always meant, and the least accepted from a file.
    pub const MIN: Self = Self(100_000);
    /// 600,000: what is written unless configured otherwise (OWASP Password Storage, 2023).
    pub const DEFAULT: Self = Self(600_000);
    /// 10,000,000: a file may not hang us; about 2.5 s on a slow core.
    pub const MAX: Self = Self(10_000_000);

    /// The count of rounds.
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
