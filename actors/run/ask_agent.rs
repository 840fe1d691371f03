//! Prompts to an agent without a bead: one question, one answer, one run.
//!
//! Not an actor: a prompt takes nothing from the agent's work at beads.

use crate::bead::release;
use crate::bead::{BeadAction, BeadsHandle};
use crate::call::chat::{self, Completion};
use crate::call::failover::{self, First};
use crate::call::in_flight::Ticket;
use crate::call::ledger_entry::Payer;
use crate::caller::Caller;
use crate::context::Shared;
use crate::error::Fault;
use crate::provider::authorized_client::CallFailure;
use crate::runtime::random;
use arbiter_core::agent::persona::Persona;
use arbiter_core::agent::{Agent, Kind as AgentKind, Status as AgentStatus};
use arbiter_core::kernel::call::Kind;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, ProjectId, RunId, TokenId};
use arbiter_core::kernel::refusal::{Problems, Refusal};
use arbiter_core::kernel::run::{Run, Status};
use arbiter_core::prompt;
use arbiter_providers::{ChatRequest, Message, Role as Speaker};
use arbiter_store::{Change, Unit};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The longest prompt, in characters.
const MAX_PROMPT: usize = 1_000_000;

/// How others reach prompts and runs.
#[derive(Clone)]
pub struct WorkHandle(pub(crate) Arc<Shared>);

/// A prompt to an agent.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Who is asked.
    pub agent_id: AgentId,
    /// The project it is for, which pays.
    pub project_id: ProjectId,
    /// What is asked.
    pub prompt: String,
    /// What else the agent has to know, by name.
    pub context: Map<String, Value>,
    /// How long the answer may take; none: as long as any call.
    pub timeout: Option<Duration>,
}

impl WorkHandle {
    /// Asks an agent; the run that comes of it has the answer.
    ///
    /// # Errors
    /// [`Fault::Refused`] for an unknown agent or project, one of another project, one that is not started or does its own work,
    /// for a spent budget and for a run that was cancelled; [`Fault::Call`] when its provider failed.
    pub async fn ask(&self, caller: &Caller, wanted: Prompt) -> Result<Run, Fault> {
        let agent = self.check(&wanted).await?;
        let shared = &self.0;
        let id = RunId::from_random(random::bytes16());
        let ticket = Ticket::of(shared, &id);
        let ending = ticket.ending();
        let persona = shared.personas.of(&agent).await?;
        let request = request(&agent, persona.as_ref(), &wanted);
        let token = caller.origin.as_ref().and_then(|origin| origin.token_id.clone()).map(TokenId::known);
        let run = Run {
            agent_id: Some(agent.id.clone()),
            project_id: Some(wanted.project_id.clone()),
            token_id: token.clone(),
            provider_id: agent.provider_id.clone(),
            prompt: wanted.prompt.clone(),
            ..Run::new(id.clone(), Kind::Work, shared.clock.now())
        };
        let mut unit = caller.unit(run.started_at, "runs");
        unit.tell(NewEvent {
            kind: EventType::RunStarted,
            project_id: Some(wanted.project_id.to_string()),
            subject: id.to_string(),
            data: json!({"kind": Kind::Work, "agent_id": agent.id}),
        });
        unit.change(Change::StartRun(run.clone()));
        shared.store.commit(unit).await?;
        let mut begun = Begun {
            shared: Arc::clone(shared),
            run: Some(run),
            ticket: Some(ticket),
            by: agent.id.to_string(),
        };
        let payer = Payer {
            kind: Kind::Work,
            agent_id: Some(agent.id.clone()),
            project_id: Some(wanted.project_id),
            bead_id: None,
            run_id: Some(id),
            token_id: token,
        };
        let limit = wanted.timeout.unwrap_or(Duration::MAX);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(limit, self.call(&agent, payer, &request)) => match outcome {
                Ok(outcome) => outcome,
                Err(_) => Err(Fault::late(limit)),
            },
            () = ending.wanted() => Err(ending.refusal().into()),
        };
        match outcome {
            Ok(completion) => begun.answered(request, completion).await,
            Err(fault) => {
                let status = if ending.why().is_some() { Status::Cancelled } else { Status::Failed };
                begun.ended(status, &fault).await;
                Err(fault)
            }
        }
    }

    async fn call(&self, agent: &Agent, payer: Payer, request: &ChatRequest) -> Result<Completion, Fault> {
        let shared = &self.0;
        let gone = || Fault::Provider(format!("the provider of agent {} is gone", agent.id));
        let id = agent.provider_id.clone().ok_or_else(gone)?;
        let provider = shared.store.provider(id.to_string()).await?.ok_or_else(gone)?;
        let named = agent.config.model.as_deref();
        let candidates = failover::candidates(shared, &provider, named, First::Drawn).await?;
        chat::chat(shared, candidates, agent.id.as_str(), payer, request, None).await.map_err(|failure| {
            match failure {
                CallFailure::Fault(fault) => fault,
                failure @ CallFailure::Call(_) => failure.into(),
            }
        })
    }

    async fn check(&self, wanted: &Prompt) -> Result<Agent, Fault> {
        let store = &self.0.store;
        let mut problems = Problems::default();
        let length = wanted.prompt.chars().count();
        problems.require((1..=MAX_PROMPT).contains(&length), "prompt", "has 1 to 1000000 characters");
        let is_project = store.project(wanted.project_id.to_string()).await?.is_some();
        let detail = format!("no project has the id {}", wanted.project_id);
        problems.require(is_project, "project_id", detail);
        let agent = store.agent(wanted.agent_id.to_string()).await?;
        let detail = format!("no agent has the id {}", wanted.agent_id);
        problems.require(agent.is_some(), "agent_id", detail);
        if let Some(agent) = &agent {
            let own = agent.project_id.as_ref();
            let detail = format!("agent {} works for another project", agent.id);
            problems.require(own.is_none_or(|own| *own == wanted.project_id), "agent_id", detail);
            let detail = format!("agent {} does its own work and cannot be asked", agent.id);
            problems.require(agent.kind == AgentKind::Llm, "agent_id", detail);
        }
        problems.finish()?;
        let agent = agent.ok_or_else(|| Refusal::not_found("agent", wanted.agent_id.as_str()))?;
        match agent.status {
            AgentStatus::Inactive | AgentStatus::Shutdown => {
                let detail = format!("agent {} is {}", agent.id, agent.status);
                Err(Refusal::conflict("agent-not-started", detail).into())
            }
            _ => Ok(agent),
        }
    }

    /// Ends a run. A bead it was for is blocked, so that it is not begun again before somebody wants it.
    ///
    /// # Errors
    /// [`Fault::Refused`] for an unknown run and for one that has ended.
    pub async fn cancel(&self, caller: &Caller, id: &RunId, reason: Option<&str>) -> Result<Run, Fault> {
        let shared = &self.0;
        let by = match reason {
            Some(reason) => format!("the run was cancelled by {}: {reason}", caller.name),
            None => format!("the run was cancelled by {}", caller.name),
        };
        let found = shared.store.run(id.to_string()).await?;
        let bead =
            found.as_ref().filter(|run| run.status == Status::Running).and_then(|run| run.bead_id.clone());
        if let Some(bead) = bead {
            BeadsHandle(Arc::clone(shared))
                .act(caller, &bead, BeadAction::Block { reason: by }, None)
                .await?;
        } else if !shared.underway.end(id, by).await {
            let run = found.ok_or_else(|| Refusal::not_found("run", id.as_str()))?;
            return Err(Refusal::conflict("run-ended", format!("run {id} has ended: {}", run.status)).into());
        }
        let after = shared.store.run(id.to_string()).await?;
        Ok(after.ok_or_else(|| Refusal::not_found("run", id.as_str()))?)
    }
}

fn request(agent: &Agent, persona: Option<&Persona>, wanted: &Prompt) -> ChatRequest {
    let config = &agent.config;
    let user = prompt::asked(&wanted.prompt, &wanted.context);
    let messages = vec![
        Message::new(Speaker::System, prompt::persona(agent, persona)),
        Message::new(Speaker::User, user),
    ];
    let (temperature, max_tokens) = (config.temperature, config.max_tokens);
    ChatRequest { model: String::new(), messages, tools: vec![], temperature, max_tokens }
}

/// A run that has begun. Dropped before its end is written, it was cancelled: whoever asked has gone.
struct Begun {
    shared: Arc<Shared>,
    run: Option<Run>,
    ticket: Option<Ticket>,
    by: String,
}

impl Begun {
    async fn answered(&mut self, mut request: ChatRequest, completion: Completion) -> Result<Run, Fault> {
        let Some(run) = self.run.take() else { return Err(Fault::ShuttingDown) };
        let Completion { answer, provider_id, latency_ms, cost_usd, key_uses, .. } = completion;
        request.messages.push(Message::new(Speaker::Assistant, answer.content.clone()));
        let run = Run {
            status: Status::Succeeded,
            outcome: Some("answered".to_owned()),
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

    async fn ended(&mut self, status: Status, fault: &Fault) {
        let Some(run) = self.run.take() else { return };
        let run =
            Run { status, error: Some(fault.to_string()), finished_at: Some(self.shared.clock.now()), ..run };
        if let Err(fault) = finish(&self.shared, &self.by, &run).await {
            tracing::error!(run = %run.id, %fault, "a run's end could not be stored; the next start does it");
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let (Some(run), ticket) = (self.run.take(), self.ticket.take()) else { return };
        let (shared, by) = (Arc::clone(&self.shared), self.by.clone());
        let world = Arc::clone(&shared);
        world.later(async move {
            let run = release::cancelled(run, "whoever asked went away", shared.clock.now());
            if let Err(fault) = finish(&shared, &by, &run).await {
                tracing::error!(run = %run.id, %fault, "a run's end could not be stored; the next start does it");
            }
            drop(ticket);
        });
    }
}

async fn finish(shared: &Shared, by: &str, run: &Run) -> Result<(), Fault> {
    let mut unit = Unit::new(shared.clock.now(), by, "runs");
    release::finish_run(&mut unit, run);
    shared.store.commit(unit).await?;
    Ok(())
}
