//! The vault: its three states and the operations of each.
//!
//! Owns the order of checks. Memory follows the disk: a write counts only when it is durable. Must not know its
//! callers, nor throttle attempts. One caller at a time, on a blocking thread.

#[cfg(test)]
mod tamper_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod v1_tests;
#[cfg(test)]
mod vector_tests;

use crate::{
    EntryInfo, Iterations, NewEntry, UnlockOutcome, VaultError, VaultState,
    atomic_file::AtomicFile,
    cipher,
    drafts::is_draft,
    entry::{Entry, normalize_hosts},
    format::{Header, KeyFile, Verifier},
    password,
    session::{DeriveFn, Session},
};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The encrypted key file. Its [`fmt::Debug`] shows the path, the state and the number of entries.
pub struct Vault {
    pub(crate) file: AtomicFile,
    iterations: Iterations,
    pub(crate) contents: Option<KeyFile>,
    /// A key file is known to have been here, and is gone.
    missing: bool,
    pub(crate) session: Option<Session>,
    /// True while the current session lasts; work beside the vault reads it.
    pub(crate) session_flag: Arc<AtomicBool>,
    floor: u64,
    revision: u64,
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
    /// Reads and validates the file, and removes temporary files that a killed process left beside it. Derives
    /// no key. A missing file is an uninitialized vault, unless its backup is there; its directory must exist.
    ///
    /// # Errors
    /// [`VaultError::Corrupt`], [`VaultError::Permissions`], [`VaultError::Io`].
    pub fn open(path: PathBuf, iterations: Iterations) -> Result<Self, VaultError> {
        let mut vault = Self {
            file: AtomicFile::open(path)?,
            iterations,
            contents: None,
            missing: false,
            session: None,
            session_flag: Arc::default(),
            floor: 0,
            revision: 0,
        };
        vault.contents = vault.read()?;
        vault.missing = vault.contents.is_none() && vault.file.has_backup()?;
        Ok(vault)
    }

    /// Takes note that a key file has been here. While there is none, the vault is locked and every unlock is
    /// [`VaultError::Missing`]; no new file is created in its place.
    pub fn require_file(&mut self) {
        self.missing |= self.contents.is_none();
        self.revision += 1;
    }

    /// Returns whether a key file has been here and is gone.
    pub fn is_missing(&self) -> bool {
        self.missing && self.session.is_none()
    }

    /// Returns whether the vault is missing, locked or unlocked.
    pub fn state(&self) -> VaultState {
        match (&self.session, &self.contents) {
            (Some(_), _) => VaultState::Unlocked,
            (None, Some(file)) if !file.is_blank() => VaultState::Locked,
            (None, _) if self.missing => VaultState::Locked,
            (None, _) => VaultState::Uninitialized,
        }
    }

    /// Returns the public fields of all entries, sorted by id; works while locked.
    pub fn entries(&self) -> Vec<EntryInfo> {
        let entries = self.contents.iter().flat_map(|file| &file.keys);
        entries.filter(|(id, _)| !is_draft(id)).map(|(id, entry)| entry.info(id)).collect()
    }

    /// Returns the number of writes of the file, authentic once unlocked; 0 before this program's first write.
    pub fn generation(&self) -> u64 {
        self.contents.as_ref().map_or(0, KeyFile::generation)
    }

    /// Returns a number that changes whenever the public state of the vault may have changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Makes later writes use generations above `generation`. A vault that replaces a lost one then does not
    /// look like an older state of it.
    pub fn require_above(&mut self, generation: u64) {
        self.floor = generation;
    }

    /// Unlocks the vault, or creates it. A locked vault reads its file again first, so that a manually restored
    /// file is seen. Costs one derivation, and one more for each v1 entry.
    ///
    /// # Errors
    /// [`VaultError::WrongPassword`], with nothing written and the state unchanged;
    /// [`VaultError::ShortPassword`] for a new vault; [`VaultError::Corrupt`] for a file changed without the
    /// password; [`VaultError::Missing`] if the file has vanished; and the errors of reading and writing.
    pub fn unlock(&mut self, password: SecretString) -> Result<UnlockOutcome, VaultError> {
        self.unlock_with(password, &mut cipher::derive)
    }

    pub(crate) fn unlock_with(
        &mut self,
        password: SecretString,
        derive: DeriveFn<'_>,
    ) -> Result<UnlockOutcome, VaultError> {
        if self.session.is_none() {
            self.reload()?;
        }
        match &self.contents {
            Some(file) if !file.is_blank() => {
                let session = Session::authenticate(file, self.file.path(), password, derive)?;
                let unreadable = session.unreadable().to_vec();
                if self.session.is_none() {
                    self.begin_session(session);
                }
                Ok(UnlockOutcome::Opened { unreadable })
            }
            _ => self.initialize(password),
        }
    }

    /// Wipes the password and every derived key.
    pub fn lock(&mut self) {
        self.session_flag.store(false, Ordering::Release);
        self.session = None;
        self.revision += 1;
    }

    fn begin_session(&mut self, session: Session) {
        self.session_flag.store(false, Ordering::Release);
        self.session_flag = Arc::new(AtomicBool::new(true));
        self.session = Some(session);
        self.revision += 1;
    }

    /// Adds an entry, durably.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::Exists`] if the id is taken; the errors of writing.
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

    /// Replaces the secret of an entry durably and keeps its hosts; a v1 entry becomes a v2 entry.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::NotFound`]; the errors of writing.
    pub fn replace(&mut self, id: &KeyId, value: SecretString, now: Timestamp) -> Result<(), VaultError> {
        self.write_entry(id, value, None, now)
    }

    /// Replaces the secret as [`Vault::replace`] does and binds it to `hosts`; an empty list allows any host.
    ///
    /// # Errors
    /// The same as [`Vault::replace`].
    pub fn rebind(
        &mut self,
        id: &KeyId,
        value: SecretString,
        allowed_hosts: &[String],
        now: Timestamp,
    ) -> Result<(), VaultError> {
        self.write_entry(id, value, Some(allowed_hosts), now)
    }

    fn write_entry(
        &mut self,
        id: &KeyId,
        value: SecretString,
        allowed_hosts: Option<&[String]>,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let (rounds, mut keys) = (self.rounds(), self.keys());
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let entry = keys.get_mut(id).filter(|_| !is_draft(id));
        let entry = entry.ok_or_else(|| VaultError::NotFound(id.clone()))?;
        let mut label = entry.info(id).for_rewrite(rounds, now);
        if let Some(hosts) = allowed_hosts {
            label.allowed_hosts = normalize_hosts(hosts);
        }
        *entry = session.encrypt(label, rounds, &value)?;
        self.commit(keys)
    }

    /// Returns the secret of an entry for a request to `host`, or to no host. The first call for an entry costs
    /// one derivation, later calls microseconds.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::NotFound`]; [`VaultError::HostRefused`] if the entry is bound to
    /// hosts and `host` is another one or missing; [`VaultError::Unreadable`].
    pub fn get(&mut self, id: &KeyId, host: Option<&str>) -> Result<SecretString, VaultError> {
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let entry = self.contents.as_ref().and_then(|file| file.keys.get(id)).filter(|_| !is_draft(id));
        let entry = entry.ok_or_else(|| VaultError::NotFound(id.clone()))?;
        if !entry.info(id).allows(host) {
            return Err(VaultError::HostRefused {
                id: id.clone(),
                host: host.unwrap_or_default().to_owned(),
            });
        }
        session.open(id, entry)
    }

    /// Removes an entry durably. The backup file contains it until the next write.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::NotFound`]; the errors of writing.
    pub fn delete(&mut self, id: &KeyId) -> Result<(), VaultError> {
        let mut keys = self.keys();
        if self.session.is_none() {
            return Err(VaultError::Locked);
        }
        keys.remove(id).filter(|_| !is_draft(id)).ok_or_else(|| VaultError::NotFound(id.clone()))?;
        self.commit(keys)
    }

    fn initialize(&mut self, password: SecretString) -> Result<UnlockOutcome, VaultError> {
        let mut session = Session::new(password::prepare_new(&password)?);
        let verifier = session.make_verifier(self.iterations)?;
        self.write(Some(session), verifier, BTreeMap::new())?;
        Ok(UnlockOutcome::Created)
    }

    /// Writes the entries under the current password; a v1 file gets its verifier here.
    pub(crate) fn commit(&mut self, keys: BTreeMap<KeyId, Entry>) -> Result<(), VaultError> {
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let verifier = match self.contents.as_ref().map(|file| &file.header) {
            Some(Header::V2 { verifier, .. }) => verifier.clone(),
            _ => session.make_verifier(self.iterations)?,
        };
        self.write(None, verifier, keys)
    }

    /// Replaces the file. `fresh` becomes the session only when the new file is in place.
    pub(crate) fn write(
        &mut self,
        fresh: Option<Session>,
        verifier: Verifier,
        keys: BTreeMap<KeyId, Entry>,
    ) -> Result<(), VaultError> {
        let session = fresh.as_ref().or(self.session.as_ref()).ok_or(VaultError::Locked)?;
        let generation = self.generation().max(self.floor).saturating_add(1);
        let mut next =
            KeyFile { header: Header::V2 { generation, verifier, seal: Default::default() }, keys };
        session.seal(&mut next);
        let path = self.file.path().to_owned();
        let bytes = next.to_bytes().map_err(|reason| VaultError::corrupt(&path, reason))?;
        let answer = self.file.replace(&bytes, |written| match KeyFile::parse(written) {
            Ok(read) if read == next && session.can_open(&read) => Ok(()),
            _ => Err(VaultError::corrupt(&path, "the new file does not open, so the old one stays")),
        });
        // An error may come after the file is in place (its directory was not synced): memory follows the disk.
        if self.file.is_current(&bytes) {
            self.contents = Some(next);
            self.revision += 1;
            if let Some(mut fresh) = fresh {
                if let Some(before) = self.session.take() {
                    fresh.merge_derived_keys(before);
                }
                self.begin_session(fresh);
            }
        }
        if let (Some(session), Some(file)) = (&mut self.session, &self.contents) {
            session.retain_keys_of(file);
        }
        answer
    }

    fn read(&mut self) -> Result<Option<KeyFile>, VaultError> {
        let Some(bytes) = self.file.read()? else { return Ok(None) };
        KeyFile::parse(&bytes).map(Some).map_err(|reason| VaultError::corrupt(self.file.path(), reason))
    }

    fn reload(&mut self) -> Result<(), VaultError> {
        let read = self.read()?;
        // A vanished file (an unmounted disk, for example) must not start an empty vault in its place.
        let known = self.missing || self.contents.is_some() || self.file.has_backup()?;
        self.missing = read.is_none() && known;
        self.revision += 1;
        if self.missing {
            return Err(VaultError::Missing { path: self.file.path().to_owned() });
        }
        self.contents = read;
        Ok(())
    }

    /// Returns the rounds of the next ciphertext: as configured, but at least those of the current verifier.
    pub(crate) fn rounds(&self) -> Iterations {
        match self.contents.as_ref().map(|file| &file.header) {
            Some(Header::V2 { verifier, .. }) => self.iterations.max(verifier.iterations),
            _ => self.iterations,
        }
    }

    pub(crate) fn keys(&self) -> BTreeMap<KeyId, Entry> {
        self.contents.as_ref().map(|file| file.keys.clone()).unwrap_or_default()
    }
}
