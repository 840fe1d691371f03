//! The vault: the handle by which it is opened, locked and used.
//!
//! `vault/actor.rs` is its only actor: it serializes passwords, entries and uses of keys. `open_vault` holds the opened
//! file and lets other nouns see without asking what can be read. `throttle` slows down wrong passwords.

pub(crate) mod actor;
pub(crate) mod codec_keys;
pub(crate) mod entries;
pub(crate) mod key_source;
pub(crate) mod open_vault;
pub(crate) mod passwords;
pub(crate) mod throttle;
pub(crate) mod transfer;
pub(crate) mod unfinished;

use crate::caller::Caller;
use crate::error::Error;
use crate::error::Reply;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry, SINGLETON_ID};
use crate::services::{Services, deref_to_services};
use crate::vault::actor::{Command, KeyUse, VaultActor};
use crate::vault::open_vault::{OpenVault, RolledBack};
use crate::vault::transfer::ImportedKeys;
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::kernel::key_text;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::refusal::{Problems, Refusal};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::vault::Status;
use arbiter_providers::{Endpoint, EndpointPolicy, HttpPolicy, SocketPolicy};
use arbiter_store::Unit;
use arbiter_vault::{DraftChange, EntryInfo, Iterations, NewEntry, OnConflict, Overwrite};
use secrecy::{ExposeSecret, SecretString};
use std::sync::{Arc, Weak};

/// Purposes of keys.
pub const PURPOSES: [&str; 4] = ["provider", "tls", "codec", "webhook"];

/// The vault as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultView {
    pub state: Status,
    pub keys: usize,
    /// Since when it is unlocked.
    pub unlocked_at: Option<Timestamp>,
    /// After how many idle seconds it locks itself; 0: never.
    pub auto_lock_sec: u64,
    pub rolled_back: Option<RolledBack>,
    /// The key file has been there and is gone: no password unlocks the vault until it is put back.
    pub is_missing: bool,
}

/// Result of unlocking the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlocked {
    /// The vault was created with this password.
    Created,
    Opened,
}

/// The users of keys, which hear of changes. The composition implements it, because the vault knows no provider.
pub(crate) trait KeyObserver: Send + Sync {
    /// Closes every connection to a provider, so that none that carried a key stays open.
    fn disconnect_providers(&self);
    /// Lets a provider's heartbeat beat now.
    fn beat_soon(&self, id: &ProviderId);
}

impl VaultContext {
    pub(crate) fn new(
        services: Arc<Services>,
        open_vault: Arc<OpenVault>,
        key_observer: Weak<dyn KeyObserver>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            open_vault,
            vault: Registry::new(Weak::clone(own), Affinity::Root, IdlePolicy::Keep),
            key_observer,
        })
    }

    /// Closes every connection to a provider.
    pub(crate) fn disconnect_providers(&self) {
        if let Some(observer) = self.key_observer.upgrade() {
            observer.disconnect_providers();
        }
    }

    /// Lets a provider's heartbeat beat now.
    pub(crate) fn beat_soon(&self, id: &ProviderId) {
        if let Some(observer) = self.key_observer.upgrade() {
            observer.beat_soon(id);
        }
    }
}

/// The parts that the vault uses.
pub(crate) struct VaultContext {
    pub(crate) services: Arc<Services>,
    pub(crate) open_vault: Arc<OpenVault>,
    pub(crate) vault: Registry<VaultActor>,
    pub(crate) key_observer: Weak<dyn KeyObserver>,
}

deref_to_services!(VaultContext);

/// Handle of the vault's actor.
#[derive(Clone)]
pub struct VaultHandle(pub(crate) Arc<VaultContext>);

impl VaultHandle {
    /// Returns the state of the vault.
    pub fn view(&self) -> VaultView {
        let snapshot = self.0.open_vault.snapshot();
        VaultView {
            state: snapshot.status,
            keys: snapshot.keys.len(),
            unlocked_at: snapshot.unlocked_at,
            auto_lock_sec: self.0.settings.auto_lock.as_secs(),
            rolled_back: snapshot.rolled_back(),
            is_missing: snapshot.is_missing,
        }
    }

    /// Keys made for providers that do not exist.
    ///
    /// # Errors
    /// [`Error::Store`] when the providers cannot be read.
    pub async fn orphans(&self) -> Result<Vec<String>, Error> {
        crate::vault::entries::orphans(&self.0).await
    }

    /// Returns the number of entries rewrapped since the start because the configured cost has grown.
    pub fn rewrapped(&self) -> u64 {
        self.0.open_vault.rewrapped()
    }

    /// Returns the public fields of all entries; works while locked.
    pub fn entries(&self) -> Vec<EntryInfo> {
        self.0.open_vault.snapshot().keys.values().cloned().collect()
    }

    /// Unlocks the vault, or creates it with its first password.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::WrongPassword`], and [`crate::VaultAccessError::Throttled`] after several of those;
    /// [`crate::VaultAccessError::KeyFileMissing`] when the key file has been there and is gone.
    pub async fn unlock(&self, caller: &Caller, password: SecretString) -> Result<Unlocked, Error> {
        let caller = caller.clone();
        self.ask(|answer| Command::Unlock { caller, password, answer }).await
    }

    /// Locks the vault: passwords and keys leave the memory.
    ///
    /// # Errors
    /// [`Error::Refused`] unless it is unlocked.
    pub async fn lock(&self, caller: &Caller) -> Result<(), Error> {
        let caller = caller.clone();
        // A running re-encryption stops at the next key, so that it does not delay the lock.
        self.0.open_vault.interrupt();
        self.ask(|answer| Command::Lock { caller, answer }).await
    }

    /// Uses a key file from now on that is older than the newest one seen.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`]; [`Error::Refused`] when there is nothing to accept.
    pub async fn accept_rollback(&self, caller: &Caller) -> Result<(), Error> {
        let caller = caller.clone();
        self.ask(|answer| Command::AcceptRollback { caller, answer }).await
    }

    /// Re-encrypts all entries under another password, at the configured cost or at the given one.
    ///
    /// # Errors
    /// [`Error::Refused`] for a cost outside the accepted range; else as [`VaultHandle::unlock`].
    pub async fn change_password(
        &self,
        caller: &Caller,
        old: SecretString,
        new: SecretString,
        iterations: Option<u32>,
    ) -> Result<(), Error> {
        let iterations = Iterations::try_from(iterations.unwrap_or(self.0.settings.kdf_iterations))?;
        let caller = caller.clone();
        self.ask(|answer| Command::ChangePassword { caller, old, new, iterations, answer }).await
    }

    /// These keys, or all, as a key file under another password or under this one. Their use is in the
    /// log before this returns.
    ///
    /// # Errors
    /// As [`VaultHandle::unlock`]; [`Error::Refused`] for an unknown key.
    pub async fn export(
        &self,
        caller: &Caller,
        password: SecretString,
        new: Option<SecretString>,
        ids: Option<Vec<KeyId>>,
    ) -> Result<Vec<u8>, Error> {
        let caller = caller.clone();
        self.ask(|answer| Command::Export { caller, password, new, ids, answer }).await
    }

    /// Takes the keys of a key file over, which opens with this password.
    ///
    /// # Errors
    /// As [`VaultHandle::unlock`]; [`Error::Refused`] for what is no key file, and for ids that are taken
    /// when that is to be refused.
    pub async fn import(
        &self,
        caller: &Caller,
        file: Vec<u8>,
        password: SecretString,
        on_conflict: OnConflict,
    ) -> Result<ImportedKeys, Error> {
        let caller = caller.clone();
        self.ask(|answer| Command::Import { caller, file, password, on_conflict, answer }).await
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`]; [`Error::Refused`] for a taken id, an unknown purpose, a host
    /// that is invalid.
    pub async fn store(
        &self,
        caller: &Caller,
        entry: NewEntry,
        value: SecretString,
    ) -> Result<EntryInfo, Error> {
        let mut problems = Problems::default();
        let known = PURPOSES.contains(&entry.purpose.as_str());
        problems.require(known, "purpose", limits::must_be_one_of(&PURPOSES));
        problems.finish()?;
        check_text(&entry.purpose, &value)?;
        let entry = NewEntry { allowed_hosts: hosts(&entry.allowed_hosts)?, ..entry };
        let change = DraftChange::Create { entry, over: Overwrite::Refused };
        self.change_with(caller.unit_again(self.0.clock.now(), "vault"), change, value).await
    }

    /// Changes a key; other changes of the caller are part of the same commit.
    pub(crate) async fn change_with(
        &self,
        unit: Unit,
        change: DraftChange,
        value: SecretString,
    ) -> Result<EntryInfo, Error> {
        self.ask(|answer| Command::ChangeKey { unit: Box::new(unit), change, value, answer }).await
    }

    /// Replaces the value of a key, and its hosts if some are given.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`]; [`Error::Refused`] for an unknown key or a host that is none.
    pub async fn replace(
        &self,
        caller: &Caller,
        id: &KeyId,
        value: SecretString,
        allowed_hosts: Option<Vec<String>>,
    ) -> Result<EntryInfo, Error> {
        let purpose = self.0.open_vault.snapshot().keys.get(id.as_str()).map(|entry| entry.purpose.clone());
        check_text(purpose.as_deref().unwrap_or_default(), &value)?;
        let allowed_hosts = allowed_hosts.map(|given| hosts(&given)).transpose()?;
        let change = DraftChange::Replace { id: id.clone(), allowed_hosts };
        self.change_with(caller.unit_again(self.0.clock.now(), "vault"), change, value).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`]; [`Error::Refused`] for an unknown key or one that a provider needs.
    pub async fn delete(&self, caller: &Caller, id: &KeyId) -> Result<(), Error> {
        self.delete_with(caller.unit_again(self.0.clock.now(), "vault"), id, None).await
    }

    /// Deletes a key; other changes of the caller, such as the end of the key's owner, are part of the same commit.
    pub(crate) async fn delete_with(
        &self,
        unit: Unit,
        id: &KeyId,
        owner: Option<ProviderId>,
    ) -> Result<(), Error> {
        let (unit, id) = (Box::new(unit), id.clone());
        self.ask(|answer| Command::Delete { unit, id, owner, answer }).await
    }

    /// The value of a key, after the grant of its use is in the log. It never leaves the process.
    pub(crate) async fn use_key(&self, wanted: KeyUse) -> Result<SecretString, Error> {
        self.ask(|answer| Command::Use { wanted, answer }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        self.0.vault.ask(SINGLETON_ID, command).await
    }
}

/// Refuses a provider's key that no header can carry.
fn check_text(purpose: &str, value: &SecretString) -> Result<(), Refusal> {
    match key_text::problem(value.expose_secret()) {
        Some(problem) if purpose == PURPOSES[0] => Err(Refusal::field("value", problem)),
        _ => Ok(()),
    }
}

/// Hosts in the form in which endpoints name theirs: lower case, numbers as usual, no brackets; the paths of Unix
/// sockets as they are.
fn hosts(given: &[String]) -> Result<Vec<String>, Refusal> {
    let mut problems = Problems::default();
    let mut hosts = Vec::with_capacity(given.len());
    let policy = EndpointPolicy { allow_public_http: HttpPolicy::Anywhere, sockets: SocketPolicy::Allowed };
    for (at, text) in given.iter().enumerate() {
        if text.starts_with('/') {
            let socket = Endpoint::parse(text, policy);
            problems.require(
                socket.is_ok(),
                &format!("allowed_hosts/{at}"),
                "must be the path of a Unix socket",
            );
            hosts.push(text.clone());
            continue;
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let literal =
            if bare.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{bare}]") } else { text.clone() };
        let plain = !text.contains(['/', '?', '#', '@', '\\', ' ', '\t', '\n', '\r', '%'])
            && (literal.starts_with('[') || !text.contains(':'));
        // URLs admit more letters than names on a network have.
        let named = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || ".:_-".contains(c));
        match Endpoint::parse(&format!("https://{literal}/"), policy) {
            Ok(endpoint) if plain && named(endpoint.host()) => hosts.push(endpoint.host().to_owned()),
            _ => {
                let detail = "is no host name or address; give it without scheme, port and path";
                problems.require(false, &format!("allowed_hosts/{at}"), detail);
            }
        }
    }
    problems.finish()?;
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_hosts_are_normalized_like_endpoint_hosts() {
        let given =
            ["API.Example.com", "127.0.0.1", "0x7f.1", "::1", "[FD12:0::1]", "localhost", "/run/x.sock"];
        let written = hosts(&given.map(str::to_owned)).unwrap();
        assert_eq!(
            written,
            ["api.example.com", "127.0.0.1", "127.0.0.1", "::1", "fd12::1", "localhost", "/run/x.sock"]
        );
    }

    #[test]
    fn invalid_allowed_host_is_refused_with_its_pointer() {
        for bad in ["", " ", "http://a", "a/b", "a:80", "a b", "u@a", "*", "169.254.169.254", "[::1", "a?b"] {
            let refused = hosts(&["fine".to_owned(), bad.to_owned()]);
            let Err(Refusal::Invalid(problems)) = refused else { panic!("{bad:?}: {refused:?}") };
            assert_eq!(problems[0].pointer, "/allowed_hosts/1", "{bad:?}");
        }
    }
}
