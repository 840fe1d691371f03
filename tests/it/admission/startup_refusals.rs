//! What a server or a client refuses when it is started: one line says why, the exit code says what kind,
//! and nothing is changed.

use crate::harness::program::{Ended, command, run};
use crate::harness::reexec_in_namespace;
use crate::harness::{QUICK_VAULT, Stage};
use arbiter_testkit::TEST_PASSWORD;
use std::collections::BTreeMap;
use std::path::Path;

/// `arbiter serve` on a directory, with a password, on a free port or a given one.
async fn serve(data: &Path, password: &str, listen: &str) -> Ended {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(data);
    command.env("ARBITER_PASSWORD", password).env(QUICK_VAULT.0, QUICK_VAULT.1);
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
async fn a_wrong_password_ends_the_start_at_once_and_changes_nothing() {
    let mut stage = Stage::new().await;
    let last = stage.get("events/stats").await["last_seq"].as_u64().unwrap();
    stage.server.terminate().await;
    let data = stage.server.data_dir();
    let before = content(&data);
    let ended = serve(&data, "not the password", "127.0.0.1:0").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(77), ""));
    assert!(ended.complaint().contains("the password does not open the vault"), "{ended:?}");
    assert_eq!(content(&data), before);
    stage.server.restart().await;
    assert_eq!(stage.get("vault").await["state"], "unlocked", "the right password still opens it");
    let told: Vec<String> =
        stage.events(last).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told.iter().filter(|kind| *kind == "vault.unlocked").count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused_and_the_first_does_not_notice() {
    let stage = Stage::new().await;
    let before = content(&stage.server.data_dir());
    let ended = serve(&stage.server.data_dir(), TEST_PASSWORD, "127.0.0.1:0").await;
    assert_eq!(ended.code, Some(75), "{ended:?}");
    assert!(ended.complaint().contains("holds the data directory"), "{ended:?}");
    assert_eq!(content(&stage.server.data_dir()), before);
    assert_eq!(stage.get("health").await["status"], "ok");
    stage.create("projects", serde_json::json!({"name": "still writable"})).await;
}

#[tokio::test]
async fn a_port_in_use_is_said_before_anything_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let ended = serve(&data, TEST_PASSWORD, &address).await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.complaint().contains(&format!("cannot listen on {address}")), "{ended:?}");
    let names: Vec<String> = content(&data).into_keys().collect();
    assert_eq!(names, ["arbiter.lock"], "no vault, no token");
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_or_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ended = serve(&file.join("data"), TEST_PASSWORD, "127.0.0.1:0").await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.complaint().contains("file/data"), "{ended:?}");
    let open = home.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ended = serve(&open, TEST_PASSWORD, "127.0.0.1:0").await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.complaint().contains("chmod 700"), "{ended:?}");
    assert!(content(&open).is_empty());
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_refused() {
    let Some(disk) = reexec_in_namespace::disk() else {
        // Modes do not stop root, a read-only disk does.
        let test = "admission::startup_refusals::a_data_directory_that_cannot_be_written_is_refused";
        return reexec_in_namespace::on_a_disk(test, "size=1m,mode=0700,ro");
    };
    for data in [disk.clone(), disk.join("data")] {
        let ended = read_only(&data).await;
        assert_eq!(ended.code, Some(74), "{ended:?}");
        let complaint = ended.complaint();
        assert!(complaint.contains(data.to_str().unwrap()) && complaint.contains("ead-only"), "{ended:?}");
    }
}

/// As [`serve`], without a temporary home, for which there is no place.
async fn read_only(data: &Path) -> Ended {
    let mut command = command(data);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    command.env("ARBITER_PASSWORD", TEST_PASSWORD);
    run(command, "").await
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_names_the_key() {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["serve", "--data-dir"]).arg(home.path().join("data")).env("ARBITER_HTTP__LISTENN", "x");
    let ended = run(command, "").await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("ARBITER_HTTP__LISTENN") && ended.stderr.contains("listen"), "{ended:?}");
    assert!(!home.path().join("data").exists());
}

#[tokio::test]
async fn a_client_without_a_server_says_so() {
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
        assert!(ended.complaint().contains(word), "{ended:?}");
    }
}

#[tokio::test]
async fn a_client_with_a_wrong_token_is_refused() {
    let stage = Stage::new().await;
    let ended = stage.cli(&["--version"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = stage.cli(&["bead", "list", "--token", "wrong"]).await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert_eq!(stage.cli(&["bead", "show", "no-such-bead"]).await.code, Some(1));
    assert_eq!(stage.cli(&["bead", "lose"]).await.code, Some(2));
}
