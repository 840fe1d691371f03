//! Opening: what is not ours, or not yet ours, is refused and left alone.

use crate::home::{Home, Recorder, options};
use crate::rows::with_project;
use arbiter_core::kernel::event::{Event, GENESIS, StoredEvent, chain_hash};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::Proof;
use arbiter_store::{Store, StoreError};
use serde_json::json;
use sha2::{Digest, Sha256};

async fn create_database(home: &Home) {
    let store = home.open();
    store.commit(with_project()).await.unwrap();
    store.close();
}

/// Everything that says what a database is. Its bytes are no measure: the last reader that closes may move
/// the write-ahead log into the file at any moment.
fn content(home: &Home) -> Vec<String> {
    let raw = home.raw();
    let sql = "SELECT coalesce(sql, name) FROM sqlite_schema
               UNION ALL SELECT id || name || sha256 || applied_at FROM schema_migrations
               UNION ALL SELECT seq || data FROM events ORDER BY 1";
    let mut statement = raw.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn newer_database_is_refused_and_unchanged() {
    let home = Home::new();
    create_database(&home).await;
    let sql = "INSERT INTO schema_migrations (id, name, sha256, applied_at) VALUES (99, 'future', 'x', 'x')";
    home.raw().execute(sql, []).unwrap();
    let before = content(&home);
    match Store::open(options(home.path(), &home.recorder)) {
        Err(StoreError::Schema(reason)) => assert!(reason.contains("newer arbiter"), "{reason}"),
        other => panic!("{:?}", other.map(|_| "opened")),
    }
    assert_eq!(content(&home), before);
    home.raw().execute("DELETE FROM schema_migrations WHERE id = 99", []).unwrap();
    assert_eq!(home.open().event_bounds().await.unwrap(), (1, 1));
}

#[tokio::test]
async fn first_version_database_migrates_and_keeps_its_log() {
    let home = Home::new();
    let first = include_str!("../../../migrations/0001_init.sql");
    let checksum: String =
        Sha256::digest(first.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let event = Event {
        id: "evt-1".into(),
        kind: EventType::LogMessage,
        timestamp: Timestamp::from_millis(1),
        source: "old".into(),
        project_id: None,
        subject: "x".into(),
        actor: "ann".into(),
        origin: None,
        data: json!({"message": "x"}),
        seq: 1,
    };
    let (data, timestamp) = (event.data.to_string(), event.timestamp.to_string());
    let hash = chain_hash(
        &GENESIS,
        &StoredEvent {
            seq: 1,
            id: "evt-1",
            kind: "log.message",
            timestamp: &timestamp,
            source: "old",
            project_id: None,
            subject: "x",
            actor: "ann",
            data: &data,
            origin: None,
        },
    );
    {
        let raw = rusqlite::Connection::open(home.database()).unwrap();
        raw.execute_batch(first).unwrap();
        raw.execute_batch(
            "CREATE TABLE schema_migrations (
                id INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at TEXT NOT NULL
             ) STRICT;",
        )
        .unwrap();
        raw.execute("INSERT INTO schema_migrations VALUES (1, 'init', ?1, '')", [checksum]).unwrap();
        raw.execute(
            "INSERT INTO events (seq, id, type, timestamp, source, subject, actor, data, prev_hash, hash)
             VALUES (1, 'evt-1', 'log.message', ?1, 'old', 'x', 'ann', ?2, ?3, ?4)",
            rusqlite::params![timestamp, data, GENESIS, hash],
        )
        .unwrap();
        let token =
            "INSERT INTO tokens (id, name, role, digest, created_at) VALUES ('t', 'n', 'viewer', 'd', ?1)";
        raw.execute(token, [event.timestamp.to_string()]).unwrap();
    }
    std::fs::set_permissions(home.database(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let store = home.open();
    assert_eq!(store.verify_events().await.unwrap().events, 1);
    let token = &store.tokens().await.unwrap()[0];
    assert_eq!((token.proof, &token.projects, token.last_used_at), (Proof::Text, &None, None));
}

#[tokio::test]
async fn database_of_other_migrations_is_refused() {
    let home = Home::new();
    create_database(&home).await;
    home.raw().execute("UPDATE schema_migrations SET sha256 = 'x'", []).unwrap();
    let opened = Store::open(options(home.path(), &home.recorder));
    assert!(matches!(opened.map(|_| ()), Err(StoreError::Schema(_))));
}

#[test]
fn non_database_file_is_refused_and_unchanged() {
    let home = Home::new();
    let text = "these are notes, and no database\n".repeat(100);
    std::fs::write(home.database(), &text).unwrap();
    assert!(Store::open(options(home.path(), &Recorder::default())).is_err());
    assert_eq!(std::fs::read_to_string(home.database()).unwrap(), text);
}

#[test]
fn new_database_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let _store = home.open();
    for name in ["arbiter.db", "arbiter.db-wal", "arbiter.db-shm"] {
        let mode = std::fs::metadata(home.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
