//! Verdicts, measurements, and who is usable when.

use super::*;
use crate::machine::tests::check_exhaustively;
use crate::record::evolved;

fn provider(status: Status) -> Provider {
    Provider {
        id: ProviderId::known("p"),
        name: "P".into(),
        provider_type: ProviderType::Custom,
        endpoint: "http://127.0.0.1:1/v1".into(),
        configured_model: Some("m".into()),
        selected_model: None,
        selection_reason: None,
        model_score: None,
        selected_gpu: None,
        description: String::new(),
        requires_key: true,
        key_id: Some(KeyId::known("key_p")),
        client_cert: None,
        client_key_id: None,
        ca_cert: None,
        max_concurrency: None,
        context_window: None,
        price_input_per_mtok: None,
        price_output_per_mtok: None,
        tags: vec![],
        status,
        status_reason: None,
        last_heartbeat_at: None,
        last_heartbeat_latency_ms: None,
        last_heartbeat_error: None,
        failures: 0,
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        revision: 1,
    }
}

fn failed() -> Beat {
    Beat::Failed { error: "connection refused".into(), latency_ms: 1 }
}

fn answered(latency_ms: u64, median_ms: Option<u64>) -> Beat {
    Beat::Answered { latency_ms, median_ms, models: vec!["x".into(), "m".into()] }
}

fn beat(provider: &Provider, beat: Beat) -> Provider {
    let now = Timestamp::from_millis(1);
    let happenings = provider.decide(&Command::Beat(beat.clone())).unwrap();
    evolved(provider, &happenings, now).measured(&beat, now)
}

#[test]
fn every_pair_of_state_and_trigger_is_a_row_or_a_refusal() {
    check_exhaustively(Status::ALL, Trigger::ALL);
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
fn a_beat_far_over_the_median_is_late() {
    assert_eq!(beat(&provider(Status::Active), answered(501, Some(20))).status, Status::Degraded);
    assert_eq!(beat(&provider(Status::Active), answered(499, Some(20))).status, Status::Active);
}

#[test]
fn no_beat_changes_what_the_operator_disabled() {
    let off = provider(Status::Disabled);
    for heard in [failed(), answered(1, None)] {
        assert_eq!(off.decide(&Command::Beat(heard)).unwrap(), []);
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
fn a_keyed_provider_is_usable_only_while_its_key_can_be_read() {
    let up = provider(Status::Degraded);
    assert!(up.is_usable(KeyAccess::Readable) && !up.is_usable(KeyAccess::Unreadable));
    let open = Provider { requires_key: false, ..up };
    assert!(open.is_usable(KeyAccess::Unreadable));
    let certified = Provider { client_key_id: Some(KeyId::known("tls")), ..open };
    assert!(!certified.is_usable(KeyAccess::Unreadable) && certified.is_usable(KeyAccess::Readable));
    for status in [Status::Pending, Status::Unhealthy, Status::Disabled] {
        assert!(!provider(status).is_usable(KeyAccess::Readable));
    }
}

#[test]
fn a_client_certificate_and_its_key_go_together() {
    let bare = provider(Status::Pending);
    let half = Provider { client_cert: Some("pem".into()), ..bare.clone() };
    assert!(format!("{:?}", check(&half).unwrap_err()).contains("client_cert"));
    let half = Provider { client_key_id: Some(KeyId::known("tls")), ..bare.clone() };
    assert!(format!("{:?}", check(&half).unwrap_err()).contains("client_key_id"));
    let long = Provider { ca_cert: Some("x".repeat(MAX_PEM_BYTES + 1)), ..bare };
    assert!(format!("{:?}", check(&long).unwrap_err()).contains("ca_cert"));
}
