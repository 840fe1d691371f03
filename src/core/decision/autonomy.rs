//! Decisions that an agent may make by autonomy level. A person may make any.

use crate::agent::Agent;
use crate::agent::autonomy::Autonomy;
use crate::bead::{CRITICAL, DEFAULT_PRIORITY};
use crate::decision::Decision;
use crate::kernel::refusal::Refusal;

/// Returns the most urgent priority that an agent of this autonomy decides; `None`: it decides nothing.
const fn most_urgent(autonomy: Autonomy) -> Option<u8> {
    match autonomy {
        Autonomy::Full => Some(CRITICAL + 1),
        Autonomy::Semi => Some(DEFAULT_PRIORITY),
        Autonomy::Supervised => None,
    }
}

/// Refuses an agent that may not make a decision: by its own autonomy, else that of its persona, or because the question is its own.
///
/// # Errors
/// [`Refusal::Forbidden`], in words.
pub fn check(agent: &Agent, persona: Autonomy, decision: &Decision) -> Result<(), Refusal> {
    let autonomy = agent.config.autonomy.unwrap_or(persona);
    if agent.project_id.as_ref().is_some_and(|project| *project != decision.project_id) {
        let detail = format!("agent {} works for another project than decision {}", agent.id, decision.id);
        return Err(Refusal::Forbidden(detail));
    }
    if decision.requester_id.as_deref() == Some(agent.id.as_str()) {
        let detail = format!("agent {} asked this itself; another agent or a person has to answer", agent.id);
        return Err(Refusal::Forbidden(detail));
    }
    if most_urgent(autonomy).is_some_and(|most| decision.priority >= most) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!(
        "agent {} has the autonomy {autonomy} and does not make decisions of priority {}",
        agent.id, decision.priority
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::edit::NewAgent;
    use crate::decision::{Purpose, tests::decision};
    use crate::kernel::ids::{AgentId, ProjectId};
    use crate::kernel::time::Timestamp;

    fn agent(autonomy: Option<Autonomy>) -> Agent {
        let new =
            NewAgent { name: "A".into(), kind: Some(crate::agent::Kind::External), ..NewAgent::default() };
        let mut agent = new.build(AgentId::from_trusted("a"), Timestamp::from_millis(0)).unwrap();
        agent.config.autonomy = autonomy;
        agent
    }

    #[test]
    fn each_autonomy_level_decides_up_to_its_priority() {
        let table = [
            (Some(Autonomy::Full), [false, true, true, true, true]),
            (Some(Autonomy::Semi), [false, false, true, true, true]),
            (Some(Autonomy::Supervised), [false; 5]),
            (None, [false; 5]),
        ];
        for (autonomy, allowed) in table {
            for (priority, allowed) in (0_u8..).zip(allowed) {
                let asked = Decision { priority, ..decision(Purpose::Question, &[]) };
                assert_eq!(
                    check(&agent(autonomy), Autonomy::Supervised, &asked).is_ok(),
                    allowed,
                    "{autonomy:?} {priority}"
                );
            }
        }
    }

    #[test]
    fn own_or_foreign_project_decision_is_refused() {
        let mut full = agent(Some(Autonomy::Full));
        let asked = decision(Purpose::Question, &[]);
        let own = Decision { requester_id: Some("a".into()), ..asked.clone() };
        let check = |agent: &Agent, asked: &Decision| check(agent, Autonomy::Supervised, asked);
        assert!(check(&full, &asked).is_ok() && check(&full, &own).is_err());
        let plain = agent(None);
        assert!(super::check(&plain, Autonomy::Semi, &asked).is_ok(), "what its persona may, it may");
        let bound = agent(Some(Autonomy::Supervised));
        assert!(super::check(&bound, Autonomy::Full, &asked).is_err(), "its own word goes before");
        full.project_id = Some(ProjectId::from_trusted("other"));
        assert!(check(&full, &asked).is_err());
    }
}
