//! Drafts: new values of keys that lie beside their entries until the log says that they count.
//!
//! A draft is an entry of the file under an id that no key has, encrypted as the entry that it will become, so that
//! finishing it moves it and derives nothing. Drafts are neither listed, read nor exported. What the log says of them is
//! not known here.

use crate::{
    EntryInfo, NewEntry, Vault, VaultError,
    entry::{Entry, normalize_hosts},
};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use secrecy::SecretString;

/// Beginning of a draft's id; no client chooses an id with a colon.
const PREFIX: &str = "draft:";

/// The change of a key that a draft prepares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftChange {
    /// A new key; it may take the place of one that nothing needs any more.
    Create { entry: NewEntry, over: Overwrite },
    /// A new value of a key, and other hosts if some are given; an empty list allows any host.
    Replace { id: KeyId, allowed_hosts: Option<Vec<String>> },
}

/// Treatment of an entry that has the id of a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    Refused,
    Allowed,
}

impl DraftChange {
    /// Returns the id of the key that changes.
    pub fn id(&self) -> &KeyId {
        match self {
            Self::Create { entry, .. } => &entry.id,
            Self::Replace { id, .. } => id,
        }
    }
}

/// Returns whether an id of the file is that of a draft.
pub(crate) fn is_draft(id: &KeyId) -> bool {
    id.as_str().starts_with(PREFIX)
}

impl Vault {
    /// Writes the new value of a key beside its entry, durably, and returns the draft's id and the key as it will be.
    /// `name` makes the id unique.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::Exists`] if the id of a new key is taken; [`VaultError::NotFound`] if
    /// there is no key to be replaced; the errors of writing.
    pub fn draft(
        &mut self,
        name: &str,
        change: DraftChange,
        value: &SecretString,
        now: Timestamp,
    ) -> Result<(KeyId, EntryInfo), VaultError> {
        let (rounds, mut keys) = (self.rounds(), self.keys());
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let present = keys.get(change.id()).map(|entry| entry.info(change.id()));
        let label = match (change, present) {
            (DraftChange::Create { entry, over: Overwrite::Refused }, Some(_)) => {
                return Err(VaultError::Exists(entry.id));
            }
            (DraftChange::Create { entry, .. }, _) => entry.into_label(rounds, now),
            (DraftChange::Replace { id, .. }, None) => return Err(VaultError::NotFound(id)),
            (DraftChange::Replace { allowed_hosts, .. }, Some(present)) => {
                let mut label = present.for_rewrite(rounds, now);
                if let Some(hosts) = allowed_hosts {
                    label.allowed_hosts = normalize_hosts(&hosts);
                }
                label
            }
        };
        let draft = KeyId::from_trusted(format!("{PREFIX}{name}"));
        keys.insert(draft.clone(), session.encrypt(label.clone(), rounds, value)?);
        self.commit(keys)?;
        Ok((draft, label))
    }

    /// Returns the drafts, each with the key as it would become.
    pub fn drafts(&self) -> Vec<(KeyId, EntryInfo)> {
        let entries = self.contents.iter().flat_map(|file| &file.keys);
        entries.filter(|(id, _)| is_draft(id)).map(|(id, entry)| (id.clone(), entry.info(id))).collect()
    }

    /// Puts a draft in the place of its entry, durably.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::NotFound`]; the errors of writing.
    pub fn finish_draft(&mut self, draft: &KeyId) -> Result<(), VaultError> {
        let mut keys = self.keys();
        let entry = self.take_draft(&mut keys, draft)?;
        keys.insert(entry.info(draft).id, entry);
        self.commit(keys)
    }

    /// Removes a draft durably.
    ///
    /// # Errors
    /// As [`Vault::finish_draft`].
    pub fn forget_draft(&mut self, draft: &KeyId) -> Result<(), VaultError> {
        let mut keys = self.keys();
        self.take_draft(&mut keys, draft)?;
        self.commit(keys)
    }

    fn take_draft(
        &self,
        keys: &mut std::collections::BTreeMap<KeyId, Entry>,
        draft: &KeyId,
    ) -> Result<Entry, VaultError> {
        if self.session.is_none() {
            return Err(VaultError::Locked);
        }
        let entry = keys.remove(draft).filter(|_| is_draft(draft));
        entry.ok_or_else(|| VaultError::NotFound(draft.clone()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::permissions::private_directory;
    use crate::vault::tests::{at, entry, id, secret};
    use crate::{Iterations, OnConflict};
    use secrecy::ExposeSecret;
    use std::path::Path;

    fn open(directory: &Path) -> Vault {
        Vault::open(directory.join("keys.json"), Iterations::MIN).unwrap()
    }

    fn create(name: &str) -> DraftChange {
        DraftChange::Create { entry: entry(name, &["x.example"]), over: Overwrite::Refused }
    }

    #[test]
    fn draft_counts_only_when_finished_also_after_a_restart() {
        let home = private_directory();
        let mut vault = open(home.path());
        vault.unlock(secret("password")).unwrap();
        let (draft, info) = vault.draft("1", create("a"), &secret("one"), at(1)).unwrap();
        assert_eq!((info.id.as_str(), info.allowed_hosts.len()), ("a", 1));
        assert!(vault.entries().is_empty());
        for hidden in [&draft, &id("a")] {
            assert!(matches!(vault.get(hidden, Some("x.example")), Err(VaultError::NotFound(_))));
            assert!(matches!(vault.delete(hidden), Err(VaultError::NotFound(_))));
        }
        vault.finish_draft(&draft).unwrap();
        assert!(vault.drafts().is_empty());
        assert_eq!(vault.get(&id("a"), Some("x.example")).unwrap().expose_secret(), "one");
        assert!(matches!(vault.draft("2", create("a"), &secret("x"), at(2)), Err(VaultError::Exists(_))));

        let moved = DraftChange::Replace { id: id("a"), allowed_hosts: Some(vec!["Y.example".into()]) };
        let (draft, _) = vault.draft("3", moved, &secret("two"), at(3)).unwrap();
        drop(vault);
        let mut vault = open(home.path());
        assert_eq!(vault.drafts().len(), 1, "it is known while the vault is locked");
        vault.unlock(secret("password")).unwrap();
        assert_eq!(vault.get(&id("a"), Some("x.example")).unwrap().expose_secret(), "one");
        vault.finish_draft(&draft).unwrap();
        assert_eq!(vault.get(&id("a"), Some("y.example")).unwrap().expose_secret(), "two");
        let kept = DraftChange::Replace { id: id("a"), allowed_hosts: None };
        let (draft, _) = vault.draft("4", kept, &secret("three"), at(4)).unwrap();
        vault.forget_draft(&draft).unwrap();
        assert_eq!(vault.get(&id("a"), Some("y.example")).unwrap().expose_secret(), "two");
        assert!(matches!(vault.forget_draft(&id("a")), Err(VaultError::NotFound(_))), "an entry is no draft");
    }

    #[test]
    fn draft_outlives_a_password_change_and_is_not_exported() {
        let home = private_directory();
        let mut vault = open(home.path());
        vault.unlock(secret("password")).unwrap();
        vault.create(entry("b", &[]), secret("b"), at(1)).unwrap();
        let (draft, _) = vault.draft("1", create("a"), &secret("one"), at(1)).unwrap();
        vault.change_password(secret("password"), secret("other password"), Iterations::MIN, at(2)).unwrap();
        let mut export = vault.begin_export(secret("other password"), None, None).unwrap();
        export.run(at(3)).unwrap();
        assert_eq!(export.ids().count(), 1);
        assert!(
            vault.begin_export(secret("other password"), None, Some(std::slice::from_ref(&draft))).is_err()
        );
        // A copy of the whole file has the draft; an import leaves it out.
        let file = std::fs::read(home.path().join("keys.json")).unwrap();
        let flag = vault.session_flag();
        let foreign = crate::ForeignKeyFile::open(&file, secret("other password"), &flag).unwrap();
        let mut import = vault.begin_import(foreign, OnConflict::Replace).unwrap();
        import.run(at(4)).unwrap();
        assert_eq!(vault.install(import).unwrap().len(), 1);
        vault.finish_draft(&draft).unwrap();
        assert_eq!(vault.get(&id("a"), Some("x.example")).unwrap().expose_secret(), "one");
    }
}
