//! The console: questions about the company, answered by the best provider from the facts of the moment.
//!
//! Owns which provider is asked and what it is told. Keeps no state but rows: the conversation of a user is
//! what the store has of it. Not an actor: one question knows nothing of another.

use crate::call::chat::{self, Completion};
use crate::call::failover::{self, FirstCandidate};
use crate::call::ledger_entry::Attribution;
use crate::caller::Caller;
use crate::error::Error;
use crate::gateway::GatewayContext;
use crate::runtime::random;
use arbiter_core::kernel::call::Kind;
use arbiter_core::kernel::ids::{ProjectId, ProviderId, TokenId};
use arbiter_core::kernel::lease::hex;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::prompt::console as prompt_console;
use arbiter_core::prompt::console::CompanySnapshot;
use arbiter_core::provider::Provider;
use arbiter_core::provider::rank::{self, Candidate};
use arbiter_core::{bead, decision};
use arbiter_providers::{ChatAnswer, ChatRequest, Message, Speaker};
use arbiter_store::{BeadFilter, BeadSort, Change, ConsoleTurn, DecisionFilter, PageRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Most earlier turns of the same user and within the same reach in the prompt.
const REMEMBERED: u32 = 6;
/// Most facts of one kind in the prompt.
const FACTS: u32 = 20;
/// System prompt of the console's model.
const PERSONA: &str = include_str!("../../config/personas/arbiter/PERSONA.md");

/// A question.
#[derive(Clone, Debug)]
pub struct ConsoleQuestion {
    pub message: String,
    /// The provider that shall answer; else the best one.
    pub provider_id: Option<ProviderId>,
    /// The project it is about; else all that `within` allows.
    pub project_id: Option<String>,
    /// Projects whose facts the prompt may contain, and within which earlier turns are remembered; `None`: all
    /// projects.
    pub within: Option<Vec<String>>,
    pub timeout: Option<Duration>,
}

/// Handle of the console.
#[derive(Clone)]
pub struct ConsoleHandle(pub(crate) Arc<GatewayContext>);

impl ConsoleHandle {
    /// Answers a question, and keeps both.
    ///
    /// # Errors
    /// [`Error::Refused`] when no provider is usable or the named one is not; [`Error::Provider`] when it
    /// gives no answer.
    pub async fn ask(&self, caller: &Caller, question: ConsoleQuestion) -> Result<ConsoleTurn, Error> {
        self.ask_streaming(caller, question, None).await
    }

    /// Asks a provider and sends the pieces of the answer to a listener, if there is one.
    ///
    /// # Errors
    /// As [`ConsoleHandle::ask`].
    pub async fn ask_streaming(
        &self,
        caller: &Caller,
        question: ConsoleQuestion,
        listener: Option<UnboundedSender<String>>,
    ) -> Result<ConsoleTurn, Error> {
        let length = question.message.chars().count();
        if question.message.trim().is_empty() || length > limits::MAX_PROMPT {
            return Err(Refusal::field("message", limits::must_have_chars(&(1..=limits::MAX_PROMPT))).into());
        }
        let (provider, reason) = self.choose(question.provider_id.as_ref()).await?;
        let request = ChatRequest {
            model: String::new(),
            messages: self.messages(caller, &question).await?,
            tools: vec![],
            temperature: None,
            max_tokens: None,
            uses_completion_limit: false,
        };
        let at = self.0.clock.now();
        let project = question.project_id.as_deref();
        let completion =
            self.call(&provider, caller, project, &request, question.timeout, listener.clone()).await?;
        let response = with_defect(&completion.answer, listener.as_ref());
        let usage = completion.answer.usage;
        let stand_in = match completion.provider_id == provider.id {
            true => None,
            false => self.0.store.provider(completion.provider_id.to_string()).await?,
        };
        let answered_by = stand_in.as_ref().unwrap_or(&provider);
        let turn = ConsoleTurn {
            id: format!("turn-{}", &hex(&random())[..20]),
            at,
            user: caller.name.clone(),
            project_id: question.project_id,
            within: question.within,
            message: question.message,
            response: limits::cut(response, limits::MAX_MODEL_TEXT),
            provider_id: answered_by.id.to_string(),
            provider_name: answered_by.name.clone(),
            model: completion.answer.model,
            reason,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost_usd: completion.cost_usd,
            latency_ms: completion.latency_ms,
            workflow_id: completion.workflow_id,
        };
        let mut unit = caller.unit(at, "console");
        unit.change(Change::ConsoleTurn(turn.clone()));
        self.0.store.commit(unit).await?;
        Ok(turn)
    }

    async fn call(
        &self,
        provider: &Provider,
        caller: &Caller,
        project: Option<&str>,
        request: &ChatRequest,
        limit: Option<Duration>,
        listener: Option<UnboundedSender<String>>,
    ) -> Result<Completion, Error> {
        let token = caller.origin.as_ref().and_then(|origin| origin.token_id.clone());
        let attribution = Attribution {
            kind: Kind::Repl,
            agent_id: None,
            project_id: project.map(ProjectId::from_trusted),
            bead_id: None,
            run_id: None,
            token_id: token.map(TokenId::from_trusted),
        };
        let candidates =
            failover::candidates(&self.0.providers, provider, None, FirstCandidate::Itself).await?;
        let call = chat::chat(&self.0.calls, candidates, &caller.name, attribution, request, listener);
        let outcome = match limit {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call).await.map_err(|_| Error::late(limit))?,
        };
        Ok(outcome?)
    }

    /// The named provider, or the best of those that can be used now; and why.
    async fn choose(&self, named: Option<&ProviderId>) -> Result<(Provider, String), Error> {
        let shared = &self.0;
        let usable = shared.providers.usable().await?;
        if let Some(id) = named {
            let Some(row) = shared.store.provider(id.to_string()).await? else {
                return Err(Refusal::field("provider_id", format!("no provider has the id {id}")).into());
            };
            let found = usable.into_iter().find(|known| known.provider.id == *id);
            let none = || Refusal::conflict(ProblemCode::ProviderUnusable, row.unusable_reason());
            return Ok((found.ok_or_else(none)?.provider, format!("{id} was asked for")));
        }
        let candidates: Vec<Candidate<'_>> = usable
            .iter()
            .map(|known| Candidate { provider: &known.provider, latency_ms: known.latency_ms })
            .collect();
        match rank::best(&candidates) {
            Some((provider, reason)) => Ok((provider.clone(), reason)),
            None => {
                Err(Refusal::conflict(ProblemCode::ProviderUnusable, "no provider can be called now").into())
            }
        }
    }

    async fn messages(&self, caller: &Caller, question: &ConsoleQuestion) -> Result<Vec<Message>, Error> {
        let snapshot = self.snapshot(question).await?;
        let system = prompt_console::system(PERSONA.trim_end(), &snapshot, self.0.clock.now());
        let mut messages = vec![Message::new(Speaker::System, system)];
        let (user, within) = (caller.name.clone(), question.within.clone());
        for turn in self.0.store.newest_console_turns(user, within, REMEMBERED).await? {
            messages.push(Message::new(Speaker::User, turn.message));
            messages.push(Message::new(Speaker::Assistant, turn.response));
        }
        messages.push(Message::new(Speaker::User, question.message.clone()));
        Ok(messages)
    }

    async fn snapshot(&self, question: &ConsoleQuestion) -> Result<CompanySnapshot, Error> {
        let (store, now) = (&self.0.store, self.0.clock.now());
        let some = || PageRequest { limit: FACTS, cursor: None };
        let beads = |status, ready: bool| BeadFilter {
            project_id: question.project_id.clone(),
            within: question.within.clone(),
            status,
            ready_at: ready.then_some(now),
            sort: BeadSort::Urgency,
            ..BeadFilter::default()
        };
        let mut snapshot = CompanySnapshot::default();
        let named =
            |b: &bead::Bead| format!("{} ({}, P{}, project {})", b.id, b.title, b.priority, b.project_id);
        let running = store.beads(beads(Some(bead::Status::InProgress), false), some()).await?;
        let blocked = store.beads(beads(Some(bead::Status::Blocked), false), some()).await?;
        let ready = store.beads(beads(None, true), some()).await?;
        let open = store.beads(beads(Some(bead::Status::Open), false), some()).await?;
        let closed = store.beads(beads(Some(bead::Status::Closed), false), some()).await?;
        let pending = DecisionFilter {
            project_id: question.project_id.clone(),
            within: question.within.clone(),
            status: Some(decision::Status::Pending),
            ..DecisionFilter::default()
        };
        let pending = store.decisions(pending, some()).await?;
        snapshot.counts.push(format!(
            "beads: {} in progress, {} blocked, {} open ({} of them ready), {} closed; decisions pending: {}",
            running.total, blocked.total, open.total, ready.total, closed.total, pending.total
        ));
        snapshot.running.extend(
            running.items.iter().map(|d| {
                format!("{} by {}", named(&d.bead), d.bead.assigned_to.as_deref().unwrap_or("nobody"))
            }),
        );
        snapshot.stuck.extend(blocked.items.iter().map(|d| {
            format!("{}: {}", named(&d.bead), d.bead.block_reason.as_deref().unwrap_or("no reason given"))
        }));
        snapshot.ready.extend(ready.items.iter().map(|d| named(&d.bead)));
        snapshot.waiting.extend(pending.items.iter().map(|d| {
            let about = d.bead_id.as_ref().map(|bead| format!(" about {bead}")).unwrap_or_default();
            format!("decision {}{about}: {}", d.id, d.question)
        }));
        for provider in store.all_providers().await? {
            let reason = provider.status_reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
            snapshot.providers.push(format!("{} is {}{reason}", provider.id, provider.status));
        }
        Ok(snapshot)
    }
}

/// Returns the text of an answer, with a note behind one that is not whole. The listener gets the note too.
fn with_defect(answer: &ChatAnswer, listener: Option<&UnboundedSender<String>>) -> String {
    let Some(defect) = answer.end.defect() else { return answer.content.clone() };
    let note = format!("\n\n[{defect}]");
    if let Some(listener) = listener {
        // A listener that has gone needs no note.
        drop(listener.send(note.clone()));
    }
    format!("{}{note}", answer.content).trim_start().to_owned()
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&random::bytes16());
    bytes
}
