//! Programs in Python that tests run: the official clients of others, and a provider that others wrote.
//!
//! They come from one environment with exact versions, which `tests/install-python` makes.

use crate::program::{self, Ended};
use crate::tidy::root;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
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
    assert!(
        environment.join("whole").exists(),
        "there is no whole Python environment at {}: run tests/install-python",
        environment.display()
    );
    environment.join("bin").join(name)
}

/// Runs a script of `tests/python` with these variables alone, and returns what it prints, as JSON.
pub async fn run(script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed("python"));
    // Neither a proxy nor a key of whoever runs the tests comes in between.
    command.env_clear().env("HOME", home.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(variables.iter().copied());
    command.arg(root().join("tests/python").join(script)).args(arguments);
    let ended = program::run(command, "").await;
    let Ended { code, stdout, stderr } = &ended;
    assert_eq!(*code, Some(0), "{script} {arguments:?} failed:\n{stderr}");
    serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{script}: {error}: {stdout}"))
}
