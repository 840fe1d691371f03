//! Health endpoints: liveness and readiness.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::schema::word;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::vault;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;
use warp::http::StatusCode;

/// Health of the server.
#[derive(Debug, Serialize, JsonSchema)]
struct HealthView {
    /// `ok`, `degraded` when something below is not as it should be, `stopping`.
    status: &'static str,
    /// The program's version.
    version: &'static str,
    /// Seconds since it was started.
    uptime_s: u64,
    /// State of the vault.
    #[schemars(schema_with = "word::<vault::Status>")]
    vault: vault::Status,
    /// State of the bridge to Temporal: `off`, `connecting`, `connected` or `waiting_for_vault`.
    temporal: &'static str,
    /// State of the dispatch: `active` or `parked`.
    dispatch: &'static str,
}

/// Liveness of the server.
#[derive(Debug, Serialize, JsonSchema)]
struct LiveView {
    /// Always `ok`.
    status: &'static str,
}

/// Readiness of the server.
#[derive(Debug, Serialize, JsonSchema)]
struct ReadyView {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Reasons why the server is not ready.
    reasons: Vec<String>,
}

/// The longest time that readiness waits for a read.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Liveness, readiness and a summary.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/health", health)
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .summary("How the server is; always 200 while it lives")
            .answers::<HealthView>(200),
        Endpoint::get("/api/v1/health/live", live)
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .summary("Whether the server lives")
            .answers::<LiveView>(200),
        Endpoint::get("/api/v1/health/ready", ready)
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .summary("Whether the server can do its work; never depends on providers")
            .answers::<ReadyView>(200)
            .answers::<ReadyView>(503),
    ]
}

async fn health(request: ApiRequest) -> Result<Reply, ApiError> {
    let handles = request.handles();
    let vault = handles.vault.view().state;
    // Reads nothing: the answer does not depend on readers that are busy.
    let dispatch = if handles.orchestrator.is_parked() { "parked" } else { "active" };
    let status = if request.context.is_shutting_down() {
        "stopping"
    } else if vault == vault::Status::Unlocked && dispatch == "active" {
        "ok"
    } else {
        "degraded"
    };
    Reply::json(&HealthView {
        status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: request.context.uptime().as_secs(),
        vault,
        temporal: request.context.temporal(),
        dispatch,
    })
}

async fn live(_: ApiRequest) -> Result<Reply, ApiError> {
    Reply::json(&LiveView { status: "ok" })
}

async fn ready(request: ApiRequest) -> Result<Reply, ApiError> {
    let mut reasons = Vec::new();
    if request.context.is_shutting_down() {
        reasons.push("the server is shutting down".to_owned());
    }
    let store = &request.handles().store;
    match tokio::time::timeout(READ_TIMEOUT, store.event_bounds()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => reasons.push(format!("the database cannot be read: {error}")),
        Err(_) => reasons.push("the database does not answer in time".to_owned()),
    }
    if store.is_full() {
        reasons.push("there is no space left on the disk: changes are refused".to_owned());
    }
    let silent = request.handles().orchestrator.silent_threads().await;
    reasons.extend(silent.iter().map(|thread| format!("{thread} of the actors does not answer")));
    if reasons.is_empty() {
        return Reply::json(&ReadyView { status: "ready", reasons });
    }
    let reply = Reply::json(&ReadyView { status: "not_ready", reasons })?;
    Ok(reply.with_status(StatusCode::SERVICE_UNAVAILABLE))
}
