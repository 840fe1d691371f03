//! The id of a request: the client's own when it is sane, else one of ours.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use warp::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, both ways.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a client, in bytes.
const MAX_LEN: usize = 128;

/// A request's id, ready to be sent back.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that a request brings, else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        headers
            .get(&HEADER)
            .filter(|value| is_valid(value.as_bytes()))
            .map_or_else(Self::new, |value| Self(value.clone()))
    }

    fn new() -> Self {
        // Unique within the process by the counter, between processes by the seed.
        static SEED: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let seed = *SEED.get_or_init(|| getrandom::u64().unwrap_or_default());
        let number = mix(seed.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)));
        let text = format!("req-{number:016x}");
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("req-0")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Both sources are visible ASCII.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header's value.
    pub fn into_value(self) -> HeaderValue {
        self.0
    }
}

fn is_valid(bytes: &[u8]) -> bool {
    (1..=MAX_LEN).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte))
}

/// A bijection that scatters consecutive numbers (splitmix64's finalizer).
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(value: &'static str) -> String {
        let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_static(value))]);
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn valid_request_id_is_kept_and_other_is_replaced() {
        assert_eq!(id_of("trace-7.a:b_c"), "trace-7.a:b_c");
        for wrong in ["", "a b", "<script>", "a\u{7f}"] {
            if let Ok(value) = HeaderValue::from_str(wrong) {
                let headers = HeaderMap::from_iter([(HEADER, value)]);
                assert!(RequestId::of(&headers).as_str().starts_with("req-"), "{wrong}");
            }
        }
    }

    #[test]
    fn generated_request_ids_differ() {
        let none = HeaderMap::new();
        assert_ne!(RequestId::of(&none).as_str(), RequestId::of(&none).as_str());
    }
}
