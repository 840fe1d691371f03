//! Effects of a decision's end on its bead and on the project that it would close.

use crate::bead;
use crate::decision::{APPROVAL_OPTIONS, CLOSE_OPTIONS, Decision, ESCALATION_OPTIONS, Purpose, Status};

impl Decision {
    /// Returns the commands to the decision's bead when the decision ends. `bead` is the bead's status.
    pub fn bead_commands(&self, bead: bead::Status) -> Vec<bead::Command> {
        let answer = self.decision.as_deref();
        let blocked = bead == bead::Status::Blocked;
        match (self.purpose, self.status) {
            (_, Status::Pending) => vec![],
            (Purpose::Question, status) if blocked => {
                let reason = match status {
                    Status::Resolved => format!("decision {} was answered", self.id),
                    Status::Timeout => format!("decision {} was not answered before its deadline", self.id),
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
                    bead::Command::ResetAttempts,
                    bead::Command::Unblock { reason: format!("decision {}: try again", self.id) },
                ],
                Some("close") if blocked => {
                    vec![bead::Command::Close { reason: format!("decision {}: given up", self.id) }]
                }
                _ => vec![],
            },
            (Purpose::Attempts, Status::Cancelled) if blocked => {
                vec![bead::Command::Unblock { reason: format!("decision {} was cancelled", self.id) }]
            }
            // Unanswered means `leave`: no person has agreed to pay for another attempt.
            (Purpose::Attempts, _) => vec![],
            (Purpose::Escalation, status) => self.escalation_effect(status, bead),
            (Purpose::Close, _) => vec![],
        }
    }

    /// Closes the bead if approved. Reopens it without an assignee if denied or unanswered. Returns it to the requester
    /// if more information is wanted.
    fn escalation_effect(&self, status: Status, bead: bead::Status) -> Vec<bead::Command> {
        let [approve, _, more] = ESCALATION_OPTIONS;
        let answer = self.decision.as_deref().filter(|_| status == Status::Resolved);
        let because = |what: &str| match &self.rationale {
            Some(why) => format!("decision {}: {what}: {why}", self.id),
            None => format!("decision {}: {what}", self.id),
        };
        if answer == Some(approve) {
            let is_open = matches!(bead, bead::Status::Open | bead::Status::Blocked);
            return if is_open { vec![bead::Command::Close { reason: because("approved") }] } else { vec![] };
        }
        if bead != bead::Status::Blocked {
            return vec![];
        }
        match (answer, &self.requester_id) {
            (Some(answer), Some(asker)) if answer == more => {
                vec![bead::Command::ReturnTo { to: asker.clone(), reason: because("more has to be told") }]
            }
            (Some(_), _) => vec![bead::Command::Unblock { reason: because("denied") }],
            (None, _) if status == Status::Timeout => {
                vec![bead::Command::Unblock {
                    reason: format!("decision {} was not answered before its deadline", self.id),
                }]
            }
            (None, _) => {
                vec![bead::Command::Unblock { reason: format!("decision {} was cancelled", self.id) }]
            }
        }
    }

    /// Returns whether it says that its project is to be closed although work in it is open.
    pub fn is_project_close_approved(&self) -> bool {
        self.purpose == Purpose::Close
            && self.status == Status::Resolved
            && self.decision.as_deref() == Some(CLOSE_OPTIONS[0])
    }

    /// Returns the comment that it leaves on its bead for the next worker.
    pub fn bead_comment(&self) -> Option<String> {
        let why = self.rationale.as_ref().filter(|_| self.status == Status::Resolved)?;
        (self.purpose == Purpose::Escalation)
            .then(|| format!("{}: {why}", self.decision.as_deref().unwrap_or("?")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::tests::{answer, decision};
    use crate::decision::{Command, Purpose};
    use crate::kernel::record::apply_all;
    use crate::kernel::time::Timestamp;

    const EXPIRE: Command = Command::Expire { subject: None };

    fn cancel() -> Command {
        Command::Cancel { reason: "x".into() }
    }

    fn ended(asked: &Decision, command: &Command) -> Decision {
        let now = Timestamp::from_millis(100);
        apply_all(asked, &asked.decide(command, now).unwrap(), now)
    }

    #[test]
    fn approval_approves_the_bead_and_all_else_blocks_it() {
        let asked = decision(Purpose::Approval, &APPROVAL_OPTIONS);
        let end = |command: &Command| ended(&asked, command).bead_commands(bead::Status::Open);
        assert_eq!(end(&answer("approve")), [bead::Command::Approve]);
        for command in [answer("deny"), EXPIRE, cancel()] {
            assert!(matches!(end(&command)[..], [bead::Command::Block { .. }]));
        }
    }

    #[test]
    fn any_end_of_a_question_unblocks_its_bead() {
        let asked = decision(Purpose::Question, &[]);
        for command in [answer("yes"), EXPIRE, cancel()] {
            let ended = ended(&asked, &command);
            assert!(matches!(
                ended.bead_commands(bead::Status::Blocked)[..],
                [bead::Command::Unblock { .. }]
            ));
            assert!(ended.bead_commands(bead::Status::Closed).is_empty());
        }
    }

    #[test]
    fn escalation_closes_reopens_or_returns_the_bead() {
        let mut asked = decision(Purpose::Escalation, &ESCALATION_OPTIONS);
        asked.requester_id = Some("coder".into());
        let end = |command: &Command| ended(&asked, command).bead_commands(bead::Status::Blocked);
        assert!(matches!(end(&answer("approve"))[..], [bead::Command::Close { .. }]));
        for command in [answer("deny"), EXPIRE, cancel()] {
            assert!(matches!(end(&command)[..], [bead::Command::Unblock { .. }]));
        }
        let back = end(&answer("needs_more_info"));
        assert!(matches!(&back[..], [bead::Command::ReturnTo { to, .. }] if to == "coder"), "{back:?}");
    }

    #[test]
    fn only_yes_closes_the_project() {
        let asked = decision(Purpose::Close, &CLOSE_OPTIONS);
        for (command, closes) in
            [(answer("yes"), true), (answer("no"), false), (EXPIRE, false), (cancel(), false)]
        {
            assert_eq!(ended(&asked, &command).is_project_close_approved(), closes);
        }
    }
}
