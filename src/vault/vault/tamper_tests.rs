//! What happens to a file that was damaged or meddled with.
//!
//! Owns the exhaustive tries: every truncation, every flipped bit, swapped entries. Must not spend one
//! derivation per try, so keys are derived once and remembered by salt and rounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::cipher::{self, DerivedKey};
use crate::vault::tests::{PASSWORD, Place, at, entry, id, place, secret, value};
use crate::{EntryInfo, Iterations, Unlock, Vault, VaultError};
use proptest::prelude::*;
use secrecy::SecretString;
use std::{collections::HashMap, fs};

/// The keys the untouched file needs. A meddled salt or cost leads to another key, and any will do.
struct Memory(HashMap<(Vec<u8>, Iterations), Vec<u8>>);

impl Memory {
    fn of(place: &Place) -> Self {
        let mut known = HashMap::new();
        let mut derive = |password: &SecretString, salt: &[u8], iterations| {
            let key = cipher::derive(password, salt, iterations);
            known.insert((salt.to_vec(), iterations), key.as_bytes().to_vec());
            key
        };
        place.open().unlock_with(secret(PASSWORD), &mut derive).unwrap();
        Self(known)
    }

    fn unlock(&self, vault: &mut Vault) -> Result<Unlock, VaultError> {
        vault.unlock_with(secret(PASSWORD), &mut |_, salt, iterations| {
            let known = self.0.get(&(salt.to_vec(), iterations));
            known
                .map_or_else(|| DerivedKey::random().unwrap(), |key| DerivedKey::from_plaintext(key).unwrap())
        })
    }
}

/// Puts `bytes` in place and answers what a reader finds there; the file must not change by that.
fn found(place: &Place, memory: &Memory, bytes: &[u8]) -> Option<Vec<EntryInfo>> {
    fs::write(&place.path, bytes).unwrap();
    let opened = Vault::open(place.path.clone(), Iterations::MIN).and_then(|mut vault| {
        memory.unlock(&mut vault)?;
        Ok(vault.entries())
    });
    assert_eq!(fs::read(&place.path).unwrap(), bytes, "a reader changed the file");
    opened.ok()
}

fn filled() -> (Place, Vec<u8>, Vec<EntryInfo>) {
    let place = place();
    let mut vault = place.created();
    vault.create(entry("a", &["api.example"]), secret("sk-a"), at(1)).unwrap();
    vault.create(entry("b", &[]), secret("sk-b"), at(2)).unwrap();
    let bytes = place.bytes();
    (place, bytes, vault.entries())
}

#[test]
fn every_truncation_is_refused_or_loses_nothing() {
    let (place, whole, entries) = filled();
    let memory = Memory::of(&place);
    assert_eq!(found(&place, &memory, &whole), Some(entries.clone()));
    let mut opened = 0;
    for length in 0..whole.len() {
        if let Some(shown) = found(&place, &memory, &whole[..length]) {
            assert_eq!(shown, entries);
            opened += 1;
        }
    }
    assert_eq!(opened, 1, "only the last newline may be missing");
}

#[test]
fn every_flipped_bit_is_refused_or_changes_nothing() {
    let (place, whole, entries) = filled();
    let memory = Memory::of(&place);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some(shown) = found(&place, &memory, &bytes) {
            assert_eq!(shown, entries, "bit {bit}");
        }
    }
}

#[test]
fn two_swapped_entries_are_refused() {
    let (place, whole, _) = filled();
    let json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    // Only the ciphertexts, then all but the ids.
    for fields in
        [&["encrypted_data"][..], &["encrypted_data", "allowed_hosts", "name", "created_at", "updated_at"]]
    {
        let mut swapped = json.clone();
        for field in fields {
            swapped["keys"]["a"][field] = json["keys"]["b"][field].clone();
            swapped["keys"]["b"][field] = json["keys"]["a"][field].clone();
        }
        place.put(&serde_json::to_vec(&swapped).unwrap());
        assert!(matches!(place.open().unlock(secret(PASSWORD)), Err(VaultError::Corrupt { .. })));
    }
}

#[test]
fn an_entry_of_an_earlier_generation_is_refused() {
    let (place, whole, _) = filled();
    let mut vault = place.reopened();
    vault.replace(&id("a"), secret("sk-new"), at(9)).unwrap();
    let old: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    let mut mixed = place.json();
    mixed["keys"]["a"] = old["keys"]["a"].clone();
    place.put(&serde_json::to_vec(&mixed).unwrap());
    assert!(matches!(place.open().unlock(secret(PASSWORD)), Err(VaultError::Corrupt { .. })));
}

#[test]
fn a_file_written_otherwise_but_saying_the_same_opens() {
    let (place, whole, entries) = filled();
    let json: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    place.put(&serde_json::to_vec(&json).unwrap());
    let mut vault = place.reopened();
    assert_eq!(vault.entries(), entries);
    assert_eq!(value(&mut vault, "b"), "sk-b");
}

#[test]
fn unknown_fields_versions_and_costs_are_refused_before_any_password() {
    let (place, whole, _) = filled();
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
        place.put(&serde_json::to_vec(&json).unwrap());
        assert!(matches!(place.refused(), VaultError::Corrupt { .. }), "change {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back_under_any_id(texts in prop::collection::btree_map("\\PC{1,40}", "\\PC{0,200}", 1..5)) {
        let place = place();
        let mut vault = place.created();
        for (name, text) in &texts {
            vault.create(entry(name, &[]), secret(text), at(1)).unwrap();
        }
        let mut vault = place.reopened();
        for (name, text) in &texts {
            prop_assert_eq!(&value(&mut vault, name), text);
        }
    }
}
