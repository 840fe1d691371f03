//! Memory that a provider can make this process hold. A test binary of its own, because it measures the whole
//! process.

use arbiter_providers::{CallErrorKind, ChatBody, Client, Endpoint, EndpointPolicy, Timeouts};
use arbiter_testkit::{Fault, Reply, Script, ScriptedProvider, resident_bytes};

/// Most bytes by which the process may grow, provider included.
const MAX_GROWTH_BYTES: u64 = 20_000_000;

#[tokio::test]
async fn faulty_stream_uses_bounded_memory() {
    let mut before = None;
    // The first round warms up threads, connections and the allocator.
    let faults =
        [Fault::CutAfterEvents(2), Fault::LineOfMegabytes(100), Fault::EndlessEvents, Fault::HugeBody];
    for fault in faults {
        let reply = Reply::failing(fault.clone()).with_header("content-type", "text/event-stream");
        let provider = ScriptedProvider::start(Script::always(reply));
        let endpoint = Endpoint::parse(&provider.url(), EndpointPolicy::default()).unwrap();
        let client = Client::new(endpoint, Timeouts::default()).unwrap();
        let mut stream = client.stream(None, &ChatBody::default()).await.unwrap();
        let error = loop {
            // The test keeps nothing, like the gateway.
            if let Err(error) = stream.next().await.unwrap() {
                break error;
            }
        };
        let now = resident_bytes("self").unwrap();
        match before {
            None => before = Some(now),
            Some(before) => {
                assert_eq!(*error.kind(), CallErrorKind::TooLarge, "{fault:?}");
                let growth = now.saturating_sub(before);
                assert!(growth < MAX_GROWTH_BYTES, "{fault:?}: {growth} bytes more");
            }
        }
    }
}
