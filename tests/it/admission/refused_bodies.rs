//! Every route that takes a body, asked with one of which the last part is refused: nothing of it is kept.

use crate::admission::foreign_data::bodies;
use crate::harness::Harness;
use arbiter_testkit::{Reply, Script};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const FAR: &str = "2099-01-01T00:00:00Z";

/// Every row of every table, without the time at which a token was used last, and the key file.
fn contents(data: &Path) -> BTreeMap<String, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(data.join("arbiter.db"), flags).unwrap();
    let mut tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut contents = BTreeMap::new();
    for table in tables {
        let mut rows = database.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let mut rows = rows.query([]).unwrap();
        let mut number = 0;
        while let Some(row) = rows.next().unwrap() {
            let cells = names.iter().enumerate().filter(|(_, name)| *name != "last_used_at");
            let cells: Vec<(&String, Cell)> =
                cells.map(|(place, name)| (name, row.get_unwrap(place))).collect();
            contents.insert(format!("{table} {number}"), format!("{cells:?}"));
            number += 1;
        }
    }
    contents.insert("keys.json".into(), std::fs::read_to_string(data.join("keys.json")).unwrap());
    contents
}

/// Route, path and a body whose last part is refused.
#[allow(clippy::too_many_lines)] // a table
fn refused(decision: &str, token: &str) -> Vec<(&'static str, String, Value)> {
    // For a body of one part, the last part is a field that there is not.
    let with_more = |mut body: Value| {
        body["zzz"] = json!(1);
        body
    };
    let reason = || json!({"reason": "x", "lease_token": "old"});
    let bead = json!({"title": "x", "project_id": "p"});
    let provider =
        json!({"name": "X", "type": "custom", "endpoint": "http://127.0.0.1:2", "api_key": "sk-refused-1"});
    let with = |base: &Value, name: &str, value: Value| {
        let mut body = base.clone();
        body[name] = value;
        body
    };
    let locks = |paths: [&str; 2]| json!({"project_id": "p", "paths": paths, "agent_id": "ext"});
    let positions = |names: [&str; 2]| {
        names.map(|name| json!({"role_name": name, "required": false, "max_instances": 1})).to_vec()
    };
    let budget = |scope: &str| json!({"scope": scope, "period": "month", "cap_usd": 1.0});
    let payload = json!({"data": "", "metadata": {}});
    let prefix = json!({"name": "X", "bead_prefix": "not valid!"});
    let rows: Vec<(&'static str, &str, Value)> = vec![
        ("POST /api/v1/agents", "agents", json!({"name": "x", "project_id": "p", "persona_name": "nope"})),
        ("PATCH /api/v1/agents/{id}", "agents/ext", json!({"name": "X", "status": "idle"})),
        ("POST /api/v1/agents/{id}/assign", "agents/ext/assign", json!({"bead_id": "nope"})),
        ("POST /api/v1/agents/{id}/clone", "agents/ext/clone", json!({"name": "x", "persona_name": "nope"})),
        ("POST /api/v1/agents/{id}/shutdown", "agents/ext/shutdown", with_more(json!({"reason": "x"}))),
        ("POST /api/v1/agents/{id}/status", "agents/ext/status", json!({"status": "idle"})),
        ("POST /api/v1/beads", "beads", with(&bead, "blocked_by", json!(["ours", "nope"]))),
        ("POST /api/v1/beads/bulk", "beads/bulk", json!({"beads": [bead, with(&bead, "title", json!(""))]})),
        ("POST /api/v1/beads/claim", "beads/claim", json!({"agent_id": "ext", "ttl_sec": 1})),
        ("PATCH /api/v1/beads/{id}", "beads/ours", json!({"title": "X", "priority": 1, "status": "open"})),
        ("POST /api/v1/beads/{id}/block", "beads/held/block", reason()),
        ("POST /api/v1/beads/{id}/claim", "beads/ours/claim", json!({"agent_id": "ext", "ttl_sec": 1})),
        ("POST /api/v1/beads/{id}/close", "beads/held/close", reason()),
        ("POST /api/v1/beads/{id}/comments", "beads/ours/comments", with_more(json!({"comment": "x"}))),
        (
            "POST /api/v1/beads/{id}/complete",
            "beads/held/complete",
            json!({"summary": "x", "lease_token": "old"}),
        ),
        (
            "POST /api/v1/beads/{id}/dependencies",
            "beads/held/dependencies",
            json!({"depends_on": "ours", "lease_token": "old"}),
        ),
        ("POST /api/v1/beads/{id}/escalate", "beads/held/escalate", reason()),
        ("POST /api/v1/beads/{id}/heartbeat", "beads/held/heartbeat", json!({"lease_token": "old"})),
        ("POST /api/v1/beads/{id}/redispatch", "beads/held/redispatch", reason()),
        ("POST /api/v1/beads/{id}/release", "beads/held/release", reason()),
        ("PUT /api/v1/budgets", "budgets", json!({"budgets": [budget("project:p"), budget("project:nope")]})),
        (
            "POST /api/v1/decisions",
            "decisions",
            json!({"project_id": "p", "question": "x", "options": ["a"], "recommendation": "b"}),
        ),
        ("POST /api/v1/decisions/{id}/cancel", "decisions/D/cancel", with_more(json!({"reason": "x"}))),
        ("POST /api/v1/decisions/{id}/decide", "decisions/D/decide", json!({"decision": "other"})),
        ("POST /api/v1/events", "events", with_more(json!({"message": "x"}))),
        ("POST /api/v1/file-locks", "file-locks", locks(["free.rs", "taken.rs"])),
        ("POST /api/v1/file-locks/renew", "file-locks/renew", locks(["taken.rs", "free.rs"])),
        (
            "POST /api/v1/keys",
            "keys",
            json!({"name": "x", "value": "sk-refused-2", "allowed_hosts": ["a.example", "b c"]}),
        ),
        (
            "PUT /api/v1/keys/{id}",
            "keys/key_scripted",
            json!({"value": "sk-refused-3", "allowed_hosts": ["a.example", "b c"]}),
        ),
        ("PUT /api/v1/org-charts/{id}", "org-charts/p", json!({"positions": positions(["a", "a"])})),
        ("POST /api/v1/personas", "personas", with_more(json!({"name": "x", "persona": "x"}))),
        ("PUT /api/v1/personas/{name}", "personas/code-reviewer", with_more(json!({"persona": "x"}))),
        ("POST /api/v1/projects", "projects", with(&prefix, "id", json!("x"))),
        ("PATCH /api/v1/projects/{id}", "projects/p", prefix.clone()),
        ("PUT /api/v1/projects/{id}", "projects/p", prefix),
        (
            "POST /api/v1/projects/{id}/agents",
            "projects/p/agents",
            json!({"agent_id": "ext", "action": "assign", "role": "nope"}),
        ),
        ("POST /api/v1/projects/{id}/comments", "projects/p/comments", with_more(json!({"comment": "x"}))),
        ("POST /api/v1/projects/{id}/park", "projects/p/park", with_more(json!({"reason": "x"}))),
        ("POST /api/v1/providers", "providers", with(&provider, "client_key_id", json!("nope"))),
        ("PATCH /api/v1/providers/{id}", "providers/scripted", with(&provider, "status", json!("inactive"))),
        ("PUT /api/v1/providers/{id}", "providers/scripted", with(&provider, "status", json!("inactive"))),
        ("POST /api/v1/repl", "repl", json!({"message": "x", "provider_id": "scripted"})),
        ("POST /api/v1/runs/{id}/cancel", "runs/nope/cancel", json!({"reason": "x"})),
        ("POST /api/v1/session", "session", with_more(json!({"token": token}))),
        ("POST /api/v1/system/park", "system/park", with_more(json!({"reason": "x"}))),
        (
            "POST /api/v1/temporal/codec/decode",
            "temporal/codec/decode",
            json!({"payloads": [payload, {"data": 5}]}),
        ),
        (
            "POST /api/v1/temporal/codec/encode",
            "temporal/codec/encode",
            json!({"payloads": [payload, {"data": 5}]}),
        ),
        ("POST /api/v1/tokens", "tokens", json!({"name": "x", "role": "viewer", "projects": ["p", "nope"]})),
        ("POST /api/v1/vault/export", "vault/export", with_more(json!({"password": "x"}))),
        ("POST /api/v1/vault/import", "vault/import", json!({"password": "x", "file": {}})),
        (
            "POST /api/v1/vault/rotate",
            "vault/rotate",
            with_more(json!({"old_password": "x", "new_password": "y"})),
        ),
        ("POST /api/v1/vault/unlock", "vault/unlock", with_more(json!({"password": "x"}))),
        ("POST /api/v1/work", "work", json!({"agent_id": "ext", "project_id": "p", "prompt": "x"})),
    ];
    let mut rows: Vec<(&'static str, String, Value)> = rows
        .into_iter()
        .map(|(route, path, body)| {
            (route, format!("/api/v1/{path}").replace("/D/", &format!("/{decision}/")), body)
        })
        .collect();
    let chat = json!({"model": "nope", "messages": [{"role": "user", "content": "x"}]});
    rows.push(("POST /v1/chat/completions", "/v1/chat/completions".to_owned(), chat));
    rows
}

#[tokio::test]
async fn body_with_a_refused_last_part_changes_nothing() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::always(Reply::text("x")), &[]).await;
    // A disabled provider has no heartbeats, which would write.
    harness.act("providers/scripted/disable", Value::Null).await;
    let external = json!({"id": "ext", "name": "Ext", "kind": "external", "project_id": "p"});
    harness.create("agents", external.clone()).await;
    let mut holder = external;
    holder["id"] = json!("holder");
    harness.create("agents", holder).await;
    harness.bead("ours", json!({"defer_until": FAR})).await;
    harness.bead("held", json!({})).await;
    harness.act("beads/held/claim", json!({"agent_id": "holder", "ttl_sec": 3600})).await;
    let question =
        json!({"project_id": "p", "question": "Which?", "options": ["a", "b"], "timeout": "never"});
    let decision = harness.create("decisions", question).await["id"].as_str().unwrap().to_owned();
    harness.create("file-locks", json!({"project_id": "p", "path": "taken.rs", "ttl_sec": 86_400})).await;

    let table = refused(&decision, harness.server.token().unwrap());
    let named: BTreeSet<&str> = table.iter().map(|(route, ..)| *route).collect();
    for (route, ..) in bodies("x") {
        assert!(named.contains(route), "{route} has no refused body in the table");
    }
    let data = harness.server.data_dir();
    let before = contents(&data);
    for (route, path, body) in table {
        let (method, _) = route.split_once(' ').unwrap();
        let answer = harness.server.ask(method, &path, &[], Some(&body)).await;
        assert!((400..500).contains(&answer.status), "{route}: {} {}", answer.status, answer.json());
        let after = contents(&data);
        let changed: Vec<_> = after.iter().filter(|(place, row)| before.get(*place) != Some(*row)).collect();
        assert!(changed.is_empty(), "{route} left {changed:#?}");
        assert_eq!(after.len(), before.len(), "{route}");
    }
}
