//! File locks in the writer: a held lock cannot be taken, and the end of a hold frees every lock.

use crate::home::Home;
use crate::rows::{at, bead, with_project};
use arbiter_core::bead::{Bead, Status};
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::project::file_lock::FileLock;
use arbiter_store::{Change, Store, StoreError, Unit};

fn lock(path: &str, agent: &str, bead: Option<&str>) -> FileLock {
    FileLock {
        project_id: ProjectId::from_trusted("p"),
        path: path.to_owned(),
        agent_id: agent.to_owned(),
        bead_id: bead.map(BeadId::from_trusted),
        ttl_sec: 600,
        acquired_at: at(0),
        expires_at: at(600_000),
    }
}

async fn commit(store: &Store, changes: Vec<Change>) -> Result<(), StoreError> {
    let mut unit = Unit::new(at(0), "ann", "test");
    unit.changes = changes;
    store.commit(unit).await.map(drop)
}

async fn paths(store: &Store) -> Vec<String> {
    store.file_locks_in("p".into()).await.unwrap().into_iter().map(|lock| lock.path).collect()
}

#[tokio::test]
async fn file_locks_are_taken_all_or_none() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    commit(&store, vec![Change::TakeFileLock(lock("b", "one", None))]).await.unwrap();
    let both = ["a", "b"].map(|path| Change::TakeFileLock(lock(path, "two", None)));
    assert!(matches!(commit(&store, both.to_vec()).await, Err(StoreError::Stale { .. })));
    assert_eq!(paths(&store).await, ["b"]);
}

#[tokio::test]
async fn file_lock_needs_a_held_bead_and_ends_with_it() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    let held = Bead { status: Status::InProgress, assigned_to: Some("one".into()), ..bead("x") };
    let mut unit = Unit::new(at(0), "ann", "test");
    unit.create(&held, Change::Bead);
    store.commit(unit).await.unwrap();
    for wrong in [lock("a", "two", Some("x")), lock("a", "one", Some("y"))] {
        assert!(commit(&store, vec![Change::TakeFileLock(wrong)]).await.is_err());
    }
    let taken = ["a", "b"].map(|path| Change::TakeFileLock(lock(path, "one", Some("x"))));
    commit(&store, taken.to_vec()).await.unwrap();
    let end = |expected| Change::ReleaseFileLocks { bead_id: BeadId::from_trusted("x"), expected };
    assert!(
        matches!(commit(&store, vec![end(1)]).await, Err(StoreError::Stale { .. })),
        "one was not told of"
    );
    assert_eq!(paths(&store).await, ["a", "b"]);
    commit(&store, vec![end(2)]).await.unwrap();
    assert!(paths(&store).await.is_empty());
}

#[tokio::test]
async fn renewed_file_lock_is_not_released_as_expired() {
    let home = Home::new();
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    let first = lock("a", "one", None);
    commit(&store, vec![Change::TakeFileLock(first.clone())]).await.unwrap();
    let renewed = first.renewed(at(500_000), None);
    commit(&store, vec![Change::RenewFileLock(renewed.clone())]).await.unwrap();
    assert!(commit(&store, vec![Change::ReleaseFileLock(first)]).await.is_err());
    commit(&store, vec![Change::ReleaseFileLock(renewed)]).await.unwrap();
    assert!(paths(&store).await.is_empty());
}

#[tokio::test]
async fn cursor_never_moves_back() {
    let home = Home::new();
    let store = home.open();
    for seq in [7, 5] {
        commit(&store, vec![Change::MoveCursor { name: "webhook", seq }]).await.unwrap();
    }
    assert_eq!(store.cursor("webhook").await.unwrap(), Some(7));
}
