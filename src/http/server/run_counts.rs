//! Counts runs as they end, for the metrics.

use crate::http::framework::context::Context;
use arbiter_actors::Delivery;
use arbiter_core::kernel::event::{EventFilter, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use metrics::counter;

/// Counts until the bus ends.
pub async fn count(context: Context) {
    let filter =
        EventFilter { types: vec![TypePattern::Exactly(EventType::RunFinished)], ..EventFilter::default() };
    let mut subscription = match context.handles().bus.subscribe(filter, None).await {
        Ok(subscription) => subscription,
        Err(error) => {
            tracing::warn!(%error, "runs are not counted");
            return;
        }
    };
    loop {
        match subscription.next().await {
            Delivery::Event(event) => {
                let status = event.data.get("status").and_then(|status| status.as_str()).unwrap_or("unknown");
                counter!("arbiter_runs_total", "status" => status.to_owned()).increment(1);
            }
            Delivery::Gap { .. } => {}
            Delivery::Closed => return,
        }
    }
}
