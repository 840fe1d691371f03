//! The pace of wrong passwords, wherever one is asked for.

use crate::error::{Error, VaultAccessError};
use arbiter_core::kernel::backoff::Backoff;
use arbiter_core::kernel::time::Timestamp;
use std::time::Duration;

/// Wrong passwords that cost nothing but their own time.
const FREE_TRIES: u32 = 3;
/// The waits after further wrong passwords.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Consecutive wrong passwords, and the time of the next permitted attempt.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    wrong: u32,
    not_before: Option<Timestamp>,
}

impl Throttle {
    /// Returns whether a password may be tried now.
    pub(crate) fn admit(&self, now: Timestamp) -> Result<(), Error> {
        match self.not_before.filter(|until| *until > now) {
            Some(until) => {
                let retry_after_sec = until.since(now).as_secs() + 1;
                Err(VaultAccessError::Throttled { retry_after_sec }.into())
            }
            None => Ok(()),
        }
    }

    /// Takes note of how the vault's password fared; other failures say nothing about it.
    pub(crate) fn record_attempt<T>(
        &mut self,
        outcome: Result<T, Error>,
        now: Timestamp,
    ) -> Result<T, Error> {
        if outcome.is_ok() {
            *self = Self::default();
        }
        self.record_foreign_attempt(outcome, now)
    }

    /// Records an attempt at another file's password. A right one proves nothing: any client can create a file
    /// with a known password.
    pub(crate) fn record_foreign_attempt<T>(
        &mut self,
        outcome: Result<T, Error>,
        now: Timestamp,
    ) -> Result<T, Error> {
        if let Err(Error::Vault(VaultAccessError::WrongPassword)) = &outcome {
            self.wrong += 1;
            let paid = (self.wrong + 1).saturating_sub(FREE_TRIES);
            self.not_before = (paid > 0).then(|| now.plus(BACKOFF.delay(paid)));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(throttle: &Throttle, now: Timestamp) -> u64 {
        match throttle.admit(now) {
            Err(Error::Vault(VaultAccessError::Throttled { retry_after_sec })) => retry_after_sec,
            _ => 0,
        }
    }

    #[test]
    fn throttle_doubles_from_third_wrong_password_until_a_right_one() {
        let (mut throttle, now) = (Throttle::default(), Timestamp::from_millis(1_000));
        let mut waits = vec![];
        for _ in 0..12 {
            let wrong: Result<(), Error> = Err(VaultAccessError::WrongPassword.into());
            assert!(throttle.record_attempt(wrong, now).is_err());
            waits.push(wait(&throttle, now));
        }
        assert_eq!(waits, [0, 0, 2, 3, 5, 9, 17, 33, 61, 61, 61, 61]);
        assert_eq!(wait(&throttle, now.plus(BACKOFF.max)), 0);
        assert!(throttle.record_attempt::<()>(Err(VaultAccessError::Locked.into()), now).is_err());
        assert_eq!(wait(&throttle, now), 61);
        assert!(throttle.record_foreign_attempt(Ok(()), now).is_ok());
        assert_eq!(wait(&throttle, now), 61, "a file of one's own is no proof");
        assert!(throttle.record_attempt(Ok(()), now).is_ok());
        assert_eq!(wait(&throttle, now), 0);
    }
}
