//! The event stream: its frames, filters, resumption, keep-alive, end, and slow readers.

use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{SseClient, SseError};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// Another word for now: what must not come is not waited for longer.
const QUIET_PERIOD: Duration = Duration::from_millis(300);

async fn with_projects(environment: &[(&str, &str)]) -> Harness {
    let harness = Harness::with(environment).await;
    for id in ["p", "q"] {
        harness.create("projects", json!({"id": id, "name": id})).await;
    }
    harness
}

fn seq(frame: &arbiter_testkit::SseFrame) -> u64 {
    frame.id.as_deref().unwrap_or_else(|| panic!("{frame:?}")).parse().unwrap()
}

/// Tells whether an event of this project and type passes a filter.
type EventPredicate = fn(&str, &str) -> bool;

/// The numbers of the next frames, all of them events.
async fn next(client: &mut SseClient, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        seqs.push(seq(&client.next(TIMEOUT).await.unwrap()));
    }
    seqs
}

/// Returns the numbers of the logged events about beads after a position.
async fn bead_events(harness: &Harness, after: u64) -> Vec<u64> {
    let is_bead = |event: &&Value| event["type"].as_str().unwrap().starts_with("bead.");
    let events = harness.events(after).await;
    events.iter().filter(is_bead).map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn stream_starts_with_log_position_then_whole_events() {
    let harness = with_projects(&[]).await;
    let before = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    let url = format!("{}/api/v1/events/stream", harness.server.url());
    let mut client = SseClient::connect(&url, harness.server.token(), None).await.unwrap();
    let connected = client.next(TIMEOUT).await.unwrap();
    assert_eq!((connected.event.as_str(), connected.id.as_deref()), ("connected", None));
    let data: Value = serde_json::from_str(&connected.data).unwrap();
    let last = data["last_seq"].as_u64().unwrap();
    // Actors may log an event of their own between the two requests.
    let now = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    assert!((before..=now).contains(&last), "{before} to {now}: {data}");
    assert_eq!(data, json!({"last_seq": last, "resumed_from": null}));
    harness.bead("b", json!({})).await;
    let logged = harness.events(last).await;
    let mut is_bead_created = false;
    for expected in logged {
        let frame = client.next(TIMEOUT).await.unwrap();
        let event: Value = serde_json::from_str(&frame.data).unwrap();
        assert_eq!(event, expected, "the stream and the log hold the same events");
        assert_eq!(
            (frame.event.as_str(), seq(&frame)),
            (event["type"].as_str().unwrap(), event["seq"].as_u64().unwrap())
        );
        is_bead_created |= frame.event == "bead.created";
        for field in ["id", "type", "timestamp", "source", "project_id", "subject", "data", "seq"] {
            assert!(event.get(field).is_some(), "{field}: {event}");
        }
    }
    assert!(is_bead_created, "the new bead is on the stream");
    let unlike = SseClient::connect(&url, Some("wrong"), None).await;
    assert!(matches!(unlike, Err(SseError::Refused(answer)) if answer.status == 401));
}

#[tokio::test]
async fn stream_filters_by_project_and_type_combine_with_and() {
    let harness = with_projects(&[]).await;
    let start = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    for (id, project) in [("b1", "p"), ("b2", "q")] {
        harness.create("beads", json!({"id": id, "title": "t", "project_id": project})).await;
        harness.create(&format!("beads/{id}/comments"), json!({"comment": "c"})).await;
        harness.act(&format!("beads/{id}/close"), json!({"reason": "r"})).await;
    }
    harness.create("projects", json!({"id": "end", "name": "end"})).await;
    let all = harness.events(start).await;
    let wanted: &[(&str, EventPredicate)] = &[
        ("?project_id=p", |project, _| project == "p"),
        ("?type=bead.created", |_, kind| kind == "bead.created"),
        ("?type=bead.created,bead.completed", |_, kind| matches!(kind, "bead.created" | "bead.completed")),
        ("?type=bead.created&type=project.*", |_, kind| {
            kind == "bead.created" || kind.starts_with("project.")
        }),
        ("?type=bead.*", |_, kind| kind.starts_with("bead.")),
        ("?project_id=q&type=bead.c*", |_, _| false),
        ("?project_id=q&type=bead.*", |project, kind| project == "q" && kind.starts_with("bead.")),
    ];
    for (query, is_wanted) in wanted {
        let url = format!("{}/api/v1/events/stream{query}", harness.server.url());
        let connected = SseClient::connect(&url, harness.server.token(), Some(&start.to_string())).await;
        if query.contains("bead.c*") {
            // A family ends with its dot; half a word is a mistake, and said to be one.
            assert!(matches!(connected, Err(SseError::Refused(answer)) if answer.status == 400), "{query}");
            continue;
        }
        let mut client = connected.unwrap();
        client.next(TIMEOUT).await.unwrap();
        let expected: Vec<u64> = all
            .iter()
            .filter(|e| is_wanted(e["project_id"].as_str().unwrap_or(""), e["type"].as_str().unwrap()))
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(next(&mut client, expected.len()).await, expected, "{query}");
        assert!(matches!(client.next(QUIET_PERIOD).await, Err(SseError::TimedOut)), "{query}: and no more");
    }
}

#[tokio::test]
async fn stream_resumes_after_id_without_gap_or_repeat() {
    let harness = with_projects(&[]).await;
    for number in 0..20 {
        harness.bead(&format!("b{number}"), json!({})).await;
    }
    let last = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    let url = format!("{}/api/v1/events/stream", harness.server.url());
    for from in [0, 1, last / 2, last - 1, last] {
        let by_header =
            SseClient::connect(&url, harness.server.token(), Some(&from.to_string())).await.unwrap();
        let query = format!("{url}?last_event_id={from}");
        let by_query = SseClient::connect(&query, harness.server.token(), None).await.unwrap();
        // Made while the first events still come from the log.
        harness.bead(&format!("after-{from}"), json!({})).await;
        let now = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
        for mut client in [by_header, by_query] {
            let connected: Value = serde_json::from_str(&client.next(TIMEOUT).await.unwrap().data).unwrap();
            assert_eq!(connected["resumed_from"], from);
            let count = usize::try_from(now - from).unwrap();
            assert_eq!(next(&mut client, count).await, (from + 1..=now).collect::<Vec<_>>());
        }
    }
    for wrong in ["abc", "-1", "1.5", "0x10"] {
        let refused = SseClient::connect(&url, harness.server.token(), Some(wrong)).await;
        assert!(matches!(refused, Err(SseError::Refused(answer)) if answer.status == 400), "{wrong}");
        let query = format!("{url}?last_event_id={wrong}");
        let refused = SseClient::connect(&query, harness.server.token(), None).await;
        assert!(matches!(refused, Err(SseError::Refused(answer)) if answer.status == 400), "{wrong}");
    }
}

#[tokio::test]
async fn stream_resumed_beyond_the_end_reports_a_gap_and_continues() {
    let harness = with_projects(&[]).await;
    let last = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    let mut client = harness.stream("", Some(last + 1000)).await;
    let gap = client.next(TIMEOUT).await.unwrap();
    assert_eq!((gap.event.as_str(), gap.id), ("stream.gap", None));
    let gap: Value = serde_json::from_str(&gap.data).unwrap();
    let next = gap["available_from"].as_u64().unwrap();
    // Actors may log an event of their own before the stream begins.
    let now = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    assert!((last + 1..=now + 1).contains(&next), "{last} to {now}: {gap}");
    assert_eq!(gap, json!({"from": next, "to": last + 1000, "available_from": next}));
    harness.bead("b", json!({})).await;
    assert_eq!(seq(&client.next(TIMEOUT).await.unwrap()), next);
}

#[tokio::test]
async fn stream_of_unknown_or_foreign_project_is_not_found() {
    let harness = with_projects(&[]).await;
    let limited = json!({"name": "limited", "role": "viewer", "projects": ["p"]});
    let limited = harness.create("tokens", limited).await["token"].as_str().unwrap().to_owned();
    let of = |project: &str| format!("{}/api/v1/events/stream?project_id={project}", harness.server.url());
    for (token, project) in
        [(harness.server.token().unwrap(), "nowhere"), (&limited, "nowhere"), (&limited, "q")]
    {
        let refused = SseClient::connect(&of(project), Some(token), None).await;
        assert!(matches!(refused, Err(SseError::Refused(answer)) if answer.status == 404), "{project}");
    }
    assert!(SseClient::connect(&of("p"), Some(&limited), None).await.is_ok());
}

#[tokio::test]
async fn silent_stream_is_kept_alive_by_comments() {
    let harness = Harness::with(&[("ARBITER_HTTP__STREAM_KEEP_ALIVE_MS", "100")]).await;
    let mut client = harness.stream("?type=key.used", None).await;
    client.wait_for_comments(3, TIMEOUT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_shutdown_announces_and_ends_streams() {
    let mut harness = with_projects(&[]).await;
    let mut clients = [harness.stream("", None).await, harness.stream("?project_id=p", Some(0)).await];
    assert!(seq(&clients[1].next(TIMEOUT).await.unwrap()) > 0);
    assert!(harness.server.terminate().await.success());
    for client in &mut clients {
        let closing = client.next_of_type("stream.closing", TIMEOUT).await.unwrap();
        assert_eq!(closing.id, None);
        assert!(matches!(client.next(TIMEOUT).await, Err(SseError::Ended)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_stream_reader_gets_every_event_and_delays_no_other() {
    /// Far more than sockets and the server's 1000 events in memory hold.
    const BEADS: usize = 1_200;
    // The server closes stalled streams; this limit is longer than any disk takes for so many beads.
    let harness = with_projects(&[("ARBITER_HTTP__STREAM_STALL_MS", "3600000")]).await;
    // Actors log events of their own at any time, so both streams start at one position and hear only of beads.
    let start = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    let mut slow = harness.stream("?type=bead.*", Some(start)).await;
    let mut quick = harness.stream("?type=bead.*", Some(start)).await;
    let text = "x".repeat(12_000);
    let create = |number: usize| {
        let bead = json!({"title": format!("{number}"), "project_id": "p", "description": text});
        let harness = &harness;
        async move { harness.create("beads", bead).await }
    };
    let creating = futures_util::stream::iter(0..BEADS).map(create).buffer_unordered(16).collect::<Vec<_>>();
    // Each bead is created and ready.
    let total = BEADS * 2;
    let reading = async {
        let seqs = next(&mut quick, total).await;
        (seqs, quick)
    };
    let (_, (seqs, mut quick)) = tokio::join!(creating, reading);
    let expected = bead_events(&harness, start).await;
    assert_eq!(expected.len(), total);
    assert_eq!(seqs, expected, "the quick reader gets every event in order");
    assert_eq!(next(&mut slow, total).await, expected, "the slow reader gets every event in order");
    // Both streams are live again.
    harness.bead("afterwards", json!({})).await;
    let after = bead_events(&harness, *expected.last().unwrap()).await;
    for client in [&mut slow, &mut quick] {
        assert_eq!(next(client, 1).await, after[..1]);
    }
}
