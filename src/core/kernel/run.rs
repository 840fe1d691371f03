//! Runs: one attempt of an agent at a bead, one prompt to an agent, or one chat through the gateway; with what
//! was said, what it took and how it ended.

pub mod authorize;

use crate::kernel::call::Kind;
use crate::kernel::ids::{AgentId, BeadId, ProjectId, ProviderId, RunId, TokenId};
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

string_enum! {
    /// State of a run.
    pub enum Status {
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        /// Stopped by a restart, a shutdown or a person.
        Cancelled = "cancelled",
    }
}

/// A run as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub kind: Kind,
    /// The bead it worked on; only of [`Kind::Run`], which has bead, agent and project.
    pub bead_id: Option<BeadId>,
    pub agent_id: Option<AgentId>,
    pub project_id: Option<ProjectId>,
    pub token_id: Option<TokenId>,
    pub provider_id: Option<ProviderId>,
    pub model: Option<String>,
    pub status: Status,
    /// Action that the agent chose: `finish`, `block`, `ask_decision`.
    pub outcome: Option<String>,
    pub prompt: String,
    pub answer: Option<String>,
    pub error: Option<String>,
    /// Conversation as JSON messages.
    pub messages: Value,
    /// Number of the model's answers.
    pub steps: u32,
    /// Uses of a key.
    pub key_uses: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Time spent waiting for the provider, in milliseconds.
    pub latency_ms: u64,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

impl Run {
    /// A run that begins.
    pub fn new(id: RunId, kind: Kind, started_at: Timestamp) -> Self {
        Self {
            id,
            kind,
            bead_id: None,
            agent_id: None,
            project_id: None,
            token_id: None,
            provider_id: None,
            model: None,
            status: Status::Running,
            outcome: None,
            prompt: String::new(),
            answer: None,
            error: None,
            messages: Value::Array(vec![]),
            steps: 0,
            key_uses: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: 0.0,
            latency_ms: 0,
            started_at,
            finished_at: None,
        }
    }
}
