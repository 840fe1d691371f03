//! Opening: what is not ours, or not yet ours, is refused and left alone.

use crate::home::{Heard, Home, options};
use crate::rows::with_project;
use arbiter_store::{Store, StoreError};

async fn used(home: &Home) {
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
async fn a_database_of_a_newer_version_is_refused_and_stays_as_it_is() {
    let home = Home::new();
    used(&home).await;
    let sql = "INSERT INTO schema_migrations (id, name, sha256, applied_at) VALUES (99, 'future', 'x', 'x')";
    home.raw().execute(sql, []).unwrap();
    let before = content(&home);
    match Store::open(options(home.path(), &home.heard)) {
        Err(StoreError::Schema(reason)) => assert!(reason.contains("newer arbiter"), "{reason}"),
        other => panic!("{:?}", other.map(|_| "opened")),
    }
    assert_eq!(content(&home), before);
    home.raw().execute("DELETE FROM schema_migrations WHERE id = 99", []).unwrap();
    assert_eq!(home.open().event_bounds().await.unwrap(), (1, 1));
}

#[tokio::test]
async fn a_database_made_by_other_steps_is_refused() {
    let home = Home::new();
    used(&home).await;
    home.raw().execute("UPDATE schema_migrations SET sha256 = 'x'", []).unwrap();
    let opened = Store::open(options(home.path(), &home.heard));
    assert!(matches!(opened.map(|_| ()), Err(StoreError::Schema(_))));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_stays_as_it_is() {
    let home = Home::new();
    let text = "these are somebody's notes, and no database\n".repeat(100);
    std::fs::write(home.database(), &text).unwrap();
    assert!(Store::open(options(home.path(), &Heard::default())).is_err());
    assert_eq!(std::fs::read_to_string(home.database()).unwrap(), text);
}

#[test]
fn a_new_database_is_open_to_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let _store = home.open();
    for name in ["arbiter.db", "arbiter.db-wal", "arbiter.db-shm"] {
        let mode = std::fs::metadata(home.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
