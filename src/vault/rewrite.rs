//! Re-encryption of entries beside the vault, which stays usable meanwhile.
//!
//! Owns the long part of a rewrap, password change, export or import: one or two derivations for each entry.
//! Must not touch the file: `rewrite/install.rs` begins and installs a rewrite.

pub(crate) mod install;
#[cfg(test)]
mod tests;

use crate::{
    EntryInfo, Iterations, VaultError,
    entry::Entry,
    format::{Header, KeyFile, Verifier},
    session::Session,
};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Handling of an imported entry whose id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Imports nothing.
    Refuse,
    Skip,
    Replace,
}

/// Purpose of a re-encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rewrap,
    Password,
    Export,
    /// Import of another file's entries into this file.
    Import,
}

/// Entries during a re-encryption. Holds passwords, and keys while it runs; both are wiped on drop.
pub struct Rewrite {
    pub(crate) kind: Kind,
    pub(crate) session_flag: Arc<AtomicBool>,
    pub(crate) rounds: Iterations,
    pub(crate) source: BTreeMap<KeyId, Entry>,
    pub(crate) from: Session,
    pub(crate) to: Session,
    pub(crate) fresh: BTreeMap<KeyId, Entry>,
    pub(crate) verifier: Option<Verifier>,
    pub(crate) skipped: Vec<KeyId>,
    pub(crate) unreadable: Vec<KeyId>,
}

/// An entry that was re-encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrittenEntry {
    pub id: KeyId,
    /// Previous state; `None` if the entry is new.
    pub before: Option<EntryInfo>,
    pub after: EntryInfo,
}

impl Rewrite {
    /// Returns the ids of the entries to re-encrypt.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.source.keys()
    }

    /// Returns the entries that an import skips because their ids are taken.
    pub fn skipped(&self) -> &[KeyId] {
        &self.skipped
    }

    /// Returns the entries processed so far that their file's password does not decrypt.
    pub fn unreadable(&self) -> &[KeyId] {
        &self.unreadable
    }

    /// Returns the new public fields of each entry encrypted so far.
    pub fn fresh(&self) -> Vec<EntryInfo> {
        self.fresh.iter().map(|(id, entry)| entry.info(id)).collect()
    }

    /// Runs the derivations: up to two for each entry, and one more.
    ///
    /// # Errors
    /// [`VaultError::Superseded`] soon after the vault is locked; [`VaultError::Unreadable`] if a required
    /// entry cannot be decrypted.
    pub fn run(&mut self, now: Timestamp) -> Result<(), VaultError> {
        for (id, entry) in &self.source {
            if !self.session_flag.load(Ordering::Acquire) {
                return Err(VaultError::Superseded);
            }
            match self.from.open(id, entry) {
                Ok(value) => {
                    let label = match self.kind {
                        Kind::Export => entry.info(id).for_export(self.rounds),
                        _ => entry.info(id).for_rewrite(self.rounds, now),
                    };
                    self.fresh.insert(id.clone(), self.to.encrypt(label, self.rounds, &value)?);
                }
                Err(VaultError::Unreadable { .. }) if entry.is_v1() || self.kind == Kind::Import => {
                    self.unreadable.push(id.clone());
                }
                Err(error) => return Err(error),
            }
        }
        self.verifier = Some(self.to.make_verifier(self.rounds)?);
        Ok(())
    }

    /// Returns the exported file: a complete version 2 file with its own verifier and seal. Unreadable entries
    /// are included unchanged.
    ///
    /// # Errors
    /// [`VaultError::Superseded`] unless [`Rewrite::run`] has finished; [`VaultError::NotAKeyFile`] if the
    /// result cannot be opened again.
    pub fn into_file(mut self) -> Result<Vec<u8>, VaultError> {
        let broken = |reason: String| VaultError::NotAKeyFile { reason };
        let verifier = self.verifier.take().ok_or(VaultError::Superseded)?;
        let mut keys = self.fresh;
        for id in self.unreadable {
            if let Some(entry) = self.source.remove(&id) {
                keys.insert(id, entry);
            }
        }
        let mut file =
            KeyFile { header: Header::V2 { generation: 1, verifier, seal: Default::default() }, keys };
        self.to.seal(&mut file);
        let bytes = file.to_bytes().map_err(broken)?;
        let read = KeyFile::parse(&bytes).map_err(broken)?;
        if read == file && self.to.can_open(&read) {
            Ok(bytes)
        } else {
            Err(broken("the file just made does not open".to_owned()))
        }
    }
}
