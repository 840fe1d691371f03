//! The line of the ledger of one call, while the call is made.
//!
//! Owns the money that is set aside for it. Dropped before it is closed, it books the call as cancelled, with
//! what it may have cost by then; a call that asked nobody leaves no line.

use crate::fault::Fault;
use crate::provider_link::Link;
use crate::purse::Held;
use crate::shared::Shared;
use arbiter_core::call::{Call, ErrorKind, Kind, Outcome};
use arbiter_core::ids::{AgentId, BeadId, CallId, ProjectId, ProviderId, RunId, TokenId};
use arbiter_core::run::cost_usd;
use arbiter_providers::Usage;
use std::sync::Arc;
use std::time::Instant;

/// Characters of a text that are a token, on the average; for what no provider counted.
const CHARS_PER_TOKEN: u64 = 4;

/// For whom a call is made.
#[derive(Clone, Debug)]
pub(crate) struct Payer {
    pub(crate) kind: Kind,
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) project_id: Option<ProjectId>,
    pub(crate) bead_id: Option<BeadId>,
    pub(crate) run_id: Option<RunId>,
    pub(crate) token_id: Option<TokenId>,
}

/// The line of one call in the making.
pub(crate) struct Account {
    shared: Arc<Shared>,
    held: Option<Held>,
    call: Call,
    begun: Instant,
    prices: (Option<f64>, Option<f64>),
    /// Whether the model may be at work on what it was asked, so that it costs something.
    underway: bool,
    prompt_chars: u64,
}

impl Account {
    /// An account of a call that asks so many characters.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        held: Held,
        payer: Payer,
        id: CallId,
        prompt_chars: u64,
    ) -> Self {
        let call = Call {
            id,
            at: held.at,
            provider_id: ProviderId::known(""),
            model: String::new(),
            agent_id: payer.agent_id,
            project_id: payer.project_id,
            bead_id: payer.bead_id,
            run_id: payer.run_id,
            token_id: payer.token_id,
            kind: payer.kind,
            outcome: Outcome::Cancelled,
            error_kind: None,
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: 0.0,
            latency_ms: 0,
            attempts: 0,
            failover_from: None,
        };
        Self {
            shared: Arc::clone(shared),
            held: Some(held),
            call,
            begun: Instant::now(),
            prices: (None, None),
            underway: false,
            prompt_chars,
        }
    }

    /// A provider is about to be asked.
    pub(crate) fn asks(&mut self, link: &Link, model: &str) {
        let id = &link.provider.id;
        if self.call.attempts > 0 && self.call.provider_id != *id {
            self.call.failover_from = Some(self.call.provider_id.clone());
        }
        self.call.provider_id.clone_from(id);
        model.clone_into(&mut self.call.model);
        self.call.attempts += 1;
        self.prices = (link.provider.price_input(), link.provider.price_output());
        self.underway = true;
    }

    /// The provider that was asked last failed. Only what came before that is paid for.
    pub(crate) fn failed_after(&mut self, answer_chars: u64) {
        self.underway = false;
        if answer_chars > 0 {
            self.count(None, answer_chars);
        }
    }

    /// How long the call has taken so far.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.begun.elapsed()
    }

    /// The same in milliseconds.
    pub(crate) fn latency_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What was used, by the provider's word, or as many characters as came.
    pub(crate) fn count(&mut self, usage: Option<Usage>, answer_chars: u64) -> Usage {
        let usage = usage.filter(|usage| *usage != Usage::default()).unwrap_or(Usage {
            input_tokens: self.prompt_chars.div_ceil(CHARS_PER_TOKEN),
            output_tokens: answer_chars.div_ceil(CHARS_PER_TOKEN),
        });
        (self.call.input_tokens, self.call.output_tokens) = (usage.input_tokens, usage.output_tokens);
        self.call.cost_usd = cost_usd(usage.input_tokens, usage.output_tokens, self.prices.0, self.prices.1);
        usage
    }

    /// Who was asked last.
    pub(crate) fn provider_id(&self) -> &ProviderId {
        &self.call.provider_id
    }

    /// What the call cost so far, in US dollars.
    pub(crate) fn cost_usd(&self) -> f64 {
        self.call.cost_usd
    }

    /// The call was answered; its line is written when this ends. An answer that was paid for is not thrown
    /// away because its line could not be.
    pub(crate) async fn answered(mut self) {
        self.write(Outcome::Answered, None).await;
    }

    /// The call failed; its line is written when this ends.
    pub(crate) async fn failed(mut self, kind: ErrorKind) {
        self.write(Outcome::Failed, Some(kind)).await;
    }

    async fn write(&mut self, outcome: Outcome, error: Option<ErrorKind>) {
        if let Some((shared, held, call)) = self.end(outcome, error) {
            settle(&shared, held, call).await;
        }
    }

    fn end(&mut self, outcome: Outcome, error: Option<ErrorKind>) -> Option<(Arc<Shared>, Held, Call)> {
        // Without an attempt the money goes back by itself.
        let held = self.held.take().filter(|_| self.call.attempts > 0)?;
        let latency_ms = self.latency_ms();
        let call = Call { outcome, error_kind: error, latency_ms, ..self.call.clone() };
        Some((Arc::clone(&self.shared), held, call))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.held.is_none() {
            return;
        }
        if self.underway && self.call.input_tokens == 0 {
            self.count(None, 0);
        }
        if let Some((shared, held, call)) = self.end(Outcome::Cancelled, Some(ErrorKind::Cancelled)) {
            let world = Arc::clone(&shared);
            world.later(async move { settle(&shared, held, call).await });
        }
    }
}

async fn settle(shared: &Shared, held: Held, call: Call) {
    let provider = call.provider_id.clone();
    let settled: Result<(), Fault> = shared.purse.settle(held, call).await;
    if let Err(fault) = settled {
        tracing::error!(%fault, %provider, "a call's line of the ledger was not written");
    }
}
