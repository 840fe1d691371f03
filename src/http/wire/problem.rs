//! Problem documents (RFC 9457): one table of everything that can be wrong, and the answer that says so.

use arbiter_core::kernel::problem_code::ProblemCode;
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
    pub code: ProblemCode,
    /// The status it comes with.
    pub status: u16,
    /// The `title`.
    pub title: &'static str,
    /// Cause and remedy.
    pub meaning: &'static str,
}

macro_rules! problems {
    ($($code:ident $status:literal $title:literal: $meaning:literal)*) => {
        impl ProblemType {
            /// The kind that a code names.
            pub const fn of(code: ProblemCode) -> Self {
                let (status, title, meaning) = match code {
                    $(ProblemCode::$code => ($status, $title, $meaning)),*
                };
                Self { code, status, title, meaning }
            }
        }
    };
}

problems! {
    MalformedJson 400 "Malformed JSON": "The body is no JSON document."
    BadQuery 400 "Bad query": "A query parameter is unknown, repeated, or holds what it cannot hold."
    BadHeader 400 "Bad header": "A header such as If-Match or Last-Event-ID does not hold what it should."
    BadBody 400 "Body broke off": "The body ended before its announced end."
    Unauthorized 401 "Token required": "The request carries no token that is known and valid now."
    BudgetExhausted 402 "Budget exhausted": "The call does not fit a budget; the detail says when it begins anew. No 429: asking slower does not help."
    Forbidden 403 "Forbidden": "The token's role, or its holder's own rights, do not reach so far."
    CrossSite 403 "Cross-site request": "A browser sent the request from another site's page."
    WrongPassword 403 "Wrong password": "The password does not open the vault."
    NotFound 404 "Not found": "There is no such route, or no such entity."
    MethodNotAllowed 405 "Method not allowed": "The route knows other methods; Allow names them."
    BodyTimeout 408 "Body too slow": "The client sent nothing of the body for too long."
    Transition 409 "Not from this state": "The entity's state does not allow it; the detail names the state."
    TemporalOff 409 "No Temporal": "No Temporal server is configured."
    SameStatus 409 "Same status": "It has that status already."
    AssignABead 409 "Assign a bead": "An agent is brought to work by assigning it a bead, not by a status."
    OtherProject 409 "Other project": "The two belong to different projects."
    Exists 409 "Exists already": "The id is taken, or was once; ids are never given twice."
    Conflict 409 "Conflict": "The state of things forbids it."
    Changed 409 "Changed meanwhile": "Another client changed it at the same moment; read it and try again."
    NotReady 409 "Not ready": "The bead waits for something, is deferred, or is meant for another agent."
    NotApproved 409 "Not approved": "A bead of priority 0 waits for a person's approval."
    StaleLease 409 "Stale lease": "The lease token is not that of the bead's present claim."
    NotDue 409 "Not due": "The decision's deadline has not come."
    BeadHeld 409 "Bead held": "The bead is held; it has to be released first."
    AgentBusy 409 "Agent busy": "The agent has as many beads as it may have, or is not idle."
    PositionFull 409 "Position full": "As many agents as may be fill the position of the project's org chart already."
    BuiltInPersona 409 "Built-in persona": "The persona comes with Arbiter; one of your own can stand before it."
    PerpetualProject 409 "Perpetual project": "A perpetual project never closes."
    OpenWork 409 "Open work": "The project has beads that are not closed."
    Stale 409 "Changed since it was asked": "What the decision is about was changed since it was asked; the detail says how to answer for it as it is now."
    AlreadyAsked 409 "Asked already": "The bead was escalated already; the detail names the decision."
    FileLocked 409 "File locked": "Another holds a lock on the file; the detail names the holder, its bead and until when."
    BeadNotHeld 409 "Bead not held": "Files are locked for a bead only by its holder, and this agent is not."
    ProviderDisabled 409 "Provider disabled": "The operator switched the provider off; enable it first."
    ProviderUnusable 409 "Provider unusable": "The provider that is wanted, or every provider, cannot be called now."
    RunCancelled 409 "Run cancelled": "The run that was to answer this was cancelled."
    RunEnded 409 "Run has ended": "The run has ended already."
    AgentNotStarted 409 "Agent not started": "The agent was not started, or was shut down."
    NoBeadFile 409 "No file of beads": "The project has no `beads_path`, so there is no file of its own."
    BeadFileUnusable 409 "File of beads unusable": "The project's file cannot be read or written; the detail says why."
    BeadFileKnowsMore 409 "File knows more": "The file holds beads that are not here; it is not written over before it was read in."
    RequestRepeated 409 "Request repeated": "A request with the same Idempotency-Key was made before, or is being made."
    KeyNotForHost 409 "Key not for host": "The key is bound to hosts, and the endpoint is on another one."
    KeyFileMissing 409 "Key file missing": "The key file has been there and is gone: put keys.json back, from a copy or from keys.json.bak."
    VaultRolledBack 409 "Vault rolled back": "An older key file was put back: POST /api/v1/vault/accept-rollback."
    PersonasMissing 409 "Personas missing": "The directory personas has been there and is gone: put it back, or create an empty one in its place."
    InUse 409 "In use": "Something depends on it; ?cascade=true deletes that too."
    DependencyCycle 409 "Dependency cycle": "The dependency would close a cycle; the detail names its path."
    DependencyExists 409 "Dependency exists": "The bead depends on the other one already."
    PreconditionFailed 412 "Changed since": "If-Match does not name the revision that is stored."
    TooLarge 413 "Too large": "The body is larger than the route takes."
    MediaType 415 "Unsupported media type": "A body is application/json, and nothing else."
    Misdirected 421 "Wrong host": "The Host header does not name this server; http.allowed_hosts adds names."
    Invalid 422 "Invalid": "Fields are unknown, missing or wrong; errors lists them by JSON pointer."
    IdempotencyMismatch 422 "Another request": "The Idempotency-Key was used for a request with another body."
    VaultLocked 423 "Vault locked": "It needs a key and the vault is locked: POST /api/v1/vault/unlock."
    Throttled 429 "Too many attempts": "Wait for as long as Retry-After says."
    RateLimited 429 "Too many requests": "The token, or the address, asks too often; Retry-After says when to go on."
    Internal 500 "Internal error": "A fault of the server; its log knows the request by its id."
    ActorCrashed 500 "Actor crashed": "A part of the server failed on this request and was started again."
    ModelNotFound 404 "Model not found": "No provider offers the model; GET /v1/models lists what can be asked for."
    ContextTooLong 400 "Context too long": "Prompt and answer do not fit into the model's context."
    ProviderRefused 400 "Provider refused": "The provider will not serve this request however often it is made."
    ProviderLimited 429 "Provider limits calls": "The provider, or a limit set for it, wants fewer calls; Retry-After says when to go on."
    ProviderFailed 502 "Provider failed": "The provider could not be asked, or its answer was of no use."
    ProviderOverloaded 503 "No provider": "The provider has no capacity or fails, or no provider of the model can be called now."
    ProviderLate 504 "Provider too slow": "The provider's answer did not come, or not go on, in time."
    TemporalUnavailable 503 "Temporal unavailable": "The Temporal server cannot be reached now."
    Busy 503 "Busy": "More is waiting than the server takes; try again after Retry-After."
    Deadline 503 "Took too long": "The request was given up; what it asked for may still happen."
    TooManyStreams 503 "Too many streams": "No further event stream can be opened at the moment."
    ShuttingDown 503 "Shutting down": "The server is about to stop."
    StoreFailed 503 "Store failed": "The database can no longer be trusted with changes; the server ends."
    DiskFull 507 "Disk full": "Nothing was written, because there is no space for it."
}

impl ProblemType {
    /// Every kind of problem, in the order of the codes.
    pub fn all() -> impl Iterator<Item = Self> {
        ProblemCode::ALL.iter().copied().map(Self::of)
    }
}

/// A refusal or a fault on its way to the client.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ProblemType,
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

impl ApiError {
    /// A problem of the kind `code`.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let kind = ProblemType::of(code);
        let retry_after_sec = matches!(kind.status, 429 | 503).then_some(1);
        let inner =
            Inner { kind, detail: detail.into(), errors: vec![], retry_after_sec, allow: None, burst: None };
        Self(Box::new(inner))
    }

    /// A path that leads nowhere.
    pub fn no_route() -> Self {
        Self::new(ProblemCode::NotFound, "there is no such route; GET /api/openapi.json lists all of them")
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
        let mut error = Self::new(ProblemCode::Invalid, detail);
        error.0.errors = errors;
        error
    }

    /// The caller may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::Forbidden, detail)
    }

    /// A query parameter that is wrong.
    pub fn query(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::BadQuery, detail)
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
    pub fn code(&self) -> ProblemCode {
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
            kind: inner.kind.code.as_str(),
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
            Refusal::Transition { .. } => Self::new(ProblemCode::Transition, detail),
            Refusal::NotFound { .. } => Self::new(ProblemCode::NotFound, detail),
            Refusal::Exists { .. } => Self::new(ProblemCode::Exists, detail),
            Refusal::Conflict { code, .. } => Self::new(code, detail),
            Refusal::Forbidden(_) => Self::new(ProblemCode::Forbidden, detail),
            Refusal::Precondition { .. } => Self::new(ProblemCode::PreconditionFailed, detail),
            Refusal::Invalid(errors) => Self::fields(errors),
        }
    }
}

#[cfg(test)]
mod tests;
