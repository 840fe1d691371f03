//! One call that somebody pays for: money is set aside before it, booked after it, its line is in the ledger,
//! and its provider is told how it went.

use crate::entropy;
use crate::pool;
use crate::provider::ProvidersHandle;
use crate::provider_link::{CallFailure, Completion, Link};
use crate::shared::Shared;
use arbiter_core::breaker::End;
use arbiter_core::budget::Scope;
use arbiter_core::call::{Call, CallOutcome, ErrorKind, Kind, Outcome};
use arbiter_core::ids::{AgentId, BeadId, CallId, ProjectId, RunId, TokenId};
use arbiter_core::money::Usd;
use arbiter_core::run::cost_usd;
use arbiter_providers::{CallError, CallErrorKind, ChatRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// Tokens that an answer may have when the request does not say.
const ANSWER_TOKENS: u64 = 4_096;
/// Characters of a prompt that are at least a token.
const CHARS_PER_TOKEN: usize = 3;

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

/// Calls a provider for `holder`, or whoever stands in for it in its pool when it fails before a word of its
/// answer came. A caller that goes away ends the call; nothing is booked then.
pub(crate) async fn chat(
    shared: &Arc<Shared>,
    first: &Arc<Link>,
    holder: &str,
    payer: &Payer,
    request: &ChatRequest,
    listener: Option<UnboundedSender<String>>,
) -> Result<Completion, CallFailure> {
    let scopes = Scope::of(payer.project_id.as_ref(), payer.agent_id.as_ref());
    let held = shared.purse.reserve(shared, &scopes, estimate(first, request)).await?;
    let begun = Instant::now();
    let mut others = pool::substitutes(shared, &first.provider).await?.into_iter();
    let (mut link, mut request, mut attempts, mut from) = (Arc::clone(first), request.clone(), 1, None);
    let heard = Arc::new(AtomicBool::new(false));
    let outcome = loop {
        let ear = listener.clone().map(|listener| Ear { listener, heard: Arc::clone(&heard) });
        let outcome = once(shared, &link, holder, &request, ear).await;
        let Err(CallFailure::Call(error)) = &outcome else { break outcome };
        let elsewhere = kind_of(error).is_worth_another_provider() && !heard.load(Ordering::Acquire);
        let Some(next) = others.next().filter(|_| elsewhere) else { break outcome };
        let reason = error.to_string();
        let substitute = ProvidersHandle(Arc::clone(shared)).link(&next, holder.to_owned()).await?;
        let Some(model) = substitute.provider.model() else { break outcome };
        tracing::warn!(target: "integration", provider = %link.provider.id, substitute = %next, reason, "another provider of the pool is asked");
        model.clone_into(&mut request.model);
        from = Some(link.provider.id.clone());
        (link, attempts) = (substitute, attempts + 1);
    };
    let (answered, error) = match &outcome {
        Ok(completion) => (Some(completion), None),
        Err(CallFailure::Call(error)) => (None, Some(error)),
        // It was not even made.
        Err(CallFailure::Fault(_)) => return outcome,
    };
    let usage = answered.map(|completion| completion.answer.usage).unwrap_or_default();
    let call = Call {
        id: CallId::from_random(entropy::bytes16()),
        at: held.at,
        provider_id: link.provider.id.clone(),
        model: request.model.clone(),
        agent_id: payer.agent_id.clone(),
        project_id: payer.project_id.clone(),
        bead_id: payer.bead_id.clone(),
        run_id: payer.run_id.clone(),
        token_id: payer.token_id.clone(),
        kind: payer.kind,
        outcome: if error.is_some() { Outcome::Failed } else { Outcome::Answered },
        error_kind: error.map(kind_of),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost_usd: answered.map_or(0.0, |completion| completion.cost_usd),
        latency_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        attempts,
        failover_from: from,
    };
    // An answer that was paid for is not thrown away because its line could not be written.
    if let Err(fault) = shared.purse.settle(held, call).await {
        tracing::error!(%fault, provider = %link.provider.id, "a call's line of the ledger was not written");
    }
    outcome
}

/// One call of one provider, which is told how it went.
async fn once(
    shared: &Arc<Shared>,
    link: &Link,
    holder: &str,
    request: &ChatRequest,
    ear: Option<Ear>,
) -> Result<Completion, CallFailure> {
    let id = &link.provider.id;
    // An open breaker spares a provider with substitutes; one without them is asked all the same.
    let pass = shared.breakers.admit(shared, id);
    if pass.is_none() && link.provider.pool.is_some() {
        return Err(CallFailure::Call(CallError::resting()));
    }
    let outcome = link.chat_aloud(shared, holder, request, ear).await;
    let told = match &outcome {
        Ok(_) => CallOutcome::Answered,
        Err(CallFailure::Call(error)) => {
            CallOutcome::Failed { kind: kind_of(error), error: error.to_string() }
        }
        Err(CallFailure::Fault(_)) => return outcome,
    };
    if let Some(pass) = pass {
        shared.breakers.report(shared, id, pass, End::from(&told));
    }
    ProvidersHandle(Arc::clone(shared)).observe(id, told);
    outcome
}

/// Who hears the pieces of an answer, and whether anything was heard.
pub(crate) struct Ear {
    listener: UnboundedSender<String>,
    heard: Arc<AtomicBool>,
}

impl Ear {
    /// Tells a piece. Whoever listened and has gone ends the call by dropping it.
    pub(crate) fn tell(&self, text: &str) {
        self.heard.store(true, Ordering::Release);
        drop(self.listener.send(text.to_owned()));
    }
}

/// What a call may cost at most: every character of it a third of a token, and the longest answer.
fn estimate(link: &Link, request: &ChatRequest) -> Usd {
    let texts = request.messages.iter().map(|message| message.content.len());
    let tools = request.tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len());
    let input = u64::try_from(texts.chain(tools).sum::<usize>() / CHARS_PER_TOKEN + 1).unwrap_or(u64::MAX);
    let output = request.max_tokens.map_or(ANSWER_TOKENS, u64::from);
    let provider = &link.provider;
    Usd::from_dollars(cost_usd(input, output, provider.price_input(), provider.price_output()))
}

fn kind_of(error: &CallError) -> ErrorKind {
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
    }
}
