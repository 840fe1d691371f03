//! The log records the use of a key before the key is sent; without the record the key is not sent.

use crate::harness::reexec_in_namespace;
use crate::harness::{FAST_KDF, Harness, KEY};
use arbiter_testkit::{Fault, Reply, Script, ServerProcess};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_use_is_logged_before_the_provider_gets_the_key() {
    let harness = Harness::new().await;
    let asked = Arc::new(Notify::new());
    let bell = Arc::clone(&asked);
    // The provider never answers, so nothing that is logged after the call is there.
    let script = Script::answering(move |chat| {
        assert_eq!(chat.authorization, Some(format!("Bearer {KEY}")));
        bell.notify_one();
        Reply::failing(Fault::Hang)
    });
    let _provider = harness.setup(script, &["a"]).await;
    harness.bead("b", json!({})).await;
    asked.notified().await;
    let uses: Vec<Value> =
        harness.events(0).await.into_iter().filter(|event| event["type"] == "key.used").collect();
    let told = |holder: &str, purpose: &str| {
        uses.iter().any(|event| {
            let data = &event["data"];
            (&data["holder"], &data["purpose"]) == (&json!(holder), &json!(purpose))
                && event["subject"] == "key_scripted"
                && data["host"] == "127.0.0.1"
        })
    };
    assert!(told("a", "chat") && told("heartbeat:scripted", "heartbeat"), "{uses:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_is_not_sent_when_its_use_cannot_be_logged() {
    let Some(disk) = reexec_in_namespace::mounted_disk() else {
        let test = "vault::key_use::key_is_not_sent_when_its_use_cannot_be_logged";
        return reexec_in_namespace::run_on_disk(test, "size=4m,mode=0700");
    };
    let seldom = ("ARBITER_PROVIDERS__HEARTBEAT_INTERVAL_MS", "86400000");
    let server = ServerProcess::start(crate::harness::program::BINARY, &[], &[FAST_KDF, seldom]).await;
    let harness = Harness { server };
    let provider = harness.setup(Script::default(), &[]).await;
    let before = provider.requests().len();
    assert!(before > 0, "the first beat carried the key");
    let padding = disk.join("padding");
    crate::crash::disk_faults::fill_disk(&padding);
    // The log's file has some room left, for one thing or another.
    let mut refused = harness.ask("POST", "projects", Some(&json!({"name": "p"}))).await;
    while refused.status == 201 {
        refused = harness.ask("POST", "projects", Some(&json!({"name": "p"}))).await;
    }
    assert_eq!(refused.status, 507, "{}", refused.json());
    let chat = harness.chat("auto", json!({})).await;
    assert_eq!((chat.status, &chat.json()["error"]["code"]), (507, &json!("disk_full")), "{}", chat.json());
    assert_eq!(provider.requests().len(), before, "the provider was asked all the same");
    std::fs::remove_file(&padding).unwrap();
    assert_eq!(harness.chat("auto", json!({})).await.status, 200);
    assert_eq!(provider.requests().len(), before + 1);
}
