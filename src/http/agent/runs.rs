//! Runs: what agents did with beads, what they were asked, and chats through the gateway.

use crate::http::framework::project_scope::{EntityKind, ProjectScope};
use crate::http::framework::required_role::Access;
use crate::http::wire::page::PAGE;
use crate::http::wire::query::{QueryField, text, word as word_field};
use crate::http::wire::schema::{EnumValues, maybe_time, time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::call as ledger;
use arbiter_core::kernel::call::{Kind, Outcome};
use arbiter_core::kernel::ids::{ProviderId, RunId};
use arbiter_core::kernel::run::{Run, Status};
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::RunFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use warp::http::Method;

const FILTERS: &[QueryField] = &[
    text("bead_id", "Only those on this bead"),
    text("agent_id", "Only those of this agent"),
    text("project_id", "Only those in this project"),
    word_field("kind", <Kind as EnumValues>::VALUES, "Only those of this kind"),
    word_field("status", <Status as EnumValues>::VALUES, "Only those with this status"),
];

macro_rules! run_view {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $extra:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, JsonSchema)]
        pub struct $name {
            /// Its id.
            id: String,
            /// `run`: an agent at a bead; `work`: a prompt to an agent; `gateway`: a chat of another program.
            #[schemars(schema_with = "word::<Kind>")]
            kind: Kind,
            /// Bead of the run.
            bead_id: Option<String>,
            /// Agent that worked, or on whose behalf the call was made.
            agent_id: Option<String>,
            /// The project it was for.
            project_id: Option<String>,
            /// The token of the client that wanted it.
            token_id: Option<String>,
            /// The provider it spoke to.
            provider_id: Option<String>,
            /// The model that answered.
            model: Option<String>,
            /// Current status.
            #[schemars(schema_with = "word::<Status>")]
            status: Status,
            /// Action that the agent chose: `finish`, `block`, `ask_decision`; or `answered`, `length`, `filtered`, `refused`.
            outcome: Option<String>,
            /// Error, if any.
            error: Option<String>,
            /// Answers of the model.
            steps: u32,
            /// Uses of a key.
            key_uses: u32,
            /// Tokens sent.
            input_tokens: u64,
            /// Tokens received.
            output_tokens: u64,
            /// Cost, in US dollars.
            cost_usd: f64,
            /// Time spent waiting for the provider, in milliseconds.
            latency_ms: u64,
            /// Start time.
            #[schemars(schema_with = "time")]
            started_at: Timestamp,
            /// End time.
            #[schemars(schema_with = "maybe_time")]
            finished_at: Option<Timestamp>,
            $($(#[$field_doc])* $extra: $type,)*
        }

        impl From<Run> for $name {
            fn from(run: Run) -> Self {
                Self {
                    id: run.id.as_str().to_owned(),
                    kind: run.kind,
                    bead_id: run.bead_id.as_ref().map(ToString::to_string),
                    agent_id: run.agent_id.as_ref().map(ToString::to_string),
                    project_id: run.project_id.as_ref().map(ToString::to_string),
                    token_id: run.token_id.as_ref().map(ToString::to_string),
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
    /// A run with what was said in it.
    WholeRunView {
        /// First prompt to the agent.
        prompt: String,
        /// Last answer of the agent.
        answer: Option<String>,
        /// Everything that was said.
        messages: Value,
    }
}

/// A run with its calls.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunView {
    #[serde(flatten)]
    run: WholeRunView,
    /// Its calls to providers, oldest first.
    calls: Vec<CallView>,
}

impl RunView {
    /// A run with these lines of the ledger.
    pub fn of(run: Run, calls: Vec<ledger::Call>) -> Self {
        Self { run: WholeRunView::from(run), calls: calls.into_iter().map(CallView::from).collect() }
    }
}

/// A call to a provider, with the attempts it took.
#[derive(Debug, Serialize, JsonSchema)]
struct CallView {
    /// Start time.
    #[schemars(schema_with = "time")]
    at: Timestamp,
    /// Provider that was called last.
    provider_id: String,
    /// Model of the call.
    model: String,
    /// Outcome.
    #[schemars(schema_with = "word::<Outcome>")]
    outcome: Outcome,
    /// Error, if any.
    error_kind: Option<String>,
    /// Number of attempts over all providers.
    attempts: u32,
    /// The provider that was to serve it before, and did not.
    failover_from: Option<String>,
    /// Reason for the failover, if there was one.
    failover_reason: Option<String>,
    /// Tokens sent.
    input_tokens: u64,
    /// Tokens received.
    output_tokens: u64,
    /// Cost, in US dollars.
    cost_usd: f64,
    /// Duration, in milliseconds.
    latency_ms: u64,
}

impl From<ledger::Call> for CallView {
    fn from(call: ledger::Call) -> Self {
        Self {
            at: call.at,
            provider_id: call.provider_id.to_string(),
            model: call.model,
            outcome: call.outcome,
            error_kind: call.error_kind.map(|kind| kind.to_string()),
            attempts: call.attempts,
            failover_from: call.failover_from.map(|id| id.to_string()),
            failover_reason: call.failover_reason,
            input_tokens: call.input_tokens,
            output_tokens: call.output_tokens,
            cost_usd: call.cost_usd,
            latency_ms: call.latency_ms,
        }
    }
}

/// Reason for the cancellation of a run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct CancelBody {
    /// Reason, for the record.
    reason: Option<String>,
}

/// Listing, showing and ending runs.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/runs", list)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(PAGE)
            .summary("What agents did and were asked, and chats through the gateway, oldest first")
            .answers::<Vec<RunSummaryView>>(200),
        Endpoint::get("/api/v1/runs/{id}", show)
            .scope(ProjectScope::Entity(EntityKind::Run))
            .summary("One run with everything that was said, and its calls")
            .answers::<RunView>(200),
        Endpoint::with_optional_body(Method::POST, "/api/v1/runs/{id}/cancel", cancel)
            .scope(ProjectScope::Entity(EntityKind::Run))
            .access(Access::Operator)
            .unlimited()
            .summary("End a run; the bead it was for is blocked")
            .answers::<RunView>(200),
    ]
}

async fn list(call: ApiRequest) -> Result<Reply, ApiError> {
    let filter = RunFilter {
        bead_id: call.query.owned("bead_id")?,
        agent_id: call.query.owned("agent_id")?,
        project_id: call.query.owned("project_id")?,
        within: call.within(),
        kind: call.query.word("kind", Kind::parse)?,
        status: call.query.word("status", Status::parse)?,
    };
    let page = call.handles().store.runs(filter, call.page()?).await?;
    Reply::page::<_, RunSummaryView>(call.page_link(), page)
}

async fn show(call: ApiRequest) -> Result<Reply, ApiError> {
    let run = call.run().await?.clone();
    answer(&call, run).await
}

async fn answer(call: &ApiRequest, run: Run) -> Result<Reply, ApiError> {
    let calls = call.handles().store.calls_of_run(run.id.to_string()).await?;
    Reply::json(&RunView::of(run, calls))
}

async fn cancel(call: ApiRequest, body: CancelBody) -> Result<Reply, ApiError> {
    let id = RunId::from_trusted(call.param("id"));
    let run = call.handles().work.cancel(&call.caller()?, &id, body.reason.as_deref()).await?;
    answer(&call, run).await
}
