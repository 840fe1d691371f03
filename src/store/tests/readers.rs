//! Readers: one verification for all who ask, damage that stops the store, and time that the log proves.

use crate::home::{Home, options};
use crate::rows::{at, bead, event_unit, with_bead, with_project};
use arbiter_core::bead::Bead;
use arbiter_store::{Store, Verified};
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

#[tokio::test]
async fn verifications_at_one_time_share_a_result() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    let all = (0..50).map(|_| store.verify_events());
    let results = futures_join(all.collect()).await;
    assert_eq!(results.len(), 50);
    for result in results {
        assert_eq!(result, Verified { events: 1, first_seq: 1, last_seq: 1 });
    }
    // A later one looks again.
    home.raw().execute("UPDATE events SET actor = 'eve'", []).unwrap();
    assert!(store.verify_events().await.is_err());
}

async fn futures_join<F, E: std::fmt::Debug>(all: Vec<F>) -> Vec<Verified>
where
    F: Future<Output = Result<Verified, E>>,
{
    let mut results = Vec::new();
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                results.push(result.unwrap());
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    results
}

#[tokio::test]
async fn damage_that_a_reader_finds_stops_the_store() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    store.commit(with_bead(&Bead { description: "x".repeat(100_000), ..bead("b1") })).await.unwrap();
    store.close();
    drop(store);
    let page_size: u64 = home.raw().query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    let root: u64 = home
        .raw()
        .query_row("SELECT rootpage FROM sqlite_master WHERE name = 'beads'", [], |row| row.get(0))
        .unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(home.database()).unwrap();
    file.seek(SeekFrom::Start((root - 1) * page_size)).unwrap();
    file.write_all(&vec![0xff; usize::try_from(page_size).unwrap()]).unwrap();
    drop(file);
    let store = home.open();
    assert!(store.bead("b1".into()).await.is_err());
    assert_eq!(home.recorder.failures().len(), 1, "{:?}", home.recorder.failures());
}

#[tokio::test]
async fn clock_set_ahead_before_a_start_proves_no_time() {
    let home = Home::new();
    let open = |now: i64| {
        Store::open(arbiter_store::Options { now: at(now), ..options(home.path(), &home.recorder) }).unwrap()
    };
    let store = open(0);
    assert_eq!(store.proven_time(at(5)), at(5), "an empty log proves nothing");
    store.commit(event_unit("x")).await.unwrap();
    let newest = crate::home::all_events(&store).await[0].timestamp;
    store.close();
    let ahead = newest.plus(Duration::from_secs(50 * 365 * 86_400));
    let store = open(ahead.as_millis());
    assert_eq!(store.proven_time(ahead), newest);
    assert_eq!(store.proven_time(ahead.plus(Duration::from_secs(60))), newest.plus(Duration::from_secs(60)));
    let store = open(newest.as_millis());
    assert_eq!(store.proven_time(newest), newest);
}
