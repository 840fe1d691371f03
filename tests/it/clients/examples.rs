//! The programs of `examples/`, each against the program that it is written for.

use crate::harness::program::{ProgramOutput, RunningProgram, private_file, run};
use crate::harness::{Harness, KEY, python};
use crate::tidy::root;
use arbiter::SecretString;
use arbiter_testkit::{ChatInput, Reply, Script, ScriptedProvider, send_text};
use serde_json::json;
use std::path::Path;
use std::process::Command;

#[path = "../../../examples/embedding.rs"]
#[expect(dead_code, reason = "the test calls `run`, not `main`")]
mod embedding;

/// A command that runs an example with an interpreter and without the variables of this process.
fn example(interpreter: impl AsRef<Path>, name: &str) -> Command {
    let path = root().join("examples").join(name);
    let mut command = Command::new(interpreter.as_ref());
    let programs = python::installed("python").parent().unwrap().display().to_string();
    let paths = format!("{programs}:{}", std::env::var("PATH").unwrap());
    command.env_clear().env("PATH", paths).env("PYTHONDONTWRITEBYTECODE", "1").arg(path);
    command
}

fn python_example(name: &str) -> Command {
    example(python::installed("python"), name)
}

fn with_server(mut command: Command, harness: &Harness, token: &str) -> Command {
    command.env("ARBITER_URL", harness.server.url()).env("ARBITER_TOKEN", token);
    command
}

fn assert_succeeded(output: &ProgramOutput) {
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Asks for a colour first and ends the bead with the answer.
fn painter(chat: &ChatInput) -> Reply {
    if chat.body["messages"].to_string().contains("sky blue") {
        return Reply::tool("finish", json!({"summary": "painted in sky blue"}));
    }
    let options = json!(["sky blue", "brick red"]);
    Reply::tool("ask_decision", json!({"question": "Which colour?", "options": options}))
}

#[tokio::test(flavor = "multi_thread")]
async fn embedding_example_has_a_bead_done() {
    let provider = ScriptedProvider::start(Script::answering(painter).with_models(&["m"]).requiring_key(KEY));
    let home = tempfile::tempdir().unwrap();
    let key = Some(SecretString::from(KEY));
    let summary = embedding::run(&home.path().join("data"), &provider.url(), key).await.unwrap();
    assert_eq!(summary, "painted in sky blue");
    assert_eq!(provider.chat_count(), 2);
}

#[tokio::test]
async fn external_agent_example_completes_or_blocks_beads() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create("agents", json!({"id": "ext", "name": "ext", "kind": "external"})).await;
    let new = json!({"name": "ext", "role": "agent", "agent_id": "ext"});
    let token = harness.create("tokens", new).await["token"].as_str().unwrap().to_owned();
    harness.bead("good", json!({"priority": 1})).await;
    harness.bead("bad", json!({"priority": 3})).await;
    let work = "import json, sys; bead = json.load(sys.stdin); print('did', bead['title']); \
                sys.exit(bead['id'] == 'bad')";
    let mut command = with_server(example("bash", "external_agent.sh"), &harness, &token);
    command.args(["python3", "-c", work]).env("ARBITER_BEADS", "2");
    let output = run(command, "").await;
    assert_succeeded(&output);
    let told: Vec<&str> = output.stderr.lines().map(|line| line.split(" until ").next().unwrap()).collect();
    let wanted = [
        "good: claimed",
        "good: lease renewed",
        "good: completed",
        "bad: claimed",
        "bad: lease renewed",
        "bad: blocked",
    ];
    assert_eq!(told, wanted);
    let (good, bad) = (harness.get("beads/good").await, harness.get("beads/bad").await);
    assert_eq!((&good["status"], &good["close_reason"]), (&json!("closed"), &json!("did Bead good")));
    assert_eq!((&bad["status"], &bad["block_reason"]), (&json!("blocked"), &json!("the command failed")));
}

#[tokio::test]
async fn openai_client_example_prints_both_answers() {
    let harness = Harness::new().await;
    let script = Script::always(Reply::text("It rains.")).with_models(&["m"]).requiring_key(KEY);
    let provider = ScriptedProvider::start(script);
    harness.register("scripted", &provider.url(), KEY).await;
    let token = harness.server.token().unwrap();
    let mut command = with_server(python_example("openai_client.py"), &harness, token);
    command.arg("How is the weather?");
    let output = run(command, "").await;
    assert_succeeded(&output);
    assert_eq!(output.stdout, "m: It rains.\nstreamed: It rains.\n");

    let mut command = with_server(python_example("openai_client.py"), &harness, "wrong");
    command.arg("How is the weather?");
    let output = run(command, "").await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.error_line().contains("401"), "{output:?}");
}

#[tokio::test]
async fn webhook_receiver_example_accepts_signed_notices_alone() {
    let home = tempfile::tempdir().unwrap();
    let secret = private_file(home.path(), "secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let mut command = python_example("webhook_receiver.py");
    command.arg(&secret);
    let mut receiver = RunningProgram::start(command);
    let url = receiver.wait_for_line("listening on ").await;
    let harness =
        Harness::with(&[("ARBITER_NOTIFY__URL", &url), ("ARBITER_NOTIFY__SECRET_FILE", &secret)]).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let forged = json!({"type": "decision.created", "subject": "forged"}).to_string();
    for signature in ["", "v1,", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        let now = now.to_string();
        let headers =
            [("webhook-id", "evt-1"), ("webhook-timestamp", now.as_str()), ("webhook-signature", signature)];
        let answer = send_text("POST", &url, &headers, forged.clone()).await.unwrap();
        assert_eq!(answer.status, 401, "{signature:?}");
    }

    let new = json!({"project_id": "p", "question": "Which colour?"});
    let id = harness.create("decisions", new).await["id"].as_str().unwrap().to_owned();
    receiver.wait_for_line(&format!("decision.created {id}")).await;
    assert!(!receiver.printed.iter().any(|line| line.contains("forged")), "{:?}", receiver.printed);
}

#[tokio::test]
async fn examples_name_what_is_missing() {
    let variable = |mut command: Command, name: &str, value: &str| {
        command.env(name, value);
        command
    };
    let argument = |mut command: Command, text: &str| {
        command.arg(text);
        command
    };
    let agent = || example("/bin/bash", "external_agent.sh");
    let agent_with_url = || variable(argument(agent(), "true"), "ARBITER_URL", "http://127.0.0.1:1");
    let agent_with_all = || variable(agent_with_url(), "ARBITER_TOKEN", "t");
    let client = || argument(python_example("openai_client.py"), "Hello?");
    // Without `-S` Python would find the packages of its environment.
    let mut bare = Command::new(python::installed("python"));
    bare.arg("-S").arg(root().join("examples/openai_client.py"));
    let receiver = || python_example("webhook_receiver.py");
    let table = [
        (agent(), "no command given"),
        (argument(agent(), "true"), "ARBITER_URL is not set"),
        (agent_with_url(), "ARBITER_TOKEN is not set"),
        (variable(agent_with_all(), "PATH", "/nonexistent"), "curl is not installed"),
        (agent_with_all(), "could not reach http://127.0.0.1:1"),
        (bare, "the package openai is not installed"),
        (python_example("openai_client.py"), "no question given"),
        (client(), "ARBITER_URL is not set"),
        (variable(client(), "ARBITER_URL", "http://127.0.0.1:1"), "ARBITER_TOKEN is not set"),
        (receiver(), "no secret file given"),
        (argument(receiver(), "/nonexistent"), "could not read the secret file"),
    ];
    for (command, wanted) in table {
        let output = run(command, "").await;
        assert_eq!(output.code, Some(1), "{wanted}: {output:?}");
        assert!(output.error_line().contains(wanted), "{wanted}: {output:?}");
    }
}
