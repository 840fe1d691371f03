//! A provider of other authors: LiteLLM's proxy, started from its package, with mocked models.
//!
//! Its master key is its only key. It ends with the test, and with the process of the tests.

use crate::clients::openai::{includes, openai, text_of};
use crate::harness::Harness;
use crate::harness::program::ProgramOutput;
use crate::harness::python;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

const MASTER_KEY: &str = "sk-litellm-master";
/// How long it may take until it listens: it imports much.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);
/// Attempts with another port when another process takes the free one.
const TRIES: usize = 5;

/// The models, and what each of them answers.
fn configuration() -> Value {
    let model = |name: &str, fields: Value| {
        let mut params = json!({"model": format!("openai/{name}"), "api_key": "none"});
        params.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"model_name": name, "litellm_params": params})
    };
    let call = json!([{"id": "call_1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"place\": \"Paris\"}"}}]);
    json!({
        "model_list": [
            model("hello", json!({"mock_response": "Hello from LiteLLM."})),
            model("tool", json!({"mock_response": "", "mock_tool_calls": call})),
            model("limited", json!({"mock_response": "litellm.RateLimitError"})),
            model("short", json!({"mock_response": "litellm.ContextWindowExceededError"})),
            model("broken", json!({"mock_response": "litellm.InternalServerError"})),
        ],
        "general_settings": {"master_key": MASTER_KEY},
        "router_settings": {"num_retries": 0, "disable_cooldowns": true},
    })
}

/// The running proxy.
struct LiteLlm {
    child: Child,
    url: String,
    /// Its output, read to the end so that it never blocks on a full pipe.
    said: mpsc::UnboundedReceiver<String>,
    _home: TempDir,
}

impl LiteLlm {
    async fn start() -> Self {
        for _ in 0..TRIES {
            // The kernel gives it to no other process for a while, but a process may bind it by number.
            let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            match Self::start_at(port).await {
                Ok(running) => return running,
                Err(said) if said.contains("address already in use") => {}
                Err(said) => panic!("LiteLLM does not start:\n{said}"),
            }
        }
        panic!("no port was free in {TRIES} tries");
    }

    /// Starts it at this port; what it said instead, when it ended.
    async fn start_at(port: u16) -> Result<Self, String> {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config.yaml");
        // JSON is YAML.
        std::fs::write(&config, configuration().to_string()).unwrap();
        let (output, input) = std::io::pipe().unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(python::installed("litellm"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--config"])
            .arg(&config)
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PYTHONUNBUFFERED", "1")
            // Prices and limits of models are in the package too; it need not fetch them.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .current_dir(home.path())
            .stdin(std::process::Stdio::null())
            .stdout(input.try_clone().unwrap())
            .stderr(input)
            .spawn()
            .unwrap();
        let (say, said) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            // Lossy: what a line cannot hold must not end the reading.
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            lines.map(|line| String::from_utf8_lossy(&line).into_owned()).all(|line| say.send(line).is_ok())
        });
        let url = format!("http://127.0.0.1:{port}/v1");
        let mut running = Self { child, url, said, _home: home };
        let mut all = String::new();
        let ready = async {
            while let Some(line) = running.said.recv().await {
                if line.contains("Uvicorn running on") {
                    return true;
                }
                all.push_str(&line);
                all.push('\n');
            }
            false
        };
        match tokio::time::timeout(LONG_TIMEOUT, ready).await {
            Ok(true) => Ok(running),
            Ok(false) => Err(all),
            Err(_) => panic!("LiteLLM was not ready in {LONG_TIMEOUT:?}:\n{all}"),
        }
    }

    fn end(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for LiteLlm {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn litellm_works_as_a_provider() {
    let mut litellm = LiteLlm::start().await;
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;

    // Registered as a person does it.
    let added = add(&harness, "lite", &litellm, MASTER_KEY).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let beat = harness.cli(&["provider", "heartbeat", "lite", "--json"]).await.json();
    assert_eq!((&beat["status"], &beat["model"]), (&json!("active"), &json!("hello")), "{beat}");
    let offered = harness.get("providers/lite/models").await;
    for model in ["hello", "tool", "limited", "short", "broken"] {
        assert!(offered.to_string().contains(&format!("\"{model}\"")), "{model}: {offered}");
    }

    // OpenAI's client, this server, LiteLLM.
    let seen = openai(&harness, "chat", json!({"model": "lite/hello"})).await;
    assert_eq!(seen["answer"]["choices"][0]["message"]["content"], "Hello from LiteLLM.", "{seen}");
    let run = harness.run_of_id(seen["run"].as_str().unwrap()).await;
    assert!(run["calls"][0]["output_tokens"].as_u64().unwrap() > 0, "{run}");
    let seen = openai(&harness, "stream", json!({"model": "hello"})).await;
    assert_eq!(text_of(&seen), "Hello from LiteLLM.", "{seen}");
    let chunks = seen.as_array().unwrap();
    assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk["usage"].is_null()), "{seen}");
    let asked = json!({"model": "hello", "stream_options": {"include_usage": true}});
    let seen = openai(&harness, "stream", asked).await;
    assert!(seen.as_array().unwrap().last().unwrap()["usage"]["total_tokens"].as_u64() > Some(0), "{seen}");
    let seen = openai(&harness, "chat", json!({"model": "tool"})).await;
    let call = &seen["answer"]["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call, &json!({"name": "weather", "arguments": "{\"place\": \"Paris\"}"}), "{seen}");

    // The console, at once and in pieces.
    let answer = harness.cli(&["repl", "--provider", "lite", "Who is there?"]).await;
    assert_eq!((answer.code, answer.stdout.trim()), (Some(0), "Hello from LiteLLM."), "{answer:?}");
    let question = json!({"message": "Who is there?", "provider_id": "lite", "stream": true});
    let told = harness.ask("POST", "repl", Some(&question)).await;
    let told = String::from_utf8_lossy(&told.body).into_owned();
    assert!(told.contains("event: delta") && told.contains("event: answer"), "{told}");

    wrong_key(&harness, &litellm).await;

    // What it refuses; a limit comes last, for the provider is left alone after it.
    let wanted = [
        ("lite/nonsense", json!({"class": "NotFoundError", "code": "model_not_found"})),
        ("lite/short", json!({"class": "BadRequestError", "code": "context_length_exceeded"})),
        ("lite/broken", json!({"class": "InternalServerError", "code": "provider_overloaded"})),
        ("lite/limited", json!({"class": "RateLimitError", "code": "rate_limit_exceeded"})),
    ];
    let requests = wanted.each_ref().map(|(model, _)| json!({"model": model}));
    let seen = openai(&harness, "errors", json!(requests)).await;
    for ((model, wanted), seen) in wanted.iter().zip(seen.as_array().unwrap()) {
        assert!(includes(seen, wanted), "{model}: {seen}");
    }

    // It goes away, and that is said.
    litellm.end();
    let beat = harness.cli(&["provider", "heartbeat", "lite", "--json"]).await.json();
    assert_eq!(beat["status"], "degraded", "{beat}");
    assert!(beat["last_heartbeat_error"].as_str().unwrap().contains("cannot be reached"), "{beat}");
}

/// Registers LiteLLM by the command line.
async fn add(harness: &Harness, id: &str, litellm: &LiteLlm, key: &str) -> ProgramOutput {
    let provider = ["provider", "add", id, "--id", id, "--type", "custom", "--endpoint", &litellm.url];
    let model = ["--model", "hello", "--api-key-stdin"];
    harness.cli_with(&[&provider[..], &model[..]].concat(), &format!("{key}\n")).await
}

/// A key that LiteLLM does not know: the provider is down at once, and everybody is told why.
async fn wrong_key(harness: &Harness, litellm: &LiteLlm) {
    let added = add(harness, "wrong", litellm, "sk-not-the-master-key").await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let beat = harness.cli(&["provider", "heartbeat", "wrong", "--json"]).await.json();
    assert_eq!(beat["status"], "unhealthy", "{beat}");
    let listed = harness.cli(&["provider", "list"]).await.stdout;
    for text in [beat["last_heartbeat_error"].as_str().unwrap(), &listed] {
        assert!(text.contains("the provider refused the key"), "{text}");
        assert!(!text.contains("sk-not-the-master-key"), "{text}");
    }
    let refused = harness.cli(&["repl", "--provider", "wrong", "Who is there?"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.error_line().contains("it is unhealthy, the provider refused the key"), "{refused:?}");

    // The right one was good until now: a call finds out as well as a beat.
    let patched = harness.ask("PUT", "keys/key_lite", Some(&json!({"value": "sk-not-the-master-key"}))).await;
    assert_eq!(patched.status, 200, "{}", patched.json());
    let failed = harness.chat("lite/hello", json!({})).await;
    assert_eq!((failed.status, &failed.json()["error"]["code"]), (502, &json!("provider_failed")));
    assert!(failed.json().to_string().contains("the provider refused the key"), "{}", failed.json());
    harness.wait_until("providers/lite", |row| row["status"] == "unhealthy").await;
    let patched = harness.ask("PUT", "keys/key_lite", Some(&json!({"value": MASTER_KEY}))).await;
    assert_eq!(patched.status, 200, "{}", patched.json());
    let beat = harness.act("providers/lite/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active", "{beat}");
}
