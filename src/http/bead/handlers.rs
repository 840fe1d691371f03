//! Beads: the work, as a collection and one by one.

use crate::http::bead::dto::{BeadPatchBody, BeadView, NewBeadBody, NewBeadsBody};
use crate::http::framework::bead_cache::CachedBead;
use crate::http::framework::project_scope::{EntityKind, ProjectScope};
use crate::http::framework::required_role::Access;
use crate::http::wire::page::PAGE;
use crate::http::wire::query::{Kind, QueryField, number, text, word as word_field};
use crate::http::wire::reply::to_json;
use crate::http::wire::schema::EnumValues;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{BeadEdit, MAX_BULK};
use arbiter_core::bead::Status;
use arbiter_core::bead::authorize;
use arbiter_core::bead::edit::NewBead;
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::token::Role;
use arbiter_store::{BeadDetail, BeadFilter, BeadSort};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use warp::http::{Method, StatusCode};

const COLLECTION: &str = "/api/v1/beads";
const ENTITY: &str = "/api/v1/beads/{id}";
const FILTERS: &[QueryField] = &[
    text("project_id", "Only those of this project"),
    text("type", "Only those of this type"),
    number("priority", "Only those of this priority"),
    text("assigned_to", "Only those of this agent or person"),
    text("tag", "Only those with this tag"),
    text("parent", "Only the children of this bead"),
    text("q", "Only those with this text in title or description"),
];
const MORE_FILTERS: &[QueryField] = &[
    word_field("status", <Status as EnumValues>::VALUES, "Only those with this status"),
    QueryField {
        name: "ready",
        kind: Kind::Word(&["true"]),
        summary: "Only those that could be worked on now",
    },
];
const SORT: &[QueryField] = &[word_field(
    "sort",
    &["age", "priority", "bd"],
    "Oldest first, most urgent and then oldest first, or most urgent and then newest first as bd has it",
)];

/// Listing, creating, showing, changing and deleting beads.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(MORE_FILTERS)
            .query(SORT)
            .query(PAGE)
            .summary("Beads")
            .answers::<Vec<BeadView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .summary("Create a bead with its dependencies")
            .answers::<BeadView>(201),
        Endpoint::with_body(Method::POST, "/api/v1/beads/bulk", create_all)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .summary("Create beads that may depend on each other: all of them or none")
            .answers::<Vec<BeadView>>(201),
        Endpoint::get("/api/v1/beads/ready", ready)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(SORT)
            .query(PAGE)
            .summary("What could be worked on now, most urgent first")
            .answers::<Vec<BeadView>>(200),
        Endpoint::get(ENTITY, show)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .summary("One bead")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::PATCH, ENTITY, update)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Change some of a bead's fields; a status runs the one trigger that leads there")
            .answers::<BeadView>(200),
        Endpoint::delete(ENTITY, remove)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Operator)
            .summary("Delete a bead; its id is never given again")
            .answers_without_json(204),
    ]
}

/// The bead that the path names.
pub fn id(request: &ApiRequest) -> BeadId {
    BeadId::from_trusted(request.param("id"))
}

/// The bead as the token may see it.
///
/// # Errors
/// As every read of the store.
pub async fn view(request: &ApiRequest, mut detail: BeadDetail) -> Result<BeadView, ApiError> {
    request.hide_foreign_links(std::slice::from_mut(&mut detail)).await?;
    Ok(BeadView::new(detail, request.now()))
}

/// The answer that shows a bead.
///
/// # Errors
/// As every read of the store.
pub async fn answer(request: &ApiRequest, detail: BeadDetail) -> Result<Reply, ApiError> {
    let view = view(request, detail).await?;
    Reply::entity(&view, view.revision)
}

/// Decides on the bead's row, which only an agent's rights depend on.
///
/// # Errors
/// As [`authorize::write`].
pub async fn check_agent_may_write(request: &ApiRequest, lease_token: Option<&str>) -> Result<(), ApiError> {
    let authority = request.identity.authority();
    if authority.role == Role::Agent {
        authorize::write(&authority, request.bead().await?, lease_token)?;
    }
    Ok(())
}

/// The fields that decide when, by which agent and after which approval a bead is done; an agent may not change them,
/// not even on a bead that it holds.
async fn check_planning_fields(request: &ApiRequest, body: &BeadPatchBody) -> Result<(), ApiError> {
    if request.identity.role() != Role::Agent {
        return Ok(());
    }
    match body.planning_fields().first() {
        Some(name) => {
            Err(ApiError::forbidden(format!("an agent does not change {name}, not even of its own bead")))
        }
        None => Ok(()),
    }
}

/// Refuses a bead in, or with a dependency on, what the token does not reach.
async fn check_project_scope<'a>(
    request: &ApiRequest,
    project: Option<&str>,
    others: impl IntoIterator<Item = &'a String>,
) -> Result<(), ApiError> {
    if let Some(project) = project {
        request.require_project(Some(project))?;
    }
    let others: Vec<BeadId> = others.into_iter().map(BeadId::from_trusted).collect();
    request.require_beads(&others).await
}

fn filter(request: &ApiRequest, otherwise: BeadSort) -> Result<BeadFilter, ApiError> {
    let query = &request.query;
    Ok(BeadFilter {
        project_id: query.owned("project_id")?,
        within: request.within(),
        status: query.word("status", Status::parse)?,
        bead_type: query.owned("type")?,
        priority: query.parsed("priority")?,
        assigned_to: query.owned("assigned_to")?,
        tag: query.owned("tag")?,
        parent: query.owned("parent")?,
        text: query.owned("q")?,
        ready_at: query.text("ready")?.map(|_| request.now()),
        sort: match query.text("sort")? {
            Some("priority") => BeadSort::Urgency,
            Some("bd") => BeadSort::Bd,
            Some(_) => BeadSort::Age,
            None => otherwise,
        },
    })
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let filter = filter(&request, BeadSort::Age)?;
    list_page(request, filter).await
}

async fn ready(request: ApiRequest) -> Result<Reply, ApiError> {
    let filter = BeadFilter { ready_at: Some(request.now()), ..filter(&request, BeadSort::Urgency)? };
    list_page(request, filter).await
}

async fn list_page(request: ApiRequest, filter: BeadFilter) -> Result<Reply, ApiError> {
    let now = request.now();
    let mut page = request.handles().store.beads(filter, request.page()?).await?;
    request.hide_foreign_links(&mut page.items).await?;
    Reply::page::<_, BeadView>(request.page_link(), page.map(|detail| BeadView::new(detail, now)))
}

async fn create(request: ApiRequest, body: NewBeadBody) -> Result<Reply, ApiError> {
    let new = NewBead::from(body);
    let others = new.parent.iter().chain(&new.blocked_by).chain(&new.related_to);
    check_project_scope(&request, Some(&new.project_id), others).await?;
    let detail = request.handles().beads.create(&request.caller()?, new).await?;
    let view = view(&request, detail).await?;
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(view.revision))
}

async fn create_all(request: ApiRequest, body: NewBeadsBody) -> Result<Reply, ApiError> {
    if !(1..=MAX_BULK).contains(&body.beads.len()) {
        return Err(ApiError::field("beads", format!("must have 1 to {MAX_BULK} entries")));
    }
    let new: Vec<NewBead> = body.beads.into_iter().map(NewBead::from).collect();
    let chosen: HashSet<&String> = new.iter().filter_map(|new| new.id.as_ref()).collect();
    for one in &new {
        let others = one.parent.iter().chain(&one.blocked_by).chain(&one.related_to);
        check_project_scope(&request, Some(&one.project_id), others.filter(|id| !chosen.contains(id)))
            .await?;
    }
    let mut created = request.handles().beads.create_all(&request.caller()?, &new).await?;
    request.hide_foreign_links(&mut created).await?;
    let now = request.now();
    let views: Vec<BeadView> = created.into_iter().map(|detail| BeadView::new(detail, now)).collect();
    Ok(Reply::json(&views)?.with_status(StatusCode::CREATED))
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let (store, cache, id) = (&request.handles().store, request.context.beads(), request.param("id"));
    if request.within().is_some() {
        // What is kept is shown to tokens without a limit.
        let found = store.bead_detail(id.to_owned()).await?;
        return answer(&request, found.ok_or_else(|| ApiError::not_found("bead", id))?).await;
    }
    // Before the bead is read: what is committed meanwhile makes the number a lower one than the bead's.
    let seq = store.stats().last_seq.load(Ordering::Acquire);
    let rendered = match cache.get(id, seq, || request.now()).await {
        Some(rendered) => rendered,
        None => {
            let found = store.bead_detail(id.to_owned()).await?;
            let detail = found.ok_or_else(|| ApiError::not_found("bead", id))?;
            let now = request.now();
            let until = detail.bead.defer_until.filter(|until| *until > now);
            let view = BeadView::new(detail, now);
            let rendered = CachedBead { body: to_json(&view)?, revision: view.revision, until };
            cache.put(id, seq, rendered.clone());
            rendered
        }
    };
    Ok(Reply::rendered_json(rendered.body).with_revision(rendered.revision))
}

async fn update(request: ApiRequest, mut body: BeadPatchBody) -> Result<Reply, ApiError> {
    let lease_token = body.lease_token.take();
    check_agent_may_write(&request, lease_token.as_deref()).await?;
    check_planning_fields(&request, &body).await?;
    let parent = body.parent.iter().flatten();
    let others = parent.chain(body.blocked_by.iter().flatten()).chain(body.related_to.iter().flatten());
    check_project_scope(&request, body.project_id.as_deref(), others).await?;
    let (status, reason) = (body.status, body.reason.take());
    if status.is_none() && reason.is_some() {
        return Err(ApiError::field("reason", "says why the status changes, and status is not given"));
    }
    let edit = BeadEdit { patch: body.into(), status, reason, lease_token };
    let changed = request.handles().beads.edit(&request.caller()?, &id(&request), edit).await?;
    answer(&request, changed).await
}

async fn remove(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().beads.delete(&request.caller()?, &id(&request)).await?;
    Ok(Reply::no_content())
}
