//! Ground of the store: connections, migrations, generic tables, pages, units of work.

pub(crate) mod connection;
pub(crate) mod directory_lock;
pub(crate) mod error;
pub(crate) mod migrate;
pub(crate) mod page;
pub(crate) mod presence;
pub(crate) mod rows;
pub(crate) mod table;
pub(crate) mod unit_of_work;
pub(crate) mod wal;
