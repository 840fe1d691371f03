//! Tests against key files from `tests/vectors/vault/make_v1.py`, a script in another language with its own
//! cryptographic library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::vault::tests::{id, secret, test_dir, value};
use crate::{UnlockOutcome, VaultError, VaultState};
use serde_json::Value;
use std::{fs, path::PathBuf};

fn vector(name: &str) -> Vec<u8> {
    let test_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/vault");
    fs::read(test_dir.join(name)).unwrap()
}

fn expected() -> Vec<(String, Value)> {
    let all: Value = serde_json::from_slice(&vector("expected.json")).unwrap();
    all.as_object().unwrap().clone().into_iter().collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[test]
fn go_program_file_opens_with_its_password_and_content() {
    let files = expected();
    assert_eq!(files.len(), 3);
    for (name, wanted) in files {
        let test_dir = test_dir();
        test_dir.put(&vector(&name));
        let mut vault = test_dir.open();
        assert_eq!(vault.state(), VaultState::Locked, "{name}");
        let unreadable = wanted["unreadable"].as_array().unwrap();
        let unreadable: Vec<_> = unreadable.iter().map(|name| id(name.as_str().unwrap())).collect();
        let opened = vault.unlock(secret(text(&wanted, "password"))).unwrap();
        assert_eq!(opened, UnlockOutcome::Opened { unreadable: unreadable.clone() }, "{name}");
        let entries = wanted["entries"].as_array().unwrap();
        assert_eq!(vault.entries().len(), entries.len() + unreadable.len(), "{name}");
        for entry in entries {
            let shown = vault.entries().into_iter().find(|info| info.id.as_str() == text(entry, "id"));
            let shown = shown.unwrap_or_else(|| panic!("{name}: {entry}"));
            assert_eq!(
                (shown.name.as_str(), shown.description.as_str()),
                (text(entry, "name"), text(entry, "description"))
            );
            assert_eq!(shown.created_at.to_string(), text(entry, "created_at"), "{entry}");
            assert_eq!(shown.updated_at.to_string(), text(entry, "updated_at"), "{entry}");
            assert_eq!(value(&mut vault, text(entry, "id")), text(entry, "value"));
        }
        for id in unreadable {
            assert!(matches!(vault.get(&id, None), Err(VaultError::Unreadable { .. })), "{name}");
        }
        assert_eq!(test_dir.bytes(), vector(&name), "{name}: reading changes nothing");
    }
}

#[test]
fn go_program_file_refuses_any_other_password() {
    for (name, _) in expected() {
        let test_dir = test_dir();
        test_dir.put(&vector(&name));
        for wrong in ["", "correct horse battery stapl", "correct horse battery staple\n"] {
            assert!(
                matches!(test_dir.open().unlock(secret(wrong)), Err(VaultError::WrongPassword)),
                "{name}"
            );
        }
    }
}
