//! A shell script stands in for the server, a scripted provider for its HTTP side.

use super::*;
use crate::{Script, ScriptedProvider};

/// Started as `arbiter serve --listen ADDR --data-dir DIR …`.
const STAND_IN: &str = r#"#!/bin/sh
mkdir -p "$5"
echo "$ARBITER_PASSWORD" >> "$5/starts"
printf 'the-token\n' > "$5/admin-token"
tail --pid=$$ -f /dev/null > /dev/null 2>&1 &
trap 'echo "going down" >&2; exit 7' TERM
echo "a line before"
echo "listening on http://$STAND_IN_ADDRESS"
wait
"#;

struct StandIn {
    directory: TempDir,
    provider: ScriptedProvider,
}

impl StandIn {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("text"), script).unwrap();
        // Another process writes the program: while this one has it open for writing, a fork of another
        // test would hold it open too, and it could not be started ("text file busy").
        let copy = ["-c", "cp text arbiter && chmod 755 arbiter"];
        assert!(Command::new("sh").args(copy).current_dir(directory.path()).status().unwrap().success());
        Self { directory, provider: ScriptedProvider::start(Script::default().requiring_key("the-token")) }
    }

    async fn start(&self) -> ServerProcess {
        let address = self.provider.address().to_string();
        ServerProcess::start(self.directory.path().join("arbiter"), &[], &[("STAND_IN_ADDRESS", &address)])
            .await
    }
}

fn starts(server: &ServerProcess) -> String {
    std::fs::read_to_string(server.data_dir().join("starts")).unwrap()
}

#[tokio::test]
async fn server_requests_use_the_written_token() {
    let stand_in = StandIn::new(STAND_IN);
    let server = stand_in.start().await;
    assert_eq!(server.url(), format!("http://{}", stand_in.provider.address()));
    let (status, body) = server.get("/v1/models").await;
    assert_eq!((status, body["data"][0]["id"].as_str()), (200, Some("scripted-model")));
    assert_eq!(server.send("GET", "/v1/models", &[], None).await.status, 401);
    assert_eq!(starts(&server), format!("{TEST_PASSWORD}\n"));
}

#[tokio::test]
async fn terminated_server_returns_its_exit_status() {
    let stand_in = StandIn::new(STAND_IN);
    let mut server = stand_in.start().await;
    assert_eq!(server.terminate().await.code(), Some(7));
    assert_eq!(server.stderr_text(), "going down\n");
}

#[tokio::test]
async fn server_data_survives_kill_and_restart() {
    let stand_in = StandIn::new(STAND_IN);
    let mut server = stand_in.start().await;
    server.kill9();
    server.restart().await;
    server.restart().await;
    assert_eq!(starts(&server).lines().count(), 3);
    assert_eq!(server.stderr_text(), "going down\n", "only the second start was ended by a signal it saw");
}

#[tokio::test]
async fn dropped_server_removes_its_data() {
    let stand_in = StandIn::new(STAND_IN);
    let server = stand_in.start().await;
    let (process, data) = (PathBuf::from(format!("/proc/{}", server.id())), server.data_dir());
    assert!(process.exists() && data.exists());
    drop(server);
    assert!(!process.exists() && !data.exists());
}

#[tokio::test]
async fn server_that_exits_at_start_is_reported_with_stderr() {
    let failed = tokio::spawn(async {
        StandIn::new("#!/bin/sh\necho 'no such thing' >&2\nexit 3\n").start().await;
    });
    let panic = failed.await.unwrap_err().into_panic();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("no such thing"), "{message}");
}
