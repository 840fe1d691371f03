//! The console: a question about the company, answered by the best provider from the facts.

use crate::http::access::Access;
use crate::http::page::PAGE;
use crate::http::vocabulary::time;
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_actors::Question;
use arbiter_core::ids::ProviderId;
use arbiter_core::time::Timestamp;
use arbiter_store::ConsoleTurn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use warp::http::Method;

/// The longest time that an answer may be waited for, in seconds.
const MAX_TIMEOUT_SEC: u64 = 3_600;
/// How an answer came: no workflow was between.
const DIRECT: &str = "direct";

/// A question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QuestionBody {
    /// What is asked.
    message: String,
    /// The provider that shall answer; else the best one by quality, the quickest among equals.
    #[serde(default)]
    provider_id: Option<String>,
    /// The project it is about; else all of them.
    #[serde(default)]
    project_id: Option<String>,
    /// How long the answer may take, 1 to 3600 seconds.
    #[serde(default)]
    timeout_sec: Option<u64>,
}

/// An answer.
#[derive(Debug, Serialize, JsonSchema)]
struct AnswerView {
    /// The id of the turn.
    id: String,
    /// When it was asked.
    #[schemars(schema_with = "time")]
    at: Timestamp,
    /// What was asked.
    message: String,
    /// The project it was about.
    project_id: Option<String>,
    /// The provider that answered.
    provider_id: String,
    /// Its name.
    provider_name: String,
    /// The model that answered.
    model: String,
    /// Why that provider.
    reason: String,
    /// The answer.
    response: String,
    /// Tokens of question and answer together.
    tokens_used: u64,
    /// How long it took, in milliseconds.
    latency_ms: u64,
    /// What it cost, in US dollars.
    cost_usd: f64,
    /// `direct`.
    via: &'static str,
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
            via: DIRECT,
        }
    }
}

/// Asking, and what was asked.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_body(Method::POST, "/api/v1/repl", ask)
            .access(Access::Operator)
            .unlimited()
            .summary("Ask about the company; the best provider answers from the facts")
            .answers::<AnswerView>(200),
        Endpoint::get("/api/v1/repl/history", history)
            .query(PAGE)
            .summary("What the caller asked, and the answers, oldest first")
            .answers::<Vec<AnswerView>>(200),
    ]
}

async fn ask(call: Call, body: QuestionBody) -> Result<Reply, ApiError> {
    if body.timeout_sec.is_some_and(|seconds| !(1..=MAX_TIMEOUT_SEC).contains(&seconds)) {
        return Err(ApiError::field("timeout_sec", "is 1 to 3600"));
    }
    if let Some(project) = &body.project_id {
        call.need_project(Some(project))?;
        if call.handles().store.project(project.clone()).await?.is_none() {
            return Err(ApiError::field("project_id", format!("no project has the id {project}")));
        }
    }
    let question = Question {
        message: body.message,
        provider_id: body.provider_id.map(ProviderId::known),
        project_id: body.project_id,
        within: call.within(),
        timeout: body.timeout_sec.map(Duration::from_secs),
    };
    let turn = call.handles().console.ask(&call.caller()?, question).await?;
    Reply::json(&AnswerView::from(turn))
}

async fn history(call: Call) -> Result<Reply, ApiError> {
    let user = call.identity.name().to_owned();
    let page = call.handles().store.console_turns(user, call.page()?).await?;
    Reply::page::<_, AnswerView>(&call, page)
}
