//! Resets a vault whose password is lost. Works offline and deletes nothing.

use crate::app::error::StartError;
use arbiter_actors::{Clock, SystemClock};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{DirectoryLock, Options, Store, StoreError, Unit};
use arbiter_vault::{ArchivedFile, Iterations, Vault, VaultError, VaultState, archive_key_file};
use serde_json::json;
use std::path::Path;

/// The result of a reset.
#[derive(Debug)]
pub struct VaultReset {
    /// The ids of the keys; none when the file could not even be listed.
    pub keys: Vec<String>,
    /// The files that were put aside.
    pub archived: Vec<ArchivedFile>,
    /// True if the next password creates a new vault because of this reset.
    pub is_changed: bool,
}

/// Archives the key file and its backup, logs each key as deleted, and leaves a blank key file. The next start
/// creates a new vault with the first password that it is given. A blank key file stays as it is.
///
/// # Errors
/// [`StartError`]: a server holds the directory, or a file cannot be used.
pub fn reset_vault(directory: &Path) -> Result<VaultReset, StartError> {
    let lock = DirectoryLock::take(directory)?;
    let directory = lock.directory();
    let file = directory.join("keys.json");
    let now = SystemClock.now();
    let keys = match Vault::open(file.clone(), Iterations::DEFAULT) {
        Ok(vault) if file.exists() && vault.state() == VaultState::Uninitialized => {
            return Ok(VaultReset { keys: Vec::new(), archived: Vec::new(), is_changed: false });
        }
        Ok(vault) => vault.entries().into_iter().map(|entry| entry.id.to_string()).collect(),
        // An unreadable file is a reason for a reset, not against it.
        Err(VaultError::Corrupt { .. }) => Vec::new(),
        Err(error) => return Err(StartError::Vault(error)),
    };
    // Logged first, so that no key disappears without an event; a repeated event does no harm.
    log_deleted_keys(directory, &keys, now).map_err(StartError::Database)?;
    let archived = archive_key_file(&file, &file_timestamp(now)).map_err(StartError::Vault)?;
    Ok(VaultReset { keys, archived, is_changed: true })
}

fn log_deleted_keys(directory: &Path, keys: &[String], now: Timestamp) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { operation: "start", path: "the runtime".to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let store = Store::open(Options {
            directory: directory.to_owned(),
            readers: 1,
            group_max: 1,
            queue_max: 1,
            now,
            // The process ends at once and has no subscribers.
            publish: Box::new(drop),
            on_failure: Box::new(|_| {}),
        })?;
        let mut unit = Unit::new(now, "system", "vault");
        for id in keys {
            unit.emit(NewEvent::of(EventType::KeyDeleted, id.as_str(), json!({"reason": "vault reset"})));
        }
        let outcome = store.commit(unit).await;
        store.close();
        outcome.map(drop)
    })
}

/// A time as a part of a file's name: `20261123T030732Z`.
fn file_timestamp(now: Timestamp) -> String {
    let text = now.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_timestamp_has_only_file_name_characters() {
        assert_eq!(file_timestamp(Timestamp::from_millis(1_800_000_000_123)), "20270115T080000Z");
    }
}
