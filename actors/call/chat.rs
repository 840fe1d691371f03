//! Chats that Arbiter holds itself: for a run, a person at the console, a prompt to an agent.

use crate::call::attempt::Given;
use crate::call::estimate::Size;
use crate::call::execute::{self, Candidate, Errand, Order, Served};
use crate::call::ledger_entry::Payer;
use crate::call::remote_executor::{Carried, CarriedCall, Carrier, Freight};
use crate::context::Shared;
use crate::provider::authorized_client::CallFailure;
use arbiter_core::kernel::call::{CallOutcome, Kind};
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::Provider;
use arbiter_providers::{CallError, ChatAnswer, ChatRequest, Client, RateHints, Usage};
use secrecy::SecretString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// The most bytes of text in a conversation that somebody else is given.
const MAX_CARRIED: usize = 1_000_000;

/// What a chat gave.
pub(crate) struct Completion {
    /// The answer.
    pub(crate) answer: ChatAnswer,
    /// Who gave it.
    pub(crate) provider_id: ProviderId,
    /// How long it took, in milliseconds.
    pub(crate) latency_ms: u64,
    /// What it cost, in US dollars.
    pub(crate) cost_usd: f64,
    /// Whether a key went along: 1 or 0.
    pub(crate) key_uses: u32,
    /// The workflow through which it was made; none: this process called the provider itself.
    pub(crate) workflow_id: Option<String>,
}

/// Asks the first of the candidates that answers; the pieces of its answer are told as they come, if anybody
/// listens. The line of the ledger is written before this returns.
///
/// # Errors
/// As [`call_loop::serve`].
pub(crate) async fn chat(
    shared: &Arc<Shared>,
    candidates: Vec<Candidate>,
    holder: &str,
    payer: Payer,
    request: &ChatRequest,
    listener: Option<UnboundedSender<String>>,
) -> Result<Completion, CallFailure> {
    let carrier = shared.carriers.get().filter(|carrier| match payer.kind {
        Kind::Repl => true,
        Kind::Run => carrier.freight() == Freight::Runs,
        Kind::Gateway | Kind::Work => false,
    });
    let timeout = shared.settings.call_deadline;
    let place = Mutex::default();
    let errand = Chat { request, listener, heard: AtomicU64::new(0), carrier, timeout, place };
    let Served { given, mut account } =
        execute::serve(shared, Order { holder, payer, candidates, ticket: None }, &errand).await?;
    let Given { given: mut answer, leave, mut place, is_keyed, .. } = given;
    leave.end(CallOutcome::Answered);
    let tools = answer.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
    let chars = answer.content.len() + tools.sum::<usize>();
    answer.usage = account.count(Some(answer.usage), u64::try_from(chars).unwrap_or(u64::MAX));
    place.settle(total(answer.usage));
    let completion = Completion {
        answer,
        provider_id: account.provider_id().clone(),
        latency_ms: account.latency_ms(),
        cost_usd: account.cost_usd(),
        key_uses: u32::from(is_keyed),
        workflow_id: errand.place.into_inner().unwrap_or_else(PoisonError::into_inner),
    };
    account.answered().await;
    Ok(completion)
}

/// All tokens of a call.
pub(crate) fn total(usage: Usage) -> u64 {
    usage.input_tokens.saturating_add(usage.output_tokens)
}

struct Chat<'a> {
    request: &'a ChatRequest,
    listener: Option<UnboundedSender<String>>,
    heard: AtomicU64,
    /// Who makes the call elsewhere, if somebody does.
    carrier: Option<Arc<dyn Carrier>>,
    timeout: Duration,
    /// Where it was made.
    place: Mutex<Option<String>>,
}

impl Chat<'_> {
    /// Hands a call over; none: nobody takes it.
    async fn carried(
        &self,
        provider: &Provider,
        request: &ChatRequest,
    ) -> Option<Result<ChatAnswer, CallError>> {
        let carrier = self.carrier.as_ref()?;
        // Pieces are told as they come, and what is large goes directly: neither travels well.
        let bytes: usize = request.messages.iter().map(|message| message.content.len()).sum();
        if self.listener.is_some() || bytes > MAX_CARRIED {
            return None;
        }
        let call =
            CarriedCall { provider: provider.clone(), request: request.clone(), timeout: self.timeout };
        match carrier.carry(call).await {
            Carried::NotTaken => None,
            Carried::Made(outcome, place) => {
                *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
                Some(outcome)
            }
        }
    }
}

impl Errand for Chat<'_> {
    type Given = ChatAnswer;

    async fn run(
        &self,
        provider: &Provider,
        client: &Client,
        key: Option<&SecretString>,
        model: &str,
    ) -> Result<ChatAnswer, CallError> {
        let request = ChatRequest { model: model.to_owned(), ..self.request.clone() };
        if let Some(outcome) = self.carried(provider, &request).await {
            return outcome;
        }
        let Some(listener) = &self.listener else { return client.chat(key, &request).await };
        let tell = |text: &str| {
            self.heard.fetch_add(text.len() as u64, Ordering::AcqRel);
            // Whoever listened and has gone ends the call by dropping it.
            drop(listener.send(text.to_owned()));
        };
        client.chat_streamed(key, &request, tell).await
    }

    fn hints(given: &ChatAnswer) -> RateHints {
        given.rate_hints
    }

    fn size(&self) -> Size {
        let texts = self.request.messages.iter().map(|message| message.content.len());
        let tools = self.request.tools.iter();
        let tools = tools.map(|tool| tool.description.len() + tool.parameters.to_string().len());
        let prompt_chars = u64::try_from(texts.chain(tools).sum::<usize>()).unwrap_or(u64::MAX);
        Size { prompt_chars, answer_tokens: self.request.max_tokens.map(u64::from) }
    }

    fn heard_chars(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }
}
