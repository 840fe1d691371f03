//! What an unlocked vault knows: the password, the seal key and the keys derived so far.
//!
//! Owns every secret between unlock and lock; dropping it wipes them all. Must not know the disk, nor
//! decide which entry may go where.

use crate::{
    Iterations, VaultError,
    cipher::{self, DerivedKey, Salt},
    entry::{Entry, Label},
    format::{Header, KeyFile, Verifier},
};
use arbiter_core::kernel::ids::KeyId;
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// How a key comes from a password; [`cipher::derive`] but for tests that open one file ten thousand times.
pub(crate) type DeriveFn<'a> = &'a mut dyn FnMut(&SecretString, &[u8], Iterations) -> DerivedKey;

/// The secrets of one unlocked vault. Not `Debug`, not `Clone`.
pub(crate) struct Session {
    password: SecretString,
    /// Missing until a v1 file is written for the first time.
    seal_key: Option<DerivedKey>,
    /// By salt and rounds, so that a key is never taken for that of an entry's earlier ciphertext.
    derived: BTreeMap<(Salt, Iterations), DerivedKey>,
    unreadable: Vec<KeyId>,
}

impl Session {
    /// A session of a password that nothing was checked against.
    pub(crate) fn new(password: SecretString) -> Self {
        Self { password, seal_key: None, derived: BTreeMap::new(), unreadable: Vec::new() }
    }

    /// The session of this password, when it is the file's and the file is as it was sealed. Costs one
    /// derivation, and one more for each v1 entry.
    pub(crate) fn authenticate(
        file: &KeyFile,
        path: &Path,
        password: SecretString,
        derive: DeriveFn<'_>,
    ) -> Result<Self, VaultError> {
        Self::authenticate_while(file, path, password, derive, None)
    }

    /// The same; looks at no further v1 entry once `is_active` is false.
    pub(crate) fn authenticate_while(
        file: &KeyFile,
        path: &Path,
        password: SecretString,
        derive: DeriveFn<'_>,
        is_active: Option<&AtomicBool>,
    ) -> Result<Self, VaultError> {
        let mut session = Self::new(password);
        match &file.header {
            Header::V2 { verifier, .. } => session.open_verifier(file, path, verifier, derive)?,
            Header::V1 { check: Some(check) } => {
                if !derive(&session.password, &check.salt, Iterations::MIN).is_equal_to(&check.hash) {
                    return Err(VaultError::WrongPassword);
                }
            }
            Header::V1 { check: None } => {}
        }
        let opened = session.try_v1_entries(file, derive, is_active);
        let proven = !matches!(file.header, Header::V1 { check: None });
        if proven || opened > 0 { Ok(session) } else { Err(VaultError::WrongPassword) }
    }

    fn open_verifier(
        &mut self,
        file: &KeyFile,
        path: &Path,
        verifier: &Verifier,
        derive: DeriveFn<'_>,
    ) -> Result<(), VaultError> {
        let key = derive(&self.password, &verifier.ciphertext.salt, verifier.iterations);
        self.derived.insert((verifier.ciphertext.salt, verifier.iterations), key);
        self.seal_key = Some(self.seal_key_of(verifier).ok_or(VaultError::WrongPassword)?);
        if self.is_seal_of(file) {
            return Ok(());
        }
        let reason = "its seal does not match, so something else changed it; the .bak file beside it is the one before";
        Err(VaultError::corrupt(path, reason))
    }

    /// Opens each v1 entry once, keeps what opened and notes what did not.
    fn try_v1_entries(
        &mut self,
        file: &KeyFile,
        derive: DeriveFn<'_>,
        is_active: Option<&AtomicBool>,
    ) -> usize {
        let mut opened = 0;
        for (id, entry) in file.keys.iter().filter(|(_, entry)| entry.is_v1()) {
            if is_active.is_some_and(|is_active| !is_active.load(Ordering::Acquire)) {
                break;
            }
            let key = entry
                .ciphertext()
                .map(|ciphertext| (ciphertext, derive(&self.password, &ciphertext.salt, entry.iterations())));
            match key {
                Some((ciphertext, key))
                    if cipher::decrypt_text(&key, ciphertext, &entry.associated_data()).is_some() =>
                {
                    self.derived.insert((ciphertext.salt, entry.iterations()), key);
                    opened += 1;
                }
                _ => self.unreadable.push(id.clone()),
            }
        }
        opened
    }

    /// The v1 entries that the password does not open.
    pub(crate) fn unreadable(&self) -> &[KeyId] {
        &self.unreadable
    }

    /// The password, for encrypting everything anew under it.
    pub(crate) fn password(&self) -> SecretString {
        self.password.clone()
    }

    /// A new seal key and the verifier that holds it.
    pub(crate) fn make_verifier(&mut self, iterations: Iterations) -> Result<Verifier, VaultError> {
        let seal_key = DerivedKey::random()?;
        let bound = Verifier::associated_data(iterations);
        let (ciphertext, key) = cipher::encrypt(&self.password, iterations, seal_key.as_bytes(), &bound)?;
        self.derived.insert((ciphertext.salt, iterations), key);
        self.seal_key = Some(seal_key);
        Ok(Verifier { iterations, ciphertext })
    }

    fn seal_key_of(&self, verifier: &Verifier) -> Option<DerivedKey> {
        let key = self.derived.get(&(verifier.ciphertext.salt, verifier.iterations))?;
        let plaintext =
            cipher::decrypt(key, &verifier.ciphertext, &Verifier::associated_data(verifier.iterations))?;
        DerivedKey::from_plaintext(&plaintext)
    }

    /// Seals the file as it is now.
    pub(crate) fn seal(&self, file: &mut KeyFile) {
        let tag = match (&self.seal_key, file.sealed_bytes()) {
            (Some(key), Ok(bytes)) => key.authenticate(&bytes),
            // Nothing to seal with or nothing that is sealed: the reading back refuses such a file.
            _ => return,
        };
        if let Header::V2 { seal, .. } = &mut file.header {
            *seal = tag;
        }
    }

    fn is_seal_of(&self, file: &KeyFile) -> bool {
        match (&file.header, &self.seal_key, file.sealed_bytes()) {
            (Header::V2 { seal, .. }, Some(key), Ok(bytes)) => key.is_tag_valid(&bytes, seal),
            _ => false,
        }
    }

    /// Returns whether a file about to be installed opens: verifier, seal, and every entry whose key is at hand.
    pub(crate) fn can_open(&self, file: &KeyFile) -> bool {
        let Header::V2 { verifier, .. } = &file.header else { return false };
        let entries_open = file.keys.values().all(|entry| {
            let Some(ciphertext) = entry.ciphertext() else { return true };
            let key = self.derived.get(&(ciphertext.salt, entry.iterations()));
            key.is_none_or(|key| cipher::decrypt(key, ciphertext, &entry.associated_data()).is_some())
        });
        entries_open && self.is_seal_of(file) && self.seal_key_of(verifier).is_some()
    }

    /// The secret of an entry. The first call for an entry derives its key; later ones do not.
    pub(crate) fn open(&mut self, id: &KeyId, entry: &Entry) -> Result<SecretString, VaultError> {
        let unreadable = || VaultError::Unreadable { id: id.clone() };
        if self.unreadable.contains(id) && entry.is_v1() {
            return Err(unreadable());
        }
        let ciphertext = entry.ciphertext().ok_or_else(unreadable)?;
        let password = &self.password;
        let key = self
            .derived
            .entry((ciphertext.salt, entry.iterations()))
            .or_insert_with(|| cipher::derive(password, &ciphertext.salt, entry.iterations()));
        cipher::decrypt_text(key, ciphertext, &entry.associated_data()).ok_or_else(unreadable)
    }

    /// An entry with this label and this secret, under a fresh salt and nonce.
    pub(crate) fn encrypt(
        &mut self,
        label: Label,
        iterations: Iterations,
        value: &SecretString,
    ) -> Result<Entry, VaultError> {
        let bound = label.associated_data();
        let (ciphertext, key) = cipher::encrypt_text(&self.password, iterations, value, &bound)?;
        self.derived.insert((ciphertext.salt, iterations), key);
        Ok(Entry::V2 { label, iterations, ciphertext })
    }

    /// Takes over the keys that another session derived; those of other ciphertexts are never asked for.
    pub(crate) fn merge_derived_keys(&mut self, mut other: Self) {
        for (salt, key) in std::mem::take(&mut other.derived) {
            self.derived.entry(salt).or_insert(key);
        }
    }

    /// Notes an entry that is carried over unread.
    pub(crate) fn note_unreadable(&mut self, id: KeyId) {
        self.unreadable.push(id);
    }

    /// Wipes what belongs to no entry of the file any more.
    pub(crate) fn retain_keys_of(&mut self, file: &KeyFile) {
        self.unreadable.retain(|id| file.keys.get(id).is_some_and(Entry::is_v1));
        let verifier = match &file.header {
            Header::V2 { verifier, .. } => Some((verifier.ciphertext.salt, verifier.iterations)),
            Header::V1 { .. } => None,
        };
        self.derived.retain(|known, _| {
            Some(*known) == verifier
                || file.keys.values().any(|entry| {
                    entry.ciphertext().is_some_and(|ciphertext| ciphertext.salt == known.0)
                        && entry.iterations() == known.1
                })
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::vault::tests::{at, entry, id, secret};

    #[test]
    fn swapped_ciphertext_does_not_open_without_seal_check() {
        let mut writer = Session::new(secret("password"));
        let mut ciphertext = |name: &str| {
            let label = entry(name, &[]).into_label(Iterations::MIN, at(1));
            writer.encrypt(label, Iterations::MIN, &secret("sk")).unwrap()
        };
        let (mut one, mut two) = (ciphertext("a"), ciphertext("b"));
        let (Entry::V2 { ciphertext: first, .. }, Entry::V2 { ciphertext: second, .. }) =
            (&mut one, &mut two)
        else {
            panic!("what is written now is of version 2");
        };
        std::mem::swap(first, second);
        for (name, entry) in [("a", one), ("b", two)] {
            assert!(matches!(writer.open(&id(name), &entry), Err(VaultError::Unreadable { .. })), "{name}");
        }
    }

    #[test]
    fn key_is_derived_once_and_wiped_with_its_entry() {
        let mut writer = Session::new(secret("password"));
        let label = entry("a", &[]).into_label(Iterations::MIN, at(1));
        let ciphertext = writer.encrypt(label, Iterations::MIN, &secret("sk-a")).unwrap();
        let mut reader = Session::new(secret("password"));
        assert!(reader.derived.is_empty());
        for _ in 0..3 {
            reader.open(&id("a"), &ciphertext).unwrap();
            assert_eq!(reader.derived.len(), 1);
        }
        let mut file =
            KeyFile { header: Header::V1 { check: None }, keys: BTreeMap::from([(id("a"), ciphertext)]) };
        reader.retain_keys_of(&file);
        assert_eq!(reader.derived.len(), 1);
        file.keys.clear();
        reader.retain_keys_of(&file);
        assert!(reader.derived.is_empty());
    }
}
