//! Runs: one attempt of an agent at a bead, one prompt to an agent, or one chat through the gateway; with what
//! was said, what it took and how it ended.

use crate::kernel::call::Kind;
use crate::kernel::ids::{AgentId, BeadId, ProjectId, ProviderId, RunId, TokenId};
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

string_enum! {
    /// How a run stands.
    pub enum Status {
        /// It goes on.
        Running = "running",
        /// It came to an end of the agent's own choice.
        Succeeded = "succeeded",
        /// It failed.
        Failed = "failed",
        /// It was stopped: a restart, a shutdown, a person.
        Cancelled = "cancelled",
    }
}

/// A run as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What it was for.
    pub kind: Kind,
    /// The bead it worked on; only of [`Kind::Run`], which has bead, agent and project.
    pub bead_id: Option<BeadId>,
    /// The agent that worked, or that it was for.
    pub agent_id: Option<AgentId>,
    /// The project it was for.
    pub project_id: Option<ProjectId>,
    /// The token of the client that wanted it.
    pub token_id: Option<TokenId>,
    /// The provider it spoke to.
    pub provider_id: Option<ProviderId>,
    /// The model that answered.
    pub model: Option<String>,
    /// How it stands.
    pub status: Status,
    /// What the agent chose: `finish`, `block`, `ask_decision`.
    pub outcome: Option<String>,
    /// What the agent was asked first.
    pub prompt: String,
    /// What it answered last.
    pub answer: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Everything that was said, as JSON messages.
    pub messages: Value,
    /// Answers of the model.
    pub steps: u32,
    /// Uses of a key.
    pub key_uses: u32,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// Time spent waiting for the provider, in milliseconds.
    pub latency_ms: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
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

/// What tokens cost, in US dollars; a price that is not known counts as nothing.
pub fn cost_usd(input: u64, output: u64, price_input: Option<f64>, price_output: Option<f64>) -> f64 {
    #[allow(clippy::cast_precision_loss)] // token counts stay far below 2^52
    let part = |tokens: u64, price: Option<f64>| tokens as f64 * price.unwrap_or(0.0) / 1_000_000.0;
    part(input, price_input) + part(output, price_output)
}
