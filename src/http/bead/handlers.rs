//! Beads: the work, as a collection and one by one.

use crate::http::bead::cache::CachedBead;
use crate::http::bead::dto::{BeadPatchBody, BeadView, NewBeadBody, NewBeadsBody};
use crate::http::bead::status_patch;
use crate::http::framework::endpoint::{Kind, QueryField, number, text, word as word_field};
use crate::http::framework::required_role::Access;
use crate::http::wire::page::PAGE;
use crate::http::wire::reply::to_json;
use crate::http::wire::schema::EnumValues;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::MAX_BULK;
use arbiter_core::bead::edit::{BeadPatch, NewBead};
use arbiter_core::bead::{Bead, Status};
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
            .query(FILTERS)
            .query(MORE_FILTERS)
            .query(SORT)
            .query(PAGE)
            .summary("Beads")
            .answers::<Vec<BeadView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .access(Access::Agent)
            .summary("Create a bead with its dependencies")
            .answers::<BeadView>(201),
        Endpoint::with_body(Method::POST, "/api/v1/beads/bulk", create_all)
            .access(Access::Agent)
            .summary("Create beads that may depend on each other: all of them or none")
            .answers::<Vec<BeadView>>(201),
        Endpoint::get("/api/v1/beads/ready", ready)
            .query(FILTERS)
            .query(SORT)
            .query(PAGE)
            .summary("What could be worked on now, most urgent first")
            .answers::<Vec<BeadView>>(200),
        Endpoint::get(ENTITY, show).summary("One bead").answers::<BeadView>(200),
        Endpoint::with_body(Method::PATCH, ENTITY, update)
            .access(Access::Agent)
            .summary("Change some of a bead's fields; a status runs the one trigger that leads there")
            .answers::<BeadView>(200),
        Endpoint::delete(ENTITY, remove)
            .access(Access::Operator)
            .summary("Delete a bead; its id is never given again")
            .answers_without_json(204),
    ]
}

/// The bead that the path names.
pub fn id(request: &ApiRequest) -> BeadId {
    BeadId::from_trusted(request.param("id"))
}

/// The row of the bead that the path names.
pub async fn row(request: &ApiRequest) -> Result<Bead, ApiError> {
    let found = request.handles().store.bead(request.param("id").to_owned()).await?;
    found.ok_or_else(|| ApiError::not_found("bead", request.param("id")))
}

/// The answer that shows a bead.
pub fn answer(request: &ApiRequest, detail: BeadDetail) -> Result<Reply, ApiError> {
    let view = BeadView::new(detail, request.now());
    Reply::entity(&view, view.revision)
}

/// An agent writes to beads that it holds or that are meant for it, and to a claimed one under its lease.
///
/// # Errors
/// 403 for another's bead, 422 without a lease token.
pub async fn check_agent_may_write(request: &ApiRequest, lease_token: Option<&str>) -> Result<(), ApiError> {
    if request.identity.role() != Role::Agent {
        return Ok(());
    }
    let bead = row(request).await?;
    check_assigned(request, &bead)?;
    if bead.status == Status::InProgress && lease_token.is_none() {
        return Err(ApiError::field("lease_token", "must be given by an agent for a claimed bead"));
    }
    Ok(())
}

/// An agent ends, blocks and gives back what it has claimed, and nothing else: a bead that waits for its
/// blockers or for an approval is not ended by whom it is meant for.
pub async fn check_claimed(request: &ApiRequest) -> Result<(), ApiError> {
    if request.identity.role() != Role::Agent {
        return Ok(());
    }
    let bead = row(request).await?;
    if bead.status == Status::InProgress {
        return Ok(());
    }
    Err(ApiError::forbidden(format!("bead {} is {}: an agent claims a bead first", bead.id, bead.status)))
}

/// What is done when, by whom and after whose approval is not the agent's to change, whoever holds the bead.
fn check_planning_fields(request: &ApiRequest, body: &BeadPatchBody) -> Result<(), ApiError> {
    match body.planning_fields().first() {
        Some(name) if request.identity.role() == Role::Agent => {
            Err(ApiError::forbidden(format!("an agent does not change {name}, not even of its own bead")))
        }
        _ => Ok(()),
    }
}

/// An agent does to a bead of its own what others do to any; the lease is not asked for.
///
/// # Errors
/// 403 for another's bead, 404 for an unknown one.
pub async fn check_holder(request: &ApiRequest, id: &BeadId) -> Result<(), ApiError> {
    if request.identity.role() != Role::Agent {
        return Ok(());
    }
    let bead = request.handles().store.bead(id.to_string()).await?;
    check_assigned(request, &bead.ok_or_else(|| ApiError::not_found("bead", id.as_str()))?)
}

fn check_assigned(request: &ApiRequest, bead: &Bead) -> Result<(), ApiError> {
    let own = request.identity.agent_id();
    if own.is_some() && bead.assigned_to.as_deref() == own {
        return Ok(());
    }
    Err(ApiError::forbidden(format!("bead {} is not agent {}'s", bead.id, request.identity.name())))
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
    let page = request.handles().store.beads(filter, request.page()?).await?;
    Reply::page::<_, BeadView>(&request, page.map(|detail| BeadView::new(detail, now)))
}

async fn create(request: ApiRequest, body: NewBeadBody) -> Result<Reply, ApiError> {
    let new = NewBead::from(body);
    let others = new.parent.iter().chain(&new.blocked_by).chain(&new.related_to);
    check_project_scope(&request, Some(&new.project_id), others).await?;
    let detail = request.handles().beads.create(&request.caller()?, new).await?;
    let view = BeadView::new(detail, request.now());
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
    let created = request.handles().beads.create_all(&request.caller()?, &new).await?;
    let now = request.now();
    let views: Vec<BeadView> = created.into_iter().map(|detail| BeadView::new(detail, now)).collect();
    Ok(Reply::json(&views)?.with_status(StatusCode::CREATED))
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let (store, cache, id) = (&request.handles().store, request.context.beads(), request.param("id"));
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

async fn update(request: ApiRequest, body: BeadPatchBody) -> Result<Reply, ApiError> {
    check_agent_may_write(&request, body.lease_token.as_deref()).await?;
    check_planning_fields(&request, &body)?;
    let parent = body.parent.iter().flatten();
    let others = parent.chain(body.blocked_by.iter().flatten()).chain(body.related_to.iter().flatten());
    check_project_scope(&request, body.project_id.as_deref(), others).await?;
    if body.status.is_some() {
        check_claimed(&request).await?;
        return status_patch::change(request, body).await;
    }
    if body.reason.is_some() {
        return Err(ApiError::field("reason", "says why the status changes, and status is not given"));
    }
    let lease_token = body.lease_token.clone();
    let patch = BeadPatch::from(body);
    let changed =
        request.handles().beads.update(&request.caller()?, &id(&request), patch, lease_token).await?;
    answer(&request, changed)
}

async fn remove(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().beads.delete(&request.caller()?, &id(&request)).await?;
    Ok(Reply::no_content())
}
