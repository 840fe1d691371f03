//! The newest generation of the key file that was seen; an older file was put back from somewhere.

use crate::base::error::StoreError;
use crate::base::table::integer;
use rusqlite::{Connection, OptionalExtension};

/// The newest generation that was seen; none before the first one.
pub(crate) fn get(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT generation FROM vault_seen WHERE one = 1")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

/// Takes note of a generation; an older one than the newest changes nothing.
pub(crate) fn record(connection: &Connection, generation: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO vault_seen (one, generation) VALUES (1, ?1)
             ON CONFLICT (one) DO UPDATE SET generation = max(generation, excluded.generation)",
        )?
        .execute([integer(generation)])?;
    Ok(())
}

/// Accepts a generation as the newest, even if a newer one was seen.
pub(crate) fn accept(connection: &Connection, generation: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO vault_seen (one, generation) VALUES (1, ?1)")?
        .execute([integer(generation)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vault_generation_falls_only_when_accepted() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE vault_seen (one INTEGER PRIMARY KEY, generation INTEGER NOT NULL)")
            .unwrap();
        assert_eq!(get(&connection).unwrap(), None);
        for (given, newest) in [(3, 3), (2, 3), (5, 5)] {
            record(&connection, given).unwrap();
            assert_eq!(get(&connection).unwrap(), Some(newest));
        }
        accept(&connection, 2).unwrap();
        assert_eq!(get(&connection).unwrap(), Some(2));
    }
}
