//! Requests that may come twice: one `Idempotency-Key`, one change, the same answer for a day.
//!
//! The key is stored in the same commit as the change, so a repeat never does it again; the answer is
//! stored when it is known.

use crate::http::framework::endpoint::{Endpoint, Idempotency, Timeout};
use crate::http::framework::request::ApiRequest;
use crate::http::wire::problem::ApiError;
use crate::http::wire::reply::Reply;
use arbiter_core::kernel::lease::digest;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_store::{Change, IdempotencyKey, KeptAnswer, Unit};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tracing::Instrument;
use warp::http::header::{HeaderName, LOCATION};
use warp::http::{Method, StatusCode};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key, in bytes.
const MAX_KEY: usize = 255;
/// The field that no digest covers: a key is not kept, not even as a hash.
const SECRET_FIELD: &str = "api_key";

/// The keys whose first request is still running.
#[derive(Debug, Default)]
pub struct RunningKeys(Mutex<HashSet<IdempotencyKey>>);

/// Takes a key out of [`RunningKeys`] when its request ends, however it ends.
struct RunningKeyGuard {
    running: Arc<RunningKeys>,
    key: IdempotencyKey,
}

impl RunningKeys {
    fn begin(self: &Arc<Self>, key: &IdempotencyKey) -> Option<RunningKeyGuard> {
        let fresh = self.0.lock().insert(key.clone());
        fresh.then(|| RunningKeyGuard { running: Arc::clone(self), key: key.clone() })
    }
}

impl Drop for RunningKeyGuard {
    fn drop(&mut self) {
        self.running.0.lock().remove(&self.key);
    }
}

/// Answers a request: as it was answered before, when it carries the key of one that was.
pub async fn answer(endpoint: &Endpoint, mut call: ApiRequest) -> Result<Reply, ApiError> {
    let Some(key) = key_of(endpoint, &call)? else { return (endpoint.handler)(call).await };
    let body = call.read_body().await?;
    let body_digest = digest_of(&body);
    call.read = Some(body);
    let context = call.context.clone();
    let repeated = |detail| Err(ApiError::new(ProblemCode::RequestRepeated, detail));
    let Some(guard) = context.running().begin(&key) else {
        return repeated("a request with this Idempotency-Key is still running");
    };
    let store = &context.handles().store;
    if let Some(kept) = store.kept_answer(key.clone()).await? {
        if kept.body_digest != body_digest {
            let detail = "this Idempotency-Key belongs to a request with another body";
            return Err(ApiError::new(ProblemCode::IdempotencyMismatch, detail));
        }
        return match replay(kept) {
            Some(reply) => Ok(reply),
            None => repeated(
                "the request was carried out, but its answer is not kept: it was a stream, or was lost",
            ),
        };
    }
    let now = call.now();
    let kept = KeptAnswer {
        request: key,
        body_digest,
        status: 0,
        location: None,
        answer: String::new(),
        created_at: now,
    };
    call.keep = Some(Box::new(kept.clone()));
    let (handled, store) = ((endpoint.handler)(call), store.clone());
    let work = async move {
        let _guard = guard;
        let reply = handled.await?;
        let mut unit = Unit::new(now, "system", "http");
        unit.change(Change::CompleteAnswer(complete(kept, &reply)));
        store.commit(unit).await?;
        Ok(reply)
    };
    if endpoint.timeout == Timeout::Unlimited {
        // A request that waits ends with its client.
        return work.await;
    }
    // A client that goes away repeats the request, and finds its answer then.
    match tokio::spawn(work.in_current_span()).await {
        Ok(reply) => reply,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ApiError::new(ProblemCode::ShuttingDown, "the server is shutting down")),
    }
}

/// A kept request with its answer.
fn complete(kept: KeptAnswer, reply: &Reply) -> KeptAnswer {
    // What is not known is no empty answer: a repeat is refused.
    let status = if reply.is_stream() { 0 } else { reply.status().as_u16() };
    KeptAnswer {
        status,
        location: reply.headers().get(LOCATION).and_then(|place| place.to_str().ok()).map(str::to_owned),
        answer: String::from_utf8_lossy(reply.body()).into_owned(),
        ..kept
    }
}

/// The key of a request that carries one.
fn key_of(endpoint: &Endpoint, call: &ApiRequest) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = call.headers.get(HEADER).filter(|_| endpoint.method == Method::POST) else {
        return Ok(None);
    };
    let bad = |detail: &str| Err(ApiError::new(ProblemCode::BadHeader, detail));
    match endpoint.idempotency {
        Idempotency::Kept => {}
        Idempotency::Ignored => return Ok(None),
        Idempotency::RefusedForFiles => {
            return bad(
                "this route takes no Idempotency-Key: a file that was read in changes nothing the second time",
            );
        }
        Idempotency::RefusedForSecrets => {
            return bad("this route takes no Idempotency-Key: its answers are not kept");
        }
    }
    match value.to_str() {
        Ok(text) if (1..=MAX_KEY).contains(&text.len()) => Ok(Some(IdempotencyKey {
            token_id: call.identity.token().map_or_else(String::new, |token| token.id.to_string()),
            route: format!("POST {}", call.path),
            key: text.to_owned(),
        })),
        _ => bad("an Idempotency-Key has 1 to 255 visible characters"),
    }
}

/// Returns the SHA-256 of a body without its secret field, independent of the order of fields.
fn digest_of(body: &[u8]) -> String {
    match serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(body) {
        Ok(fields) => {
            let plain = fields.iter().filter(|(name, _)| *name != SECRET_FIELD);
            digest(&plain.map(|(name, value)| format!("{name:?}:{value}\n")).collect::<String>())
        }
        Err(_) => digest(&String::from_utf8_lossy(body)),
    }
}

/// A kept answer as it was given; none when it was lost.
fn replay(kept: KeptAnswer) -> Option<Reply> {
    let status = StatusCode::from_u16(kept.status).ok()?;
    let revision = serde_json::from_str::<serde_json::Value>(&kept.answer).ok();
    let revision = revision.and_then(|body| body.get("revision")?.as_u64());
    let mut reply = match kept.answer.is_empty() {
        true => Reply::no_content(),
        false => Reply::rendered_json(Bytes::from(kept.answer)),
    }
    .with_status(status);
    if let Some(place) = kept.location {
        reply = reply.with_header(LOCATION, &place);
    }
    Some(match revision {
        Some(revision) => reply.with_revision(revision),
        None => reply,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_digest_ignores_field_order_and_api_key() {
        let first = digest_of(br#"{"name": "n", "api_key": "sk-1", "type": "local"}"#);
        assert_eq!(first, digest_of(br#"{"type": "local", "name": "n", "api_key": "sk-2"}"#));
        assert_ne!(first, digest_of(br#"{"type": "local", "name": "m"}"#));
        assert_ne!(digest_of(b"[1]"), digest_of(b"[2]"));
    }

    #[test]
    fn key_is_running_until_its_guard_drops() {
        let running = Arc::new(RunningKeys::default());
        let key = IdempotencyKey { token_id: "t".into(), route: "POST /x".into(), key: "k".into() };
        let turn = running.begin(&key);
        assert!(turn.is_some() && running.begin(&key).is_none());
        drop(turn);
        assert!(running.begin(&key).is_some());
    }
}
