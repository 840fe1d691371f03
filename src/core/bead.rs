//! Beads: work items, their machine and the rules by which commands change them.

pub mod authorize;
pub mod creation_limits;
pub mod edit;
pub mod file_fields;
pub mod handoff;
pub mod merge;
pub mod readiness;
pub(crate) mod types;

use crate::bead::handoff::HandoffTarget;
use crate::bead::readiness::Blocker;
pub use crate::bead::types::{BEAD_TYPES, NEVER_DISPATCHED, NEVER_READY};
use crate::kernel::event_type::EventType;
use crate::kernel::ids::{AgentId, BeadId, ProjectId};
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::record::{FieldChanges, Record};
use crate::kernel::refusal::Refusal;
use crate::kernel::state_machine::StateMachine;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

string_enum! {
    /// State of a bead in its lifecycle.
    pub enum Status {
        Open = "open",
        InProgress = "in_progress",
        Blocked = "blocked",
        /// Done, or given up.
        Closed = "closed",
    }
}

string_enum! {
    /// Event that moves a bead to another state.
    pub enum Trigger {
        Claim = "claim",
        Block = "block",
        Unblock = "unblock",
        Release = "release",
        LeaseExpired = "lease expired",
        Complete = "complete",
        Close = "close",
        Reopen = "reopen",
        Redispatch = "redispatch",
    }
}

impl StateMachine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "bead";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Open, Trigger::Claim, Self::InProgress),
        (Self::Open, Trigger::Block, Self::Blocked),
        (Self::InProgress, Trigger::Block, Self::Blocked),
        (Self::Blocked, Trigger::Unblock, Self::Open),
        (Self::InProgress, Trigger::Release, Self::Open),
        (Self::InProgress, Trigger::LeaseExpired, Self::Open),
        (Self::Open, Trigger::Complete, Self::Closed),
        (Self::InProgress, Trigger::Complete, Self::Closed),
        (Self::Blocked, Trigger::Complete, Self::Closed),
        (Self::Open, Trigger::Close, Self::Closed),
        (Self::InProgress, Trigger::Close, Self::Closed),
        (Self::Blocked, Trigger::Close, Self::Closed),
        (Self::Closed, Trigger::Reopen, Self::Open),
        (Self::Closed, Trigger::Redispatch, Self::Open),
    ];
}

/// The priority that needs a person's approval before an agent works on it.
pub const CRITICAL: u8 = 0;
/// The priority of a bead that names none.
pub const DEFAULT_PRIORITY: u8 = 2;
/// The lowest priority.
pub const BACKLOG: u8 = 4;

/// A bead as the store holds it. Its dependencies are rows of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bead {
    pub id: BeadId,
    /// One of [`BEAD_TYPES`], or a foreign one that was imported.
    #[serde(rename = "type")]
    pub bead_type: String,
    pub title: String,
    pub description: String,
    pub status: Status,
    /// 0 (critical) to 4 (backlog).
    pub priority: u8,
    pub project_id: ProjectId,
    pub assigned_to: Option<String>,
    /// Labels; `role:x` says which role fits.
    pub tags: Vec<String>,
    /// Anything the work needs to know, by name.
    pub context: Map<String, Value>,
    pub acceptance_criteria: String,
    pub due_at: Option<Timestamp>,
    /// Not ready before this time.
    pub defer_until: Option<Timestamp>,
    pub close_reason: Option<String>,
    pub block_reason: Option<String>,
    /// Approval by a person; required for priority 0 only.
    pub approval: Approval,
    /// Failed attempts since it last made progress.
    pub attempts: u32,
    /// No retry before this time.
    pub next_attempt_at: Option<Timestamp>,
    pub last_error: Option<String>,
    #[serde(default)]
    pub last_answer: Option<String>,
    /// The agents that handed it on since it last made progress, in order.
    #[serde(default)]
    pub handed_on_by: Vec<AgentId>,
    /// Reason that excludes it from work at any status: `pinned` or `ephemeral`, from its file.
    #[serde(default)]
    pub shelved: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub revision: u64,
}

string_enum! {
    /// Approval by a person that an agent may work on a bead.
    pub enum Approval {
        Missing = "missing",
        Given = "given",
    }
}

impl Record for Bead {
    const ENTITY: &'static str = "bead";
    const CREATED: EventType = EventType::BeadCreated;
    const STATUS_CHANGED: &'static [EventType] = &[EventType::BeadStatusChange];
    const UPDATED: EventType = EventType::BeadUpdated;
    const TELEMETRY: &'static [&'static str] = &[];

    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn project(&self) -> Option<&str> {
        Some(self.project_id.as_str())
    }
    fn revision(&self) -> u64 {
        self.revision
    }
    fn status_event(&self) -> EventType {
        EventType::BeadStatusChange
    }
    fn touch(&mut self, at: Timestamp) {
        self.revision += 1;
        self.updated_at = at;
    }
}

/// Related facts about a bead, read in the same transaction as the bead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimContext {
    /// Beads it waits for.
    pub waiting_on: Vec<Blocker>,
    /// Deferral of its parent, which delays it too.
    pub parent_until: Option<Timestamp>,
    /// Open decisions about it.
    pub pending_decisions: Vec<String>,
}

/// Agent or person that claims a bead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimant {
    Agent(AgentId),
    Person(String),
}

impl Claimant {
    /// The name that `assigned_to` shows.
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(id) => id.as_str(),
            Self::Person(name) => name,
        }
    }
}

/// Effect of a release on the count of failed attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Not a failed attempt: a restart, a locked vault, a lost provider, or the holder's choice.
    NotCounted,
    /// Not a failed attempt, but no retry before the given time: a limit or a budget is reached.
    Deferred { retry_at: Timestamp },
    /// Failed attempt; no retry before the given time.
    Failed { retry_at: Timestamp, answer: Option<String> },
}

/// Command to a bead.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Claim(Claimant),
    Release {
        reason: String,
        attempt: Attempt,
    },
    /// Let another agent have it.
    HandOff {
        by: AgentId,
        target: HandoffTarget,
        reason: String,
    },
    ExpireLease {
        retry_at: Timestamp,
    },
    Block {
        reason: String,
    },
    Unblock {
        reason: String,
    },
    ReturnTo {
        to: String,
        reason: String,
    },
    Complete {
        summary: String,
    },
    Close {
        reason: String,
    },
    Reopen,
    /// Want it done anew; attempts are forgotten.
    Redispatch {
        reason: Option<String>,
    },
    Approve,
    ResetAttempts,
    /// Become what `after` says in its plain fields.
    Update(Box<Bead>),
}

impl Bead {
    /// Returns the field changes that a command causes, or the reason to refuse it. `now` is the time of the change.
    pub fn decide(
        &self,
        command: &Command,
        claim_context: &ClaimContext,
        now: Timestamp,
    ) -> Result<Vec<FieldChanges>, Refusal> {
        let mut after = self.clone();
        let mut reason = None;
        let mut notes = Vec::new();
        match command {
            Command::Claim(claimant) => {
                after.status = self.step(Trigger::Claim)?;
                self.check_claim(claimant, claim_context, now)?;
                after.assigned_to = Some(claimant.name().to_owned());
                after.next_attempt_at = None;
                let assigned = json!({"agent_id": claimant.name()});
                notes.push(FieldChanges::event_only(EventType::BeadAssigned, assigned));
            }
            Command::Release { reason: why, attempt } => {
                after.status = self.step(Trigger::Release)?;
                after.assigned_to = None;
                match attempt {
                    Attempt::NotCounted => {}
                    Attempt::Deferred { retry_at } => after.defer(why, *retry_at),
                    Attempt::Failed { retry_at, answer } => {
                        after.fail(why, *retry_at);
                        after.last_answer.clone_from(answer);
                    }
                }
                reason = Some(why.as_str());
            }
            Command::HandOff { by, target, reason: why } => {
                after.status = self.step(Trigger::Release)?;
                after.hand_off(by, target);
                reason = Some(why.as_str());
            }
            Command::ExpireLease { retry_at } => {
                after.status = self.step(Trigger::LeaseExpired)?;
                after.assigned_to = None;
                after.fail("its lease expired", *retry_at);
                reason = Some("its lease expired");
            }
            Command::Block { reason: why } => {
                after.status = self.step(Trigger::Block)?;
                after.block_reason = Some(why.clone());
                reason = Some(why.as_str());
            }
            Command::Unblock { reason: why } => {
                after.status = self.step(Trigger::Unblock)?;
                after.block_reason = None;
                after.assigned_to = None;
                reason = Some(why.as_str());
            }
            Command::ReturnTo { to, reason: why } => {
                after.status = self.step(Trigger::Unblock)?;
                after.block_reason = None;
                after.assigned_to = Some(to.clone());
                reason = Some(why.as_str());
            }
            Command::Complete { summary } => {
                after.status = self.step(Trigger::Complete)?;
                after.mark_closed(summary, now);
                notes.push(self.completed(summary));
                reason = Some(summary.as_str());
            }
            Command::Close { reason: why } => {
                after.status = self.step(Trigger::Close)?;
                after.mark_closed(why, now);
                notes.push(self.completed(why));
                reason = Some(why.as_str());
            }
            Command::Reopen => {
                after.status = self.step(Trigger::Reopen)?;
                after.reopen();
            }
            Command::Redispatch { reason: why } => {
                after.status = self.step(Trigger::Redispatch)?;
                after.reopen();
                after.reset_attempts();
                reason = why.as_deref();
            }
            Command::Approve => after.approval = Approval::Given,
            Command::ResetAttempts => after.reset_attempts(),
            Command::Update(wanted) => {
                after = wanted.as_ref().clone();
                if after.priority == CRITICAL && self.priority != CRITICAL {
                    after.approval = Approval::Missing;
                }
            }
        }
        let mut happenings = Vec::new();
        let change = FieldChanges::between(self, &after, reason);
        if !change.is_noop() {
            happenings.push(change);
        }
        happenings.append(&mut notes);
        Ok(happenings)
    }

    fn step(&self, trigger: Trigger) -> Result<Status, Refusal> {
        self.status.step(self.id.as_str(), trigger)
    }

    fn check_claim(
        &self,
        claimant: &Claimant,
        claim_context: &ClaimContext,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let not_ready = |detail: String| Err(Refusal::conflict(ProblemCode::NotReady, detail));
        if let Some(holder) = self.assigned_to.as_deref().filter(|holder| *holder != claimant.name()) {
            return not_ready(format!("bead {} is meant for {holder}", self.id));
        }
        if !claim_context.waiting_on.is_empty() {
            let ids: Vec<&str> = claim_context.waiting_on.iter().map(|blocker| blocker.id.as_str()).collect();
            return not_ready(format!("bead {} waits for {}", self.id, ids.join(", ")));
        }
        if !claim_context.pending_decisions.is_empty() {
            let ids = claim_context.pending_decisions.join(", ");
            return not_ready(format!("bead {} waits for the decision {ids}", self.id));
        }
        if let Some(until) = self.defer_until.max(claim_context.parent_until).filter(|until| *until > now) {
            return not_ready(format!("bead {} is deferred until {until}", self.id));
        }
        if let Claimant::Agent(_) = claimant
            && self.priority == CRITICAL
            && self.approval == Approval::Missing
        {
            let detail = format!("bead {} has priority 0 and no person has approved it yet", self.id);
            return Err(Refusal::conflict(ProblemCode::NotApproved, detail));
        }
        Ok(())
    }

    fn completed(&self, summary: &str) -> FieldChanges {
        let data = json!({"summary": summary, "assigned_to": self.assigned_to});
        FieldChanges::event_only(EventType::BeadCompleted, data)
    }

    fn mark_closed(&mut self, why: &str, now: Timestamp) {
        self.close_reason = Some(why.to_owned());
        self.closed_at = Some(now);
        self.block_reason = None;
        self.next_attempt_at = None;
        self.last_answer = None;
        self.handed_on_by.clear();
    }

    fn reopen(&mut self) {
        self.close_reason = None;
        self.closed_at = None;
        self.assigned_to = None;
    }

    fn fail(&mut self, error: &str, retry_at: Timestamp) {
        self.attempts += 1;
        self.defer(error, retry_at);
    }

    fn defer(&mut self, error: &str, retry_at: Timestamp) {
        self.last_error = Some(error.to_owned());
        self.next_attempt_at = Some(retry_at);
    }

    fn hand_off(&mut self, by: &AgentId, target: &HandoffTarget) {
        self.handed_on_by.push(by.clone());
        match target {
            HandoffTarget::Agent(id) => self.assigned_to = Some(id.to_string()),
            HandoffTarget::Role(role) => {
                self.assigned_to = None;
                self.tags.retain(|tag| !tag.starts_with("role:"));
                self.tags.push(format!("role:{role}"));
            }
        }
    }

    /// Clears the record of failed attempts.
    fn reset_attempts(&mut self) {
        self.last_answer = None;
        self.handed_on_by.clear();
        self.attempts = 0;
        self.next_attempt_at = None;
        self.last_error = None;
    }
}

/// The trigger by which a word in `PATCH {"status"}` reaches that status from where the bead stands.
pub fn trigger_for(from: Status, wanted: Status) -> Option<Trigger> {
    match (from, wanted) {
        (from, wanted) if from == wanted => None,
        (_, Status::InProgress) => Some(Trigger::Claim),
        (_, Status::Blocked) => Some(Trigger::Block),
        (_, Status::Closed) => Some(Trigger::Close),
        (Status::InProgress, Status::Open) => Some(Trigger::Release),
        (Status::Blocked, Status::Open) => Some(Trigger::Unblock),
        (_, Status::Open) => Some(Trigger::Reopen),
    }
}

#[cfg(test)]
mod tests;
