//! Prompts to an agent without a bead.

use crate::http::agent::runs::RunView;
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::AgentPrompt;
use arbiter_core::kernel::ids::{AgentId, ProjectId};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;
use warp::http::Method;

/// The longest time that an answer may be waited for, in seconds.
const MAX_TIMEOUT_SEC: u64 = 3_600;

/// A prompt.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PromptBody {
    /// Agent to prompt.
    agent_id: String,
    /// The project it is for, which pays.
    project_id: String,
    /// Prompt to the agent.
    prompt: String,
    /// Additional context for the agent, by name.
    #[serde(default)]
    context: Map<String, Value>,
    /// Time limit of the answer, 1 to 3600 seconds; by default that of any call.
    #[serde(default)]
    timeout_sec: Option<u64>,
}

/// Asking an agent.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_body(Method::POST, "/api/v1/work", ask)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Operator)
            .unlimited()
            .summary("Ask an agent something that is no bead; the run has its answer")
            .answers::<RunView>(200),
    ]
}

async fn ask(request: ApiRequest, body: PromptBody) -> Result<Reply, ApiError> {
    if body.timeout_sec.is_some_and(|seconds| !(1..=MAX_TIMEOUT_SEC).contains(&seconds)) {
        return Err(ApiError::field("timeout_sec", "must be between 1 and 3600"));
    }
    let wanted = AgentPrompt {
        agent_id: AgentId::from_trusted(body.agent_id),
        project_id: ProjectId::from_trusted(body.project_id),
        prompt: body.prompt,
        context: body.context,
        timeout: body.timeout_sec.map(Duration::from_secs),
    };
    let run = request.handles().work.ask(&request.caller()?, wanted).await?;
    Reply::json(&RunView::of(run, vec![]))
}
