//! Readiness under random work, against the slow reference.

use crate::home::{Home, all_beads, all_events};
use crate::reference::Graph;
use crate::rows::{agent, at, bead, edge, unit, with_project};
use crate::world::{Deed, KINDS, World, Wrong};
use arbiter_core::bead::Bead;
use arbiter_core::bead::edit::Edge;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Change, DueFilter, Store, StoreError, Unit};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TYPES: [&str; 4] = ["task", "bug", "gate", "epic"];
const BEADS: usize = 6;

fn deed() -> impl Strategy<Value = Deed> {
    let bead = || 0..BEADS;
    prop_oneof![
        1 => (bead(), prop::sample::select(&TYPES[..]))
            .prop_map(|(bead, bead_type)| Deed::Create { bead, bead_type }),
        9 => (bead(), 0..9_usize).prop_map(|(bead, command)| Deed::Change { bead, command }),
        1 => (bead(), prop::sample::select(&TYPES[..]))
            .prop_map(|(bead, bead_type)| Deed::Retype { bead, bead_type }),
        1 => bead().prop_map(|bead| Deed::Delete { bead }),
        // More of those that look at children, since it takes two edges for them to mean anything.
        6 => (bead(), bead(), prop::sample::select(&["parent-child", "waits-for", "waits-for any"][..]))
            .prop_map(|(bead, on, kind)| Deed::Depend { bead, on, kind }),
        5 => (bead(), bead(), prop::sample::select(&KINDS[..]))
            .prop_map(|(bead, on, kind)| Deed::Depend { bead, on, kind }),
        3 => (bead(), bead()).prop_map(|(bead, on)| Deed::Undepend { bead, on }),
        1 => bead().prop_map(|bead| Deed::Ask { bead }),
        1 => bead().prop_map(|bead| Deed::Shelve { bead }),
        1 => any::<bool>().prop_map(|only_if_it_fails| Deed::Rule { only_if_it_fails }),
        2 => (any::<usize>(), 0..3_usize).prop_map(|(which, command)| Deed::Answer { which, command }),
    ]
}

fn check_refusal(wrong: &Wrong, error: &StoreError, graph: &Graph, unit: &Unit) {
    let StoreError::Refused(refusal) = error else { panic!("{wrong:?} was answered with {error:?}") };
    match (wrong, refusal) {
        (Wrong::Taken, Refusal::Exists { entity: "bead", .. })
        | (Wrong::TwiceTheSame, Refusal::Conflict { code: "dependency-exists", .. })
        | (Wrong::NoSuchEdge, Refusal::NotFound { entity: "dependency", .. })
        | (Wrong::NoSuchBead, Refusal::Invalid(_)) => {}
        (Wrong::Cycle, Refusal::Conflict { code: "dependency-cycle", detail }) => {
            check_path(detail, graph, unit);
        }
        _ => panic!("{wrong:?} was answered with {refusal:?}"),
    }
}

/// The path that a refusal names begins and ends with the bead that would depend, and each step but the
/// new one is an edge that affects readiness. `graph` is the world just before the last change of `unit`.
fn check_path(detail: &str, graph: &Graph, unit: &Unit) {
    let Some(Change::AddEdge(new)) = unit.changes.last() else { panic!("{unit:?}") };
    if new.bead_id == new.depends_on {
        return;
    }
    let (_, path) = detail.split_once(": ").unwrap();
    let steps: Vec<&str> = path.split(" → ").collect();
    assert_eq!((steps[0], steps[1]), (new.bead_id.as_str(), new.depends_on.as_str()), "{detail}");
    assert_eq!(steps.last(), steps.first(), "{detail}");
    for pair in steps[1..].windows(2) {
        let kind = graph.edges.get(&(pair[0].to_owned(), pair[1].to_owned()));
        assert!(kind.is_some_and(|kind| KINDS[..5].contains(&kind.as_str())), "{detail}: {pair:?}");
    }
}

async fn check_world(store: &Store, world: &World) {
    let ready = world.graph.ready();
    let stored = all_beads(store).await;
    assert_eq!(stored.len(), world.rows.len());
    for one in stored {
        let id = one.bead.id.as_str();
        assert_eq!(Some(&one.bead), world.rows.get(id));
        assert_eq!(one.is_ready, ready.contains(id), "ready of {id} in {:#?}", world.graph);
        let waits: Vec<String> = one.facts.waiting_on.iter().map(|hold| hold.id.to_string()).collect();
        assert_eq!(waits, world.graph.waiting_on(id), "what {id} waits for in {:#?}", world.graph);
    }
    let edges = store.edges(None).await.unwrap().into_iter();
    let kind = |edge: &Edge| match edge.gate {
        Some(_) => format!("{} any", edge.kind),
        None => edge.kind.clone(),
    };
    let edges: BTreeMap<_, _> =
        edges.map(|e| ((e.bead_id.to_string(), e.depends_on.to_string()), kind(&e))).collect();
    assert_eq!(edges, world.graph.edges);
}

/// Commits one unit of deeds and compares everything.
async fn step(store: &Store, world: &mut World, deeds: &[Deed]) {
    let (mut unit, mut after) = (unit(), world.clone());
    let (mut wrong, mut just_before) = (None, world.graph.clone());
    for deed in deeds {
        just_before = after.graph.clone();
        if let Err(found) = after.add(deed, &mut unit) {
            wrong = Some(found);
            break;
        }
    }
    let last = store.event_bounds().await.unwrap().1;
    let outcome = store.commit(unit.clone()).await;
    let told = all_events(store).await.split_off(usize::try_from(last).unwrap());
    match (wrong, outcome) {
        (Some(wrong), Err(error)) => {
            check_refusal(&wrong, &error, &just_before, &unit);
            assert_eq!(told, [], "a refused unit told something");
        }
        (None, Ok(committed)) => {
            let before = world.graph.ready();
            let woken: BTreeSet<String> = after.graph.ready().difference(&before).cloned().collect();
            let told: Vec<String> =
                told.into_iter().filter(|e| e.kind == EventType::BeadReady).map(|e| e.subject).collect();
            assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), woken, "{deeds:?}");
            assert_eq!(told.len(), woken.len(), "told twice: {told:?}");
            let answered: Vec<String> = committed.became_ready.iter().map(ToString::to_string).collect();
            assert_eq!(answered, told);
            *world = after;
        }
        (wrong, outcome) => panic!("expected {wrong:?}, got {outcome:?} for {deeds:?} in {:#?}", world.graph),
    }
    check_world(store, world).await;
}

async fn live(units: &[Vec<Deed>]) {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    let mut world = World::default();
    let beginning: Vec<Deed> = (0..BEADS - 1).map(|bead| Deed::Create { bead, bead_type: "task" }).collect();
    step(&store, &mut world, &beginning).await;
    for deeds in units {
        step(&store, &mut world, deeds).await;
    }
}

fn run(units: &[Vec<Deed>]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(live(units));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn readiness_is_what_the_reference_says_after_any_work(
        units in prop::collection::vec(prop::collection::vec(deed(), 1..4), 1..40)
    ) {
        run(&units);
    }
}

#[test]
fn a_bead_whose_blocker_is_deleted_becomes_ready_and_its_edge_dangles_without_holding_it() {
    let blocks = Deed::Depend { bead: 0, on: 1, kind: "blocks" };
    run(&[vec![blocks], vec![Deed::Delete { bead: 1 }], vec![Deed::Undepend { bead: 0, on: 1 }]]);
}

#[test]
fn a_child_that_would_be_ready_but_for_its_parent_is_not_told_of_in_between() {
    // Bead 0 is a child of 4 and blocked by 1; in one unit 1 closes and 4 becomes blocked by 2.
    run(&[
        vec![
            Deed::Depend { bead: 0, on: 4, kind: "parent-child" },
            Deed::Depend { bead: 0, on: 1, kind: "blocks" },
        ],
        vec![Deed::Change { bead: 1, command: 5 }, Deed::Depend { bead: 4, on: 2, kind: "blocks" }],
    ]);
    // Bead 0 is ready; in one unit it becomes a child of 4, and 4's blocker closes.
    run(&[
        vec![Deed::Depend { bead: 4, on: 1, kind: "blocks" }],
        vec![Deed::Depend { bead: 0, on: 4, kind: "parent-child" }, Deed::Change { bead: 1, command: 5 }],
    ]);
}

#[test]
fn a_wait_for_children_ends_with_the_last_of_them_however_it_ends() {
    let children = vec![
        Deed::Depend { bead: 1, on: 2, kind: "parent-child" },
        Deed::Depend { bead: 3, on: 2, kind: "parent-child" },
        Deed::Depend { bead: 4, on: 2, kind: "parent-child" },
        Deed::Depend { bead: 0, on: 2, kind: "waits-for" },
    ];
    let ends =
        [Deed::Change { bead: 1, command: 5 }, Deed::Delete { bead: 3 }, Deed::Undepend { bead: 4, on: 2 }];
    // Each of the ends is once the last.
    for first in 0..ends.len() {
        let mut units = vec![children.clone()];
        units.extend((0..ends.len()).map(|step| vec![ends[(first + step) % ends.len()].clone()]));
        units.push(vec![Deed::Change { bead: 1, command: 6 }]);
        run(&units);
    }
}

#[tokio::test]
async fn a_deferred_bead_and_the_children_of_a_deferred_one_are_not_due_before_their_time() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    unit.create(&Bead { defer_until: Some(at(500)), ..bead("parent") }, Change::Bead);
    unit.create(&Bead { defer_until: Some(at(300)), ..bead("child") }, Change::Bead);
    unit.create(&Bead { next_attempt_at: Some(at(400)), ..bead("tired") }, Change::Bead);
    unit.create(&bead("free"), Change::Bead);
    unit.change(Change::AddEdge(edge("child", "parent", "parent-child")));
    unit.change(Change::AddEdge(edge("free", "parent", "related")));
    store.commit(unit).await.unwrap();
    let due = async |now: i64| {
        let mut ids: Vec<String> = Vec::new();
        for one in store
            .due_beads(DueFilter { project_id: "p".into(), ..DueFilter::default() }, at(now), 100)
            .await
            .unwrap()
        {
            ids.push(one.id.to_string());
        }
        (ids.join(" "), store.next_due(at(now)).await.unwrap().map(|next| next.as_millis()))
    };
    assert_eq!(due(0).await, ("free".to_owned(), Some(400)));
    assert_eq!(due(399).await, ("free".to_owned(), Some(400)));
    assert_eq!(due(400).await, ("free tired".to_owned(), Some(500)));
    assert_eq!(due(500).await, ("child free parent tired".to_owned(), None));
    let ready = async |now: i64| {
        let filter = arbiter_store::BeadFilter { ready_at: Some(at(now)), ..Default::default() };
        let page = arbiter_store::PageRequest { limit: 10, cursor: None };
        let found = store.beads(filter, page).await.unwrap().items;
        found.iter().map(|one| one.bead.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ready(499).await, "free tired", "attempts do not bear on readiness");
    assert_eq!(ready(500).await, "child free parent tired");
}

#[tokio::test]
async fn what_nobody_may_or_can_take_hides_nothing_that_could_be_handed_out() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    for number in 0..3 {
        unit.create(&Bead { priority: 0, ..bead(&format!("critical{number}")) }, Change::Bead);
    }
    unit.create(&Bead { assigned_to: Some("ann".into()), priority: 1, ..bead("anns") }, Change::Bead);
    unit.create(&Bead { tags: vec!["role:tester".into()], priority: 1, ..bead("tests") }, Change::Bead);
    unit.create(&Bead { tags: vec!["role:builder".into()], ..bead("builds") }, Change::Bead);
    unit.create(&Bead { bead_type: "epic".into(), ..bead("epic") }, Change::Bead);
    unit.create(&bead("plain"), Change::Bead);
    store.commit(unit).await.unwrap();
    let due = async |roles: &[&str], project: &str, limit| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let filter = DueFilter { project_id: project.to_owned(), roles, tags: vec![] };
        let found = store.due_beads(filter, at(0), limit).await.unwrap();
        found.iter().map(|one| one.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(due(&["builder"], "p", 9).await, "builds plain");
    assert_eq!(due(&["tester"], "p", 1).await, "tests");
    assert_eq!(due(&[], "p", 9).await, "plain");
    assert_eq!(due(&[], "elsewhere", 9).await, "");
    for (most, wanted) in [(0, 0), (2, 2), (9, 3)] {
        assert_eq!(store.unapproved_beads(at(0), most).await.unwrap().len(), wanted);
    }
}

#[tokio::test]
async fn what_waits_is_counted_by_its_kind_and_since_when_it_could_be_done() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    for id in ["one", "two", "blocked"] {
        unit.create(&bead(id), Change::Bead);
    }
    unit.create(&Bead { tags: vec!["role:tester".into()], ..bead("tests") }, Change::Bead);
    unit.change(Change::AddEdge(edge("blocked", "one", "blocks")));
    store.commit(unit).await.unwrap();
    let waiting = async |since: i64| {
        let kinds = store.waiting(at(90_000), at(since)).await.unwrap();
        kinds.into_iter().map(|alike| (alike.bead.id.to_string(), alike.count)).collect::<Vec<_>>()
    };
    assert_eq!(waiting(999).await, []);
    assert_eq!(waiting(1_000).await, [("one".to_owned(), 2), ("tests".to_owned(), 1)]);
    // It has been there for long, and can be done only since now.
    let one = store.bead("one".into()).await.unwrap().unwrap();
    let mut unit = Unit::new(at(80_000), "ann", "test");
    let closed =
        Bead { status: arbiter_core::bead::Status::Closed, revision: one.revision + 1, ..one.clone() };
    unit.change(Change::Bead(arbiter_store::Write::Update { row: closed, expected: one.revision }));
    store.commit(unit).await.unwrap();
    assert_eq!(waiting(79_999).await, [("tests".to_owned(), 1), ("two".to_owned(), 1)]);
    assert_eq!(waiting(80_000).await, [("blocked".to_owned(), 2), ("tests".to_owned(), 1)]);
}

#[tokio::test]
async fn what_agents_have_created_is_known_by_its_depth_and_its_number() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    for id in ["root", "a", "b", "aa", "found"] {
        unit.create(&bead(id), Change::Bead);
    }
    // Somebody who is no agent has found that one.
    unit.change(Change::AddEdge(edge("found", "root", "discovered-from")));
    store.commit(unit).await.unwrap();
    let mut unit = Unit::new(at(1), "agent-1", "test");
    unit.create(&agent("agent-1"), Change::Agent);
    for (child, parent) in [("a", "root"), ("b", "root"), ("aa", "a")] {
        unit.change(Change::AddEdge(edge(child, parent, "discovered-from")));
    }
    store.commit(unit).await.unwrap();
    let lineage = async |id: &str| {
        let found = store.lineage(id.to_owned()).await.unwrap();
        (found.depth, found.children, found.family)
    };
    assert_eq!(lineage("root").await, (0, 2, 3));
    assert_eq!(lineage("a").await, (1, 1, 3));
    assert_eq!(lineage("aa").await, (2, 0, 3));
    assert_eq!(lineage("found").await, (0, 0, 0));
}
