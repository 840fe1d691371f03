//! Metrics and their Prometheus format.

use metrics::{Counter, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use warp::http::{Method, StatusCode};

/// Upper bounds of the buckets of times, in seconds.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    30.0,
];
/// The statuses that routes answer with; counters of others are looked up each time.
const STATUSES: [u16; 20] =
    [200, 201, 204, 400, 401, 403, 404, 405, 409, 412, 413, 415, 421, 422, 423, 429, 500, 502, 503, 507];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the process's recorder of metrics; later calls find it installed. Call it before anything is
/// counted: what was counted before is lost.
pub fn install() -> Option<PrometheusHandle> {
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets(SECONDS);
            let installed = builder.and_then(PrometheusBuilder::install_recorder);
            if let Err(error) = &installed {
                tracing::warn!(%error, "metrics are not recorded");
            }
            describe();
            installed.ok()
        })
        .clone()
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("arbiter_http_requests_total", "Requests by method, route and status");
    describe_histogram!("arbiter_http_request_seconds", "Time from a request's head to its answer's");
    describe_gauge!("arbiter_http_connections", "Open connections");
    describe_counter!(
        "arbiter_http_connections_refused_total",
        "Connections closed because there were too many"
    );
    describe_counter!("arbiter_http_tls_failures_total", "Connections whose TLS handshake failed");
    describe_gauge!("arbiter_sse_streams", "Open event streams");
    describe_counter!("arbiter_store_commits_total", "Transactions committed");
    describe_counter!("arbiter_store_units_total", "Units of work committed");
    describe_counter!("arbiter_store_events_total", "Events committed");
    describe_counter!("arbiter_store_commit_microseconds_total", "Time spent committing");
    describe_gauge!("arbiter_store_last_seq", "Number of the newest event");
    describe_counter!("arbiter_event_bus_events_total", "Events that passed the bus, by type");
    describe_counter!("arbiter_vault_rewrapped_total", "Keys encrypted anew because their cost had grown");
    describe_gauge!("arbiter_actors", "Living actors by kind");
    describe_counter!("arbiter_actor_restarts_total", "Actors that failed and came back, by kind");
    describe_counter!("arbiter_notices_total", "Notices to the receiver outside, taken or given up");
    describe_gauge!("arbiter_notice_failures", "Tries in a row in which the receiver took no notice");
    describe_gauge!("arbiter_agents_working", "Agents at work");
    describe_counter!("arbiter_runs_total", "Runs that ended, by status");
    describe_counter!("arbiter_activity_total", "Activities that ended, by type and outcome");
    describe_gauge!("arbiter_beads_awaited", "Requests of external agents that wait for a bead");
    describe_gauge!(
        "arbiter_ready_beads_waiting",
        "Beads that are ready for more than a minute and not claimed, by reason"
    );
    describe_gauge!("arbiter_task_queue_depth", "Tasks that wait in a queue of the Temporal server");
    describe_counter!("arbiter_temporal_activities_total", "Activities that this server ran");
    describe_counter!("arbiter_temporal_calls_total", "Provider calls that came through a workflow");
    describe_gauge!("arbiter_temporal_connected", "1 while the bridge is connected, else 0");
    describe_gauge!("arbiter_temporal_depth", "Entities whose newest state is not sent yet");
    describe_counter!("arbiter_temporal_failures_total", "Failures of the bridge, by kind");
    describe_gauge!(
        "arbiter_temporal_in_flight_limit",
        "Requests to the Temporal server that may be in flight now"
    );
    describe_gauge!("arbiter_temporal_lag_events", "Events that are not mirrored yet");
    describe_gauge!("arbiter_temporal_lag_milliseconds", "Age of the oldest event that is not mirrored yet");
    describe_counter!(
        "arbiter_temporal_mirrored_total",
        "Events, batches and states sent to the Temporal server"
    );
    describe_counter!("arbiter_temporal_worker_starts_total", "Starts of workers of this server");
    describe_gauge!("arbiter_worker_utilization", "Share of a worker's activity slots in use, 0 to 1");
    describe_counter!("arbiter_workflow_completed_total", "Workflow runs that completed, by type");
    describe_counter!("arbiter_workflow_started_total", "Workflow runs that started, by type");
}

/// The edge's own numbers.
pub struct Metrics {
    recorder: Option<PrometheusHandle>,
    connections: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
}

impl Metrics {
    /// Creates the metrics; installs the recorder if there is none.
    pub fn new() -> Self {
        Self { recorder: install(), connections: Arc::default(), streams: Arc::default() }
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        gauge!("arbiter_http_connections").set(gauge_value(self.connections.load(Ordering::Relaxed)));
        gauge!("arbiter_sse_streams").set(gauge_value(self.streams.load(Ordering::Relaxed)));
        self.recorder.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Sorts what was measured into its buckets, so that it does not pile up between two scrapes.
    pub fn upkeep(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.run_upkeep();
        }
    }

    /// Counts a connection for as long as the guard lives; none when there are `max` already.
    pub fn connection(&self, max: usize) -> Option<CountGuard> {
        CountGuard::take(&self.connections, max)
    }

    /// Counts an event stream for as long as the guard lives; none when there are `max` already.
    pub fn stream(&self, max: usize) -> Option<StreamGuard> {
        CountGuard::take(&self.streams, max)
    }
}

/// Counts something for as long as it lives.
#[derive(Debug)]
pub struct CountGuard(Arc<AtomicUsize>);

/// Counts an event stream.
pub type StreamGuard = CountGuard;

impl CountGuard {
    fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let raise = |open: usize| (open < max).then_some(open + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, raise).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts of one route.
pub struct RouteMetrics {
    method: Method,
    route: &'static str,
    seconds: OnceLock<Histogram>,
    statuses: [OnceLock<Counter>; STATUSES.len()],
}

impl RouteMetrics {
    /// No counts yet.
    pub const fn new(method: Method, route: &'static str) -> Self {
        Self {
            method,
            route,
            seconds: OnceLock::new(),
            statuses: [const { OnceLock::new() }; STATUSES.len()],
        }
    }

    /// Counts an answer.
    pub fn record(&self, status: StatusCode, took: Duration) {
        let labels = || [("method", self.method.to_string()), ("route", self.route.to_owned())];
        self.seconds.get_or_init(|| histogram!("arbiter_http_request_seconds", &labels())).record(took);
        let code = status.as_u16();
        let make = || {
            let [method, route] = labels();
            counter!("arbiter_http_requests_total", &[method, route, ("status", code.to_string())])
        };
        let known = STATUSES.iter().position(|known| *known == code).and_then(|at| self.statuses.get(at));
        match known {
            Some(counter) => counter.get_or_init(make).increment(1),
            None => make().increment(1),
        }
    }
}

/// A count as a gauge takes it.
#[allow(clippy::cast_precision_loss)] // counts of things in memory stay far below 2^52
pub fn gauge_value(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_count_up_to_a_limit_and_give_back() {
        let count = Arc::new(AtomicUsize::new(0));
        let first = CountGuard::take(&count, 2);
        let second = CountGuard::take(&count, 2);
        assert!(first.is_some() && second.is_some() && CountGuard::take(&count, 2).is_none());
        drop(first);
        assert!(CountGuard::take(&count, 2).is_some());
        drop(second);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn recorded_route_metrics_are_rendered() {
        let metrics = Metrics::new();
        let route = RouteMetrics::new(Method::GET, "/a-route-of-this-test/{id}");
        route.record(StatusCode::OK, Duration::from_millis(3));
        route.record(StatusCode::IM_A_TEAPOT, Duration::from_millis(3));
        let text = metrics.render();
        let counted = |status: &str| {
            format!(
                "arbiter_http_requests_total{{method=\"GET\",route=\"/a-route-of-this-test/{{id}}\",status=\"{status}\"}} 1"
            )
        };
        assert!(text.contains(&counted("200")), "{text}");
        assert!(text.contains(&counted("418")), "{text}");
        assert!(text.contains("arbiter_http_request_seconds_bucket{"), "{text}");
        assert!(text.contains("arbiter_http_connections "), "{text}");
    }
}
