//! When a provider's heart beats.

use crate::stage::{ParseId, Stage};
use arbiter_testkit::Script;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_a_beat_in_the_moment_of_the_planned_one_gets_one_and_not_two() {
    let stage = Stage::new().await;
    // The new key makes it beat, while the actor's first beat is planned for at once; then it is asked.
    let provider = stage.furnish(Script::default(), &[]).await;
    // Behind whatever was on its way to the actor when the first answer came.
    stage.h().providers.heartbeat(&"scripted".parse_id()).await.unwrap();
    let asked = provider.requests().iter().filter(|request| request.path == "/v1/models").count();
    assert_eq!(asked, 3, "one for the key, two that were asked for");
}
