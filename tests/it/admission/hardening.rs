//! Hardening of the process: access to it and its files, modes, owners, passwords.

use crate::harness::program::{ProgramOutput, RunningProgram, command, run};
use crate::harness::{FAST_KDF, Harness};
use arbiter_testkit::TEST_PASSWORD;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

/// `arbiter serve` on a directory with a free port and no password.
fn serve(data: &Path) -> Command {
    let mut command = command(data);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    command.env(FAST_KDF.0, FAST_KDF.1);
    command
}

/// The same behind a program that runs it in its own place.
fn serve_behind(prefix: &[&str], data: &Path) -> Command {
    let inner = serve(data);
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

async fn started(command: Command) -> RunningProgram {
    let mut running = RunningProgram::start(command);
    running.wait_for_line("listening on ").await;
    running
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A password file of ours alone.
fn password_file(home: &Path, name: &str, text: &str) -> String {
    let path = home.join(name);
    fs::write(&path, format!("{text}\n")).unwrap();
    mode(&path, 0o600);
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn server_files_are_private_and_open_ones_refused_with_the_fix() {
    let mut harness = Harness::new().await;
    let data = harness.server.data_dir();
    harness.create("projects", serde_json::json!({"name": "P"})).await;
    harness.register("twice", "http://127.0.0.1:9", "sk-one").await;
    let names: Vec<String> =
        fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for name in &names {
        let found = fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, 0o600, "{name}");
    }
    harness.server.kill9();
    let refused = async |fix: &str| {
        let ended: ProgramOutput = run(serve(&data), "").await;
        assert_eq!(ended.code, Some(77), "{ended:?}");
        assert!(ended.error_line().contains(fix), "{ended:?}");
    };
    for name in ["arbiter.db", "arbiter.db-wal", "keys.json", "keys.json.bak", "admin-token", "server.json"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
        let (path, away) = (data.join(name), data.join("away"));
        mode(&path, 0o640);
        let quoted =
            if name == "keys.json" { format!("'{}'", path.display()) } else { path.display().to_string() };
        refused(&format!("chmod 600 {quoted}")).await;
        mode(&path, 0o600);
        chown(&path, Some(65_534), None).expect("this test gives files away: run it as root");
        refused("chown 0 ").await;
        chown(&path, Some(0), None).unwrap();
        if name == "keys.json" {
            continue;
        }
        fs::rename(&path, &away).unwrap();
        symlink(&away, &path).unwrap();
        refused("is not a regular file").await;
        fs::rename(&away, &path).unwrap();
    }
    harness.server.restart().await;
    assert_eq!(harness.get("vault").await["state"], "unlocked");
}

#[tokio::test]
async fn password_comes_from_the_first_source_that_has_one() {
    let mut harness = Harness::new().await;
    harness.server.terminate().await;
    assert_eq!(harness.server.stderr_text().matches("the password came in the environment").count(), 1);
    let data = harness.server.data_dir();
    let home = tempfile::tempdir().unwrap();
    let right = password_file(home.path(), "right", TEST_PASSWORD);
    let wrong = password_file(home.path(), "wrong", "not the password");
    let [good, bad] = ["good", "bad"].map(|name| home.path().join(name));
    for (directory, text) in [(&good, TEST_PASSWORD), (&bad, "not the password")] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("arbiter-password"), text).unwrap();
    }

    let mut variable = serve(&data);
    variable.args(["--password-file", &wrong]).env("ARBITER_PASSWORD", TEST_PASSWORD);
    variable.env("CREDENTIALS_DIRECTORY", &bad);
    drop(started(variable).await);
    let mut file = serve(&data);
    file.args(["--password-file", &right]).env("CREDENTIALS_DIRECTORY", &bad);
    drop(started(file).await);
    let mut credential = serve(&data);
    credential.env("CREDENTIALS_DIRECTORY", &good);
    drop(started(credential).await);
    let mut credential = serve(&data);
    credential.env("CREDENTIALS_DIRECTORY", &bad);
    assert_eq!(run(credential, "").await.code, Some(77));
    let mut elsewhere = serve(&data);
    elsewhere.env("CREDENTIALS_DIRECTORY", home.path());
    drop(started(elsewhere).await);
}

#[tokio::test]
async fn memory_lock_is_applied_or_refused_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let locked = |process: u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let plain = started(serve(&data)).await;
    assert_eq!(locked(plain.child.id()), 0);
    drop(plain);
    let mut wanted = serve(&data);
    wanted.env("ARBITER_VAULT__LOCK_MEMORY", "true");
    let running = started(wanted).await;
    assert!(locked(running.child.id()) > 10_000, "{} kB", locked(running.child.id()));
    drop(running);
    let behind =
        ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "prlimit", "--memlock=65536:65536"];
    let mut wanted = serve_behind(&behind, &data);
    wanted.env("ARBITER_VAULT__LOCK_MEMORY", "true");
    let ended = run(wanted, "").await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let error_line = ended.error_line();
    assert!(error_line.contains("ulimit -l unlimited") && error_line.contains("LimitMEMLOCK"), "{ended:?}");
}

#[tokio::test]
async fn server_dumps_no_core_and_is_unreadable_to_its_own_user() {
    // Root without these capabilities is like any other user who looks at a process of his own.
    const UNPRIVILEGED: [&str; 3] = [
        "setpriv",
        "--bounding-set=-sys_ptrace,-perfmon,-sys_admin",
        "--inh-caps=-sys_ptrace,-perfmon,-sys_admin",
    ];
    let home = tempfile::tempdir().unwrap();
    let server = started(serve_behind(&UNPRIVILEGED, &home.path().join("data"))).await;
    let readable = |process: u32| {
        let mut reader = Command::new(UNPRIVILEGED[0]);
        reader.args(&UNPRIVILEGED[1..]).args(["head", "-c1"]);
        reader.arg(format!("/proc/{process}/environ")).output().unwrap().status.success()
    };
    let mut other = Command::new(UNPRIVILEGED[0]);
    let mut other = other.args(&UNPRIVILEGED[1..]).args(["sleep", "120"]).spawn().unwrap();
    // Between its start and the program it becomes, it still has the capability.
    let deadline = std::time::Instant::now() + crate::harness::TIMEOUT;
    while !readable(other.id()) {
        assert!(
            std::time::Instant::now() < deadline,
            "an ordinary process of the same user can be looked into"
        );
    }
    assert!(!readable(server.child.id()));
    other.kill().unwrap();
    other.wait().unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_ascii_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}
