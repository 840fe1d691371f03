//! Tests of [`crate::Vault`] on real files, with the fixtures of the other test files.
//!
//! These tests use only the public API and the bytes on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::{Iterations, NewEntry, UnlockOutcome, Vault, VaultError, VaultState};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A data directory of mode 0700 that is removed after the test.
pub(crate) struct TestDir {
    pub(crate) directory: TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn test_dir() -> TestDir {
    let directory = crate::permissions::private_directory();
    let path = directory.path().join("keys.json");
    TestDir { directory, path }
}

impl TestDir {
    pub(crate) fn open(&self) -> Vault {
        Vault::open(self.path.clone(), Iterations::MIN).unwrap()
    }

    pub(crate) fn refused(&self) -> VaultError {
        Vault::open(self.path.clone(), Iterations::MIN).expect_err("refused")
    }

    pub(crate) fn created(&self) -> Vault {
        let mut vault = self.open();
        assert_eq!(vault.unlock(secret(PASSWORD)).unwrap(), UnlockOutcome::Created);
        vault
    }

    pub(crate) fn reopened(&self) -> Vault {
        let mut vault = self.open();
        assert_eq!(vault.unlock(secret(PASSWORD)).unwrap(), UnlockOutcome::Opened { unreadable: vec![] });
        vault
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }

    /// Writes a file with the mode of a key file.
    pub(crate) fn put(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).unwrap();
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let listing = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> =
            listing.map(|found| found.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

pub(crate) fn id(text: &str) -> KeyId {
    KeyId::from_trusted(text)
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub(crate) fn entry(name: &str, hosts: &[&str]) -> NewEntry {
    NewEntry {
        id: id(name),
        name: format!("name of {name}"),
        description: String::new(),
        purpose: "provider".to_owned(),
        allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    }
}

pub(crate) fn value(vault: &mut Vault, name: &str) -> String {
    vault.get(&id(name), None).unwrap().expose_secret().to_owned()
}

#[test]
fn first_password_creates_the_vault_and_later_opens_it() {
    let test_dir = test_dir();
    let mut vault = test_dir.open();
    assert_eq!(vault.state(), VaultState::Uninitialized);
    assert!(matches!(vault.unlock(secret("")), Err(VaultError::ShortPassword)));
    assert!(!test_dir.path.exists());
    assert_eq!(vault.unlock(secret(PASSWORD)).unwrap(), UnlockOutcome::Created);
    assert_eq!((vault.state(), vault.generation()), (VaultState::Unlocked, 1));
    vault.create(entry("a", &[]), secret("sk-a"), at(5)).unwrap();
    assert_eq!(value(&mut vault, "a"), "sk-a");

    let mut vault = test_dir.open();
    assert_eq!(vault.state(), VaultState::Locked);
    assert_eq!(vault.unlock(secret(PASSWORD)).unwrap(), UnlockOutcome::Opened { unreadable: vec![] });
    assert_eq!((value(&mut vault, "a").as_str(), vault.generation()), ("sk-a", 2));
}

#[test]
fn wrong_password_writes_nothing_and_stays_locked() {
    let test_dir = test_dir();
    test_dir.created().create(entry("a", &[]), secret("sk-a"), at(5)).unwrap();
    let (before, names) = (test_dir.bytes(), test_dir.names());
    let mut vault = test_dir.open();
    for wrong in ["", "Correct horse battery staple", "correct horse battery staple "] {
        assert!(matches!(vault.unlock(secret(wrong)), Err(VaultError::WrongPassword)));
        assert_eq!(vault.state(), VaultState::Locked);
    }
    assert_eq!((test_dir.bytes(), test_dir.names()), (before, names));
    vault.unlock(secret(PASSWORD)).unwrap();
    assert!(matches!(vault.unlock(secret("no")), Err(VaultError::WrongPassword)));
    assert_eq!(vault.state(), VaultState::Unlocked);
}

#[test]
fn locked_vault_only_lists_its_entries() {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("b", &["API.example"]), secret("sk-b"), at(7)).unwrap();
    vault.create(entry("a", &[]), secret("sk-a"), at(8)).unwrap();
    vault.lock();
    let shown = vault.entries();
    assert_eq!(shown.iter().map(|info| info.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(shown[1].allowed_hosts, ["api.example"]);
    assert_eq!((shown[1].version, shown[1].iterations, shown[1].created_at), (2, 100_000, at(7)));
    assert!(matches!(vault.get(&id("a"), None), Err(VaultError::Locked)));
    assert!(matches!(vault.create(entry("c", &[]), secret("x"), at(9)), Err(VaultError::Locked)));
    assert!(matches!(vault.replace(&id("a"), secret("x"), at(9)), Err(VaultError::Locked)));
    assert!(matches!(vault.delete(&id("a")), Err(VaultError::Locked)));
    assert!(matches!(vault.rewrap(at(9)), Err(VaultError::Locked)));
    let changed = vault.change_password(secret(PASSWORD), secret("x"), Iterations::MIN, at(9));
    assert!(matches!(changed, Err(VaultError::Locked)));
}

#[test]
fn create_never_overwrites_and_missing_id_is_not_found() {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("a", &[]), secret("one"), at(1)).unwrap();
    assert!(
        matches!(vault.create(entry("a", &[]), secret("two"), at(2)), Err(VaultError::Exists(name)) if name == id("a"))
    );
    assert_eq!(value(&mut vault, "a"), "one");
    assert!(matches!(vault.get(&id("b"), None), Err(VaultError::NotFound(_))));
    assert!(matches!(vault.replace(&id("b"), secret("x"), at(3)), Err(VaultError::NotFound(_))));
    assert!(matches!(vault.delete(&id("b")), Err(VaultError::NotFound(_))));
    vault.delete(&id("a")).unwrap();
    assert!(vault.entries().is_empty() && test_dir.reopened().entries().is_empty());
}

#[test]
fn replaced_key_keeps_its_fields_with_fresh_salt_and_nonce() {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("a", &[]), secret("same"), at(1)).unwrap();
    let head = || test_dir.json()["keys"]["a"]["encrypted_data"].as_str().unwrap().to_owned();
    // In base64, 32 bytes of salt take 43 characters, 44 with the nonce 60.
    let mut seen = vec![head()];
    for turn in 2..5 {
        vault.replace(&id("a"), secret("same"), at(turn)).unwrap();
        let now = head();
        assert!(seen.iter().all(|before| before[..42] != now[..42] && before[43..59] != now[43..59]));
        seen.push(now);
    }
    let shown = &vault.entries()[0];
    assert_eq!((shown.created_at, shown.updated_at, shown.name.as_str()), (at(1), at(4), "name of a"));
    assert_eq!(value(&mut vault, "a"), "same");
    assert_eq!(value(&mut test_dir.reopened(), "a"), "same");
}

#[test]
fn key_bound_to_hosts_is_refused_for_other_hosts() {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("a", &["api.openai.com"]), secret("sk-a"), at(1)).unwrap();
    assert_eq!(vault.get(&id("a"), Some("API.openai.com")).unwrap().expose_secret(), "sk-a");
    for host in [None, Some("evil.example"), Some("")] {
        assert!(matches!(vault.get(&id("a"), host), Err(VaultError::HostRefused { .. })));
    }
}

#[test]
fn changed_password_opens_all_and_the_old_one_nothing() {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("a", &["x"]), secret("sk-a"), at(1)).unwrap();
    vault.create(entry("b", &[]), secret("sk-b"), at(2)).unwrap();
    let before = test_dir.bytes();
    let more = Iterations::try_from(110_000).unwrap();
    let wrong = vault.change_password(secret("no"), secret("new password"), more, at(3));
    assert!(matches!(wrong, Err(VaultError::WrongPassword)));
    let empty = vault.change_password(secret(PASSWORD), secret(""), more, at(3));
    assert!(matches!(empty, Err(VaultError::ShortPassword)));
    assert_eq!(test_dir.bytes(), before);

    let generation = vault.generation();
    vault.change_password(secret(PASSWORD), secret("new password"), more, at(3)).unwrap();
    assert_eq!(vault.generation(), generation + 1, "one replacement");
    assert_eq!(value(&mut vault, "b"), "sk-b");
    vault.create(entry("c", &[]), secret("sk-c"), at(4)).unwrap();
    assert!(vault.entries().iter().all(|info| info.iterations == 110_000));
    let mut vault = test_dir.open();
    assert!(matches!(vault.unlock(secret(PASSWORD)), Err(VaultError::WrongPassword)));
    vault.unlock(secret("new password")).unwrap();
    assert_eq!(vault.get(&id("a"), Some("x")).unwrap().expose_secret(), "sk-a");
}

#[test]
fn higher_configured_cost_rewraps_lower_entries_once() {
    let test_dir = test_dir();
    test_dir.created().create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
    let mut vault = Vault::open(test_dir.path.clone(), Iterations::try_from(120_000).unwrap()).unwrap();
    vault.unlock(secret(PASSWORD)).unwrap();
    assert_eq!((vault.rewrap(at(2)).unwrap(), vault.rewrap(at(3)).unwrap()), (1, 0));
    assert_eq!(vault.entries()[0].iterations, 120_000);
    assert_eq!(value(&mut test_dir.reopened(), "a"), "sk-a");
}

#[test]
fn file_changed_by_another_program_is_not_overwritten() {
    let test_dir = test_dir();
    let mut ours = test_dir.created();
    test_dir.reopened().create(entry("theirs", &[]), secret("sk"), at(1)).unwrap();
    let theirs = test_dir.bytes();
    assert!(matches!(ours.create(entry("ours", &[]), secret("sk"), at(2)), Err(VaultError::Changed { .. })));
    assert!(matches!(ours.create(entry("ours", &[]), secret("sk"), at(2)), Err(VaultError::Changed { .. })));
    assert_eq!(test_dir.bytes(), theirs);
    assert!(ours.entries().is_empty());
    ours.lock();
    ours.unlock(secret(PASSWORD)).unwrap();
    ours.create(entry("ours", &[]), secret("sk"), at(3)).unwrap();
    assert_eq!(ours.entries().len(), 2);
    fs::remove_file(&test_dir.path).unwrap();
    ours.lock();
    assert!(matches!(ours.unlock(secret(PASSWORD)), Err(VaultError::Missing { .. })));
    assert!(!test_dir.path.exists());
}

#[test]
fn missing_file_that_was_there_is_no_new_vault() {
    let test_dir = test_dir();
    let mut vault = test_dir.open();
    assert_eq!((vault.state(), vault.is_missing()), (VaultState::Uninitialized, false));
    vault.require_file();
    assert_eq!((vault.state(), vault.is_missing()), (VaultState::Locked, true));
    assert!(matches!(vault.unlock(secret(PASSWORD)), Err(VaultError::Missing { .. })));
    assert!(!test_dir.path.exists());

    // A backup tells as much, and is what the file is put back from.
    let mut vault = test_dir.created();
    vault.create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
    vault.create(entry("b", &[]), secret("sk-b"), at(1)).unwrap();
    fs::remove_file(&test_dir.path).unwrap();
    let backup = fs::read(test_dir.directory.path().join("keys.json.bak")).unwrap();
    let mut vault = test_dir.open();
    assert!(vault.is_missing());
    assert!(matches!(vault.unlock(secret("another password")), Err(VaultError::Missing { .. })));
    assert_eq!(test_dir.names(), ["keys.json.bak"]);
    test_dir.put(&backup);
    vault.unlock(secret(PASSWORD)).unwrap();
    assert_eq!((vault.state(), vault.is_missing()), (VaultState::Unlocked, false));
    assert_eq!(value(&mut vault, "a"), "sk-a");
}

#[test]
fn file_is_private_and_its_predecessor_is_kept() {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
    let before = test_dir.bytes();
    vault.delete(&id("a")).unwrap();
    assert_eq!(test_dir.names(), ["keys.json", "keys.json.bak"]);
    assert_eq!(fs::read(test_dir.directory.path().join("keys.json.bak")).unwrap(), before);
    for name in test_dir.names() {
        let mode = fs::metadata(test_dir.directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}

#[test]
fn neither_debug_nor_errors_show_a_secret() {
    let test_dir = test_dir();
    let mut vault = test_dir.created();
    vault.create(entry("a", &["x"]), secret("sk-canary"), at(1)).unwrap();
    let unlocked = format!("{vault:?} {vault:#?}");
    let refused = vault.get(&id("a"), Some("y")).unwrap_err();
    let wrong = vault.unlock(secret("wrong-canary")).unwrap_err();
    let shown = format!("{unlocked} {refused:?} {refused} {wrong:?} {wrong} {:?}", vault.entries());
    for hidden in [PASSWORD, "canary", test_dir.json()["keys"]["a"]["encrypted_data"].as_str().unwrap()] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(unlocked.contains("Unlocked"));
    let plain = String::from_utf8(test_dir.bytes()).unwrap();
    assert!(!plain.contains("canary") && !plain.contains(PASSWORD));
}
