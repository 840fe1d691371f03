//! Decisions: questions to a person, with a deadline, and what their answers do to the bead they are about.

use crate::bead;
use crate::event_type::EventType;
use crate::ids::{BeadId, DecisionId, ProjectId};
use crate::machine::Machine;
use crate::record::{Happening, Record};
use crate::refusal::{Problems, Refusal};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

words! {
    /// Where a decision stands.
    pub enum Status {
        /// Nobody has answered yet.
        Pending = "pending",
        /// Somebody has answered.
        Resolved = "resolved",
        /// Nobody answered in time.
        Timeout = "timeout",
        /// The answer is no longer wanted.
        Cancelled = "cancelled",
    }
}

words! {
    /// What ends a decision.
    pub enum Trigger {
        /// An answer.
        Resolve = "resolve",
        /// Its deadline.
        Expire = "time out",
        /// Nobody needs it any more.
        Cancel = "cancel",
    }
}

impl Machine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "decision";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Pending, Trigger::Resolve, Self::Resolved),
        (Self::Pending, Trigger::Expire, Self::Timeout),
        (Self::Pending, Trigger::Cancel, Self::Cancelled),
    ];
}

words! {
    /// Why a decision was asked for, which says what its answer does.
    pub enum Purpose {
        /// Somebody has a question; the answer is for the next prompt.
        Question = "question",
        /// A critical bead wants a person's approval.
        Approval = "approval",
        /// A bead has failed too often.
        Attempts = "attempts",
    }
}

/// The answers to [`Purpose::Approval`].
pub const APPROVAL_OPTIONS: [&str; 2] = ["approve", "deny"];
/// The answers to [`Purpose::Attempts`].
pub const ATTEMPTS_OPTIONS: [&str; 3] = ["retry", "close", "leave"];

/// A decision as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its id.
    pub id: DecisionId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The bead it is about.
    pub bead_id: Option<BeadId>,
    /// Why it was asked for.
    pub purpose: Purpose,
    /// What is asked.
    pub question: String,
    /// The answers that may be given; empty: any text.
    pub options: Vec<String>,
    /// What the asker would answer.
    pub recommendation: Option<String>,
    /// Who asks.
    pub requester_id: Option<String>,
    /// Who answered.
    pub decider_id: Option<String>,
    /// The answer.
    pub decision: Option<String>,
    /// Why it was answered so.
    pub rationale: Option<String>,
    /// 0 (critical) to 4 (backlog).
    pub priority: u8,
    /// Where it stands.
    pub status: Status,
    /// When it ends unanswered; none: never.
    pub deadline: Option<Timestamp>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub decided_at: Option<Timestamp>,
    /// How many events have shaped it.
    pub revision: u64,
}

impl Record for Decision {
    const ENTITY: &'static str = "decision";
    const CREATED: EventType = EventType::DecisionCreated;
    const STATUS_CHANGED: &'static [EventType] =
        &[EventType::DecisionResolved, EventType::DecisionTimeout, EventType::DecisionCancelled];
    const UPDATED: EventType = EventType::DecisionUpdated;
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

/// What can be asked of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer it.
    Resolve {
        /// The answer.
        decision: String,
        /// Why.
        rationale: Option<String>,
        /// Who answers.
        decider_id: String,
    },
    /// Its deadline may have come; refused while it has not.
    Expire,
    /// It is no longer wanted.
    Cancel {
        /// Why.
        reason: String,
    },
}

impl Decision {
    /// What a command makes of the decision.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<Happening>, Refusal> {
        let mut after = self.clone();
        after.decided_at = Some(now);
        let step = |trigger| self.status.step(self.id.as_str(), trigger);
        let mut reason = None;
        match command {
            Command::Resolve { decision, rationale, decider_id } => {
                after.status = step(Trigger::Resolve)?;
                if !self.options.is_empty() && !self.options.contains(decision) {
                    let detail = format!("is one of {}", self.options.join(", "));
                    return Err(Refusal::field("decision", detail));
                }
                after.decision = Some(decision.clone());
                after.rationale.clone_from(rationale);
                after.decider_id = Some(decider_id.clone());
            }
            Command::Expire => {
                after.status = step(Trigger::Expire)?;
                match self.deadline {
                    Some(deadline) if deadline <= now => {}
                    _ => return Err(Refusal::conflict("not-due", "the decision's deadline has not come")),
                }
            }
            Command::Cancel { reason: why } => {
                after.status = step(Trigger::Cancel)?;
                after.rationale = Some(why.clone());
                reason = Some(why.as_str());
            }
        }
        let told = json!({
            "bead_id": after.bead_id, "question": after.question, "decision": after.decision,
            "rationale": after.rationale, "decider_id": after.decider_id,
        });
        let told = told.as_object().cloned().unwrap_or_default();
        Ok(vec![Happening::between(self, &after, reason).telling(told)])
    }

    /// What the end of this decision does to the bead it is about, if anything. `bead` is its status.
    pub fn effect(&self, bead: bead::Status) -> Vec<bead::Command> {
        let answer = self.decision.as_deref();
        let blocked = bead == bead::Status::Blocked;
        match (self.purpose, self.status) {
            (_, Status::Pending) => vec![],
            (Purpose::Question, status) if blocked => {
                let reason = match status {
                    Status::Resolved => format!("decision {} was answered", self.id),
                    Status::Timeout => format!("nobody answered decision {} in time", self.id),
                    _ => format!("decision {} was cancelled", self.id),
                };
                vec![bead::Command::Unblock { reason }]
            }
            (Purpose::Question, _) => vec![],
            (Purpose::Approval, Status::Resolved) if answer == Some(APPROVAL_OPTIONS[0]) => {
                vec![bead::Command::Approve]
            }
            (Purpose::Approval, status) if bead == bead::Status::Open => {
                let why = match status {
                    Status::Resolved => "denied",
                    Status::Timeout => "not approved in time",
                    _ => "its approval was cancelled",
                };
                vec![bead::Command::Block { reason: format!("{why} (decision {})", self.id) }]
            }
            (Purpose::Approval, _) => vec![],
            (Purpose::Attempts, Status::Resolved) => match answer {
                Some("retry") if blocked => vec![
                    bead::Command::ForgetAttempts,
                    bead::Command::Unblock { reason: format!("decision {}: try again", self.id) },
                ],
                Some("close") if blocked => {
                    vec![bead::Command::Close { reason: format!("decision {}: given up", self.id) }]
                }
                _ => vec![],
            },
            (Purpose::Attempts, _) => vec![],
        }
    }
}

/// Checks a decision's plain fields; all problems at once.
pub fn check(decision: &Decision) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    let length = decision.question.chars().count();
    problems.require((1..=10_000).contains(&length), "question", "has 1 to 10000 characters");
    problems.require(decision.options.len() <= 50, "options", "are more than 50");
    let option_ok = |option: &String| !option.is_empty() && option.len() <= 500;
    problems.require(decision.options.iter().all(option_ok), "options", "have 1 to 500 bytes each");
    problems.require(decision.priority <= bead::BACKLOG, "priority", "is 0 (critical) to 4 (backlog)");
    let known = decision.recommendation.as_ref();
    let offered = decision.options.is_empty() || known.is_none_or(|r| decision.options.contains(r));
    problems.require(offered, "recommendation", "is one of the options");
    problems.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::check_exhaustively;
    use crate::record::{created_event, event, evolved, replay};

    fn decision(purpose: Purpose, options: &[&str]) -> Decision {
        Decision {
            id: DecisionId::known("dec-1"),
            project_id: ProjectId::known("p"),
            bead_id: Some(BeadId::known("bd-1")),
            purpose,
            question: "Which?".into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            recommendation: None,
            requester_id: None,
            decider_id: None,
            decision: None,
            rationale: None,
            priority: 2,
            status: Status::Pending,
            deadline: Some(Timestamp::from_millis(100)),
            created_at: Timestamp::from_millis(0),
            updated_at: Timestamp::from_millis(0),
            decided_at: None,
            revision: 1,
        }
    }

    fn answer(text: &str) -> Command {
        Command::Resolve { decision: text.into(), rationale: None, decider_id: "ann".into() }
    }

    #[test]
    fn every_pair_of_state_and_trigger_is_a_row_or_a_refusal() {
        check_exhaustively(Status::ALL, Trigger::ALL);
    }

    #[test]
    fn an_answer_is_one_of_the_options_and_comes_once() {
        let asked = decision(Purpose::Question, &["red", "blue"]);
        let now = Timestamp::from_millis(5);
        assert!(matches!(asked.decide(&answer("green"), now), Err(Refusal::Invalid(_))));
        let happenings = asked.decide(&answer("red"), now).unwrap();
        let ended = evolved(&asked, &happenings, now);
        assert_eq!((ended.status, ended.decision.as_deref()), (Status::Resolved, Some("red")));
        assert!(matches!(ended.decide(&answer("blue"), now), Err(Refusal::Transition { .. })));
        let mut log = vec![(Decision::CREATED, created_event(&asked).data, now)];
        log.extend(happenings.iter().map(|h| (event(&ended, h).kind, event(&ended, h).data, now)));
        assert_eq!(replay(log.iter().map(|(k, d, t)| (*k, d, *t))), Some(ended));
    }

    #[test]
    fn a_decision_expires_at_its_deadline_and_not_before() {
        let asked = decision(Purpose::Question, &[]);
        assert!(asked.decide(&Command::Expire, Timestamp::from_millis(99)).is_err());
        assert!(asked.decide(&Command::Expire, Timestamp::from_millis(100)).is_ok());
        let never = Decision { deadline: None, ..asked };
        assert!(never.decide(&Command::Expire, Timestamp::from_millis(i64::MAX)).is_err());
    }

    #[test]
    fn approval_frees_the_bead_and_everything_else_blocks_it() {
        let asked = decision(Purpose::Approval, &APPROVAL_OPTIONS);
        let end = |command: &Command| {
            let now = Timestamp::from_millis(100);
            evolved(&asked, &asked.decide(command, now).unwrap(), now).effect(bead::Status::Open)
        };
        assert_eq!(end(&answer("approve")), [bead::Command::Approve]);
        for command in [answer("deny"), Command::Expire, Command::Cancel { reason: "x".into() }] {
            assert!(matches!(end(&command)[..], [bead::Command::Block { .. }]));
        }
    }

    #[test]
    fn every_end_of_a_question_frees_the_bead_that_waits_for_it() {
        let asked = decision(Purpose::Question, &[]);
        for command in [answer("yes"), Command::Expire, Command::Cancel { reason: "x".into() }] {
            let now = Timestamp::from_millis(100);
            let ended = evolved(&asked, &asked.decide(&command, now).unwrap(), now);
            assert!(matches!(ended.effect(bead::Status::Blocked)[..], [bead::Command::Unblock { .. }]));
            assert!(ended.effect(bead::Status::Closed).is_empty());
        }
    }
}
