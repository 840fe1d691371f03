//! The one loop in which a call is made: who is asked, in which order, after which pause, for how long.
//!
//! `core::retry` decides what follows a failure; this module carries it out. Nothing below it tries anything again, and
//! nothing above it.

use crate::call::CallContext;
use crate::call::attempt::{AttemptError, CallAttempt, Response};
use crate::call::estimate::CallEstimate;
use crate::call::in_flight::InFlightGuard;
use crate::call::ledger_entry::{Attribution, LedgerEntry};
use crate::error::Error;
use crate::provider::call_failure::{CallFailure, error_kind};
use crate::runtime::random;
use arbiter_core::budget::BudgetScope;
use arbiter_core::kernel::ids::CallId;
use arbiter_core::provider::Provider;
use arbiter_core::provider::retry::{
    AttemptFailure, BreakerState, Failover, ModelState, Progress, RetryDecision,
};
use arbiter_providers::{CallError, Client, RateHints};
use secrecy::SecretString;
use std::sync::Arc;

/// A call to a provider.
pub(crate) trait ProviderCall: Send + Sync {
    /// Response of the call.
    type Response: Send;

    /// Asks once.
    fn run(
        &self,
        provider: &Provider,
        client: &Client,
        key: Option<&SecretString>,
        model: &str,
    ) -> impl Future<Output = Result<Self::Response, CallError>> + Send;

    /// Returns the provider's rate-limit hints in the response.
    fn hints(response: &Self::Response) -> RateHints;

    /// Returns the estimate of the call.
    fn estimate(&self) -> CallEstimate;

    /// Returns the number of characters already delivered to the caller.
    fn delivered_chars(&self) -> u64 {
        0
    }
}

/// Provider that may serve a call.
#[derive(Clone, Debug)]
pub(crate) struct CallCandidate {
    pub(crate) provider: Provider,
    /// The model that the caller named; none: the provider's own.
    pub(crate) model: Option<String>,
}

/// A call that is wanted.
pub(crate) struct CallPlan<'a> {
    pub(crate) holder: &'a str,
    /// Attribution of the call.
    pub(crate) attribution: Attribution,
    pub(crate) candidates: Vec<CallCandidate>,
    pub(crate) in_flight_guard: Option<InFlightGuard>,
}

/// A call that was served, and what remains to be ended with it.
pub(crate) struct ServedCall<T> {
    pub(crate) response: Response<T>,
    pub(crate) entry: LedgerEntry,
}

/// State of a call's retries.
struct RetryState {
    index: usize,
    /// From 1.
    round: u32,
    model: ModelState,
    renegotiated_model: Option<String>,
}

impl RetryState {
    fn next_candidate(&mut self) {
        (self.index, self.model, self.renegotiated_model) = (self.index + 1, ModelState::Open, None);
    }

    fn next_round(&mut self) {
        *self = Self { index: 0, round: self.round + 1, model: ModelState::Open, renegotiated_model: None };
    }
}

/// Makes a call. A caller that goes away ends it.
///
/// # Errors
/// [`CallFailure::Call`] with the last provider's error; [`CallFailure::Error`] when none could be asked.
pub(crate) async fn execute<E: ProviderCall>(
    shared: &Arc<CallContext>,
    mut plan: CallPlan<'_>,
    provider_call: &E,
) -> Result<ServedCall<E::Response>, CallFailure> {
    let estimate = provider_call.estimate();
    let scopes = BudgetScope::of(plan.attribution.project_id.as_ref(), plan.attribution.agent_id.as_ref());
    let reservation = shared.budget_guard.reserve(shared, &scopes, estimate.cost(&plan.candidates)).await?;
    let id = CallId::from_random(random::bytes16());
    let mut entry =
        LedgerEntry::open(shared, reservation, plan.attribution.clone(), id, estimate.prompt_chars);
    entry.set_in_flight_guard(plan.in_flight_guard.take());
    let (deadline, budget) = (shared.settings.call_deadline, shared.settings.retry.budget);
    let mut state = RetryState { index: 0, round: 1, model: ModelState::Open, renegotiated_model: None };
    loop {
        let Some(candidate) = plan.candidates.get(state.index) else {
            return Err(Error::Provider("no provider can be called now".to_owned()).into());
        };
        let failover =
            if state.index + 1 < plan.candidates.len() { Failover::Available } else { Failover::None };
        let named = state.renegotiated_model.as_deref().or(candidate.model.as_deref());
        if named.is_some() {
            state.model = ModelState::Settled;
        }
        let attempt = CallAttempt { shared, plan: &plan, provider_call, candidate, named, failover };
        let (left, turn) = (deadline.saturating_sub(entry.elapsed()), budget.saturating_sub(entry.elapsed()));
        let provider = &candidate.provider.id;
        let (error, breaker_state) = match attempt.make(&mut entry, left, turn).await {
            Ok(response) => return Ok(ServedCall { response, entry }),
            Err(AttemptError::Error(error))
                if failover == Failover::Available && is_provider_specific(&error) =>
            {
                tracing::warn!(target: "integration", %provider, %error, "another provider is asked");
                entry.record_failover(provider, &error.to_string());
                state.next_candidate();
                continue;
            }
            Err(AttemptError::Error(error)) => {
                entry.set_error(error.to_string());
                return Err(error.into());
            }
            // It was waited for already.
            Err(AttemptError::LimitReached(error)) => (error, BreakerState::Open),
            Err(AttemptError::Failed(error)) => (error, shared.breakers.breaker_state(provider)),
        };
        let delivered = provider_call.delivered_chars();
        entry.record_failure(delivered);
        let failure = AttemptFailure {
            kind: error_kind(&error),
            retry_after: error.rate_hints().retry_after,
            progress: if delivered > 0 { Progress::Started } else { Progress::NoOutput },
            round: state.round,
            elapsed: entry.elapsed(),
            model: state.model,
            failover,
            breaker_state,
        };
        let policy = &shared.settings.retry;
        let mut next = policy.next(&failure, random::number());
        if next == RetryDecision::Negotiate {
            state.model = ModelState::Settled;
            state.renegotiated_model = negotiate(shared, candidate).await;
            if state.renegotiated_model.is_some() {
                continue;
            }
            next = policy.next(&AttemptFailure { model: ModelState::Settled, ..failure }, random::number());
        }
        let reason = error.to_string();
        match next {
            RetryDecision::FailOver => {
                tracing::warn!(target: "integration", %provider, reason, "another provider is asked");
                entry.record_failover(provider, &reason);
                state.next_candidate();
            }
            RetryDecision::Retry(pause) => {
                tracing::debug!(target: "integration", %provider, reason, ?pause, "the call is made again");
                tokio::time::sleep(pause).await;
                state.next_round();
            }
            RetryDecision::Fail | RetryDecision::Negotiate => {
                entry.failed(error_kind(&error), reason).await;
                return Err(error.into());
            }
        }
    }
}

/// Selects the model of a provider again; `None` if it stays the same.
async fn negotiate(shared: &Arc<CallContext>, candidate: &CallCandidate) -> Option<String> {
    let id = &candidate.provider.id;
    let after = shared.heartbeats.heartbeat(id).await;
    let chosen = after.ok()?.model()?.to_owned();
    if candidate.provider.model() == Some(chosen.as_str()) {
        return None;
    }
    tracing::warn!(target: "integration", provider = %id, model = chosen, "the model is gone; another one was chosen");
    Some(chosen)
}

/// Returns whether a fault concerns this provider alone.
fn is_provider_specific(error: &Error) -> bool {
    matches!(error, Error::Refused(_) | Error::Provider(_))
}
