//! Beads: the handle by which they are created, changed, claimed and ended.
//!
//! `bead/actor.rs` is the actor of one bead. It serializes claims, leases and endings, and watches the lease. How a
//! hold ends is in `release` and `run_outcome`; a question to the operator is filed in `escalate`.

pub(crate) mod active_runs;
pub(crate) mod actor;
pub(crate) mod create;
pub(crate) mod edit;
pub(crate) mod escalate;
pub(crate) mod failure_report;
pub(crate) mod id_prefix;
pub(crate) mod release;
pub(crate) mod run_outcome;
pub(crate) mod status_change;

use crate::bead::active_runs::ActiveRuns;
use crate::bead::actor::BeadActor;
use crate::bead::id_prefix::PrefixCache;
use crate::caller::Caller;
use crate::decision::DecisionsHandle;
use crate::error::Error;
use crate::error::Reply;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use arbiter_core::bead::edit::{BeadPatch, Edge};
use arbiter_core::bead::handoff::HandoffTarget;
use arbiter_core::bead::{Bead, Claimant, Status};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::lease::{MAX_TTL_SEC, MIN_TTL_SEC};
use arbiter_core::kernel::limits::{self, MAX_REASON, MAX_RESULT};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::run::Run;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{BeadDetail, Comment, Store};
use serde_json::json;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The proof of a claim, given once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    pub token: String,
    /// Time at which the claim expires unless it is renewed.
    pub expires_at: Timestamp,
}

/// A claimed bead.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedBead {
    pub bead: BeadDetail,
    /// The lease; a person has none.
    pub lease: Option<LeaseGrant>,
}

/// Action on a bead, other than a claim or a change of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeadAction {
    Release {
        reason: String,
    },
    Complete {
        summary: String,
    },
    Close {
        reason: String,
    },
    Block {
        reason: String,
    },
    Unblock,
    /// Escalates the bead to a person; the bead waits for the answer.
    Escalate {
        reason: String,
    },
    Reopen,
    /// Dispatches the bead again.
    Redispatch {
        reason: Option<String>,
    },
}

/// A change of a bead's fields and, in the same unit of work, of its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BeadEdit {
    pub patch: BeadPatch,
    /// The status to reach by the one trigger that leads there.
    pub status: Option<Status>,
    /// The reason of the change of status.
    pub reason: Option<String>,
    /// The token of the lease under which the holder writes.
    pub lease_token: Option<String>,
}

/// The agents, which run beads. The composition implements it, because a bead knows no agent's actor.
pub(crate) trait RunStarter: Send + Sync {
    /// Tells an agent that it holds a bead and shall begin.
    fn begin_run(&self, agent: &AgentId, bead: &BeadId, token: String);
}

/// The parts that beads use.
pub(crate) struct BeadContext {
    pub(crate) services: Arc<Services>,
    pub(crate) decisions: DecisionsHandle,
    pub(crate) prefixes: Arc<PrefixCache>,
    pub(crate) runs: Arc<ActiveRuns>,
    pub(crate) beads: Registry<BeadActor>,
    pub(crate) run_starter: Weak<dyn RunStarter>,
}

deref_to_services!(BeadContext);

impl BeadContext {
    pub(crate) fn new(
        services: Arc<Services>,
        decisions: DecisionsHandle,
        run_starter: Weak<dyn RunStarter>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            decisions,
            prefixes: Arc::default(),
            runs: Arc::default(),
            beads: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Retire),
            run_starter,
        })
    }

    /// Tells an agent that it holds a bead and shall begin. Beads reach agents only through this.
    pub(crate) fn begin_run(&self, agent: &AgentId, bead: &BeadId, token: String) {
        if let Some(starter) = self.run_starter.upgrade() {
            starter.begin_run(agent, bead, token);
        }
    }
}

/// How others reach beads.
#[derive(Clone)]
pub struct BeadsHandle(pub(crate) Arc<BeadContext>);

impl BeadsHandle {
    /// Claims a bead for an agent (under a lease) or a person (without one). An agent of kind `llm` begins
    /// to work at once.
    ///
    /// # Errors
    /// [`Error::Refused`] unless the bead is ready and approved and the agent idle.
    pub async fn claim(
        &self,
        caller: &Caller,
        id: &BeadId,
        claimant: Claimant,
        ttl_sec: Option<u64>,
    ) -> Result<ClaimedBead, Error> {
        let default = self.0.settings.lease_ttl.as_secs();
        let ttl_sec = ttl_sec.unwrap_or(default);
        if !(MIN_TTL_SEC..=MAX_TTL_SEC).contains(&ttl_sec) {
            return Err(
                Refusal::field("ttl_sec", limits::must_be_between(&(MIN_TTL_SEC..=MAX_TTL_SEC))).into()
            );
        }
        let caller = caller.clone();
        self.ask(id, |answer| Command::Claim { caller, claimant, ttl_sec, answer }).await
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// [`Error::Refused`] when the token is not that of the present claim.
    pub async fn heartbeat(&self, id: &BeadId, lease_token: String) -> Result<LeaseGrant, Error> {
        self.ask(id, |answer| Command::Heartbeat { lease_token, answer }).await
    }

    /// Does something with a bead. A lease token, when given, must be that of the present claim.
    ///
    /// # Errors
    /// [`Error::Refused`] when the bead's state does not allow it.
    pub async fn act(
        &self,
        caller: &Caller,
        id: &BeadId,
        action: BeadAction,
        lease_token: Option<String>,
    ) -> Result<BeadDetail, Error> {
        check_text(&action)?;
        let caller = caller.clone();
        self.ask(id, |answer| Command::Act { caller, action, lease_token, answer }).await
    }

    /// Changes a bead's fields, dependencies and status in one commit.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields, a cycle, another revision than the caller's, or a status that cannot be
    /// reached; nothing is changed then.
    pub async fn edit(&self, caller: &Caller, id: &BeadId, edit: BeadEdit) -> Result<BeadDetail, Error> {
        limits::check_text("reason", edit.reason.as_deref().unwrap_or_default(), MAX_REASON)?;
        let (caller, edit) = (caller.clone(), Box::new(edit));
        self.ask(id, |answer| Command::Edit { caller, edit, answer }).await
    }

    /// Adds a dependency. A lease token, when given, must be that of the present claim.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown bead, a repeat, a cycle (with its path), or an old lease token.
    pub async fn add_dependency(
        &self,
        caller: &Caller,
        id: &BeadId,
        edge: Edge,
        lease_token: Option<String>,
    ) -> Result<BeadDetail, Error> {
        let (caller, add, remove) = (caller.clone(), vec![edge], vec![]);
        self.ask(id, |answer| Command::Edges { caller, add, remove, lease_token, answer }).await
    }

    /// Removes a dependency.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none.
    pub async fn remove_dependency(
        &self,
        caller: &Caller,
        id: &BeadId,
        depends_on: &BeadId,
    ) -> Result<BeadDetail, Error> {
        let edge = Edge::new(id.clone(), depends_on.clone(), "");
        let caller = caller.clone();
        let (add, remove, lease_token) = (vec![], vec![edge], None);
        self.ask(id, |answer| Command::Edges { caller, add, remove, lease_token, answer }).await
    }

    /// Comments on a bead.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown bead or an empty text.
    pub async fn comment(&self, caller: &Caller, id: &BeadId, text: String) -> Result<Comment, Error> {
        let caller = caller.clone();
        self.ask(id, |answer| Command::Comment { caller, text, answer }).await
    }

    /// Deletes a bead; its runs and events stay, its id is never given again.
    ///
    /// # Errors
    /// [`Error::Refused`] while the bead is claimed.
    pub async fn delete(&self, caller: &Caller, id: &BeadId) -> Result<(), Error> {
        let caller = caller.clone();
        self.ask(id, |answer| Command::Delete { caller, answer }).await
    }

    /// Ends a run and the hold it belongs to, in one unit.
    pub(crate) async fn end_run(&self, id: &BeadId, end: RunEnd) -> Result<(), Error> {
        let end = Box::new(end);
        self.ask(id, |answer| Command::EndRun { end, answer }).await
    }

    async fn ask<T>(&self, id: &BeadId, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        self.0.beads.ask(id.as_str(), command).await
    }
}

/// Refuses an action whose text is too long.
fn check_text(action: &BeadAction) -> Result<(), Refusal> {
    match action {
        BeadAction::Complete { summary } => limits::check_text("summary", summary, MAX_RESULT),
        BeadAction::Release { reason }
        | BeadAction::Close { reason }
        | BeadAction::Block { reason }
        | BeadAction::Escalate { reason }
        | BeadAction::Redispatch { reason: Some(reason) } => limits::check_text("reason", reason, MAX_REASON),
        BeadAction::Unblock | BeadAction::Reopen | BeadAction::Redispatch { reason: None } => Ok(()),
    }
}

/// End of a run and its effect on the bead.
#[derive(Clone, Debug)]
pub(crate) struct RunEnd {
    pub(crate) lease_token: String,
    pub(crate) agent_id: AgentId,
    /// The run as it ended; none when it failed before it had begun.
    pub(crate) run: Option<Run>,
    pub(crate) answer_digest: Option<String>,
    pub(crate) result: RunResult,
}

/// Effect of a run on its bead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunResult {
    Complete(String),
    Block(String),
    /// A person has to decide: question, options, priority.
    Ask(String, Vec<String>, Option<u8>),
    HandOff(HandoffTarget, String),
    /// These have to be done first.
    Wait(Vec<BeadId>),
    Failed(String),
    NotCounted(String),
    /// A failure whose retry is useless before this time has passed.
    Deferred(String, Duration),
}

/// Command of the bead's actor.
pub(crate) enum Command {
    Claim {
        caller: Caller,
        claimant: Claimant,
        ttl_sec: u64,
        answer: Reply<ClaimedBead>,
    },
    Heartbeat {
        lease_token: String,
        answer: Reply<LeaseGrant>,
    },
    Act {
        caller: Caller,
        action: BeadAction,
        lease_token: Option<String>,
        answer: Reply<BeadDetail>,
    },
    Edit {
        caller: Caller,
        edit: Box<BeadEdit>,
        answer: Reply<BeadDetail>,
    },
    Edges {
        caller: Caller,
        add: Vec<Edge>,
        remove: Vec<Edge>,
        lease_token: Option<String>,
        answer: Reply<BeadDetail>,
    },
    Comment {
        caller: Caller,
        text: String,
        answer: Reply<Comment>,
    },
    Delete {
        caller: Caller,
        answer: Reply<()>,
    },
    EndRun {
        end: Box<RunEnd>,
        answer: Reply<()>,
    },
    LeaseDue,
}

/// A bead with its surroundings, as it is now.
pub(crate) async fn detail(store: &Store, id: &str) -> Result<BeadDetail, Error> {
    let found = store.bead_detail(id.to_owned()).await?;
    found.ok_or_else(|| Refusal::not_found("bead", id).into())
}

/// The event of an edge that comes or goes.
pub(crate) fn edge_event(kind: EventType, bead: &Bead, edge: &Edge) -> NewEvent {
    NewEvent {
        kind,
        project_id: Some(bead.project_id.to_string()),
        subject: bead.id.to_string(),
        data: json!({"depends_on": edge.depends_on, "type": edge.kind}),
    }
}
