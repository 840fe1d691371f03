//! Units: all or nothing, and each on the row it was decided on.

use crate::home::{Home, all_beads, all_events};
use crate::outcomes::{code, field, is_stale, is_taken};
use crate::rows::{
    agent, at, bead, comment, decision, edge, event_unit, lease, project, provider, run, unit, with_bead,
    with_project,
};
use arbiter_core::kernel::ids::AgentId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::record::Record;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Change, IdempotencyKey, KeptAnswer, PageRequest, Store, StoreError, Write};

/// A store with project `p` and bead `old`.
async fn store_with_bead(home: &Home) -> Store {
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    store.commit(with_bead(&bead("old"))).await.unwrap();
    store
}

#[tokio::test]
async fn unit_is_written_completely_or_not_at_all() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let before = (all_beads(&store).await, all_events(&store).await);
    let good = [
        Change::Bead(Write::Insert(bead("new"))),
        Change::BeadComment(comment("com-1", "old")),
        Change::AddEdge(edge("new", "old", "blocks")),
        Change::PutLease(lease("old", "t")),
        Change::StartRun(run("run-1", "old")),
        Change::Decision(Write::Insert(decision("dec-1", Some("old")))),
    ];
    for refused_at in 0..=good.len() {
        let mut unit = event_unit("told");
        unit.changes.extend(good.iter().cloned());
        unit.changes.insert(refused_at, Change::Bead(Write::Insert(bead("old"))));
        let outcome = store.commit(unit).await;
        assert!(is_taken(&outcome, "bead", "old"), "{outcome:?}");
        assert_eq!((all_beads(&store).await, all_events(&store).await), before, "refused at {refused_at}");
        assert!(store.leases().await.unwrap().is_empty());
        assert!(store.running_runs().await.unwrap().is_empty());
        assert!(store.edges(None).await.unwrap().is_empty());
        assert!(store.pending_decisions().await.unwrap().is_empty());
        let page = PageRequest { limit: 10, cursor: None };
        assert_eq!(store.bead_comments("old".into(), page).await.unwrap().items, []);
    }
    let mut unit = event_unit("told");
    unit.changes.extend(good);
    assert_eq!(store.commit(unit).await.unwrap().last_seq, 4, "told, and nothing of the refused ones");
    assert_eq!(all_beads(&store).await.len(), 2);
}

/// Inserts the row, then tries everything that a taken id or an old revision has to stop.
async fn check_revisions<R: Record + std::fmt::Debug + PartialEq>(
    store: &Store,
    row: &R,
    later: &R,
    change: fn(Write<R>) -> Change,
) {
    let mut create = unit();
    create.create(row, change);
    store.commit(create.clone()).await.unwrap();
    let events = all_events(store).await;
    assert!(is_taken(&store.commit(create).await, R::ENTITY, row.id()), "{} twice", R::ENTITY);
    for expected in [0, 2, u64::MAX] {
        let mut stale = event_unit("x");
        stale.change(change(Write::Update { row: later.clone(), expected }));
        assert!(is_stale(&store.commit(stale).await, R::ENTITY, row.id()), "{} {expected}", R::ENTITY);
    }
    let mut stale = event_unit("x");
    stale.change(change(Write::Delete { row: later.clone() }));
    assert!(is_stale(&store.commit(stale).await, R::ENTITY, row.id()), "{} deleted", R::ENTITY);
    assert_eq!(all_events(store).await, events, "a refused {} told something", R::ENTITY);
    let mut fresh = unit();
    fresh.change(change(Write::Update { row: later.clone(), expected: row.revision() }));
    store.commit(fresh).await.unwrap();
}

#[tokio::test]
async fn stale_revision_is_refused() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let (mut one, before) = (bead("b"), bead("b"));
    (one.revision, one.title) = (2, "later".into());
    check_revisions(&store, &before, &one, Change::Bead).await;
    let mut one = agent("a");
    one.revision = 2;
    check_revisions(&store, &agent("a"), &one, Change::Agent).await;
    let mut one = provider("v");
    one.revision = 2;
    check_revisions(&store, &provider("v"), &one, Change::Provider).await;
    let mut one = project("q");
    one.revision = 2;
    check_revisions(&store, &project("q"), &one, Change::Project).await;
    let mut one = decision("d", None);
    one.revision = 2;
    check_revisions(&store, &decision("d", None), &one, Change::Decision).await;
    let stored = store.bead("b".into()).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.title.as_str()), (2, "later"));
}

#[tokio::test]
async fn ids_of_deleted_rows_are_never_reused() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let asked = decision("dec-1", None);
    let mut unit = unit();
    unit.create(&asked, Change::Decision);
    store.commit(unit).await.unwrap();
    let mut deleting = event_unit("gone");
    deleting.change(Change::Bead(Write::Delete { row: bead("old") }));
    deleting.change(Change::Decision(Write::Delete { row: asked.clone() }));
    store.commit(deleting).await.unwrap();
    assert_eq!(store.bead("old".into()).await.unwrap(), None);
    let check = async |store: &Store| {
        assert!(is_taken(&store.commit(with_bead(&bead("old"))).await, "bead", "old"));
        let mut unit = event_unit("x");
        unit.create(&asked, Change::Decision);
        let outcome = store.commit(unit).await;
        assert!(is_taken(&outcome, "decision", "dec-1"), "{outcome:?}");
    };
    check(&store).await;
    store.close();
    check(&home.open()).await;
}

#[tokio::test]
async fn delete_with_pending_decision_is_refused() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let mut asking = unit();
    asking.create(&decision("about", Some("old")), Change::Decision);
    asking.create(&decision("of-it", None), Change::Decision);
    store.commit(asking).await.unwrap();
    let delete = async |change: Change| {
        let mut unit = event_unit("gone");
        unit.change(change);
        store.commit(unit).await
    };
    let end = async |id: &str| {
        let asked = store.decision(id.into()).await.unwrap().unwrap();
        let mut unit = unit();
        let cancel = arbiter_core::decision::Command::Cancel { reason: "r".into() };
        unit.apply(&asked, &asked.decide(&cancel, unit.at).unwrap(), Change::Decision);
        store.commit(unit).await.unwrap();
    };
    let bead = || Change::Bead(Write::Delete { row: bead("old") });
    assert!(is_stale(&delete(bead()).await, "decisions about bead", "old"));
    end("about").await;
    delete(bead()).await.unwrap();
    let project = || Change::Project(Write::Delete { row: project("p") });
    assert!(is_stale(&delete(project()).await, "decisions of project", "p"));
    let mut late = unit();
    late.create(&decision("late", Some("old")), Change::Decision);
    assert_eq!(field(&store.commit(late).await), "/bead_id");
    end("of-it").await;
    delete(project()).await.unwrap();
}

#[tokio::test]
async fn unknown_project_is_a_field_problem() {
    let home = Home::new();
    let store = home.open();
    assert_eq!(field(&store.commit(with_bead(&bead("b"))).await), "/project_id");
    let mut unit = unit();
    unit.create(&decision("d", None), Change::Decision);
    assert_eq!(field(&store.commit(unit).await), "/project_id");
    assert_eq!(all_events(&store).await, []);
}

#[tokio::test]
async fn dangling_reference_is_refused_without_failure() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let heartbeat = arbiter_store::Heartbeat { at: at(1), latency_ms: 1, error: None };
    let agent_of_nothing = arbiter_core::agent::Agent { provider_id: Some(provider("v").id), ..agent("a") };
    let gone = [
        Change::BeadComment(comment("com-1", "gone")),
        Change::ProjectComment(comment("com-1", "gone")),
        Change::PutLease(lease("gone", "t")),
        Change::AddEdge(edge("gone", "old", "blocks")),
        Change::Heartbeat { provider: provider("v"), heartbeat },
        Change::Agent(Write::Insert(agent_of_nothing)),
        Change::Project(Write::Delete { row: project("p") }), // bead `old` names it
    ];
    for change in gone {
        let mut unit = event_unit("x");
        unit.change(change.clone());
        let outcome = store.commit(unit).await;
        assert!(
            matches!(&outcome, Err(StoreError::Refused(Refusal::Conflict { code: ProblemCode::InUse, .. }))),
            "{change:?} {outcome:?}"
        );
    }
    assert_eq!(home.recorder.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn only_the_live_lease_renews_and_a_run_ends_once() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let commit = async |change: Change| {
        let mut unit = unit();
        unit.change(change);
        store.commit(unit).await
    };
    commit(Change::PutLease(lease("old", "first"))).await.unwrap();
    commit(Change::PutLease(lease("old", "second"))).await.unwrap();
    let outcome = commit(Change::RenewLease(lease("old", "first").renewed(at(9)))).await;
    assert!(is_stale(&outcome, "lease", "old"), "{outcome:?}");
    commit(Change::RenewLease(lease("old", "second").renewed(at(9)))).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), [lease("old", "second").renewed(at(9))]);
    commit(Change::StartRun(run("run-1", "old"))).await.unwrap();
    let mut ended = run("run-1", "old");
    (ended.status, ended.finished_at) = (arbiter_core::kernel::run::Status::Succeeded, Some(at(5)));
    commit(Change::FinishRun(ended.clone())).await.unwrap();
    assert_eq!(store.run("run-1".into()).await.unwrap(), Some(ended.clone()));
    ended.status = arbiter_core::kernel::run::Status::Failed;
    assert!(is_stale(&commit(Change::FinishRun(ended)).await, "run", "run-1"));
}

#[tokio::test]
async fn last_activity_survives_an_older_update() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let row = agent("a");
    let mut making = unit();
    making.create(&row, Change::Agent);
    store.commit(making).await.unwrap();
    let mut active = unit();
    active.change(Change::AgentActive { agent_id: AgentId::from_trusted("a"), at: at(77) });
    store.commit(active).await.unwrap();
    let mut update = unit();
    let happenings = row.decide(&arbiter_core::agent::Command::Activate).unwrap();
    update.apply(&row, &happenings, Change::Agent);
    store.commit(update).await.unwrap();
    let stored = store.agent("a".into()).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.last_active), (2, Some(at(77))));
}

#[tokio::test]
async fn repeated_idempotency_key_changes_nothing() {
    let home = Home::new();
    let store = store_with_bead(&home).await;
    let request = IdempotencyKey { token_id: "t".into(), route: "POST /beads".into(), key: "k".into() };
    let kept = KeptAnswer {
        request: request.clone(),
        body_digest: "00".into(),
        status: 201,
        location: None,
        answer: "{}".into(),
        created_at: at(0),
    };
    let create = |id: &str| {
        let mut unit = with_bead(&bead(id));
        unit.change(Change::KeepAnswer(kept.clone()));
        unit
    };
    store.commit(create("one")).await.unwrap();
    assert_eq!(code(&store.commit(create("two")).await), ProblemCode::RequestRepeated);
    assert_eq!(store.bead("two".into()).await.unwrap(), None);
    assert_eq!(store.kept_answer(request).await.unwrap(), Some(kept));
}
