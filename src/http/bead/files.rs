//! Files of beads: read in from a request's body or from the project's own file, written out to it or to the answer.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::body::{self, BodyStream};
use crate::http::wire::problem::ApiError;
use crate::http::wire::query::Flag;
use crate::http::wire::query::{QueryField, flag, text, word as word_field};
use crate::http::{ApiRequest, Endpoint, Reply};
use arbiter_actors::{ExportOutcome, FileDialect, FileFormat, ImportOutcome, ImportRequest};
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::problem_code::ProblemCode;
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::PathBuf;
use std::time::Duration;
use warp::http::Method;
use warp::http::header::CONTENT_TYPE;

const IMPORT_PARAMS: &[QueryField] = &[
    word_field("format", &["jsonl", "yaml"], "The format of the body; else its content type says it"),
    flag("dry_run", "Tell what would happen, and change nothing"),
    flag("strict", "Take nothing unless every line can be taken"),
    flag("allow_stale", "Take older lines as if they were newer"),
    flag("any_project", "Take beads that name another project, too"),
    text("prefix", "What stands before the ids instead of what the file has there"),
];
const EXPORT_PARAMS: &[QueryField] = &[
    word_field("dialect", &["bd", "br"], "Whose reader it is written for; bd by default"),
    flag("download", "Answer with the file instead of writing it"),
];

/// A line and what is to say of it.
#[derive(Debug, Serialize, JsonSchema)]
struct LineView {
    /// Its number, from 1.
    line: u64,
    /// Message.
    detail: String,
}

/// A dependency on a bead that is not here.
#[derive(Debug, Serialize, JsonSchema)]
struct DanglingView {
    /// The bead that depends.
    id: String,
    /// Id of the bead it depends on.
    depends_on: String,
}

/// Result of an import.
#[derive(Debug, Serialize, JsonSchema)]
struct ImportView {
    /// Source of the beads.
    source: String,
    /// True if everything was taken back.
    dry_run: bool,
    /// New beads.
    created: u64,
    /// Changed beads.
    updated: u64,
    /// Beads that are here as the file has them.
    skipped: u64,
    /// Lines that are no beads and are kept.
    memories: u64,
    /// The changed beads.
    updated_issues: Vec<String>,
    /// Beads changed in the same second as here: unchanged, except for their lists.
    tie_kept_local_ids: Vec<String>,
    /// Beads that the file has in an older state.
    stale_skipped_ids: Vec<String>,
    /// Beads that are claimed here: left unchanged.
    held_ids: Vec<String>,
    /// Beads of these ids are another project's: left out.
    other_project_ids: Vec<String>,
    /// Beads of these ids were deleted here: left out.
    deleted_ids: Vec<String>,
    /// Dependencies on missing beads: kept, but not blocking.
    dangling_dependencies: Vec<DanglingView>,
    /// Dependencies that would close a cycle: kept, but not blocking; each with its path.
    cycles: Vec<String>,
    /// Dependencies that were left out: none, ever.
    skipped_dependencies: Vec<String>,
    /// Lines that were not taken, and why.
    refused: Vec<LineView>,
    /// Irregularities that did not prevent the import.
    warnings: Vec<LineView>,
    /// Refused lines and warnings that are not listed: each list ends at 1000.
    omitted: u64,
}

impl From<ImportOutcome> for ImportView {
    fn from(outcome: ImportOutcome) -> Self {
        let ImportOutcome { source, report, warnings, dry_run } = outcome;
        let line = |(line, detail)| LineView { line, detail };
        Self {
            source,
            dry_run,
            created: report.created,
            updated: report.updated,
            skipped: report.unchanged,
            memories: report.kept_lines,
            updated_issues: report.updated_ids,
            tie_kept_local_ids: report.tie_kept_local_ids,
            stale_skipped_ids: report.stale_skipped_ids,
            held_ids: report.held_ids,
            other_project_ids: report.other_project_ids,
            deleted_ids: report.deleted_ids,
            dangling_dependencies: report
                .dangling
                .into_iter()
                .map(|(id, depends_on)| DanglingView { id, depends_on })
                .collect(),
            cycles: report.cycles,
            skipped_dependencies: vec![],
            refused: report.refused.into_iter().map(line).collect(),
            warnings: warnings.lines.into_iter().map(line).collect(),
            omitted: report.refused_omitted + warnings.omitted,
        }
    }
}

/// A label that a bead lost.
#[derive(Debug, Serialize, JsonSchema)]
struct RemovedLabelView {
    /// The bead.
    id: String,
    /// The label.
    label: String,
}

/// Result of an export.
#[derive(Debug, Serialize, JsonSchema)]
struct ExportView {
    /// The file.
    path: String,
    /// Beads in it.
    beads: u64,
    /// True if it was written; false: it had this content already.
    is_written: bool,
    /// Beads that were in it and were deleted here; who reads the file by merging it does not hear of that.
    deleted_ids: Vec<String>,
    /// Labels that beads lost since: of the same kind.
    removed_labels: Vec<RemovedLabelView>,
}

impl From<ExportOutcome> for ExportView {
    fn from(outcome: ExportOutcome) -> Self {
        let ExportOutcome { path, beads, is_written, deleted_ids, removed_labels } = outcome;
        let removed_labels =
            removed_labels.into_iter().map(|(id, label)| RemovedLabelView { id, label }).collect();
        Self { path, beads, is_written, deleted_ids, removed_labels }
    }
}

/// Reading in and writing out.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(Method::POST, "/api/v1/projects/{id}/import", import)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .unlimited()
            .file()
            .query(IMPORT_PARAMS)
            .summary("Read beads in: from the body, or without one from the project's own file")
            .answers::<ImportView>(200),
        Endpoint::new(Method::POST, "/api/v1/projects/{id}/export", export)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .unlimited()
            .query(EXPORT_PARAMS)
            .summary("Write the project's file of beads, or answer with it")
            .answers::<ExportView>(200)
            .answers_as(200, "application/x-ndjson"),
    ]
}

async fn import(mut request: ApiRequest) -> Result<Reply, ApiError> {
    let project = ProjectId::from_trusted(request.param("id"));
    let is_set = |name: &str| Ok::<bool, ApiError>(request.query.flag(name)? == Flag::True);
    let wish = ImportRequest {
        format: format_of(&request)?,
        dry_run: is_set("dry_run")?,
        strict: is_set("strict")?,
        allow_stale: is_set("allow_stale")?,
        any_project: is_set("any_project")?,
        prefix: request.query.owned("prefix")?,
    };
    let caller = request.caller()?;
    let files = request.handles().bead_files.clone();
    let directory = request.handles().store.path().parent().map(PathBuf::from).unwrap_or_default();
    let idle = Duration::from_millis(request.context.settings().http.body_idle_timeout_ms);
    let most = request.context.settings().http.max_import_bytes;
    let received = match request.body.take() {
        Some(stream) => spool_body(stream, directory, idle, most).await?,
        None => None,
    };
    let outcome = match received {
        Some(source) => files.import(&caller, &project, wish, source, "body").await?,
        None => files.import_project_file(&caller, &project, wish).await?,
    };
    Reply::json(&ImportView::from(outcome))
}

fn format_of(request: &ApiRequest) -> Result<FileFormat, ApiError> {
    if let Some(word) = request.query.text("format")? {
        return Ok(if word == "yaml" { FileFormat::Yaml } else { FileFormat::Jsonl });
    }
    let given = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(if given.contains("yaml") { FileFormat::Yaml } else { FileFormat::Jsonl })
}

/// Writes a body to an unnamed file that is deleted with its reader, because the store must not wait for a
/// client. Returns `None` if the body is empty.
async fn spool_body(
    mut stream: BodyStream,
    directory: PathBuf,
    idle: Duration,
    most: u64,
) -> Result<Option<Box<dyn BufRead + Send>>, ApiError> {
    let io_error = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ApiError::new(ProblemCode::DiskFull, "there is no space left on the disk")
        }
        _ => ApiError::new(ProblemCode::Internal, format!("the body could not be kept: {error}")),
    };
    // Without a name from the beginning: a server that is killed leaves no file behind.
    let mut file = tempfile::tempfile_in(directory).map_err(io_error)?;
    let mut length: u64 = 0;
    loop {
        let next = tokio::time::timeout(idle, stream.next()).await;
        match next.map_err(|_| body::timed_out())? {
            Some(Ok(piece)) => {
                length = length.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                if length > most {
                    return Err(ApiError::new(
                        ProblemCode::TooLarge,
                        format!("the file is larger than {most} bytes"),
                    ));
                }
                file = tokio::task::spawn_blocking(move || file.write_all(&piece).map(|()| file))
                    .await
                    .map_err(|error| io_error(std::io::Error::other(error)))?
                    .map_err(io_error)?;
            }
            Some(Err(error)) => return Err(body::interrupted(&error)),
            None => break,
        }
    }
    if length == 0 {
        return Ok(None);
    }
    file.rewind().map_err(io_error)?;
    Ok(Some(Box::new(BufReader::with_capacity(1 << 16, file))))
}

async fn export(request: ApiRequest) -> Result<Reply, ApiError> {
    let project = ProjectId::from_trusted(request.param("id"));
    let dialect = match request.query.text("dialect")? {
        Some("br") => FileDialect::Br,
        _ => FileDialect::Bd,
    };
    let guard = request.expensive()?;
    let files = &request.handles().bead_files;
    if request.query.flag("download")? != Flag::True {
        return Reply::json(&ExportView::from(files.export_project_file(&project, dialect).await?));
    }
    let pieces = files.content(&project, dialect).await?;
    let stream = futures_util::stream::unfold((pieces, guard), |(mut pieces, guard)| async move {
        let piece = pieces.next().await?;
        Some((piece.map_err(|error| std::io::Error::other(error.to_string())), (pieces, guard)))
    });
    Ok(Reply::breakable_stream("application/x-ndjson", stream))
}
