//! Locks on files: who works on which file of a project.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::page::PAGE;
use crate::http::wire::query::{QueryField, text};
use crate::http::wire::schema::time;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::LockRequest;
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::project::file_lock::FileLock;
use arbiter_store::FileLockFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};

const COLLECTION: &str = "/api/v1/file-locks";
const LOCK_PATH: &str = "/api/v1/file-locks/{project_id}/{*path}";
const FILTERS: &[QueryField] = &[
    text("project_id", "Only those of this project"),
    text("agent_id", "Only those of this agent or person"),
    text("bead_id", "Only those for this bead"),
];

/// A lock on a file.
#[derive(Debug, Serialize, JsonSchema)]
struct FileLockView {
    /// The project whose file it is.
    project_id: String,
    /// The file, from the project's root on.
    path: String,
    /// The agent or person who holds it.
    agent_id: String,
    /// Bead that the lock belongs to; the lock ends with the claim on the bead.
    bead_id: Option<String>,
    /// Duration of a renewal, in seconds.
    ttl_sec: u64,
    /// Time of acquisition.
    #[schemars(schema_with = "time")]
    acquired_at: Timestamp,
    /// Time at which it expires unless it is renewed.
    #[schemars(schema_with = "time")]
    expires_at: Timestamp,
}

impl From<FileLock> for FileLockView {
    fn from(lock: FileLock) -> Self {
        Self {
            project_id: lock.project_id.to_string(),
            path: lock.path,
            agent_id: lock.agent_id,
            bead_id: lock.bead_id.as_ref().map(BeadId::to_string),
            ttl_sec: lock.ttl_sec,
            acquired_at: lock.acquired_at,
            expires_at: lock.expires_at,
        }
    }
}

/// The lock on the one file that was named by `path`, or those on all that were named by `paths`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Taken")]
enum AcquiredLocks {
    /// Of one.
    One(FileLockView),
    /// Of several.
    All(Vec<FileLockView>),
}

/// Files to lock, and their holder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LockBody {
    /// The project whose files they are.
    project_id: String,
    /// The file, from the project's root on.
    #[serde(default)]
    path: Option<String>,
    /// Several files in its place: all are locked, or none.
    #[serde(default)]
    paths: Option<Vec<String>>,
    /// The agent or person who works on them; the token's holder by default.
    #[serde(default)]
    agent_id: Option<String>,
    /// Bead that the locks belong to, which the agent must hold; the locks end with the claim.
    #[serde(default)]
    bead_id: Option<String>,
    /// Duration of the locks without a renewal, 10 to 86400 seconds; 600 by default.
    #[serde(default)]
    ttl_sec: Option<u64>,
}

/// Listing, taking, renewing and releasing.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(PAGE)
            .summary("The locks that hold, by project and path")
            .answers::<Vec<FileLockView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, acquire)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .summary("Lock files, all or none; what the holder has already is renewed")
            .answers::<AcquiredLocks>(201),
        Endpoint::with_body(Method::POST, "/api/v1/file-locks/renew", renew)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .summary("Let locks last longer: those named, or all of the holder in the project")
            .answers::<Vec<FileLockView>>(200),
        Endpoint::delete(LOCK_PATH, release)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .query(&[text("agent_id", "Only if this agent or person holds it")])
            .summary("End a lock")
            .answers_without_json(204),
    ]
}

impl LockBody {
    fn project(&self) -> ProjectId {
        ProjectId::from_trusted(self.project_id.clone())
    }

    /// Returns the lock request, and true if it named a single file.
    fn read(self) -> Result<(LockRequest, bool), ApiError> {
        let is_single = self.path.is_some();
        let paths = match (self.path, self.paths) {
            (Some(_), Some(_)) => {
                return Err(ApiError::field("paths", "must not be given beside path"));
            }
            (Some(path), None) => Some(vec![path]),
            (None, paths) => paths,
        };
        let bead_id = self.bead_id.map(BeadId::from_trusted);
        Ok((LockRequest { paths, agent_id: self.agent_id, bead_id, ttl_sec: self.ttl_sec }, is_single))
    }
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let filter = FileLockFilter {
        project_id: request.query.owned("project_id")?,
        within: request.within(),
        agent_id: request.query.owned("agent_id")?,
        bead_id: request.query.owned("bead_id")?,
        live_at: Some(request.now()),
    };
    let page = request.handles().store.file_locks(filter, request.page()?).await?;
    Reply::page::<_, FileLockView>(request.page_link(), page)
}

async fn acquire(request: ApiRequest, body: LockBody) -> Result<Reply, ApiError> {
    let project = body.project();
    let (wish, is_single) = body.read()?;
    let locks = request.handles().file_locks.acquire(&request.caller()?, &project, wish).await?;
    let mut views: Vec<FileLockView> = locks.into_iter().map(FileLockView::from).collect();
    if is_single && let Some(one) = views.pop() {
        let (place, path) = (format!("{COLLECTION}/{project}"), one.path.clone());
        return Reply::created(&AcquiredLocks::One(one), &place, &path);
    }
    Ok(Reply::json(&AcquiredLocks::All(views))?.with_status(StatusCode::CREATED))
}

async fn renew(request: ApiRequest, body: LockBody) -> Result<Reply, ApiError> {
    let project = body.project();
    let (wish, _) = body.read()?;
    let locks = request.handles().file_locks.renew(&request.caller()?, &project, wish).await?;
    Reply::json(&locks.into_iter().map(FileLockView::from).collect::<Vec<_>>())
}

async fn release(request: ApiRequest) -> Result<Reply, ApiError> {
    let project = ProjectId::from_trusted(request.param("project_id"));
    let (path, named) = (request.param("path"), request.query.owned("agent_id")?);
    request.handles().file_locks.release(&request.caller()?, &project, path, named).await?;
    Ok(Reply::no_content())
}
