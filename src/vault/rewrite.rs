//! Entries that are encrypted anew beside the vault, which stays usable meanwhile.
//!
//! Owns the long part of rewrapping, of a change of password, of export and of import: one or two
//! derivations for each entry. Must not touch the file: `rewriting.rs` begins and installs.

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

/// What becomes of an imported entry whose id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Nothing is imported at all.
    Refuse,
    Skip,
    Replace,
}

/// What the entries are encrypted anew for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rewrap,
    Password,
    Export,
    /// This file, from another one.
    Import,
}

/// Entries on their way from one encryption to another. Holds passwords, and keys while it runs;
/// dropping it wipes them.
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

/// An entry that was written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrittenEntry {
    pub id: KeyId,
    /// What it was; nothing for one that was not there.
    pub before: Option<EntryInfo>,
    pub after: EntryInfo,
}

impl Rewrite {
    /// The entries it is about.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.source.keys()
    }

    /// Entries that an import leaves out, because their ids are taken.
    pub fn skipped(&self) -> &[KeyId] {
        &self.skipped
    }

    /// Entries that their file's password does not open, as far as it has run.
    pub fn unreadable(&self) -> &[KeyId] {
        &self.unreadable
    }

    /// What each entry that it has encrypted will be.
    pub fn fresh(&self) -> Vec<EntryInfo> {
        self.fresh.iter().map(|(id, entry)| entry.info(id)).collect()
    }

    /// Does the derivations, up to two for each entry and one besides.
    ///
    /// # Errors
    /// [`VaultError::Superseded`] soon after the vault was locked; [`VaultError::Unreadable`] for an
    /// entry that has to open and does not.
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

    /// The exported file: complete, of version 2, under its own verifier and seal. Entries that did not
    /// open are in it as they were.
    ///
    /// # Errors
    /// [`VaultError::Superseded`] unless it has run; [`VaultError::NotAKeyFile`] when what was made does
    /// not open again.
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
