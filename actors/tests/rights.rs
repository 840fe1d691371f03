//! Rights are decided on the rows that are changed: a foreign row is neither changed nor known to be there.

use crate::stage::{Stage, me};
use arbiter_actors::{
    AgentClone, AgentPrompt, BeadEdit, Caller, Cascade, CloneMode, Error, Handles, Staffing,
};
use arbiter_core::agent::Kind;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::edit::{BeadPatch, NewBead};
use arbiter_core::bead::{Claimant, Status};
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::kernel::authority::Authority;
use arbiter_core::kernel::ids::{AgentId, BeadId, ProjectId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::token::Role;
use arbiter_core::project::edit::NewProject;
use serde_json::Map;
use std::fmt::Debug;
use std::sync::Arc;

/// An operator that is limited to project `a`.
fn limited() -> Caller {
    let projects = Some(vec!["a".to_owned()]);
    let authority = Authority { role: Role::Operator, projects, ..Authority::unlimited("lim") };
    Caller { authority: Arc::new(authority), ..Caller::named("lim") }
}

/// Projects `a` and `b`, each with an agent and a bead of its name.
async fn two_projects(stage: &Stage) -> Handles {
    let h = stage.h().clone();
    for id in ["a", "b"] {
        let project = NewProject { id: Some(id.into()), name: id.into(), ..NewProject::default() };
        h.projects.create(&me(), project).await.unwrap();
        let agent = NewAgent {
            id: Some(format!("agent-{id}")),
            name: id.into(),
            kind: Some(Kind::External),
            project_id: Some(id.into()),
            ..NewAgent::default()
        };
        h.agents.create(&me(), agent).await.unwrap();
        let bead = NewBead {
            id: Some(format!("bead-{id}")),
            title: id.into(),
            project_id: id.into(),
            ..NewBead::default()
        };
        h.beads.create(&me(), bead).await.unwrap();
    }
    h
}

fn assert_refused<T: Debug>(outcome: Result<T, Error>) {
    assert!(
        matches!(&outcome, Err(Error::Refused(Refusal::NotFound { .. } | Refusal::Forbidden(_)))),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decision_about_a_moved_bead_changes_it_only_with_rights() {
    let mut stage = Stage::new().await;
    let h = two_projects(&stage).await;
    let bead = BeadId::from_trusted("bead-a");
    let mut asked = Vec::new();
    for _ in 0..2 {
        let new = NewDecision { bead_id: Some("bead-a".into()), ..NewDecision::question("a", "Which?") };
        asked.push(h.decisions.create(&limited(), new).await.unwrap().id);
    }
    let moved = BeadPatch { project_id: Some("b".into()), ..BeadPatch::default() };
    let edit = BeadEdit { patch: moved, status: Some(Status::Blocked), ..BeadEdit::default() };
    h.beads.edit(&me(), &bead, edit).await.unwrap();
    assert_refused(h.decisions.cancel(&limited(), &asked[0], "x".into()).await);
    assert_refused(h.decisions.decide(&limited(), &asked[1], "yes".into(), None).await);
    assert_eq!(h.store.bead("bead-a".into()).await.unwrap().unwrap().status, Status::Blocked);
    h.decisions.cancel(&me(), &asked[0], "x".into()).await.unwrap();
    assert_eq!(h.store.bead("bead-a".into()).await.unwrap().unwrap().status, Status::Open);

    // A decision of another project is as good as not there.
    let foreign = h.decisions.create(&me(), NewDecision::question("b", "Which?")).await.unwrap();
    assert_refused(h.decisions.decide(&limited(), &foreign.id, "yes".into(), None).await);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_is_deleted_and_cloned_only_with_rights_on_its_row() {
    let mut stage = Stage::new().await;
    let h = two_projects(&stage).await;
    let everywhere = NewAgent {
        id: Some("everywhere".into()),
        name: "E".into(),
        kind: Some(Kind::External),
        ..NewAgent::default()
    };
    h.agents.create(&me(), everywhere).await.unwrap();
    for id in ["agent-b", "everywhere"].map(AgentId::from_trusted) {
        assert_refused(h.agents.delete(&limited(), &id, Cascade::Yes).await);
        for original in [CloneMode::KeepOriginal, CloneMode::ReplaceOriginal] {
            let wanted = AgentClone { name: "Copy".into(), original, ..AgentClone::default() };
            assert_refused(h.agents.clone_agent(&limited(), &id, wanted).await);
        }
    }
    let own = AgentId::from_trusted("agent-a");
    let wanted = AgentClone { name: "Copy".into(), ..AgentClone::default() };
    h.agents.clone_agent(&limited(), &own, wanted).await.unwrap();
    h.agents.delete(&limited(), &own, Cascade::Yes).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_agents_and_beads_are_as_good_as_unknown() {
    let mut stage = Stage::new().await;
    let h = two_projects(&stage).await;
    let caller = limited();
    let bead = BeadId::from_trusted("bead-a");
    let text = |outcome: Result<(), Error>, id: &str| outcome.unwrap_err().to_string().replace(id, "ID");

    let assign = async |id: &str| {
        let patch = BeadPatch { assigned_to: Some(Some(id.to_owned())), ..BeadPatch::default() };
        let edit = BeadEdit { patch, status: Some(Status::InProgress), ..BeadEdit::default() };
        text(h.beads.edit(&caller, &bead, edit).await.map(drop), id)
    };
    assert_eq!(assign("agent-b").await, assign("nope").await);

    let claim = async |id: &str| {
        let claimant = Claimant::Agent(AgentId::from_trusted(id));
        text(h.beads.claim(&caller, &bead, claimant, None).await.map(drop), id)
    };
    assert_eq!(claim("agent-b").await, claim("nope").await);

    let prompt = async |id: &str| {
        let prompt = AgentPrompt {
            agent_id: AgentId::from_trusted(id),
            project_id: ProjectId::from_trusted("a"),
            prompt: "Hello".into(),
            context: Map::new(),
            timeout: None,
        };
        text(h.work.ask(&caller, prompt).await.map(drop), id)
    };
    assert_eq!(prompt("agent-b").await, prompt("nope").await);

    let staff = async |id: &str| {
        let (project, agent) = (ProjectId::from_trusted("a"), AgentId::from_trusted(id));
        let staffing = Staffing::Assign { role: None };
        text(h.org_charts.staff(&caller, &project, &agent, staffing).await.map(drop), id)
    };
    assert_eq!(staff("agent-b").await, staff("nope").await);

    let ask = async |id: &str| {
        let new = NewDecision { bead_id: Some(id.to_owned()), ..NewDecision::question("a", "Which?") };
        text(h.decisions.create(&caller, new).await.map(drop), id)
    };
    assert_eq!(ask("bead-b").await, ask("nope").await);
    stage.stop().await;
}
