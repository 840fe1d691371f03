//! Python programs of other authors: official clients, and a provider.
//!
//! `tests/install-python` makes their environment, with exact versions.

use crate::harness::program::{self, ProgramOutput};
use crate::tidy::root;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Where the environment with these requirements lies.
fn environment() -> PathBuf {
    let requirements = std::fs::read(root().join("tests/python/requirements.txt")).unwrap();
    let mut hash = String::new();
    for byte in &Sha256::digest(&requirements)[..8] {
        write!(hash, "{byte:02x}").unwrap();
    }
    // An empty variable is none, as the script has it.
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty());
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    named.map_or_else(home, PathBuf::from).join("arbiter").join(format!("python-{hash}"))
}

/// A program of the environment, such as `python`.
pub fn installed(name: &str) -> PathBuf {
    let environment = environment();
    let is_whole = environment.join("whole").exists();
    assert!(is_whole, "no Python environment at {}: run tests/install-python", environment.display());
    environment.join("bin").join(name)
}

/// Runs a script of `tests/python` with these variables alone, and returns what it prints, as JSON.
pub async fn run(script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed("python"));
    // Neither a proxy nor a key in the user's environment interferes.
    command.env_clear().env("HOME", home.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(variables.iter().copied());
    command.arg(root().join("tests/python").join(script)).args(arguments);
    let ended = program::run(command, "").await;
    let ProgramOutput { code, stdout, stderr } = &ended;
    assert_eq!(*code, Some(0), "{script} {arguments:?} failed:\n{stderr}");
    serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{script}: {error}: {stdout}"))
}

/// Stands for Python: makes environments whose Python is itself, and installs nothing; or fails to.
const STUB: &str = r#"#!/bin/sh
echo "$*" >> "$HOME/calls"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*" install "*) test ! -e "$HOME/broken" ;;
esac
"#;

#[test]
fn python_environment_is_rebuilt_if_unfinished_else_reused() {
    let home = tempfile::tempdir().unwrap();
    let (stub, broken) = (home.path().join("stub"), home.path().join("broken"));
    std::fs::write(&stub, STUB).unwrap();
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let install = || {
        let mut command = Command::new(root().join("tests/install-python"));
        command.env("HOME", home.path()).env("XDG_CACHE_HOME", home.path()).env("PYTHON", &stub);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let name = environment();
    let place = home.path().join("arbiter").join(name.file_name().unwrap());
    std::fs::write(&broken, "").unwrap();
    assert_eq!(install(), (Some(1), String::new()));
    assert!(place.join("bin/python").exists() && !place.join("whole").exists());
    std::fs::write(place.join("rest"), "").unwrap();
    std::fs::remove_file(&broken).unwrap();
    let made = (Some(0), format!("{}\n", place.join("bin/python").display()));
    assert_eq!(install(), made);
    assert!(place.join("whole").exists() && !place.join("rest").exists());
    let calls = || std::fs::read_to_string(home.path().join("calls")).unwrap().lines().count();
    let before = calls();
    assert_eq!((install(), calls()), (made, before));
}
