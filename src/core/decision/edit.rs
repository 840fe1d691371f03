//! Client input for decisions: the question and its time limit.

use crate::bead::DEFAULT_PRIORITY;
use crate::decision::deadline::OnTimeout;
use crate::decision::{Decision, Purpose, Status, check};
use crate::kernel::ids::{BeadId, DecisionId, ProjectId};
use crate::kernel::refusal::Refusal;
use crate::kernel::time::Timestamp;
use std::time::Duration;

/// Time limit of a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecisionWait {
    /// As long as is configured (48 hours unless said otherwise).
    #[default]
    Default,
    Never,
    For(Duration),
    Until(Timestamp),
}

impl DecisionWait {
    /// Reads `never`, or a number with `ms`, `s`, `m`, `h` or `d` behind it.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "never" {
            return Some(Self::Never);
        }
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().ok()?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(ms).filter(|ms| *ms > 0).map(|ms| Self::For(Duration::from_millis(ms)))
    }

    /// Returns the time at which the decision ends unanswered.
    pub fn deadline(self, now: Timestamp, default: Duration) -> Option<Timestamp> {
        match self {
            Self::Default => Some(now.plus(default)),
            Self::Never => None,
            Self::For(span) => Some(now.plus(span)),
            Self::Until(at) => Some(at),
        }
    }
}

/// Request to create a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDecision {
    /// A chosen id, or none.
    pub id: Option<String>,
    pub project_id: String,
    pub bead_id: Option<String>,
    pub purpose: Purpose,
    pub question: String,
    pub options: Vec<String>,
    pub recommendation: Option<String>,
    pub requester_id: Option<String>,
    /// 0 to 4; 2 by default.
    pub priority: Option<u8>,
    pub wait: DecisionWait,
    pub on_timeout: OnTimeout,
    pub subject_digest: Option<String>,
}

impl NewDecision {
    /// A question of a project.
    pub fn question(project_id: impl Into<String>, question: impl Into<String>) -> Self {
        Self {
            id: None,
            project_id: project_id.into(),
            bead_id: None,
            purpose: Purpose::Question,
            question: question.into(),
            options: vec![],
            recommendation: None,
            requester_id: None,
            priority: None,
            wait: DecisionWait::Default,
            on_timeout: OnTimeout::Expire,
            subject_digest: None,
        }
    }

    /// The decision as it will be stored; `default` is the configured time.
    pub fn build(&self, id: DecisionId, now: Timestamp, default: Duration) -> Result<Decision, Refusal> {
        let decision = Decision {
            id,
            project_id: ProjectId::from_trusted(self.project_id.clone()),
            bead_id: self.bead_id.clone().map(BeadId::from_trusted),
            purpose: self.purpose,
            question: self.question.clone(),
            options: self.options.clone(),
            recommendation: self.recommendation.clone(),
            requester_id: self.requester_id.clone(),
            decider_id: None,
            decision: None,
            rationale: None,
            priority: self.priority.unwrap_or(DEFAULT_PRIORITY),
            status: Status::Pending,
            deadline: self.wait.deadline(now, default),
            on_timeout: self.on_timeout.clone(),
            escalated_at: None,
            reminded: 0,
            subject_digest: self.subject_digest.clone(),
            created_at: now,
            updated_at: now,
            decided_at: None,
            revision: 1,
        };
        check(&decision)?;
        Ok(decision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_wait_parses_units() {
        assert_eq!(DecisionWait::parse("48h"), Some(DecisionWait::For(Duration::from_secs(172_800))));
        assert_eq!(DecisionWait::parse("1500ms"), Some(DecisionWait::For(Duration::from_millis(1500))));
        assert_eq!(DecisionWait::parse("never"), Some(DecisionWait::Never));
        for wrong in ["", "48", "h", "-1h", "0s", "1 h", "99999999999999999999d"] {
            assert_eq!(DecisionWait::parse(wrong), None, "{wrong}");
        }
    }
}
