//! A thousand subscribers and a kill: each resumes at its position.

use crate::harness::program::BINARY;
use crate::harness::{FAST_KDF, Harness, TIMEOUT};
use arbiter_testkit::{ServerProcess, SseClient, SseError};
use futures_util::StreamExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many listen.
const SUBSCRIBERS: usize = 1_000;
/// The descriptors that this takes, here and in the server.
const DESCRIPTORS: u64 = 4_096;
/// How long a subscriber may wait for its next event, on a slow machine and with all the others.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the server is, and the number after which a subscriber has heard all; none while it is not known.
#[derive(Clone, Debug, Default)]
struct StreamPosition {
    start: usize,
    url: String,
    token: String,
    last_seq: Option<u64>,
}

/// Listens across the restart; every number it heard, in order.
async fn subscriber(
    mut positions: watch::Receiver<StreamPosition>,
    first: u64,
    counted: Arc<watch::Sender<usize>>,
) -> Vec<u64> {
    let (mut heard, mut last) = (Vec::new(), first);
    loop {
        let position = positions.borrow_and_update().clone();
        let last_id = last.to_string();
        let connected = SseClient::connect(&position.url, Some(&position.token), Some(&last_id)).await;
        let mut client = match connected {
            Ok(client) => client,
            Err(SseError::Refused(answer)) => panic!("{} {}", answer.status, answer.json()),
            // The server went while we were on our way to it.
            Err(_) => {
                positions.changed().await.unwrap();
                continue;
            }
        };
        if position.start == 0 && heard.is_empty() {
            counted.send_modify(|count| *count += 1);
        }
        let lost = loop {
            if positions.borrow().last_seq == Some(last) {
                return heard;
            }
            tokio::select! {
                frame = client.next(EVENT_TIMEOUT) => match frame {
                    Ok(frame) => {
                        let Some(id) = frame.id else {
                            assert!(frame.event == "connected", "{frame:?}");
                            continue;
                        };
                        last = id.parse().unwrap();
                        heard.push(last);
                    }
                    Err(error) => break error,
                },
                changed = positions.changed() => changed.unwrap(),
            }
        };
        assert!(!matches!(lost, SseError::TimedOut | SseError::Malformed(_)), "{lost} after {last}");
        // Not before the server is there again.
        positions.wait_for(|now| now.start > position.start).await.unwrap();
    }
}

async fn make_beads(harness: &Harness, names: std::ops::Range<usize>) {
    let create = |number: usize| async move { harness.bead(&format!("b{number}"), json!({})).await };
    futures_util::stream::iter(names).map(create).buffer_unordered(8).collect::<Vec<_>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_subscribers_get_each_event_once_across_a_kill() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
    }
    let mut harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let first = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    let position = |harness: &Harness, start| StreamPosition {
        start,
        url: format!("{}/api/v1/events/stream", harness.server.url()),
        token: harness.server.token().unwrap().to_owned(),
        last_seq: None,
    };
    let (positions, _) = watch::channel(position(&harness, 0));
    let counted = Arc::new(watch::Sender::new(0));
    let mut crowd = JoinSet::new();
    for _ in 0..SUBSCRIBERS {
        crowd.spawn(subscriber(positions.subscribe(), first, Arc::clone(&counted)));
    }
    let mut count = counted.subscribe();
    let all_there = tokio::time::timeout(EVENT_TIMEOUT, count.wait_for(|count| *count == SUBSCRIBERS));
    assert!(all_there.await.is_ok(), "only {} are connected", *counted.borrow());

    make_beads(&harness, 0..40).await;
    // Some have the last of these by now, others are still on their way.
    harness.server.kill9();
    harness.server.restart().await;
    positions.send_replace(position(&harness, 1));
    make_beads(&harness, 40..80).await;
    let last = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    positions.send_modify(|position| position.last_seq = Some(last));

    let expected: Vec<u64> = (first + 1..=last).collect();
    assert!(expected.len() >= 160);
    let begun = Instant::now();
    let mut heard = BTreeSet::new();
    while let Some(ended) = crowd.join_next().await {
        heard.insert(ended.unwrap());
    }
    eprintln!(
        "{SUBSCRIBERS} subscribers had all {} events {:?} after the last",
        expected.len(),
        begun.elapsed()
    );
    assert_eq!(heard, BTreeSet::from([expected]), "every subscriber heard every event once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_soft_descriptor_limit_is_raised_for_allowed_streams() {
    let few = ["sh", "-c", "ulimit -S -n 256; exec \"$@\"", "sh"];
    let harness = Harness { server: ServerProcess::start_behind(&few, BINARY, &[], &[FAST_KDF]).await };
    let mut streams = Vec::new();
    for _ in 0..400 {
        streams.push(harness.stream("", None).await);
    }
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for stream in &mut streams {
        assert_eq!(stream.next(TIMEOUT).await.unwrap().event, "project.created");
    }
}
