//! The event stream: its frames, filters, resumption, silence, end, and who is slow.

use crate::harness::{SOON, Stage};
use arbiter_testkit::{SseClient, SseError};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// Another word for now: what must not come is not waited for longer.
const AT_ONCE: Duration = Duration::from_millis(300);

async fn with_projects(environment: &[(&str, &str)]) -> Stage {
    let stage = Stage::with(environment).await;
    for id in ["p", "q"] {
        stage.create("projects", json!({"id": id, "name": id})).await;
    }
    stage
}

fn seq(frame: &arbiter_testkit::Frame) -> u64 {
    frame.id.as_deref().unwrap_or_else(|| panic!("{frame:?}")).parse().unwrap()
}

/// Whether an event of this project and type passes a filter.
type Wanted = fn(&str, &str) -> bool;

/// The numbers of the next frames, all of them events.
async fn next(client: &mut SseClient, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        seqs.push(seq(&client.next(SOON).await.unwrap()));
    }
    seqs
}

#[tokio::test]
async fn a_stream_begins_with_where_the_log_stands_and_goes_on_with_whole_events() {
    let stage = with_projects(&[]).await;
    let last = stage.get("events/stats").await["last_seq"].as_u64().unwrap();
    let url = format!("{}/api/v1/events/stream", stage.server.url());
    let mut client = SseClient::connect(&url, stage.server.token(), None).await.unwrap();
    let connected = client.next(SOON).await.unwrap();
    assert_eq!((connected.event.as_str(), connected.id.as_deref()), ("connected", None));
    let data: Value = serde_json::from_str(&connected.data).unwrap();
    assert_eq!(data, json!({"last_seq": last, "resumed_from": null}));
    stage.bead("b", json!({})).await;
    let frame = client.next(SOON).await.unwrap();
    let event: Value = serde_json::from_str(&frame.data).unwrap();
    assert_eq!((frame.event.as_str(), seq(&frame)), ("bead.created", last + 1));
    let logged = stage.get(&format!("events?after={last}&limit=1")).await;
    assert_eq!(event, logged[0], "the stream and the log say the same");
    for field in ["id", "type", "timestamp", "source", "project_id", "subject", "data", "seq"] {
        assert!(event.get(field).is_some(), "{field}: {event}");
    }
    let unlike = SseClient::connect(&url, Some("wrong"), None).await;
    assert!(matches!(unlike, Err(SseError::Refused(answer)) if answer.status == 401));
}

#[tokio::test]
async fn filters_by_project_and_type_are_joined_by_and() {
    let stage = with_projects(&[]).await;
    let start = stage.get("events/stats").await["last_seq"].as_u64().unwrap();
    for (id, project) in [("b1", "p"), ("b2", "q")] {
        stage.create("beads", json!({"id": id, "title": "t", "project_id": project})).await;
        stage.create(&format!("beads/{id}/comments"), json!({"comment": "c"})).await;
        stage.act(&format!("beads/{id}/close"), json!({"reason": "r"})).await;
    }
    stage.create("projects", json!({"id": "end", "name": "end"})).await;
    let all = stage.events(start).await;
    let wanted: &[(&str, Wanted)] = &[
        ("?project_id=p", |project, _| project == "p"),
        ("?type=bead.created", |_, kind| kind == "bead.created"),
        ("?type=bead.created,bead.completed", |_, kind| matches!(kind, "bead.created" | "bead.completed")),
        ("?type=bead.created&type=project.*", |_, kind| {
            kind == "bead.created" || kind.starts_with("project.")
        }),
        ("?type=bead.*", |_, kind| kind.starts_with("bead.")),
        ("?project_id=q&type=bead.c*", |_, _| false),
        ("?project_id=q&type=bead.*", |project, kind| project == "q" && kind.starts_with("bead.")),
        ("?project_id=nowhere", |_, _| false),
    ];
    for (query, is_wanted) in wanted {
        let url = format!("{}/api/v1/events/stream{query}", stage.server.url());
        let connected = SseClient::connect(&url, stage.server.token(), Some(&start.to_string())).await;
        if query.contains("bead.c*") {
            // A family ends with its dot; half a word is a mistake, and said to be one.
            assert!(matches!(connected, Err(SseError::Refused(answer)) if answer.status == 400), "{query}");
            continue;
        }
        let mut client = connected.unwrap();
        client.next(SOON).await.unwrap();
        let expected: Vec<u64> = all
            .iter()
            .filter(|e| is_wanted(e["project_id"].as_str().unwrap_or(""), e["type"].as_str().unwrap()))
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(next(&mut client, expected.len()).await, expected, "{query}");
        assert!(matches!(client.next(AT_ONCE).await, Err(SseError::TimedOut)), "{query}: and no more");
    }
}

#[tokio::test]
async fn a_stream_resumes_behind_an_id_from_header_or_query_without_gap_or_repeat() {
    let stage = with_projects(&[]).await;
    for number in 0..20 {
        stage.bead(&format!("b{number}"), json!({})).await;
    }
    let last = stage.get("events/stats").await["last_seq"].as_u64().unwrap();
    let url = format!("{}/api/v1/events/stream", stage.server.url());
    for from in [0, 1, last / 2, last - 1, last] {
        let by_header =
            SseClient::connect(&url, stage.server.token(), Some(&from.to_string())).await.unwrap();
        let query = format!("{url}?last_event_id={from}");
        let by_query = SseClient::connect(&query, stage.server.token(), None).await.unwrap();
        // Made while the first events still come from the log.
        stage.bead(&format!("after-{from}"), json!({})).await;
        let now = stage.get("events/stats").await["last_seq"].as_u64().unwrap();
        for mut client in [by_header, by_query] {
            let connected: Value = serde_json::from_str(&client.next(SOON).await.unwrap().data).unwrap();
            assert_eq!(connected["resumed_from"], from);
            let count = usize::try_from(now - from).unwrap();
            assert_eq!(next(&mut client, count).await, (from + 1..=now).collect::<Vec<_>>());
        }
    }
    for wrong in ["abc", "-1", "1.5", "0x10"] {
        let refused = SseClient::connect(&url, stage.server.token(), Some(wrong)).await;
        assert!(matches!(refused, Err(SseError::Refused(answer)) if answer.status == 400), "{wrong}");
        let query = format!("{url}?last_event_id={wrong}");
        let refused = SseClient::connect(&query, stage.server.token(), None).await;
        assert!(matches!(refused, Err(SseError::Refused(answer)) if answer.status == 400), "{wrong}");
    }
}

#[tokio::test]
async fn an_id_beyond_the_end_is_told_as_a_gap_and_the_stream_goes_on() {
    let stage = with_projects(&[]).await;
    let last = stage.get("events/stats").await["last_seq"].as_u64().unwrap();
    let mut client = stage.stream("", Some(last + 1000)).await;
    let gap = client.next(SOON).await.unwrap();
    assert_eq!((gap.event.as_str(), gap.id), ("stream.gap", None));
    let gap: Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!(gap, json!({"from": last + 1, "to": last + 1000, "available_from": last + 1}));
    stage.bead("b", json!({})).await;
    assert_eq!(seq(&client.next(SOON).await.unwrap()), last + 1);
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_comments() {
    let stage = Stage::with(&[("ARBITER_HTTP__STREAM_KEEP_ALIVE_MS", "100")]).await;
    let mut client = stage.stream("?project_id=nowhere", None).await;
    client.comments_reach(3, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_says_so_to_its_streams_and_ends_them() {
    let mut stage = with_projects(&[]).await;
    let mut clients = [stage.stream("", None).await, stage.stream("?project_id=p", Some(0)).await];
    assert!(seq(&clients[1].next(SOON).await.unwrap()) > 0);
    assert!(stage.server.terminate().await.success());
    for client in &mut clients {
        let closing = client.next_of("stream.closing", SOON).await.unwrap();
        assert_eq!(closing.id, None);
        assert!(matches!(client.next(SOON).await, Err(SseError::Ended)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_gets_everything_later_and_nobody_waits_for_it() {
    /// Far more than sockets and the server's 1000 events in memory hold.
    const BEADS: usize = 1_200;
    // Who stands still for longer is let go, and the disk alone says how long so many beads take.
    let stage = with_projects(&[("ARBITER_HTTP__STREAM_STALL_MS", "3600000")]).await;
    let mut slow = stage.stream("", None).await;
    let mut quick = stage.stream("", None).await;
    let start = stage.get("events/stats").await["last_seq"].as_u64().unwrap();
    let text = "x".repeat(12_000);
    let create = |number: usize| {
        let bead = json!({"title": format!("{number}"), "project_id": "p", "description": text});
        let stage = &stage;
        async move { stage.create("beads", bead).await }
    };
    let creating = futures_util::stream::iter(0..BEADS).map(create).buffer_unordered(16).collect::<Vec<_>>();
    // Each bead is created and ready. The quick one has its last event as soon as all are made.
    let total = BEADS * 2;
    let reading = async {
        let seqs = next(&mut quick, total).await;
        (seqs, quick)
    };
    let (_, (seqs, mut quick)) = tokio::join!(creating, reading);
    let expected: Vec<u64> = (start + 1..=start + total as u64).collect();
    assert_eq!(seqs, expected);
    assert_eq!(next(&mut slow, total).await, expected, "the slow one gets all of it, in order");
    // Both are live again.
    stage.bead("afterwards", json!({})).await;
    for client in [&mut slow, &mut quick] {
        assert_eq!(next(client, 1).await, [start + total as u64 + 1]);
    }
}
