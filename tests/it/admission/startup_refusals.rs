//! Refusals at the start of a server or a client: one line gives the reason, the exit code the kind, and
//! nothing is changed.

use crate::harness::program::{BINARY, ProgramOutput, command, run};
use crate::harness::reexec_in_namespace;
use crate::harness::{FAST_KDF, Harness};
use arbiter_testkit::TEST_PASSWORD;
use std::collections::BTreeMap;
use std::path::Path;

/// `arbiter serve` on a directory, with a password, on a free port or a given one.
async fn serve(data: &Path, password: &str, listen: &str) -> ProgramOutput {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(data);
    command.env("ARBITER_PASSWORD", password).env(FAST_KDF.0, FAST_KDF.1);
    run(command, "").await
}

/// The files of a directory with what is in them, but for those that a look at the database touches.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| !name.starts_with("arbiter.db"))
        .collect()
}

#[tokio::test]
async fn start_with_wrong_password_fails_and_changes_nothing() {
    let mut harness = Harness::new().await;
    let last = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    harness.server.terminate().await;
    let data = harness.server.data_dir();
    let before = content(&data);
    let ended = serve(&data, "not the password", "127.0.0.1:0").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(77), ""));
    assert!(ended.error_line().contains("the password does not open the vault"), "{ended:?}");
    assert_eq!(content(&data), before);
    harness.server.restart().await;
    assert_eq!(harness.get("vault").await["state"], "unlocked", "the right password still opens it");
    let told: Vec<String> =
        harness.events(last).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told.iter().filter(|kind| *kind == "vault.unlocked").count(), 1, "{told:?}");
}

#[tokio::test]
async fn start_with_few_open_files_is_refused_in_words() {
    let home = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"ulimit -n 24; exec "$0" "$@""#, BINARY, "serve", "--listen", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(home.path().join("data"));
    command.env("HOME", home.path()).env("ARBITER_PASSWORD", TEST_PASSWORD);
    let ended = run(command, "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error_line().contains("must be at least 64"), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

#[tokio::test]
async fn second_server_on_a_data_directory_is_refused() {
    let harness = Harness::new().await;
    let before = content(&harness.server.data_dir());
    let ended = serve(&harness.server.data_dir(), TEST_PASSWORD, "127.0.0.1:0").await;
    assert_eq!(ended.code, Some(75), "{ended:?}");
    assert!(ended.error_line().contains("holds the data directory"), "{ended:?}");
    assert_eq!(content(&harness.server.data_dir()), before);
    assert_eq!(harness.get("health").await["status"], "ok");
    harness.create("projects", serde_json::json!({"name": "still writable"})).await;
}

#[tokio::test]
async fn port_in_use_is_reported_before_any_file_is_written() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let ended = serve(&data, TEST_PASSWORD, &address).await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.error_line().contains(&format!("cannot listen on {address}")), "{ended:?}");
    let names: Vec<String> = content(&data).into_keys().collect();
    assert_eq!(names, ["arbiter.lock"], "no vault, no token");
}

#[tokio::test]
async fn data_directory_that_is_a_file_or_not_private_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ended = serve(&file.join("data"), TEST_PASSWORD, "127.0.0.1:0").await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.error_line().contains("file/data"), "{ended:?}");
    let open = home.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ended = serve(&open, TEST_PASSWORD, "127.0.0.1:0").await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.error_line().contains("chmod 700"), "{ended:?}");
    assert!(content(&open).is_empty());
}

#[tokio::test]
async fn data_directory_not_writable_is_refused() {
    let Some(disk) = reexec_in_namespace::mounted_disk() else {
        // Modes do not stop root, a read-only disk does.
        let test = "admission::startup_refusals::data_directory_not_writable_is_refused";
        return reexec_in_namespace::run_on_disk(test, "size=1m,mode=0700,ro");
    };
    for data in [disk.clone(), disk.join("data")] {
        let ended = read_only(&data).await;
        assert_eq!(ended.code, Some(74), "{ended:?}");
        let error_line = ended.error_line();
        assert!(error_line.contains(data.to_str().unwrap()) && error_line.contains("ead-only"), "{ended:?}");
    }
}

/// As [`serve`], without a temporary home, for which there is no place.
async fn read_only(data: &Path) -> ProgramOutput {
    let mut command = command(data);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    command.env("ARBITER_PASSWORD", TEST_PASSWORD);
    run(command, "").await
}

#[tokio::test]
async fn invalid_configuration_names_the_key() {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["serve", "--data-dir"]).arg(home.path().join("data")).env("ARBITER_HTTP__LISTENN", "x");
    let ended = run(command, "").await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("ARBITER_HTTP__LISTENN") && ended.stderr.contains("listen"), "{ended:?}");
    assert!(!home.path().join("data").exists());
}

#[tokio::test]
async fn client_without_a_server_reports_it() {
    let home = tempfile::tempdir().unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, word) in [(None, "no server runs in"), (Some(format!("http://{gone}")), "cannot reach")] {
        let mut command = command(home.path());
        command.args(["bead", "list"]).env("ARBITER_DATA_DIR", home.path().join("data"));
        if let Some(url) = url {
            command.env("ARBITER_URL", url).env("ARBITER_TOKEN", "x");
        }
        let ended = run(command, "").await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""), "{ended:?}");
        assert!(ended.error_line().contains(word), "{ended:?}");
    }
}

#[tokio::test]
async fn client_with_wrong_token_is_refused() {
    let harness = Harness::new().await;
    let ended = harness.cli(&["--version"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = harness.cli(&["bead", "list", "--token", "wrong"]).await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert_eq!(harness.cli(&["bead", "show", "no-such-bead"]).await.code, Some(1));
    assert_eq!(harness.cli(&["bead", "lose"]).await.code, Some(2));
}
