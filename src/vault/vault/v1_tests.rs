//! Tests of v1 files: read, verified, and unchanged until they are written.
//!
//! The fixtures are built as the Go program builds them, without this package's writer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::vault::tests::{PASSWORD, at, entry, id, secret, test_dir, value};
use crate::{Iterations, UnlockOutcome, VaultError, VaultState, cipher};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Builds an entry as the Go program writes it: base64 of salt, nonce, ciphertext and tag, no associated data.
fn v1_entry(name: &str, password: &str, text: &str) -> Value {
    let (ciphertext, _) = cipher::encrypt(&secret(password), Iterations::MIN, text.as_bytes(), b"").unwrap();
    json!({
        "id": name,
        "name": "OpenAI",
        "description": "of the Go program",
        "encrypted_data": ciphertext.to_base64(),
        "created_at": "2025-01-02T03:04:05.123456789+01:00",
        "updated_at": "2025-01-02T03:04:05Z",
        "future": {"z": 1, "a": [true, null]},
    })
}

#[test]
fn v1_file_without_check_opens_by_an_entry_unchanged() {
    let test_dir = test_dir();
    let file = json!({"keys": {
        "my key/ä": v1_entry("my key/ä", PASSWORD, "sk-old"),
        "other": v1_entry("other", "another password", "sk-other"),
        "broken": {"id": "broken", "encrypted_data": "AAAA"},
    }});
    test_dir.put(&serde_json::to_vec(&file).unwrap());
    let before = test_dir.bytes();
    let mut vault = test_dir.open();
    assert_eq!(vault.state(), VaultState::Locked);
    assert!(matches!(vault.unlock(secret("no")), Err(VaultError::WrongPassword)));
    let unreadable = vec![id("broken"), id("other")];
    assert_eq!(
        vault.unlock(secret(PASSWORD)).unwrap(),
        UnlockOutcome::Opened { unreadable: unreadable.clone() }
    );
    assert_eq!(value(&mut vault, "my key/ä"), "sk-old");
    assert!(matches!(vault.get(&id("other"), None), Err(VaultError::Unreadable { .. })));
    let shown = &vault.entries()[1];
    assert_eq!((shown.version, shown.iterations, shown.purpose.as_str()), (1, 100_000, "provider"));
    assert_eq!(shown.created_at.to_string(), "2025-01-02T02:04:05.123Z");
    assert_eq!(test_dir.bytes(), before);

    // The first write makes it a version 2 file; untouched entries keep every field.
    vault.create(entry("new", &[]), secret("sk-new"), at(1)).unwrap();
    assert_eq!((test_dir.json()["version"].as_u64(), vault.generation()), (Some(2), 1));
    for name in ["my key/ä", "other", "broken"] {
        assert_eq!(test_dir.json()["keys"][name], file["keys"][name]);
    }
    let mut vault = test_dir.open();
    assert_eq!(vault.unlock(secret(PASSWORD)).unwrap(), UnlockOutcome::Opened { unreadable });
    assert_eq!((value(&mut vault, "my key/ä"), value(&mut vault, "new")), ("sk-old".into(), "sk-new".into()));
}

#[test]
fn rewrap_and_password_change_upgrade_readable_v1_entries() {
    let test_dir = test_dir();
    let other = v1_entry("other", "another password", "sk-other");
    let file = json!({"keys": {"a": v1_entry("a", PASSWORD, "sk-a"), "other": other}});
    test_dir.put(&serde_json::to_vec(&file).unwrap());
    let mut vault = test_dir.open();
    vault.unlock(secret(PASSWORD)).unwrap();
    assert_eq!((vault.rewrap(at(1)).unwrap(), vault.rewrap(at(1)).unwrap()), (1, 0));
    assert_eq!((vault.entries()[0].version, vault.entries()[1].version), (2, 1));
    vault.change_password(secret(PASSWORD), secret("new password"), Iterations::MIN, at(2)).unwrap();
    assert_eq!(test_dir.json()["keys"]["other"], other);
    let mut vault = test_dir.open();
    assert_eq!(
        vault.unlock(secret("new password")).unwrap(),
        UnlockOutcome::Opened { unreadable: vec![id("other")] }
    );
    assert_eq!(value(&mut vault, "a"), "sk-a");
    vault.replace(&id("other"), secret("sk-mine"), at(3)).unwrap();
    assert_eq!(value(&mut vault, "other"), "sk-mine");
    assert_eq!(vault.unlock(secret("new password")).unwrap(), UnlockOutcome::Opened { unreadable: vec![] });
}

#[test]
fn later_v1_form_is_checked_by_its_verifier_without_keys() {
    let test_dir = test_dir();
    let salt = [9_u8; 32];
    let hash = cipher::derive(&secret(PASSWORD), &salt, Iterations::MIN);
    let file = json!({
        "version": "1.0",
        "password_salt": STANDARD.encode(salt),
        "password_verify": STANDARD.encode(hash.as_bytes()),
        "keys": null,
    });
    test_dir.put(&serde_json::to_vec(&file).unwrap());
    let mut vault = test_dir.open();
    assert_eq!(vault.state(), VaultState::Locked);
    assert!(matches!(vault.unlock(secret("no")), Err(VaultError::WrongPassword)));
    assert_eq!(vault.unlock(secret(PASSWORD)).unwrap(), UnlockOutcome::Opened { unreadable: vec![] });
    vault.create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
    assert!(test_dir.json().get("password_verify").is_none());
    assert_eq!(value(&mut test_dir.reopened(), "a"), "sk-a");
}

#[test]
fn empty_v1_file_is_an_uninitialized_vault() {
    let test_dir = test_dir();
    test_dir.put(b"{\"keys\": {}}");
    assert_eq!(test_dir.open().state(), VaultState::Uninitialized);
    test_dir.created().create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
    assert_eq!(value(&mut test_dir.reopened(), "a"), "sk-a");
}
