//! Prompts to an agent without a bead: one question, one answer, one run.
//!
//! Not an actor: a prompt takes nothing from the agent's work at beads.

use crate::bead::BeadAction;
use crate::bead::release;
use crate::call::chat::{self, Completion};
use crate::call::failover::{self, FirstCandidate};
use crate::call::in_flight::InFlightGuard;
use crate::call::ledger_entry::Attribution;
use crate::caller::Caller;
use crate::error::Error;
use crate::provider::call_failure::CallFailure;
use crate::run::RunContext;
use crate::runtime::random;
use crate::services::Services;
use arbiter_core::agent::authorize;
use arbiter_core::agent::persona::Persona;
use arbiter_core::agent::{Agent, Kind as AgentKind, Status as AgentStatus};
use arbiter_core::kernel::call::Kind;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, ProjectId, RunId, TokenId};
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::{Problems, Refusal};
use arbiter_core::kernel::run::{self, Run, Status};
use arbiter_core::prompt;
use arbiter_providers::{ChatRequest, Message, Speaker};
use arbiter_store::{Change, Unit};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Handle of prompts and runs.
#[derive(Clone)]
pub struct WorkHandle(pub(crate) Arc<RunContext>);

/// A prompt to an agent.
#[derive(Clone, Debug)]
pub struct AgentPrompt {
    pub agent_id: AgentId,
    pub project_id: ProjectId,
    pub prompt: String,
    pub context: Map<String, Value>,
    /// Time limit of the answer; `None`: that of any call.
    pub timeout: Option<Duration>,
}

impl WorkHandle {
    /// Asks an agent; the run that comes of it has the answer.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown agent or project, one of another project, one that works for every project
    /// when the caller is limited to some, one that is not started or does its own work,
    /// for a spent budget and for a run that was cancelled; [`Error::Call`] when its provider failed.
    pub async fn ask(&self, caller: &Caller, requested: AgentPrompt) -> Result<Run, Error> {
        caller.authority.require_project(Some(requested.project_id.as_str()))?;
        let agent = self.check(caller, &requested).await?;
        let shared = &self.0;
        let id = RunId::from_random(random::bytes16());
        let in_flight_guard = InFlightGuard::of(&shared.calls, &id);
        let cancellation = in_flight_guard.cancellation();
        let persona = shared.personas.of(&agent).await?;
        let request = request(&agent, persona.as_ref(), &requested);
        let token =
            caller.origin.as_ref().and_then(|origin| origin.token_id.clone()).map(TokenId::from_trusted);
        let run = Run {
            agent_id: Some(agent.id.clone()),
            project_id: Some(requested.project_id.clone()),
            token_id: token.clone(),
            provider_id: agent.provider_id.clone(),
            prompt: requested.prompt.clone(),
            ..Run::new(id.clone(), Kind::Work, shared.clock.now())
        };
        let mut unit = caller.unit(run.started_at, "runs");
        unit.emit(NewEvent {
            kind: EventType::RunStarted,
            project_id: Some(requested.project_id.to_string()),
            subject: id.to_string(),
            data: json!({"kind": Kind::Work, "agent_id": agent.id}),
        });
        unit.change(Change::StartRun(run.clone()));
        shared.store.commit(unit).await?;
        let mut run_guard = RunGuard {
            shared: Arc::clone(&shared.services),
            run: Some(run),
            in_flight_guard: Some(in_flight_guard),
            by: agent.id.to_string(),
        };
        let attribution = Attribution {
            kind: Kind::Work,
            agent_id: Some(agent.id.clone()),
            project_id: Some(requested.project_id),
            bead_id: None,
            run_id: Some(id),
            token_id: token,
        };
        let limit = requested.timeout.unwrap_or(Duration::MAX);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(limit, self.call(&agent, attribution, &request)) => match outcome {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::late(limit)),
            },
            () = cancellation.requested() => Err(cancellation.refusal().into()),
        };
        match outcome {
            Ok(completion) => run_guard.answered(request, completion).await,
            Err(error) => {
                let status = if cancellation.why().is_some() { Status::Cancelled } else { Status::Failed };
                run_guard.ended(status, &error).await;
                Err(error)
            }
        }
    }

    async fn call(
        &self,
        agent: &Agent,
        attribution: Attribution,
        request: &ChatRequest,
    ) -> Result<Completion, Error> {
        let shared = &self.0;
        let gone = || Error::Provider(format!("the provider of agent {} is gone", agent.id));
        let id = agent.provider_id.clone().ok_or_else(gone)?;
        let provider = shared.store.provider(id.to_string()).await?.ok_or_else(gone)?;
        let named = agent.config.model.as_deref();
        let candidates =
            failover::candidates(&shared.calls.providers, &provider, named, FirstCandidate::Weighted).await?;
        chat::chat(&shared.calls, candidates, agent.id.as_str(), attribution, request, None).await.map_err(
            |failure| match failure {
                CallFailure::Error(error) => error,
                failure @ CallFailure::Call(_) => failure.into(),
            },
        )
    }

    async fn check(&self, caller: &Caller, requested: &AgentPrompt) -> Result<Agent, Error> {
        let store = &self.0.store;
        let mut problems = Problems::default();
        let length = requested.prompt.chars().count();
        problems.require(
            (1..=limits::MAX_PROMPT).contains(&length),
            "prompt",
            limits::must_have_chars(&(1..=limits::MAX_PROMPT)),
        );
        limits::check_free_form(&mut problems, "context", &requested.context);
        let is_project = store.project(requested.project_id.to_string()).await?.is_some();
        let detail = format!("no project has the id {}", requested.project_id);
        problems.require(is_project, "project_id", detail);
        // A foreign agent is as good as not there.
        let agent = store.agent(requested.agent_id.to_string()).await?;
        let agent = agent.filter(|agent| authorize::read(&caller.authority, agent).is_ok());
        let detail = format!("no agent has the id {}", requested.agent_id);
        problems.require(agent.is_some(), "agent_id", detail);
        if let Some(agent) = &agent {
            let own = agent.project_id.as_ref();
            let detail = format!("agent {} works for another project", agent.id);
            problems.require(own.is_none_or(|own| *own == requested.project_id), "agent_id", detail);
            let detail = format!("agent {} does its own work and cannot be asked", agent.id);
            problems.require(agent.kind == AgentKind::Llm, "agent_id", detail);
        }
        problems.finish()?;
        let agent = agent.ok_or_else(|| Refusal::not_found("agent", requested.agent_id.as_str()))?;
        authorize::change(&caller.authority, &agent)?;
        match agent.status {
            AgentStatus::Inactive | AgentStatus::Shutdown => {
                let detail = format!("agent {} is {}", agent.id, agent.status);
                Err(Refusal::conflict(ProblemCode::AgentNotStarted, detail).into())
            }
            _ => Ok(agent),
        }
    }

    /// Cancels a run. Its bead, if any, is blocked, so that it does not start again without a request.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown run and for one that has ended.
    pub async fn cancel(&self, caller: &Caller, id: &RunId, reason: Option<&str>) -> Result<Run, Error> {
        let shared = &self.0;
        limits::check_text("reason", reason.unwrap_or_default(), limits::MAX_REASON / 2)?;
        let by = match reason {
            Some(reason) => format!("the run was cancelled by {}: {reason}", caller.name),
            None => format!("the run was cancelled by {}", caller.name),
        };
        let stored = shared.store.run(id.to_string()).await?;
        let found = stored.or_else(|| shared.calls.in_flight.chat(id));
        match &found {
            Some(run) => run::authorize::access(&caller.authority, run)?,
            None if caller.authority.projects.is_some() => {
                return Err(Refusal::not_found("run", id.as_str()).into());
            }
            None => {}
        }
        let bead =
            found.as_ref().filter(|run| run.status == Status::Running).and_then(|run| run.bead_id.clone());
        if let Some(bead) = bead {
            shared.beads.act(caller, &bead, BeadAction::Block { reason: by }, None).await?;
        } else if !shared.calls.in_flight.end(id, by).await {
            let run = found.ok_or_else(|| Refusal::not_found("run", id.as_str()))?;
            return Err(Refusal::conflict(
                ProblemCode::RunEnded,
                format!("run {id} has ended: {}", run.status),
            )
            .into());
        }
        let after = shared.store.run(id.to_string()).await?;
        Ok(after.ok_or_else(|| Refusal::not_found("run", id.as_str()))?)
    }
}

fn request(agent: &Agent, persona: Option<&Persona>, requested: &AgentPrompt) -> ChatRequest {
    let config = &agent.config;
    let user = prompt::question_prompt(&requested.prompt, &requested.context);
    let messages = vec![
        Message::new(Speaker::System, prompt::persona(agent, persona)),
        Message::new(Speaker::User, user),
    ];
    let (temperature, max_tokens) = (config.temperature, config.max_tokens);
    ChatRequest {
        model: String::new(),
        messages,
        tools: vec![],
        temperature,
        max_tokens,
        uses_completion_limit: false,
    }
}

/// A run that has begun. If it is dropped before its end is written, the caller has gone and the run is
/// cancelled.
struct RunGuard {
    shared: Arc<Services>,
    run: Option<Run>,
    in_flight_guard: Option<InFlightGuard>,
    by: String,
}

impl RunGuard {
    async fn answered(&mut self, mut request: ChatRequest, completion: Completion) -> Result<Run, Error> {
        let Some(run) = self.run.take() else { return Err(Error::ShuttingDown) };
        let Completion { mut answer, provider_id, latency_ms, cost_usd, key_uses, .. } = completion;
        answer.content = limits::cut(answer.content, limits::MAX_MODEL_TEXT);
        request.messages.push(Message::new(Speaker::Assistant, answer.content.clone()));
        let (status, outcome) = match answer.end.defect() {
            None => (Status::Succeeded, "answered"),
            Some(_) => (Status::Failed, answer.end.as_str()),
        };
        let run = Run {
            status,
            outcome: Some(outcome.to_owned()),
            error: answer.end.defect().map(str::to_owned),
            provider_id: Some(provider_id),
            model: Some(answer.model),
            // Messages are plain texts, which always serialize.
            messages: serde_json::to_value(&request.messages).unwrap_or_default(),
            answer: Some(answer.content),
            steps: 1,
            key_uses,
            input_tokens: answer.usage.input_tokens,
            output_tokens: answer.usage.output_tokens,
            cost_usd,
            latency_ms,
            finished_at: Some(self.shared.clock.now()),
            ..run
        };
        finish(&self.shared, &self.by, &run).await?;
        Ok(run)
    }

    async fn ended(&mut self, status: Status, error: &Error) {
        let Some(run) = self.run.take() else { return };
        let run =
            Run { status, error: Some(error.to_string()), finished_at: Some(self.shared.clock.now()), ..run };
        if let Err(error) = finish(&self.shared, &self.by, &run).await {
            tracing::error!(run = %run.id, %error, "a run's end could not be stored; the next start does it");
        }
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let (Some(run), in_flight_guard) = (self.run.take(), self.in_flight_guard.take()) else { return };
        let (shared, by) = (Arc::clone(&self.shared), self.by.clone());
        let task_context = Arc::clone(&shared);
        task_context.spawn_tracked(async move {
            let run = release::cancelled(run, "the client that asked went away", shared.clock.now());
            if let Err(error) = finish(&shared, &by, &run).await {
                tracing::error!(run = %run.id, %error, "a run's end could not be stored; the next start does it");
            }
            drop(in_flight_guard);
        });
    }
}

async fn finish(shared: &Services, by: &str, run: &Run) -> Result<(), Error> {
    let mut unit = Unit::new(shared.clock.now(), by, "runs");
    release::finish_run(&mut unit, run);
    shared.store.commit(unit).await?;
    Ok(())
}
