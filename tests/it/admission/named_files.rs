//! Files and directories that are named in settings and on the command line: links in a path are resolved once, and
//! anything but a regular file of bounded size is refused at once.

use crate::harness::program::{ProgramOutput, command, private_file, run};
use crate::harness::{FAST_KDF, Harness};
use arbiter_testkit::TEST_PASSWORD;
use rustix::fs::{CWD, Mode};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// One object of each type that is no usable file, with the end of the reason.
fn zoo(home: &Path) -> Vec<(PathBuf, &'static str)> {
    let at = |name: &str| home.join(name);
    rustix::fs::mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
    fs::create_dir(at("folder")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    fs::File::create(at("huge")).unwrap().set_len(1 << 40).unwrap();
    fs::set_permissions(at("huge"), fs::Permissions::from_mode(0o600)).unwrap();
    vec![
        (at("pipe"), "is a pipe, not a regular file"),
        (at("socket"), "is a socket, not a regular file"),
        (at("folder"), "is a directory, not a regular file"),
        (at("zero"), "is a device, not a regular file"),
        (at("huge"), "bytes"),
    ]
}

/// `arbiter serve` on a fresh directory with these arguments and variables.
async fn serve(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> ProgramOutput {
    let mut command = command(home);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.join("data")).args(arguments);
    command.env("ARBITER_PASSWORD", TEST_PASSWORD).env(FAST_KDF.0, FAST_KDF.1);
    for (name, value) in variables {
        command.env(name, value);
    }
    run(command, "").await
}

#[tokio::test]
async fn server_refuses_special_files_in_settings_and_flags() {
    let home = tempfile::tempdir().unwrap();
    let some = private_file(home.path(), "some.pem", "no PEM");
    for (path, reason) in zoo(home.path()) {
        let path = path.to_str().unwrap();
        let settings: [&[(&str, &str)]; 6] = [
            &[("ARBITER_HTTP__TLS_CERT", path), ("ARBITER_HTTP__TLS_KEY", &some)],
            &[("ARBITER_PROVIDERS__CATALOGUE", path)],
            &[("ARBITER_NOTIFY__URL", "http://127.0.0.1:1"), ("ARBITER_NOTIFY__SECRET_FILE", path)],
            &[("ARBITER_TEMPORAL__ADDRESS", "127.0.0.1:1"), ("ARBITER_TEMPORAL__TLS_CA", path)],
            &[("ARBITER_TEMPORAL__ADDRESS", "127.0.0.1:1"), ("ARBITER_TEMPORAL__API_KEY_FILE", path)],
            &[
                ("ARBITER_TEMPORAL__ADDRESS", "127.0.0.1:1"),
                ("ARBITER_TEMPORAL__TLS_CERT", path),
                ("ARBITER_TEMPORAL__TLS_KEY", path),
            ],
        ];
        let mut ended = vec![serve(home.path(), &["--config", path], &[]).await];
        for variables in settings {
            ended.push(serve(home.path(), &[], variables).await);
        }
        let mut with_file = command(home.path());
        with_file.args(["serve", "--password-file", path, "--data-dir"]).arg(home.path().join("data"));
        ended.push(run(with_file, "").await);
        for ended in ended {
            assert!([Some(74), Some(77), Some(78)].contains(&ended.code), "{ended:?}");
            let line = ended.error_line();
            let is_link = path.ends_with("zero") && line.contains("is a link; name the file itself");
            assert!(line.contains(path) && (line.ends_with(reason) || is_link), "{path}: {line}");
        }
    }
}

#[tokio::test]
async fn client_refuses_special_files_as_input() {
    let harness = Harness::new().await;
    harness.create("projects", serde_json::json!({"id": "p", "name": "P"})).await;
    let home = tempfile::tempdir().unwrap();
    for (path, reason) in zoo(home.path()) {
        let path = path.to_str().unwrap();
        let endpoint = ["--type", "custom", "--endpoint", "http://127.0.0.1:9/v1"];
        let provider =
            |more: [&'static str; 1]| [&["provider", "add", "x"][..], &endpoint, &more, &[path]].concat();
        let lines: [Vec<&str>; 6] = [
            vec!["bead", "import", "--project", "p", path],
            provider(["--api-key-file"]),
            provider(["--ca-cert"]),
            vec!["persona", "add", "x", "--from", path],
            vec!["vault", "import", path],
            vec!["token", "add", "x", "--role", "viewer", "--certificate", path],
        ];
        for line in lines {
            let ended = harness.cli(&line).await;
            let said = &ended.stderr;
            // A directory of beads is read, and has none.
            let is_link =
                line[1] == "import" && path.ends_with("zero") && said.contains("is a symbolic link");
            let is_folder = path.ends_with("folder") && ended.code == Some(74);
            assert_ne!(ended.code, Some(0), "{line:?}");
            assert!(said.contains(reason) || is_link || is_folder, "{line:?}: {ended:?}");
        }
    }
    let linked = home.path().join("beads");
    fs::create_dir(&linked).unwrap();
    symlink("/etc/passwd", linked.join("issues.jsonl")).unwrap();
    let ended = harness.cli(&["bead", "import", "--project", "p", linked.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.error_line().ends_with("is a symbolic link, or lies behind one"), "{ended:?}");
}

#[tokio::test]
async fn server_starts_where_every_path_leads_over_links() {
    let home = tempfile::tempdir().unwrap();
    let real = home.path().canonicalize().unwrap().join("var/home");
    fs::create_dir_all(real.join("me")).unwrap();
    symlink("var/home", home.path().join("home")).unwrap();
    symlink("me", real.join("alias")).unwrap();
    let way = home.path().join("home/alias");
    fs::write(real.join("me/real.toml"), "[store]\nreaders = 2\n").unwrap();
    symlink("real.toml", real.join("me/arbiter.toml")).unwrap();
    private_file(&real.join("me"), "password", TEST_PASSWORD);
    let mut first = command(home.path());
    first.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(way.join("deep/data"));
    first.arg("--config").arg(way.join("arbiter.toml")).arg("--password-file").arg(way.join("password"));
    first.env(FAST_KDF.0, FAST_KDF.1);
    let mut server = crate::harness::program::RunningProgram::start(first);
    server.wait_for_line("listening on").await;
    assert!(real.join("me/deep/data/arbiter.db").is_file());
    let mut client = command(home.path());
    client.args(["status"]).env("ARBITER_DATA_DIR", way.join("deep/data"));
    let ended = run(client, "").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let second = serve_at(home.path(), &real.join("me/deep/data")).await;
    assert_eq!(second.code, Some(75), "{second:?}");
}

async fn serve_at(home: &Path, data: &Path) -> ProgramOutput {
    let mut command = command(home);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    command.env("ARBITER_PASSWORD", TEST_PASSWORD);
    run(command, "").await
}
