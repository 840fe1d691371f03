//! A patch of a bead does all that it says, and only under the present lease.

use crate::stage::{Stage, me};
use arbiter_actors::{BeadAction, BeadEdit, Caller, Error};
use arbiter_core::agent::Kind;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::edit::{BeadPatch, Edge};
use arbiter_core::bead::{Claimant, Status};
use arbiter_core::kernel::authority::Authority;
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::token::Role;
use arbiter_testkit::Script;
use std::sync::Arc;

fn external(id: &str) -> NewAgent {
    NewAgent {
        id: Some(id.to_owned()),
        name: id.to_owned(),
        kind: Some(Kind::External),
        ..NewAgent::default()
    }
}

fn to(status: Status, assigned_to: Option<&str>) -> BeadEdit {
    let patch = BeadPatch { assigned_to: Some(assigned_to.map(str::to_owned)), ..BeadPatch::default() };
    BeadEdit { patch, status: Some(status), ..BeadEdit::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patch_assigns_the_bead_beside_every_change_of_status() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    stage.bead("b", 2, &[]).await;
    h.agents.create(&me(), external("outside")).await.unwrap();
    let id = BeadId::from_trusted("b");
    let steps = [
        (Status::Blocked, Some("one")),
        (Status::Open, Some("two")),
        (Status::Open, None),
        (Status::InProgress, Some("outside")),
        (Status::Open, Some("three")),
        (Status::Closed, Some("four")),
        (Status::Open, Some("five")),
    ];
    for (status, assigned_to) in steps {
        let mut edit = to(status, assigned_to);
        let before = h.store.bead("b".into()).await.unwrap().unwrap();
        edit.status = edit.status.filter(|status| *status != before.status);
        let after = h.beads.edit(&me(), &id, edit).await.unwrap().bead;
        assert_eq!((after.status, after.assigned_to.as_deref()), (status, assigned_to));
    }
    // Null beside `in_progress` is the caller, also when the bead was meant for another one.
    let after = h.beads.edit(&me(), &id, to(Status::InProgress, None)).await.unwrap().bead;
    assert_eq!((after.status, after.assigned_to.as_deref()), (Status::InProgress, Some("ann")));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependency_with_an_old_lease_token_is_refused() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    stage.bead("b", 2, &[]).await;
    stage.bead("other", 2, &[]).await;
    h.agents.create(&me(), external("outside")).await.unwrap();
    let (bead, agent) = (BeadId::from_trusted("b"), AgentId::from_trusted("outside"));
    let authority =
        Authority { role: Role::Agent, agent_id: Some("outside".into()), ..Authority::unlimited("outside") };
    let caller = Caller { authority: Arc::new(authority), ..Caller::named("outside") };
    let claim = async || {
        let claimant = Claimant::Agent(agent.clone());
        h.beads.claim(&caller, &bead, claimant, None).await.unwrap().lease.unwrap().token
    };
    let old = claim().await;
    let release = BeadAction::Release { reason: "x".into() };
    h.beads.act(&caller, &bead, release, Some(old.clone())).await.unwrap();
    let token = claim().await;
    let edge = || Edge::new(bead.clone(), BeadId::from_trusted("other"), "related");
    for wrong in [Some(old), Some("made up".into()), None] {
        let refused = h.beads.add_dependency(&caller, &bead, edge(), wrong).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    h.beads.add_dependency(&caller, &bead, edge(), Some(token)).await.unwrap();
    stage.stop().await;
}
