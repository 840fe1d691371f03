//! The gateway as any HTTP client sees it: routing, cost, messages, cancellation.

use crate::harness::{Harness, KEY};
use arbiter_testkit::{Fault, HttpBodyStream, HttpResponse, Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

impl Harness {
    /// The run that a chat through the gateway was. It is stored before the answer ends.
    pub async fn run_of(&self, answer: &HttpResponse) -> Value {
        let run = self.get(&format!("runs/{}", answer.header("x-arbiter-run"))).await;
        assert_ne!(run["status"], "running", "{run}");
        run
    }

    /// The same by its id, at its end. It has no event, so it is looked for until it has ended.
    pub async fn run_of_id(&self, id: &str) -> Value {
        let deadline = tokio::time::Instant::now() + crate::harness::TIMEOUT;
        loop {
            let answer = self.ask("GET", &format!("runs/{id}"), None).await;
            assert_eq!(answer.status, 200, "{id}: {}", answer.json());
            if answer.json()["status"] != "running" {
                return answer.json();
            }
            assert!(tokio::time::Instant::now() < deadline, "the run {id:?} never ended");
            tokio::task::yield_now().await;
        }
    }
}

/// The rest of a stream, as text.
async fn read_rest(mut stream: HttpBodyStream) -> String {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = stream.next().await {
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn gateway_chat_records_run_and_cost_but_no_content() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::text("Fine.").with_usage(1_000, 500)), &["a"]).await;
    let prices = json!({"price_input_per_mtok": 2.0, "price_output_per_mtok": 4.0});
    assert_eq!(harness.ask("PATCH", "providers/scripted", Some(&prices)).await.status, 200);
    let token = harness.token(json!({"name": "tool", "role": "agent", "agent_id": "a"})).await;
    let bearer = format!("Bearer {token}");
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "How are you?"}]});
    let answer =
        harness.server.send("POST", "/v1/chat/completions", &[("authorization", &bearer)], Some(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Fine.");
    assert_eq!(answer.header("x-arbiter-provider"), "scripted");
    let run = harness.run_of(&answer).await;
    assert_eq!(
        (&run["kind"], &run["status"], &run["cost_usd"]),
        (&json!("gateway"), &json!("succeeded"), &json!(0.004))
    );
    assert_eq!(
        (&run["agent_id"], &run["project_id"], &run["key_uses"]),
        (&json!("a"), &json!("p"), &json!(1)),
        "{run}"
    );
    assert!(run["token_id"].as_str().unwrap().starts_with("tok"), "{run}");
    assert!(!run.to_string().contains("How are you?") && !run.to_string().contains("Fine."), "{run}");
    let sent = provider.requests().into_iter().find(|request| request.path.ends_with("completions")).unwrap();
    assert_eq!(sent.authorization.as_deref(), Some(format!("Bearer {KEY}").as_str()));
    let usage = harness.get("usage?group_by=token&kind=gateway").await;
    assert_eq!((&usage[0]["key"], &usage[0]["cost_usd"]), (&run["token_id"], &json!(0.004)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateway_stream_ends_on_cancel_revocation_or_disconnect() {
    let harness = Harness::new().await;
    let script = || Script::always(Reply::failing(Fault::StallAfterEvents(2)));
    let provider = harness.setup(script(), &[]).await;
    let mut stream = harness.chat_streaming("scripted/auto").await;
    let run = stream.headers["x-arbiter-run"].to_str().unwrap().to_owned();
    assert!(stream.next().await.unwrap().is_some());
    let ended = harness.act(&format!("runs/{run}/cancel"), json!({"reason": "too dear"})).await;
    assert_eq!((&ended["status"], &ended["kind"]), (&json!("cancelled"), &json!("gateway")));
    assert!(ended["error"].as_str().unwrap().contains("too dear"), "{ended}");
    let told = read_rest(stream).await;
    assert!(told.contains("run_cancelled") && !told.contains("[DONE]"), "{told}");
    provider.wait_for_cancellations(1).await;

    let token = harness.token(json!({"name": "tool", "role": "operator"})).await;
    let url = format!("{}/v1/chat/completions", harness.server.url());
    let body = json!({"model": "auto", "stream": true, "messages": [{"role": "user", "content": "Go on."}]});
    let bearer = format!("Bearer {token}");
    let mut stream =
        arbiter_testkit::send_streaming("POST", &url, &[("authorization", &bearer)], &body).await.unwrap();
    assert!(stream.next().await.unwrap().is_some());
    let tokens = harness.get("tokens").await;
    let id = tokens.as_array().unwrap().iter().find(|one| one["name"] == "tool").unwrap()["id"].clone();
    assert_eq!(harness.ask("DELETE", &format!("tokens/{}", id.as_str().unwrap()), None).await.status, 204);
    let told = read_rest(stream).await;
    assert!(told.contains("invalid_api_key"), "{told}");
    provider.wait_for_cancellations(2).await;

    let mut stream = harness.chat_streaming("auto").await;
    let run = stream.headers["x-arbiter-run"].to_str().unwrap().to_owned();
    assert!(stream.next().await.unwrap().is_some());
    drop(stream);
    provider.wait_for_cancellations(3).await;
    let run = harness.run_of_id(&run).await;
    assert_eq!(
        (&run["status"], &run["error"]),
        (&json!("cancelled"), &json!("the client went away")),
        "{run}"
    );
    let row = harness.get("providers/scripted").await;
    assert_eq!(row["status"], "active");
    let usage = harness.get("usage?kind=gateway").await;
    assert_eq!((&usage[0]["calls"], &usage[0]["failed"]), (&json!(3), &json!(0)), "{usage}");
}

#[tokio::test]
async fn gateway_token_with_several_projects_must_name_one_of_them() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &[]).await;
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    let ask = async |projects: Value, header: Option<&str>| {
        let token = harness.token(json!({"name": "t", "role": "operator", "projects": projects})).await;
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(header.map(|id| ("openai-project", id)));
        let body = json!({"model": "auto", "messages": []});
        harness.server.send("POST", "/v1/chat/completions", &headers, Some(&body)).await
    };
    let only = ask(json!(["p"]), None).await;
    assert_eq!(only.status, 200, "{}", only.json());
    assert_eq!(harness.run_of(&only).await["project_id"], "p");
    assert_eq!(ask(json!(["p", "q"]), None).await.status, 400);
    let named = ask(json!(["p", "q"]), Some("q")).await;
    assert_eq!(harness.run_of(&named).await["project_id"], "q");
    assert_eq!(ask(json!(["p"]), Some("q")).await.status, 403);
    let cap = json!({"budgets": [{"scope": "project:q", "period": "day", "cap_usd": 0}]});
    assert_eq!(harness.ask("PUT", "budgets", Some(&cap)).await.status, 200);
    let prices = json!({"price_input_per_mtok": 1.0, "price_output_per_mtok": 1.0});
    assert_eq!(harness.ask("PATCH", "providers/scripted", Some(&prices)).await.status, 200);
    let spent = ask(json!(["q"]), None).await;
    assert_eq!((spent.status, &spent.json()["error"]["type"]), (402, &json!("insufficient_quota")));
    assert_eq!(ask(json!(["p"]), None).await.status, 200);
}

#[tokio::test]
async fn plain_model_name_is_served_by_any_provider_offering_it() {
    let harness = Harness::new().await;
    let mut providers = Vec::new();
    for (id, models) in [("east", ["shared", "only-east"]), ("west", ["shared", "only-west"])] {
        let script =
            Script::always(Reply::text(format!("From {id}."))).with_models(&models).requiring_key(KEY);
        let provider = ScriptedProvider::start(script);
        harness.register(id, &provider.url(), KEY).await;
        providers.push(provider);
    }
    let said = async |model: &str| {
        let answer = harness.chat(model, json!({})).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.json());
        answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    for (model, wanted) in [
        ("only-west", "From west."),
        ("only-east", "From east."),
        ("west/shared", "From west."),
        ("west/auto", "From west."),
    ] {
        assert_eq!(said(model).await, wanted, "{model}");
    }
    let listed = harness.server.ask("GET", "/v1/models", &[], None).await.json();
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        [
            "auto",
            "east/auto",
            "east/only-east",
            "east/shared",
            "only-east",
            "only-west",
            "shared",
            "west/auto",
            "west/only-west",
            "west/shared"
        ]
    );
    // Both offer it: when the first one fails, the other one serves it, pool or not.
    providers[0]
        .set_script(Script::always(Reply::error(503, "busy")).with_models(&["shared"]).requiring_key(KEY));
    assert_eq!(said("shared").await, "From west.");
    harness.act("providers/west/disable", Value::Null).await;
    let gone = harness.chat("only-west", json!({})).await;
    assert_eq!(
        (gone.status, &gone.json()["error"]["code"]),
        (503, &json!("provider_overloaded")),
        "{}",
        gone.json()
    );
    let unknown = harness.chat("nonsense", json!({})).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["param"]), (404, &json!("model")));
}

#[tokio::test]
async fn provider_edit_or_deletion_affects_the_next_call() {
    let harness = Harness::new().await;
    let first = harness.setup(Script::always(Reply::text("From the first.")), &["a"]).await;
    let second =
        ScriptedProvider::start(Script::always(Reply::text("From the second.")).requiring_key("sk-second"));
    harness.bead("one", json!({})).await;
    harness.wait_for_bead_status("one", "closed").await;
    let moved = json!({"endpoint": second.url(), "api_key": "sk-second"});
    assert_eq!(harness.ask("PATCH", "providers/scripted", Some(&moved)).await.status, 200);
    let chat = harness.chat("scripted/auto", json!({})).await;
    assert_eq!(chat.json()["choices"][0]["message"]["content"], "From the second.", "{}", chat.json());
    harness.bead("two", json!({})).await;
    assert_eq!(harness.wait_for_bead_status("two", "closed").await["close_reason"], "From the second.");
    assert_eq!(first.chat_count(), 1);
    assert_eq!(harness.ask("DELETE", "providers/scripted?cascade=true", None).await.status, 204);
    assert_eq!(harness.chat("scripted/auto", json!({})).await.status, 404);
}
