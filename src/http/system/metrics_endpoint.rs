//! `/metrics`: what was counted, with what the handles know at the moment.

use crate::http::framework::metrics::gauge_value;
use crate::http::framework::project_scope::ProjectScope;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use metrics::{counter, gauge};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Time after which an unclaimed ready bead is counted as waiting long.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// The metrics.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/metrics", show)
            .scope(ProjectScope::Unscoped)
            .summary("Metrics in Prometheus' text format")
            .answers_as(200, TEXT),
    ]
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let handles = request.handles();
    let stats = handles.store.stats();
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    counter!("arbiter_store_commits_total").absolute(read(&stats.commits));
    counter!("arbiter_store_units_total").absolute(read(&stats.units));
    counter!("arbiter_store_events_total").absolute(read(&stats.events));
    counter!("arbiter_store_commit_microseconds_total").absolute(read(&stats.commit_us));
    gauge!("arbiter_store_last_seq")
        .set(gauge_value(usize::try_from(read(&stats.last_seq)).unwrap_or(usize::MAX)));
    counter!("arbiter_vault_rewrapped_total").absolute(handles.vault.rewrapped());
    for (kind, count) in handles.bus.event_counts() {
        counter!("arbiter_event_bus_events_total", "type" => kind.as_str()).absolute(count);
    }
    // A server whose orchestrator is away is still worth a scrape.
    if let Ok(status) = handles.orchestrator.status().await {
        for (kind, count) in status.actors {
            gauge!("arbiter_actors", "kind" => kind.clone()).set(gauge_value(count));
        }
        for (kind, count) in status.restarts {
            counter!("arbiter_actor_restarts_total", "kind" => kind.clone()).absolute(count);
        }
        gauge!("arbiter_agents_working").set(gauge_value(status.working));
    }
    gauge!("arbiter_beads_awaited").set(gauge_value(handles.pulls.waiting()));
    if let Some(notices) = handles.notifier.state() {
        counter!("arbiter_notices_total", "outcome" => "taken").absolute(notices.taken);
        counter!("arbiter_notices_total", "outcome" => "given_up").absolute(notices.given_up);
        gauge!("arbiter_notice_failures").set(f64::from(notices.failures));
    }
    // The same goes for a store that cannot be read.
    for (cause, count) in handles.dispatcher.waiting(LONG_WAIT).await.unwrap_or_default() {
        gauge!("arbiter_ready_beads_waiting", "reason" => cause.as_str())
            .set(gauge_value(usize::try_from(count).unwrap_or(usize::MAX)));
    }
    #[cfg(feature = "temporal")]
    if let Some(bridge) = request.context.bridge()
        && let Ok(status) = bridge.status().await
    {
        temporal(&status);
    }
    Ok(Reply::text(TEXT, request.context.metrics().render()))
}

/// Records the metrics of the bridge to Temporal.
#[cfg(feature = "temporal")]
fn temporal(status: &crate::bridge::Status) {
    let number = |count: u64| gauge_value(usize::try_from(count).unwrap_or(usize::MAX));
    gauge!("arbiter_temporal_connected").set(f64::from(u8::from(status.status == "connected")));
    gauge!("arbiter_temporal_lag_events").set(number(status.lag));
    gauge!("arbiter_temporal_depth").set(number(status.depth));
    gauge!("arbiter_temporal_lag_milliseconds").set(number(status.lag_ms));
    gauge!("arbiter_temporal_in_flight_limit").set(number(status.in_flight_limit));
    for (what, count) in [("events", status.events), ("batches", status.batches), ("states", status.states)] {
        counter!("arbiter_temporal_mirrored_total", "what" => what).absolute(count);
    }
    counter!("arbiter_temporal_failures_total", "kind" => "not_arrived").absolute(status.failures);
    counter!("arbiter_temporal_failures_total", "kind" => "refused").absolute(status.refused);
    counter!("arbiter_temporal_failures_total", "kind" => "activity").absolute(status.activity_failures);
    counter!("arbiter_temporal_failures_total", "kind" => "unreadable_payload")
        .absolute(status.unreadable_payloads);
    counter!("arbiter_temporal_calls_total").absolute(status.calls);
    counter!("arbiter_temporal_activities_total").absolute(status.activities);
    counter!("arbiter_temporal_worker_starts_total").absolute(status.worker_starts);
}
