//! Events: the log in pages, its statistics and its verification, and the stream.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::system::stream::{self, StreamSession};
use crate::http::wire::page::PAGE;
use crate::http::wire::query::{QueryField, number, text};
use crate::http::wire::schema::{time, word};
use crate::http::wire::sse_frames;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::event::{Event, EventFilter, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{EventPage, EventRange, VerifyError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use warp::http::HeaderName;

/// Query fields that select a range of the log.
pub const RANGE: &[QueryField] = &[
    number("after", "Only those behind this number"),
    number("before", "Only those before this number; alone, the newest of them"),
];
const FILTERS: &[QueryField] = &[
    text("project_id", "Only those of this project"),
    text("type", "Only these types: a list such as bead.created,agent.*; may be repeated"),
];
const SUBJECT: &[QueryField] = &[text("subject", "Only those about this entity")];
const RESUME: &[QueryField] =
    &[text("last_event_id", "Go on behind this number, if Last-Event-ID does not say")];
const PROJECT: &[QueryField] = &[text("project_id", "Only those of this project")];
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Origin of a request.
#[derive(Debug, Serialize, JsonSchema)]
struct OriginView<'a> {
    /// The address of the client.
    address: &'a str,
    /// The token it came with.
    token_id: Option<&'a str>,
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventView<'a> {
    /// Its id.
    id: &'a str,
    /// Its type.
    #[serde(rename = "type")]
    #[schemars(schema_with = "word::<EventType>")]
    kind: EventType,
    /// Time of the event.
    #[schemars(schema_with = "time")]
    timestamp: Timestamp,
    /// Part of the server that wrote the event.
    source: &'a str,
    /// The project it belongs to.
    project_id: Option<&'a str>,
    /// The entity it is about.
    subject: &'a str,
    /// Actor of the change.
    actor: &'a str,
    /// Origin of the request; null for the server's own actions.
    origin: Option<OriginView<'a>>,
    /// Data of the event; its shape depends on the type.
    data: &'a Value,
    /// Its number in the log; without gaps.
    seq: u64,
}

impl<'a> From<&'a Event> for EventView<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            id: &event.id,
            kind: event.kind,
            timestamp: event.timestamp,
            source: &event.source,
            project_id: event.project_id.as_deref(),
            subject: &event.subject,
            actor: &event.actor,
            origin: event
                .origin
                .as_ref()
                .map(|origin| OriginView { address: &origin.address, token_id: origin.token_id.as_deref() }),
            data: &event.data,
            seq: event.seq,
        }
    }
}

/// Numbers of events.
#[derive(Debug, Serialize, JsonSchema)]
struct StatsView {
    /// Number of all events.
    total: u64,
    /// Number of events by type.
    by_type: BTreeMap<String, u64>,
    /// The number of the oldest event that is kept.
    first_seq: u64,
    /// The number of the newest event.
    last_seq: u64,
}

/// Result of the check of the event log's hash chain.
#[derive(Debug, Serialize, JsonSchema)]
struct AuditView {
    /// True if it is.
    ok: bool,
    /// Description of the defect.
    detail: Option<String>,
    /// Number of checked events.
    events: Option<u64>,
    /// The first of them.
    first_seq: Option<u64>,
    /// The last of them.
    last_seq: Option<u64>,
}

/// The log, its statistics, its verification, the stream.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/events", list)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(SUBJECT)
            .query(RANGE)
            .query(PAGE)
            .summary("The event log, oldest first")
            .answers::<Vec<EventView<'static>>>(200),
        Endpoint::get("/api/v1/events/stream", open)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(RESUME)
            .unlimited()
            .summary("Events as they happen, as server-sent events; resumes behind Last-Event-ID")
            .answers_as(200, "text/event-stream"),
        Endpoint::get("/api/v1/events/stats", stats)
            .scope(ProjectScope::CheckedByHandler)
            .query(PROJECT)
            .summary("How many events there are of each type")
            .answers::<StatsView>(200),
        Endpoint::get("/api/v1/audit/verify", verify)
            .scope(ProjectScope::Unscoped)
            .unlimited()
            .summary("Follow the hash chain through the whole event log")
            .answers::<AuditView>(200),
    ]
}

fn filter(request: &ApiRequest) -> Result<EventFilter, ApiError> {
    let mut types = Vec::new();
    for list in request.query.all("type") {
        let patterns = TypePattern::parse_list(list);
        types.extend(patterns.map_err(|error| ApiError::query(error.to_string()))?);
    }
    let subject = request.query.owned("subject")?;
    Ok(EventFilter {
        project_id: request.query.owned("project_id")?,
        within: request.within(),
        types,
        subject,
    })
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let filter = filter(&request)?;
    let page = read(&request, filter).await?;
    answer(&request, &page)
}

/// Returns whether a page is one of the newest events, so that the next one lies further back.
fn is_backward(request: &ApiRequest) -> Result<bool, ApiError> {
    Ok(request.query.text("before")?.is_some() && request.query.text("after")?.is_none())
}

/// The part of the log that the query asks for.
pub async fn read(request: &ApiRequest, filter: EventFilter) -> Result<EventPage, ApiError> {
    let page = request.page()?;
    let cursor = page.cursor.map(|text| text.parse::<u64>());
    let cursor =
        cursor.transpose().map_err(|_| ApiError::query("parameter \"cursor\" is no event's number"))?;
    let (mut after, mut before) = (request.query.parsed("after")?, request.query.parsed("before")?);
    if is_backward(request)? {
        before = cursor.or(before);
    } else {
        after = cursor.or(after);
    }
    let range = EventRange { after, before, filter, limit: page.limit, max_bytes: None };
    Ok(request.handles().store.events(range).await?)
}

/// A part of the log, with the way to the next one.
pub fn answer(request: &ApiRequest, page: &EventPage) -> Result<Reply, ApiError> {
    let views: Vec<EventView<'_>> = page.events.iter().map(EventView::from).collect();
    let edge = if is_backward(request)? { page.events.first() } else { page.events.last() };
    let next = edge.filter(|_| page.is_cut).map(|event| event.seq.to_string());
    Ok(Reply::json(&views)?.with_next(request.page_link(), next.as_deref()))
}

/// The event after which the client wants to go on.
fn resume_from(request: &ApiRequest) -> Result<Option<u64>, ApiError> {
    let wrong = |text: &str| {
        let shown: String = text.chars().take(64).collect();
        ApiError::new(
            ProblemCode::BadHeader,
            format!("the last event id is {shown:?}, not an event's number"),
        )
    };
    let header = request.headers.get(&LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?").trim());
    // A browser that has seen nothing yet sends no header, and some clients send an empty one.
    let given = match header.filter(|text| !text.is_empty()) {
        Some(text) => Some(text),
        None => request.query.text("last_event_id")?.filter(|text| !text.is_empty()),
    };
    given.map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}

/// Refuses a stream of a project that is not there, or that the token does not reach.
async fn check_project(request: &ApiRequest, filter: &EventFilter) -> Result<(), ApiError> {
    let Some(project) = &filter.project_id else { return Ok(()) };
    let is_there =
        request.can_access(project) && request.handles().store.project(project.clone()).await?.is_some();
    if is_there { Ok(()) } else { Err(ApiError::not_found("project", project)) }
}

async fn open(request: ApiRequest) -> Result<Reply, ApiError> {
    let (filter, resumed_from) = (filter(&request)?, resume_from(&request)?);
    check_project(&request, &filter).await?;
    let max = request.context.settings().http.max_streams;
    let Some(guard) = request.context.metrics().stream(max) else {
        return Err(ApiError::new(
            ProblemCode::TooManyStreams,
            format!("{max} event streams are open already"),
        ));
    };
    let Some(quota_guard) = request.context.quotas().stream(&request.identity, &request.peer) else {
        let most = request.context.settings().http.streams_per_token;
        let detail = format!("{most} event streams of this token are open already");
        return Err(ApiError::new(ProblemCode::TooManyStreams, detail));
    };
    let bus = &request.handles().bus;
    let subscription = bus.subscribe(filter, resumed_from).await?;
    // A new client receives all events after this number; a resuming client only needs the number.
    let last_seq = match resumed_from {
        None => subscription.position(),
        Some(_) => bus.last_seq(),
    };
    let session =
        StreamSession { admission: request.identity.admission().cloned(), guards: (guard, quota_guard) };
    let first = sse_frames::connected(last_seq, resumed_from);
    let frames = stream::frames(&request.context, subscription, first, session);
    Ok(Reply::stream("text/event-stream", frames).with_header(UNBUFFERED, "no"))
}

async fn stats(request: ApiRequest) -> Result<Reply, ApiError> {
    let store = &request.handles().store;
    let counts = store.event_counts(request.query.owned("project_id")?, request.within()).await?;
    let (first_seq, last_seq) = store.event_bounds().await?;
    let by_type: BTreeMap<String, u64> = counts.into_iter().map(|count| (count.kind, count.count)).collect();
    Reply::json(&StatsView { total: by_type.values().sum(), by_type, first_seq, last_seq })
}

async fn verify(request: ApiRequest) -> Result<Reply, ApiError> {
    let _guard = request.expensive()?;
    let view = match request.handles().store.verify_events().await {
        Ok(verified) => AuditView {
            ok: true,
            detail: None,
            events: Some(verified.events),
            first_seq: Some(verified.first_seq),
            last_seq: Some(verified.last_seq),
        },
        Err(VerifyError::Store(error)) => return Err(error.into()),
        Err(error) => AuditView {
            ok: false,
            detail: Some(error.to_string()),
            events: None,
            first_seq: None,
            last_seq: None,
        },
    };
    Reply::json(&view)
}
