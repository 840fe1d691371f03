//! Messages that clients write into the event log. Everything else in it is written by what happens.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::system::events::EventView;
use crate::http::wire::schema::any_object;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::LogLine;
use arbiter_core::kernel::event_type::EventType;
use arbiter_store::EventRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use warp::http::{Method, StatusCode};

/// The longest message, in characters.
const MAX_MESSAGE: usize = 10_000;
/// Default subject of a message.
const DEFAULT_SUBJECT: &str = "log";

/// Severity of a message.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Something happened.
    #[default]
    Info,
    /// Something is about to fail.
    Warn,
    /// Something failed.
    Error,
}

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    /// `log.message`; no other type can be written.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// Text of the message.
    message: String,
    /// Severity; `info` by default.
    #[serde(default)]
    level: Level,
    /// The project it belongs to.
    #[serde(default)]
    project_id: Option<String>,
    /// Subject of the message; the id of an entity only with the project that the entity belongs to.
    #[serde(default)]
    subject: Option<String>,
    /// More about it.
    #[serde(default)]
    #[schemars(schema_with = "any_object")]
    data: Map<String, Value>,
}

/// Writing a message.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_body(Method::POST, "/api/v1/events", write)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Operator)
            .summary("Write a log.message into the event log")
            .answers::<EventView<'static>>(201),
    ]
}

/// Refuses a subject that belongs to another project than the message: the message would stand in its history.
async fn check_subject(request: &ApiRequest, subject: &str, project: Option<&str>) -> Result<(), ApiError> {
    if project.is_none() && request.identity.projects().is_none() {
        return Ok(());
    }
    let store = &request.handles().store;
    let id = || subject.to_owned();
    let mut owners: Vec<Option<String>> = Vec::new();
    owners.extend(store.bead(id()).await?.map(|bead| Some(bead.project_id.to_string())));
    owners.extend(store.decision(id()).await?.map(|decision| Some(decision.project_id.to_string())));
    owners.extend(store.project(id()).await?.map(|project| Some(project.id.to_string())));
    owners.extend(store.run(id()).await?.map(|run| run.project_id.map(|id| id.to_string())));
    owners.extend(store.agent(id()).await?.map(|agent| agent.project_id.map(|id| id.to_string())));
    owners.extend(store.provider(id()).await?.map(|_| None));
    if owners.is_empty() || owners.iter().any(|owner| owner.as_deref() == project) {
        return Ok(());
    }
    Err(ApiError::field("subject", "must belong to the project of the message, project_id"))
}

async fn write(request: ApiRequest, body: MessageBody) -> Result<Reply, ApiError> {
    if body.kind.as_deref().is_some_and(|kind| kind != EventType::LogMessage.as_str()) {
        return Err(ApiError::field("type", "must be log.message; the server writes all other events"));
    }
    if !(1..=MAX_MESSAGE).contains(&body.message.chars().count()) {
        return Err(ApiError::field("message", "must have 1 to 10000 characters"));
    }
    request.require_project(body.project_id.as_deref())?;
    let store = &request.handles().store;
    if let Some(project) = &body.project_id
        && store.project(project.clone()).await?.is_none()
    {
        return Err(ApiError::field("project_id", format!("no project has the id {project}")));
    }
    if let Some(subject) = &body.subject {
        check_subject(&request, subject, body.project_id.as_deref()).await?;
    }
    let mut data = body.data;
    data.insert("level".to_owned(), json!(body.level));
    data.insert("message".to_owned(), body.message.into());
    let line = LogLine {
        source: "api",
        project_id: body.project_id,
        subject: body.subject.unwrap_or_else(|| DEFAULT_SUBJECT.to_owned()),
        data: Value::Object(data),
    };
    let seq = request.handles().bus.log(&request.caller()?, line).await?;
    let range = EventRange { after: Some(seq.saturating_sub(1)), limit: 1, ..EventRange::default() };
    let page = store.events(range).await?;
    let event = page.events.first().ok_or_else(|| ApiError::not_found("event", &seq.to_string()))?;
    Ok(Reply::json(&EventView::from(event))?.with_status(StatusCode::CREATED))
}
