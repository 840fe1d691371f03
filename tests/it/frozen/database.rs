//! The schema of a fresh database and the checksums of the migrations that created it.

use super::freeze;
use crate::harness::Harness;
use rusqlite::{Connection, OpenFlags};

/// Returns the only column of all rows of a query.
fn column(database: &Connection, query: &str) -> Vec<String> {
    let mut query = database.prepare(query).unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test]
async fn schema_of_a_fresh_database_is_as_frozen() {
    let mut harness = Harness::new().await;
    harness.server.terminate().await;
    let path = harness.server.data_dir().join("arbiter.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    freeze("schema", &column(&database, include_str!("schema.sql")).join(";\n\n"));
    freeze("migrations", &column(&database, include_str!("migrations.sql")).join("\n"));
}
