//! Decisions: questions to a person, with a deadline, and what their answers do to the bead they are about.

pub mod authorize;
pub mod autonomy;
pub mod deadline;
pub mod edit;
pub mod effects;
pub mod subject_digest;

use crate::bead;
use crate::decision::deadline::{OnTimeout, TIMED_OUT_REASON};
use crate::kernel::event_type::EventType;
use crate::kernel::ids::{BeadId, DecisionId, ProjectId};
use crate::kernel::limits;
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::record::{FieldChanges, Record};
use crate::kernel::refusal::{Problems, Refusal};
use crate::kernel::state_machine::StateMachine;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

string_enum! {
    /// State of a decision in its lifecycle.
    pub enum Status {
        Pending = "pending",
        Resolved = "resolved",
        Timeout = "timeout",
        Cancelled = "cancelled",
    }
}

string_enum! {
    /// Event that ends a decision.
    pub enum Trigger {
        Resolve = "resolve",
        Expire = "time out",
        Cancel = "cancel",
    }
}

impl StateMachine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "decision";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Pending, Trigger::Resolve, Self::Resolved),
        (Self::Pending, Trigger::Expire, Self::Timeout),
        (Self::Pending, Trigger::Cancel, Self::Cancelled),
    ];
}

string_enum! {
    /// Purpose of a decision, which determines the effect of its answer.
    pub enum Purpose {
        /// Question of an agent or a person; the answer goes into the next prompt.
        Question = "question",
        Approval = "approval",
        Attempts = "attempts",
        Escalation = "escalation",
        Close = "close",
    }
}

/// The answers to [`Purpose::Approval`].
pub const APPROVAL_OPTIONS: [&str; 2] = ["approve", "deny"];
/// The answers to [`Purpose::Attempts`].
pub const ATTEMPTS_OPTIONS: [&str; 3] = ["retry", "close", "leave"];
/// The answers to [`Purpose::Escalation`].
pub const ESCALATION_OPTIONS: [&str; 3] = ["approve", "deny", "needs_more_info"];
/// The answers to [`Purpose::Close`].
pub const CLOSE_OPTIONS: [&str; 2] = ["yes", "no"];
/// Actor of an answer that the decision's own `on_timeout` gives.
pub const SYSTEM: &str = "system";

/// A decision as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub id: DecisionId,
    pub project_id: ProjectId,
    pub bead_id: Option<BeadId>,
    pub purpose: Purpose,
    pub question: String,
    /// The answers that may be given; empty: any text.
    pub options: Vec<String>,
    pub recommendation: Option<String>,
    pub requester_id: Option<String>,
    pub decider_id: Option<String>,
    pub decision: Option<String>,
    pub rationale: Option<String>,
    /// 0 (critical) to 4 (backlog).
    pub priority: u8,
    pub status: Status,
    /// Time at which it ends unanswered; none: never.
    pub deadline: Option<Timestamp>,
    #[serde(default)]
    pub on_timeout: OnTimeout,
    #[serde(default)]
    pub escalated_at: Option<Timestamp>,
    /// Share of its time that had passed at the last reminder, in percent; 0: no reminder yet.
    #[serde(default)]
    pub reminded: u8,
    /// The digest of what it is about, as that was when it was asked; none: it is about nothing that could change.
    #[serde(default)]
    pub subject_digest: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub decided_at: Option<Timestamp>,
    pub revision: u64,
}

impl Record for Decision {
    const ENTITY: &'static str = "decision";
    const CREATED: EventType = EventType::DecisionCreated;
    const STATUS_CHANGED: &'static [EventType] =
        &[EventType::DecisionResolved, EventType::DecisionTimeout, EventType::DecisionCancelled];
    const UPDATED: EventType = EventType::DecisionUpdated;
    const ALSO_UPDATED: &'static [EventType] = &[EventType::DecisionReminder];
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
        match self.status {
            Status::Timeout => EventType::DecisionTimeout,
            Status::Cancelled => EventType::DecisionCancelled,
            Status::Pending | Status::Resolved => EventType::DecisionResolved,
        }
    }
    fn touch(&mut self, at: Timestamp) {
        self.revision += 1;
        self.updated_at = at;
    }
}

/// State of a decision's subject at the time of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerContext {
    /// Its digest as it is now; none: it is gone, or there is nothing.
    pub now: Option<String>,
    /// Digest of the subject that the answer is based on; none: that of the question.
    pub seen: Option<String>,
}

/// Command to a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Resolve {
        decision: String,
        rationale: Option<String>,
        decider_id: String,
        context: AnswerContext,
    },
    /// A part of its time may have passed; refused while there is nothing to remind of.
    Remind,
    /// Its deadline may have come; refused while it has not.
    Expire {
        subject: Option<String>,
    },
    Cancel {
        reason: String,
    },
}

impl Decision {
    /// Returns the field changes that a command causes, or the reason to refuse it.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<FieldChanges>, Refusal> {
        let mut after = self.clone();
        let step = |trigger| self.status.step(self.id.as_str(), trigger);
        let mut reason = None;
        match command {
            Command::Resolve { decision, rationale, decider_id, context } => {
                after.status = step(Trigger::Resolve)?;
                if !self.options.is_empty() && !self.options.contains(decision) {
                    let detail = format!("is one of {}", self.options.join(", "));
                    return Err(Refusal::field("decision", detail));
                }
                limits::check_text("decision", decision, limits::MAX_COMMENT)?;
                limits::check_text(
                    "rationale",
                    rationale.as_deref().unwrap_or_default(),
                    limits::MAX_COMMENT,
                )?;
                after.subject_digest = self.check_subject(context)?;
                after.answer(decision, rationale.clone(), decider_id);
            }
            Command::Remind => {
                step(Trigger::Expire)?;
                return self.remind(now);
            }
            Command::Expire { subject } => {
                after.status = step(Trigger::Expire)?;
                if self.deadline.is_none_or(|deadline| deadline > now) {
                    return Err(Refusal::conflict(
                        ProblemCode::NotDue,
                        "the decision's deadline has not come",
                    ));
                }
                match &self.on_timeout {
                    OnTimeout::Escalate if self.escalated_at.is_none() => {
                        return Ok(vec![self.escalate(now)]);
                    }
                    // A default answer applies only while the subject is unchanged, because no person has seen the new
                    // one.
                    OnTimeout::Choose(option) if self.subject_digest == *subject => {
                        after.status = step(Trigger::Resolve)?;
                        after.answer(option, Some(TIMED_OUT_REASON.to_owned()), SYSTEM);
                    }
                    OnTimeout::Choose(_) => reason = Some("what it is about was changed since it was asked"),
                    OnTimeout::Escalate | OnTimeout::Expire => {}
                }
            }
            Command::Cancel { reason: why } => {
                limits::check_text("reason", why, limits::MAX_REASON)?;
                after.status = step(Trigger::Cancel)?;
                after.rationale = Some(why.clone());
                reason = Some(why.as_str());
            }
        }
        after.decided_at = Some(now);
        let event_data = json!({
            "bead_id": after.bead_id, "purpose": after.purpose, "question": after.question,
            "decision": after.decision, "rationale": after.rationale, "decider_id": after.decider_id,
            "requester_id": after.requester_id,
        });
        let event_data = event_data.as_object().cloned().unwrap_or_default();
        Ok(vec![FieldChanges::between(self, &after, reason).with_detail(event_data)])
    }

    fn answer(&mut self, decision: &str, rationale: Option<String>, decider_id: &str) {
        self.decision = Some(decision.to_owned());
        self.rationale = rationale;
        self.decider_id = Some(decider_id.to_owned());
    }

    /// The digest that an answer is given for; refused when that is not how the thing is now.
    fn check_subject(&self, context: &AnswerContext) -> Result<Option<String>, Refusal> {
        let Some(asked) = &self.subject_digest else { return Ok(None) };
        let Some(now) = &context.now else {
            let detail = format!("what decision {} is about is no longer there: cancel it", self.id);
            return Err(Refusal::conflict(ProblemCode::Stale, detail));
        };
        if context.seen.as_ref().unwrap_or(asked) == now {
            return Ok(Some(now.clone()));
        }
        let detail = format!(
            "what decision {} is about was changed since it was asked: look at it again, and if the answer holds for \
             it as it is now, give it with the subject_digest {now}",
            self.id
        );
        Err(Refusal::conflict(ProblemCode::Stale, detail))
    }
}

/// Lengths of a question, in characters.
const QUESTION_CHARS: RangeInclusive<usize> = 1..=10_000;
/// Most options of a decision.
const MAX_OPTIONS: usize = 50;
/// Lengths of an option, in bytes.
const OPTION_BYTES: RangeInclusive<usize> = 1..=500;

/// Checks a decision's own fields and reports all problems at once.
pub fn check(decision: &Decision) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    let length = decision.question.chars().count();
    problems.require(QUESTION_CHARS.contains(&length), "question", limits::must_have_chars(&QUESTION_CHARS));
    let blank = length > 0 && decision.question.trim().is_empty();
    problems.require(!blank, "question", "must have more than blanks");
    problems.require(
        decision.options.len() <= MAX_OPTIONS,
        "options",
        limits::must_have_at_most(MAX_OPTIONS),
    );
    let option_ok = |option: &String| OPTION_BYTES.contains(&option.len());
    problems.require(
        decision.options.iter().all(option_ok),
        "options",
        format!("{} each", limits::must_have_bytes(&OPTION_BYTES)),
    );
    let is_blank = |option: &String| !option.is_empty() && option.trim().is_empty();
    problems.require(!decision.options.iter().any(is_blank), "options", "must have more than blanks each");
    let distinct: BTreeSet<&str> = decision.options.iter().map(|option| option.trim()).collect();
    problems.require(distinct.len() == decision.options.len(), "options", "must differ from each other");
    problems.require(decision.priority <= bead::BACKLOG, "priority", bead::edit::priority_rule());
    let known = decision.recommendation.as_ref();
    let longest = *OPTION_BYTES.end();
    problems.require(
        known.is_none_or(|text| text.len() <= longest),
        "recommendation",
        limits::must_fit(longest),
    );
    let requester = decision.requester_id.as_ref().is_none_or(|id| id.len() <= limits::MAX_TAG);
    problems.require(requester, "requester_id", limits::must_fit(limits::MAX_TAG));
    let offered = decision.options.is_empty() || known.is_none_or(|r| decision.options.contains(r));
    problems.require(offered, "recommendation", "must be one of the options");
    if let OnTimeout::Choose(option) = &decision.on_timeout {
        problems.require(decision.options.contains(option), "on_timeout", "must choose one of the options");
    }
    let idle = decision.deadline.is_none() && decision.on_timeout != OnTimeout::Expire;
    problems.require(!idle, "on_timeout", "must come with a deadline: the decision waits for ever");
    let past = decision.deadline.is_some_and(|deadline| deadline <= decision.created_at);
    problems.require(!past, "deadline", "must be in the future");
    problems.finish()
}

#[cfg(test)]
pub(crate) mod tests;
