//! One attempt of a call: through the gate of one provider, by its breaker's leave, with its key.

use crate::call::CallContext;
use crate::call::execute::{CallCandidate, CallPlan, ProviderCall};
use crate::call::failover::BreakerPermit;
use crate::call::ledger_entry::LedgerEntry;
use crate::call::rate_limiter::{CallPermit, Limited, WaitBudget};
use crate::error::Error;
use crate::provider::authorized_client::AuthorizedClient;
use crate::provider::call_failure::{CallFailure, error_kind};
use arbiter_core::kernel::call::CallOutcome;
use arbiter_core::provider::rate_limit::LimitSignal;
use arbiter_core::provider::retry::Failover;
use arbiter_providers::{CallError, CallErrorKind, Client};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

/// Result of an attempt, with its open reservations.
pub(crate) struct Response<T> {
    pub(crate) response: T,
    pub(crate) breaker_permit: BreakerPermit,
    pub(crate) permit: CallPermit,
    pub(crate) is_keyed: bool,
    /// Completes when the vault of the key is locked.
    pub(crate) lock: BoxFuture<'static, ()>,
}

/// Reason for a failed attempt.
pub(crate) enum AttemptError {
    Failed(CallError),
    /// The provider was not called: its limits leave no room for the call now.
    LimitReached(CallError),
    Error(Error),
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// One attempt.
pub(crate) struct CallAttempt<'a, E> {
    pub(crate) shared: &'a Arc<CallContext>,
    pub(crate) plan: &'a CallPlan<'a>,
    pub(crate) provider_call: &'a E,
    pub(crate) candidate: &'a CallCandidate,
    /// The model to ask for; none: the provider's own.
    pub(crate) named: Option<&'a str>,
    pub(crate) failover: Failover,
}

impl<E: ProviderCall> CallAttempt<'_, E> {
    /// Asks once, within the time that is left of the whole call; `turn` of it may be spent on waiting for a turn.
    pub(crate) async fn make(
        &self,
        entry: &mut LedgerEntry,
        left: Duration,
        turn: Duration,
    ) -> Result<Response<E::Response>, AttemptError> {
        let (shared, id, holder) = (self.shared, &self.candidate.provider.id, self.plan.holder);
        let authorized_client = shared.providers.authorized_client(id, holder.to_owned()).await?;
        let model = self.model(&authorized_client).await?;
        let mut permit = self.acquire_permit(&authorized_client, WaitBudget { permit: left, turn }).await?;
        let breaker_permit = BreakerPermit::of(shared, id);
        // An open breaker skips a provider with substitutes; one without them is called nevertheless.
        if breaker_permit.is_refused() && self.plan.candidates.len() > 1 {
            return Err(AttemptError::Failed(CallError::circuit_open()));
        }
        entry.record_attempt(&authorized_client, &model);
        permit.mark_used();
        let lock = Box::pin(shared.open_vault.next_lock());
        let provider_call = self.provider_call;
        let call = authorized_client.with_key(
            &shared.providers.0,
            holder,
            async |client: &Client, key: Option<&SecretString>| {
                provider_call.run(&authorized_client.provider, client, key, &model).await
            },
        );
        let outcome = match tokio::time::timeout(left, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::timed_out(shared.settings.call_deadline).into()),
        };
        match outcome {
            Ok((response, is_keyed)) => {
                if is_keyed {
                    entry.record_key_use();
                }
                permit.record_hints(&E::hints(&response), LimitSignal::Served);
                Ok(Response { response, breaker_permit, permit, is_keyed, lock })
            }
            Err(CallFailure::Call(error)) => {
                let signal = match error.kind() {
                    CallErrorKind::RateLimited { .. } => LimitSignal::TooMany,
                    _ => LimitSignal::Served,
                };
                permit.record_hints(error.rate_hints(), signal);
                permit.settle(0);
                breaker_permit.end(failed(&error));
                Err(AttemptError::Failed(error))
            }
            Err(CallFailure::Error(error)) => Err(AttemptError::Error(error)),
        }
    }

    /// Acquires a permit; waits for one only if there is no other candidate.
    async fn acquire_permit(
        &self,
        authorized_client: &AuthorizedClient,
        wait_budget: WaitBudget,
    ) -> Result<CallPermit, AttemptError> {
        let (shared, tokens) = (self.shared, self.provider_call.estimate().tokens());
        let entered = match self.failover {
            Failover::Available => CallPermit::try_acquire(shared, &authorized_client.provider, tokens),
            Failover::None => {
                CallPermit::acquire(shared, &authorized_client.provider, tokens, wait_budget).await
            }
        };
        entered.map_err(|limited| {
            AttemptError::LimitReached(match limited {
                Limited::Full => CallError::limit_reached(None),
                Limited::TooFast(pause) => CallError::limit_reached(Some(pause)),
            })
        })
    }

    /// The model to ask for. A provider that was changed just now is asked first what it offers.
    async fn model(&self, authorized_client: &AuthorizedClient) -> Result<String, Error> {
        if let Some(model) = self.named.or(authorized_client.provider.model()) {
            return Ok(model.to_owned());
        }
        let after = self.shared.heartbeats.heartbeat(&authorized_client.provider.id).await?;
        let none = || Error::Provider(format!("provider {} offers no model", authorized_client.provider.id));
        Ok(after.model().ok_or_else(none)?.to_owned())
    }
}

/// Converts a failed call to its outcome for the provider.
pub(crate) fn failed(error: &CallError) -> CallOutcome {
    CallOutcome::Failed { kind: error_kind(error), error: error.to_string() }
}
