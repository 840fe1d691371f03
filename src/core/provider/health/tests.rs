//! Verdicts and measurements of beats and calls, and the model they choose.

use super::*;
use crate::kernel::call::ErrorKind;
use crate::kernel::record::apply_all;
use crate::model::catalog::{CatalogEntry, Interactivity};
use crate::provider::{Command, tests::provider};

fn failed() -> HeartbeatResult {
    HeartbeatResult::Failed {
        error: "connection refused".into(),
        health_signal: HealthSignal::Failure,
        latency_ms: 1,
    }
}

fn answered(latency_ms: u64, median_ms: Option<u64>) -> HeartbeatResult {
    HeartbeatResult::Answered {
        latency_ms,
        median_ms,
        models: vec![OfferedModel::named("x"), OfferedModel::named("m")],
    }
}

fn heartbeat(provider: &Provider, heartbeat: HeartbeatResult) -> Provider {
    let now = Timestamp::from_millis(1);
    let happenings = provider.decide(&Command::Heartbeat(heartbeat.clone()), &Catalog::default()).unwrap();
    apply_all(provider, &happenings, now).with_heartbeat(&heartbeat, now)
}

fn called(provider: &Provider, outcome: CallOutcome) -> Provider {
    let happenings = provider.decide(&Command::Observe(outcome.clone()), &Catalog::default()).unwrap();
    apply_all(provider, &happenings, Timestamp::from_millis(1)).with_call_outcome(&outcome)
}

fn refused(kind: ErrorKind) -> CallOutcome {
    CallOutcome::Failed { kind, error: kind.to_string() }
}

#[test]
fn first_failure_is_unhealthy_and_later_it_takes_three() {
    assert_eq!(heartbeat(&provider(Status::Pending), failed()).status, Status::Unhealthy);
    let mut up = provider(Status::Active);
    let mut seen = vec![];
    for _ in 0..4 {
        up = heartbeat(&up, failed());
        seen.push(up.status);
    }
    assert_eq!(seen, [Status::Degraded, Status::Degraded, Status::Unhealthy, Status::Unhealthy]);
    assert_eq!(heartbeat(&up, answered(9, None)).status, Status::Active);
}

#[test]
fn refused_key_is_unhealthy_and_rate_limit_is_neutral() {
    let failed = |kind: ErrorKind| HeartbeatResult::Failed {
        error: kind.to_string(),
        health_signal: kind.heartbeat_signal(),
        latency_ms: 1,
    };
    for kind in ErrorKind::ALL {
        let wanted = match kind {
            ErrorKind::Auth => (Status::Unhealthy, 1),
            ErrorKind::RateLimited => (Status::Active, 0),
            _ => (Status::Degraded, 1),
        };
        let after = heartbeat(&provider(Status::Active), failed(*kind));
        assert_eq!((after.status, after.failures), wanted, "{kind}");
        assert_eq!(after.last_heartbeat_error, Some(kind.to_string()));
        assert_eq!(heartbeat(&provider(Status::Pending), failed(*kind)).status, Status::Unhealthy, "{kind}");
    }
}

#[test]
fn heartbeat_far_over_the_median_degrades() {
    assert_eq!(heartbeat(&provider(Status::Active), answered(501, Some(20))).status, Status::Degraded);
    assert_eq!(heartbeat(&provider(Status::Active), answered(499, Some(20))).status, Status::Active);
}

#[test]
fn disabled_provider_ignores_heartbeats() {
    let off = provider(Status::Disabled);
    for heard in [failed(), answered(1, None)] {
        assert_eq!(off.decide(&Command::Heartbeat(heard), &Catalog::default()).unwrap(), []);
    }
}

#[test]
fn configured_model_is_selected_when_offered() {
    let up = heartbeat(&provider(Status::Pending), answered(1, None));
    assert_eq!(
        (up.model(), up.selection_reason.as_deref()),
        (Some("m"), Some("the configured model is offered"))
    );
    let other = Provider { configured_model: Some("gone".into()), ..provider(Status::Pending) };
    assert_eq!(heartbeat(&other, answered(1, None)).model(), Some("x"));
}

#[test]
fn failed_calls_count_by_their_health_signal() {
    for kind in ErrorKind::ALL {
        let mut up = provider(Status::Active);
        let mut seen = vec![];
        for _ in 0..3 {
            up = called(&up, refused(*kind));
            seen.push(up.status);
        }
        let wanted = match kind.health_signal() {
            HealthSignal::Failure => [Status::Degraded, Status::Degraded, Status::Unhealthy],
            HealthSignal::Down => [Status::Unhealthy; 3],
            HealthSignal::Neutral | HealthSignal::Healthy => [Status::Active; 3],
        };
        assert_eq!(seen, wanted, "{kind}");
        let reason = (wanted[2] != Status::Active).then_some(kind.as_str());
        assert_eq!(up.status_reason.as_deref(), reason, "{kind}");
    }
}

#[test]
fn success_of_call_or_heartbeat_clears_failures() {
    let mut up = provider(Status::Active);
    for _ in 0..3 {
        up = called(&called(&up, refused(ErrorKind::Overloaded)), refused(ErrorKind::Unreachable));
        assert_eq!((up.status, up.failures), (Status::Degraded, 2));
        up = called(&up, CallOutcome::Answered);
        assert_eq!((up.status, up.failures, up.status_reason.clone()), (Status::Active, 0, None));
    }
    up = heartbeat(&called(&heartbeat(&up, failed()), refused(ErrorKind::TimedOut)), failed());
    assert_eq!(up.status, Status::Unhealthy, "a beat, a call and a beat are three");
    assert_eq!(called(&up, CallOutcome::Answered).status, Status::Active);
    assert_eq!(heartbeat(&up, answered(1, None)).failures, 0);
}

#[test]
fn neutral_errors_neither_count_nor_clear() {
    let mut up = called(
        &called(&provider(Status::Active), refused(ErrorKind::Overloaded)),
        refused(ErrorKind::Overloaded),
    );
    for kind in [ErrorKind::Cancelled, ErrorKind::Refused, ErrorKind::ContextTooLong, ErrorKind::NotFound] {
        up = called(&up, refused(kind));
        assert_eq!((up.status, up.failures), (Status::Degraded, 2), "{kind}");
    }
    assert_eq!(called(&up, refused(ErrorKind::Overloaded)).status, Status::Unhealthy);
}

#[test]
fn calls_do_not_change_disabled_or_pending_providers() {
    for status in [Status::Disabled, Status::Pending] {
        for outcome in [CallOutcome::Answered, refused(ErrorKind::Auth), refused(ErrorKind::Overloaded)] {
            let command = Command::Observe(outcome);
            assert_eq!(provider(status).decide(&command, &Catalog::default()).unwrap(), []);
        }
    }
}

#[test]
fn successful_call_does_not_clear_slow_degradation() {
    let slow = heartbeat(&provider(Status::Active), answered(501, Some(20)));
    assert_eq!(called(&slow, CallOutcome::Answered).status, Status::Degraded);
    assert_eq!(heartbeat(&slow, answered(20, Some(20))).status, Status::Active);
}

#[test]
fn latency_ewma_follows_heartbeats_and_skips_failures() {
    let mut up = heartbeat(&provider(Status::Active), answered(100, None));
    assert_eq!(up.latency_ewma_ms, Some(100.0));
    up = heartbeat(&up, answered(200, None));
    assert_eq!((up.latency_ewma_ms, up.last_heartbeat_latency_ms), (Some(120.0), Some(200)));
    assert_eq!(heartbeat(&up, failed()).latency_ewma_ms, Some(120.0));
}

#[test]
fn best_known_model_is_selected_with_its_catalog_data() {
    let known = CatalogEntry {
        name: "x".into(),
        aliases: vec![],
        interactivity: Interactivity::Fast,
        min_vram_gb: None,
        gpu_class: Some("H100".into()),
        context_window: Some(1_000),
        price_input_per_mtok: Some(1.0),
        price_output_per_mtok: Some(2.0),
        score: 0.5,
    };
    let catalog = Catalog::new([known]).unwrap();
    let choosing = |configured: Option<&str>, models: &[&str]| {
        let models = models.iter().copied().map(OfferedModel::named).collect();
        let configured_model = configured.map(str::to_owned);
        let row = Provider { configured_model, ..provider(Status::Pending) };
        row.after_heartbeat(&HeartbeatResult::Answered { latency_ms: 1, median_ms: None, models }, &catalog)
    };
    let up = choosing(None, &["a", "x"]);
    assert_eq!(
        (up.model(), up.model_score, up.selected_gpu.as_deref()),
        (Some("x"), Some(0.5), Some("H100"))
    );
    assert_eq!((up.context(), up.price_input(), up.price_output()), (Some(1_000), Some(1.0), Some(2.0)));
    let up = choosing(Some("a"), &["a", "x"]);
    assert_eq!((up.model(), up.model_score, up.price_input()), (Some("a"), None, None));
    let reason = choosing(Some("gone"), &["a", "x"]).selection_reason.unwrap();
    assert!(reason.starts_with("gone is not offered"), "{reason}");
}

#[test]
fn unranked_model_is_kept_while_offered() {
    let row = Provider { configured_model: None, ..provider(Status::Pending) };
    let offer = |names: &[&str]| HeartbeatResult::Answered {
        latency_ms: 1,
        median_ms: None,
        models: names.iter().copied().map(OfferedModel::named).collect(),
    };
    let up = heartbeat(&row, offer(&["a", "b"]));
    assert_eq!(heartbeat(&up, offer(&["b", "a"])).model(), Some("a"));
    assert_eq!(heartbeat(&up, offer(&["b"])).model(), Some("b"));
}
