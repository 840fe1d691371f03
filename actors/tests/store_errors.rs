//! An error of the store that passes costs a moment and nothing else: what was due is tried again, work is handed out
//! again, and a failure is told as one.

use crate::stage::{Stage, manual_clock, me};
use arbiter_actors::{Error, Handles, PullRequest, Settings};
use arbiter_core::agent::Kind;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::edit::NewBead;
use arbiter_core::bead::{Claimant, Status};
use arbiter_core::decision;
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::kernel::event::{EventFilter, TypePattern};
use arbiter_core::kernel::ids::{AgentId, BeadId, DecisionId};
use arbiter_core::kernel::initial_status::InitialStatus;
use arbiter_store::EventRange;
use arbiter_testkit::{Database, Script};
use std::sync::Arc;
use std::time::Duration;

fn settings() -> Settings {
    Settings { kdf_iterations: 100_000, ..Settings::default() }
}

async fn external(h: &Handles, id: &str, status: InitialStatus) -> AgentId {
    let new = NewAgent {
        id: Some(id.to_owned()),
        name: id.to_owned(),
        kind: Some(Kind::External),
        status,
        ..NewAgent::default()
    };
    h.agents.create(&me(), new).await.unwrap().id
}

fn pull(agent: &AgentId, wait: Duration) -> PullRequest {
    PullRequest { agent_id: agent.clone(), project_id: None, within: None, tags: vec![], ttl_sec: None, wait }
}

/// Moves the clock on until something holds.
async fn advance_until(clock: &arbiter_actors::ManualClock, what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_times_are_kept_over_a_passing_store_error() {
    let clock = manual_clock();
    let mut stage = Stage::with(settings(), Arc::new(clock.clone())).await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    let database = Database::open(&stage.home.path().join("data"));
    stage.bead("b", 2, &[]).await;
    let bead = BeadId::from_trusted("b");
    let claimant = Claimant::Agent(external(&h, "outside", InitialStatus::Active).await);
    h.beads.claim(&me(), &bead, claimant, Some(60)).await.unwrap();
    let asked = h.decisions.create(&me(), NewDecision::question("p", "Which?")).await.unwrap();
    let decision = DecisionId::from_trusted(asked.id.as_str());

    // The actors start anew while their rows cannot be read, and their times come.
    for table in ["leases", "decisions"] {
        database.hide(table);
    }
    h.fault_injection().panic("bead", "b", 1);
    h.fault_injection().panic("decision", decision.as_str(), 1);
    for _ in 0..2 {
        assert!(h.beads.comment(&me(), &bead, "x".into()).await.is_err());
        assert!(h.decisions.cancel(&me(), &decision, "x".into()).await.is_err());
    }
    clock.advance(Duration::from_secs(61));
    assert!(h.beads.comment(&me(), &bead, "x".into()).await.is_err());
    for table in ["leases", "decisions"] {
        database.show(table);
    }
    advance_until(&clock, "the lease never expires", async || {
        h.store.bead("b".into()).await.unwrap().unwrap().status == Status::Open
    })
    .await;
    clock.set(asked.deadline.unwrap());
    advance_until(&clock, "the deadline never comes", async || {
        let row = h.store.decision(decision.to_string()).await.unwrap().unwrap();
        row.status == decision::Status::Timeout
    })
    .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_dispatcher_pass_is_followed_by_another() {
    let clock = manual_clock();
    let mut stage = Stage::with(settings(), Arc::new(clock.clone())).await;
    let _provider = stage.setup(Script::default(), &["one"]).await;
    let h = stage.h().clone();
    let database = Database::open(&stage.home.path().join("data"));
    let types = TypePattern::parse_list("decision.created").unwrap();
    let mut asked = h.bus.subscribe(EventFilter { types, ..EventFilter::default() }, None).await.unwrap();
    // A pass asks for approvals first and reads the providers next.
    let types = TypePattern::parse_list("bead.status_change").unwrap();
    let filter = EventFilter { types, subject: Some("work".into()), ..EventFilter::default() };
    let claimed = EventRange { after: Some(0), filter, limit: 1, ..EventRange::default() };
    database.hide("providers");
    stage.bead("work", 2, &[]).await;
    stage.bead("critical", 0, &[]).await;
    asked.next().await;
    database.show("providers");
    advance_until(&clock, "no other pass came", async || {
        // What becomes of the run depends on how far the clock has been moved meanwhile.
        !h.store.events(claimed.clone()).await.unwrap().events.is_empty()
    })
    .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_approval_request_does_not_stop_the_others() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &["one"]).await;
    let h = stage.h().clone();
    let database = Database::open(&stage.home.path().join("data"));
    h.orchestrator.park(&me(), "later".into()).await.unwrap();
    stage.bead("first", 0, &[]).await;
    stage.bead("second", 0, &[]).await;
    stage.bead("work", 2, &[]).await;
    // Its question would be too long.
    database.execute("UPDATE beads SET title = printf('%.20000c', 'x') WHERE id = 'first'");
    let types = TypePattern::parse_list("decision.created").unwrap();
    let mut asked = h.bus.subscribe(EventFilter { types, ..EventFilter::default() }, None).await.unwrap();
    h.orchestrator.resume(&me()).await.unwrap();
    let event = tokio::time::timeout(Duration::from_secs(60), asked.next()).await;
    let Ok(arbiter_actors::Delivery::Event(event)) = event else { panic!("no decision was asked for") };
    assert_eq!(event.data["bead_id"], "second");
    stage.until("work", Status::Closed).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_are_served_after_a_panic_of_their_queue() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    let agent = external(&h, "outside", InitialStatus::Active).await;
    let (waiting, caller, patient) = (h.clone(), me(), pull(&agent, Duration::from_secs(600)));
    let waiting = tokio::spawn(async move { waiting.pulls.next(&caller, patient).await });
    while h.pulls.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // A request that ends at once is served after the one that waits.
    assert_eq!(h.pulls.next(&me(), pull(&agent, Duration::ZERO)).await.unwrap(), None);
    h.fault_injection().panic("pull", "main", 1);
    stage.bead("b", 2, &[]).await;
    assert!(matches!(waiting.await.unwrap(), Err(Error::Crashed { .. })));
    let claimed = h.pulls.next(&me(), pull(&agent, Duration::from_secs(600))).await.unwrap();
    assert_eq!(claimed.unwrap().bead.bead.id.as_str(), "b");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pull_answers_a_store_error_as_one() {
    let mut stage = Stage::new().await;
    let h = stage.h().clone();
    let database = Database::open(&stage.home.path().join("data"));
    let agent = external(&h, "outside", InitialStatus::Inactive).await;
    database.execute("UPDATE agents SET created_at = 'odd' WHERE id = 'outside'");
    let answer = h.pulls.next(&me(), pull(&agent, Duration::ZERO)).await;
    assert!(matches!(answer, Err(Error::Store(_))), "{answer:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bead_of_an_unknown_project_is_refused_by_its_field() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    stage.bead("b", 2, &[]).await;
    let patch = arbiter_core::bead::edit::BeadPatch { project_id: Some("nope".into()), ..Default::default() };
    let edit = arbiter_actors::BeadEdit { patch, ..Default::default() };
    let new = NewBead { title: "T".into(), project_id: "nope".into(), ..NewBead::default() };
    let outcomes = [
        h.beads.edit(&me(), &BeadId::from_trusted("b"), edit).await.map(drop),
        h.beads.create(&me(), new).await.map(drop),
    ];
    for outcome in outcomes {
        let Err(Error::Refused(arbiter_core::kernel::refusal::Refusal::Invalid(problems))) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(problems[0].pointer, "/project_id");
    }
    stage.stop().await;
}
