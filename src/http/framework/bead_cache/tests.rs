use super::*;
use serde_json::Value;

const NOW: fn() -> Timestamp = || Timestamp::from_millis(100);

fn rendered(text: &'static str, until: Option<i64>) -> CachedBead {
    let until = until.map(Timestamp::from_millis);
    CachedBead { body: Bytes::from_static(text.as_bytes()), revision: 1, until }
}

fn event(seq: u64, kind: EventType, subject: &str) -> Event {
    Event {
        id: format!("evt-{seq}"),
        kind,
        timestamp: Timestamp::from_millis(0),
        source: "test".into(),
        project_id: None,
        subject: subject.into(),
        actor: "test".into(),
        origin: None,
        data: Value::Null,
        seq,
    }
}

/// A cache that has heard everything up to 7 and keeps the bead a.
fn cache() -> BeadCache {
    let cache = BeadCache::default();
    cache.advance_to(7);
    cache.put("a", 7, rendered("one", None));
    cache
}

async fn body(cache: &BeadCache, seq: u64) -> Option<Bytes> {
    cache.get("a", seq, NOW).await.map(|rendered| rendered.body)
}

#[tokio::test]
async fn bead_stays_cached_until_an_event_affects_it() {
    let cache = cache();
    assert_eq!(body(&cache, 7).await.unwrap(), "one");
    cache.apply_event(&event(8, EventType::BeadCreated, "b"));
    cache.apply_event(&event(9, EventType::BeadCommented, "a"));
    assert_eq!(body(&cache, 9).await.unwrap(), "one");
    cache.apply_event(&event(10, EventType::BeadUpdated, "a"));
    assert!(body(&cache, 10).await.is_none());
}

#[tokio::test]
async fn readiness_events_clear_the_whole_cache() {
    for kind in [
        EventType::BeadStatusChange,
        EventType::BeadDependencyAdded,
        EventType::BeadDependencyRemoved,
        EventType::BeadDeleted,
        EventType::DecisionCreated,
        EventType::DecisionResolved,
    ] {
        let cache = cache();
        cache.apply_event(&event(8, kind, "somebody-else"));
        assert!(body(&cache, 8).await.is_none(), "{kind}");
        assert_eq!(cache.lock().bytes, 0);
    }
}

#[tokio::test]
async fn cached_bead_waits_for_committed_events() {
    let cache = cache();
    assert!(body(&cache, 8).await.is_none());
    let waiting = body(&cache, 8);
    let hearing = async { cache.apply_event(&event(8, EventType::BeadCreated, "b")) };
    let (found, ()) = tokio::join!(waiting, hearing);
    assert_eq!(found.unwrap(), "one");
}

#[tokio::test]
async fn bead_read_before_event_is_not_cached_after_it() {
    let cache = cache();
    cache.apply_event(&event(8, EventType::BeadUpdated, "a"));
    cache.put("a", 7, rendered("old", None));
    assert!(body(&cache, 8).await.is_none());
    cache.put("a", 8, rendered("new", None));
    assert_eq!(body(&cache, 8).await.unwrap(), "new");
}

#[tokio::test]
async fn cache_without_subscription_keeps_nothing() {
    let cache = BeadCache::default();
    cache.put("a", 0, rendered("one", None));
    assert!(body(&cache, 1).await.is_none() && cache.lock().by_id.is_empty());
    let cache = self::cache();
    cache.clear();
    assert!(body(&cache, 7).await.is_none() && cache.lock().by_id.is_empty());
}

#[tokio::test]
async fn deferral_end_expires_cached_bead() {
    let cache = cache();
    cache.put("a", 7, rendered("deferred", Some(101)));
    assert!(cache.get("a", 7, NOW).await.is_some());
    assert!(cache.get("a", 7, || Timestamp::from_millis(101)).await.is_none());
}

#[test]
fn cache_stays_within_its_byte_limits() {
    let cache = cache();
    let large = Bytes::from(vec![0; MAX_ENTRY_BYTES]);
    for number in 0..3 * MAX_TOTAL_BYTES / MAX_ENTRY_BYTES {
        let rendered = CachedBead { body: large.clone(), revision: 1, until: None };
        cache.put(&number.to_string(), 7, rendered);
    }
    let entries = cache.lock();
    let held: usize = entries.by_id.values().map(|rendered| rendered.body.len()).sum();
    assert_eq!(entries.bytes, held);
    assert!(held <= MAX_TOTAL_BYTES);
    drop(entries);
    let too_large = CachedBead { body: Bytes::from(vec![0; MAX_ENTRY_BYTES + 1]), revision: 1, until: None };
    cache.put("large", 7, too_large);
    assert!(!cache.lock().by_id.contains_key("large"));
}
