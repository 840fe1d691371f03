//! Forward-only migrations, each applied once, each checked against what was applied.

use crate::base::error::StoreError;
use arbiter_core::kernel::lease::digest;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// One step of the schema.
pub(crate) struct Migration {
    pub(crate) id: u32,
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

/// Every step, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { id: 1, name: "init", sql: include_str!("../../../migrations/0001_init.sql") },
    Migration { id: 2, name: "door", sql: include_str!("../../../migrations/0002_door.sql") },
    Migration { id: 3, name: "money", sql: include_str!("../../../migrations/0003_money.sql") },
    Migration { id: 4, name: "console", sql: include_str!("../../../migrations/0004_console.sql") },
    Migration { id: 5, name: "runs", sql: include_str!("../../../migrations/0005_runs.sql") },
    Migration { id: 6, name: "work_graph", sql: include_str!("../../../migrations/0006_work_graph.sql") },
    Migration { id: 7, name: "decisions", sql: include_str!("../../../migrations/0007_decisions.sql") },
    Migration { id: 8, name: "agents", sql: include_str!("../../../migrations/0008_agents.sql") },
    Migration { id: 9, name: "dispatch", sql: include_str!("../../../migrations/0009_dispatch.sql") },
    Migration { id: 10, name: "mirror", sql: include_str!("../../../migrations/0010_mirror.sql") },
    Migration {
        id: 11,
        name: "console_reach",
        sql: include_str!("../../../migrations/0011_console_reach.sql"),
    },
    Migration {
        id: 12,
        name: "bead_file_bases",
        sql: include_str!("../../../migrations/0012_bead_file_bases.sql"),
    },
];

/// Brings the schema up to date. Refuses a schema that is newer than this program, or that was made by
/// steps other than ours.
pub(crate) fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at TEXT NOT NULL
         ) STRICT;",
    )?;
    let newest: u32 =
        connection.query_row("SELECT coalesce(max(id), 0) FROM schema_migrations", [], |row| row.get(0))?;
    let known = migrations.last().map_or(0, |last| last.id);
    if newest > known {
        return Err(StoreError::Schema(format!(
            "the database has schema {newest}, this program knows {known}: it was written by a newer arbiter; \
             use that one"
        )));
    }
    for step in migrations {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let applied: Option<String> = transaction
            .query_row("SELECT sha256 FROM schema_migrations WHERE id = ?1", [step.id], |row| row.get(0))
            .optional()?;
        match applied {
            Some(found) if found == digest(step.sql) => continue,
            Some(_) => {
                return Err(StoreError::Schema(format!(
                    "migration {} ({}) differs from the one that made this database",
                    step.id, step.name
                )));
            }
            None => {}
        }
        transaction.execute_batch(step.sql)?;
        transaction.execute(
            "INSERT INTO schema_migrations (id, name, sha256, applied_at) VALUES (?1, ?2, ?3, ?4)",
            params![step.id, step.name, digest(step.sql), now.to_string()],
        )?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_millis(0)
    }

    #[test]
    fn migrate_twice_applies_the_schema_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS, at()).unwrap();
        migrate(&mut connection, MIGRATIONS, at()).unwrap();
        let steps: usize =
            connection.query_row("SELECT count(*) FROM schema_migrations", [], |row| row.get(0)).unwrap();
        assert_eq!(steps, MIGRATIONS.len());
    }

    #[test]
    fn newer_schema_or_changed_step_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS, at()).unwrap();
        let same = |step: &Migration| Migration { id: step.id, name: step.name, sql: step.sql };
        let mut changed: Vec<Migration> = MIGRATIONS.iter().map(same).collect();
        changed[0].sql = "CREATE TABLE other (x)";
        assert!(matches!(migrate(&mut connection, &changed, at()), Err(StoreError::Schema(_))));
        connection.execute("INSERT INTO schema_migrations VALUES (99, 'future', 'x', 'x')", []).unwrap();
        assert!(matches!(migrate(&mut connection, MIGRATIONS, at()), Err(StoreError::Schema(_))));
    }

    #[test]
    fn failed_step_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken =
            [Migration { id: 1, name: "broken", sql: "CREATE TABLE one (x); CREATE TABLE one (x);" }];
        assert!(migrate(&mut connection, &broken, at()).is_err());
        let left: u32 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'one'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0);
    }
}
