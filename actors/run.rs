//! One run: an agent works on one bead through its provider, step by step, and ends it.
//!
//! A task on the runtime. It owns the conversation while it lasts; the result is in the run's row when it ends. It
//! renews the lease while it waits, so that a run that hangs or dies loses its bead.

pub(crate) mod ask_agent;
pub(crate) mod prompt_context;
pub(crate) mod tool_calls;

use crate::bead::active_runs::ActiveRuns;
use crate::bead::run_outcome::outcome;
use crate::bead::{BeadsHandle, RunEnd, RunResult};
use crate::call::CallContext;
use crate::call::chat::{self, Completion};
use crate::call::failover::{self, FirstCandidate};
use crate::call::ledger_entry::Attribution;
use crate::error::Error;
use crate::persona::PersonaStore;
use crate::provider::call_failure::CallFailure;
use crate::run::tool_calls::ToolOutcome;
use crate::runtime::random;
use crate::services::{Services, deref_to_services};
use arbiter_core::agent::Agent;
use arbiter_core::kernel::call;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{BeadId, RunId};
use arbiter_core::kernel::lease;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::run::{Run, Status};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::prompt;
use arbiter_core::prompt::tools;
use arbiter_providers::{
    AnswerEnd, CallErrorKind, ChatAnswer, ChatRequest, Message, Speaker, Tool, ToolCall,
};
use arbiter_store::{Change, StoreError, Unit};
use futures_util::FutureExt;
use serde_json::json;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// Attempts to write the end of a run to a full or busy store.
const END_TRIES: u32 = 20;
/// The pause between two offers.
const END_PAUSE: Duration = Duration::from_millis(250);
/// Wait of a bead after its budget is exhausted; calls in flight may release some of it.
const BUDGET_PAUSE: Duration = Duration::from_secs(60);
/// Wait of a bead after a rate limit without a given wait.
const LIMIT_PAUSE: Duration = Duration::from_secs(30);
/// The shortest and the longest time that a provider's own word makes a bead wait.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// A claim this young may still get its run.
const RUN_START_GRACE: Duration = Duration::from_secs(1);

/// The parts that runs and prompts to agents use.
pub(crate) struct RunContext {
    pub(crate) services: Arc<Services>,
    pub(crate) beads: BeadsHandle,
    pub(crate) calls: Arc<CallContext>,
    pub(crate) personas: Arc<PersonaStore>,
    pub(crate) runs: Arc<ActiveRuns>,
}

deref_to_services!(RunContext);

/// Returns whether a claim is old enough that its run must have begun.
pub(crate) fn is_late(agent: &Agent, now: Timestamp) -> bool {
    now.since(agent.updated_at) > RUN_START_GRACE
}

/// Begins a run; returns at once.
pub(crate) fn begin(shared: &Arc<RunContext>, agent: &Agent, bead: &BeadId, token: String) {
    let (task_context, run_agent, what) = (Arc::clone(shared), agent.clone(), bead.clone());
    let mut runs = shared.runs.lock();
    let task = shared.runtime.spawn(async move {
        let (agent_id, bead_id) = (run_agent.id.clone(), what.clone());
        let id = RunId::from_random(random::bytes16());
        let run = Run::new(id, call::Kind::Run, task_context.clock.now());
        let work = BeadRun {
            shared: Arc::clone(&task_context),
            agent: run_agent,
            bead: what,
            token,
            run,
            has_begun: false,
            answer_digest: None,
            left_out: BTreeSet::new(),
            is_cut: false,
        };
        work.run().await;
        task_context.runs.remove(&agent_id, &bead_id);
    });
    if let Some((_, old)) = runs.insert(agent.id.clone(), (bead.clone(), task.abort_handle())) {
        old.abort();
    }
}

/// Returns whether a refusal means that the claim is over: its end has ended the run as well.
fn is_lost_claim(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NotFound { entity: "bead", .. } | Refusal::Conflict { code: ProblemCode::StaleLease, .. }
    )
}

struct BeadRun {
    shared: Arc<RunContext>,
    agent: Agent,
    bead: BeadId,
    token: String,
    run: Run,
    has_begun: bool,
    answer_digest: Option<String>,
    /// Parts that the provider refused to take, as texts for a person.
    left_out: BTreeSet<String>,
    /// True if the answer before was cut off.
    is_cut: bool,
}

/// The message to a model whose answer was cut off by its token limit.
const CUT_ANSWER: &str =
    "Your answer was cut off by its token limit, and nothing of it was done. Answer again, in fewer words.";

/// Judgement of an answer by its end.
enum Verdict {
    Whole,
    /// The model has to answer again, in fewer words.
    Again,
    End(RunResult),
}

/// Returns the bytes of the texts of a conversation.
fn conversation_bytes(request: &ChatRequest) -> usize {
    let calls =
        |message: &Message| -> usize { message.tool_calls.iter().map(|call| call.arguments.len()).sum() };
    request.messages.iter().map(|message| message.content.len() + calls(message)).sum()
}

/// Comparison of an answer with the one before.
enum Repetition {
    New,
    Repeated,
}

impl BeadRun {
    async fn run(mut self) {
        let result = match AssertUnwindSafe(self.conversation()).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => match error {
                Error::Vault(_) | Error::ShuttingDown => RunResult::NotCounted(error.to_string()),
                // Its provider gets no work until that is put right, so this is no endless repetition.
                Error::Refused(Refusal::Conflict { code: ProblemCode::KeyNotForHost, .. }) => {
                    RunResult::NotCounted(error.to_string())
                }
                Error::Refused(Refusal::Conflict { code: ProblemCode::BudgetExhausted, .. }) => {
                    RunResult::Deferred(error.to_string(), BUDGET_PAUSE)
                }
                other => RunResult::Failed(other.to_string()),
            },
            Err(_) => RunResult::Failed("the run panicked".to_owned()),
        };
        let (status, word) = outcome(&result);
        self.run.status = status;
        self.run.outcome = word.map(str::to_owned);
        if let RunResult::Failed(error) | RunResult::NotCounted(error) | RunResult::Deferred(error, _) =
            &result
        {
            self.run.error = Some(error.clone());
        }
        self.end(result).await;
    }

    /// Writes the end of the run. An end that is refused becomes a failed attempt, which frees the bead.
    async fn end(&self, result: RunResult) {
        let mut end = RunEnd {
            lease_token: self.token.clone(),
            agent_id: self.agent.id.clone(),
            run: self.has_begun.then(|| self.run.clone()),
            answer_digest: self.answer_digest.clone(),
            result,
        };
        let mut is_mended = false;
        for _ in 0..END_TRIES {
            let beads = self.shared.beads.clone();
            match beads.end_run(&self.bead, end.clone()).await {
                Ok(()) => return,
                Err(Error::Busy(_) | Error::Crashed { .. } | Error::Store(StoreError::Full)) => {
                    let clock = &self.shared.clock;
                    clock.sleep_until(clock.now().plus(END_PAUSE)).await;
                }
                Err(Error::Refused(refusal)) if is_lost_claim(&refusal) => {
                    tracing::debug!(run = %self.run.id, %refusal, "a run ended after its claim");
                    return;
                }
                Err(error) if is_mended => {
                    tracing::error!(run = %self.run.id, %error, "a run's end could not be stored");
                    return;
                }
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "a run's end was refused; the attempt counts as failed");
                    is_mended = true;
                    let why = format!("the end of the run was refused: {error}");
                    if let Some(run) = &mut end.run {
                        (run.status, run.outcome, run.error) = (Status::Failed, None, Some(why.clone()));
                    }
                    end.result = RunResult::Failed(why);
                }
            }
        }
        // The lease runs out and frees the bead.
        tracing::error!(run = %self.run.id, "a run's end could not be stored: the disk is full or the store too slow");
    }

    async fn conversation(&mut self) -> Result<RunResult, Error> {
        let mut request = self.prepare().await?;
        let most = self.agent.config.max_steps.unwrap_or(self.shared.settings.max_steps);
        for _ in 0..most {
            let completion = match self.call(&request).await {
                Ok(completion) => completion,
                Err(failure) => {
                    // The attempt does not fail with what was said before.
                    self.answer_digest = None;
                    return match failure {
                        CallFailure::Error(error) => Err(error),
                        CallFailure::Call(error) => Ok(self.classify_error(&error).await),
                    };
                }
            };
            self.count(&completion);
            let answer = completion.answer;
            let result = match self.judge(&answer) {
                Verdict::Again => {
                    // Calls with cut arguments are no JSON, and no result would follow them.
                    let said = if answer.content.is_empty() { "…" } else { &answer.content };
                    request.messages.push(Message::new(Speaker::Assistant, said));
                    request.messages.push(Message::new(Speaker::User, CUT_ANSWER));
                    None
                }
                Verdict::End(result) => {
                    request.messages.push(Message::new(Speaker::Assistant, answer.content.clone()));
                    Some(result)
                }
                Verdict::Whole => self.accept(&answer, &mut request).await?,
            };
            self.remember(&request);
            if let Some(result) = result {
                return Ok(result);
            }
            if conversation_bytes(&request) > limits::MAX_CONVERSATION {
                let most = limits::MAX_CONVERSATION;
                return Ok(RunResult::Failed(format!("its conversation is longer than {most} bytes")));
            }
        }
        Ok(RunResult::Failed(format!("it did not end within {most} steps")))
    }

    /// Judges an answer by its end. Only a whole answer is acted upon.
    fn judge(&mut self, answer: &ChatAnswer) -> Verdict {
        let was_cut = std::mem::replace(&mut self.is_cut, answer.end == AnswerEnd::Length);
        let Some(defect) = answer.end.defect() else { return Verdict::Whole };
        if self.is_cut && !was_cut {
            return Verdict::Again;
        }
        // The same defect at the next attempt is no repeated answer.
        self.answer_digest = None;
        let said = prompt::excerpt(&answer.content);
        let why = if said.is_empty() { defect.to_owned() } else { format!("{defect}: {said}") };
        Verdict::End(RunResult::Failed(why))
    }

    /// Acts upon a whole answer that is not the one before again.
    async fn accept(
        &mut self,
        answer: &ChatAnswer,
        request: &mut ChatRequest,
    ) -> Result<Option<RunResult>, Error> {
        let mut said = Message::new(Speaker::Assistant, answer.content.clone());
        said.tool_calls.clone_from(&answer.tool_calls);
        request.messages.push(said);
        match self.detect_repeat(answer) {
            Repetition::Repeated => Ok(Some(RunResult::Failed(format!(
                "it gave the same answer twice in a row: {}",
                describe_answer(answer)
            )))),
            Repetition::New => self.execute_actions(answer, request).await,
        }
    }

    /// Records an answer; a model that repeats an answer is likely to continue to do so.
    fn detect_repeat(&mut self, answer: &ChatAnswer) -> Repetition {
        let calls: Vec<_> = answer.tool_calls.iter().map(|call| (&call.name, &call.arguments)).collect();
        let answer_digest = lease::digest(&json!([answer.content.trim(), calls]).to_string());
        match self.answer_digest.replace(answer_digest) {
            Some(before) if self.answer_digest.as_ref() == Some(&before) => Repetition::Repeated,
            _ => Repetition::New,
        }
    }

    /// Does everything that an answer asks for, and tells the model what came of it.
    async fn execute_actions(
        &self,
        answer: &ChatAnswer,
        request: &mut ChatRequest,
    ) -> Result<Option<RunResult>, Error> {
        let mut waits = Vec::new();
        let actions = if answer.tool_calls.is_empty() {
            match tools::parse_answer(&answer.content) {
                Ok(actions) => actions.into_iter().map(|action| (None, Ok(action))).collect(),
                Err(problem) => vec![(None, Err(problem))],
            }
        } else {
            let read = |call: &ToolCall| tools::parse_tool_call(&call.name, &call.arguments);
            answer.tool_calls.iter().map(|call| (Some(call), read(call))).collect()
        };
        for (call, action) in actions {
            let tool_outcome = match action {
                Ok(action) => tool_calls::act(&self.shared, &self.agent, &self.bead, action).await?,
                Err(problem) => ToolOutcome::Reply(problem),
            };
            let reply = match tool_outcome {
                ToolOutcome::End(result) => return Ok(Some(result)),
                ToolOutcome::Reply(reply) => reply,
                ToolOutcome::WaitFor(id) => {
                    let reply = format!("created as {id}; this work item rests until it is done");
                    waits.push(id);
                    reply
                }
            };
            request.messages.push(match call {
                Some(call) => Message::tool_result(&call.id, reply),
                None => Message::new(Speaker::User, format!("{reply}. Go on.")),
            });
        }
        Ok((!waits.is_empty()).then_some(RunResult::Wait(waits)))
    }

    /// Reads what the prompt needs and writes the run's row, before the provider is called.
    async fn prepare(&mut self) -> Result<ChatRequest, Error> {
        let store = &self.shared.store;
        let gone = |what: &'static str| Error::Provider(format!("the {what} is gone"));
        let bead = store.bead(self.bead.to_string()).await?.ok_or_else(|| gone("bead"))?;
        let project = store.project(bead.project_id.to_string()).await?.ok_or_else(|| gone("project"))?;
        let prompt_context = crate::run::prompt_context::read(store, &bead, &self.agent.id).await?;
        let persona = self.shared.personas.of(&self.agent).await?;
        let system = prompt::system(&self.agent, persona.as_ref());
        let user = prompt::user(&project, &bead, &prompt_context);
        let now = self.shared.clock.now();
        self.run.bead_id = Some(bead.id.clone());
        self.run.agent_id = Some(self.agent.id.clone());
        self.run.project_id = Some(bead.project_id.clone());
        self.run.provider_id.clone_from(&self.agent.provider_id);
        self.run.prompt.clone_from(&user);
        self.run.started_at = now;
        let mut unit = Unit::new(now, self.agent.id.as_str(), "runs");
        unit.emit(NewEvent {
            kind: EventType::RunStarted,
            project_id: Some(bead.project_id.to_string()),
            subject: self.run.id.to_string(),
            data: json!({"bead_id": bead.id, "agent_id": self.agent.id, "attempt": bead.attempts + 1}),
        });
        unit.change(Change::StartRun(self.run.clone()));
        store.commit(unit).await?;
        self.has_begun = true;
        let tools = tools::tools().into_iter().map(|tool| Tool {
            name: tool.name.to_owned(),
            description: tool.description.to_owned(),
            parameters: tool.parameters,
        });
        let config = &self.agent.config;
        Ok(ChatRequest {
            model: config.model.clone().unwrap_or_default(),
            messages: vec![Message::new(Speaker::System, system), Message::new(Speaker::User, user)],
            tools: tools.collect(),
            temperature: config.temperature,
            max_tokens: config.max_tokens,
            uses_completion_limit: false,
        })
    }

    /// Calls the provider and keeps the lease alive meanwhile.
    async fn call(&self, request: &ChatRequest) -> Result<Completion, CallFailure> {
        let provider = self.agent.provider_id.clone().ok_or_else(|| {
            CallFailure::Error(Error::Provider(format!("agent {} has no provider", self.agent.id)))
        })?;
        let row = self.shared.store.provider(provider.to_string()).await.map_err(Error::from)?;
        let gone = || Error::Provider(format!("provider {provider} is gone"));
        let row = row.ok_or_else(gone)?;
        let named = self.agent.config.model.as_deref();
        let candidates =
            failover::candidates(&self.shared.calls.providers, &row, named, FirstCandidate::Weighted).await?;
        let attribution = Attribution {
            kind: call::Kind::Run,
            agent_id: Some(self.agent.id.clone()),
            project_id: self.run.project_id.clone(),
            bead_id: Some(self.bead.clone()),
            run_id: Some(self.run.id.clone()),
            token_id: None,
        };
        let call =
            chat::chat(&self.shared.calls, candidates, self.agent.id.as_str(), attribution, request, None);
        tokio::pin!(call);
        let mut renew = tokio::time::interval(self.shared.settings.lease_ttl / 3);
        renew.tick().await;
        let beads = self.shared.beads.clone();
        loop {
            tokio::select! {
                outcome = &mut call => return outcome,
                _ = renew.tick() => {
                    match beads.heartbeat(&self.bead, self.token.clone()).await {
                        Ok(_) | Err(Error::Busy(_) | Error::Crashed { .. } | Error::Store(_)) => {}
                        // The claim is over; the model's answer no longer counts.
                        Err(error) => return Err(CallFailure::Error(error)),
                    }
                }
            }
        }
    }

    fn count(&mut self, completion: &Completion) {
        let (run, usage) = (&mut self.run, completion.answer.usage);
        run.steps += 1;
        run.key_uses += completion.key_uses;
        run.input_tokens += usage.input_tokens;
        run.output_tokens += usage.output_tokens;
        run.cost_usd += completion.cost_usd;
        run.latency_ms += completion.latency_ms;
        run.model = Some(completion.answer.model.clone());
        run.answer = Some(limits::cut(completion.answer.content.clone(), limits::MAX_MODEL_TEXT));
        self.left_out.extend(completion.left_out.iter().cloned());
    }

    fn remember(&mut self, request: &ChatRequest) {
        // Messages are plain texts, which always serialize.
        let notes = self.left_out.iter().map(|note| Message::new(Speaker::System, note.as_str()));
        let messages: Vec<Message> = request.messages.iter().cloned().chain(notes).collect();
        self.run.messages = serde_json::to_value(&messages).unwrap_or_default();
    }

    /// Classifies a provider's error: an outage does not count as an attempt of the bead.
    async fn classify_error(&self, error: &arbiter_providers::CallError) -> RunResult {
        let text = error.to_string();
        if let CallErrorKind::RateLimited { retry_after } = error.kind() {
            let pause = retry_after.unwrap_or(LIMIT_PAUSE).clamp(LEAST_PAUSE, LONGEST_PAUSE);
            return RunResult::Deferred(text, pause);
        }
        if !matches!(
            error.kind(),
            CallErrorKind::Unreachable | CallErrorKind::TimedOut | CallErrorKind::Overloaded
        ) {
            return RunResult::Failed(text);
        }
        let Some(provider) = &self.agent.provider_id else { return RunResult::Failed(text) };
        match self.shared.calls.heartbeats.heartbeat(provider).await {
            Ok(provider) if provider.is_usable(self.shared.calls.open_vault.access(&provider)) => {
                RunResult::Failed(text)
            }
            Ok(_) | Err(_) => RunResult::NotCounted(format!("provider {provider} does not answer: {text}")),
        }
    }
}

/// Describes an answer in an error: its text, else the tools that it calls.
fn describe_answer(answer: &ChatAnswer) -> String {
    let text = answer.content.trim();
    if !text.is_empty() {
        return prompt::excerpt(text);
    }
    let tools: Vec<&str> = answer.tool_calls.iter().map(|call| call.name.as_str()).collect();
    match tools.as_slice() {
        [] => "an empty one".to_owned(),
        tools => format!("a call of {} and no text", tools.join(", ")),
    }
}
