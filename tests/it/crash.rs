//! Kills and failing disks: nothing acknowledged is lost.

pub mod disk_faults;
pub mod kill;
pub mod kill_load;
pub mod kill_oracle;
pub mod vault_kill;
pub mod vault_kill_ledger;
