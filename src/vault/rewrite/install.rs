//! Begins a [`Rewrite`] and installs its result.
//!
//! Owns the checks at both ends: the password before any derivation, and that the vault has not changed since
//! the work began. Must not do the long part, which runs without the vault.

use crate::{
    Iterations, OnConflict, Rewrite, RewrittenEntry, Vault, VaultError, cipher,
    drafts::is_draft,
    entry::Entry,
    format::{Header, KeyFile},
    password,
    rewrite::Kind,
    session::Session,
};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Most entries of an imported file.
const MAX_IMPORT_ENTRIES: usize = 500;
/// Most rounds that decrypting and re-encrypting an import may cost in all: about a minute.
const MAX_IMPORT_ROUNDS: u64 = 500_000_000;

/// Another key file, unlocked with its password.
pub struct ForeignKeyFile {
    file: KeyFile,
    from: Session,
}

impl ForeignKeyFile {
    /// Opens a key file in any supported format, without a vault. Costs one derivation, and one more for each
    /// v1 entry. Stops soon after `is_active` becomes false.
    ///
    /// # Errors
    /// [`VaultError::NotAKeyFile`], also for a file that is empty or too large; [`VaultError::WrongPassword`];
    /// [`VaultError::Locked`] if `is_active` became false.
    pub fn open(file: &[u8], password: SecretString, is_active: &AtomicBool) -> Result<Self, VaultError> {
        let not_a_key_file = |reason: String| VaultError::NotAKeyFile { reason };
        let file = KeyFile::parse(file).map_err(not_a_key_file)?;
        if file.keys.is_empty() {
            return Err(not_a_key_file("it holds no keys".to_owned()));
        }
        let rounds: u64 = file.keys.values().map(|entry| u64::from(entry.iterations().get())).sum();
        if file.keys.len() > MAX_IMPORT_ENTRIES || rounds > MAX_IMPORT_ROUNDS {
            return Err(not_a_key_file(format!(
                "it holds more than {MAX_IMPORT_ENTRIES} keys or {MAX_IMPORT_ROUNDS} rounds of derivation"
            )));
        }
        match Session::authenticate_while(
            &file,
            Path::new(""),
            password,
            &mut cipher::derive,
            Some(is_active),
        ) {
            _ if !is_active.load(Ordering::Acquire) => Err(VaultError::Locked),
            Err(VaultError::Corrupt { .. }) => {
                Err(not_a_key_file("its seal does not match, so something else changed it".to_owned()))
            }
            outcome => Ok(Self { from: outcome?, file }),
        }
    }
}

impl Vault {
    /// Returns a flag that is true while the vault stays open, for work that runs beside it.
    pub fn session_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.session_flag)
    }

    fn session_for(&self, password: SecretString) -> Result<Session, VaultError> {
        let (Some(file), Some(_)) = (&self.contents, &self.session) else { return Err(VaultError::Locked) };
        Session::authenticate(file, self.file.path(), password, &mut cipher::derive)
    }

    fn rewrite(
        &self,
        kind: Kind,
        source: BTreeMap<KeyId, Entry>,
        from: Session,
        to: SecretString,
    ) -> Rewrite {
        Rewrite {
            kind,
            session_flag: Arc::clone(&self.session_flag),
            rounds: self.rounds(),
            source,
            from,
            to: Session::new(to),
            fresh: BTreeMap::new(),
            verifier: None,
            skipped: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// Begins to re-encrypt, under the same password, the entries of version 1 or with fewer rounds than
    /// configured. Returns `None` if there are none. Derives no key.
    ///
    /// # Errors
    /// [`VaultError::Locked`].
    pub fn begin_rewrap(&self) -> Result<Option<Rewrite>, VaultError> {
        let session = self.session.as_ref().ok_or(VaultError::Locked)?;
        let rounds = self.rounds();
        let mut outdated = self.keys();
        outdated.retain(|id, entry| {
            !is_draft(id)
                && (entry.is_v1() || entry.iterations() < rounds)
                && !session.unreadable().contains(id)
        });
        // The verifier is the cheapest way to test passwords, so its cost counts as much as an entry's.
        let verifier_outdated = match self.contents.as_ref().map(|file| &file.header) {
            Some(Header::V2 { verifier, .. }) => verifier.iterations < rounds,
            _ => false,
        };
        if outdated.is_empty() && !verifier_outdated {
            return Ok(None);
        }
        let password = session.password();
        Ok(Some(self.rewrite(Kind::Rewrap, outdated, Session::new(password.clone()), password)))
    }

    /// Begins to re-encrypt all entries under another password. Costs the same as checking the old password.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::WrongPassword`]; [`VaultError::ShortPassword`].
    pub fn begin_password_change(
        &self,
        old: SecretString,
        new: SecretString,
        iterations: Iterations,
    ) -> Result<Rewrite, VaultError> {
        let from = self.session_for(old)?;
        let new = password::prepare_new(&new)?;
        let rewrite = self.rewrite(Kind::Password, self.keys(), from, new);
        Ok(Rewrite { rounds: iterations, ..rewrite })
    }

    /// Begins to encrypt the given entries (all, if none is given) for an exported file, under this or another
    /// password.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::WrongPassword`]; [`VaultError::ShortPassword`];
    /// [`VaultError::NotFound`].
    pub fn begin_export(
        &self,
        password: SecretString,
        new: Option<SecretString>,
        ids: Option<&[KeyId]>,
    ) -> Result<Rewrite, VaultError> {
        let from = self.session_for(password)?;
        let to = match new {
            Some(new) => password::prepare_new(&new)?,
            None => from.password(),
        };
        let mut keys = self.keys();
        keys.retain(|id, _| !is_draft(id));
        if let Some(ids) = ids {
            if let Some(unknown) = ids.iter().find(|id| !keys.contains_key(*id)) {
                return Err(VaultError::NotFound(unknown.clone()));
            }
            keys.retain(|id, _| ids.contains(id));
        }
        Ok(self.rewrite(Kind::Export, keys, from, to))
    }

    /// Begins to encrypt the entries of another key file, in any supported format, under this vault's password.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::Taken`].
    pub fn begin_import(
        &self,
        foreign: ForeignKeyFile,
        on_conflict: OnConflict,
    ) -> Result<Rewrite, VaultError> {
        let to = self.session.as_ref().ok_or(VaultError::Locked)?.password();
        let ForeignKeyFile { file, from } = foreign;
        let (mine, mut theirs) = (self.keys(), file.keys);
        theirs.retain(|id, _| !is_draft(id));
        let taken: Vec<KeyId> = theirs.keys().filter(|id| mine.contains_key(*id)).cloned().collect();
        let skipped = match on_conflict {
            OnConflict::Refuse if !taken.is_empty() => return Err(VaultError::Taken(taken)),
            OnConflict::Skip => taken,
            OnConflict::Refuse | OnConflict::Replace => Vec::new(),
        };
        theirs.retain(|id, _| !skipped.contains(id));
        Ok(Rewrite { skipped, ..self.rewrite(Kind::Import, theirs, from, to) })
    }

    /// Writes the re-encrypted entries in one atomic replacement. A rewrapped entry that has changed since
    /// keeps its change. The backup file opens with the old password until the next write.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::Superseded`] if the vault was locked since, or changed
    /// incompatibly; the errors of writing.
    pub fn install(&mut self, rewrite: Rewrite) -> Result<Vec<RewrittenEntry>, VaultError> {
        let session = self.session.as_mut().ok_or(VaultError::Locked)?;
        let Rewrite { kind, session_flag, source, fresh, mut to, verifier, unreadable, .. } = rewrite;
        let verifier =
            verifier.filter(|_| Arc::ptr_eq(&session_flag, &self.session_flag) && kind != Kind::Export);
        let verifier = verifier.ok_or(VaultError::Superseded)?;
        let kept = if kind == Kind::Rewrap { session.unreadable().to_vec() } else { unreadable };
        let mut keys = self.keys();
        let mut written = Vec::new();
        for (id, entry) in fresh {
            let unchanged = keys.get(&id) == source.get(&id);
            match kind {
                Kind::Rewrap if !unchanged => continue,
                Kind::Password if !unchanged => return Err(VaultError::Superseded),
                _ => {}
            }
            let before = keys.get(&id).map(|before| before.info(&id));
            written.push(RewrittenEntry { id: id.clone(), before, after: entry.info(&id) });
            keys.insert(id, entry);
        }
        if kind == Kind::Import {
            if !written.is_empty() {
                if let Some(session) = &mut self.session {
                    session.merge_derived_keys(to);
                }
                self.commit(keys)?;
            }
            return Ok(written);
        }
        if kind == Kind::Password && keys.len() != written.len() + kept.len() {
            return Err(VaultError::Superseded);
        }
        for id in kept {
            to.note_unreadable(id);
        }
        self.write(Some(to), verifier, keys)?;
        Ok(written)
    }

    /// Re-encrypts all entries under another password. Entries that the old password does not decrypt stay
    /// unchanged.
    ///
    /// # Errors
    /// The errors of [`Vault::begin_password_change`] and [`Vault::install`].
    pub fn change_password(
        &mut self,
        old: SecretString,
        new: SecretString,
        iterations: Iterations,
        now: Timestamp,
    ) -> Result<(), VaultError> {
        let mut rewrite = self.begin_password_change(old, new, iterations)?;
        rewrite.run(now)?;
        self.install(rewrite).map(drop)
    }

    /// Re-encrypts the entries that [`Vault::begin_rewrap`] selects. Returns their number.
    ///
    /// # Errors
    /// The errors of [`Vault::begin_rewrap`] and [`Vault::install`].
    pub fn rewrap(&mut self, now: Timestamp) -> Result<usize, VaultError> {
        let Some(mut rewrite) = self.begin_rewrap()? else { return Ok(0) };
        rewrite.run(now)?;
        Ok(self.install(rewrite)?.len())
    }
}
