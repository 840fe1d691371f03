//! The vault: three states and what may be done in each.
//!
//! Owns the order of checks and that memory follows the disk: nothing is believed written before it is
//! durable. Must not know who asks, nor throttle attempts; one caller at a time, on a blocking thread.

use crate::{
    EntryInfo, Iterations, NewEntry, Unlock, VaultError, VaultState,
    atomic_file::AtomicFile,
    cipher,
    entry::Entry,
    format::{Header, KeyFile, Verifier},
    session::{Derive, Session},
};
use arbiter_core::{ids::KeyId, time::Timestamp};
use secrecy::SecretString;
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// The encrypted key file. Its [`fmt::Debug`] shows the path, the state and the count of entries.
pub struct Vault {
    file: AtomicFile,
    iterations: Iterations,
    contents: Option<KeyFile>,
    session: Option<Session>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("path", &self.file.path())
            .field("state", &self.state())
            .field("keys", &self.contents.as_ref().map_or(0, |file| file.keys.len()))
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Reads and validates the file, and removes temporary files a killed process left beside it.
    /// Derives nothing. A missing file is an uninitialized vault; its directory must exist.
    ///
    /// # Errors
    /// [`VaultError::Corrupt`], [`VaultError::Permissions`], [`VaultError::Io`].
    pub fn open(path: PathBuf, iterations: Iterations) -> Result<Self, VaultError> {
        let mut vault = Self { file: AtomicFile::open(path)?, iterations, contents: None, session: None };
        vault.contents = vault.read()?;
        Ok(vault)
    }

    /// Whether the vault exists and is open.
    pub fn state(&self) -> VaultState {
        match (&self.session, &self.contents) {
            (Some(_), _) => VaultState::Unlocked,
            (None, Some(file)) if !file.is_blank() => VaultState::Locked,
            (None, _) => VaultState::Uninitialized,
        }
    }

    /// What may be told of the entries, sorted by id; locked or not.
    pub fn entries(&self) -> Vec<EntryInfo> {
        self.contents.iter().flat_map(|file| &file.keys).map(|(id, entry)| entry.info(id)).collect()
    }

    /// How often the file was written; authentic once unlocked. 0 before the first write of ours.
    pub fn generation(&self) -> u64 {
        self.contents.as_ref().map_or(0, KeyFile::generation)
    }

    /// Opens the vault, or creates it. A locked vault reads its file anew first, so that a file put
    /// back by hand is seen. Costs one derivation, and one more for each v1 entry.
    ///
    /// # Errors
    /// [`VaultError::WrongPassword`], with nothing written and the state unchanged;
    /// [`VaultError::EmptyPassword`] for a new vault; [`VaultError::Corrupt`] for a file that was
    /// changed without the password; [`VaultError::Changed`] when the file has vanished; and the errors
    /// of reading and writing.
    pub fn unlock(&mut self, password: SecretString) -> Result<Unlock, VaultError> {
        self.unlock_with(password, &mut cipher::derive)
    }

    pub(crate) fn unlock_with(
        &mut self,
        password: SecretString,
        derive: Derive<'_>,
    ) -> Result<Unlock, VaultError> {
        if self.session.is_none() {
            self.reload()?;
        }
        match &self.contents {
            Some(file) if !file.is_blank() => {
                let session = Session::authenticate(file, self.file.path(), password, derive)?;
                let unreadable = session.unreadable().to_vec();
                self.session.get_or_insert(session);
                Ok(Unlock::Opened { unreadable })
            }
            _ => self.initialize(password),
        }
    }

    /// Wipes the password and every key that was derived from it.
    pub fn lock(&mut self) {
        self.session = None;
    }

    /// Adds an entry, durably.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::Exists`] when the id is taken; the errors of writing.
    pub fn create(&mut self, entry: NewEntry, value: SecretString, now: Timestamp) -> Result<(), VaultError> {
        let (rounds, mut keys) = (self.rounds(), self.keys());
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        if keys.contains_key(&entry.id) {
            return Err(VaultError::Exists(entry.id));
        }
        let label = entry.into_label(rounds, now);
        keys.insert(label.id.clone(), session.encrypt(label, rounds, &value)?);
        self.commit(keys)
    }

    /// Gives an entry another secret, durably; a v1 entry becomes a v2 entry.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::NotFound`]; the errors of writing.
    pub fn replace(&mut self, id: &KeyId, value: SecretString, now: Timestamp) -> Result<(), VaultError> {
        let (rounds, mut keys) = (self.rounds(), self.keys());
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let entry = keys.get_mut(id).ok_or_else(|| VaultError::NotFound(id.clone()))?;
        *entry = session.encrypt(entry.info(id).rewritten(rounds, now), rounds, &value)?;
        self.commit(keys)
    }

    /// The secret of an entry that is to be sent to `host`, or to no host at all. The first call for an
    /// entry costs one derivation, later ones microseconds.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::NotFound`]; [`VaultError::HostRefused`] when the entry is
    /// bound to other hosts, or to any and none is named; [`VaultError::Unreadable`].
    pub fn get(&mut self, id: &KeyId, host: Option<&str>) -> Result<SecretString, VaultError> {
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let entry = self.contents.as_ref().and_then(|file| file.keys.get(id));
        let entry = entry.ok_or_else(|| VaultError::NotFound(id.clone()))?;
        if !entry.info(id).allows(host) {
            return Err(VaultError::HostRefused {
                id: id.clone(),
                host: host.unwrap_or_default().to_owned(),
            });
        }
        session.open(id, entry)
    }

    /// Removes an entry, durably. The backup file has it until the next write.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::NotFound`]; the errors of writing.
    pub fn delete(&mut self, id: &KeyId) -> Result<(), VaultError> {
        let mut keys = self.keys();
        if self.session.is_none() {
            return Err(VaultError::Locked);
        }
        keys.remove(id).ok_or_else(|| VaultError::NotFound(id.clone()))?;
        self.commit(keys)
    }

    /// Encrypts everything anew under another password, in one replacement: all or nothing. Costs up to
    /// two derivations for each entry. Entries that the old password does not open are kept as they are.
    /// The backup file opens with the old password until the next write.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::WrongPassword`]; [`VaultError::EmptyPassword`]; the errors
    /// of writing.
    pub fn change_password(
        &mut self,
        old: SecretString,
        new: SecretString,
        iterations: Iterations,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let (Some(file), Some(_)) = (&self.contents, &self.session) else { return Err(VaultError::Locked) };
        Session::authenticate(file, self.file.path(), old, &mut cipher::derive)?;
        if cipher::is_empty(&new) {
            return Err(VaultError::EmptyPassword);
        }
        self.encrypt_all(new, iterations, now)
    }

    /// Encrypts everything anew under the same password, when any readable entry is of version 1 or of
    /// fewer rounds than configured. Answers how many were. Costs up to two derivations for each entry.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; the errors of writing.
    pub fn rewrap(&mut self, now: Timestamp) -> Result<usize, VaultError> {
        let rounds = self.rounds();
        let session = self.session.as_ref().ok_or(VaultError::Locked)?;
        let keys = self.contents.iter().flat_map(|file| &file.keys);
        let outdated = keys
            .filter(|(id, entry)| {
                (entry.is_v1() || entry.iterations() < rounds) && !session.unreadable().contains(id)
            })
            .count();
        if outdated > 0 {
            self.encrypt_all(session.password(), rounds, now)?;
        }
        Ok(outdated)
    }

    fn encrypt_all(
        &mut self,
        password: SecretString,
        rounds: Iterations,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let mut keys = self.keys();
        let from = self.session.as_mut().ok_or(VaultError::Locked)?;
        let mut to = Session::new(password);
        let verifier = to.make_verifier(rounds)?;
        for (id, entry) in &mut keys {
            match from.open(id, entry) {
                Ok(value) => *entry = to.encrypt(entry.info(id).rewritten(rounds, now), rounds, &value)?,
                Err(VaultError::Unreadable { .. }) if entry.is_v1() => to.carry_unreadable(id.clone()),
                Err(error) => return Err(error),
            }
        }
        self.write(Some(to), verifier, keys)
    }

    fn initialize(&mut self, password: SecretString) -> Result<Unlock, VaultError> {
        if cipher::is_empty(&password) {
            return Err(VaultError::EmptyPassword);
        }
        let mut session = Session::new(password);
        let verifier = session.make_verifier(self.iterations)?;
        self.write(Some(session), verifier, BTreeMap::new())?;
        Ok(Unlock::Created)
    }

    /// Writes these entries under the password of now; a v1 file gets its verifier here.
    fn commit(&mut self, keys: BTreeMap<KeyId, Entry>) -> Result<(), VaultError> {
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let verifier = match self.contents.as_ref().map(|file| &file.header) {
            Some(Header::V2 { verifier, .. }) => verifier.clone(),
            _ => session.make_verifier(self.iterations)?,
        };
        self.write(None, verifier, keys)
    }

    /// Replaces the file. `fresh` takes the session's place together with it, and not before.
    fn write(
        &mut self,
        fresh: Option<Session>,
        verifier: Verifier,
        keys: BTreeMap<KeyId, Entry>,
    ) -> Result<(), VaultError> {
        let session = fresh.as_ref().or(self.session.as_ref()).ok_or(VaultError::Locked)?;
        let generation = self.generation().saturating_add(1);
        let mut next =
            KeyFile { header: Header::V2 { generation, verifier, seal: Default::default() }, keys };
        session.seal(&mut next);
        let path = self.file.path().to_owned();
        let bytes = next.to_bytes().map_err(|reason| VaultError::corrupt(&path, reason))?;
        let answer = self.file.replace(&bytes, |written| match KeyFile::parse(written) {
            Ok(read) if read == next && session.opens(&read) => Ok(()),
            _ => Err(VaultError::corrupt(&path, "the new file does not open, so the old one stays")),
        });
        // An error may come after the file is in place (its directory was not synced): memory follows the disk.
        if self.file.holds(&bytes) {
            self.contents = Some(next);
            self.session = fresh.or(self.session.take());
        }
        if let (Some(session), Some(file)) = (&mut self.session, &self.contents) {
            session.forget_all_but(file);
        }
        answer
    }

    fn read(&mut self) -> Result<Option<KeyFile>, VaultError> {
        let Some(bytes) = self.file.read()? else { return Ok(None) };
        KeyFile::parse(&bytes).map(Some).map_err(|reason| VaultError::corrupt(self.file.path(), reason))
    }

    fn reload(&mut self) -> Result<(), VaultError> {
        let read = self.read()?;
        // A file that vanished (an unmounted disk, say) is no reason to begin an empty vault in its place.
        if read.is_none() && self.contents.is_some() {
            return Err(VaultError::Changed { path: self.file.path().to_owned() });
        }
        self.contents = read;
        Ok(())
    }

    /// What the next ciphertext costs: as configured, but not less than the password was last given.
    fn rounds(&self) -> Iterations {
        match self.contents.as_ref().map(|file| &file.header) {
            Some(Header::V2 { verifier, .. }) => self.iterations.max(verifier.iterations),
            _ => self.iterations,
        }
    }

    fn keys(&self) -> BTreeMap<KeyId, Entry> {
        self.contents.as_ref().map(|file| file.keys.clone()).unwrap_or_default()
    }
}
