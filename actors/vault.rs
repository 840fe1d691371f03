//! The vault as others reach it: the handle, and the opened key file, which outlives the vault's actor.
//!
//! What the actor does is in `vault_actor`.

use crate::caller::Caller;
use crate::fault::Fault;
use crate::shared::{SINGLE, Shared};
use crate::vault_actor::{Command, KeyUse};
use arbiter_core::ids::KeyId;
use arbiter_core::provider::{KeyAccess, Provider};
use arbiter_core::time::Timestamp;
use arbiter_core::vault::Status;
use arbiter_vault::{EntryInfo, NewEntry, Vault, VaultError, VaultState};
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{oneshot, watch};

/// The opened key file and what can be told of it without waiting.
pub(crate) struct VaultPlace {
    file: Arc<Mutex<Vault>>,
    sight: RwLock<Sight>,
    /// Told of each lock, so that who holds a key meanwhile lets it go.
    locks: watch::Sender<()>,
}

/// What can be told of the vault without waiting.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) status: Status,
    pub(crate) keys: BTreeSet<String>,
    pub(crate) unlocked_at: Option<Timestamp>,
}

impl VaultPlace {
    pub(crate) fn new(vault: Vault) -> Self {
        let sight = Sight { status: status(&vault), keys: ids(&vault), unlocked_at: None };
        Self { file: Arc::new(Mutex::new(vault)), sight: RwLock::new(sight), locks: watch::Sender::default() }
    }

    pub(crate) fn sight(&self) -> Sight {
        self.sight.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether everything that a provider needs of the vault can be read now.
    pub(crate) fn access(&self, provider: &Provider) -> KeyAccess {
        let sight = self.sight.read().unwrap_or_else(PoisonError::into_inner);
        let known = provider.keys().all(|id| sight.keys.contains(id.as_str()));
        if sight.status == Status::Unlocked && known { KeyAccess::Readable } else { KeyAccess::Unreadable }
    }

    /// Ends when the vault is locked the next time after this call.
    pub(crate) fn next_lock(&self) -> impl Future<Output = ()> + use<> {
        let mut locks = self.locks.subscribe();
        async move {
            if locks.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether an entry with this id exists.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.sight.read().unwrap_or_else(PoisonError::into_inner).keys.contains(id)
    }

    /// Works with the file on a blocking thread: a derivation takes a tenth of a second.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        shared: &Shared,
        work: impl FnOnce(&mut Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, Fault> {
        let file = Arc::clone(&self.file);
        let now = shared.clock.now();
        let (outcome, after) = shared
            .runtime
            .spawn_blocking(move || {
                let mut vault = lock(&file);
                let outcome = work(&mut vault);
                (outcome, (status(&vault), ids(&vault)))
            })
            .await
            .map_err(|_| Fault::Crashed { actor: "the vault's thread".to_owned() })?;
        let mut sight = self.sight.write().unwrap_or_else(PoisonError::into_inner);
        let unlocked = after.0 == Status::Unlocked;
        if sight.status == Status::Unlocked && !unlocked {
            self.locks.send_replace(());
        }
        sight.unlocked_at = if unlocked { sight.unlocked_at.or(Some(now)) } else { None };
        (sight.status, sight.keys) = after;
        drop(sight);
        outcome.map_err(Fault::from)
    }

    /// Forgets everything secret, at once; for the end of the process.
    pub(crate) fn lock_now(&self) {
        lock(&self.file).lock();
    }
}

fn lock(file: &Mutex<Vault>) -> MutexGuard<'_, Vault> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

fn status(vault: &Vault) -> Status {
    match vault.state() {
        VaultState::Uninitialized => Status::Uninitialized,
        VaultState::Locked => Status::Locked,
        VaultState::Unlocked => Status::Unlocked,
    }
}

fn ids(vault: &Vault) -> BTreeSet<String> {
    vault.entries().into_iter().map(|entry| entry.id.to_string()).collect()
}

/// The vault as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultView {
    /// Where it stands.
    pub state: Status,
    /// How many keys it holds.
    pub keys: usize,
    /// Since when it is unlocked.
    pub unlocked_at: Option<Timestamp>,
    /// After how many idle seconds it locks itself; 0: never.
    pub auto_lock_sec: u64,
}

/// How the vault came to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlocked {
    /// It is new: this was its first password.
    Created,
    /// The password was right.
    Opened,
}

/// How others reach the vault.
#[derive(Clone)]
pub struct VaultHandle(pub(crate) Arc<Shared>);

pub(crate) type Answer<T> = oneshot::Sender<Result<T, Fault>>;

impl VaultHandle {
    /// How the vault stands.
    pub fn view(&self) -> VaultView {
        let sight = self.0.vault_place.sight();
        VaultView {
            state: sight.status,
            keys: sight.keys.len(),
            unlocked_at: sight.unlocked_at,
            auto_lock_sec: self.0.settings.auto_lock.as_secs(),
        }
    }

    /// Unlocks the vault, or creates it with its first password.
    ///
    /// # Errors
    /// [`crate::VaultFault::WrongPassword`], and [`crate::VaultFault::Throttled`] after several of those.
    pub async fn unlock(&self, caller: &Caller, password: SecretString) -> Result<Unlocked, Fault> {
        let caller = caller.clone();
        self.ask(|answer| Command::Unlock { caller, password, answer }).await
    }

    /// Locks the vault: passwords and keys leave the memory.
    ///
    /// # Errors
    /// [`Fault::Refused`] unless it is unlocked.
    pub async fn lock(&self, caller: &Caller) -> Result<(), Fault> {
        let caller = caller.clone();
        self.ask(|answer| Command::Lock { caller, answer }).await
    }

    /// What is in the vault; also while it is locked.
    ///
    /// # Errors
    /// [`Fault::Crashed`] when the vault's thread failed.
    pub async fn entries(&self) -> Result<Vec<EntryInfo>, Fault> {
        self.0.vault_place.work(&self.0, |vault| Ok(vault.entries())).await
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// [`crate::VaultFault::Locked`]; [`Fault::Refused`] for a taken id.
    pub async fn store(
        &self,
        caller: &Caller,
        entry: NewEntry,
        value: SecretString,
    ) -> Result<EntryInfo, Fault> {
        let caller = caller.clone();
        self.ask(|answer| Command::Store { caller, entry, value, answer }).await
    }

    /// Replaces the value of a key.
    ///
    /// # Errors
    /// [`crate::VaultFault::Locked`]; [`Fault::Refused`] for an unknown key.
    pub async fn replace(
        &self,
        caller: &Caller,
        id: &KeyId,
        value: SecretString,
    ) -> Result<EntryInfo, Fault> {
        let (caller, id) = (caller.clone(), id.clone());
        self.ask(|answer| Command::Replace { caller, id, value, answer }).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`crate::VaultFault::Locked`]; [`Fault::Refused`] for an unknown key or one that a provider needs.
    pub async fn delete(&self, caller: &Caller, id: &KeyId) -> Result<(), Fault> {
        let (caller, id) = (caller.clone(), id.clone());
        self.ask(|answer| Command::Delete { caller, id, answer }).await
    }

    /// The value of a key, after the grant of its use is in the log. It never leaves the process.
    pub(crate) async fn use_key(&self, wanted: KeyUse) -> Result<SecretString, Fault> {
        self.ask(|answer| Command::Use { wanted, answer }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Fault> {
        self.0.vault.ask(&self.0, SINGLE, command).await
    }
}
