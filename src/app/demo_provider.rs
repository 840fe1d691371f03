//! A provider on loopback for the demonstration: it speaks the real protocol, asks for a key like a real
//! one, and marks every answer as simulated.

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use warp::http::StatusCode;
use warp::{Filter, Reply};

/// The key it wants.
pub const KEY: &str = "demo-key-without-value";
/// The delay of an answer, so that a person can follow.
const REPLY_DELAY: Duration = Duration::from_millis(350);

/// Starts it; returns its URL. It ends with the runtime.
pub async fn start() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    tokio::spawn(async move {
        let service = TowerToHyperService::new(warp::service(routes()));
        while let Ok((stream, _)) = listener.accept().await {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
            // A caller that went away is its own affair.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok(url)
}

fn routes() -> impl Filter<Extract = (warp::reply::Response,), Error = Infallible> + Clone {
    let key = || warp::header::optional::<String>("authorization");
    let models = warp::path!("v1" / "models").and(warp::get()).and(key()).map(|key: Option<String>| {
        answer(key.as_deref(), json!({"object": "list", "data": [{"id": "simulated-1", "object": "model"}]}))
    });
    let chat =
        warp::path!("v1" / "chat" / "completions").and(warp::post()).and(key()).and(warp::body::json());
    let chat = chat.then(|key: Option<String>, request: Value| async move {
        tokio::time::sleep(REPLY_DELAY).await;
        answer(key.as_deref(), completion(&request))
    });
    let unknown = warp::any().map(|| StatusCode::NOT_FOUND.into_response());
    models.or(chat).unify().or(unknown).unify()
}

fn answer(key: Option<&str>, body: Value) -> warp::reply::Response {
    if key == Some(format!("Bearer {KEY}").as_str()) {
        return warp::reply::json(&body).into_response();
    }
    let refused = json!({"error": {"message": "the key is wrong", "type": "invalid_request_error"}});
    warp::reply::with_status(warp::reply::json(&refused), StatusCode::UNAUTHORIZED).into_response()
}

/// Ends the work item with the tool `finish`.
fn completion(request: &Value) -> Value {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let asked = messages.iter().rev().find_map(|message| message["content"].as_str()).unwrap_or_default();
    let item = asked.lines().find_map(|line| line.strip_prefix("Work item ")).unwrap_or("the work item");
    let title = item.split_once(": ").map_or(item, |(_, title)| title);
    let summary = format!("[simulated] No model was asked; pretended to do it: {title}");
    let call = json!({
        "id": "call-1", "type": "function",
        "function": {"name": "finish", "arguments": json!({"summary": summary}).to_string()},
    });
    let message =
        json!({"role": "assistant", "content": "[simulated] This answer is made up.", "tool_calls": [call]});
    json!({
        "id": "simulated", "object": "chat.completion", "model": "simulated-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": asked.len() / 4, "completion_tokens": summary.len() / 4},
    })
}
