//! Runs: what agents did with beads.

use crate::http::endpoint::{QueryField, text, word as word_field};
use crate::http::page::PAGE;
use crate::http::vocabulary::{Vocabulary, maybe_time, time, word};
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_core::ids::ProviderId;
use arbiter_core::run::{Run, Status};
use arbiter_core::time::Timestamp;
use arbiter_store::RunFilter;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

const FILTERS: &[QueryField] = &[
    text("bead_id", "Only those on this bead"),
    text("agent_id", "Only those of this agent"),
    text("project_id", "Only those in this project"),
    word_field("status", <Status as Vocabulary>::WORDS, "Only those with this status"),
];

macro_rules! run_view {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $extra:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, JsonSchema)]
        pub struct $name {
            /// Its id.
            id: String,
            /// The bead it worked on.
            bead_id: String,
            /// The agent that worked.
            agent_id: String,
            /// The project of both.
            project_id: String,
            /// The provider it spoke to.
            provider_id: Option<String>,
            /// The model that answered.
            model: Option<String>,
            /// How it stands.
            #[schemars(schema_with = "word::<Status>")]
            status: Status,
            /// What the agent chose: `finish`, `block`, `ask_decision`.
            outcome: Option<String>,
            /// What went wrong.
            error: Option<String>,
            /// Answers of the model.
            steps: u32,
            /// Uses of a key.
            key_uses: u32,
            /// Tokens sent.
            input_tokens: u64,
            /// Tokens received.
            output_tokens: u64,
            /// What it cost, in US dollars.
            cost_usd: f64,
            /// Time spent waiting for the provider, in milliseconds.
            latency_ms: u64,
            /// When it began.
            #[schemars(schema_with = "time")]
            started_at: Timestamp,
            /// When it ended.
            #[schemars(schema_with = "maybe_time")]
            finished_at: Option<Timestamp>,
            $($(#[$field_doc])* $extra: $type,)*
        }

        impl From<Run> for $name {
            fn from(run: Run) -> Self {
                Self {
                    id: run.id.as_str().to_owned(),
                    bead_id: run.bead_id.as_str().to_owned(),
                    agent_id: run.agent_id.as_str().to_owned(),
                    project_id: run.project_id.as_str().to_owned(),
                    provider_id: run.provider_id.as_ref().map(ProviderId::to_string),
                    model: run.model,
                    status: run.status,
                    outcome: run.outcome,
                    error: run.error,
                    steps: run.steps,
                    key_uses: run.key_uses,
                    input_tokens: run.input_tokens,
                    output_tokens: run.output_tokens,
                    cost_usd: run.cost_usd,
                    latency_ms: run.latency_ms,
                    started_at: run.started_at,
                    finished_at: run.finished_at,
                    $($extra: run.$extra,)*
                }
            }
        }
    };
}

run_view! {
    /// A run without what was said in it.
    RunSummaryView {}
}

run_view! {
    /// A run.
    RunView {
        /// What the agent was asked first.
        prompt: String,
        /// What it answered last.
        answer: Option<String>,
        /// Everything that was said.
        messages: Value,
    }
}

/// Listing and showing runs.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/runs", list)
            .query(FILTERS)
            .query(PAGE)
            .summary("What agents did with beads, oldest first")
            .answers::<Vec<RunSummaryView>>(200),
        Endpoint::get("/api/v1/runs/{id}", show)
            .summary("One run with everything that was said")
            .answers::<RunView>(200),
    ]
}

async fn list(call: Call) -> Result<Reply, ApiError> {
    let filter = RunFilter {
        bead_id: call.query.owned("bead_id")?,
        agent_id: call.query.owned("agent_id")?,
        project_id: call.query.owned("project_id")?,
        within: call.within(),
        status: call.query.word("status", Status::parse)?,
    };
    let page = call.handles().store.runs(filter, call.page()?).await?;
    Reply::page::<_, RunSummaryView>(&call, page)
}

async fn show(call: Call) -> Result<Reply, ApiError> {
    let found = call.handles().store.run(call.param("id").to_owned()).await?;
    let run = found.ok_or_else(|| ApiError::not_found("run", call.param("id")))?;
    Reply::json(&RunView::from(run))
}
