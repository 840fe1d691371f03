//! One attempt of a call: through the gate of one provider, by its breaker's leave, with its key.

use crate::call::execute::{Candidate, Errand, Order};
use crate::call::failover::Leave;
use crate::call::ledger_entry::Account;
use crate::call::rate_limiter::{Closed, Patience, Place};
use crate::context::Shared;
use crate::error::Fault;
use crate::provider::ProvidersHandle;
use crate::provider::authorized_client::{CallFailure, Link};
use crate::provider::heartbeat::HeartbeatsHandle;
use arbiter_core::kernel::call::{CallOutcome, ErrorKind};
use arbiter_core::provider::rate_limit::Heard;
use arbiter_core::provider::retry::Others;
use arbiter_providers::{CallError, CallErrorKind, Client};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

/// What an attempt gave, and what remains to be ended with it.
pub(crate) struct Given<T> {
    /// What it gave.
    pub(crate) given: T,
    /// What its provider is told of its end.
    pub(crate) leave: Leave,
    /// Its place among the calls of its provider.
    pub(crate) place: Place,
    /// Whether a key went along.
    pub(crate) is_keyed: bool,
    /// Ends when the vault its key came from was locked.
    pub(crate) lock: BoxFuture<'static, ()>,
}

/// Why an attempt gave nothing.
pub(crate) enum Missed {
    /// The provider was asked and failed, or is given a rest.
    Failed(CallError),
    /// It was not asked: its limits leave no room for the call now.
    NoRoom(CallError),
    /// It was not asked for a reason of ours.
    Fault(Fault),
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One attempt.
pub(crate) struct Attempt<'a, E> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) order: &'a Order<'a>,
    pub(crate) errand: &'a E,
    pub(crate) candidate: &'a Candidate,
    /// The model to ask for; none: the provider's own.
    pub(crate) named: Option<&'a str>,
    /// Whether another provider can be asked instead.
    pub(crate) others: Others,
}

impl<E: Errand> Attempt<'_, E> {
    /// Asks once, within the time that is left of the whole call; `turn` of it may be spent on waiting for a turn.
    pub(crate) async fn make(
        &self,
        account: &mut Account,
        left: Duration,
        turn: Duration,
    ) -> Result<Given<E::Given>, Missed> {
        let (shared, id, holder) = (self.shared, &self.candidate.provider.id, self.order.holder);
        let link = ProvidersHandle(Arc::clone(shared)).link(id, holder.to_owned()).await?;
        let model = self.model(&link).await?;
        let mut place = self.enter(&link, Patience { place: left, turn }).await?;
        let leave = Leave::of(shared, id);
        // An open breaker spares a provider with substitutes; one without them is asked all the same.
        if leave.is_refused() && self.order.candidates.len() > 1 {
            return Err(Missed::Failed(CallError::resting()));
        }
        account.asks(&link, &model);
        place.make();
        let lock = Box::pin(shared.vault_place.next_lock());
        let errand = self.errand;
        let lent = link.lend(shared, holder, async |client: &Client, key: Option<&SecretString>| {
            errand.run(&link.provider, client, key, &model).await
        });
        let outcome = match tokio::time::timeout(left, lent).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::late(shared.settings.call_deadline).into()),
        };
        match outcome {
            Ok((given, is_keyed)) => {
                if is_keyed {
                    account.used_key();
                }
                place.hear(&E::hints(&given), Heard::Served);
                Ok(Given { given, leave, place, is_keyed, lock })
            }
            Err(CallFailure::Call(error)) => {
                let heard = match error.kind() {
                    CallErrorKind::RateLimited { .. } => Heard::TooMany,
                    _ => Heard::Served,
                };
                place.hear(error.rate_hints(), heard);
                place.settle(0);
                leave.end(failed(&error));
                Err(Missed::Failed(error))
            }
            Err(CallFailure::Fault(fault)) => Err(Missed::Fault(fault)),
        }
    }

    /// Waits for a place only where nobody else can be asked.
    async fn enter(&self, link: &Link, patience: Patience) -> Result<Place, Missed> {
        let (shared, tokens) = (self.shared, self.errand.size().tokens());
        let entered = match self.others {
            Others::Left => Place::at_once(shared, &link.provider, tokens),
            Others::None => Place::in_time(shared, &link.provider, tokens, patience).await,
        };
        entered.map_err(|closed| {
            Missed::NoRoom(match closed {
                Closed::Full => CallError::no_room(None),
                Closed::TooFast(pause) => CallError::no_room(Some(pause)),
            })
        })
    }

    /// The model to ask for. A provider that was changed just now is asked first what it offers.
    async fn model(&self, link: &Link) -> Result<String, Fault> {
        if let Some(model) = self.named.or(link.provider.model()) {
            return Ok(model.to_owned());
        }
        let after = HeartbeatsHandle(Arc::clone(self.shared)).beat(&link.provider.id).await?;
        let none = || Fault::Provider(format!("provider {} offers no model", link.provider.id));
        Ok(after.model().ok_or_else(none)?.to_owned())
    }
}

/// How a failed call is told to its provider.
pub(crate) fn failed(error: &CallError) -> CallOutcome {
    CallOutcome::Failed { kind: kind_of(error), error: error.to_string() }
}

/// The kind of an error in the words of the ledger.
pub(crate) fn kind_of(error: &CallError) -> ErrorKind {
    match error.kind() {
        CallErrorKind::Auth => ErrorKind::Auth,
        CallErrorKind::NotFound { .. } => ErrorKind::NotFound,
        CallErrorKind::RateLimited { .. } => ErrorKind::RateLimited,
        CallErrorKind::ContextTooLong => ErrorKind::ContextTooLong,
        CallErrorKind::Refused | CallErrorKind::Unsupported { .. } => ErrorKind::Refused,
        CallErrorKind::Overloaded => ErrorKind::Overloaded,
        CallErrorKind::Broken => ErrorKind::Broken,
        CallErrorKind::TimedOut => ErrorKind::TimedOut,
        CallErrorKind::Unreachable => ErrorKind::Unreachable,
        CallErrorKind::Cancelled => ErrorKind::Cancelled,
        CallErrorKind::TooLarge => ErrorKind::TooLarge,
        CallErrorKind::Lost => ErrorKind::Lost,
    }
}
