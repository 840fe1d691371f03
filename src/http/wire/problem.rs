//! Problem documents (RFC 9457): one table of everything that can be wrong, and the answer that says so.

use arbiter_core::kernel::refusal::{FieldProblem, Refusal};
use schemars::JsonSchema;
use serde::Serialize;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{HeaderMap, StatusCode};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// A kind of problem.
#[derive(Clone, Copy, Debug)]
pub struct ProblemType {
    /// The `type` of the document: a relative URI that is one word.
    pub code: &'static str,
    /// The status it comes with.
    pub status: u16,
    /// The `title`.
    pub title: &'static str,
    /// Cause and remedy.
    pub meaning: &'static str,
}

macro_rules! problems {
    ($($code:literal $status:literal $title:literal: $meaning:literal)*) => {
        /// Every kind of problem.
        pub const PROBLEMS: &[ProblemType] = &[
            $(ProblemType { code: $code, status: $status, title: $title, meaning: $meaning }),*
        ];
    };
}

problems! {
    "malformed-json" 400 "Malformed JSON": "The body is no JSON document."
    "bad-query" 400 "Bad query": "A query parameter is unknown, repeated, or holds what it cannot hold."
    "bad-header" 400 "Bad header": "A header such as If-Match or Last-Event-ID does not hold what it should."
    "bad-body" 400 "Body broke off": "The body ended before its announced end."
    "unauthorized" 401 "Token required": "The request carries no token that is known and valid now."
    "budget-exhausted" 402 "Budget exhausted": "The call does not fit a budget; the detail says when it begins anew. No 429: asking slower does not help."
    "forbidden" 403 "Forbidden": "The token's role, or its holder's own rights, do not reach so far."
    "cross-site" 403 "Cross-site request": "A browser sent the request from another site's page."
    "wrong-password" 403 "Wrong password": "The password does not open the vault."
    "not-found" 404 "Not found": "There is no such route, or no such entity."
    "method-not-allowed" 405 "Method not allowed": "The route knows other methods; Allow names them."
    "body-timeout" 408 "Body too slow": "The client sent nothing of the body for too long."
    "transition" 409 "Not from this state": "The entity's state does not allow it; the detail names the state."
    "temporal-off" 409 "No Temporal": "No Temporal server is configured."
    "same-status" 409 "Same status": "It has that status already."
    "assign-a-bead" 409 "Assign a bead": "An agent is brought to work by assigning it a bead, not by a status."
    "other-project" 409 "Other project": "The two belong to different projects."
    "exists" 409 "Exists already": "The id is taken, or was once; ids are never given twice."
    "conflict" 409 "Conflict": "The state of things forbids it."
    "changed" 409 "Changed meanwhile": "Somebody else changed it at the same moment; read it and try again."
    "not-ready" 409 "Not ready": "The bead waits for something, is deferred, or is meant for somebody else."
    "not-approved" 409 "Not approved": "A bead of priority 0 waits for a person's approval."
    "stale-lease" 409 "Stale lease": "The lease token is not that of the bead's present claim."
    "not-due" 409 "Not due": "The decision's deadline has not come."
    "bead-held" 409 "Bead held": "Somebody holds the bead; it has to be released first."
    "agent-busy" 409 "Agent busy": "The agent has as many beads as it may have, or is not idle."
    "position-full" 409 "Position full": "As many agents as may be fill the position of the project's org chart already."
    "built-in-persona" 409 "Built-in persona": "The persona comes with Arbiter; one of your own can stand before it."
    "perpetual-project" 409 "Perpetual project": "A perpetual project never closes."
    "open-work" 409 "Open work": "The project has beads that are not closed."
    "stale" 409 "Changed since it was asked": "What the decision is about was changed since it was asked; the detail says how to answer for it as it is now."
    "already-asked" 409 "Asked already": "The bead was escalated already; the detail names the decision."
    "file-locked" 409 "File locked": "Another holds a lock on the file; the detail names the holder, its bead and until when."
    "bead-not-held" 409 "Bead not held": "Files are locked for a bead by whoever holds it, and this one does not."
    "provider-disabled" 409 "Provider disabled": "The operator switched the provider off; enable it first."
    "provider-unusable" 409 "Provider unusable": "The provider that is wanted, or every provider, cannot be called now."
    "run-cancelled" 409 "Run cancelled": "Somebody ended the run that was to answer this."
    "run-ended" 409 "Run has ended": "The run has ended already."
    "agent-not-started" 409 "Agent not started": "The agent was not started, or was shut down."
    "no-bead-file" 409 "No file of beads": "The project has no `beads_path`, so there is no file of its own."
    "bead-file-unusable" 409 "File of beads unusable": "The project's file cannot be read or written; the detail says why."
    "bead-file-knows-more" 409 "File knows more": "The file holds beads that are not here; it is not written over before it was read in."
    "request-repeated" 409 "Request repeated": "A request with the same Idempotency-Key was made before, or is being made."
    "key-not-for-host" 409 "Key not for host": "The key is bound to hosts, and the endpoint is on another one."
    "vault-rolled-back" 409 "Vault rolled back": "An older key file was put back: POST /api/v1/vault/accept-rollback."
    "in-use" 409 "In use": "Something depends on it; ?cascade=true deletes that too."
    "dependency-cycle" 409 "Dependency cycle": "The dependency would close a cycle; the detail names its path."
    "dependency-exists" 409 "Dependency exists": "The bead depends on the other one already."
    "precondition-failed" 412 "Changed since": "If-Match does not name the revision that is stored."
    "too-large" 413 "Too large": "The body is larger than the route takes."
    "media-type" 415 "Unsupported media type": "A body is application/json, and nothing else."
    "misdirected" 421 "Wrong host": "The Host header does not name this server; http.allowed_hosts adds names."
    "invalid" 422 "Invalid": "Fields are unknown, missing or wrong; errors lists them by JSON pointer."
    "idempotency-mismatch" 422 "Another request": "The Idempotency-Key was used for a request with another body."
    "vault-locked" 423 "Vault locked": "It needs a key and the vault is locked: POST /api/v1/vault/unlock."
    "throttled" 429 "Too many attempts": "Wait for as long as Retry-After says."
    "rate-limited" 429 "Too many requests": "The token, or the address, asks too often; Retry-After says when to go on."
    "internal" 500 "Internal error": "A fault of the server; its log knows the request by its id."
    "actor-crashed" 500 "Actor crashed": "A part of the server failed on this request and was started again."
    "model-not-found" 404 "Model not found": "No provider offers the model; GET /v1/models lists what can be asked for."
    "context-too-long" 400 "Context too long": "Prompt and answer do not fit into the model's context."
    "provider-refused" 400 "Provider refused": "The provider will not serve this request however often it is made."
    "provider-limited" 429 "Provider limits calls": "The provider, or a limit set for it, wants fewer calls; Retry-After says when to go on."
    "provider-failed" 502 "Provider failed": "The provider could not be asked, or its answer was of no use."
    "provider-overloaded" 503 "No provider": "The provider has no capacity or fails, or no provider of the model can be called now."
    "provider-late" 504 "Provider too slow": "The provider's answer did not come, or not go on, in time."
    "temporal-unavailable" 503 "Temporal unavailable": "The Temporal server cannot be reached now."
    "busy" 503 "Busy": "More is waiting than the server takes; try again after Retry-After."
    "deadline" 503 "Took too long": "The request was given up; what it asked for may still happen."
    "too-many-streams" 503 "Too many streams": "No further event stream can be opened at the moment."
    "shutting-down" 503 "Shutting down": "The server is about to stop."
    "store-failed" 503 "Store failed": "The database can no longer be trusted with changes; the server ends."
    "disk-full" 507 "Disk full": "Nothing was written, because there is no space for it."
}

/// A refusal or a fault on its way to the client.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: &'static ProblemType,
    detail: String,
    errors: Vec<FieldProblem>,
    retry_after_sec: Option<u64>,
    allow: Option<String>,
    /// Requests that may come at once.
    burst: Option<u32>,
}

/// A problem document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// Type of the problem: a relative URI of one word.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind in words.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// Description of this occurrence.
    detail: String,
    /// The request's id, by which the server's log knows it.
    request_id: String,
    /// Errors of single fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// Error of one field.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FieldError {
    /// JSON pointer into the body.
    pointer: String,
    /// Description of the defect.
    detail: String,
}

/// The kind that a code names; rules that the table does not know are plain conflicts.
fn kind(code: &str) -> &'static ProblemType {
    const CONFLICT: &ProblemType =
        &ProblemType { code: "conflict", status: 409, title: "Conflict", meaning: "" };
    PROBLEMS.iter().find(|problem| problem.code == code).unwrap_or(CONFLICT)
}

impl ApiError {
    /// A problem of the kind `code`.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        let kind = kind(code);
        let retry_after_sec = matches!(kind.status, 429 | 503).then_some(1);
        let inner =
            Inner { kind, detail: detail.into(), errors: vec![], retry_after_sec, allow: None, burst: None };
        Self(Box::new(inner))
    }

    /// A path that leads nowhere.
    pub fn no_route() -> Self {
        Self::new("not-found", "there is no such route; GET /api/openapi.json lists all of them")
    }

    /// An entity that is not there.
    pub fn not_found(entity: &'static str, id: &str) -> Self {
        Refusal::not_found(entity, id).into()
    }

    /// One wrong field of the body.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        Refusal::field(name, detail).into()
    }

    /// Fields that are wrong.
    pub fn fields(errors: Vec<FieldProblem>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} fields are not valid", many.len()),
        };
        let mut error = Self::new("invalid", detail);
        error.0.errors = errors;
        error
    }

    /// The caller may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new("forbidden", detail)
    }

    /// A query parameter that is wrong.
    pub fn query(detail: impl Into<String>) -> Self {
        Self::new("bad-query", detail)
    }

    /// About a field of the body, if one is at fault.
    #[must_use]
    pub fn with_field(mut self, field: Option<String>) -> Self {
        let detail = self.0.detail.clone();
        self.0.errors.extend(field.map(|name| FieldProblem { pointer: format!("/{name}"), detail }));
        self
    }

    /// With the methods that the route knows.
    #[must_use]
    pub fn with_allow(mut self, methods: String) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// With the time to wait before the next try, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_sec = Some(seconds.max(1));
        self
    }

    /// With the number of requests that may come at once.
    #[must_use]
    pub fn with_burst(mut self, burst: u32) -> Self {
        self.0.burst = Some(burst);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The kind's code.
    pub fn code(&self) -> &'static str {
        self.0.kind.code
    }

    /// Returns the description of this occurrence.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns the errors of single fields.
    pub fn errors(&self) -> &[FieldProblem] {
        &self.0.errors
    }

    /// The headers and the document of the answer to the request with this id.
    pub fn render(self, request_id: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        let status = self.status();
        let inner = *self.0;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = inner.retry_after_sec {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(burst) = inner.burst {
            headers.insert(LIMIT, HeaderValue::from(burst));
            headers.insert(REMAINING, HeaderValue::from(0));
            headers.insert(RESET, HeaderValue::from(inner.retry_after_sec.unwrap_or(1)));
        }
        if let Some(allow) = inner.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"arbiter\""));
        }
        let errors = inner.errors.into_iter();
        let document = Problem {
            kind: inner.kind.code,
            title: inner.kind.title,
            status: inner.kind.status,
            detail: inner.detail,
            request_id: request_id.to_owned(),
            errors: errors.map(|e| FieldError { pointer: e.pointer, detail: e.detail }).collect(),
        };
        // Texts and numbers always serialize.
        (status, headers, serde_json::to_vec(&document).unwrap_or_default())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Transition { .. } => Self::new("transition", detail),
            Refusal::NotFound { .. } => Self::new("not-found", detail),
            Refusal::Exists { .. } => Self::new("exists", detail),
            Refusal::Conflict { code, .. } => Self::new(code, detail),
            Refusal::Forbidden(_) => Self::new("forbidden", detail),
            Refusal::Precondition { .. } => Self::new("precondition-failed", detail),
            Refusal::Invalid(errors) => Self::fields(errors),
        }
    }
}

#[cfg(test)]
mod tests;
