//! Readiness under random work, against the slow reference.

use crate::home::{Home, all_beads, all_events};
use crate::reference::Graph;
use crate::rows::{agent, at, bead, edge, unit, with_project};
use crate::world::{ExpectedRefusal, GraphOp, KINDS, WorldModel};
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::{Bead, ClaimContext, Status};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{
    Change, DueFilter, ImportOrder, Imported, ImportedBead, ImportedEdge, Store, StoreError, Unit,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TYPES: [&str; 4] = ["task", "bug", "gate", "epic"];
const BEADS: usize = 6;

fn graph_op() -> impl Strategy<Value = GraphOp> {
    let bead = || 0..BEADS;
    prop_oneof![
        1 => (bead(), prop::sample::select(&TYPES[..]))
            .prop_map(|(bead, bead_type)| GraphOp::Create { bead, bead_type }),
        9 => (bead(), 0..9_usize).prop_map(|(bead, command)| GraphOp::Change { bead, command }),
        1 => (bead(), prop::sample::select(&TYPES[..]))
            .prop_map(|(bead, bead_type)| GraphOp::Retype { bead, bead_type }),
        1 => bead().prop_map(|bead| GraphOp::Delete { bead }),
        // More of those that look at children, since it takes two edges for them to mean anything.
        6 => (bead(), bead(), prop::sample::select(&["parent-child", "waits-for", "waits-for any"][..]))
            .prop_map(|(bead, on, kind)| GraphOp::AddDependency { bead, on, kind }),
        5 => (bead(), bead(), prop::sample::select(&KINDS[..]))
            .prop_map(|(bead, on, kind)| GraphOp::AddDependency { bead, on, kind }),
        3 => (bead(), bead()).prop_map(|(bead, on)| GraphOp::RemoveDependency { bead, on }),
        1 => bead().prop_map(|bead| GraphOp::Ask { bead }),
        1 => bead().prop_map(|bead| GraphOp::Shelve { bead }),
        1 => any::<bool>().prop_map(|on_failure| GraphOp::BlockingRule { on_failure }),
        2 => (any::<usize>(), 0..3_usize).prop_map(|(which, command)| GraphOp::Answer { which, command }),
    ]
}

fn check_refusal(wrong: &ExpectedRefusal, error: &StoreError, graph: &Graph, unit: &Unit) {
    let StoreError::Refused(refusal) = error else { panic!("{wrong:?} was answered with {error:?}") };
    match (wrong, refusal) {
        (ExpectedRefusal::Taken, Refusal::Exists { entity: "bead", .. })
        | (ExpectedRefusal::DuplicateEdge, Refusal::Conflict { code: ProblemCode::DependencyExists, .. })
        | (ExpectedRefusal::NoSuchEdge, Refusal::NotFound { entity: "dependency", .. })
        | (ExpectedRefusal::NoSuchBead, Refusal::Invalid(_)) => {}
        (ExpectedRefusal::Cycle, Refusal::Conflict { code: ProblemCode::DependencyCycle, detail }) => {
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

async fn check_world(store: &Store, world: &WorldModel) {
    let ready = world.graph.ready();
    let stored = all_beads(store).await;
    assert_eq!(stored.len(), world.rows.len());
    for one in stored {
        let id = one.bead.id.as_str();
        assert_eq!(Some(&one.bead), world.rows.get(id));
        assert_eq!(one.is_ready, ready.contains(id), "ready of {id} in {:#?}", world.graph);
        let waits: Vec<String> =
            one.claim_context.waiting_on.iter().map(|blocker| blocker.id.to_string()).collect();
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

/// Returns the facts that a claim depends on after a unit that changes one dependency of a bead and nothing else.
async fn foreseen_context(store: &Store, unit: &Unit) -> Option<(BeadId, ClaimContext)> {
    let (add, remove) = match &unit.changes[..] {
        [Change::AddEdge(edge)] => (vec![edge.clone()], vec![]),
        [Change::RemoveEdge(edge)] => (vec![], vec![edge.clone()]),
        _ => return None,
    };
    let id = add.first().or(remove.first())?.bead_id.clone();
    Some((id.clone(), store.claim_context_after(id, add, remove).await.unwrap()))
}

/// Commits one unit of deeds and compares everything.
async fn step(store: &Store, world: &mut WorldModel, graph_ops: &[GraphOp]) {
    let (mut unit, mut after) = (unit(), world.clone());
    let (mut wrong, mut just_before) = (None, world.graph.clone());
    for graph_op in graph_ops {
        just_before = after.graph.clone();
        if let Err(found) = after.add(graph_op, &mut unit) {
            wrong = Some(found);
            break;
        }
    }
    let last = store.event_bounds().await.unwrap().1;
    let foreseen = foreseen_context(store, &unit).await;
    let outcome = store.commit(unit.clone()).await;
    let told = all_events(store).await.split_off(usize::try_from(last).unwrap());
    match (wrong, outcome) {
        (Some(wrong), Err(error)) => {
            check_refusal(&wrong, &error, &just_before, &unit);
            assert_eq!(told, [], "a refused unit told something");
        }
        (None, Ok(committed)) => {
            let before = world.graph.ready();
            let newly_ready: BTreeSet<String> = after.graph.ready().difference(&before).cloned().collect();
            let told: Vec<String> =
                told.into_iter().filter(|e| e.kind == EventType::BeadReady).map(|e| e.subject).collect();
            assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), newly_ready, "{graph_ops:?}");
            assert_eq!(told.len(), newly_ready.len(), "told twice: {told:?}");
            let answered: Vec<String> = committed.became_ready.iter().map(ToString::to_string).collect();
            assert_eq!(answered, told);
            if let Some((id, mut foreseen)) = foreseen {
                foreseen.waiting_on.sort_by(|a, b| a.id.cmp(&b.id));
                let (_, found, _) = store.bead_state(id.to_string()).await.unwrap().unwrap();
                // The others are taken as they were before the unit.
                let is_same = |other: &String| world.graph.waiting_on(other) == after.graph.waiting_on(other);
                if after.graph.beads.keys().filter(|other| **other != *id.as_str()).all(is_same) {
                    assert_eq!(foreseen, found, "{graph_ops:?} in {:#?}", after.graph);
                }
            }
            *world = after;
        }
        (wrong, outcome) => {
            panic!("expected {wrong:?}, got {outcome:?} for {graph_ops:?} in {:#?}", world.graph)
        }
    }
    check_world(store, world).await;
}

async fn run_steps(units: &[Vec<GraphOp>]) {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    let mut world = WorldModel::default();
    let beginning: Vec<GraphOp> =
        (0..BEADS - 1).map(|bead| GraphOp::Create { bead, bead_type: "task" }).collect();
    step(&store, &mut world, &beginning).await;
    for graph_ops in units {
        step(&store, &mut world, graph_ops).await;
    }
}

fn run(units: &[Vec<GraphOp>]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(run_steps(units));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn readiness_matches_the_reference_after_any_ops(
        units in prop::collection::vec(prop::collection::vec(graph_op(), 1..4), 1..40)
    ) {
        run(&units);
    }
}

#[test]
fn deleted_blocker_unblocks_and_leaves_a_dangling_edge() {
    let blocks = GraphOp::AddDependency { bead: 0, on: 1, kind: "blocks" };
    run(&[
        vec![blocks],
        vec![GraphOp::Delete { bead: 1 }],
        vec![GraphOp::RemoveDependency { bead: 0, on: 1 }],
    ]);
}

#[test]
fn child_of_a_waiting_parent_emits_no_transient_ready() {
    // Bead 0 is a child of 4 and blocked by 1; in one unit 1 closes and 4 becomes blocked by 2.
    run(&[
        vec![
            GraphOp::AddDependency { bead: 0, on: 4, kind: "parent-child" },
            GraphOp::AddDependency { bead: 0, on: 1, kind: "blocks" },
        ],
        vec![
            GraphOp::Change { bead: 1, command: 5 },
            GraphOp::AddDependency { bead: 4, on: 2, kind: "blocks" },
        ],
    ]);
    // Bead 0 is ready; in one unit it becomes a child of 4, and 4's blocker closes.
    run(&[
        vec![GraphOp::AddDependency { bead: 4, on: 1, kind: "blocks" }],
        vec![
            GraphOp::AddDependency { bead: 0, on: 4, kind: "parent-child" },
            GraphOp::Change { bead: 1, command: 5 },
        ],
    ]);
}

#[test]
fn waits_for_ends_with_the_last_child_in_any_way() {
    let children = vec![
        GraphOp::AddDependency { bead: 1, on: 2, kind: "parent-child" },
        GraphOp::AddDependency { bead: 3, on: 2, kind: "parent-child" },
        GraphOp::AddDependency { bead: 4, on: 2, kind: "parent-child" },
        GraphOp::AddDependency { bead: 0, on: 2, kind: "waits-for" },
    ];
    let ends = [
        GraphOp::Change { bead: 1, command: 5 },
        GraphOp::Delete { bead: 3 },
        GraphOp::RemoveDependency { bead: 4, on: 2 },
    ];
    // Each of the ends is once the last.
    for first in 0..ends.len() {
        let mut units = vec![children.clone()];
        units.extend((0..ends.len()).map(|step| vec![ends[(first + step) % ends.len()].clone()]));
        units.push(vec![GraphOp::Change { bead: 1, command: 6 }]);
        run(&units);
    }
}

#[tokio::test]
async fn deferral_of_bead_or_parent_delays_due_beads() {
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
async fn unassignable_beads_do_not_hide_due_ones() {
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
async fn waiting_groups_are_counted_since_ready() {
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
        kinds.into_iter().map(|group| (group.bead.id.to_string(), group.count)).collect::<Vec<_>>()
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
async fn spawn_depth_counts_beads_created_by_agents() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    for id in ["root", "a", "b", "aa", "found"] {
        unit.create(&bead(id), Change::Bead);
    }
    // The edge of an actor that is not an agent.
    unit.change(Change::AddEdge(edge("found", "root", "discovered-from")));
    store.commit(unit).await.unwrap();
    let mut unit = Unit::new(at(1), "agent-1", "test");
    unit.create(&agent("agent-1"), Change::Agent);
    for (child, parent) in [("a", "root"), ("b", "root"), ("aa", "a")] {
        unit.change(Change::AddEdge(edge(child, parent, "discovered-from")));
    }
    store.commit(unit).await.unwrap();
    let spawn_depth = async |id: &str| {
        let found = store.spawn_depth(id.to_owned()).await.unwrap();
        (found.depth, found.children, found.descendants)
    };
    assert_eq!(spawn_depth("root").await, (0, 2, 3));
    assert_eq!(spawn_depth("a").await, (1, 1, 3));
    assert_eq!(spawn_depth("aa").await, (2, 0, 3));
    assert_eq!(spawn_depth("found").await, (0, 0, 0));
}

#[tokio::test]
async fn claim_context_foresees_a_new_deferred_parent() {
    let home = Home::new();
    let store = home.open();
    let mut unit = with_project();
    unit.create(&Bead { defer_until: Some(at(500)), ..bead("parent") }, Change::Bead);
    unit.create(&bead("child"), Change::Bead);
    store.commit(unit).await.unwrap();
    let child = BeadId::from_trusted("child");
    let parent = edge("child", "parent", "parent-child");
    let foreseen = store.claim_context_after(child.clone(), vec![parent.clone()], vec![]).await.unwrap();
    assert_eq!(foreseen, ClaimContext { parent_until: Some(at(500)), ..ClaimContext::default() });
    let mut unit = Unit::new(at(1), "ann", "test");
    unit.change(Change::AddEdge(parent.clone()));
    store.commit(unit).await.unwrap();
    assert_eq!(store.bead_state("child".into()).await.unwrap().unwrap().1, foreseen);
    let foreseen = store.claim_context_after(child, vec![], vec![parent]).await.unwrap();
    assert_eq!(foreseen, ClaimContext::default());
}

/// A bead of a file: status, type, whether it is shelved and deferred, and what it depends on by which type.
type FileBead = (Status, &'static str, bool, bool, Vec<(usize, &'static str)>);

fn file_bead() -> impl Strategy<Value = FileBead> {
    let status = prop::sample::select(&[Status::Open, Status::Open, Status::Blocked, Status::Closed][..]);
    let dependency =
        (0..BEADS + 1, prop::sample::select(&["blocks", "parent-child", "waits-for", "related"][..]));
    (
        status,
        prop::sample::select(&TYPES[..]),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::collection::vec(dependency, 0..3),
    )
}

/// Returns the rows of a file and its edges: only to earlier beads, so that there is no cycle, and to one that is
/// missing.
fn file(beads: &[FileBead]) -> (Vec<Bead>, Vec<Vec<Edge>>) {
    let row = |(number, (status, bead_type, shelved, deferred, _)): (usize, &FileBead)| Bead {
        status: *status,
        bead_type: (*bead_type).to_owned(),
        shelved: shelved.then(|| "pinned".to_owned()),
        defer_until: deferred.then(|| at(500)),
        ..bead(&format!("b{number}"))
    };
    let edges = |(number, (.., on)): (usize, &FileBead)| {
        let mut edges: BTreeMap<usize, Edge> = BTreeMap::new();
        for (target, kind) in on.iter().filter(|(target, _)| *target < number || *target == BEADS) {
            edges.insert(*target, edge(&format!("b{number}"), &format!("b{target}"), kind));
        }
        edges.into_values().collect()
    };
    (beads.iter().enumerate().map(row).collect(), beads.iter().enumerate().map(edges).collect())
}

/// Returns the readiness of every bead, and the ids of those that are due before and after the deferral.
async fn readiness(store: &Store) -> (Vec<(String, bool, ClaimContext)>, Vec<String>) {
    let mut found = Vec::new();
    for one in all_beads(store).await {
        let state = store.bead_state(one.bead.id.to_string()).await.unwrap().unwrap();
        found.push((one.bead.id.to_string(), one.is_ready, state.1));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut due = Vec::new();
    for now in [0, 500] {
        let filter = arbiter_store::BeadFilter { ready_at: Some(at(now)), ..Default::default() };
        let page = arbiter_store::PageRequest { limit: 100, cursor: None };
        let ready = store.beads(filter, page).await.unwrap().items;
        let mut ready: Vec<_> = ready.iter().map(|one| format!("{now} {}", one.bead.id)).collect();
        ready.sort();
        due.extend(ready);
    }
    (found, due)
}

async fn check_import(beads: &[FileBead]) {
    let (rows, edges) = file(beads);
    let (home, other_home) = (Home::new(), Home::new());
    let (imported, committed) = (home.open(), other_home.open());
    imported.commit(with_project()).await.unwrap();
    let content: Vec<Imported> = rows
        .iter()
        .zip(&edges)
        .enumerate()
        .map(|(line, (row, edges))| {
            let edges = edges.iter().map(|edge| ImportedEdge {
                depends_on: edge.depends_on.clone(),
                kind: edge.kind.clone(),
                gate: edge.gate,
                created: (at(1), "ann".to_owned()),
                kept: None,
            });
            let line = u64::try_from(line).unwrap();
            Imported::Bead(Box::new(ImportedBead::new(line, row.clone(), edges.collect(), vec![], None)))
        })
        .collect();
    let order = ImportOrder {
        project_id: ProjectId::from_trusted("p"),
        at: at(1_000),
        actor: "ann".into(),
        origin: None,
        allow_stale: false,
        dry_run: false,
        strict: true,
        content: Box::new(content.into_iter()),
    };
    imported.import(order).await.unwrap();
    let mut unit = with_project();
    for row in &rows {
        unit.create(row, Change::Bead);
    }
    // A unit takes no edge to a missing bead, so that one is there until it is deleted.
    let missing = bead(&format!("b{BEADS}"));
    unit.create(&missing, Change::Bead);
    for edge in edges.iter().flatten() {
        unit.change(Change::AddEdge(edge.clone()));
    }
    committed.commit(unit).await.unwrap();
    let mut unit = self::unit();
    unit.change(Change::Bead(arbiter_store::Write::Delete { row: missing }));
    committed.commit(unit).await.unwrap();
    assert_eq!(readiness(&imported).await, readiness(&committed).await, "{beads:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn import_and_units_agree_on_readiness(beads in prop::collection::vec(file_bead(), 1..BEADS)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check_import(&beads));
    }
}
