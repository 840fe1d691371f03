//! Classifies an error response by its status, headers and body.
//!
//! Shared by all wire formats, because their error bodies differ only in details. Must not connect.

use crate::answer_end::AnswerEnd;
use crate::error::{CallError, CallErrorKind};
use crate::rate_headers;
use crate::redact::sanitize;
use arbiter_core::provider::rate_limit::RateHints;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Facts about the call that an error response belongs to.
#[derive(Clone, Copy)]
pub(crate) struct RequestContext<'a> {
    /// Requested model, if any.
    pub model: Option<&'a str>,
    pub key: Option<&'a str>,
}

/// Builds the error of a response with a status other than success.
pub(crate) fn from_status(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    context: RequestContext<'_>,
) -> CallError {
    let text = String::from_utf8_lossy(body);
    let error_body = ErrorBody::read(&text);
    let hints = rate_headers::read(headers);
    let kind = error_kind(status.as_u16(), hints, &error_body, context);
    let detail = format!("status {}: {}", status.as_u16(), error_body.message);
    CallError::new(kind, sanitize(&detail, context.key)).with_rate_hints(hints)
}

/// Finds the error in a body with a success status, as gateways send it, or in a stream that has begun.
pub(crate) fn from_body(body: &Value, context: RequestContext<'_>) -> Option<CallError> {
    // vLLM before 0.10 writes the error's fields beside `"object": "error"`.
    let is_own = body["object"] == "error" || has_words(&body["error"]);
    let error_body = if is_own { ErrorBody::from_json(body) } else { choice_error(body)? };
    let kind = error_kind(error_body.status(), RateHints::default(), &error_body, context);
    Some(CallError::new(kind, sanitize(&error_body.message, context.key)))
}

/// Finds the error within a choice, as OpenRouter reports a failure in the middle of an answer.
fn choice_error(body: &Value) -> Option<ErrorBody> {
    let failed = |choice: &&Value| {
        let reason = choice["finish_reason"].as_str().map(AnswerEnd::of_word);
        reason == Some(AnswerEnd::Error) || has_words(&choice["error"])
    };
    let choice = body["choices"].as_array()?.iter().find(failed)?;
    if has_words(&choice["error"]) {
        return Some(ErrorBody::from_json(choice));
    }
    let message = AnswerEnd::Error.defect().unwrap_or_default().to_owned();
    Some(ErrorBody { code: String::new(), family: String::new(), message })
}

/// Returns whether an error says anything. Some servers write an empty error beside every good answer.
fn has_words(error: &Value) -> bool {
    match error {
        Value::Null => false,
        Value::Bool(is_error) => *is_error,
        Value::Number(code) => code.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(parts) => parts.iter().any(has_words),
        Value::Object(fields) => fields.values().any(has_words),
    }
}

fn error_kind(
    status: u16,
    hints: RateHints,
    error_body: &ErrorBody,
    context: RequestContext<'_>,
) -> CallErrorKind {
    let not_found = || match context.model {
        Some(model) => CallErrorKind::NotFound { model: model.to_owned() },
        None => CallErrorKind::Broken,
    };
    match status {
        _ if error_body.is_context_overflow() => CallErrorKind::ContextTooLong,
        _ if error_body.code == "model_not_found" || error_body.is_unknown_model() => not_found(),
        // LiteLLM without a database knows only its master key, and looks up every other key there.
        _ if error_body.family == "no_db_connection" => CallErrorKind::Auth,
        // A later retry does not fill an account.
        _ if error_body.code == "insufficient_quota" => CallErrorKind::Refused,
        401 | 403 | 407 => CallErrorKind::Auth,
        404 => not_found(),
        413 => CallErrorKind::ContextTooLong,
        429 => CallErrorKind::RateLimited { retry_after: hints.retry_after },
        408 | 425 | 500..=599 => CallErrorKind::Overloaded,
        400..=499 => CallErrorKind::Refused,
        _ => CallErrorKind::Broken,
    }
}

/// Phrases of a context overflow, in lower case.
const OVERFLOW_PHRASES: [&str; 20] = [
    "maximum context length",
    "context length exceeded",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "exceeds the available context size",
    "contextwindowexceedederror",
    "exceed context limit",
    "exceeds the context",
    "exceeds limit of the context",
    "context window exceeds limit",
    "than the model's context length",
    "input token count",
    "maximum prompt length",
    "maximum allowed input length",
    "range of input length should be",
    "context the overflows",
    "loaded with context length of only",
    "exceeded model token limit",
    "reduce the length of the messages",
];
/// Phrases of a rate limit, in lower case; such a text may name tokens and lengths as well.
const LIMIT_PHRASES: [&str; 6] =
    ["tokens per minute", "tokens per day", "rate limit", "too many requests", "throttling", "please wait"];

/// Fields of an error body.
struct ErrorBody {
    code: String,
    family: String,
    message: String,
}

impl ErrorBody {
    fn read(text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            Ok(body) => Self::from_json(&body),
            Err(_) => Self { code: String::new(), family: String::new(), message: text.to_owned() },
        }
    }

    /// Parses `{"error": {"message", "code", "type"}}`, `{"error": "…"}`, `{"message": "…"}` or any other
    /// value.
    fn from_json(body: &Value) -> Self {
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let message = match error.get("message").unwrap_or(error) {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        };
        let named = |name| match error.get(name).filter(|value| !value.is_null()) {
            Some(Value::String(word)) => word.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let (code, family) = (named("code"), named("type"));
        Self { code: if code.is_empty() { family.clone() } else { code }, family, message }
    }

    /// Returns the status that the error would have had before the answer began. An unknown error counts as a
    /// failure of the provider.
    fn status(&self) -> u16 {
        let known = |word: &str| match word {
            "authentication_error" | "invalid_api_key" => Some(401),
            "billing_error" | "insufficient_quota" => Some(402),
            "permission_error" => Some(403),
            "not_found_error" => Some(404),
            "request_too_large" => Some(413),
            "rate_limit_error" | "rate_limit_exceeded" | "tokens" | "requests" => Some(429),
            "invalid_request_error" | "BadRequestError" | "content_filter" => Some(400),
            _ => None,
        };
        let number = self.code.parse().ok().filter(|status| (400..600).contains(status));
        number.or_else(|| known(&self.code)).or_else(|| known(&self.family)).unwrap_or(500)
    }

    /// Returns whether LiteLLM reports an unknown model, which it classifies as a bad request.
    fn is_unknown_model(&self) -> bool {
        self.message.contains("Invalid model name passed in model=")
    }

    /// Returns whether the error is a context overflow in the wording of OpenAI, vLLM, llama.cpp, Anthropic,
    /// LiteLLM and others.
    fn is_context_overflow(&self) -> bool {
        const CODES: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
        let message = self.message.to_ascii_lowercase();
        let holds = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
        CODES.contains(&self.code.as_str()) || (holds(&OVERFLOW_PHRASES) && !holds(&LIMIT_PHRASES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> CallErrorKind {
        let context = RequestContext { model: Some("m"), key: None };
        let status = StatusCode::from_u16(status).unwrap();
        from_status(status, &HeaderMap::new(), body.as_bytes(), context).kind().clone()
    }

    #[test]
    fn status_maps_to_its_error_kind() {
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
    fn context_overflow_is_known_in_every_wording() {
        for line in include_str!("tests/fixtures/context_overflows.tsv").lines() {
            let (status, body) = line.split_once('\t').unwrap();
            assert_eq!(kind(status.parse().unwrap(), body), CallErrorKind::ContextTooLong, "{line}");
        }
        for other in [
            "max_tokens is too large: 50000. This model supports at most 16384 completion tokens",
            "Throttling error: the input token count is too high, please wait before trying again",
            "the rate limit of input length 1000 was exceeded: maximum prompt length per minute",
            "the context of this request is not allowed",
        ] {
            assert_eq!(kind(400, other), CallErrorKind::Refused, "{other}");
        }
    }

    #[test]
    fn error_without_words_is_no_error() {
        let context = RequestContext { model: Some("m"), key: None };
        for empty in ["{}", "\"\"", "false", "null", "[]", "0", r#"{"message": "", "code": null}"#] {
            let body: Value = serde_json::from_str(&format!(r#"{{"error": {empty}}}"#)).unwrap();
            assert_eq!(from_body(&body, context), None, "{body}");
        }
    }

    #[test]
    fn error_in_a_choice_is_an_error() {
        let context = RequestContext { model: Some("m"), key: None };
        let answer = include_str!("tests/fixtures/answer_error_in_choice.json");
        let error = from_body(&serde_json::from_str(answer).unwrap(), context).unwrap();
        assert_eq!(*error.kind(), CallErrorKind::Overloaded);
        assert!(error.to_string().contains("upstream went away"), "{error}");
        let bare = serde_json::json!({"choices": [{"delta": {}, "finish_reason": "error"}]});
        assert_eq!(*from_body(&bare, context).unwrap().kind(), CallErrorKind::Overloaded);
    }

    #[test]
    fn error_body_with_success_status_is_an_error() {
        let context = RequestContext { model: Some("m"), key: Some("sk-1") };
        let body = serde_json::json!({"error": {"code": 429, "message": "slow down, sk-1"}});
        let error = from_body(&body, context).unwrap();
        assert_eq!(*error.kind(), CallErrorKind::RateLimited { retry_after: None });
        assert_eq!(error.to_string(), "the provider limits the rate of calls: slow down, [redacted]");
        assert_eq!(from_body(&serde_json::json!({"error": null, "choices": []}), context), None);
    }

    #[test]
    fn mid_stream_error_has_the_kind_of_its_status() {
        let table = [
            (
                r#"{"type":"error","error":{"type":"authentication_error","message":"x"}}"#,
                CallErrorKind::Auth,
            ),
            (r#"{"type":"error","error":{"type":"permission_error","message":"x"}}"#, CallErrorKind::Auth),
            (
                r#"{"type":"error","error":{"type":"not_found_error","message":"x"}}"#,
                CallErrorKind::NotFound { model: "m".into() },
            ),
            (
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
                CallErrorKind::RateLimited { retry_after: None },
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
                CallErrorKind::Overloaded,
            ),
            (r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, CallErrorKind::Overloaded),
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"x"}}"#,
                CallErrorKind::Refused,
            ),
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
                CallErrorKind::ContextTooLong,
            ),
            (
                r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#,
                CallErrorKind::ContextTooLong,
            ),
            (r#"{"error":{"type":"server_error","code":null,"message":"x"}}"#, CallErrorKind::Overloaded),
            (r#"{"error":{"code":502,"message":"x"}}"#, CallErrorKind::Overloaded),
            (r#"{"error":{"type":"invalid_request_error","code":"bad_thing"}}"#, CallErrorKind::Refused),
            (r#"{"error":"the runner has died"}"#, CallErrorKind::Overloaded),
            (
                r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#,
                CallErrorKind::Refused,
            ),
        ];
        let context = RequestContext { model: Some("m"), key: None };
        for (body, expected) in table {
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(*from_body(&body, context).unwrap().kind(), expected, "{body}");
        }
    }
}
