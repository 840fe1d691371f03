//! Comments on beads and on projects.

use crate::http::bead::handlers as bead_handlers;
use crate::http::framework::project_scope::{EntityKind, ProjectScope};
use crate::http::framework::required_role::Access;
use crate::http::wire::page::PAGE;
use crate::http::wire::schema::time;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::Comment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::header::LOCATION;
use warp::http::{Method, StatusCode};

const OF_BEAD: &str = "/api/v1/beads/{id}/comments";
const OF_PROJECT: &str = "/api/v1/projects/{id}/comments";

/// A comment.
#[derive(Debug, Serialize, JsonSchema)]
struct CommentView {
    /// Its id.
    id: String,
    /// The bead or project it is on.
    subject: String,
    /// Author.
    author_id: String,
    /// Text.
    comment: String,
    /// Time of writing.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
}

impl From<Comment> for CommentView {
    fn from(comment: Comment) -> Self {
        Self {
            id: comment.id,
            subject: comment.subject,
            author_id: comment.author_id,
            comment: comment.text,
            created_at: comment.created_at,
        }
    }
}

/// A comment to be written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewCommentBody {
    /// Text.
    comment: String,
    /// Author; only an administrator may name another than the token's holder.
    #[serde(default)]
    author_id: Option<String>,
}

/// Reading and writing comments.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(OF_BEAD, of_bead)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .query(PAGE)
            .summary("Comments on a bead, oldest first")
            .answers::<Vec<CommentView>>(200),
        Endpoint::with_body(Method::POST, OF_BEAD, on_bead)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Comment on a bead")
            .answers::<CommentView>(201),
        Endpoint::get(OF_PROJECT, of_project)
            .scope(ProjectScope::ProjectInPath)
            .query(PAGE)
            .summary("Comments on a project, oldest first")
            .answers::<Vec<CommentView>>(200),
        Endpoint::with_body(Method::POST, OF_PROJECT, on_project)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Agent)
            .summary("Comment on a project")
            .answers::<CommentView>(201),
    ]
}

fn created(request: &ApiRequest, comment: Comment) -> Result<Reply, ApiError> {
    let reply = Reply::json(&CommentView::from(comment))?.with_status(StatusCode::CREATED);
    // A comment is read in the list it is in.
    Ok(reply.with_header(LOCATION, &request.path))
}

async fn of_bead(request: ApiRequest) -> Result<Reply, ApiError> {
    let bead = request.bead().await?;
    let page = request.handles().store.bead_comments(bead.id.to_string(), request.page()?).await?;
    Reply::page::<_, CommentView>(request.page_link(), page)
}

async fn on_bead(request: ApiRequest, body: NewCommentBody) -> Result<Reply, ApiError> {
    let caller = request.caller_named("author_id", body.author_id)?;
    let comment =
        request.handles().beads.comment(&caller, &bead_handlers::id(&request), body.comment).await?;
    created(&request, comment)
}

async fn of_project(request: ApiRequest) -> Result<Reply, ApiError> {
    let (id, store) = (request.param("id"), &request.handles().store);
    if store.project(id.to_owned()).await?.is_none() {
        return Err(ApiError::not_found("project", id));
    }
    let page = store.project_comments(id.to_owned(), request.page()?).await?;
    Reply::page::<_, CommentView>(request.page_link(), page)
}

async fn on_project(request: ApiRequest, body: NewCommentBody) -> Result<Reply, ApiError> {
    let caller = request.caller_named("author_id", body.author_id)?;
    let id = ProjectId::from_trusted(request.param("id"));
    let comment = request.handles().projects.comment(&caller, &id, body.comment).await?;
    created(&request, comment)
}
