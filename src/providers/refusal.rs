//! What an answer means that is no success: from status, headers and error body to a kind.
//!
//! Shared by all wire formats, since their error bodies differ only in details. Must not connect.

use crate::error::{CallError, CallErrorKind};
use crate::redact::presentable;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;
use std::time::Duration;

/// The longest wait a provider is believed to want.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of the call when its answer turns out to be no success.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The model, unless none was asked for.
    pub model: Option<&'a str>,
    /// The key, to be kept out of every text.
    pub key: Option<&'a str>,
}

/// The error that an answer with another status than success stands for.
pub(crate) fn from_status(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    asked: Asked<'_>,
) -> CallError {
    let text = String::from_utf8_lossy(body);
    let said = Said::read(&text);
    let kind = kind_of(status.as_u16(), headers, &said, asked);
    CallError::new(kind, presentable(&format!("status {}: {}", status.as_u16(), said.message), asked.key))
}

/// The error within a body that came with a success status, as gateways send it.
pub(crate) fn from_body(body: &Value, asked: Asked<'_>) -> Option<CallError> {
    body.get("error").filter(|error| !error.is_null())?;
    let said = Said::from_json(body);
    let status = said.code.parse().unwrap_or(0);
    let kind = kind_of(status, &HeaderMap::new(), &said, asked);
    Some(CallError::new(kind, presentable(&said.message, asked.key)))
}

fn kind_of(status: u16, headers: &HeaderMap, said: &Said, asked: Asked<'_>) -> CallErrorKind {
    let not_found = || match asked.model {
        Some(model) => CallErrorKind::NotFound { model: model.to_owned() },
        None => CallErrorKind::Broken,
    };
    match status {
        _ if said.speaks_of_context() => CallErrorKind::ContextTooLong,
        _ if said.code == "model_not_found" => not_found(),
        // Asking again later does not fill an account.
        _ if said.code == "insufficient_quota" => CallErrorKind::Refused,
        401 | 403 | 407 => CallErrorKind::Auth,
        404 => not_found(),
        413 => CallErrorKind::ContextTooLong,
        429 => CallErrorKind::RateLimited { retry_after: retry_after(headers) },
        408 | 425 | 500..=599 => CallErrorKind::Overloaded,
        400..=499 => CallErrorKind::Refused,
        _ => CallErrorKind::Broken,
    }
}

/// The words of an error body.
struct Said {
    code: String,
    message: String,
}

impl Said {
    fn read(text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            Ok(body) => Self::from_json(&body),
            Err(_) => Self { code: String::new(), message: text.to_owned() },
        }
    }

    /// `{"error": {"message", "code", "type"}}`, `{"error": "…"}`, `{"message": "…"}` or anything else.
    fn from_json(body: &Value) -> Self {
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let message = match error.get("message").unwrap_or(error) {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        };
        let named = |name| error.get(name).filter(|value| !value.is_null());
        let code = match named("code").or_else(|| named("type")) {
            Some(Value::String(code)) => code.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Self { code, message }
    }

    /// The words of OpenAI, vLLM, llama.cpp, Anthropic and others for the same thing.
    fn speaks_of_context(&self) -> bool {
        const CODES: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
        const PHRASES: [&str; 4] = [
            "maximum context length",
            "context length exceeded",
            "prompt is too long",
            "exceeds the available context size",
        ];
        let message = self.message.to_ascii_lowercase();
        CODES.contains(&self.code.as_str()) || PHRASES.iter().any(|phrase| message.contains(phrase))
    }
}

/// `retry-after-ms` or `Retry-After` in seconds or as a date, which the answer's own `Date` turns
/// into a span, so that no clock of ours takes part.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str, unit: f64| {
        let count: f64 = text.parse().ok()?;
        Duration::try_from_secs_f64(count * unit).ok()
    };
    let date = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let wait = text("retry-after-ms").and_then(|given| seconds(given, 0.001)).or_else(|| {
        let given = text(RETRY_AFTER.as_str())?;
        seconds(given, 1.0).or_else(|| {
            let span = date(given)?.duration_since(date(text(DATE.as_str())?)?);
            Some(Duration::try_from(span).unwrap_or(Duration::ZERO))
        })
    })?;
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> CallErrorKind {
        let asked = Asked { model: Some("m"), key: None };
        let status = StatusCode::from_u16(status).unwrap();
        from_status(status, &HeaderMap::new(), body.as_bytes(), asked).kind().clone()
    }

    #[test]
    fn every_status_has_its_kind() {
        let not_found = CallErrorKind::NotFound { model: "m".into() };
        let limited = CallErrorKind::RateLimited { retry_after: None };
        let table = [
            (401, "", CallErrorKind::Auth),
            (403, "{}", CallErrorKind::Auth),
            (404, r#"{"error":"model \"m\" not found"}"#, not_found.clone()),
            (400, r#"{"error":{"code":"model_not_found","message":"no"}}"#, not_found),
            (
                400,
                r#"{"error":{"code":"context_length_exceeded","message":"no"}}"#,
                CallErrorKind::ContextTooLong,
            ),
            (
                400,
                r#"{"message":"This model's maximum context length is 8 tokens"}"#,
                CallErrorKind::ContextTooLong,
            ),
            (413, "<html>", CallErrorKind::ContextTooLong),
            (400, r#"{"error":{"message":"bad"}}"#, CallErrorKind::Refused),
            (402, "", CallErrorKind::Refused),
            (429, "", limited),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, CallErrorKind::Refused),
            (408, "", CallErrorKind::Overloaded),
            (500, "", CallErrorKind::Overloaded),
            (529, "", CallErrorKind::Overloaded),
            (302, "", CallErrorKind::Broken),
        ];
        for (status, body, expected) in table {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_error_within_a_success_is_an_error() {
        let asked = Asked { model: Some("m"), key: Some("sk-1") };
        let body = serde_json::json!({"error": {"code": 429, "message": "slow down, sk-1"}});
        let error = from_body(&body, asked).unwrap();
        assert_eq!(*error.kind(), CallErrorKind::RateLimited { retry_after: None });
        assert_eq!(error.to_string(), "the provider limits the rate of calls: slow down, [redacted]");
        assert_eq!(from_body(&serde_json::json!({"error": null, "choices": []}), asked), None);
    }

    #[test]
    fn a_wait_is_read_in_every_form_and_bounded() {
        let wait = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (
                    reqwest::header::HeaderName::from_static(name),
                    reqwest::header::HeaderValue::from_static(value),
                )
            });
            retry_after(&pairs.collect())
        };
        let date = ("date", "Wed, 21 Oct 2026 07:27:00 GMT");
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "1.5")]), Some(Duration::from_millis(1500)));
        assert_eq!(
            wait(&[("retry-after-ms", "250"), ("retry-after", "1")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            wait(&[date, ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]),
            Some(Duration::from_secs(60))
        );
        assert_eq!(wait(&[date, ("retry-after", "Wed, 21 Oct 2026 07:26:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "99999999999")]), Some(MAX_RETRY_AFTER));
        for nonsense in ["-1", "soon", "NaN", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(wait(&[]), None);
    }
}
