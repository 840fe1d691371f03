//! Read, decide, commit; and again when a row was changed meanwhile.

use crate::caller::Caller;
use crate::error::Error;
use arbiter_core::kernel::record::Record;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::StoreError;

/// Attempts after concurrent changes before the caller gets a busy error.
pub(crate) const MAX_TRIES: u32 = 8;

/// Runs an attempt until it was not stale.
pub(crate) async fn retry_on_conflict<T>(attempt: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..MAX_TRIES {
        match attempt().await {
            Err(Error::Store(StoreError::Stale { .. })) => {}
            outcome => return outcome,
        }
    }
    Err(Error::Busy("the entity".to_owned()))
}

/// Returns whether an attempt has to be made again, for code outside actors that tries at most [`MAX_TRIES`] times.
pub(crate) fn is_stale<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Store(StoreError::Stale { .. })))
}

/// Refuses a caller that has seen another revision than the stored one.
pub(crate) fn check_revision<R: Record>(caller: &Caller, record: &R) -> Result<(), Refusal> {
    match caller.if_match {
        Some(seen) if seen != record.revision() => Err(Refusal::Precondition {
            entity: R::ENTITY,
            id: record.id().to_owned(),
            revision: record.revision(),
        }),
        _ => Ok(()),
    }
}
