//! Export and import of whole key files by the vault's actor.

use crate::caller::Caller;
use crate::error::Error;
use crate::vault::actor::VaultActor;
use crate::vault::open_vault::blocking;
use crate::vault::passwords::changes_of;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::KeyId;
use arbiter_vault::{ForeignKeyFile, OnConflict, RewrittenEntry};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Arc;

/// Result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedKeys {
    /// Keys that were taken over.
    pub imported: Vec<String>,
    /// Keys whose ids were taken; those that were here stayed.
    pub skipped: Vec<String>,
    /// Keys that the file's password does not open.
    pub unreadable: Vec<String>,
}

fn texts<'a>(ids: impl IntoIterator<Item = &'a KeyId>) -> Vec<String> {
    ids.into_iter().map(ToString::to_string).collect()
}

impl VaultActor {
    pub(crate) async fn export(
        &mut self,
        caller: &Caller,
        password: SecretString,
        new: Option<SecretString>,
        ids: Option<Vec<KeyId>>,
    ) -> Result<Vec<u8>, Error> {
        self.require_open()?;
        let shared = Arc::clone(&self.context.shared);
        let now = shared.clock.now();
        self.throttle.admit(now)?;
        let begun =
            shared.open_vault.work(&shared, move |vault| vault.begin_export(password, new, ids.as_deref()));
        let begun = begun.await;
        let mut rewrite = self.throttle.record_attempt(begun, now)?;
        let mut unit = self.unit(caller);
        for id in rewrite.ids() {
            let data = json!({"holder": caller.name, "host": Value::Null, "purpose": "export"});
            unit.emit(NewEvent::of(EventType::KeyUsed, id.as_str(), data));
        }
        if !unit.is_empty() {
            self.commit(unit).await?;
        }
        self.reset_idle_timer();
        let work = move || {
            rewrite.run(now)?;
            rewrite.into_file()
        };
        blocking(&shared, work).await
    }

    pub(crate) async fn import(
        &mut self,
        caller: &Caller,
        file: Vec<u8>,
        password: SecretString,
        on_conflict: OnConflict,
    ) -> Result<ImportedKeys, Error> {
        self.require_open()?;
        let shared = Arc::clone(&self.context.shared);
        let now = shared.clock.now();
        // The file may be this vault's own, so its password is throttled alike.
        self.throttle.admit(now)?;
        let going = shared.open_vault.session_flag();
        let opened = blocking(&shared, move || ForeignKeyFile::open(&file, password, &going)).await;
        let foreign = self.throttle.record_foreign_attempt(opened, now)?;
        let beginning =
            shared.open_vault.work(&shared, move |vault| vault.begin_import(foreign, on_conflict));
        let mut rewrite = beginning.await?;
        let work = move || {
            rewrite.run(now)?;
            Ok(rewrite)
        };
        let rewrite = blocking(&shared, work).await?;
        let outcome = ImportedKeys {
            imported: texts(rewrite.fresh().iter().map(|entry| &entry.id)),
            skipped: texts(rewrite.skipped()),
            unreadable: texts(rewrite.unreadable()),
        };
        if outcome.imported.is_empty() {
            return Ok(outcome);
        }
        let mut unit = self.unit(caller);
        for after in rewrite.fresh() {
            let before = shared.open_vault.snapshot().keys.get(after.id.as_str()).cloned();
            let (id, name, purpose) = (after.id.clone(), after.name.clone(), after.purpose.clone());
            let hosts = after.allowed_hosts.clone();
            let event = if before.is_some() {
                let changes = changes_of(&RewrittenEntry { id: id.clone(), before, after });
                let data = self.at_generation(json!({"reason": "imported", "changes": changes}));
                NewEvent::of(EventType::KeyUpdated, id.as_str(), data)
            } else {
                let data = self.at_generation(json!({
                    "name": name, "purpose": purpose, "allowed_hosts": hosts, "reason": "imported",
                }));
                NewEvent::of(EventType::KeyStored, id.as_str(), data)
            };
            unit.emit(event);
        }
        // Told first, as for everything that may replace a key.
        self.commit(unit).await?;
        self.grants.retain(|grant, _| !outcome.imported.iter().any(|id| id == grant.key_id.as_str()));
        let installing = shared.open_vault.work(&shared, move |vault| {
            vault.install(rewrite)?;
            Ok(vault.generation())
        });
        let generation = installing.await?;
        self.record_generation(generation).await;
        self.reset_idle_timer();
        Ok(outcome)
    }
}
