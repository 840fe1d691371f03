//! Problems in the words of OpenAI's API, for the routes that speak its protocol.

use crate::http::wire::problem::ApiError;
use arbiter_core::kernel::problem_code::ProblemCode;
use serde_json::json;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::http::{HeaderMap, StatusCode};

/// How a client is told what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// By a problem document.
    Problem,
    /// By an error of OpenAI's.
    OpenAi,
}

impl ApiError {
    /// The headers and the body of the answer to the request with this id, as OpenAI's clients read them.
    pub fn render_for_openai(self, request_id: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        let param = self.errors().first().map(|wrong| parameter(&wrong.pointer));
        let error = json!({"error": {
            "message": format!("{} (request {request_id})", self.detail()),
            "type": kind(self.status()),
            "param": param,
            "code": code(self.code()),
        }});
        let (status, mut headers, _) = self.render(request_id);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // A body that cannot be read is a wrong request there, not an entity that cannot be processed.
        let status =
            if status == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { status };
        (status, headers, error.to_string().into_bytes())
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// The code that OpenAI has for a problem, else our own in its manner of writing.
fn code(code: ProblemCode) -> String {
    match code {
        ProblemCode::Unauthorized => "invalid_api_key".to_owned(),
        ProblemCode::ContextTooLong => "context_length_exceeded".to_owned(),
        ProblemCode::RateLimited | ProblemCode::ProviderLimited => "rate_limit_exceeded".to_owned(),
        other => other.as_str().replace('-', "_"),
    }
}

/// A JSON pointer as OpenAI writes a parameter: `/messages/0/role` is `messages[0].role`.
fn parameter(pointer: &str) -> String {
    let mut parameter = String::new();
    for segment in pointer.split('/').filter(|segment| !segment.is_empty()) {
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            parameter.push_str(&format!("[{segment}]"));
        } else {
            if !parameter.is_empty() {
                parameter.push('.');
            }
            parameter.push_str(segment);
        }
    }
    parameter
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn told(error: ApiError) -> (u16, Value) {
        let (status, headers, body) = error.render_for_openai("req-1");
        assert_eq!(headers[CONTENT_TYPE], "application/json");
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn problem_renders_as_openai_error() {
        let (status, body) = told(ApiError::new(ProblemCode::Unauthorized, "no token"));
        assert_eq!(status, 401);
        let wanted = json!({"error": {
            "message": "no token (request req-1)", "type": "authentication_error", "param": null,
            "code": "invalid_api_key",
        }});
        assert_eq!(body, wanted);
        let (status, body) = told(ApiError::field("messages/0/role", "is required"));
        assert_eq!((status, body["error"]["param"].as_str()), (400, Some("messages[0].role")));
        assert_eq!(
            told(ApiError::new(ProblemCode::BudgetExhausted, "")).1["error"]["code"],
            "budget_exhausted"
        );
    }
}
