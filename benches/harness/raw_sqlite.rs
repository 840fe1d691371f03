//! Baseline of writing: rows that a server has written, inserted again by bare rusqlite.

use arbiter::core::kernel::time::Timestamp;
use arbiter_store::{Options, Store};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Tables in the order in which a creation writes them, each with the column that orders new rows.
const TABLES: [(&str, &str); 2] = [("beads", "rowid"), ("events", "seq")];

const TAGGED: &str = "INSERT INTO bead_tags (bead_id, tag) VALUES (?1, ?2)";

/// A row copied from one database to the other.
type Row = Vec<Value>;

/// A database with the same schema as the server's.
pub struct RawSqlite {
    source: Connection,
    target: Connection,
    inserts: Vec<String>,
    seen: [i64; 2],
    _home: TempDir,
}

/// A creation: its bead, and the events about it.
struct Creation {
    bead: Row,
    tags: Vec<String>,
    events: Vec<Row>,
}

impl RawSqlite {
    /// Creates a second database beside that of a running server, with the same schema and the rows that
    /// creations refer to.
    pub fn make(server: &Path) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let home = tempfile::Builder::new().prefix("arbiter-raw-").tempdir()?;
        let options = Options {
            directory: home.path().to_owned(),
            readers: 1,
            group_max: 1,
            queue_max: 1,
            now: Timestamp::from_millis(0),
            publish: Box::new(|_| ()),
            on_failure: Box::new(|_| ()),
        };
        Store::open(options)?.close();
        let source = Connection::open_with_flags(server, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        source.busy_timeout(Duration::from_secs(5))?;
        let target = Connection::open(home.path().join("arbiter.db"))?;
        target.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;
             PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
        )?;
        let inserts = TABLES.iter().map(|(table, _)| insert(&source, table)).collect::<Result<_, _>>()?;
        let mut raw = Self { source, target, inserts, seen: [0; 2], _home: home };
        let projects = insert(&raw.source, "projects")?;
        for row in rows(&raw.source, "SELECT * FROM projects WHERE ?1 = 0", 0)? {
            raw.target.execute(&projects, params_from_iter(row))?;
        }
        raw.skip_to_newest()?;
        Ok(raw)
    }

    /// Skips the rows that the server has written since the last call.
    pub fn skip_to_newest(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        for (seen, (table, order)) in self.seen.iter_mut().zip(TABLES) {
            let newest = format!("SELECT coalesce(max({order}), 0) FROM {table}");
            *seen = self.source.query_row(&newest, [], |row| row.get(0))?;
        }
        Ok(())
    }

    /// Inserts the rows that the server has written since the last call, `batch` creations in a transaction.
    /// Returns creations per second.
    pub fn replay(&mut self, batch: usize) -> Result<f64, Box<dyn Error + Send + Sync>> {
        let creations = self.creations()?;
        let [beads, events] = [&self.inserts[0], &self.inserts[1]];
        let started = Instant::now();
        for group in creations.chunks(batch) {
            self.target.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for one in group {
                self.target.prepare_cached(beads)?.execute(params_from_iter(&one.bead))?;
                for tag in &one.tags {
                    self.target.prepare_cached(TAGGED)?.execute((&one.bead[0], tag))?;
                }
                for event in &one.events {
                    self.target.prepare_cached(events)?.execute(params_from_iter(event))?;
                }
            }
            self.target.prepare_cached("COMMIT")?.execute([])?;
        }
        let took = started.elapsed();
        self.skip_to_newest()?;
        Ok(creations.len() as f64 / took.as_secs_f64())
    }

    fn creations(&self) -> Result<Vec<Creation>, Box<dyn Error + Send + Sync>> {
        let [beads, events] =
            TABLES.map(|(table, order)| format!("SELECT * FROM {table} WHERE {order} > ?1 ORDER BY {order}"));
        let beads = rows(&self.source, &beads, self.seen[0])?;
        let events = rows(&self.source, &events, self.seen[1])?;
        // Index of the event's subject column.
        let subject = self.source.prepare("SELECT * FROM events")?.column_index("subject")?;
        let tags = self.source.prepare("SELECT * FROM beads")?.column_index("tags")?;
        let mut events = events.into_iter().peekable();
        let mut creations = Vec::with_capacity(beads.len());
        for bead in beads {
            let mut own = Vec::new();
            while let Some(event) = events.next_if(|event| event[subject] == bead[0]) {
                own.push(event);
            }
            let tags = if let Value::Text(text) = &bead[tags] { serde_json::from_str(text)? } else { vec![] };
            creations.push(Creation { bead, tags, events: own });
        }
        if events.next().is_some() {
            return Err("there are events about something else than the new beads".into());
        }
        Ok(creations)
    }
}

fn insert(connection: &Connection, table: &str) -> rusqlite::Result<String> {
    let count = connection.prepare(&format!("SELECT * FROM {table}"))?.column_count();
    let marks: Vec<String> = (1..=count).map(|number| format!("?{number}")).collect();
    Ok(format!("INSERT INTO {table} VALUES ({})", marks.join(", ")))
}

fn rows(connection: &Connection, sql: &str, after: i64) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare(sql)?;
    let count = statement.column_count();
    statement.query_map([after], |row| (0..count).map(|at| row.get(at)).collect())?.collect()
}
