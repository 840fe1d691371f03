//! Rules of handoffs: which receivers can take a bead, and when a handoff would close a cycle.

use crate::agent::Agent;
use crate::bead::Bead;
use crate::bead::handoff::HandoffTarget;
use crate::dispatch::assign::role_match;
use crate::kernel::ids::AgentId;

/// Most handoffs of a bead before it has made progress.
pub const MAX_HANDOFFS: usize = 5;

/// Checks that the target of a handoff can take the bead; the error text is for the agent that hands it on.
///
/// # Errors
/// Fails if no agent matches the target, or only the agent itself.
pub fn check(bead: &Bead, by: &AgentId, target: &HandoffTarget, agents: &[Agent]) -> Result<(), String> {
    let is_eligible =
        |agent: &Agent| agent.project_id.as_ref().is_none_or(|project| *project == bead.project_id);
    let others = || agents.iter().filter(|agent| is_eligible(agent) && agent.id != *by);
    let is_there = match target {
        HandoffTarget::Agent(id) if id == by => return Err("you are that agent: work on it".to_owned()),
        HandoffTarget::Agent(id) => others().any(|agent| agent.id == *id),
        HandoffTarget::Role(role) => others().any(|agent| role_match(agent, role).is_some()),
    };
    if is_there {
        return Ok(());
    }
    let known: Vec<String> = others()
        .map(|agent| match &agent.role {
            Some(role) => format!("{} ({role})", agent.id),
            None => agent.id.to_string(),
        })
        .collect();
    Err(match known.len() {
        0 => "there is no other agent to hand it to".to_owned(),
        _ => format!("{target} is not there; there are {}", known.join(", ")),
    })
}

/// Returns the reason if another handoff would close a cycle.
pub fn handoff_cycle(bead: &Bead, by: &AgentId, target: &HandoffTarget) -> Option<String> {
    let mut chain: Vec<String> = bead.handed_on_by.iter().map(ToString::to_string).collect();
    chain.push(by.to_string());
    let back = match target {
        HandoffTarget::Agent(id) => bead.handed_on_by.contains(id),
        HandoffTarget::Role(_) => false,
    };
    let again = bead.handed_on_by.contains(by);
    if !(back || again || chain.len() > MAX_HANDOFFS) {
        return None;
    }
    chain.push(target.to_string());
    Some(format!("it was handed on in a circle: {}", chain.join(" → ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bead::edit::NewBead;
    use crate::bead::{ClaimContext, Command, Status};
    use crate::kernel::ids::BeadId;
    use crate::kernel::record::apply_all;
    use crate::kernel::time::Timestamp;

    fn held() -> Bead {
        let new = NewBead {
            title: "t".into(),
            project_id: "p".into(),
            tags: vec!["role:coder".into()],
            ..NewBead::default()
        };
        let (bead, _) = new.build(BeadId::from_trusted("b"), Timestamp::from_millis(0)).unwrap();
        Bead { status: Status::InProgress, assigned_to: Some("a".into()), ..bead }
    }

    fn agent(id: &str) -> HandoffTarget {
        HandoffTarget::Agent(AgentId::from_trusted(id))
    }

    fn handed(bead: &Bead, by: &str, target: HandoffTarget) -> Bead {
        let command = Command::HandOff { by: AgentId::from_trusted(by), target, reason: "yours".into() };
        let at = Timestamp::from_millis(1);
        let after = apply_all(bead, &bead.decide(&command, &ClaimContext::default(), at).unwrap(), at);
        assert_eq!(after.status, Status::Open);
        Bead { status: Status::InProgress, ..after }
    }

    #[test]
    fn handoff_to_agent_or_role_records_the_sender() {
        let to_agent = handed(&held(), "a", agent("b"));
        assert_eq!(
            (to_agent.assigned_to.as_deref(), &to_agent.tags[..]),
            (Some("b"), &["role:coder".to_owned()][..])
        );
        let to_role = handed(&to_agent, "b", HandoffTarget::Role("qa".into()));
        assert_eq!((to_role.assigned_to.as_deref(), &to_role.tags[..]), (None, &["role:qa".to_owned()][..]));
        assert_eq!(to_role.handed_on_by, [AgentId::from_trusted("a"), AgentId::from_trusted("b")]);
        let done = Command::Complete { summary: "s".into() };
        let at = Timestamp::from_millis(2);
        let ended = apply_all(&to_role, &to_role.decide(&done, &ClaimContext::default(), at).unwrap(), at);
        assert!(ended.handed_on_by.is_empty(), "that was progress");
    }

    #[test]
    fn handoff_back_repeated_or_too_long_is_a_cycle() {
        let (a, b) = (AgentId::from_trusted("a"), AgentId::from_trusted("b"));
        assert_eq!(handoff_cycle(&held(), &a, &agent("b")), None);
        let once = handed(&held(), "a", agent("b"));
        assert_eq!(handoff_cycle(&once, &b, &agent("c")), None);
        let told = handoff_cycle(&once, &b, &agent("a")).unwrap();
        assert_eq!(told, "it was handed on in a circle: a → b → agent a");
        let round = handed(&once, "b", HandoffTarget::Role("coder".into()));
        assert!(
            handoff_cycle(&round, &a, &HandoffTarget::Role("qa".into())).is_some(),
            "a has it for the second time"
        );
        let mut long = held();
        for n in 0..MAX_HANDOFFS {
            assert_eq!(handoff_cycle(&long, &AgentId::from_trusted(format!("x{n}")), &agent("y")), None);
            long = handed(&long, &format!("x{n}"), agent(&format!("x{}", n + 1)));
        }
        assert!(handoff_cycle(&long, &AgentId::from_trusted("last"), &agent("y")).is_some());
    }
}
