//! The vault's actor: who may unlock it, who uses which key and why.
//!
//! Owns the order "audit first, key then" and the pace of wrong passwords. Talks to the key file on
//! blocking threads and to the store. Restart: at once; the opened file outlives the actor, so that its
//! failure neither locks the vault nor loses a key.

use crate::caller::Caller;
use crate::fault::{Fault, VaultFault};
use crate::provider::ProvidersHandle;
use crate::shell::{Role, Scope};
use crate::vault::{Answer, Unlocked};
use arbiter_core::event::NewEvent;
use arbiter_core::event_type::EventType;
use arbiter_core::ids::KeyId;
use arbiter_core::machine::Machine;
use arbiter_core::refusal::Refusal;
use arbiter_core::time::Timestamp;
use arbiter_core::vault::{Status, Trigger};
use arbiter_store::Unit;
use arbiter_vault::{EntryInfo, NewEntry, Unlock};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a granted use of a key lasts before it is written down again.
const GRANT: Duration = Duration::from_secs(60);
/// Wrong passwords that cost nothing but their own time.
const FREE_TRIES: u32 = 3;
/// The longest wait after a wrong password.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The name of the timer that locks an idle vault.
const IDLE: &str = "idle";

/// A use of a key: what for, by whom, where to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyUse {
    /// The key.
    pub(crate) key_id: KeyId,
    /// Who holds it meanwhile: an agent, or a heartbeat.
    pub(crate) holder: String,
    /// The host it is sent to.
    pub(crate) host: String,
    /// What for.
    pub(crate) purpose: &'static str,
}

/// What the vault can be told.
pub(crate) enum Command {
    Unlock { caller: Caller, password: SecretString, answer: Answer<Unlocked> },
    Lock { caller: Caller, answer: Answer<()> },
    Store { caller: Caller, entry: NewEntry, value: SecretString, answer: Answer<EntryInfo> },
    Replace { caller: Caller, id: KeyId, value: SecretString, answer: Answer<EntryInfo> },
    Delete { caller: Caller, id: KeyId, answer: Answer<()> },
    Use { wanted: KeyUse, answer: Answer<SecretString> },
    Idle,
}

/// The vault's actor.
pub(crate) struct VaultActor {
    scope: Scope<Self>,
    grants: HashMap<KeyUse, Timestamp>,
    wrong: u32,
    not_before: Option<Timestamp>,
}

impl Role for VaultActor {
    type Command = Command;
    const KIND: &'static str = "vault";

    fn new(scope: Scope<Self>) -> Self {
        Self { scope, grants: HashMap::new(), wrong: 0, not_before: None }
    }

    async fn start(&mut self) {}

    async fn handle(&mut self, command: Command) {
        // An answer that nobody waits for any more was still given.
        match command {
            Command::Unlock { caller, password, answer } => {
                let _ = answer.send(self.unlock(&caller, password).await);
            }
            Command::Lock { caller, answer } => {
                let _ = answer.send(self.lock(&caller, "locked by hand").await);
            }
            Command::Store { caller, entry, value, answer } => {
                let _ = answer.send(self.store(&caller, entry, value).await);
            }
            Command::Replace { caller, id, value, answer } => {
                let _ = answer.send(self.replace(&caller, id, value).await);
            }
            Command::Delete { caller, id, answer } => {
                let _ = answer.send(self.delete(&caller, id).await);
            }
            Command::Use { wanted, answer } => {
                let _ = answer.send(self.use_key(wanted).await);
            }
            Command::Idle => {
                if let Err(fault) = self.lock(&Caller::system(), "idle").await {
                    tracing::warn!(%fault, "the idle vault could not be locked");
                }
            }
        }
    }
}

impl VaultActor {
    fn status(&self) -> Status {
        self.scope.shared.vault_place.sight().status
    }

    fn need_unlocked(&self) -> Result<(), Fault> {
        if self.status() == Status::Unlocked { Ok(()) } else { Err(VaultFault::Locked.into()) }
    }

    async fn tell(&self, caller: &str, kind: EventType, subject: &str, data: Value) -> Result<(), Fault> {
        let mut unit = Unit::new(self.scope.shared.clock.now(), caller, "vault");
        unit.tell(NewEvent::of(kind, subject, data));
        self.scope.shared.store.commit(unit).await?;
        Ok(())
    }

    async fn unlock(&mut self, caller: &Caller, password: SecretString) -> Result<Unlocked, Fault> {
        let (shared, now) = (Arc::clone(&self.scope.shared), self.scope.shared.clock.now());
        let status = self.status();
        let trigger = if status == Status::Uninitialized { Trigger::Create } else { Trigger::Unlock };
        status.step("keys", trigger)?;
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            let retry_after_sec = until.since(now).as_secs() + 1;
            return Err(VaultFault::Throttled { retry_after_sec }.into());
        }
        let opened = match shared.vault_place.work(&shared, |vault| vault.unlock(password)).await {
            Ok(opened) => opened,
            Err(fault) => {
                if matches!(fault, Fault::Vault(VaultFault::WrongPassword)) {
                    self.wrong += 1;
                    let doublings = self.wrong.saturating_sub(FREE_TRIES).min(10);
                    let wait = Duration::from_secs(2u64.pow(doublings)).min(LONGEST_WAIT);
                    self.not_before = (self.wrong >= FREE_TRIES).then(|| now.plus(wait));
                }
                return Err(fault);
            }
        };
        (self.wrong, self.not_before) = (0, None);
        let created = matches!(opened, Unlock::Created);
        if let Unlock::Opened { unreadable } = &opened
            && !unreadable.is_empty()
        {
            let ids: Vec<&str> = unreadable.iter().map(KeyId::as_str).collect();
            tracing::warn!(keys = ids.join(", "), "the password does not open these keys; they are kept");
        }
        self.tell(&caller.name, EventType::VaultUnlocked, "vault", json!({"created": created})).await?;
        self.stay_awake();
        Ok(if created { Unlocked::Created } else { Unlocked::Opened })
    }

    async fn lock(&mut self, caller: &Caller, reason: &str) -> Result<(), Fault> {
        self.status().step("keys", Trigger::Lock)?;
        let shared = Arc::clone(&self.scope.shared);
        self.grants.clear();
        self.scope.timers.cancel(IDLE);
        shared
            .vault_place
            .work(&shared, |vault| {
                vault.lock();
                Ok(())
            })
            .await?;
        ProvidersHandle(Arc::clone(&shared)).disconnect_all();
        self.tell(&caller.name, EventType::VaultLocked, "vault", json!({"reason": reason})).await
    }

    async fn store(
        &mut self,
        caller: &Caller,
        entry: NewEntry,
        value: SecretString,
    ) -> Result<EntryInfo, Fault> {
        self.need_unlocked()?;
        let shared = Arc::clone(&self.scope.shared);
        let (now, id, name) = (shared.clock.now(), entry.id.clone(), entry.name.clone());
        let purpose = entry.purpose.clone();
        shared.vault_place.work(&shared, move |vault| vault.create(entry, value, now)).await?;
        let data = json!({"name": name, "purpose": purpose});
        self.tell(&caller.name, EventType::KeyStored, id.as_str(), data).await?;
        self.stay_awake();
        self.info(&id).await
    }

    async fn replace(&mut self, caller: &Caller, id: KeyId, value: SecretString) -> Result<EntryInfo, Fault> {
        self.need_unlocked()?;
        let shared = Arc::clone(&self.scope.shared);
        let (now, key) = (shared.clock.now(), id.clone());
        shared.vault_place.work(&shared, move |vault| vault.replace(&key, value, now)).await?;
        self.grants.retain(|grant, _| grant.key_id != id);
        // An idle connection keeps in its buffer what it sent last.
        ProvidersHandle(shared).disconnect_all();
        self.tell(&caller.name, EventType::KeyUpdated, id.as_str(), json!({})).await?;
        self.info(&id).await
    }

    async fn delete(&mut self, caller: &Caller, id: KeyId) -> Result<(), Fault> {
        self.need_unlocked()?;
        let shared = Arc::clone(&self.scope.shared);
        let providers = shared.store.all_providers().await?;
        if let Some(provider) = providers.iter().find(|provider| provider.names_key(&id)) {
            let detail = format!("provider {} needs the key {id}", provider.id);
            return Err(Refusal::conflict("in-use", detail).into());
        }
        let key = id.clone();
        shared.vault_place.work(&shared, move |vault| vault.delete(&key)).await?;
        self.grants.retain(|grant, _| grant.key_id != id);
        self.tell(&caller.name, EventType::KeyDeleted, id.as_str(), json!({})).await
    }

    async fn info(&self, id: &KeyId) -> Result<EntryInfo, Fault> {
        let shared = Arc::clone(&self.scope.shared);
        let entries = shared.vault_place.work(&shared, |vault| Ok(vault.entries())).await?;
        let found = entries.into_iter().find(|entry| entry.id == *id);
        found.ok_or_else(|| Refusal::not_found("key", id.as_str()).into())
    }

    async fn use_key(&mut self, wanted: KeyUse) -> Result<SecretString, Fault> {
        self.need_unlocked()?;
        let shared = Arc::clone(&self.scope.shared);
        let now = shared.clock.now();
        if self.grants.get(&wanted).is_none_or(|until| *until <= now) {
            let data = json!({"holder": wanted.holder, "host": wanted.host, "purpose": wanted.purpose});
            self.tell(&wanted.holder, EventType::KeyUsed, wanted.key_id.as_str(), data).await?;
            // A heartbeat's grant lasts until the vault is locked, or it would fill the log.
            let lasts = if wanted.purpose == "heartbeat" { Duration::MAX } else { GRANT };
            self.grants.retain(|_, until| *until > now);
            self.grants.insert(wanted.clone(), now.plus(lasts));
        }
        if wanted.purpose != "heartbeat" {
            self.stay_awake();
        }
        let KeyUse { key_id, host, .. } = wanted;
        shared.vault_place.work(&shared, move |vault| vault.get(&key_id, Some(&host))).await
    }

    /// Puts the time of locking itself off.
    fn stay_awake(&self) {
        let idle = self.scope.shared.settings.auto_lock;
        if !idle.is_zero() {
            self.scope.timers.set(IDLE, self.scope.shared.clock.now().plus(idle), Command::Idle);
        }
    }
}
