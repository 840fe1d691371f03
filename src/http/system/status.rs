//! The system as a whole: what runs, how much of everything there is, and whether work is handed out.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::schema::maybe_time;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::NoticeState;
use arbiter_core::dispatch::assign::DispatchState;
use arbiter_core::kernel::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use warp::http::Method;

/// The state of the system.
#[derive(Debug, Serialize, JsonSchema)]
struct SystemView {
    /// `active` or `parked`.
    state: &'static str,
    /// Reason why dispatch is parked.
    reason: Option<String>,
    /// Time of the last change.
    #[schemars(schema_with = "maybe_time")]
    updated_at: Option<Timestamp>,
    /// Parts of the data directory that were there before and are gone: `keys.json`, `personas`.
    missing: Vec<&'static str>,
    /// Numbers of entities.
    counts: CountsView,
    /// Agents at work.
    workers: WorkersView,
    /// Living actors by kind.
    actors: BTreeMap<String, usize>,
    /// Restarts of actors by kind.
    restarts: BTreeMap<String, u64>,
    /// State of the notices to the webhook receiver; null without a receiver.
    notices: Option<NoticesView>,
    /// Reports on bead files, by project; those that are in sync are left out.
    bead_files: BTreeMap<String, String>,
    /// The number of the newest event.
    event_seq: u64,
    /// State of the bridge to Temporal: `off`, `connecting`, `connected` or `waiting_for_vault`.
    temporal: &'static str,
    /// Events that wait to be mirrored there.
    temporal_lag: u64,
    /// Entities whose newest state waits to be mirrored there.
    temporal_depth: u64,
}

/// Numbers of entities.
#[derive(Debug, Serialize, JsonSchema)]
struct CountsView {
    /// Beads by status.
    beads: BTreeMap<String, u64>,
    /// Agents by status.
    agents: BTreeMap<String, u64>,
    /// Providers by status.
    providers: BTreeMap<String, u64>,
    /// Beads that are ready.
    ready_beads: u64,
    /// Number of pending decisions.
    pending_decisions: u64,
}

/// Agents at work.
#[derive(Debug, Serialize, JsonSchema)]
struct WorkersView {
    /// At work.
    busy: usize,
    /// Waiting for work.
    idle: u64,
    /// Most runs at one time.
    limit: usize,
}

/// Notices to the receiver outside, since the start.
#[derive(Debug, Serialize, JsonSchema)]
struct NoticesView {
    /// Number of accepted notices.
    taken: u64,
    /// Number of notices given up because the receiver did not accept them in time.
    given_up: u64,
    /// Tries in a row that failed; 0 while all is well.
    failures: u32,
    /// Time of the next attempt; null if nothing is pending.
    #[schemars(schema_with = "maybe_time")]
    next_try: Option<Timestamp>,
}

impl From<NoticeState> for NoticesView {
    fn from(state: NoticeState) -> Self {
        let NoticeState { taken, given_up, failures, next_try } = state;
        Self { taken, given_up, failures, next_try }
    }
}

/// Reason for parking the system.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ParkBody {
    /// Reason.
    reason: String,
}

/// The state of the system, and its switch.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/system/status", show)
            .scope(ProjectScope::Unscoped)
            .summary("What runs and how much of everything there is")
            .answers::<SystemView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/system/park", park)
            .access(Access::Operator)
            .summary("Hand out no more work; what runs goes on")
            .answers::<SystemView>(200),
        Endpoint::post("/api/v1/system/resume", resume)
            .access(Access::Operator)
            .summary("Hand out work again")
            .answers::<SystemView>(200),
    ]
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let handles = request.handles();
    let counts = handles.store.counts().await?;
    let (dispatch_state, updated_at) = handles.store.dispatch_state().await?;
    let status = handles.orchestrator.status().await?;
    let agents: BTreeMap<String, u64> = counts.agents.into_iter().collect();
    let (temporal_lag, temporal_depth) = mirror_backlog(&request).await?;
    let mut missing = Vec::new();
    if handles.vault.view().is_missing {
        missing.push("keys.json");
    }
    if handles.personas.is_missing().await? {
        missing.push("personas");
    }
    let (state, reason) = match dispatch_state {
        DispatchState::Active => ("active", None),
        DispatchState::Parked(reason) => ("parked", Some(reason)),
    };
    Reply::json(&SystemView {
        state,
        reason,
        updated_at,
        missing,
        workers: WorkersView {
            busy: status.working,
            idle: agents.get("idle").copied().unwrap_or(0),
            limit: status.limit,
        },
        counts: CountsView {
            beads: counts.beads.into_iter().collect(),
            agents,
            providers: counts.providers.into_iter().collect(),
            ready_beads: counts.ready_beads,
            pending_decisions: counts.pending_decisions,
        },
        actors: status.actors.into_iter().collect(),
        restarts: status.restarts.into_iter().collect(),
        notices: handles.notifier.state().map(NoticesView::from),
        bead_files: bead_files(&request).await?,
        event_seq: handles.store.stats().last_seq.load(Ordering::Acquire),
        temporal: request.context.temporal(),
        temporal_lag,
        temporal_depth,
    })
}

/// Returns a sentence on each bead file that is not in sync, of the projects that the caller may see.
async fn bead_files(request: &ApiRequest) -> Result<BTreeMap<String, String>, ApiError> {
    let within = request.within();
    let is_seen = |project: &String| within.as_ref().is_none_or(|projects| projects.contains(project));
    let reports = request.handles().bead_files.reports().await?;
    let told = reports.into_iter().filter(|(project, report)| is_seen(project) && !report.is_clean());
    Ok(told.map(|(project, report)| (project, report.message())).collect())
}

/// Counts the events and entities that wait to be mirrored to a Temporal server.
async fn mirror_backlog(request: &ApiRequest) -> Result<(u64, u64), ApiError> {
    if request.context.temporal() == "off" {
        return Ok((0, 0));
    }
    let store = &request.handles().store;
    let (mirror, (_, last)) = (store.mirror_state().await?, store.event_bounds().await?);
    Ok((last.saturating_sub(mirror.cursor.unwrap_or(0)), mirror.due))
}

async fn park(request: ApiRequest, body: ParkBody) -> Result<Reply, ApiError> {
    if body.reason.trim().is_empty() {
        return Err(ApiError::field("reason", "is empty"));
    }
    request.handles().orchestrator.park(&request.caller()?, body.reason).await?;
    show(request).await
}

async fn resume(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().orchestrator.resume(&request.caller()?).await?;
    show(request).await
}
