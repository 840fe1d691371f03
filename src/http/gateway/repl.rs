//! The console: a question about the company, answered by the best provider from the facts.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::page::PAGE;
use crate::http::wire::schema::time;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{ConsoleQuestion, Error};
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::ConsoleTurn;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;
use warp::http::Method;

/// The longest time that an answer may be waited for, in seconds.
const MAX_TIMEOUT_SEC: u64 = 3_600;
/// A question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QuestionBody {
    /// Message of the user.
    message: String,
    /// The provider that shall answer; else the best one by quality, the quickest among equals.
    #[serde(default)]
    provider_id: Option<String>,
    /// The project it is about; else all of them.
    #[serde(default)]
    project_id: Option<String>,
    /// Time limit of the answer, 1 to 3600 seconds.
    #[serde(default)]
    timeout_sec: Option<u64>,
    /// True if the answer comes in pieces, as server-sent events: `delta` with a `text` each, then `answer`
    /// or `error`.
    #[serde(default)]
    stream: bool,
}

/// An answer.
#[derive(Debug, Serialize, JsonSchema)]
struct AnswerView {
    /// The id of the turn.
    id: String,
    /// Time of the request.
    #[schemars(schema_with = "time")]
    at: Timestamp,
    /// Message of the user.
    message: String,
    /// The project it was about.
    project_id: Option<String>,
    /// The provider that answered.
    provider_id: String,
    /// Its name.
    provider_name: String,
    /// The model that answered.
    model: String,
    /// Reason for the choice of the provider.
    reason: String,
    /// The answer.
    response: String,
    /// Tokens of question and answer together.
    tokens_used: u64,
    /// Duration, in milliseconds.
    latency_ms: u64,
    /// Cost, in US dollars.
    cost_usd: f64,
    /// Path of the provider call: `temporal` or `direct`.
    via: &'static str,
    /// The workflow through which it was called, or null.
    workflow_id: Option<String>,
}

impl From<ConsoleTurn> for AnswerView {
    fn from(turn: ConsoleTurn) -> Self {
        Self {
            id: turn.id,
            at: turn.at,
            message: turn.message,
            project_id: turn.project_id,
            provider_id: turn.provider_id,
            provider_name: turn.provider_name,
            model: turn.model,
            reason: turn.reason,
            response: turn.response,
            tokens_used: turn.input_tokens + turn.output_tokens,
            latency_ms: turn.latency_ms,
            cost_usd: turn.cost_usd,
            via: if turn.workflow_id.is_some() { "temporal" } else { "direct" },
            workflow_id: turn.workflow_id,
        }
    }
}

/// Asking, and what was asked.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_body(Method::POST, "/api/v1/repl", ask)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Operator)
            .unlimited()
            .summary("Ask about the company; the best provider answers from the facts")
            .answers::<AnswerView>(200)
            .answers_as(200, "text/event-stream"),
        Endpoint::get("/api/v1/repl/history", history)
            .scope(ProjectScope::Unscoped)
            .query(PAGE)
            .summary("What the caller asked within the projects of its token, and the answers, oldest first")
            .answers::<Vec<AnswerView>>(200),
    ]
}

async fn ask(request: ApiRequest, body: QuestionBody) -> Result<Reply, ApiError> {
    if body.timeout_sec.is_some_and(|seconds| !(1..=MAX_TIMEOUT_SEC).contains(&seconds)) {
        return Err(ApiError::field("timeout_sec", "must be between 1 and 3600"));
    }
    if let Some(project) = &body.project_id {
        request.require_project(Some(project))?;
        if request.handles().store.project(project.clone()).await?.is_none() {
            return Err(ApiError::field("project_id", format!("no project has the id {project}")));
        }
    }
    let question = ConsoleQuestion {
        message: body.message,
        provider_id: body.provider_id.map(ProviderId::from_trusted),
        project_id: body.project_id,
        within: request.within(),
        timeout: body.timeout_sec.map(Duration::from_secs),
    };
    let (console, caller) = (request.handles().console.clone(), request.caller()?);
    if !body.stream {
        return Reply::json(&AnswerView::from(console.ask(&caller, question).await?));
    }
    // The bound holds in `AnswerStream`: the call is polled only by the client's own stream and only while no
    // piece waits, so a slow client holds the provider up, and what waits is at most what one poll has read.
    let (tell, pieces) = mpsc::unbounded_channel();
    let answer = async move { console.ask_streaming(&caller, question, Some(tell)).await };
    let request_id = request.request_id.as_str().to_owned();
    let answer_stream = AnswerStream { pieces, answer: Some(answer.boxed()), request_id };
    let frames = futures_util::stream::unfold(answer_stream, |mut answer_stream| async move {
        let frame = answer_stream.next().await?;
        Some((frame, answer_stream))
    });
    Ok(Reply::stream("text/event-stream", frames))
}

/// An answer on its way. Dropping it ends the call.
struct AnswerStream {
    pieces: mpsc::UnboundedReceiver<String>,
    answer: Option<BoxFuture<'static, Result<ConsoleTurn, Error>>>,
    request_id: String,
}

impl AnswerStream {
    async fn next(&mut self) -> Option<Bytes> {
        let answer = self.answer.as_mut()?;
        let outcome = tokio::select! {
            biased;
            Some(text) = self.pieces.recv() => return Some(frame("delta", &json!({"text": text}))),
            outcome = answer => outcome,
        };
        self.answer = None;
        // What came with the end is told before it.
        let mut frames = BytesMut::new();
        while let Ok(text) = self.pieces.try_recv() {
            frames.extend_from_slice(&frame("delta", &json!({"text": text})));
        }
        frames.extend_from_slice(&match outcome {
            Ok(turn) => frame("answer", &AnswerView::from(turn)),
            Err(error) => {
                let (_, _, document) = ApiError::from(error).render(&self.request_id);
                frame("error", &serde_json::from_slice::<Value>(&document).unwrap_or_default())
            }
        });
        Some(frames.freeze())
    }
}

fn frame(event: &str, data: &impl Serialize) -> Bytes {
    // Texts and numbers always serialize.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {event}\ndata: {data}\n\n"))
}

async fn history(request: ApiRequest) -> Result<Reply, ApiError> {
    let user = request.identity.name().to_owned();
    let page = request.handles().store.console_turns(user, request.within(), request.page()?).await?;
    Reply::page::<_, AnswerView>(request.page_link(), page)
}
