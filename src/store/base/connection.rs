//! Connections with the settings that durability and safety ask for.

use crate::base::error::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// The first SQLite without the WAL-reset corruption (sqlite.org/wal.html, 3.51.3).
const MIN_SQLITE_VERSION: i32 = 3_051_003;
/// Number of prepared statements that a connection caches.
const STATEMENT_CACHE_SIZE: usize = 256;

fn sqlite(operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { operation, source }
}

/// Page cache of the writer, in KiB.
pub(crate) const CACHE_KIB: u32 = 16_384;
/// Page cache of the writer during an import, in KiB, so that pages are not written and read again.
pub(crate) const IMPORT_CACHE_KIB: u32 = 65_536;

/// The one connection that writes.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < MIN_SQLITE_VERSION {
        return Err(StoreError::Schema(format!("SQLite {} is too old", rusqlite::version())));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite("open the database"))?;
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(sqlite("set up the database"))?;
    if mode != "wal" {
        return Err(StoreError::Schema(format!(
            "the file system of {} allows no write-ahead log",
            path.display()
        )));
    }
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;")
        .map_err(sqlite("set up the database"))?;
    set_cache_size(&connection, CACHE_KIB)?;
    configure(&connection)?;
    Ok(connection)
}

/// Sets the page cache of a connection, in KiB, and frees the memory above it.
pub(crate) fn set_cache_size(connection: &Connection, kib: u32) -> Result<(), StoreError> {
    connection
        .execute_batch(&format!("PRAGMA cache_size = -{kib}; PRAGMA shrink_memory;"))
        .map_err(sqlite("set the size of the cache"))
}

/// Opens a read-only connection.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection =
        Connection::open_with_flags(path, flags).map_err(sqlite("open the database for reading"))?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096;")
        .map_err(sqlite("set up a reader"))?;
    // Only the writer may end the log, which it records first.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(sqlite("set up a reader"))?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(5)).map_err(sqlite("set the busy timeout"))?;
    connection
        .execute_batch(
            "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(sqlite("set up a connection"))?;
    // Plans that do not look at bound values: otherwise SQLite prepares a statement with an ORDER BY and an
    // equality anew for each value, which takes ten times as long as running it.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(sqlite("set up a connection"))?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE_SIZE);
    Ok(())
}
