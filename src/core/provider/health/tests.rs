//! Verdicts and measurements of beats and calls, and the model they choose.

use super::*;
use crate::kernel::call::ErrorKind;
use crate::kernel::record::apply_all;
use crate::model::catalog::{Entry, Interactivity};
use crate::provider::{Command, tests::provider};

fn failed() -> HeartbeatResult {
    HeartbeatResult::Failed {
        error: "connection refused".into(),
        judgement: HealthSignal::Strike,
        latency_ms: 1,
    }
}

fn answered(latency_ms: u64, median_ms: Option<u64>) -> HeartbeatResult {
    HeartbeatResult::Answered {
        latency_ms,
        median_ms,
        models: vec![Offered::named("x"), Offered::named("m")],
    }
}

fn beat(provider: &Provider, beat: HeartbeatResult) -> Provider {
    let now = Timestamp::from_millis(1);
    let happenings = provider.decide(&Command::Beat(beat.clone()), &Catalog::default()).unwrap();
    apply_all(provider, &happenings, now).measured(&beat, now)
}

fn called(provider: &Provider, outcome: CallOutcome) -> Provider {
    let happenings = provider.decide(&Command::Observe(outcome.clone()), &Catalog::default()).unwrap();
    apply_all(provider, &happenings, Timestamp::from_millis(1)).struck(&outcome)
}

fn refused(kind: ErrorKind) -> CallOutcome {
    CallOutcome::Failed { kind, error: kind.to_string() }
}

#[test]
fn a_failed_first_beat_is_unhealthy_at_once_and_later_it_takes_three() {
    assert_eq!(beat(&provider(Status::Pending), failed()).status, Status::Unhealthy);
    let mut up = provider(Status::Active);
    let mut seen = vec![];
    for _ in 0..4 {
        up = beat(&up, failed());
        seen.push(up.status);
    }
    assert_eq!(seen, [Status::Degraded, Status::Degraded, Status::Unhealthy, Status::Unhealthy]);
    assert_eq!(beat(&up, answered(9, None)).status, Status::Active);
}

#[test]
fn a_beat_with_a_refused_key_is_unhealthy_at_once_and_one_too_many_says_nothing() {
    let failed = |kind: ErrorKind| HeartbeatResult::Failed {
        error: kind.to_string(),
        judgement: kind.judgement_of_beat(),
        latency_ms: 1,
    };
    for kind in ErrorKind::ALL {
        let wanted = match kind {
            ErrorKind::Auth => (Status::Unhealthy, 1),
            ErrorKind::RateLimited => (Status::Active, 0),
            _ => (Status::Degraded, 1),
        };
        let after = beat(&provider(Status::Active), failed(*kind));
        assert_eq!((after.status, after.failures), wanted, "{kind}");
        assert_eq!(after.last_heartbeat_error, Some(kind.to_string()));
        assert_eq!(beat(&provider(Status::Pending), failed(*kind)).status, Status::Unhealthy, "{kind}");
    }
}

#[test]
fn a_beat_far_over_the_median_is_late() {
    assert_eq!(beat(&provider(Status::Active), answered(501, Some(20))).status, Status::Degraded);
    assert_eq!(beat(&provider(Status::Active), answered(499, Some(20))).status, Status::Active);
}

#[test]
fn no_beat_changes_what_the_operator_disabled() {
    let off = provider(Status::Disabled);
    for heard in [failed(), answered(1, None)] {
        assert_eq!(off.decide(&Command::Beat(heard), &Catalog::default()).unwrap(), []);
    }
}

#[test]
fn the_configured_model_is_selected_when_it_is_offered() {
    let up = beat(&provider(Status::Pending), answered(1, None));
    assert_eq!(
        (up.model(), up.selection_reason.as_deref()),
        (Some("m"), Some("the configured model is offered"))
    );
    let other = Provider { configured_model: Some("gone".into()), ..provider(Status::Pending) };
    assert_eq!(beat(&other, answered(1, None)).model(), Some("x"));
}

#[test]
fn calls_count_as_strikes_by_what_they_say_of_the_provider() {
    for kind in ErrorKind::ALL {
        let mut up = provider(Status::Active);
        let mut seen = vec![];
        for _ in 0..3 {
            up = called(&up, refused(*kind));
            seen.push(up.status);
        }
        let wanted = match kind.judgement() {
            HealthSignal::Strike => [Status::Degraded, Status::Degraded, Status::Unhealthy],
            HealthSignal::Down => [Status::Unhealthy; 3],
            HealthSignal::Neither | HealthSignal::Well => [Status::Active; 3],
        };
        assert_eq!(seen, wanted, "{kind}");
        let reason = (wanted[2] != Status::Active).then_some(kind.as_str());
        assert_eq!(up.status_reason.as_deref(), reason, "{kind}");
    }
}

#[test]
fn one_success_of_a_call_or_a_beat_clears_the_strikes_of_both() {
    let mut up = provider(Status::Active);
    for _ in 0..3 {
        up = called(&called(&up, refused(ErrorKind::Overloaded)), refused(ErrorKind::Unreachable));
        assert_eq!((up.status, up.failures), (Status::Degraded, 2));
        up = called(&up, CallOutcome::Answered);
        assert_eq!((up.status, up.failures, up.status_reason.clone()), (Status::Active, 0, None));
    }
    up = beat(&called(&beat(&up, failed()), refused(ErrorKind::TimedOut)), failed());
    assert_eq!(up.status, Status::Unhealthy, "a beat, a call and a beat are three");
    assert_eq!(called(&up, CallOutcome::Answered).status, Status::Active);
    assert_eq!(beat(&up, answered(1, None)).failures, 0);
}

#[test]
fn what_says_nothing_of_the_provider_neither_strikes_nor_clears() {
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
fn calls_move_no_provider_that_is_disabled_or_was_never_heard_of() {
    for status in [Status::Disabled, Status::Pending] {
        for outcome in [CallOutcome::Answered, refused(ErrorKind::Auth), refused(ErrorKind::Overloaded)] {
            let command = Command::Observe(outcome);
            assert_eq!(provider(status).decide(&command, &Catalog::default()).unwrap(), []);
        }
    }
}

#[test]
fn a_provider_that_is_slow_to_answer_is_no_faster_for_a_call_that_went_well() {
    let slow = beat(&provider(Status::Active), answered(501, Some(20)));
    assert_eq!(called(&slow, CallOutcome::Answered).status, Status::Degraded);
    assert_eq!(beat(&slow, answered(20, Some(20))).status, Status::Active);
}

#[test]
fn the_smoothed_latency_follows_the_beats_slowly_and_failures_leave_it() {
    let mut up = beat(&provider(Status::Active), answered(100, None));
    assert_eq!(up.latency_ewma_ms, Some(100.0));
    up = beat(&up, answered(200, None));
    assert_eq!((up.latency_ewma_ms, up.last_heartbeat_latency_ms), (Some(120.0), Some(200)));
    assert_eq!(beat(&up, failed()).latency_ewma_ms, Some(120.0));
}

#[test]
fn the_best_known_model_is_selected_with_what_is_known_of_it() {
    let known = Entry {
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
    let catalogue = Catalog::new([known]).unwrap();
    let choosing = |configured: Option<&str>, models: &[&str]| {
        let models = models.iter().copied().map(Offered::named).collect();
        let configured_model = configured.map(str::to_owned);
        let row = Provider { configured_model, ..provider(Status::Pending) };
        row.after_beat(&HeartbeatResult::Answered { latency_ms: 1, median_ms: None, models }, &catalogue)
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
fn a_model_that_only_its_place_speaks_for_stays_while_it_is_offered() {
    let row = Provider { configured_model: None, ..provider(Status::Pending) };
    let offer = |names: &[&str]| HeartbeatResult::Answered {
        latency_ms: 1,
        median_ms: None,
        models: names.iter().copied().map(Offered::named).collect(),
    };
    let up = beat(&row, offer(&["a", "b"]));
    assert_eq!(beat(&up, offer(&["b", "a"])).model(), Some("a"));
    assert_eq!(beat(&up, offer(&["b"])).model(), Some("b"));
}
