//! Rewrap beside an open vault, export and import, on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::vault::tests::{PASSWORD, TestDir, at, entry, id, secret, test_dir, value};
use crate::{ForeignKeyFile, Iterations, OnConflict, UnlockOutcome, Vault, VaultError};
use arbiter_core::kernel::ids::KeyId;
use secrecy::ExposeSecret;

/// Creates a vault with the keys `a` (bound to `x`) and `b`, then reopens it with more rounds.
fn outdated(test_dir: &TestDir) -> Vault {
    let mut vault = test_dir.created();
    vault.create(entry("a", &["x"]), secret("sk-a"), at(1)).unwrap();
    vault.create(entry("b", &[]), secret("sk-b"), at(2)).unwrap();
    let mut vault = Vault::open(test_dir.path.clone(), Iterations::try_from(110_000).unwrap()).unwrap();
    vault.unlock(secret(PASSWORD)).unwrap();
    vault
}

fn ids(names: &[&str]) -> Vec<KeyId> {
    names.iter().map(|name| id(name)).collect()
}

#[test]
fn vault_is_usable_and_changeable_during_rewrap() {
    let test_dir = test_dir();
    let mut vault = outdated(&test_dir);
    let before = vault.generation();
    let mut rewrite = vault.begin_rewrap().unwrap().unwrap();
    assert_eq!(value(&mut vault, "b"), "sk-b");
    rewrite.run(at(3)).unwrap();
    vault.replace(&id("b"), secret("sk-new"), at(4)).unwrap();
    vault.create(entry("c", &[]), secret("sk-c"), at(5)).unwrap();
    let written = vault.install(rewrite).unwrap();
    assert_eq!(written.len(), 1, "what has changed since keeps its change");
    assert_eq!(written[0].before.as_ref().unwrap().iterations, 100_000);
    assert_eq!((written[0].id.as_str(), written[0].after.iterations), ("a", 110_000));
    assert_eq!(vault.generation(), before + 3, "one replacement");
    for mut vault in [vault, test_dir.reopened()] {
        assert_eq!((value(&mut vault, "b"), value(&mut vault, "c")), ("sk-new".into(), "sk-c".into()));
        assert_eq!(vault.get(&id("a"), Some("x")).unwrap().expose_secret(), "sk-a");
    }
}

#[test]
fn verifier_of_few_rounds_is_renewed_without_entries() {
    let test_dir = test_dir();
    test_dir.created();
    let mut vault = Vault::open(test_dir.path.clone(), Iterations::try_from(110_000).unwrap()).unwrap();
    vault.unlock(secret(PASSWORD)).unwrap();
    assert_eq!(vault.rewrap(at(1)).unwrap(), 0);
    assert_eq!(test_dir.json()["verifier"]["kdf"]["iterations"], 110_000);
    assert!(vault.begin_rewrap().unwrap().is_none());
    test_dir.reopened();
}

#[test]
fn rewrite_begun_before_a_lock_is_superseded() {
    let test_dir = test_dir();
    let mut vault = outdated(&test_dir);
    let mut waiting = vault.begin_rewrap().unwrap().unwrap();
    let mut done = vault.begin_rewrap().unwrap().unwrap();
    done.run(at(3)).unwrap();
    vault.lock();
    assert!(matches!(waiting.run(at(3)), Err(VaultError::Superseded)));
    vault.unlock(secret(PASSWORD)).unwrap();
    let bytes = test_dir.bytes();
    assert!(matches!(vault.install(done), Err(VaultError::Superseded)));
    assert_eq!(test_dir.bytes(), bytes);
}

#[test]
fn export_is_a_vault_with_only_the_chosen_keys() {
    let (here, there) = (test_dir(), test_dir());
    let vault = outdated(&here);
    let before = here.bytes();
    assert!(matches!(vault.begin_export(secret("no"), None, None), Err(VaultError::WrongPassword)));
    let unknown = vault.begin_export(secret(PASSWORD), None, Some(&ids(&["a", "z"])));
    assert!(matches!(unknown, Err(VaultError::NotFound(z)) if z == id("z")));
    let mut export =
        vault.begin_export(secret(PASSWORD), Some(secret("elsewhere")), Some(&ids(&["a"]))).unwrap();
    export.run(at(9)).unwrap();
    there.put(&export.into_file().unwrap());
    assert_eq!(here.bytes(), before);
    let mut other = there.open();
    assert!(matches!(other.unlock(secret(PASSWORD)), Err(VaultError::WrongPassword)));
    assert_eq!(other.unlock(secret("elsewhere")).unwrap(), UnlockOutcome::Opened { unreadable: vec![] });
    let shown = other.entries();
    assert_eq!((shown.len(), shown[0].iterations, shown[0].updated_at), (1, 110_000, at(1)));
    assert_eq!(other.get(&id("a"), Some("x")).unwrap().expose_secret(), "sk-a");
    assert!(matches!(other.get(&id("a"), Some("y")), Err(VaultError::HostRefused { .. })));
    other.create(entry("n", &[]), secret("sk-n"), at(10)).unwrap();
}

#[test]
fn import_refuses_skips_or_replaces_existing_ids() {
    let (here, there) = (test_dir(), test_dir());
    let source = outdated(&here);
    let mut export = source.begin_export(secret(PASSWORD), Some(secret("their password")), None).unwrap();
    export.run(at(9)).unwrap();
    let file = export.into_file().unwrap();
    let mut vault = there.created();
    vault.create(entry("b", &[]), secret("sk-mine"), at(3)).unwrap();
    let before = there.bytes();
    let is_active = std::sync::atomic::AtomicBool::new(true);
    let open = |file: &[u8], password| ForeignKeyFile::open(file, secret(password), &is_active);
    let begin = |vault: &Vault, how| vault.begin_import(open(&file, "their password").unwrap(), how);
    assert!(
        matches!(begin(&vault, OnConflict::Refuse), Err(VaultError::Taken(taken)) if taken == ids(&["b"]))
    );
    let wrong = open(&file, "no");
    assert!(matches!(wrong, Err(VaultError::WrongPassword)));
    let none = open(b"sk-canary", "no").err().unwrap();
    assert!(matches!(&none, VaultError::NotAKeyFile { .. }) && !none.to_string().contains("canary"));
    assert_eq!(there.bytes(), before);

    let generation = vault.generation();
    let mut import = begin(&vault, OnConflict::Skip).unwrap();
    import.run(at(11)).unwrap();
    assert_eq!(import.skipped(), ids(&["b"]));
    assert_eq!(vault.install(import).unwrap().len(), 1);
    assert_eq!((vault.generation(), value(&mut vault, "b").as_str()), (generation + 1, "sk-mine"));
    assert_eq!(vault.get(&id("a"), Some("x")).unwrap().expose_secret(), "sk-a");

    let mut import = begin(&vault, OnConflict::Replace).unwrap();
    import.run(at(12)).unwrap();
    let written = vault.install(import).unwrap();
    assert!(written.iter().all(|one| one.before.is_some() && one.after.iterations == 100_000));
    let mut vault = there.reopened();
    assert_eq!(value(&mut vault, "b"), "sk-b");
}
