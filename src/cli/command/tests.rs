//! Each client command and the one request it makes.

use crate::cli::client::scripted_server::{ScriptedServer, answer};
use crate::cli::{Cli, Failure, run};
use clap::Parser;
use serde_json::Value;

/// Runs a command line against a server that gives `answers`; returns its requests.
fn requests(line: &str, answers: Vec<String>) -> (Vec<String>, Result<(), Failure>) {
    let server = ScriptedServer::start(answers);
    let url = server.target(None).url;
    // Words are separated by blanks; an underscore in a word stands for a blank within it.
    let words = line.split(' ').map(|word| word.replace('_', " "));
    let connection = ["--url".to_owned(), url.to_string(), "--token".to_owned(), "t".to_owned()];
    let words = ["arbiter".to_owned()].into_iter().chain(words).chain(connection);
    let outcome = run(Cli::try_parse_from(words).unwrap());
    (server.requests(), outcome)
}

/// The request line of a request, and its body.
fn parts(request: &str) -> (String, String) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let first = head.lines().next().unwrap();
    (first.trim_end_matches(" HTTP/1.1").replace("/api/v1", ""), body.to_owned())
}

#[test]
fn command_sends_its_request() {
    let table = [
        ("vault lock", "POST /vault/lock", ""),
        ("vault status", "GET /vault", ""),
        ("vault accept-rollback", "POST /vault/accept-rollback", ""),
        ("key delete k", "DELETE /keys/k", ""),
        ("provider show p", "GET /providers/p", ""),
        ("provider enable p", "POST /providers/p/enable", ""),
        ("provider disable p", "POST /providers/p/disable", ""),
        ("provider heartbeat p", "POST /providers/p/heartbeat", ""),
        ("provider delete p --cascade", "DELETE /providers/p?cascade=true", ""),
        ("provider delete p", "DELETE /providers/p", ""),
        (
            "provider add n --endpoint http://h --key-id k --tag fast",
            "POST /providers",
            r#"{"endpoint":"http://h","key_id":"k","name":"n","requires_key":true,"tags":["fast"],"type":"openai"}"#,
        ),
        ("agent show a", "GET /agents/a", ""),
        (
            r#"agent add n --provider p --role coder --config {"model":"m"}"#,
            "POST /agents",
            r#"{"config":{"model":"m"},"name":"n","provider_id":"p","role":"coder"}"#,
        ),
        ("agent shutdown a --reason late", "POST /agents/a/shutdown", r#"{"reason":"late"}"#),
        ("agent shutdown a", "POST /agents/a/shutdown", "{}"),
        ("agent restart a", "POST /agents/a/restart", ""),
        ("agent delete a", "DELETE /agents/a", ""),
        ("project show p", "GET /projects/p", ""),
        (
            "project add n --id p --perpetual",
            "POST /projects",
            r#"{"id":"p","is_perpetual":true,"name":"n"}"#,
        ),
        ("project close p", "POST /projects/p/close", ""),
        ("project reopen p", "POST /projects/p/reopen", ""),
        ("bead show b", "GET /beads/b", ""),
        (
            "bead add Paint_it --project p --priority 0 --blocked-by x,y --tag role:painter",
            "POST /beads",
            r#"{"blocked_by":["x","y"],"priority":0,"project_id":"p","tags":["role:painter"],"title":"Paint it"}"#,
        ),
        ("bead claim b --agent a", "POST /beads/b/claim", r#"{"agent_id":"a"}"#),
        (
            "bead complete b --summary Done --lease-token l",
            "POST /beads/b/complete",
            r#"{"lease_token":"l","summary":"Done"}"#,
        ),
        ("bead close b --reason moot", "POST /beads/b/close", r#"{"reason":"moot"}"#),
        ("bead block b --reason paint", "POST /beads/b/block", r#"{"reason":"paint"}"#),
        ("bead unblock b", "POST /beads/b/unblock", ""),
        ("bead why b", "GET /beads/b/why", ""),
        ("bead comment b Well_done", "POST /beads/b/comments", r#"{"comment":"Well done"}"#),
        ("bead graph --project p", "GET /work-graph?project_id=p&format=mermaid", ""),
        ("bead graph --json", "GET /work-graph?format=json", ""),
        ("decision show d", "GET /decisions/d", ""),
        (
            "decision decide d approve --rationale fine",
            "POST /decisions/d/decide",
            r#"{"decision":"approve","rationale":"fine"}"#,
        ),
        ("decision cancel d --reason moot", "POST /decisions/d/cancel", r#"{"reason":"moot"}"#),
        ("token add n --role viewer --user u", "POST /tokens", r#"{"name":"n","role":"viewer","user":"u"}"#),
        ("token revoke t", "DELETE /tokens/t", ""),
        ("run show r", "GET /runs/r", ""),
        ("config show", "GET /config", ""),
    ];
    for (line, wanted, wanted_body) in table {
        let (asked, outcome) = requests(line, vec![answer("200 OK", &[], "{}")]);
        assert!(outcome.is_ok(), "{line}: {outcome:?}");
        let (request, body) = parts(&asked[0]);
        assert_eq!(request, wanted, "{line}");
        assert_eq!(body, wanted_body, "{line}");
    }
}

#[test]
fn list_command_passes_its_filters_on() {
    let table = [
        ("key list", "GET /keys?limit=100"),
        ("token list --limit 5", "GET /tokens?limit=5"),
        ("provider list --status active", "GET /providers?status=active&limit=100"),
        ("agent list --project p", "GET /agents?project_id=p&limit=100"),
        ("project list", "GET /projects?limit=100"),
        (
            "bead list --project p --priority 1 -q red_paint",
            "GET /beads?project_id=p&priority=1&q=red+paint&limit=100",
        ),
        ("bead ready --project p", "GET /beads/ready?project_id=p&limit=100"),
        ("decision list --status pending", "GET /decisions?status=pending&limit=100"),
        ("run list --bead b --agent a", "GET /runs?agent_id=a&bead_id=b&limit=100"),
        (
            "events list --type bead.*,agent.spawned --after 3 --subject s",
            "GET /events?type=bead.*%2Cagent.spawned&after=3&subject=s&limit=100",
        ),
    ];
    for (line, wanted) in table {
        let (asked, outcome) = requests(line, vec![answer("200 OK", &[], "[]")]);
        assert!(outcome.is_ok(), "{line}: {outcome:?}");
        assert_eq!(parts(&asked[0]).0, wanted, "{line}");
    }
}

#[test]
fn status_requests_health_and_system_status() {
    let answers = vec![answer("200 OK", &[], r#"{"status":"ok"}"#), answer("200 OK", &[], "{}")];
    let (asked, outcome) = requests("status", answers);
    assert!(outcome.is_ok());
    let lines: Vec<String> = asked.iter().map(|request| parts(request).0).collect();
    assert_eq!(lines, ["GET /health", "GET /system/status"]);
}

#[test]
fn provider_add_sends_the_key_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-1\n").unwrap();
    let server = ScriptedServer::start(vec![answer("201 Created", &[], r#"{"id":"p"}"#)]);
    let url = server.target(None).url.to_string();
    let path = file.path().as_os_str();
    let words = ["arbiter", "provider", "add", "n", "--endpoint", "http://h", "--url", &url];
    let words = words.into_iter().map(std::ffi::OsStr::new);
    let last = [std::ffi::OsStr::new("--token=t"), std::ffi::OsStr::new("--api-key-file"), path];
    run(Cli::try_parse_from(words.chain(last)).unwrap()).unwrap();
    let body: Value = serde_json::from_str(&parts(&server.requests()[0]).1).unwrap();
    assert_eq!(body["api_key"], "sk-1");
    assert_eq!(body["requires_key"], true);
}

#[test]
fn refused_request_fails_the_command() {
    let body = r#"{"detail":"the password is wrong","type":"wrong-password"}"#;
    let (_, outcome) = requests("vault lock", vec![answer("403 Forbidden", &[], body)]);
    let failure = outcome.unwrap_err();
    assert_eq!((failure.exit_code(), failure.to_string().as_str()), (77, "the password is wrong"));
}
