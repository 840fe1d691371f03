//! Work from ready to closed.

use crate::stage::Stage;
use arbiter_core::bead::Status;
use arbiter_testkit::Script;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependent_beads_are_closed_in_order() {
    let mut stage = Stage::new().await;
    let provider = stage.setup(Script::default(), &["one", "two"]).await;
    stage.bead("first", 2, &[]).await;
    stage.bead("second", 2, &["first"]).await;
    stage.bead("third", 1, &["first", "second"]).await;
    stage.until("third", Status::Closed).await;
    assert!(provider.chat_count() == 3);
    let runs = stage.h().store.running_runs().await.unwrap();
    assert!(runs.is_empty());
    stage.h().store.verify_events().await.unwrap();
    stage.stop().await;
}
