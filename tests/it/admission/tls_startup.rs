//! TLS at the start of a server: files that it refuses, warnings, and SIGHUP without files to read.

use crate::harness::FAST_KDF;
use crate::harness::program::{BINARY, ProgramOutput, command, run};
use arbiter_testkit::{ServerProcess, TEST_PASSWORD, TestCa};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `arbiter serve` with these arguments, run to its end.
async fn serve(data: &Path, arguments: &[&str]) -> ProgramOutput {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data).args(arguments);
    command.env("ARBITER_PASSWORD", TEST_PASSWORD).env(FAST_KDF.0, FAST_KDF.1);
    run(command, "").await
}

#[tokio::test]
async fn unusable_tls_files_stop_the_start_before_any_write() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (certificate, key) = TestCa::new("ca").server(&["localhost"]).write(home.path(), "server");
    let (certificate, key_path) = (certificate.display().to_string(), key.display().to_string());
    let alone = serve(&data, &["--tls-cert", &certificate]).await;
    assert_eq!(alone.code, Some(78));
    assert!(alone.error_line().contains("needs `http.tls_key` as well"), "{alone:?}");

    let both = ["--tls-cert", &certificate, "--tls-key", &key_path];
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let wide = serve(&data, &both).await;
    assert_eq!(wide.code, Some(77));
    assert!(wide.error_line().contains(&format!("run: chmod 600 {key_path}")), "{wide:?}");

    let link = home.path().join("link");
    std::os::unix::fs::symlink(&key, &link).unwrap();
    let linked = serve(&data, &["--tls-cert", &certificate, "--tls-key", &link.display().to_string()]).await;
    assert_eq!(linked.code, Some(77));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let swapped = serve(&data, &["--tls-cert", &key_path, "--tls-key", &key_path]).await;
    assert_eq!(swapped.code, Some(78), "{swapped:?}");
    assert!(!data.exists(), "nothing was touched");
}

#[tokio::test]
async fn listening_publicly_without_tls_warns_once() {
    let open = ServerProcess::start(BINARY, &[], &[FAST_KDF]).await;
    assert!(!open.stderr_text().contains("without TLS"), "loopback is no network");
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["serve", "--listen", "0.0.0.0:0"]).env(FAST_KDF.0, FAST_KDF.1);
    command.env("ARBITER_PASSWORD", TEST_PASSWORD).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = [0; 12];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"listening on");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = child.wait_with_output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(log.matches("without TLS").count(), 1, "{log}");
}

#[tokio::test]
async fn server_without_tls_survives_sighup() {
    let mut server = ServerProcess::start(BINARY, &[], &[FAST_KDF]).await;
    server.signal(Signal::HUP);
    server.wait_for_log("there is nothing to read again").await;
    assert_eq!(server.get("/api/v1/health").await.0, 200);
    assert!(server.terminate().await.success());
}
