//! The log: numbers without gaps, published in order, verifiable, and cut without losing its thread.

use crate::home::{Home, all_beads, all_events, options};
use crate::rows::{at, bead, event_unit, unit, with_bead, with_project};
use arbiter_core::kernel::event::{Event, EventFilter, NewEvent};
use arbiter_core::kernel::event_type::EventType;
use arbiter_store::{Change, EventRange, Store, StoreError, Verified};
use serde_json::json;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

fn seqs(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

fn pruning(first_kept: u64) -> arbiter_store::Unit {
    let mut unit = unit();
    unit.change(Change::PruneEvents { first_kept });
    unit
}

#[tokio::test]
async fn seq_has_no_gaps_across_refusals_and_reopening() {
    let home = Home::new();
    for round in 0..4_u64 {
        let store = home.open();
        for number in 0..10 {
            let told = event_unit(&format!("{round}-{number}"));
            assert_eq!(store.commit(told).await.unwrap().last_seq, round * 10 + number + 1);
            assert!(matches!(store.commit(with_bead(&bead("b"))).await, Err(StoreError::Refused(_))));
        }
        store.close();
    }
    let store = home.open();
    assert_eq!(seqs(&all_events(&store).await), (1..=40).collect::<Vec<_>>());
    assert_eq!(store.event_bounds().await.unwrap(), (1, 40));
    assert_eq!(store.verify_events().await.unwrap(), Verified { events: 40, first_seq: 1, last_seq: 40 });
    let mut ids: Vec<String> = all_events(&store).await.into_iter().map(|event| event.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40, "an id was given twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publish_gets_commits_in_order_before_the_answer() {
    let home = Home::new();
    let highest = Arc::new(Mutex::new(0));
    let mut options = options(home.path(), &home.recorder);
    let record = std::mem::replace(&mut options.publish, Box::new(|_| ()));
    let recorder = Arc::clone(&highest);
    options.publish = Box::new(move |events| {
        assert!(!events.is_empty());
        *recorder.lock().unwrap() = events.last().unwrap().seq;
        record(events);
    });
    let store = Store::open(options).unwrap();
    store.commit(with_project()).await.unwrap();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..8 {
        let (store, highest) = (store.clone(), Arc::clone(&highest));
        senders.spawn(async move {
            for number in 0..25 {
                let id = format!("b{}", (sender * 25 + number) % 120); // some are taken
                if let Ok(committed) = store.commit(with_bead(&bead(&id))).await {
                    assert!(*highest.lock().unwrap() >= committed.last_seq, "answered before published");
                }
            }
        });
    }
    while let Some(done) = senders.join_next().await {
        done.unwrap();
    }
    let events = all_events(&store).await;
    assert_eq!(seqs(&events), (1..=241).collect::<Vec<_>>());
    assert_eq!(home.recorder.events(), events);
    assert_eq!(all_beads(&store).await.len(), 120);
}

#[tokio::test]
async fn pruned_log_verifies_from_the_cut_and_keeps_seq() {
    let home = Home::new();
    let store = home.open();
    for number in 0..10 {
        store.commit(event_unit(&number.to_string())).await.unwrap();
    }
    store.commit(pruning(5)).await.unwrap();
    assert_eq!(store.verify_events().await.unwrap(), Verified { events: 6, first_seq: 5, last_seq: 10 });
    store.commit(pruning(3)).await.unwrap(); // nothing is left to cut there
    store.commit(pruning(8)).await.unwrap();
    assert_eq!(store.commit(event_unit("more")).await.unwrap().last_seq, 11);
    assert_eq!(store.verify_events().await.unwrap(), Verified { events: 4, first_seq: 8, last_seq: 11 });
    assert_eq!(seqs(&all_events(&store).await), [8, 9, 10, 11]);
    store.close();
    let cuts: u32 = home.raw().query_row("SELECT count(*) FROM checkpoints", [], |row| row.get(0)).unwrap();
    assert_eq!(cuts, 1, "only the newest cut is needed");
    let store = home.open();
    assert_eq!(store.verify_events().await.unwrap(), Verified { events: 4, first_seq: 8, last_seq: 11 });
}

#[tokio::test]
async fn fully_pruned_log_continues_its_seq() {
    let home = Home::new();
    let store = home.open();
    for number in 0..10 {
        store.commit(event_unit(&number.to_string())).await.unwrap();
    }
    store.commit(pruning(u64::MAX)).await.unwrap();
    assert_eq!(all_events(&store).await, []);
    assert_eq!(store.verify_events().await.unwrap(), Verified { events: 0, first_seq: 11, last_seq: 10 });
    store.close();
    let store = home.open();
    let mut both = pruning(u64::MAX);
    both.events = event_unit("next").events;
    assert_eq!(store.commit(both).await.unwrap().last_seq, 11);
    assert_eq!(store.commit(event_unit("and on")).await.unwrap().last_seq, 12);
    assert_eq!(store.verify_events().await.unwrap(), Verified { events: 2, first_seq: 11, last_seq: 12 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_during_pruning_finds_no_fault() {
    let home = Home::new();
    let store = home.open();
    let mut many = unit();
    for number in 0..25_000 {
        many.events.extend(event_unit(&number.to_string()).events);
    }
    store.commit(many).await.unwrap();
    let cutter = {
        let store = store.clone();
        tokio::spawn(async move {
            for first_kept in (0..25_000).step_by(500) {
                store.commit(pruning(first_kept)).await.unwrap();
            }
        })
    };
    while !cutter.is_finished() {
        assert_eq!(store.verify_events().await.unwrap().last_seq, 25_000);
    }
    cutter.await.unwrap();
}

#[tokio::test]
async fn event_page_reports_how_far_it_scanned() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    for number in 0..9 {
        store.commit(event_unit(&(number % 3).to_string())).await.unwrap();
    }
    let read = async |after: Option<u64>, before: Option<u64>, subject: Option<&str>, limit: u32| {
        let mut range = EventRange { after, before, limit, ..EventRange::default() };
        range.filter.subject = subject.map(str::to_owned);
        let page = store.events(range).await.unwrap();
        (seqs(&page.events), page.scanned_to)
    };
    assert_eq!(read(None, None, None, 4).await, (vec![1, 2, 3, 4], 4));
    assert_eq!(read(Some(4), None, None, 100).await, (vec![5, 6, 7, 8, 9, 10], 10));
    assert_eq!(read(Some(2), None, Some("0"), 2).await, (vec![5, 8], 8));
    assert_eq!(read(Some(8), None, Some("0"), 2).await, (vec![], 10));
    assert_eq!(read(Some(10), None, None, 5).await, (vec![], 10));
    assert_eq!(read(None, Some(6), None, 2).await.0, [4, 5], "the newest before, in ascending order");
    assert_eq!(read(Some(2), Some(6), None, 100).await, (vec![3, 4, 5], 5), "not past its own end");
    assert_eq!(read(Some(2), None, None, 0).await, (vec![], 2), "nothing was looked at");
}

#[tokio::test]
async fn event_scan_goes_past_pages_that_end_at_bytes() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    for _ in 0..6 {
        let mut large = unit();
        let data = json!({"message": "x".repeat(1 << 20)});
        large.emit(NewEvent::of(EventType::LogMessage, "large", data));
        store.commit(large).await.unwrap();
    }
    let range = EventRange { after: Some(1), limit: 1000, ..EventRange::default() };
    let page = store.events(range).await.unwrap();
    assert!(page.events.len() < 6 && page.is_cut, "{} events", page.events.len());
    let (mut all, mut first) = (Vec::new(), Vec::new());
    let scan = |event: Event| {
        all.push(event.seq);
        ControlFlow::Continue(())
    };
    store.scan_events(EventFilter::default(), 1, scan).await.unwrap();
    assert_eq!(all, [2, 3, 4, 5, 6, 7]);
    let scan = |event: Event| {
        first.push(event.seq);
        ControlFlow::Break(())
    };
    store.scan_events(EventFilter::default(), 1, scan).await.unwrap();
    assert_eq!(first, [2]);
}

#[tokio::test]
async fn retention_cut_ignores_clock_jumps() {
    let home = Home::new();
    let store = home.open();
    for ms in [100, 200, 300, 50, 400] {
        let mut unit = event_unit(&ms.to_string());
        unit.at = at(ms);
        store.commit(unit).await.unwrap();
    }
    let first = async |before: i64, max: u64| store.first_kept_event(at(before), max).await.unwrap();
    assert_eq!(first(0, 100).await, 1);
    assert_eq!(first(0, 2).await, 4, "by their number");
    assert_eq!(first(150, 100).await, 2, "by their age");
    assert_eq!(first(9_999, 100).await, 5, "the newest always stays");
}
