//! Tests of the heartbeat's schedule.

use crate::stage::{ParseId, Stage};
use arbiter_testkit::Script;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeat_requested_at_the_planned_time_runs_once() {
    let stage = Stage::new().await;
    // The new key makes it beat, while the actor's first beat is planned for at once; then it is asked.
    let provider = stage.setup(Script::default(), &[]).await;
    // This request queues behind all earlier messages to the actor.
    stage.h().providers.heartbeat(&"scripted".parse_id()).await.unwrap();
    let asked = provider.requests().iter().filter(|request| request.path == "/v1/models").count();
    assert_eq!(asked, 3, "one for the key, two that were asked for");
}
