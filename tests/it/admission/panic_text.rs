//! Panics while a password or key is handled: their text holds no part of it.

use crate::harness::canary::Canary;
use arbiter::core::kernel::ids::ProviderId;
use arbiter::core::provider::ProviderType;
use arbiter::core::provider::edit::NewProvider;
use arbiter::{Arbiter, SecretString};
use std::process::Command;

/// Says to a child of this test binary which directory is its own.
const HOME_VARIABLE: &str = "ARBITER_IT_PANIC";
const PASSWORD: &str = "Canary/five+panic?password-2468ace013579bdf";
const KEY: &str = "sk-Canary/six+panic?key-fdb97531eca86420";

/// Actors panic with a password and a key in their hands.
async fn panic_with_secrets(home: &str) {
    let data = std::path::Path::new(home).join("data");
    let arbiter = Arbiter::open(&data, SecretString::from(PASSWORD)).await.unwrap();
    for (kind, id) in [("vault", "main"), ("provider", "p"), ("heartbeat", "p")] {
        arbiter.handles().fault_injection().panic(kind, id, 1);
        let mut new = NewProvider::named("P", ProviderType::Custom, "http://127.0.0.1:9/v1");
        new.id = Some("p".into());
        // Who is struck depends on who is asked first; the parent counts the panics.
        let _ = arbiter.create_provider(new, Some(SecretString::from(KEY))).await;
        let _ = arbiter.handles().providers.heartbeat(&ProviderId::from_trusted("p")).await;
    }
    arbiter.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_report_shows_no_secret() {
    if let Ok(home) = std::env::var(HOME_VARIABLE) {
        return panic_with_secrets(&home).await;
    }
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["admission::panic_text::panic_report_shows_no_secret", "--exact", "--nocapture"])
        .env(HOME_VARIABLE, home.path())
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    for kind in ["vault", "provider", "heartbeat"] {
        assert!(text.contains(&format!("injected panic in {kind}")), "{kind} does not panic:\n{text}");
    }
    for secret in [PASSWORD, KEY] {
        Canary::new(secret).assert_not_in(&said, "what a panic says");
        Canary::new(secret).assert_not_below(home.path());
    }
}
