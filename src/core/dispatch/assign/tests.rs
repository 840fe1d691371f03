use super::*;
use crate::agent::config::AgentConfig;
use crate::bead::edit::NewBead;
use crate::bead::{ClaimContext, Status as BeadStatus};
use crate::dispatch::explain::{Cause, cause, why};
use crate::kernel::ids::{ProjectId, ProviderId};

fn bead(id: &str, tags: &[&str]) -> Bead {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let new = NewBead { title: "t".into(), project_id: "p".into(), tags, ..NewBead::default() };
    new.build(BeadId::from_trusted(id), Timestamp::from_millis(0)).unwrap().0
}

fn agent(id: &str, project: Option<&str>, role: Option<&str>) -> (Agent, ProviderState) {
    let agent = Agent {
        id: AgentId::from_trusted(id),
        name: id.into(),
        description: String::new(),
        provider_id: Some(ProviderId::from_trusted("x")),
        persona_name: None,
        role: role.map(str::to_owned),
        project_id: project.map(ProjectId::from_trusted),
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

fn assigned(beads: &[Bead], agents: &[(Agent, ProviderState)], load: &Load) -> Vec<(BeadId, AgentId)> {
    let (dispatch_state, spent) = (DispatchState::Active, ExhaustedBudgets::default());
    let input = DispatchInput { agents, dispatch_state: &dispatch_state, spent: &spent, load };
    assign(beads.to_vec(), input, usize::MAX)
}

fn project(id: &str, active: u32, limit: Option<u32>) -> (ProjectId, Capacity) {
    (ProjectId::from_trusted(id), Capacity { active, limit, parked: None })
}

#[test]
fn agents_get_one_bead_and_project_agents_come_first() {
    let beads = [bead("1", &[]), bead("2", &[]), bead("3", &[])];
    let agents =
        [agent("anyone", None, None), agent("own", Some("p"), None), agent("other", Some("q"), None)];
    assert_eq!(ids(&assigned(&beads, &agents, &Load::default())), [("1", "own"), ("2", "anyone")]);
}

#[test]
fn role_bead_goes_to_the_best_role_match() {
    let beads = [bead("1-review", &["role:reviewer"]), bead("2-any", &[])];
    let agents = [agent("coder", None, Some("coder")), agent("reviewer", None, Some("reviewer"))];
    assert_eq!(
        ids(&assigned(&beads, &agents, &Load::default())),
        [("1-review", "reviewer"), ("2-any", "coder")]
    );
    assert!(assigned(&beads[..1], &agents[..1], &Load::default()).is_empty());
    // By its label at last, by its persona rather, by its role best.
    let mut labelled = agent("a-labelled", None, Some("coder"));
    labelled.0.config.labels = vec!["reviewer".into()];
    let mut persona = agent("b-persona", None, None);
    persona.0.persona_name = Some("default/reviewer".into());
    let role = agent("c-role", None, Some("reviewer"));
    let mut agents = vec![labelled, persona, role];
    for best in ["c-role", "b-persona", "a-labelled"] {
        assert_eq!(ids(&assigned(&beads[..1], &agents, &Load::default())), [("1-review", best)]);
        agents.pop();
    }
}

#[test]
fn labels_attract_beads_and_specialists_are_reserved() {
    let mut rust = agent("b-rust", None, Some("coder"));
    rust.0.config.labels = vec!["rust".into(), "sql".into()];
    let agents = [agent("a-reviewer", None, Some("reviewer")), rust, agent("c-anything", None, None)];
    assert_eq!(ids(&assigned(&[bead("1", &["sql"])], &agents, &Load::default())), [("1", "b-rust")]);
    assert_eq!(ids(&assigned(&[bead("1", &["css"])], &agents, &Load::default())), [("1", "c-anything")]);
    assert_eq!(ids(&assigned(&[bead("1", &["css"])], &agents[..1], &Load::default())), [("1", "a-reviewer")]);
}

#[test]
fn long_queue_does_not_starve_other_projects() {
    let of = |id: &str, project: &str, priority: u8| Bead {
        project_id: ProjectId::from_trusted(project),
        priority,
        ..bead(id, &[])
    };
    let mut beads: Vec<Bead> = (0..9).map(|n| of(&format!("a{n}"), "a", 2)).collect();
    beads.extend([of("b0", "b", 2), of("b1", "b", 2), of("c0", "c", 1)]);
    let agents: Vec<_> = (0..5).map(|n| agent(&format!("w{n}"), None, None)).collect();
    let assigned_ids = |load: &Load| {
        let pairs = assigned(&beads, &agents, load);
        pairs.into_iter().map(|(bead, _)| bead.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(assigned_ids(&Load::default()), ["c0", "a0", "b0", "a1", "b1"], "urgency first, then in turn");
    let busy = Load { projects: BTreeMap::from([project("a", 3, None)]), ..Load::default() };
    assert_eq!(assigned_ids(&busy), ["c0", "b0", "b1", "a0", "a1"]);
    let bounded = Load {
        projects: BTreeMap::from([project("a", 1, Some(2)), project("b", 1, Some(1))]),
        ..Load::default()
    };
    assert_eq!(assigned_ids(&bounded), ["c0", "a0"]);
    let mut parked = Load { projects: BTreeMap::from([project("a", 0, None)]), ..Load::default() };
    parked.projects.values_mut().for_each(|capacity| capacity.parked = Some("holidays".into()));
    assert_eq!(assigned_ids(&parked), ["c0", "b0", "b1"]);
    let providers = BTreeMap::from([(
        ProviderId::from_trusted("x"),
        Capacity { active: 1, limit: Some(3), parked: None },
    )]);
    assert_eq!(assigned_ids(&Load { providers, ..Load::default() }), ["c0", "a0"]);
}

#[test]
fn agent_without_usable_provider_gets_no_bead() {
    let (agent, _) = agent("a", None, None);
    assert!(assigned(&[bead("one", &[])], &[(agent, ProviderState::Unusable)], &Load::default()).is_empty());
}

#[test]
fn unassigned_ready_bead_has_a_reason_and_a_cause() {
    let now = Timestamp::from_millis(0);
    let look = |bead: &Bead, agents: &[(Agent, ProviderState)], load: &Load| {
        let (dispatch_state, spent) = (DispatchState::Active, ExhaustedBudgets::default());
        let input = DispatchInput { agents, dispatch_state: &dispatch_state, spent: &spent, load };
        let mut reasons = why(bead, &ClaimContext::default(), input, now);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        (reasons.remove(0), cause(bead, input, now))
    };
    let reasons = |bead: &Bead, agents: &[(Agent, ProviderState)]| look(bead, agents, &Load::default());
    let told = |text: &str, cause: Cause| (text.to_owned(), cause);
    let plain = bead("one", &[]);
    assert_eq!(reasons(&plain, &[]), told("there is no agent", Cause::NoAgent));
    assert_eq!(
        reasons(&plain, &[agent("b", Some("q"), None)]),
        told("b: work for another project", Cause::NoAgent)
    );
    let epic = Bead { bead_type: "epic".into(), ..plain.clone() };
    assert_eq!(reasons(&epic, &[]), told("beads of type epic are not given to agents", Cause::Type));
    let critical = Bead { priority: 0, ..plain.clone() };
    assert_eq!(
        reasons(&critical, &[]),
        told("it has priority 0 and waits for a person's approval", Cause::Approval)
    );
    let (text, cause) = reasons(&plain, &[agent("a", None, None)]);
    assert!(text.contains("is about to get it") && cause == Cause::None);
    let mut busy = agent("a", None, None);
    busy.0.status = agent::Status::Working;
    assert_eq!(reasons(&plain, std::slice::from_ref(&busy)), told("a: at work on another bead", Cause::Busy));
    let mut down = agent("a", None, None);
    down.1 = ProviderState::Unusable;
    assert_eq!(reasons(&plain, &[down]), told("a: the provider cannot be called now", Cause::Provider));
    let full = Load { projects: BTreeMap::from([project("p", 2, Some(2))]), ..Load::default() };
    assert_eq!(
        look(&plain, &[busy], &full),
        told("the project p has 2 beads at work and may have 2", Cause::ProjectLimit)
    );
    let failed = Bead { attempts: 1, next_attempt_at: Some(Timestamp::from_millis(9)), ..plain };
    assert_eq!(reasons(&failed, &[agent("a", None, None)]).1, Cause::Pause);
}

#[test]
fn free_agents_determine_the_searched_projects() {
    let mut busy = agent("busy", Some("q"), Some("builder"));
    busy.0.status = agent::Status::Working;
    let mut locked = agent("locked", None, None);
    locked.1 = ProviderState::Unusable;
    let (one, two) = (agent("one", Some("p"), Some("planner")), agent("two", Some("p"), None));
    let set = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect::<BTreeSet<_>>();
    let somewhere = roles_by_project(&[busy.clone(), locked.clone(), one.clone(), two]);
    assert_eq!(somewhere, BTreeMap::from([(Some(ProjectId::from_trusted("p")), set(&["planner"]))]));
    let everywhere = roles_by_project(&[one, agent("three", None, Some("tester"))]);
    let both = [(None, set(&["tester"])), (Some(ProjectId::from_trusted("p")), set(&["planner"]))];
    assert_eq!(everywhere, BTreeMap::from(both));
    assert_eq!(roles_by_project(&[busy, locked]), BTreeMap::new());
}

#[test]
fn closed_or_running_bead_says_how_it_stands() {
    let now = Timestamp::from_millis(0);
    let (dispatch_state, spent) = (DispatchState::Active, ExhaustedBudgets::default());
    let load = Load::default();
    let input = DispatchInput { agents: &[], dispatch_state: &dispatch_state, spent: &spent, load: &load };
    let told = |bead: &Bead| why(bead, &ClaimContext::default(), input, now);
    let closed = Bead {
        status: BeadStatus::Closed,
        close_reason: Some("it is painted".into()),
        closed_at: Some(now),
        ..bead("one", &[])
    };
    assert_eq!(told(&closed), ["it is closed since 1970-01-01T00:00:00.000Z: it is painted"]);
    let running = Bead {
        status: BeadStatus::InProgress,
        assigned_to: Some("a".into()),
        attempts: 1,
        last_error: Some("no paint".into()),
        ..bead("one", &[])
    };
    assert_eq!(told(&running), ["it is in progress: a works on it", "attempt 1 ended so: no paint"]);
}
