//! The ledger of keys while they change: answered changes, and changes without an answer.

use arbiter_core::kernel::ids::KeyId;
use arbiter_vault::{Iterations, Vault};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::path::Path;

/// A change of one key that was asked for and not answered.
#[derive(Clone, Debug)]
pub struct PendingChange {
    /// Which key.
    pub id: String,
    /// The wanted value; `None` to remove the key.
    pub value: Option<String>,
}

/// Expected content of the vault.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The values that were acknowledged.
    pub keys: BTreeMap<String, String>,
    /// The one change of a key that is on its way.
    pub pending_change: Option<PendingChange>,
    /// The password that was acknowledged.
    pub password: String,
    /// The one password that is on its way.
    pub next_password: Option<String>,
    /// How many changes were answered.
    pub answered: u64,
    /// How many kills met a change that was not answered: of a key, of the password.
    pub interrupted: [u64; 2],
}

impl Ledger {
    /// A change of a key was answered.
    pub fn done(&mut self) {
        if let Some(pending_change) = self.pending_change.take() {
            self.take(pending_change);
        }
        self.answered += 1;
    }

    fn take(&mut self, pending_change: PendingChange) {
        match pending_change.value {
            Some(value) => self.keys.insert(pending_change.id, value),
            None => self.keys.remove(&pending_change.id),
        };
    }

    /// Opens the key file that a killed server left, and returns the one password that opens it.
    pub fn settle_password(&mut self, file: &Path) -> String {
        let opens = |password: &str| {
            let mut vault = Vault::open(file.to_owned(), Iterations::MIN).unwrap();
            vault.unlock(SecretString::from(password)).is_ok()
        };
        match (opens(&self.password), self.next_password.as_deref().is_some_and(opens)) {
            (true, false) => {}
            (false, true) => self.password = self.next_password.clone().unwrap(),
            (old, new) => panic!("old password: {old}, new: {new}; one must open"),
        }
        self.interrupted[1] += u64::from(self.next_password.take().is_some());
        self.password.clone()
    }

    /// Opens the key file as the next start left it, and takes over what an unanswered change became.
    pub fn check(&mut self, file: &Path) {
        // The server goes on using its own.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let home = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let copy = home.path().join("keys.json");
        std::fs::copy(file, &copy).unwrap();
        let mut vault = Vault::open(copy, Iterations::MIN).unwrap();
        vault.unlock(SecretString::from(self.password.as_str())).unwrap();
        assert!(vault.drafts().is_empty(), "a start finishes or forgets every draft");
        let found: BTreeMap<String, String> = vault
            .entries()
            .into_iter()
            .map(|entry| {
                let value = vault.get(&KeyId::from_trusted(entry.id.as_str()), None).unwrap();
                (entry.id.to_string(), value.expose_secret().to_owned())
            })
            .collect();
        if let Some(pending_change) = self.pending_change.take() {
            self.interrupted[0] += 1;
            if found.get(&pending_change.id) == pending_change.value.as_ref() {
                self.take(pending_change);
            }
        }
        assert_eq!(found, self.keys, "what was answered is there, and what was not is old or new");
    }
}
