//! The log finds every byte that was changed behind its back.

use crate::home::Home;
use crate::rows::{bead, event_unit, with_bead, with_project};
use arbiter_core::kernel::event::Origin;
use arbiter_store::{Store, Unit, Verified, VerifyError};
use rusqlite::Connection;
use rusqlite::types::Value;

const TEXT_COLUMNS: &[&str] =
    &["id", "type", "timestamp", "source", "project_id", "subject", "actor", "data", "address", "token_id"];

/// A store with six events, one of them without a project.
async fn store_with_events(home: &Home) -> Store {
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    store.commit(with_bead(&bead("b1"))).await.unwrap();
    let origin = Origin { address: "192.0.2.7".into(), token_id: Some("tok-1".into()) };
    store.commit(Unit { origin: Some(origin), ..event_unit("x") }).await.unwrap();
    store.commit(with_bead(&bead("b2"))).await.unwrap();
    assert_eq!(store.verify_events().await.unwrap(), Verified { events: 6, first_seq: 1, last_seq: 6 });
    store
}

fn read(raw: &Connection, column: &str, seq: u64) -> Value {
    raw.query_row(&format!("SELECT {column} FROM events WHERE seq = ?1"), [seq], |row| row.get(0)).unwrap()
}

fn write(raw: &Connection, column: &str, seq: u64, value: &Value) {
    let sql = format!("UPDATE events SET {column} = ?2 WHERE seq = ?1");
    assert_eq!(raw.execute(&sql, rusqlite::params![seq, value]).unwrap(), 1);
}

async fn expect_changed(store: &Store, seq: u64, what: &str) {
    match store.verify_events().await {
        Err(VerifyError::Changed(found)) if found == seq => {}
        other => panic!("{what} of event {seq}: {other:?}"),
    }
}

#[tokio::test]
async fn changed_byte_in_any_column_is_detected() {
    let home = Home::new();
    let store = store_with_events(&home).await;
    let raw = home.raw();
    for seq in [2, 4, 6] {
        for column in TEXT_COLUMNS {
            let was = read(&raw, column, seq);
            let Value::Text(text) = &was else { continue };
            for place in 0..text.len() {
                // The second bit changes the case of a letter: what reads the same is still a change.
                for flip in [0x01, 0x20] {
                    let mut bytes = text.clone().into_bytes();
                    bytes[place] ^= flip;
                    let Ok(changed) = String::from_utf8(bytes) else { continue };
                    write(&raw, column, seq, &Value::Text(changed.clone()));
                    expect_changed(&store, seq, &format!("{column} = {changed:?}")).await;
                }
            }
            write(&raw, column, seq, &was);
        }
        for column in ["prev_hash", "hash"] {
            let was = read(&raw, column, seq);
            let Value::Blob(bytes) = &was else { panic!("{was:?}") };
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= 1;
                write(&raw, column, seq, &Value::Blob(changed));
                expect_changed(&store, seq, column).await;
            }
            write(&raw, column, seq, &was);
        }
        store.verify_events().await.unwrap();
    }
}

#[tokio::test]
async fn added_or_removed_project_is_detected() {
    let home = Home::new();
    let store = store_with_events(&home).await;
    let raw = home.raw();
    assert_eq!(read(&raw, "project_id", 4), Value::Null);
    write(&raw, "project_id", 4, &Value::Text(String::new()));
    expect_changed(&store, 4, "project_id").await;
    write(&raw, "project_id", 4, &Value::Null);
    store.verify_events().await.unwrap();
    write(&raw, "project_id", 3, &Value::Null);
    expect_changed(&store, 3, "project_id").await;
}

#[tokio::test]
async fn added_or_removed_origin_is_detected() {
    let home = Home::new();
    let store = store_with_events(&home).await;
    let raw = home.raw();
    for (seq, column, value) in [
        (4, "address", Value::Null),
        (4, "token_id", Value::Null),
        (3, "address", Value::Text("192.0.2.7".into())),
        (3, "token_id", Value::Text("tok-1".into())),
    ] {
        let was = read(&raw, column, seq);
        write(&raw, column, seq, &value);
        expect_changed(&store, seq, column).await;
        write(&raw, column, seq, &was);
    }
    for column in ["address", "token_id"] {
        write(&raw, column, 4, &Value::Null);
    }
    expect_changed(&store, 4, "both").await;
}

#[tokio::test]
async fn deleted_or_renumbered_event_is_reported_missing() {
    for seq in 1..=6_u64 {
        for sql in ["DELETE FROM events WHERE seq = ?1", "UPDATE events SET seq = 1000 + seq WHERE seq = ?1"]
        {
            let home = Home::new();
            let store = store_with_events(&home).await;
            assert_eq!(home.raw().execute(sql, [seq]).unwrap(), 1);
            match store.verify_events().await {
                Err(VerifyError::Missing(found)) if found == seq => {}
                other => panic!("{sql} {seq}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn pruned_log_detects_changed_event_and_checkpoint() {
    let home = Home::new();
    let store = store_with_events(&home).await;
    let mut cut = crate::rows::unit();
    cut.change(arbiter_store::Change::PruneEvents { first_kept: 3 });
    store.commit(cut).await.unwrap();
    assert_eq!(store.verify_events().await.unwrap().first_seq, 3);
    let raw = home.raw();
    let was = read(&raw, "actor", 5);
    write(&raw, "actor", 5, &Value::Text("eve".into()));
    expect_changed(&store, 5, "actor").await;
    write(&raw, "actor", 5, &was);
    raw.execute("UPDATE checkpoints SET hash = zeroblob(32)", []).unwrap();
    expect_changed(&store, 3, "the cut").await;
}
