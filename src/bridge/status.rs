//! The status of the bridge.

use super::{Bridge, BridgeInner};
use arbiter_actors::Error;
use arbiter_temporal::client::WorkflowClientError;
use arbiter_temporal::client::query::WorkflowSummary;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The state of the bridge's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// The vault is locked, and with it the keys of the codec.
    WaitingForVault,
    /// No connection yet, with the last error.
    Connecting(Option<String>),
    /// Connected: the bridge mirrors and serves.
    Connected,
}

impl ConnectionState {
    /// Returns the state as one word.
    pub const fn status_name(&self) -> &'static str {
        match self {
            Self::WaitingForVault => "waiting_for_vault",
            Self::Connecting(_) => "connecting",
            Self::Connected => "connected",
        }
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) events: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) states: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) worker_starts: AtomicU64,
    /// How long the last batch's newest event had waited, in milliseconds.
    pub(super) lag_ms: AtomicU64,
}

/// How the bridge stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    /// `connected`, `connecting`, `waiting_for_vault`, or `off` when no server is configured.
    pub status: String,
    /// The server, or null.
    pub address: Option<String>,
    /// The namespace, or null.
    pub namespace: Option<String>,
    /// Why there is no connection, or null.
    pub error: Option<String>,
    /// A remark for the operator.
    pub warnings: Vec<String>,
    /// The last event that was mirrored.
    pub mirrored_seq: u64,
    /// Events that wait to be mirrored.
    pub lag: u64,
    /// Entities whose newest state waits to be mirrored.
    pub depth: u64,
    /// How long the newest mirrored event had waited, in milliseconds.
    pub lag_ms: u64,
    /// Requests to the server at one time, as it bears now.
    pub in_flight_limit: u64,
    /// Events mirrored since the start.
    pub events: u64,
    /// Signals they went in.
    pub batches: u64,
    /// States of entities mirrored since the start.
    pub states: u64,
    /// Requests that did not arrive, and were made again.
    pub failures: u64,
    /// Requests that the server refused for good.
    pub refused: u64,
    /// Calls to providers that went through workflows.
    pub calls: u64,
    /// Activities begun by this process.
    pub activities: u64,
    /// How many of them failed and were retried.
    pub activity_failures: u64,
    /// Payloads that could not be decrypted, and were ignored.
    pub unreadable_payloads: u64,
    /// Times that the workers were started.
    pub worker_starts: u64,
}

impl Status {
    /// Returns the status when no server is configured.
    pub fn off() -> Self {
        Self {
            status: "off".to_owned(),
            address: None,
            namespace: None,
            error: None,
            warnings: vec![],
            mirrored_seq: 0,
            lag: 0,
            depth: 0,
            lag_ms: 0,
            in_flight_limit: 0,
            events: 0,
            batches: 0,
            states: 0,
            failures: 0,
            refused: 0,
            calls: 0,
            activities: 0,
            activity_failures: 0,
            unreadable_payloads: 0,
            worker_starts: 0,
        }
    }
}

pub(super) async fn of(inner: &BridgeInner) -> Result<Status, Error> {
    let connection_state = inner.connection_state();
    let mirror = inner.handles.store.mirror_state().await?;
    let (_, last) = inner.handles.store.event_bounds().await?;
    let mirrored_seq = mirror.cursor.unwrap_or(0);
    let activities = inner.activity_counters.started();
    let activity_failures = inner.activity_counters.failed();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &inner.counters;
    let mut warnings = Vec::new();
    if let Some(client) = inner.client() {
        let connected = client.connected();
        let wanted = inner.address.retention;
        if let Some(kept) = connected.retention.filter(|kept| *kept < wanted) {
            let days = |span: Duration| span.as_secs() / 86_400;
            warnings.push(format!(
                "the server keeps what has ended for {} days, not {}: a rebuild finds no more than that",
                days(kept),
                days(wanted)
            ));
        }
        if !connected.attributes {
            warnings.push(
                "the server takes no search attributes: workflows cannot be found by status".to_owned(),
            );
        }
    }
    Ok(Status {
        status: connection_state.status_name().to_owned(),
        address: Some(inner.settings.address.clone()),
        namespace: Some(inner.settings.namespace.clone()),
        error: match connection_state {
            ConnectionState::Connecting(error) => error,
            _ => None,
        },
        warnings,
        mirrored_seq,
        lag: last.saturating_sub(mirrored_seq),
        depth: mirror.due,
        lag_ms: count(&counters.lag_ms),
        in_flight_limit: u64::try_from(inner.congestion.concurrency_limit()).unwrap_or(u64::MAX),
        events: count(&counters.events),
        batches: count(&counters.batches),
        states: count(&counters.states),
        failures: count(&counters.failures),
        refused: count(&counters.refused),
        calls: count(&counters.calls),
        activities,
        activity_failures,
        unreadable_payloads: inner.codec.unreadable_count(),
        worker_starts: count(&counters.worker_starts),
    })
}

/// A workflow as people see it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WorkflowView {
    /// Its id.
    pub id: String,
    /// Its run.
    pub run_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub workflow_type: String,
    /// How it stands: `Running`, `Completed`, `ContinuedAsNew`, `Terminated`, …
    pub status: String,
    /// When it began, or null.
    pub started_at: Option<String>,
    /// When it ended, or null.
    pub closed_at: Option<String>,
    /// Events in its history; 0 when the server did not say.
    pub history_length: i64,
    /// Its page, or null.
    pub url: Option<String>,
}

impl WorkflowView {
    pub(super) fn of(one: WorkflowSummary, bridge: &Bridge) -> Self {
        let namespace = &bridge.0.settings.namespace;
        let url = bridge.ui_url().map(|url| {
            format!(
                "{}/namespaces/{namespace}/workflows/{}/{}",
                url.trim_end_matches('/'),
                one.id,
                one.run_id
            )
        });
        Self {
            url,
            status: one.status_name().to_owned(),
            id: one.id,
            run_id: one.run_id,
            workflow_type: one.workflow_type,
            started_at: one.started.and_then(text),
            closed_at: one.closed.and_then(text),
            history_length: one.history_length,
        }
    }
}

fn text(at: SystemTime) -> Option<String> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    let ms = i64::try_from(since.as_millis()).ok()?;
    Some(arbiter_core::kernel::time::Timestamp::from_millis(ms).to_string())
}

pub(super) fn not_connected() -> WorkflowClientError {
    WorkflowClientError::Unavailable("there is no connection".to_owned())
}
