//! Bulk operations of the vault's actor: change of the password, and rewrap of entries with too few rounds.

use crate::caller::Caller;
use crate::error::Error;
use crate::runtime::registry::SINGLETON_ID;
use crate::vault::VaultContext;
use crate::vault::actor::{Command, VaultActor};
use crate::vault::open_vault::blocking;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_store::{Change, Unit};
use arbiter_vault::{Iterations, Rewrite, RewrittenEntry};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Arc;

/// Builds the event data of a rewritten entry: its cost, and its version if it changed.
pub(crate) fn changes_of(entry: &RewrittenEntry) -> Value {
    let mut changes = json!({});
    if let Some(before) = &entry.before {
        let after = &entry.after;
        if before.iterations != after.iterations {
            changes["iterations"] = json!({"old": before.iterations, "new": after.iterations});
        }
        if before.version != after.version {
            changes["version"] = json!({"old": before.version, "new": after.version});
        }
        if before.allowed_hosts != after.allowed_hosts {
            changes["allowed_hosts"] = json!({"old": before.allowed_hosts, "new": after.allowed_hosts});
        }
    }
    changes
}

/// Re-encrypts the entries below the configured cost, outside of the vault; `None` if there are none.
async fn rewrap(shared: &Arc<VaultContext>) -> Result<Option<Rewrite>, Error> {
    let begun = shared.open_vault.work(shared, |vault| vault.begin_rewrap()).await?;
    let Some(mut rewrite) = begun else { return Ok(None) };
    let now = shared.clock.now();
    let work = move || {
        rewrite.run(now)?;
        Ok(Some(rewrite))
    };
    blocking(shared, work).await
}

impl VaultActor {
    pub(crate) async fn change_password(
        &mut self,
        caller: &Caller,
        old: SecretString,
        new: SecretString,
        iterations: Iterations,
    ) -> Result<(), Error> {
        self.require_open()?;
        let shared = Arc::clone(&self.context.shared);
        let now = shared.clock.now();
        self.throttle.admit(now)?;
        let begun =
            shared.open_vault.work(&shared, move |vault| vault.begin_password_change(old, new, iterations));
        let begun = begun.await;
        let mut rewrite = self.throttle.record_attempt(begun, now)?;
        let work = move || {
            rewrite.run(now)?;
            Ok(rewrite)
        };
        let rewrite = blocking(&shared, work).await?;
        // Told first: no password changes unrecorded.
        let data = json!({"keys": rewrite.fresh().len(), "iterations": iterations.get()});
        let data = self.at_generation(data);
        self.tell(caller, EventType::VaultPasswordChanged, data).await?;
        shared.fault_injection.panic_if_armed("vault", "password");
        let installing = shared.open_vault.work(&shared, move |vault| {
            vault.install(rewrite)?;
            Ok(vault.generation())
        });
        let generation = installing.await?;
        self.record_generation(generation).await;
        self.reset_idle_timer();
        Ok(())
    }

    /// Starts to rewrap the entries below the configured cost, in the background.
    pub(crate) fn rewrap_soon(&self) {
        let shared = Arc::clone(&self.context.shared);
        if self.require_open().is_err() {
            return;
        }
        self.context.shared.runtime.spawn(async move {
            match rewrap(&shared).await {
                Ok(Some(done)) if !shared.is_stopping() => {
                    shared.vault.tell(SINGLETON_ID, Command::Rewrapped(Box::new(done)));
                }
                Ok(_) => {}
                Err(error) => tracing::info!(%error, "keys were not rewrapped; the next unlock tries again"),
            }
        });
    }

    pub(crate) async fn install_rewrapped(&mut self, rewrite: Rewrite) {
        if let Err(error) = self.try_install(rewrite).await {
            tracing::warn!(%error, "keys could not be rewrapped; the next unlock tries again");
        }
    }

    async fn try_install(&mut self, rewrite: Rewrite) -> Result<(), Error> {
        self.require_open()?;
        let shared = Arc::clone(&self.context.shared);
        let installing = shared.open_vault.work(&shared, move |vault| {
            let written = vault.install(rewrite)?;
            Ok((written, vault.generation()))
        });
        let (written, generation) = installing.await?;
        shared.open_vault.count_rewrapped(written.len());
        let mut unit = Unit::new(shared.clock.now(), "system", "vault");
        unit.change(Change::RecordVaultGeneration(generation));
        for entry in &written {
            let data = json!({"reason": "rewrapped", "changes": changes_of(entry)});
            unit.emit(NewEvent::of(EventType::KeyUpdated, entry.id.as_str(), data));
        }
        self.commit(unit).await?;
        tracing::info!(keys = written.len(), "keys were rewrapped at the configured cost");
        Ok(())
    }
}
