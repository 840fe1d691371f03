//! Tests of the writer: many independent units in one transaction, with an answer to every caller, also at the end.

use crate::home::{Home, all_beads, all_events, options};
use crate::outcomes::{Outcome, code, field, is_stale, is_taken};
use crate::rows::{bead, edge, event_unit, project, with_bead, with_project};
use arbiter_core::bead::Bead;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_store::{Change, Store, StoreError, Unit, Write};
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::Duration;

#[tokio::test]
async fn refused_unit_does_not_affect_its_group() {
    let home = Home::new();
    let (entered, in_publish) = mpsc::channel();
    let (gate, opened) = mpsc::channel::<()>();
    let mut options = options(home.path(), &home.recorder);
    let record = std::mem::replace(&mut options.publish, Box::new(|_| ()));
    options.publish = Box::new(move |events| {
        record(events);
        // Holds the writer until the gate is gone, so that everything sent meanwhile is one group.
        let _ = entered.send(());
        let _ = opened.recv();
    });
    let store = Store::open(options).unwrap();
    let mut first: Pin<Box<dyn Future<Output = Outcome>>> = Box::pin(store.commit(with_project()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    in_publish.recv_timeout(Duration::from_secs(60)).expect("nothing was published");

    let mut waiting: Vec<Pin<Box<dyn Future<Output = Outcome>>>> = Vec::new();
    let mut send = |unit: Unit| {
        let mut commit = Box::pin(store.commit(unit));
        assert!(commit.as_mut().poll(&mut context).is_pending());
        waiting.push(commit);
    };
    for number in 0..40 {
        let id = format!("b{number}");
        send(with_bead(&bead(&id)));
        let refused = match number % 4 {
            0 => with_bead(&bead(&id)),
            1 => with_bead(&Bead { project_id: project("nowhere").id, ..bead("x") }),
            2 => {
                let mut unit = event_unit("x");
                unit.change(Change::Bead(Write::Update { row: bead(&id), expected: 7 }));
                unit
            }
            _ => {
                let mut unit = event_unit("x");
                unit.change(Change::AddEdge(edge("b0", &id, "blocks")));
                unit.change(Change::AddEdge(edge(&id, "b0", "waits-for")));
                unit
            }
        };
        send(refused);
    }
    drop(gate);
    first.await.unwrap();
    let (mut expected, mut number) = (1, 0);
    for pair in waiting.chunks_mut(2) {
        let good = pair[0].as_mut().await.unwrap();
        expected += 2; // its creation, and that it is ready
        assert_eq!(good.last_seq, expected);
        let refused = pair[1].as_mut().await;
        match number % 4 {
            0 => assert!(is_taken(&refused, "bead", &format!("b{number}")), "{refused:?}"),
            1 => assert_eq!(field(&refused), "/project_id"),
            2 => assert!(is_stale(&refused, "bead", &format!("b{number}")), "{refused:?}"),
            _ => assert_eq!(code(&refused), ProblemCode::DependencyCycle),
        }
        number += 1;
    }
    use std::sync::atomic::Ordering::Relaxed;
    assert_eq!(store.stats().commits.load(Relaxed), 2, "all but the first were one transaction");
    assert_eq!(store.stats().units.load(Relaxed), 41);
    let seqs: Vec<u64> = all_events(&store).await.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=81).collect::<Vec<_>>());
    assert_eq!(home.recorder.events(), all_events(&store).await);
    assert_eq!(all_beads(&store).await.len(), 40);
    assert_eq!(store.edges(None).await.unwrap(), []);
    assert!(all_beads(&store).await.iter().all(|one| one.is_ready));
}

#[tokio::test]
async fn panicked_writer_reports_and_takes_no_more_units() {
    let home = Home::new();
    let mut options = options(home.path(), &home.recorder);
    options.publish = Box::new(|_| panic!("a listener that panics"));
    let store = Store::open(options).unwrap();
    assert!(matches!(store.commit(with_project()).await, Err(StoreError::Failed)));
    assert!(matches!(store.commit(event_unit("x")).await, Err(StoreError::Failed)));
    assert_eq!(home.recorder.failures().len(), 1);
    assert_eq!(all_events(&store).await.len(), 1, "reading goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_commit_is_answered_when_closing_under_load() {
    for _ in 0..20 {
        let home = Home::new();
        let store = home.open();
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let store = store.clone();
            senders.spawn(async move {
                let mut answered = 0;
                while store.commit(event_unit("x")).await.is_ok() {
                    answered += 1;
                }
                answered
            });
        }
        tokio::task::yield_now().await;
        store.commit(event_unit("x")).await.unwrap();
        store.close();
        let (mut answered, limit) = (1, Duration::from_secs(60));
        while let Some(done) = tokio::time::timeout(limit, senders.join_next()).await.expect("no answer") {
            answered += done.unwrap();
        }
        assert_eq!(home.recorder.events().len(), answered);
        drop(store);
        assert_eq!(all_events(&home.open()).await.len(), answered);
    }
}
