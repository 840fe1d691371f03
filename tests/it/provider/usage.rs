//! Usage, budgets and model selection through the routes of the running program.

use crate::admission::refusals::problem;
use crate::harness::Harness;
use arbiter_testkit::{Reply, Script};
use serde_json::{Value, json};

/// The total of one group, by its key.
fn line<'a>(lines: &'a Value, key: &str) -> &'a Value {
    let all = lines.as_array().unwrap();
    all.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key} in {lines}"))
}

#[tokio::test]
async fn usage_is_grouped_by_entity_and_limited_to_the_token_scope() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::always(Reply::text("done").with_usage(1_000, 500)), &["a"]).await;
    let prices = json!({"price_input_per_mtok": 2.0, "price_output_per_mtok": 4.0});
    assert_eq!(harness.ask("PATCH", "providers/scripted", Some(&prices)).await.status, 200);
    harness.bead("one", json!({})).await;
    harness.wait_for_bead_status("one", "closed").await;
    for (group, key) in [("provider", "scripted"), ("agent", "a"), ("project", "p"), ("bead", "one")] {
        let lines = harness.get(&format!("usage?group_by={group}")).await;
        let found = line(&lines, key);
        assert_eq!((found["calls"].as_u64(), found["failed"].as_u64()), (Some(1), Some(0)), "{lines}");
        assert_eq!((&found["input_tokens"], &found["output_tokens"]), (&json!(1_000), &json!(500)));
        assert_eq!(found["cost_usd"], 0.004);
    }
    let by_day = harness.get("usage?per=day&group_by=model&kind=run&project_id=p").await;
    assert_eq!(by_day[0]["period"].as_str().unwrap().len(), "2026-11-23".len());
    let own = harness.get("providers/scripted/usage?per=month").await;
    assert_eq!((own[0]["key"].clone(), own[0]["cost_usd"].clone()), (by_day[0]["key"].clone(), json!(0.004)));
    assert_eq!(harness.get("usage?from=2099-01-01T00:00:00Z").await, json!([]));
    assert_eq!(harness.get("usage?provider_id=other").await, json!([]));
    problem(&harness.ask("GET", "providers/nobody/usage", None).await, 404, "not-found");
    for wrong in ["usage?group_by=day", "usage?per=hour", "usage?from=yesterday", "usage?kind=all"] {
        problem(&harness.ask("GET", wrong, None).await, 400, "bad-query");
    }
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    let elsewhere = harness.token(json!({"name": "v", "role": "viewer", "projects": ["q"]})).await;
    for path in ["usage", "providers/scripted/usage"] {
        assert_eq!(harness.ask_as(&elsewhere, "GET", path, None).await.json(), json!([]), "{path}");
    }
    let spent = json!({"budgets": [{"scope": "project:p", "period": "month", "cap_usd": 1}]});
    let budgets = harness.ask("PUT", "budgets", Some(&spent)).await.json();
    assert_eq!((&budgets[0]["spent_usd"], &budgets[0]["left_usd"]), (&json!(0.004), &json!(0.996)));
}

#[tokio::test]
async fn budget_list_is_replaced_whole_and_logged() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &["a"]).await;
    assert_eq!(harness.get("budgets").await, json!([]));
    let put = async |list: Value| harness.ask("PUT", "budgets", Some(&json!({"budgets": list}))).await;
    let total = json!({"scope": "total", "period": "month", "cap_usd": 100.0});
    let project = json!({"scope": "project:p", "period": "day", "cap_usd": 5.5});
    let agent = json!({"scope": "agent:a", "period": "day", "cap_usd": 0});
    let answer = put(json!([total, project, agent])).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(answer.json(), harness.get("budgets").await);
    assert_eq!(answer.json()[0]["cap_usd"], 100.0);
    assert!(answer.json()[1]["renews_at"].as_str().unwrap().ends_with("T00:00:00.000Z"));
    assert_eq!(put(json!([total, project, agent])).await.status, 200);
    let raised = json!({"scope": "total", "period": "month", "cap_usd": 200.0});
    assert_eq!(put(json!([raised, project])).await.json().as_array().unwrap().len(), 2);
    let told = harness.events(0).await;
    let told: Vec<(&str, &Value)> = told
        .iter()
        .filter(|event| event["type"] == "budget.updated")
        .map(|event| (event["subject"].as_str().unwrap(), &event["data"]["changes"]["cap_usd"]))
        .collect();
    assert_eq!(
        told,
        [
            ("total/month", &json!({"old": null, "new": 100.0})),
            ("project:p/day", &json!({"old": null, "new": 5.5})),
            ("agent:a/day", &json!({"old": null, "new": 0.0})),
            ("total/month", &json!({"old": 100.0, "new": 200.0})),
            ("agent:a/day", &json!({"old": 0.0, "new": null})),
        ]
    );
    for (wrong, pointer) in [
        (json!([total, total]), "/budgets/1/scope"),
        (json!([{"scope": "all", "period": "day", "cap_usd": 1}]), "/budgets/0/scope"),
        (json!([{"scope": "project:none", "period": "day", "cap_usd": 1}]), "/budgets/0/scope"),
        (json!([{"scope": "agent:none", "period": "day", "cap_usd": 1}]), "/budgets/0/scope"),
        (json!([{"scope": "total", "period": "day", "cap_usd": -1}]), "/budgets/0/cap_usd"),
        (json!([{"scope": "total", "period": "week", "cap_usd": 1}]), "/budgets/0/period"),
    ] {
        let answer = put(wrong).await;
        problem(&answer, 422, "invalid");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.json());
    }
    assert_eq!(harness.get("budgets").await.as_array().unwrap().len(), 2, "what is refused changes nothing");
    let limited = harness.token(json!({"name": "o", "role": "operator", "projects": ["p"]})).await;
    let seen = harness.ask_as(&limited, "GET", "budgets", None).await.json();
    assert_eq!((seen.as_array().unwrap().len(), &seen[0]["scope"]), (1, &json!("project:p")));
    problem(
        &harness.ask_as(&limited, "PUT", "budgets", Some(&json!({"budgets": []}))).await,
        403,
        "forbidden",
    );
    assert_eq!(put(json!([])).await.json(), json!([]));
}

#[tokio::test]
async fn negotiation_picks_best_known_model_unless_operator_set_one() {
    let harness = Harness::new().await;
    let models = ["tiny", "llama3.1:8b", "Qwen/Qwen3-Coder-480B-A35B-Instruct"];
    let _provider = harness.setup(Script::default().with_models(&models), &[]).await;
    let chosen = harness.act("providers/scripted/negotiate", Value::Null).await;
    assert_eq!(chosen["selected_model"], models[2]);
    assert_eq!(
        (chosen["model_score"].as_f64(), chosen["context_window"].as_u64()),
        (Some(0.119), Some(262_144))
    );
    assert_eq!(chosen["selected_gpu"], "4x H100");
    assert!(chosen["selection_reason"].as_str().unwrap().contains("best known model of 3"), "{chosen}");
    let patch = json!({"model": "tiny", "context_window": 4096});
    harness.ask("PATCH", "providers/scripted", Some(&patch)).await;
    let chosen = harness.act("providers/scripted/negotiate", Value::Null).await;
    assert_eq!((&chosen["model"], &chosen["model_score"]), (&json!("tiny"), &Value::Null));
    assert_eq!(chosen["context_window"], 4096, "what the operator set stands");
    let known = harness.get("models/recommended").await;
    let known = known.as_array().unwrap();
    let scores: Vec<f64> = known.iter().map(|model| model["score"].as_f64().unwrap()).collect();
    assert!(scores.len() >= 40 && scores.is_sorted_by(|one, next| one >= next), "{scores:?}");
    let offered: Vec<&Value> =
        known.iter().filter(|model| model["offered_by"] != json!([])).map(|model| &model["name"]).collect();
    assert_eq!(offered, ["Qwen3-Coder-480B-A35B-Instruct", "Llama-3.1-8B-Instruct"]);
    problem(&harness.ask("POST", "providers/nobody/negotiate", None).await, 404, "not-found");
    harness.act("providers/scripted/disable", Value::Null).await;
    problem(&harness.ask("POST", "providers/scripted/negotiate", None).await, 409, "provider-disabled");
}

#[tokio::test]
async fn provider_pool_fields_are_validated_and_heartbeats_paged() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &[]).await;
    let fields = json!({"pool": "gpu", "priority": 1, "weight": 3, "requests_per_minute": 60,
        "tokens_per_minute": 100_000});
    let answer = harness.ask("PATCH", "providers/scripted", Some(&fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let shown = harness.get("providers/scripted").await;
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name}");
    }
    for (name, wrong) in [
        ("pool", json!("A B")),
        ("priority", json!(1001)),
        ("weight", json!(0)),
        ("requests_per_minute", json!(0)),
    ] {
        let answer = harness.ask("PATCH", "providers/scripted", Some(&json!({name: wrong}))).await;
        problem(&answer, 422, "invalid");
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{name}"));
    }
    let beaten = harness.act("providers/scripted/heartbeat", Value::Null).await;
    assert!(beaten["latency_ewma_ms"].as_f64().is_some(), "{beaten}");
    harness.act("providers/scripted/heartbeat", Value::Null).await;
    let first = harness.ask("GET", "providers/scripted/heartbeats?limit=1", None).await;
    let next = first.header("link").split(['<', '>']).nth(1).unwrap().to_owned();
    let second = harness.ask("GET", next.strip_prefix("/api/v1/").unwrap(), None).await;
    let at = |answer: &Value| answer[0]["at"].as_str().unwrap().to_owned();
    assert!(at(&first.json()) > at(&second.json()));
}
