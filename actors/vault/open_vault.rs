//! The opened key file, which outlives the vault's actor, and its state that is readable without waiting.
//!
//! Owns the lock around the file and the picture of it that everybody may look at. Must not decide who
//! may change anything: that is the actor's.

use crate::error::{Error, VaultAccessError};
use crate::services::Services;
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::vault::Status;
use arbiter_core::provider::{KeyAccess, Provider};
use arbiter_providers::{Endpoint, EndpointPolicy, HttpPolicy, SocketPolicy};
use arbiter_vault::{EntryInfo, Vault, VaultError, VaultState};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

/// A key file that is older than the newest one seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledBack {
    pub seen: u64,
    pub found: u64,
}

/// The opened key file, and its state that is readable without waiting.
pub(crate) struct OpenVault {
    file: Arc<Mutex<Vault>>,
    snapshot: Arc<RwLock<VaultSnapshot>>,
    rewrapped: AtomicU64,
    /// Told of each lock, so that who holds a key meanwhile lets it go.
    locks: watch::Sender<()>,
    /// Notified of each change after which the vault may be open.
    changes: watch::Sender<()>,
}

/// State of the vault that is readable without waiting.
pub(crate) struct VaultSnapshot {
    pub(crate) status: Status,
    /// The key file has been there and is gone.
    pub(crate) is_missing: bool,
    pub(crate) keys: BTreeMap<String, EntryInfo>,
    /// New values that wait for their commit, each with the key as it would become.
    drafts: Vec<(KeyId, EntryInfo)>,
    pub(crate) unlocked_at: Option<Timestamp>,
    generation: u64,
    seen: u64,
    revision: u64,
    /// True for as long as the vault stays open.
    session_flag: Arc<AtomicBool>,
}

impl VaultSnapshot {
    /// Returns whether the opened file is older than one that was seen.
    pub(crate) fn rolled_back(&self) -> Option<RolledBack> {
        let older = self.status == Status::Unlocked && self.generation < self.seen;
        older.then_some(RolledBack { seen: self.seen, found: self.generation })
    }

    /// Returns the new values that wait for their commit.
    pub(crate) fn drafts(&self) -> &[(KeyId, EntryInfo)] {
        &self.drafts
    }

    /// Returns the number of writes of the file.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns whether keys can be read and entries be changed now.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.status != Status::Unlocked {
            return Err(VaultAccessError::Locked.into());
        }
        match self.rolled_back() {
            Some(RolledBack { seen, found }) => Err(VaultAccessError::RolledBack { seen, found }.into()),
            None => Ok(()),
        }
    }

    /// Checks that a key exists and may be sent to a host, in any state of the vault.
    pub(crate) fn check_host(&self, id: &KeyId, host: &str) -> Result<(), Error> {
        let key = self.keys.get(id.as_str()).ok_or_else(|| Refusal::not_found("key", id.as_str()))?;
        if key.allows(Some(host)) {
            return Ok(());
        }
        Err(VaultError::HostRefused { id: id.clone(), host: host.to_owned() }.into())
    }

    fn refresh(&mut self, vault: &Vault, now: Timestamp) {
        if self.revision == vault.revision() {
            return;
        }
        self.revision = vault.revision();
        self.generation = vault.generation();
        self.session_flag = vault.session_flag();
        self.status = status(vault);
        self.is_missing = vault.is_missing();
        self.keys = vault.entries().into_iter().map(|entry| (entry.id.to_string(), entry)).collect();
        self.drafts = vault.drafts();
        let unlocked = self.status == Status::Unlocked;
        self.unlocked_at = if unlocked { self.unlocked_at.or(Some(now)) } else { None };
    }
}

impl OpenVault {
    pub(crate) fn new(vault: Vault) -> Self {
        let mut snapshot = VaultSnapshot {
            status: Status::Uninitialized,
            is_missing: false,
            keys: BTreeMap::new(),
            drafts: Vec::new(),
            unlocked_at: None,
            generation: 0,
            seen: 0,
            revision: u64::MAX,
            session_flag: Arc::default(),
        };
        snapshot.refresh(&vault, Timestamp::default());
        Self {
            file: Arc::new(Mutex::new(vault)),
            snapshot: Arc::new(RwLock::new(snapshot)),
            rewrapped: AtomicU64::new(0),
            locks: watch::Sender::default(),
            changes: watch::Sender::default(),
        }
    }

    /// Returns the current state of the vault. The guard must not be held for long.
    pub(crate) fn snapshot(&self) -> RwLockReadGuard<'_, VaultSnapshot> {
        self.snapshot.read()
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

    /// Returns whether keys can be read now.
    pub(crate) fn is_open(&self) -> bool {
        self.snapshot().check_open().is_ok()
    }

    /// Waits until keys can be read; returns at once when they can be read already.
    pub(crate) async fn wait_open(&self) {
        // Subscribed before the first look, so that no change is missed. The sender lives as long as `self`.
        let mut changes = self.changes.subscribe();
        while !self.is_open() && changes.changed().await.is_ok() {}
    }

    /// True for as long as the vault stays open; long work beside it looks at this.
    pub(crate) fn session_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.snapshot().session_flag)
    }

    /// Ends long work beside the vault, so that a lock or the end of the process need not wait for it. A lock
    /// has to follow.
    pub(crate) fn interrupt(&self) {
        self.snapshot().session_flag.store(false, Ordering::Release);
    }

    /// Returns whether everything that a provider needs of the vault can be read now and sent there.
    pub(crate) fn access(&self, provider: &Provider) -> KeyAccess {
        match self.check_keys_of(provider) {
            Ok(()) => KeyAccess::Readable,
            Err(_) => KeyAccess::Unreadable,
        }
    }

    /// Checks that a provider's keys are usable. A fault of the vault is temporary, a refusal is not.
    pub(crate) fn check_keys_of(&self, provider: &Provider) -> Result<(), Error> {
        if !provider.has_vault_keys() {
            return Ok(());
        }
        let snapshot = self.snapshot();
        snapshot.check_open()?;
        let host = host_of(&provider.endpoint).unwrap_or_default();
        provider.keys().try_for_each(|id| snapshot.check_host(id, &host))
    }

    /// Returns whether a provider's keys, as far as they exist, may be used where the provider is.
    pub(crate) fn check_binding(&self, provider: &Provider) -> Result<(), Error> {
        let host = host_of(&provider.endpoint).unwrap_or_default();
        let mut known = provider.keys().filter(|id| self.has_key(id.as_str()));
        known.try_for_each(|id| self.snapshot().check_host(id, &host))
    }

    /// Returns whether an entry with this id exists.
    pub(crate) fn has_key(&self, id: &str) -> bool {
        self.snapshot().keys.contains_key(id)
    }

    /// Takes note of the newest generation that was seen; also of an older one, when that was accepted.
    pub(crate) fn expect_generation(&self, seen: u64) {
        self.snapshot.write().seen = seen;
        self.changes.send_replace(());
    }

    /// Returns the number of entries rewrapped since the start.
    pub(crate) fn rewrapped(&self) -> u64 {
        self.rewrapped.load(Ordering::Relaxed)
    }

    /// Counts rewrapped entries.
    pub(crate) fn count_rewrapped(&self, count: usize) {
        self.rewrapped.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
    }

    /// Works with the file on a blocking thread: a derivation takes a tenth of a second.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        shared: &Services,
        work: impl FnOnce(&mut Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, Error> {
        let (file, snapshot) = (Arc::clone(&self.file), Arc::clone(&self.snapshot));
        let was_open = self.snapshot().status == Status::Unlocked;
        let now = shared.clock.now();
        let changes = self.changes.clone();
        let outcome = blocking(shared, move || {
            let mut vault = lock(&file);
            let outcome = work(&mut vault);
            // Under the file's lock, so that an older picture never replaces a newer one.
            snapshot.write().refresh(&vault, now);
            // Told here, since the caller may stop waiting before this ends.
            changes.send_replace(());
            outcome
        });
        let outcome = outcome.await;
        if was_open && self.snapshot().status != Status::Unlocked {
            self.locks.send_replace(());
        }
        outcome
    }

    /// Forgets everything secret, at once; for the end of the process.
    pub(crate) fn lock_now(&self) {
        lock(&self.file).lock();
    }
}

/// Runs what derives keys on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    shared: &Services,
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, Error> {
    let crashed = |_| Error::Crashed { actor: "the vault's thread".to_owned() };
    shared.runtime.spawn_blocking(work).await.map_err(crashed)?.map_err(Error::from)
}

fn lock(file: &Mutex<Vault>) -> MutexGuard<'_, Vault> {
    file.lock()
}

fn status(vault: &Vault) -> Status {
    match vault.state() {
        VaultState::Uninitialized => Status::Uninitialized,
        VaultState::Locked => Status::Locked,
        VaultState::Unlocked => Status::Unlocked,
    }
}

/// Returns the host of a stored endpoint, even if the settings no longer allow it; `None` when it cannot be parsed.
fn host_of(text: &str) -> Option<String> {
    let anywhere = EndpointPolicy { allow_public_http: HttpPolicy::Anywhere, sockets: SocketPolicy::Allowed };
    Endpoint::parse(text, anywhere).ok().map(|endpoint| endpoint.host().to_owned())
}
