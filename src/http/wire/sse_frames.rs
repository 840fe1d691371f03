//! Server-sent events as bytes. Each event is written once and shared by all who listen.

use arbiter_core::kernel::event::Event;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A comment that says that the stream is alive.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");
/// Reason given to streams at shutdown.
pub const SHUTTING_DOWN: &str = "the server is shutting down";
/// Reason given to a stream whose token, session or certificate is no longer valid.
pub const TOKEN_ENDED: &str = "the token was revoked, signed out or has expired";
/// Frames that are kept; a power of two, about the size of the broker's buffer.
const CACHED_FRAMES: u64 = 1024;

/// The largest frame that is kept, in bytes.
const MAX_CACHED_BYTES: usize = 32_768;

/// An event as a frame.
pub fn event(event: &Event) -> Bytes {
    // An event came from JSON and goes back to it.
    let data = serde_json::to_string(event).unwrap_or_default();
    Bytes::from(format!("id: {}\nevent: {}\ndata: {data}\n\n", event.seq, event.kind))
}

fn control(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// The first frame of a stream.
pub fn connected(last_seq: u64, resumed_from: Option<u64>) -> Bytes {
    control("connected", &json!({"last_seq": last_seq, "resumed_from": resumed_from}))
}

/// Returns the frame that announces events that are no longer available.
pub fn gap(from: u64, to: u64, available_from: u64) -> Bytes {
    control("stream.gap", &json!({"from": from, "to": to, "available_from": available_from}))
}

/// The last frame of a stream that the server ends.
pub fn closing(reason: &str) -> Bytes {
    control("stream.closing", &json!({"reason": reason}))
}

/// The newest frames.
pub struct FrameCache(Box<[Mutex<(u64, Bytes)>]>);

impl Default for FrameCache {
    fn default() -> Self {
        Self((0..CACHED_FRAMES).map(|_| Mutex::new((0, Bytes::new()))).collect())
    }
}

impl FrameCache {
    /// The frame of an event, written at its first use.
    pub fn of(&self, event: &Event) -> Bytes {
        let slot = usize::try_from(event.seq % CACHED_FRAMES).ok().and_then(|at| self.0.get(at));
        let Some(slot) = slot else { return self::event(event) };
        let mut kept = slot.lock();
        if kept.0 != event.seq {
            let frame = self::event(event);
            if frame.len() > MAX_CACHED_BYTES {
                return frame;
            }
            *kept = (event.seq, frame);
        }
        kept.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::kernel::event_type::EventType;
    use arbiter_core::kernel::time::Timestamp;

    fn sample(seq: u64) -> Event {
        Event {
            id: "evt-1".into(),
            kind: EventType::BeadCreated,
            timestamp: Timestamp::from_millis(0),
            source: "beads".into(),
            project_id: Some("p".into()),
            subject: "bd-1".into(),
            actor: "ann".into(),
            origin: None,
            data: json!({"title": "a\nb\r"}),
            seq,
        }
    }

    #[test]
    fn event_frame_is_three_lines_for_any_data() {
        let frame = String::from_utf8(event(&sample(7)).to_vec()).unwrap();
        let lines: Vec<&str> = frame.split('\n').collect();
        assert_eq!(lines[..2], ["id: 7", "event: bead.created"]);
        let data: Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((data["seq"].as_u64(), data["type"].as_str()), (Some(7), Some("bead.created")));
        assert_eq!(data["data"]["title"], "a\nb\r");
        assert_eq!(lines[3..], ["", ""]);
        assert!(!frame.contains('\r'));
    }

    #[test]
    fn control_frames_have_no_id_and_always_data() {
        for frame in [connected(9, None), connected(9, Some(3)), gap(4, 6, 7), closing(SHUTTING_DOWN)] {
            let text = String::from_utf8(frame.to_vec()).unwrap();
            assert!(
                text.starts_with("event: ") && text.contains("\ndata: {") && text.ends_with("}\n\n"),
                "{text}"
            );
            assert!(!text.contains("id: "), "{text}");
        }
        assert_eq!(connected(9, None), "event: connected\ndata: {\"last_seq\":9,\"resumed_from\":null}\n\n");
    }

    #[test]
    fn frame_is_rendered_once_and_evicted_by_later() {
        let cache = FrameCache::default();
        let first = cache.of(&sample(1));
        assert_eq!(first.as_ptr(), cache.of(&sample(1)).as_ptr());
        let later = cache.of(&sample(1 + CACHED_FRAMES));
        assert!(later.starts_with(b"id: 1025\n"));
        assert_eq!(cache.of(&sample(1)), first);
    }
}
