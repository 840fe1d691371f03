//! Deadlines of decisions: their effects and the reminders before them.
//!
//! All times follow from stored ones, so a restart or a clock jump does not move a deadline.

use crate::bead;
use crate::decision::{Decision, Status};
use crate::kernel::event_type::EventType;
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::record::FieldChanges;
use crate::kernel::refusal::Refusal;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use std::fmt;
use std::time::Duration;

/// Shares of a decision's time, in percent, after which a reminder is sent.
pub const REMINDER_PERCENTS: [u8; 3] = [50, 80, 95];
/// Reason recorded with an answer that the timeout gives.
pub(crate) const TIMED_OUT_REASON: &str = "no answer came before the deadline";

/// Effect of a decision's deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnTimeout {
    #[default]
    Expire,
    /// Makes it critical and grants the same time once more; then it ends unanswered.
    Escalate,
    Choose(String),
}

impl OnTimeout {
    /// Reads `expire`, `escalate` or `choose:` and an option.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "expire" => Some(Self::Expire),
            "escalate" => Some(Self::Escalate),
            _ => {
                let option = text.strip_prefix("choose:").filter(|option| !option.is_empty())?;
                Some(Self::Choose(option.to_owned()))
            }
        }
    }
}

impl fmt::Display for OnTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expire => f.write_str("expire"),
            Self::Escalate => f.write_str("escalate"),
            Self::Choose(option) => write!(f, "choose:{option}"),
        }
    }
}

impl Serialize for OnTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OnTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no such word for a deadline"))
    }
}

impl Decision {
    /// Returns the start of the current period.
    fn period_start(&self) -> Timestamp {
        self.escalated_at.unwrap_or(self.created_at)
    }

    /// Returns the length of the current period; none: no deadline.
    fn period(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(self.period_start()))
    }

    fn reminder_time(&self, percent: u8) -> Option<Timestamp> {
        let ms = self.period()?.as_millis() * u128::from(percent) / 100;
        Some(self.period_start().plus(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))))
    }

    /// Returns the time of the next reminder or deadline; none: never.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.status != Status::Pending {
            return None;
        }
        let reminder = REMINDER_PERCENTS.into_iter().find(|percent| *percent > self.reminded);
        reminder.and_then(|percent| self.reminder_time(percent)).or(self.deadline)
    }

    /// Returns whether its deadline has come.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The newest reminder that is due: of several that were missed only the last is of use.
    pub(crate) fn remind(&self, now: Timestamp) -> Result<Vec<FieldChanges>, Refusal> {
        let has_come = |percent: &u8| self.reminder_time(*percent).is_some_and(|at| at <= now);
        let newest = REMINDER_PERCENTS.into_iter().rfind(has_come).filter(|percent| *percent > self.reminded);
        let Some(percent) = newest.filter(|_| !self.is_overdue(now)) else {
            return Err(Refusal::conflict(ProblemCode::NotDue, "there is nothing to remind of yet"));
        };
        let after = Self { reminded: percent, ..self.clone() };
        let event_data = json!({
            "percent": percent, "deadline": self.deadline, "bead_id": self.bead_id, "question": self.question,
            "options": self.options, "priority": self.priority, "requester_id": self.requester_id,
        });
        let event_data = event_data.as_object().cloned().unwrap_or_default();
        Ok(vec![
            FieldChanges::between(self, &after, None)
                .with_detail(event_data)
                .event_override(EventType::DecisionReminder),
        ])
    }

    /// Asks the same question again with more urgency. The new period starts now and not at the deadline, so that
    /// server downtime does not shorten it.
    pub(crate) fn escalate(&self, now: Timestamp) -> FieldChanges {
        let period = self.period().unwrap_or_default();
        let after = Self {
            escalated_at: Some(now),
            deadline: Some(now.plus(period)),
            priority: bead::CRITICAL,
            reminded: 0,
            ..self.clone()
        };
        let event_data = json!({"bead_id": self.bead_id, "question": self.question, "options": self.options});
        let event_data = event_data.as_object().cloned().unwrap_or_default();
        FieldChanges::between(self, &after, Some(TIMED_OUT_REASON)).with_detail(event_data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Command, Purpose, tests::decision};
    use crate::kernel::record::apply_all;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn on_timeout_round_trips_as_text() {
        for text in ["expire", "escalate", "choose:blue", "choose:choose:x"] {
            assert_eq!(OnTimeout::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "choose", "choose:", "Expire", "wait"] {
            assert_eq!(OnTimeout::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reminders_come_once_each_and_missed_ones_collapse() {
        let mut asked = decision(Purpose::Question, &[]);
        assert_eq!(asked.next_due(), Some(at(50)));
        assert!(asked.decide(&Command::Remind, at(49)).is_err());
        asked = apply_all(&asked, &asked.decide(&Command::Remind, at(50)).unwrap(), at(50));
        assert_eq!((asked.reminded, asked.next_due()), (50, Some(at(80))));
        assert!(asked.decide(&Command::Remind, at(50)).is_err(), "twice");
        // The clock went back, and the machine slept through the second one.
        assert!(asked.decide(&Command::Remind, at(10)).is_err());
        asked = apply_all(&asked, &asked.decide(&Command::Remind, at(97)).unwrap(), at(97));
        assert_eq!((asked.reminded, asked.next_due()), (95, Some(at(100))));
        assert!(asked.decide(&Command::Remind, at(100)).is_err(), "that is the deadline's");
        assert_eq!(Decision { deadline: None, ..asked }.next_due(), None);
    }

    #[test]
    fn escalated_decision_gets_one_more_period() {
        let mut asked = decision(Purpose::Question, &[]);
        asked.on_timeout = OnTimeout::Escalate;
        let expire = Command::Expire { subject: None };
        let happenings = asked.decide(&expire, at(130)).unwrap();
        let later = apply_all(&asked, &happenings, at(130));
        assert_eq!((later.status, later.priority, later.deadline), (Status::Pending, 0, Some(at(230))));
        assert_eq!((later.next_due(), later.decided_at), (Some(at(180)), None));
        assert!(later.decide(&expire, at(229)).is_err());
        let ended = apply_all(&later, &later.decide(&expire, at(230)).unwrap(), at(230));
        assert_eq!(ended.status, Status::Timeout);
    }

    #[test]
    fn timeout_choice_applies_unless_the_subject_changed() {
        let mut asked = decision(Purpose::Question, &["red", "blue"]);
        asked.on_timeout = OnTimeout::Choose("blue".into());
        asked.subject_digest = Some("d".into());
        let end = |subject: &str| {
            let expire = Command::Expire { subject: Some(subject.into()) };
            apply_all(&asked, &asked.decide(&expire, at(100)).unwrap(), at(100))
        };
        let chosen = end("d");
        assert_eq!((chosen.status, chosen.decision.as_deref()), (Status::Resolved, Some("blue")));
        assert_eq!(chosen.decider_id.as_deref(), Some("system"));
        assert_eq!((end("other").status, end("other").decision), (Status::Timeout, None));
    }
}
