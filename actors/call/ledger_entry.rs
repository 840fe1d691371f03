//! The ledger entry of one call, while the call is made.
//!
//! Owns the reserved amount of the call, and the run of a gateway chat. If it is dropped before it is closed,
//! it books the call as cancelled, with its possible cost so far. A call that reached no provider leaves no
//! entry.

use crate::call::CallContext;
use crate::call::budget_guard::ReservationGuard;
use crate::call::in_flight::InFlightGuard;
use crate::error::Error;
use crate::provider::authorized_client::AuthorizedClient;
use crate::services::Services;
use arbiter_core::kernel::call::{Call, ErrorKind, Kind, Outcome};
use arbiter_core::kernel::ids::{AgentId, BeadId, CallId, ProjectId, ProviderId, RunId, TokenId};
use arbiter_core::kernel::money::cost_usd;
use arbiter_core::kernel::run::{Run, Status};
use arbiter_providers::{AnswerEnd, Usage};
use std::sync::Arc;
use std::time::Instant;

/// Characters of a text that are a token, on the average; for what no provider counted.
const CHARS_PER_TOKEN: u64 = 4;

/// Most tokens of one kind that a provider's account of a call is believed; no model's context is as large.
const MAX_TOKENS: u64 = 10_000_000;

/// Attribution of a call.
#[derive(Clone, Debug)]
pub(crate) struct Attribution {
    pub(crate) kind: Kind,
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) project_id: Option<ProjectId>,
    pub(crate) bead_id: Option<BeadId>,
    pub(crate) run_id: Option<RunId>,
    pub(crate) token_id: Option<TokenId>,
}

/// The line of one call in the making.
pub(crate) struct LedgerEntry {
    shared: Arc<CallContext>,
    reservation: Option<ReservationGuard>,
    call: Call,
    started: Instant,
    prices: (Option<f64>, Option<f64>),
    /// True if the model may be at work on what it was asked, so that it costs something.
    is_billable: bool,
    prompt_chars: u64,
    key_uses: u32,
    error: Option<String>,
    end: AnswerEnd,
    in_flight_guard: Option<InFlightGuard>,
}

impl LedgerEntry {
    /// Opens the ledger entry of a call with `prompt_chars` characters.
    pub(crate) fn open(
        shared: &Arc<CallContext>,
        reservation: ReservationGuard,
        attribution: Attribution,
        id: CallId,
        prompt_chars: u64,
    ) -> Self {
        let call = Call {
            id,
            at: reservation.at,
            provider_id: ProviderId::from_trusted(""),
            model: String::new(),
            agent_id: attribution.agent_id,
            project_id: attribution.project_id,
            bead_id: attribution.bead_id,
            run_id: attribution.run_id,
            token_id: attribution.token_id,
            kind: attribution.kind,
            outcome: Outcome::Cancelled,
            error_kind: None,
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: 0.0,
            latency_ms: 0,
            attempts: 0,
            failover_from: None,
            failover_reason: None,
        };
        Self {
            shared: Arc::clone(shared),
            reservation: Some(reservation),
            call,
            started: Instant::now(),
            prices: (None, None),
            is_billable: false,
            prompt_chars,
            key_uses: 0,
            error: None,
            end: AnswerEnd::Unknown,
            in_flight_guard: None,
        }
    }

    /// From now on the call is underway until its line is written.
    pub(crate) fn set_in_flight_guard(&mut self, in_flight_guard: Option<InFlightGuard>) {
        self.in_flight_guard = in_flight_guard;
    }

    /// A provider is about to be asked.
    pub(crate) fn record_attempt(&mut self, authorized_client: &AuthorizedClient, model: &str) {
        let id = &authorized_client.provider.id;
        self.call.provider_id.clone_from(id);
        model.clone_into(&mut self.call.model);
        self.call.attempts += 1;
        self.prices = (authorized_client.provider.price_input(), authorized_client.provider.price_output());
        self.is_billable = true;
    }

    /// A provider did not serve the call, so another one is asked.
    pub(crate) fn record_failover(&mut self, provider: &ProviderId, reason: &str) {
        self.call.failover_from = Some(provider.clone());
        self.call.failover_reason = Some(reason.to_owned());
    }

    /// A key went along.
    pub(crate) fn record_key_use(&mut self) {
        self.key_uses += 1;
    }

    /// Sets the error of the call; a later error replaces it.
    pub(crate) fn set_error(&mut self, error: impl Into<String>) {
        self.error = Some(error.into());
    }

    /// Records a failure of the last provider. Only earlier usage is billed.
    pub(crate) fn record_failure(&mut self, answer_chars: u64) {
        self.is_billable = false;
        if answer_chars > 0 {
            self.count(None, answer_chars);
        }
    }

    /// Returns the time elapsed since the start of the call.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// Returns the elapsed time in milliseconds.
    pub(crate) fn latency_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds the reported usage, or an estimate from the received characters.
    pub(crate) fn count(&mut self, usage: Option<Usage>, answer_chars: u64) -> Usage {
        let estimate = Usage {
            input_tokens: self.prompt_chars.div_ceil(CHARS_PER_TOKEN),
            output_tokens: answer_chars.div_ceil(CHARS_PER_TOKEN),
        };
        let usage = usage.filter(|usage| *usage != Usage::default()).unwrap_or(estimate);
        let usage = self.credible(usage);
        (self.call.input_tokens, self.call.output_tokens) = (usage.input_tokens, usage.output_tokens);
        self.call.cost_usd = cost_usd(usage.input_tokens, usage.output_tokens, self.prices.0, self.prices.1);
        usage
    }

    /// Caps counts that no model can reach.
    fn credible(&self, usage: Usage) -> Usage {
        let most = MAX_TOKENS.max(self.prompt_chars);
        if usage.input_tokens > most || usage.output_tokens > most {
            tracing::warn!(target: "integration", provider = %self.call.provider_id, ?usage, most, "the provider's account of tokens is not credible and is capped");
        }
        Usage { input_tokens: usage.input_tokens.min(most), output_tokens: usage.output_tokens.min(most) }
    }

    /// Returns the provider that was called last.
    pub(crate) fn provider_id(&self) -> &ProviderId {
        &self.call.provider_id
    }

    /// Returns the cost of the call so far, in US dollars.
    pub(crate) fn cost_usd(&self) -> f64 {
        self.call.cost_usd
    }

    /// The call was answered, whole or not; its line is written when this ends. An answer that was paid for is not thrown
    /// away because its line could not be.
    pub(crate) async fn answered(mut self, end: AnswerEnd) {
        self.end = end;
        self.write(Outcome::Answered, None).await;
    }

    /// Writes the line of an answered call and waits for it. The line is written even if the caller leaves meanwhile.
    pub(crate) async fn written_when_answered(self, end: AnswerEnd, services: &Services) {
        let work = async move {
            self.answered(end).await;
            Ok(())
        };
        // The answer was paid for, and is given in any case.
        let _ = services.run_to_completion("a line of the ledger", work).await;
    }

    /// The call failed; its line is written when this ends.
    pub(crate) async fn failed(mut self, kind: ErrorKind, error: String) {
        self.error = Some(error);
        self.write(Outcome::Failed, Some(kind)).await;
    }

    async fn write(&mut self, outcome: Outcome, error: Option<ErrorKind>) {
        if let Some(end) = self.end(outcome, error) {
            end.write().await;
        }
    }

    fn end(&mut self, outcome: Outcome, error: Option<ErrorKind>) -> Option<PendingEntry> {
        // Without an attempt the money goes back by itself.
        let reservation = self.reservation.take().filter(|_| self.call.attempts > 0)?;
        let latency_ms = self.latency_ms();
        let call = Call { outcome, error_kind: error, latency_ms, ..self.call.clone() };
        let shared = Arc::clone(&self.shared);
        let run = (call.kind == Kind::Gateway).then(|| self.run(&call)).flatten();
        Some(PendingEntry { shared, reservation, call, run, _in_flight_guard: self.in_flight_guard.take() })
    }

    /// A chat through the gateway as a run. What was said in it is its client's own.
    fn run(&mut self, call: &Call) -> Option<Run> {
        let status = match call.outcome {
            Outcome::Answered => Status::Succeeded,
            Outcome::Failed => Status::Failed,
            Outcome::Cancelled => Status::Cancelled,
        };
        Some(Run {
            agent_id: call.agent_id.clone(),
            project_id: call.project_id.clone(),
            token_id: call.token_id.clone(),
            provider_id: Some(call.provider_id.clone()),
            model: Some(call.model.clone()),
            status,
            outcome: self.end.defect().map(|_| self.end.as_str().to_owned()),
            error: self.error.take(),
            steps: u32::from(call.outcome == Outcome::Answered),
            key_uses: self.key_uses,
            input_tokens: call.input_tokens,
            output_tokens: call.output_tokens,
            cost_usd: call.cost_usd,
            latency_ms: call.latency_ms,
            finished_at: Some(self.shared.clock.now()),
            ..Run::new(call.run_id.clone()?, call.kind, call.at)
        })
    }
}

impl Drop for LedgerEntry {
    fn drop(&mut self) {
        if self.reservation.is_none() {
            return;
        }
        if self.is_billable && self.call.input_tokens == 0 {
            self.count(None, 0);
        }
        if self.error.is_none() {
            let cancellation = self.in_flight_guard.as_ref().map(InFlightGuard::cancellation);
            let why = cancellation.as_ref().and_then(|cancellation| cancellation.why());
            self.error = Some(why.unwrap_or("the client went away").to_owned());
        }
        if let Some(end) = self.end(Outcome::Cancelled, Some(ErrorKind::Cancelled)) {
            let world = Arc::clone(&end.shared);
            world.spawn_tracked(end.write());
        }
    }
}

/// The end of a call, to be written down.
struct PendingEntry {
    shared: Arc<CallContext>,
    reservation: ReservationGuard,
    call: Call,
    run: Option<Run>,
    _in_flight_guard: Option<InFlightGuard>,
}

impl PendingEntry {
    async fn write(self) {
        let provider = self.call.provider_id.clone();
        let settled: Result<(), Error> =
            self.shared.budget_guard.settle(self.reservation, self.call, self.run).await;
        if let Err(error) = settled {
            tracing::error!(%error, %provider, "a call's line of the ledger was not written");
        }
    }
}
