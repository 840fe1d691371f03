//! Tests of fields, their limits, and the usability of providers.

use super::*;
use crate::kernel::state_machine::tests::check_exhaustively;
use crate::provider::edit::{NewProvider, ProviderPatch};

/// A provider that wants a key and a model.
pub fn provider(status: Status) -> Provider {
    let mut new = NewProvider::named("P", ProviderType::Custom, "http://127.0.0.1:1/v1");
    new.configured_model = Some("m".into());
    let built = new.build(
        ProviderId::from_trusted("p"),
        Some(KeyId::from_trusted("key_p")),
        Timestamp::from_millis(0),
    );
    Provider { status, ..built.unwrap() }
}

#[test]
fn transitions_every_pair_is_listed_or_refused() {
    check_exhaustively(Status::ALL, Trigger::ALL);
}

#[test]
fn keyed_provider_needs_a_readable_key() {
    let up = provider(Status::Degraded);
    assert!(up.is_usable(KeyAccess::Readable) && !up.is_usable(KeyAccess::Unreadable));
    let open = Provider { requires_key: false, ..up };
    assert!(open.is_usable(KeyAccess::Unreadable));
    let certified = Provider { client_key_id: Some(KeyId::from_trusted("tls")), ..open };
    assert!(!certified.is_usable(KeyAccess::Unreadable) && certified.is_usable(KeyAccess::Readable));
    for status in [Status::Pending, Status::Unhealthy, Status::Disabled] {
        assert!(!provider(status).is_usable(KeyAccess::Readable));
    }
}

#[test]
fn unusable_reason_names_status_or_key() {
    let says = |status, reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        Provider { status_reason: reason, ..provider(status) }.unusable_reason()
    };
    assert_eq!(says(Status::Disabled, None), "provider p cannot be called now: it is disabled");
    let down = says(Status::Unhealthy, Some("the provider refused the key"));
    assert_eq!(down, "provider p cannot be called now: it is unhealthy, the provider refused the key");
    assert!(says(Status::Degraded, Some("slow to answer")).ends_with("its key cannot be read"));
}

#[test]
fn client_certificate_requires_its_key() {
    let bare = provider(Status::Pending);
    let half = Provider { client_cert: Some("pem".into()), ..bare.clone() };
    assert!(format!("{:?}", check(&half).unwrap_err()).contains("client_cert"));
    let half = Provider { client_key_id: Some(KeyId::from_trusted("tls")), ..bare.clone() };
    assert!(format!("{:?}", check(&half).unwrap_err()).contains("client_key_id"));
    let long = Provider { ca_cert: Some("x".repeat(MAX_PEM_BYTES + 1)), ..bare };
    assert!(format!("{:?}", check(&long).unwrap_err()).contains("ca_cert"));
}

#[test]
fn out_of_range_numbers_are_refused() {
    let plain = provider(Status::Pending);
    assert_eq!((plain.priority, plain.weight), (100, 1));
    for (field, wrong) in [
        ("priority", Provider { priority: 1_001, ..plain.clone() }),
        ("weight", Provider { weight: 0, ..plain.clone() }),
        ("weight", Provider { weight: 1_001, ..plain.clone() }),
        ("requests_per_minute", Provider { requests_per_minute: Some(0), ..plain.clone() }),
        ("tokens_per_minute", Provider { tokens_per_minute: Some(0), ..plain.clone() }),
        ("context_window", Provider { context_window: Some(0), ..plain.clone() }),
        ("pool", Provider { pool: Some("A pool".into()), ..plain.clone() }),
        ("pool", Provider { pool: Some(String::new()), ..plain.clone() }),
    ] {
        assert!(format!("{:?}", check(&wrong).unwrap_err()).contains(field), "{field}");
    }
    let pooled = ProviderPatch {
        pool: Some(Some("gpu".into())),
        priority: Some(0),
        weight: Some(3),
        requests_per_minute: Some(Some(60)),
        tokens_per_minute: Some(Some(100_000)),
        ..ProviderPatch::default()
    };
    let pooled = pooled.apply(&plain).unwrap();
    assert_eq!((pooled.pool.as_deref(), pooled.priority, pooled.weight), (Some("gpu"), 0, 3));
    assert_eq!((pooled.requests_per_minute, pooled.tokens_per_minute), (Some(60), Some(100_000)));
}

#[test]
fn record_without_pool_fields_gets_defaults() {
    let mut old = serde_json::to_value(provider(Status::Active)).unwrap();
    for field in ["pool", "priority", "weight", "requests_per_minute", "tokens_per_minute", "latency_ewma_ms"]
    {
        old.as_object_mut().unwrap().remove(field).unwrap();
    }
    for field in ["selected_context_window", "selected_price_input", "selected_price_output"] {
        old.as_object_mut().unwrap().remove(field).unwrap();
    }
    assert_eq!(serde_json::from_value::<Provider>(old).unwrap(), provider(Status::Active));
}

#[test]
fn operator_values_precede_the_catalog() {
    let chosen = Provider {
        selected_context_window: Some(8_192),
        selected_price_input: Some(1.0),
        selected_price_output: Some(2.0),
        ..provider(Status::Active)
    };
    assert_eq!(
        (chosen.context(), chosen.price_input(), chosen.price_output()),
        (Some(8_192), Some(1.0), Some(2.0))
    );
    let set = Provider {
        context_window: Some(4_096),
        price_input_per_mtok: Some(0.0),
        price_output_per_mtok: Some(9.0),
        ..chosen
    };
    assert_eq!((set.context(), set.price_input(), set.price_output()), (Some(4_096), Some(0.0), Some(9.0)));
}
