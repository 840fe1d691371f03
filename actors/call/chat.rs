//! Chats that Arbiter holds itself: for a run, a person at the console, a prompt to an agent.

use crate::call::CallContext;
use crate::call::attempt::Response;
use crate::call::capabilities;
use crate::call::estimate::{CallEstimate, own_limit};
use crate::call::execute::{self, CallCandidate, CallPlan, ProviderCall, ServedCall};
use crate::call::ledger_entry::Attribution;
use crate::call::remote_executor::{RemoteCall, RemoteExecutor, RemoteOutcome, RemoteScope};
use crate::provider::call_failure::CallFailure;
use arbiter_core::kernel::call::{CallOutcome, Kind};
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::{Provider, ProviderType};
use arbiter_providers::{CallError, Capability, ChatAnswer, ChatRequest, Client, RateHints, Usage};
use parking_lot::Mutex;
use secrecy::SecretString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Most bytes of text in a conversation that a remote executor gets.
const MAX_REMOTE_BYTES: usize = 1_000_000;

/// Result of a chat.
pub(crate) struct Completion {
    pub(crate) answer: ChatAnswer,
    pub(crate) provider_id: ProviderId,
    /// Duration, in milliseconds.
    pub(crate) latency_ms: u64,
    /// Cost, in US dollars.
    pub(crate) cost_usd: f64,
    /// Number of key uses: 1 or 0.
    pub(crate) key_uses: u32,
    /// Parts left out because the provider refuses them with this model, as texts for a person.
    pub(crate) left_out: Vec<String>,
    /// The workflow through which it was made; none: this process called the provider itself.
    pub(crate) workflow_id: Option<String>,
}

/// Calls the candidates in order until one answers. Pieces of the answer go to the listener, if there is one.
/// The ledger entry is written before this returns.
///
/// # Errors
/// As [`execute::execute`].
pub(crate) async fn chat(
    shared: &Arc<CallContext>,
    candidates: Vec<CallCandidate>,
    holder: &str,
    attribution: Attribution,
    request: &ChatRequest,
    listener: Option<UnboundedSender<String>>,
) -> Result<Completion, CallFailure> {
    let executor = shared.remote_executor.get().filter(|executor| match attribution.kind {
        Kind::Repl => true,
        Kind::Run => executor.scope() == RemoteScope::Runs,
        Kind::Gateway | Kind::Work => false,
    });
    let timeout = shared.settings.call_deadline;
    let workflow_id = Mutex::default();
    let max_tokens = request.max_tokens.or_else(|| own_limit(shared, &attribution));
    let request = &ChatRequest { max_tokens, ..request.clone() };
    let provider_call = ChatCall {
        shared,
        request,
        listener,
        delivered: AtomicU64::new(0),
        executor,
        timeout,
        left_out: Mutex::default(),
        workflow_id,
    };
    let ServedCall { response, mut entry } = execute::execute(
        shared,
        CallPlan { holder, attribution, candidates, in_flight_guard: None },
        &provider_call,
    )
    .await?;
    let Response { response: mut answer, breaker_permit, mut permit, is_keyed, .. } = response;
    breaker_permit.end(CallOutcome::Answered);
    let tools = answer.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
    let chars = answer.content.len() + tools.sum::<usize>();
    answer.usage = entry.count(Some(answer.usage), u64::try_from(chars).unwrap_or(u64::MAX));
    permit.settle(total(answer.usage));
    let completion = Completion {
        answer,
        provider_id: entry.provider_id().clone(),
        latency_ms: entry.latency_ms(),
        cost_usd: entry.cost_usd(),
        key_uses: u32::from(is_keyed),
        left_out: provider_call.left_out.into_inner(),
        workflow_id: provider_call.workflow_id.into_inner(),
    };
    entry.answered(completion.answer.end).await;
    Ok(completion)
}

/// All tokens of a call.
pub(crate) fn total(usage: Usage) -> u64 {
    usage.input_tokens.saturating_add(usage.output_tokens)
}

struct ChatCall<'a> {
    shared: &'a Arc<CallContext>,
    request: &'a ChatRequest,
    listener: Option<UnboundedSender<String>>,
    delivered: AtomicU64,
    executor: Option<Arc<dyn RemoteExecutor>>,
    timeout: Duration,
    left_out: Mutex<Vec<String>>,
    workflow_id: Mutex<Option<String>>,
}

impl ChatCall<'_> {
    /// Hands a call to the remote executor; returns `None` if it declines.
    async fn execute_remotely(
        &self,
        provider: &Provider,
        request: &ChatRequest,
    ) -> Option<Result<ChatAnswer, CallError>> {
        let executor = self.executor.as_ref()?;
        // Streamed and large calls are made directly, because a remote executor handles neither well.
        let bytes: usize = request.messages.iter().map(|message| message.content.len()).sum();
        if self.listener.is_some() || bytes > MAX_REMOTE_BYTES {
            return None;
        }
        let call = RemoteCall { provider: provider.clone(), request: request.clone(), timeout: self.timeout };
        match executor.execute(call).await {
            RemoteOutcome::Declined => None,
            RemoteOutcome::Completed(outcome, workflow_id) => {
                *self.workflow_id.lock() = Some(workflow_id);
                Some(*outcome)
            }
        }
    }
}

impl ProviderCall for ChatCall<'_> {
    type Response = ChatAnswer;

    async fn run(
        &self,
        provider: &Provider,
        client: &Client,
        key: Option<&SecretString>,
        model: &str,
    ) -> Result<ChatAnswer, CallError> {
        let mut request = ChatRequest { model: model.to_owned(), ..self.request.clone() };
        if provider.provider_type == ProviderType::Anthropic {
            // Its protocol requires a limit.
            request.max_tokens = request.max_tokens.or(Some(self.shared.settings.answer_tokens));
        }
        self.left_out.lock().clear();
        for lacking in self.shared.capabilities.lacking(&provider.id, model, self.shared.clock.now()) {
            self.leave_out(&mut request, provider, lacking);
        }
        loop {
            let error = match self.run_once(provider, client, key, &request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Not a retry of the same call: the provider refused a part of it and did no work.
            let Some(lacking) = error.lacking().filter(|lacking| capabilities::uses(&request, *lacking))
            else {
                return Err(error);
            };
            tracing::warn!(target: "integration", provider = %provider.id, model, %error, "the call is made again without what the provider refuses");
            self.shared.capabilities.record(&provider.id, model, lacking, self.shared.clock.now());
            self.leave_out(&mut request, provider, lacking);
        }
    }

    fn hints(response: &ChatAnswer) -> RateHints {
        response.rate_hints
    }

    fn estimate(&self) -> CallEstimate {
        let texts = self.request.messages.iter().map(|message| message.content.len());
        let tools = self.request.tools.iter();
        let tools = tools.map(|tool| tool.description.len() + tool.parameters.to_string().len());
        let prompt_chars = u64::try_from(texts.chain(tools).sum::<usize>()).unwrap_or(u64::MAX);
        CallEstimate { prompt_chars, answer_tokens: self.request.max_tokens.map(u64::from) }
    }

    fn delivered_chars(&self) -> u64 {
        self.delivered.load(Ordering::Acquire)
    }
}

impl ChatCall<'_> {
    fn leave_out(&self, request: &mut ChatRequest, provider: &Provider, lacking: Capability) {
        if capabilities::uses(request, lacking) {
            capabilities::leave_out(request, lacking);
            self.left_out.lock().push(capabilities::describe(&provider.id, &request.model, lacking));
        }
    }

    async fn run_once(
        &self,
        provider: &Provider,
        client: &Client,
        key: Option<&SecretString>,
        request: &ChatRequest,
    ) -> Result<ChatAnswer, CallError> {
        if let Some(outcome) = self.execute_remotely(provider, request).await {
            return outcome;
        }
        let Some(listener) = &self.listener else { return client.chat(key, request).await };
        let tell = |text: &str| {
            self.delivered.fetch_add(text.len() as u64, Ordering::AcqRel);
            // A listener that has gone cancels the call by dropping it.
            drop(listener.send(text.to_owned()));
        };
        client.chat_streamed(key, request, tell).await
    }
}
