//! Secrets of an unlocked vault: the password, the seal key and the derived keys.
//!
//! Owns every secret between unlock and lock, and wipes them on drop. Must not know the disk, nor decide which
//! entry may be sent to which host.

use crate::{
    Iterations, VaultError,
    cipher::{self, DerivedKey, Salt},
    entry::{Entry, Label},
    format::{Header, KeyFile, Verifier},
    password,
};
use arbiter_core::kernel::ids::KeyId;
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Key derivation: [`cipher::derive`], except in tests that open one file ten thousand times.
pub(crate) type DeriveFn<'a> = &'a mut dyn FnMut(&SecretString, &[u8], Iterations) -> DerivedKey;

/// Secrets of one unlocked vault. Deliberately neither `Debug` nor `Clone`.
pub(crate) struct Session {
    password: SecretString,
    /// `None` until a v1 file is first written.
    seal_key: Option<DerivedKey>,
    /// Derived keys by salt and rounds, so that an entry's earlier ciphertext never shares a key.
    derived: BTreeMap<(Salt, Iterations), DerivedKey>,
    unreadable: Vec<KeyId>,
}

impl Session {
    /// Creates a session with an unchecked password.
    pub(crate) fn new(password: SecretString) -> Self {
        Self { password, seal_key: None, derived: BTreeMap::new(), unreadable: Vec::new() }
    }

    /// Creates a session if the password, in one of its forms, is the file's and the seal is valid. Costs one
    /// derivation for each form, and one more for each v1 entry.
    pub(crate) fn authenticate(
        file: &KeyFile,
        path: &Path,
        password: SecretString,
        derive: DeriveFn<'_>,
    ) -> Result<Self, VaultError> {
        Self::authenticate_while(file, path, password, derive, None)
    }

    /// Does the same as [`Session::authenticate`], but stops reading v1 entries once `is_active` is false.
    pub(crate) fn authenticate_while(
        file: &KeyFile,
        path: &Path,
        password: SecretString,
        derive: DeriveFn<'_>,
        is_active: Option<&AtomicBool>,
    ) -> Result<Self, VaultError> {
        let mut outcome = Err(VaultError::WrongPassword);
        for form in password::forms(&password) {
            outcome = Self::authenticate_form(file, path, form, &mut *derive, is_active);
            if !matches!(outcome, Err(VaultError::WrongPassword)) {
                break;
            }
        }
        outcome
    }

    fn authenticate_form(
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

    /// Decrypts each v1 entry once, keeps the keys that work and records the entries that fail.
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

    /// Returns the v1 entries that the password does not decrypt.
    pub(crate) fn unreadable(&self) -> &[KeyId] {
        &self.unreadable
    }

    /// Returns the password, for re-encryption of all entries.
    pub(crate) fn password(&self) -> SecretString {
        self.password.clone()
    }

    /// Generates a new seal key and the verifier that holds it.
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

    /// Computes the seal of the file in its current state.
    pub(crate) fn seal(&self, file: &mut KeyFile) {
        let tag = match (&self.seal_key, file.sealed_bytes()) {
            (Some(key), Ok(bytes)) => key.authenticate(&bytes),
            // Without a seal key or a v2 header there is nothing to seal; the read-back refuses such a file.
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

    /// Returns whether a file to install can be opened: verifier, seal, and every entry with a cached key.
    pub(crate) fn can_open(&self, file: &KeyFile) -> bool {
        let Header::V2 { verifier, .. } = &file.header else { return false };
        let entries_open = file.keys.values().all(|entry| {
            let Some(ciphertext) = entry.ciphertext() else { return true };
            let key = self.derived.get(&(ciphertext.salt, entry.iterations()));
            key.is_none_or(|key| cipher::decrypt(key, ciphertext, &entry.associated_data()).is_some())
        });
        entries_open && self.is_seal_of(file) && self.seal_key_of(verifier).is_some()
    }

    /// Decrypts the secret of an entry. Only the first call for an entry derives its key.
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

    /// Encrypts `value` with this label under a fresh salt and nonce.
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

    /// Takes over the derived keys of another session. Keys of other ciphertexts are never looked up.
    pub(crate) fn merge_derived_keys(&mut self, mut other: Self) {
        for (salt, key) in std::mem::take(&mut other.derived) {
            self.derived.entry(salt).or_insert(key);
        }
    }

    /// Records an entry that is copied without being decrypted.
    pub(crate) fn note_unreadable(&mut self, id: KeyId) {
        self.unreadable.push(id);
    }

    /// Wipes the keys that no entry of the file uses.
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
