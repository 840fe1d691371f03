use super::*;
use crate::agent_config::AgentConfig;
use crate::bead_change::NewBead;
use crate::ids::{ProjectId, ProviderId};

fn bead(id: &str, tags: &[&str]) -> Bead {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let new = NewBead { title: "t".into(), project_id: "p".into(), tags, ..NewBead::default() };
    new.build(BeadId::known(id), Timestamp::from_millis(0)).unwrap().0
}

fn agent(id: &str, project: Option<&str>, role: Option<&str>) -> (Agent, ProviderState) {
    let agent = Agent {
        id: AgentId::known(id),
        name: id.into(),
        description: String::new(),
        provider_id: Some(ProviderId::known("x")),
        persona_name: None,
        role: role.map(str::to_owned),
        project_id: project.map(ProjectId::known),
        kind: agent::Kind::Llm,
        status: agent::Status::Idle,
        status_reason: None,
        current_bead: None,
        config: AgentConfig::default(),
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        last_active: None,
        revision: 1,
    };
    (agent, ProviderState::Usable)
}

fn ids(pairs: &[(BeadId, AgentId)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(bead, agent)| (bead.as_str(), agent.as_str())).collect()
}

#[test]
fn each_agent_gets_one_bead_and_the_projects_own_agents_come_first() {
    let beads = [bead("one", &[]), bead("two", &[]), bead("three", &[])];
    let agents =
        [agent("anyone", None, None), agent("own", Some("p"), None), agent("other", Some("q"), None)];
    assert_eq!(ids(&pair(&beads, &agents, &Spent::default())), [("one", "own"), ("two", "anyone")]);
}

#[test]
fn a_bead_with_a_role_goes_only_to_an_agent_of_that_role() {
    let beads = [bead("review", &["role:reviewer"]), bead("any", &[])];
    let agents = [agent("coder", None, Some("coder")), agent("reviewer", None, Some("reviewer"))];
    assert_eq!(ids(&pair(&beads, &agents, &Spent::default())), [("review", "reviewer"), ("any", "coder")]);
    assert!(pair(&beads[..1], &agents[..1], &Spent::default()).is_empty());
}

#[test]
fn an_agent_without_a_usable_provider_gets_nothing() {
    let (agent, _) = agent("a", None, None);
    assert!(pair(&[bead("one", &[])], &[(agent, ProviderState::Unusable)], &Spent::default()).is_empty());
}

#[test]
fn every_ready_bead_that_nobody_has_gets_a_reason() {
    let now = Timestamp::from_millis(0);
    let reasons = |bead: &Bead, agents: &[(Agent, ProviderState)]| {
        let (operation, spent) = (Operation::Active, Spent::default());
        why(bead, &Facts::default(), Company { agents, operation: &operation, spent: &spent }, now)
    };
    let plain = bead("one", &[]);
    assert_eq!(reasons(&plain, &[]), ["there is no agent"]);
    assert_eq!(reasons(&plain, &[agent("b", Some("q"), None)]), ["b: work for another project"]);
    let epic = Bead { bead_type: "epic".into(), ..plain.clone() };
    assert_eq!(reasons(&epic, &[]), ["beads of type epic are not given to agents"]);
    let critical = Bead { priority: 0, ..plain.clone() };
    assert_eq!(reasons(&critical, &[]), ["it has priority 0 and waits for a person's approval"]);
    assert!(reasons(&plain, &[agent("a", None, None)])[0].contains("is about to get it"));
}

#[test]
fn beads_are_looked_for_where_free_agents_work() {
    let mut busy = agent("busy", Some("q"), Some("builder"));
    busy.0.status = agent::Status::Working;
    let mut locked = agent("locked", None, None);
    locked.1 = ProviderState::Unusable;
    let (one, two) = (agent("one", Some("p"), Some("planner")), agent("two", Some("p"), None));
    let set = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect::<BTreeSet<_>>();
    let somewhere = wanted(&[busy.clone(), locked.clone(), one.clone(), two]);
    assert_eq!(somewhere, BTreeMap::from([(Some(ProjectId::known("p")), set(&["planner"]))]));
    let everywhere = wanted(&[one, agent("three", None, Some("tester"))]);
    assert_eq!(everywhere, BTreeMap::from([(None, set(&["planner", "tester"]))]));
    assert_eq!(wanted(&[busy, locked]), BTreeMap::new());
}
