//! `arbiter bead import` and `export`: files of beads, there and back.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::input_file;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table;
use arbiter_core::kernel::limits::count_of;
use arbiter_files::{Directory, ForeignError, ForeignFile, open_foreign};
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

const JSONL: &str = "application/x-ndjson";
const YAML: &str = "application/yaml";
/// The file of beads in a directory of them.
const LINES: &str = "issues.jsonl";
/// The largest file that is sent, in bytes.
const MAX_UPLOAD_BYTES: u64 = 1024 * 1024 * 1024;
/// The most names of a directory that are looked at.
const MAX_NAMES: usize = 100_000;
/// The size of a chunk of an upload, in bytes.
const CHUNK_BYTES: usize = 1 << 18;
/// Lines of a report that are shown to people.
const MAX_SHOWN_LINES: usize = 20;

/// The arguments of `bead import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The project that gets the beads
    #[arg(long, value_name = "ID")]
    project: String,
    /// A .jsonl or .yaml file, a directory of them, or - for standard input; else the project's own file
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Import nothing unless every line is valid
    #[arg(long)]
    strict: bool,
    /// Take older lines as if they were newer
    #[arg(long)]
    allow_stale: bool,
    /// Take beads that name another project, too
    #[arg(long)]
    any_project: bool,
    /// The prefix of the ids, instead of that in the file
    #[arg(long)]
    prefix: Option<String>,
}

/// The arguments of `bead export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The project
    #[arg(long, value_name = "ID")]
    project: String,
    /// A file to write, or - for standard output; else the project's own file, by the server
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The dialect: for which program it is written
    #[arg(long, value_parser = ["bd", "br"], default_value = "bd")]
    dialect: String,
}

/// The source of an import.
struct UploadSource {
    content: Box<dyn Read + Send>,
    length: Option<u64>,
    content_type: &'static str,
}

impl Import {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let is_set = |set: bool| set.then_some("true");
        let request = Request::post(&["projects", &self.project, "import"])
            .filter("dry_run", is_set(self.dry_run))
            .filter("strict", is_set(self.strict))
            .filter("allow_stale", is_set(self.allow_stale))
            .filter("any_project", is_set(self.any_project))
            .filter("prefix", self.prefix)
            .without_answer_limit();
        let report = match &self.path {
            None => session.client.json(&request).await?,
            Some(path) => {
                let source = open(path)?;
                let content_type = source.content_type;
                session.client.upload(&request, content_type, body(source)).await?
            }
        };
        if session.output.format() == OutputFormat::Json {
            session.output.json(&report)?;
            return refuse_empty(&report);
        }
        session.output.text(&summary(&report))?;
        for (name, told) in [("refused", "not taken"), ("warnings", "taken, but")] {
            print_lines(&report[name], told);
        }
        refuse_empty(&report)
    }
}

/// Fails if lines were refused and none was taken: a script must not take that for an import.
fn refuse_empty(report: &Value) -> Result<(), Failure> {
    let count = |name: &str| report[name].as_u64().unwrap_or(0);
    let taken: u64 = ["created", "updated", "skipped", "memories"].into_iter().map(count).sum();
    let left_out = ["refused", "other_project_ids", "deleted_ids"];
    let is_refused = left_out.iter().any(|name| report[*name].as_array().is_some_and(|all| !all.is_empty()));
    if taken > 0 || !is_refused {
        return Ok(());
    }
    Err(Failure::Failed("no line of the file was taken".to_owned()))
}

/// Opens what is to be sent. Files in a repository are others': none is opened over a link.
fn open(path: &Path) -> Result<UploadSource, Failure> {
    if path == Path::new("-") {
        return Ok(UploadSource { content: Box::new(io::stdin()), length: None, content_type: JSONL });
    }
    if path.is_dir() {
        let directory = Directory::open(path).map_err(|error| input_file::failed(path, error))?;
        return open_in(&directory);
    }
    let name = path.file_name().ok_or_else(|| input_file::failed(path, ForeignError::Missing))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = Directory::open(parent).map_err(|error| input_file::failed(path, error))?;
    open_file(&directory, Path::new(name))
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

fn open_file(directory: &Directory, name: &Path) -> Result<UploadSource, Failure> {
    let failed = |error| input_file::failed(&directory.path().join(name), error);
    let file = open_foreign(directory, name, MAX_UPLOAD_BYTES).map_err(failed)?;
    let length = Some(file.stamp().map_err(failed)?.length);
    let content_type = if is_yaml(name) { YAML } else { JSONL };
    Ok(UploadSource { content: Box::new(file.into_reader()), length, content_type })
}

/// Opens the file of beads in a directory, else the YAML files in it as one text.
fn open_in(directory: &Directory) -> Result<UploadSource, Failure> {
    let names = directory.names(MAX_NAMES).map_err(|error| input_file::failed(directory.path(), error))?;
    if names.iter().any(|name| name == LINES) {
        return open_file(directory, Path::new(LINES));
    }
    let mut text = String::new();
    for name in names.iter().map(Path::new).filter(|name| is_yaml(name)) {
        let left = MAX_UPLOAD_BYTES.saturating_sub(text.len() as u64);
        let own = open_foreign(directory, name, left).and_then(ForeignFile::into_text);
        text.push_str(&format!("---\n# file: {}\n", name.display()));
        text.push_str(&own.map_err(|error| input_file::failed(&directory.path().join(name), error))?);
        text.push('\n');
    }
    if text.is_empty() {
        let nothing = io::Error::new(
            io::ErrorKind::NotFound,
            "there is neither an issues.jsonl nor a .yaml file in it",
        );
        return Err(input_file::failed(directory.path(), ForeignError::Io(nothing)));
    }
    let length = Some(text.len() as u64);
    Ok(UploadSource { content: Box::new(io::Cursor::new(text)), length, content_type: YAML })
}

/// Returns the file as a request body that shows its progress on a terminal.
fn body(source: UploadSource) -> reqwest::Body {
    let bar = match source.length {
        Some(length) if io::stderr().is_terminal() => ProgressBar::new(length),
        _ => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} sent, {elapsed}") {
        bar.set_style(style);
    }
    let pieces = futures_util::stream::unfold((source.content, bar), |(mut content, bar)| async move {
        let mut piece = vec![0; CHUNK_BYTES];
        match content.read(&mut piece) {
            Ok(0) => {
                bar.finish_and_clear();
                None
            }
            Ok(length) => {
                piece.truncate(length);
                bar.inc(length as u64);
                Some((Ok(Bytes::from(piece)), (content, bar)))
            }
            Err(error) => Some((Err(error), (content, bar))),
        }
    });
    reqwest::Body::wrap_stream(pieces.boxed())
}

fn summary(report: &Value) -> String {
    let count = |name: &str| report[name].as_u64().unwrap_or(0);
    let many = |name: &str| report[name].as_array().map_or(0, Vec::len);
    let mut text = format!(
        "{}{} created, {} updated, {} unchanged",
        if report["dry_run"] == true { "would be: " } else { "" },
        count("created"),
        count("updated"),
        count("skipped")
    );
    for (name, told) in [
        ("refused", "lines not taken"),
        ("stale_skipped_ids", "older than here"),
        ("tie_kept_local_ids", "of the same second, kept as here"),
        ("held_ids", "at work here, left alone"),
        ("other_project_ids", "another project's"),
        ("deleted_ids", "deleted here"),
        ("dangling_dependencies", "dependencies on beads that are not here"),
        ("cycles", "dependencies that close a circle"),
    ] {
        if many(name) > 0 {
            text.push_str(&format!(", {} {told}", many(name)));
        }
    }
    table::one_line(&text)
}

fn print_lines(lines: &Value, told: &str) {
    let all = lines.as_array().map_or(&[][..], Vec::as_slice);
    for line in all.iter().take(MAX_SHOWN_LINES) {
        let text = format!("line {}: {told}: {}", line["line"], line["detail"].as_str().unwrap_or_default());
        output::note(&table::one_line(&text));
    }
    if all.len() > MAX_SHOWN_LINES {
        output::note(&format!("{} more; --json shows all", all.len() - MAX_SHOWN_LINES));
    }
}

impl Export {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = Request::post(&["projects", &self.project, "export"])
            .filter("dialect", Some(self.dialect))
            .filter("download", self.output.is_some().then_some("true"))
            .without_answer_limit();
        let Some(path) = self.output else {
            let report = session.client.json(&request).await?;
            if session.output.format() == OutputFormat::Json {
                return session.output.json(&report);
            }
            let done = if report["is_written"] == true { "written" } else { "unchanged" };
            let path = report["path"].as_str().unwrap_or_default();
            let beads = count_of(report["beads"].as_u64().unwrap_or(0), "bead");
            session.output.text(&table::one_line(&format!("{path}: {done}, {beads}")))?;
            for (name, told) in [("deleted_ids", "deleted beads"), ("removed_labels", "removed labels")] {
                let count = report[name].as_array().map_or(0, Vec::len);
                if count > 0 {
                    output::note(&format!(
                        "{count} {told} do not travel by an import of bd; --json names them"
                    ));
                }
            }
            return Ok(());
        };
        let cannot = |error| Failure::io(format!("cannot write {}", path.display()), error);
        if path == Path::new("-") {
            let mut out = io::stdout().lock();
            return session.client.download(&request, |piece| out.write_all(piece).map_err(cannot)).await;
        }
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(cannot)?;
        session.client.download(&request, |piece| file.write_all(piece).map_err(cannot)).await?;
        file.as_file().sync_all().map_err(cannot)?;
        file.persist(&path).map_err(|error| cannot(error.error))?;
        Ok(())
    }
}
