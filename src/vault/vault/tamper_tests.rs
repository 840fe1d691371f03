//! Tests of damaged and manipulated files.
//!
//! Covers every truncation, every flipped bit and swapped entries. Keys are derived once and cached by salt and
//! rounds, because a derivation per case would be too slow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::cipher::{self, DerivedKey};
use crate::vault::tests::{PASSWORD, TestDir, at, entry, id, secret, test_dir, value};
use crate::{EntryInfo, Iterations, UnlockOutcome, Vault, VaultError};
use proptest::prelude::*;
use secrecy::SecretString;
use std::{collections::HashMap, fs};

/// Keys of the original file. A manipulated salt or cost gets any other key.
struct DerivedKeyCache(HashMap<(Vec<u8>, Iterations), Vec<u8>>);

impl DerivedKeyCache {
    fn of(test_dir: &TestDir) -> Self {
        let mut known = HashMap::new();
        let mut derive = |password: &SecretString, salt: &[u8], iterations| {
            let key = cipher::derive(password, salt, iterations);
            known.insert((salt.to_vec(), iterations), key.as_bytes().to_vec());
            key
        };
        test_dir.open().unlock_with(secret(PASSWORD), &mut derive).unwrap();
        Self(known)
    }

    fn unlock(&self, vault: &mut Vault) -> Result<UnlockOutcome, VaultError> {
        vault.unlock_with(secret(PASSWORD), &mut |_, salt, iterations| {
            let known = self.0.get(&(salt.to_vec(), iterations));
            known
                .map_or_else(|| DerivedKey::random().unwrap(), |key| DerivedKey::from_plaintext(key).unwrap())
        })
    }
}

/// Puts `bytes` in place and returns the entries a reader finds; reading must not change the file.
fn entries_read(test_dir: &TestDir, cache: &DerivedKeyCache, bytes: &[u8]) -> Option<Vec<EntryInfo>> {
    fs::write(&test_dir.path, bytes).unwrap();
    let opened = Vault::open(test_dir.path.clone(), Iterations::MIN).and_then(|mut vault| {
        cache.unlock(&mut vault)?;
        Ok(vault.entries())
    });
    assert_eq!(fs::read(&test_dir.path).unwrap(), bytes, "a reader changed the file");
    opened.ok()
}

fn vault_with_entries() -> (TestDir, Vec<u8>, Vec<EntryInfo>) {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("a", &["api.example"]), secret("sk-a"), at(1)).unwrap();
    vault.create(entry("b", &[]), secret("sk-b"), at(2)).unwrap();
    let bytes = test_dir.bytes();
    (test_dir, bytes, vault.entries())
}

#[test]
fn truncated_file_is_refused_or_loses_nothing() {
    let (test_dir, whole, entries) = vault_with_entries();
    let cache = DerivedKeyCache::of(&test_dir);
    assert_eq!(entries_read(&test_dir, &cache, &whole), Some(entries.clone()));
    let mut opened = 0;
    for length in 0..whole.len() {
        if let Some(shown) = entries_read(&test_dir, &cache, &whole[..length]) {
            assert_eq!(shown, entries);
            opened += 1;
        }
    }
    assert_eq!(opened, 1, "only the last newline may be missing");
}

#[test]
fn flipped_bit_is_refused_or_changes_nothing() {
    let (test_dir, whole, entries) = vault_with_entries();
    let cache = DerivedKeyCache::of(&test_dir);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some(shown) = entries_read(&test_dir, &cache, &bytes) {
            assert_eq!(shown, entries, "bit {bit}");
        }
    }
}

#[test]
fn swapped_entries_are_refused() {
    let (test_dir, whole, _) = vault_with_entries();
    let json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    // Only the ciphertexts first, then all fields but the ids.
    for fields in
        [&["encrypted_data"][..], &["encrypted_data", "allowed_hosts", "name", "created_at", "updated_at"]]
    {
        let mut swapped = json.clone();
        for field in fields {
            swapped["keys"]["a"][field] = json["keys"]["b"][field].clone();
            swapped["keys"]["b"][field] = json["keys"]["a"][field].clone();
        }
        test_dir.put(&serde_json::to_vec(&swapped).unwrap());
        assert!(matches!(test_dir.open().unlock(secret(PASSWORD)), Err(VaultError::Corrupt { .. })));
    }
}

#[test]
fn entry_of_an_earlier_generation_is_refused() {
    let (test_dir, whole, _) = vault_with_entries();
    let mut vault = test_dir.reopened();
    vault.replace(&id("a"), secret("sk-new"), at(9)).unwrap();
    let old: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    let mut mixed = test_dir.json();
    mixed["keys"]["a"] = old["keys"]["a"].clone();
    test_dir.put(&serde_json::to_vec(&mixed).unwrap());
    assert!(matches!(test_dir.open().unlock(secret(PASSWORD)), Err(VaultError::Corrupt { .. })));
}

#[test]
fn reformatted_file_with_same_content_opens() {
    let (test_dir, whole, entries) = vault_with_entries();
    let json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    test_dir.put(&serde_json::to_vec(&json).unwrap());
    let mut vault = test_dir.reopened();
    assert_eq!(vault.entries(), entries);
    assert_eq!(value(&mut vault, "b"), "sk-b");
}

#[test]
fn unknown_fields_versions_and_costs_are_refused_when_locked() {
    let (test_dir, whole, _) = vault_with_entries();
    let changes: [fn(&mut serde_json::Value); 8] = [
        |file| file["new"] = 1.into(),
        |file| file["version"] = 3.into(),
        |file| file["verifier"]["kdf"]["iterations"] = 99_999.into(),
        |file| file["keys"]["a"]["new"] = 1.into(),
        |file| file["keys"]["a"]["version"] = 3.into(),
        |file| file["keys"]["a"]["id"] = "b".into(),
        |file| file["keys"]["a"]["kdf"]["iterations"] = 4_000_000_000_u32.into(),
        |file| file["keys"]["a"]["encrypted_data"] = "AAAA".into(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        change(&mut json);
        test_dir.put(&serde_json::to_vec(&json).unwrap());
        assert!(matches!(test_dir.refused(), VaultError::Corrupt { .. }), "change {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_round_trips_under_any_id(texts in prop::collection::btree_map("\\PC{1,40}", "\\PC{0,200}", 1..5)) {
        let test_dir = test_dir();
        let mut vault = test_dir.created();
        for (name, text) in &texts {
            vault.create(entry(name, &[]), secret(text), at(1)).unwrap();
        }
        let mut vault = test_dir.reopened();
        for (name, text) in &texts {
            prop_assert_eq!(&value(&mut vault, name), text);
        }
    }
}
