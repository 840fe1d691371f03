//! A process killed at any moment loses nothing it has answered, and leaves nothing half done.

use crate::again::{child_directory, command_behind, print_line};
use crate::home::{Recorder, all_beads, all_events, options};
use crate::rows::{bead, comment, edge, unit, with_project};
use arbiter_core::kernel::event_type::EventType;
use arbiter_store::{Change, Store, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

const KILLS: u32 = 30;
const SEED: &str = "ARBITER_STORE_TEST_SEED";
const ROOT: &str = "root";

/// Everything of one bead: its row, its edge, its comment, and three events.
pub fn whole(id: &str, description: &str) -> Unit {
    let mut row = bead(id);
    row.description = description.to_owned();
    let mut unit = unit();
    unit.create(&row, Change::Bead);
    unit.change(Change::BeadComment(comment(&format!("com-{id}"), id)));
    unit.change(Change::AddEdge(edge(id, ROOT, "related")));
    unit.events.extend(crate::rows::event_unit(id).events);
    unit
}

/// Events of every complete unit of a bead, in order.
const EXPECTED_EVENTS: [EventType; 3] = [EventType::BeadCreated, EventType::LogMessage, EventType::BeadReady];

/// The beads of whole units; panics when there is a part of one, or a gap in the log.
pub async fn whole_beads(store: &Store) -> BTreeSet<String> {
    let events = all_events(store).await;
    let verified = store.verify_events().await.unwrap();
    assert_eq!(verified.events, u64::try_from(events.len()).unwrap());
    let mut told: BTreeMap<String, Vec<EventType>> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event.seq, u64::try_from(place).unwrap() + 1);
        told.entry(event.subject.clone()).or_default().push(event.kind);
    }
    told.retain(|id, _| id != "p" && id != ROOT);
    let raw = rusqlite::Connection::open(store.path()).unwrap();
    let mut comments = raw.prepare("SELECT bead_id FROM bead_comments").unwrap();
    let mut commented: BTreeSet<String> =
        comments.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut found = BTreeSet::new();
    for one in all_beads(store).await {
        let id = one.bead.id.to_string();
        if id == ROOT {
            continue;
        }
        assert!(commented.remove(&id), "comment of {id}");
        assert_eq!(one.links.related_to.len(), 1, "edge of {id}");
        assert!(one.is_ready, "{id}");
        assert_eq!(told.remove(&id).unwrap(), EXPECTED_EVENTS, "events of {id}");
        found.insert(id);
    }
    assert_eq!(told, BTreeMap::new(), "events without their bead");
    assert_eq!(commented, BTreeSet::new(), "comments without their bead");
    found
}

/// Makes the database with its project and the bead that all others are related to.
pub async fn prepare(directory: &Path) {
    let store = Store::open(options(directory, &Recorder::default())).unwrap();
    let mut unit = with_project();
    unit.create(&bead(ROOT), Change::Bead);
    store.commit(unit).await.unwrap();
    store.close();
}

/// The child: four at a time commit without end, and say each answer.
async fn commit_until_killed(directory: &Path) {
    print_line("started");
    let store = Store::open(options(directory, &Recorder::default())).unwrap();
    let from = store.event_bounds().await.unwrap().1;
    let mut committers = tokio::task::JoinSet::new();
    for committer in 0..4 {
        let store = store.clone();
        committers.spawn(async move {
            for number in 0_u64.. {
                let id = format!("b{from}-{committer}-{number}");
                let size = usize::try_from(number % 7).unwrap() * 3_000;
                store.commit(whole(&id, &"x".repeat(size))).await.unwrap();
                print_line(&format!("ack {id}"));
            }
        });
    }
    while let Some(ended) = committers.join_next().await {
        ended.unwrap();
    }
}

/// Numbers from a seed (SplitMix64).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next_below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

#[test]
fn answered_units_survive_thirty_kills_whole() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Some(directory) = child_directory() {
        runtime.block_on(commit_until_killed(&directory));
        return;
    }
    let chosen = std::env::var(SEED).ok().map(|text| text.parse().unwrap());
    let seed = chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("to repeat: {SEED}={seed}");
    let mut rng = SplitMix64(seed);
    let home = tempfile::tempdir().unwrap();
    runtime.block_on(prepare(home.path()));
    let test = "kill::answered_units_survive_thirty_kills_whole";
    let mut answered: BTreeSet<String> = BTreeSet::new();
    for kill in 0..KILLS {
        let mut child = command_behind(&[], test, home.path()).stdout(Stdio::piped()).spawn().unwrap();
        // One line is "started", which comes before the database is opened.
        let mut wait_for = 1 + rng.next_below(80);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            answered.extend(line.strip_prefix("ack ").map(str::to_owned));
            if line == "started" || line.starts_with("ack ") {
                wait_for = wait_for.wrapping_sub(1);
            }
            if wait_for == 0 {
                child.kill().unwrap(); // and go on reading what it had said
            }
        }
        let ended = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9), "child {kill}: {ended}");
        let found = runtime.block_on(async {
            let store = Store::open(options(home.path(), &Recorder::default())).unwrap();
            let found = whole_beads(&store).await;
            store.close();
            found
        });
        let lost: Vec<&String> = answered.difference(&found).collect();
        assert!(lost.is_empty(), "kill {kill} lost {lost:?}");
    }
    assert!(answered.len() > 300, "only {} units were answered in all", answered.len());
}
