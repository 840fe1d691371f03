//! Personas: those that Arbiter brings along, and the user's own.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::provider::handlers::CASCADE;
use crate::http::wire::page::{PAGE, paginate};
use crate::http::wire::schema::word;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{PersonaEntry, PersonaSummary};
use arbiter_core::agent::autonomy::Autonomy;
use arbiter_core::agent::persona::{Persona, PersonaOrigin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/personas";
const ENTITY: &str = "/api/v1/personas/{*name}";

/// A persona without its texts.
#[derive(Debug, Serialize, JsonSchema)]
struct PersonaSummaryView {
    /// Its name; agents name it as `persona_name`.
    name: String,
    /// Its first heading.
    title: String,
    /// Level of autonomy: the decisions it makes without a person.
    #[schemars(schema_with = "word::<Autonomy>")]
    autonomy: Autonomy,
    /// Whose it is.
    #[schemars(schema_with = "word::<PersonaOrigin>")]
    origin: PersonaOrigin,
    /// True if a persona of the user replaces a built-in one of the same name.
    is_shadowing: bool,
    /// The revision of its texts.
    revision: u64,
}

/// A persona.
#[derive(Debug, Serialize, JsonSchema)]
struct PersonaView {
    #[serde(flatten)]
    summary: PersonaSummaryView,
    /// `PERSONA.md`: who the agent is.
    persona: String,
    /// `AI_START_HERE.md`: how it begins.
    start_here: String,
}

impl From<PersonaSummary> for PersonaSummaryView {
    fn from(summary: PersonaSummary) -> Self {
        let PersonaSummary { name, title, autonomy, origin, is_shadowing, revision } = summary;
        Self { name, title, autonomy, origin, is_shadowing, revision }
    }
}

impl From<PersonaEntry> for PersonaView {
    fn from(known: PersonaEntry) -> Self {
        let summary = PersonaSummary::from(&known).into();
        let Persona { persona, start_here, .. } = known.persona;
        Self { summary, persona, start_here }
    }
}

/// A persona to be created.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPersonaBody {
    /// Its name: 1 to 4 parts with a `/` between them.
    name: String,
    /// `PERSONA.md`: who the agent is, at most 64 KiB; `autonomy: full`, `semi` or `supervised` in its front matter.
    persona: String,
    /// `AI_START_HERE.md`: how it begins, at most 64 KiB.
    #[serde(default)]
    start_here: String,
}

/// The texts of a persona.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PersonaBody {
    /// `PERSONA.md`: who the agent is.
    persona: String,
    /// `AI_START_HERE.md`: how it begins.
    #[serde(default)]
    start_here: String,
}

/// Listing, creating, showing, changing and deleting personas.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::Unscoped)
            .query(PAGE)
            .summary("The personas that agents may play, by name")
            .answers::<Vec<PersonaSummaryView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .access(Access::Operator)
            .summary("Write a persona of one's own")
            .answers::<PersonaView>(201),
        Endpoint::get(ENTITY, show)
            .scope(ProjectScope::Unscoped)
            .summary("One persona with its texts")
            .answers::<PersonaView>(200),
        Endpoint::with_body(Method::PUT, ENTITY, replace)
            .access(Access::Operator)
            .summary("Change a persona; agents play it so from their next run on")
            .answers::<PersonaView>(200),
        Endpoint::delete(ENTITY, remove)
            .access(Access::Operator)
            .query(CASCADE)
            .summary("Delete a persona of one's own; with cascade agents that play it go on without one")
            .answers_without_json(204),
    ]
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let all = request.handles().personas.list().await?;
    let page = paginate(all, &request.page()?, |summary| summary.name.clone());
    Reply::page::<_, PersonaSummaryView>(request.page_link(), page)
}

fn answer(known: PersonaEntry) -> Result<Reply, ApiError> {
    let revision = known.revision();
    Reply::entity(&PersonaView::from(known), revision)
}

async fn create(request: ApiRequest, body: NewPersonaBody) -> Result<Reply, ApiError> {
    let persona = Persona { name: body.name, persona: body.persona, start_here: body.start_here };
    let known = request.handles().personas.create(&request.caller()?, persona).await?;
    // Its name is a path of its own, which its slashes are a part of.
    let path = format!("{COLLECTION}/{}", known.persona.name);
    Ok(answer(known)?.created_at(&path))
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(request.handles().personas.get(request.param("name")).await?)
}

async fn replace(request: ApiRequest, body: PersonaBody) -> Result<Reply, ApiError> {
    let name = request.param("name").to_owned();
    let persona = Persona { name, persona: body.persona, start_here: body.start_here };
    answer(request.handles().personas.replace(&request.caller()?, persona).await?)
}

async fn remove(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().personas.delete(&request.caller()?, request.param("name"), request.cascade()?).await?;
    Ok(Reply::no_content())
}
