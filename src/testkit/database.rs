//! A second connection to the server's database, with which a test breaks what the server reads.

use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// The database of a running server, as another program sees it.
pub struct Database(Connection);

impl Database {
    /// Opens the database of a data directory.
    pub fn open(data: &Path) -> Self {
        let connection = Connection::open(data.join("arbiter.db")).expect("the database opens");
        connection.busy_timeout(Duration::from_secs(60)).expect("a timeout can be set");
        // References to a renamed table must keep its name.
        connection.pragma_update(None, "legacy_alter_table", true).expect("the connection can be set up");
        Self(connection)
    }

    /// Hides a table: the server's reads and writes of it fail until [`Self::show`].
    pub fn hide(&self, table: &str) {
        self.execute(&format!("ALTER TABLE {table} RENAME TO {table}_hidden"));
    }

    /// Ends [`Self::hide`].
    pub fn show(&self, table: &str) {
        self.execute(&format!("ALTER TABLE {table}_hidden RENAME TO {table}"));
    }

    /// Runs statements.
    pub fn execute(&self, sql: &str) {
        self.0.execute_batch(sql).expect("the statement runs");
    }
}
