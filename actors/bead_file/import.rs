//! Reading a file of beads: its lines become what the store can take, on a thread of its own.
//!
//! Owns the translation between the words of files and our rows. Must not write anything: the store reads from here
//! while its writer works.

use crate::bead_file::warnings::{MAX_LINE_REPORT, Warnings};
use arbiter_beadfiles::{
    BYTE_ORDER_MARK, FileBead, FileComment, FileEdge, KeptFields, Line, MAX_LINE_BYTES, RawFields,
    is_conflict_marker, kept_fields, read_line, read_yaml,
};
use arbiter_core::bead::readiness::Gate;
use arbiter_core::bead::{Approval, Bead, Status};
use arbiter_core::kernel::ids::{BeadId, ProjectId, is_valid_id};
use arbiter_core::kernel::limits;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Imported, ImportedBead, ImportedComment, ImportedEdge, SyncedLine};

use serde_json::Map;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, Cursor};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Pieces that are read ahead of the store.
const READ_AHEAD: usize = 8;
/// Lines per batch: the two threads wake each other once per batch.
const BATCH_SIZE: usize = 64;

/// The format of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// JSONL of `bd` and its kin, one bead a line.
    #[default]
    Jsonl,
    /// YAML, one bead a document.
    Yaml,
}

/// Options for reading a file.
#[derive(Clone, Debug)]
pub(crate) struct ReadOptions {
    pub(crate) format: FileFormat,
    pub(crate) project_id: ProjectId,
    /// Our agents: what one of them has is no foreign work.
    pub(crate) agents: HashSet<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) any_project: bool,
    pub(crate) now: Timestamp,
    pub(crate) by: String,
}

/// Comment at the beginning of a YAML document that names its file.
pub(crate) const YAML_FILE: &str = "# file: ";

/// Starts to read; the caller takes the beads as they arrive, and gets the warnings at the end.
pub(crate) fn spawn_reader(
    source: Box<dyn BufRead + Send>,
    options: ReadOptions,
) -> std::io::Result<(impl Iterator<Item = Imported> + Send + use<>, Receiver<Warnings>)> {
    let (give, take) = sync_channel(READ_AHEAD);
    let (told, warnings) = sync_channel(1);
    std::thread::Builder::new().name("bead-reader".into()).spawn(move || {
        let mut reader = BeadReader {
            format: options.format,
            rows: RowBuilder { options, gates: HashSet::new(), new_ids: HashMap::new() },
            give,
            batch: Vec::new(),
            warnings: Warnings::default(),
            seen: HashSet::new(),
        };
        match reader.format {
            FileFormat::Jsonl if reader.rows.options.prefix.is_some() => reader.lines_with_new_ids(source),
            FileFormat::Jsonl => reader.lines(source),
            FileFormat::Yaml => reader.documents(source),
        }
        reader.hand_over();
        // A reader that gave up does not need the warnings.
        let _ = told.send(reader.warnings);
    })?;
    Ok((take.into_iter().flatten(), warnings))
}

struct BeadReader {
    rows: RowBuilder,
    format: FileFormat,
    give: SyncSender<Vec<Imported>>,
    batch: Vec<Imported>,
    warnings: Warnings,
    seen: HashSet<String>,
}

impl BeadReader {
    /// Returns whether there is to be more.
    fn send(&mut self, item: Imported) -> bool {
        self.batch.push(match item {
            Imported::Refused(line, why) => Imported::Refused(line, limits::cut(why, MAX_LINE_REPORT)),
            item => item,
        });
        self.batch.len() < BATCH_SIZE || self.hand_over()
    }

    fn hand_over(&mut self) -> bool {
        self.give.send(std::mem::take(&mut self.batch)).is_ok()
    }

    /// Reads all lines first, so that new ids are given to all beads at once.
    fn lines_with_new_ids(&mut self, mut source: Box<dyn BufRead + Send>) {
        let mut bytes = Vec::new();
        if let Err(error) = std::io::Read::read_to_end(&mut source, &mut bytes) {
            self.send(Imported::Broken(format!("the file cannot be read: {error}")));
            return;
        }
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let ids = lines.filter_map(|line| match read_line(line.trim_start_matches(BYTE_ORDER_MARK)) {
            Ok(Line::Bead { bead, .. }) => Some(bead.id),
            _ => None,
        });
        self.rows.give_ids(ids.collect());
        self.lines(Box::new(Cursor::new(bytes)));
    }

    fn lines(&mut self, mut source: Box<dyn BufRead + Send>) {
        let mut buffer = Vec::new();
        for number in 1.. {
            buffer.clear();
            match read_bounded(&mut source, &mut buffer) {
                Ok(BoundedLine::End) => return,
                Ok(BoundedLine::Line) => {}
                Ok(BoundedLine::TooLong) => {
                    let why = format!("it is longer than {MAX_LINE_BYTES} bytes");
                    if !self.send(Imported::Refused(number, why)) {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    self.send(Imported::Broken(format!("line {number} cannot be read: {error}")));
                    return;
                }
            }
            let goes_on = match std::str::from_utf8(&buffer) {
                Ok(text) if is_conflict_marker(text) => {
                    let why = format!("line {number} is the marker of an unresolved merge conflict");
                    self.send(Imported::Broken(why));
                    return;
                }
                Ok(text) if number == 1 => self.line(number, text.trim_start_matches(BYTE_ORDER_MARK)),
                Ok(text) => self.line(number, text),
                Err(_) => self.send(Imported::Refused(number, "it is no UTF-8".to_owned())),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn line(&mut self, number: u64, text: &str) -> bool {
        match read_line(text) {
            Ok(Line::Blank | Line::Schema) => true,
            Ok(Line::Gate { id }) => {
                self.rows.gates.insert(id);
                true
            }
            Ok(Line::Tombstone { id, .. }) => {
                self.warnings.push(number, format!("{id} was deleted there and is left as it is here"));
                true
            }
            Ok(Line::Other { kind }) => {
                if kind != "memory" {
                    let said = if is_valid_id(&kind) {
                        format!("a line of type {kind} is kept as it is")
                    } else {
                        "a line of another type is kept as it is".to_owned()
                    };
                    self.warnings.push(number, said);
                }
                self.send(Imported::Line(text.trim().to_owned()))
            }
            Ok(Line::Bead { bead, fields, warnings }) => {
                warnings.into_iter().for_each(|what| self.warnings.push(number, what));
                let kept = kept_fields(&bead, fields);
                self.bead(number, *bead, kept)
            }
            Err(problem) => self.send(Imported::Refused(number, problem.to_string())),
        }
    }

    /// YAML documents, separated by `---`.
    fn documents(&mut self, mut source: Box<dyn BufRead + Send>) {
        let mut text = String::new();
        if let Err(error) = std::io::Read::read_to_string(&mut source, &mut text) {
            self.send(Imported::Broken(format!("the file cannot be read: {error}")));
            return;
        }
        let mut edges = Vec::new();
        let mut number: u64 = 1;
        for document in text.split("\n---") {
            let begins = number;
            number += u64::try_from(document.matches('\n').count()).unwrap_or(0) + 1;
            let document = document.trim_start_matches("---").trim_start_matches([' ', '\r']);
            if document.trim().is_empty() {
                continue;
            }
            let name = document.trim_start().strip_prefix(YAML_FILE).and_then(|rest| rest.lines().next());
            let place = name.map(|name| format!("{name}: ")).unwrap_or_default();
            let goes_on = match read_yaml(document) {
                Ok(read) => {
                    let warnings = read.warnings.into_iter();
                    warnings.for_each(|what| self.warnings.push(begins, format!("{place}{what}")));
                    let target = read.bead.id.clone();
                    edges.extend(
                        read.foreign_edges.into_iter().map(|(from, kind)| (from, target.clone(), kind)),
                    );
                    self.bead(begins, read.bead, KeptFields(read.kept))
                }
                Err(problem) => self.send(Imported::Refused(begins, format!("{place}{problem}"))),
            };
            if !goes_on {
                return;
            }
        }
        for (from, to, kind) in edges {
            let edge = ImportedEdge {
                depends_on: self.rows.id(&to),
                kind: kind.to_owned(),
                gate: None,
                created: (self.rows.options.now, self.rows.options.by.clone()),
                kept: None,
            };
            if !self.send(Imported::Edge(self.rows.id(&from), edge)) {
                return;
            }
        }
    }

    fn bead(&mut self, line: u64, file: FileBead, kept: KeptFields) -> bool {
        let options = &self.rows.options;
        let named = file.project_id.as_deref();
        if let Some(named) = named.filter(|named| *named != options.project_id.as_str())
            && !options.any_project
        {
            let why = format!("{} belongs to {}", file.id, project_word(named));
            return self.send(Imported::Refused(line, why));
        }
        let mut imported = self.rows.imported(line, file, kept);
        let id = imported.bead.id.to_string();
        if let Err(problem) = BeadId::parse(&id) {
            return self.send(Imported::Refused(line, problem.to_string()));
        }
        if !self.seen.insert(id.clone()) {
            let told = format!("{id} is in the file twice: the newer line counts, with the lists of both");
            self.warnings.push(line, told);
            imported.synced = Some(SyncedLine { joins: true, ..SyncedLine::default() });
        }
        self.send(Imported::Bead(Box::new(imported)))
    }
}

/// Translates beads of a file to rows.
pub(crate) struct RowBuilder {
    pub(crate) options: ReadOptions,
    /// Ids of lines that represent this program's decisions.
    pub(crate) gates: HashSet<String>,
    /// The new ids of beads, by the ids that the file has.
    new_ids: HashMap<String, String>,
}

impl RowBuilder {
    pub(crate) fn new(options: ReadOptions) -> Self {
        Self { options, gates: HashSet::new(), new_ids: HashMap::new() }
    }

    /// Gives ids with the wanted prefix. Beads that would get the same one keep their whole ids behind the prefix.
    fn give_ids(&mut self, ids: Vec<String>) {
        let Some(prefix) = self.options.prefix.clone() else { return };
        let mut taken: HashMap<String, BTreeSet<String>> = HashMap::new();
        for id in ids {
            taken.entry(short_id(&prefix, &id)).or_default().insert(id);
        }
        for (short, ids) in taken {
            let is_alone = ids.len() == 1;
            let new = |id: &String| if is_alone { short.clone() } else { format!("{prefix}-{id}") };
            self.new_ids.extend(ids.iter().map(|id| (id.clone(), new(id))));
        }
    }

    /// An id with the prefix that is wanted.
    fn id(&self, id: &str) -> BeadId {
        let new = self.options.prefix.as_ref().map(|prefix| match self.new_ids.get(id) {
            Some(new) => new.clone(),
            None => short_id(prefix, id),
        });
        new.map_or_else(|| BeadId::from_trusted(id), BeadId::from_trusted)
    }

    /// Returns whether a dependency stands for a pending decision of this program.
    pub(crate) fn is_gate(&self, edge: &FileEdge) -> bool {
        self.gates.contains(&edge.depends_on) || edge.created_by.as_deref() == Some(GATEKEEPER)
    }

    /// Translates a bead with its lists.
    pub(crate) fn imported(&self, line: u64, file: FileBead, kept: KeptFields) -> ImportedBead {
        let mut kept = kept;
        if file.is_pinned && file.is_ephemeral {
            kept.0.put(PINNED_EPHEMERAL, "true".to_owned());
        }
        let id = self.id(&file.id);
        // The line of a decision may come behind those of beads that wait for it.
        let edges = file.edges.iter().filter(|edge| !self.is_gate(edge));
        let edges = edges.map(|edge| self.edge(edge)).collect();
        // A comment without time must have the same one whenever its line is read.
        let undated = file.created_at.unwrap_or(Timestamp::from_millis(0));
        let comments = file.comments.iter().map(|comment| imported_comment(comment, undated)).collect();
        let is_undated = file.updated_at.or(file.created_at).is_none();
        let bead = self.row(id, file);
        let kept = text_of(&kept.0);
        let mut imported = ImportedBead::new(line, bead, edges, comments, kept);
        imported.is_undated = is_undated;
        imported
    }

    fn edge(&self, edge: &FileEdge) -> ImportedEdge {
        let metadata = edge.kept.get("metadata").and_then(|raw| serde_json::from_str::<String>(raw).ok());
        let metadata = metadata.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let gate = metadata.as_ref().and_then(|metadata| metadata["gate"].as_str()).and_then(Gate::parse);
        let by = edge.created_by.clone().unwrap_or_else(|| self.options.by.clone());
        let mut kept = edge.kept.clone();
        // What we would write although the file does not say it.
        if edge.created_by.is_none() {
            kept.put(NO_AUTHOR, "true".to_owned());
        }
        if edge.created_at.is_none() {
            kept.put(NO_TIME, "true".to_owned());
        }
        ImportedEdge {
            depends_on: if edge.kind == "parent-child" || self.is_ours(&edge.depends_on) {
                self.id(&edge.depends_on)
            } else {
                BeadId::from_trusted(edge.depends_on.as_str())
            },
            kind: edge.kind.clone(),
            gate: gate.filter(|gate| edge.kind == "waits-for" && *gate == Gate::AnyChildren),
            created: (edge.created_at.unwrap_or(self.options.now), by),
            kept: text_of(&kept),
        }
    }

    /// Returns whether an id may get the wanted prefix: one of another system keeps its own.
    fn is_ours(&self, id: &str) -> bool {
        self.options.prefix.is_some() && !id.contains(':')
    }

    fn row(&self, id: BeadId, file: FileBead) -> Bead {
        let now = self.options.now;
        let created_at = file.created_at.unwrap_or(now);
        let updated_at = file.updated_at.or(file.created_at).unwrap_or(now);
        let (mut status, mut block_reason) = (file.state.status, file.state.reason);
        let is_agents = file.assignee.as_deref().is_some_and(|name| self.options.agents.contains(name));
        if status == Status::InProgress && is_agents {
            // Without a claim, no local agent works on it: it is dispatched again.
            status = Status::Open;
        }
        if status != Status::Blocked {
            block_reason = None;
        }
        let closed_at = match status {
            Status::Closed => {
                Some(file.closed_at.unwrap_or(created_at.max(updated_at).plus(Duration::from_secs(1))))
            }
            _ => None,
        };
        Bead {
            id,
            bead_type: file.bead_type,
            title: file.title,
            description: file.description,
            status,
            priority: file.priority,
            project_id: self.options.project_id.clone(),
            assigned_to: file.assignee,
            tags: file.labels,
            context: if file.context.is_empty() { Map::new() } else { file.context },
            acceptance_criteria: file.acceptance_criteria,
            due_at: file.due_at,
            defer_until: file.defer_until,
            close_reason: file.close_reason.filter(|_| status == Status::Closed),
            block_reason,
            approval: if file.is_approved { Approval::Given } else { Approval::Missing },
            attempts: 0,
            next_attempt_at: None,
            last_error: None,
            last_answer: None,
            handed_on_by: Vec::new(),
            shelved: match (file.is_pinned, file.is_ephemeral) {
                (true, _) => Some("pinned".to_owned()),
                (false, true) => Some("ephemeral".to_owned()),
                (false, false) => None,
            },
            created_at,
            updated_at,
            closed_at,
            revision: 1,
        }
    }
}

fn short_id(prefix: &str, id: &str) -> String {
    let rest = id.rsplit_once('-').map_or(id, |(_, rest)| rest);
    format!("{prefix}-{rest}")
}

fn imported_comment(comment: &FileComment, undated: Timestamp) -> ImportedComment {
    let mut kept = comment.kept.clone();
    if comment.created_at.is_none() {
        kept.put(NO_TIME, "true".to_owned());
    }
    ImportedComment {
        id: comment.id.clone(),
        author_id: comment.author.clone(),
        text: comment.text.clone(),
        created_at: comment.created_at.unwrap_or(undated),
        kept: text_of(&kept),
    }
}

/// Author of the dependencies that stand for pending decisions.
pub(crate) const GATEKEEPER: &str = "arbiter:decision";
/// Markers for a dependency without author or time, so that none is written.
pub(crate) const NO_AUTHOR: &str = "_no_author";
pub(crate) const NO_TIME: &str = "_no_time";
/// Marker for a bead that is ephemeral besides being pinned.
pub(crate) const PINNED_EPHEMERAL: &str = "_pinned_ephemeral";

fn text_of(kept: &RawFields) -> Option<String> {
    (!kept.is_empty()).then(|| kept.to_json())
}

/// A project that a file names, quoted only if it may be one.
fn project_word(named: &str) -> String {
    if is_valid_id(named) { format!("the project {named:?}") } else { "another project".to_owned() }
}

enum BoundedLine {
    Line,
    TooLong,
    End,
}

/// Reads a line without its end; of one that is too long nothing is kept.
fn read_bounded(source: &mut impl BufRead, buffer: &mut Vec<u8>) -> std::io::Result<BoundedLine> {
    let mut is_too_long = false;
    let mut has_begun = false;
    loop {
        let available = source.fill_buf()?;
        if available.is_empty() {
            return Ok(match (is_too_long, has_begun) {
                (true, _) => BoundedLine::TooLong,
                (false, true) => BoundedLine::Line,
                (false, false) => BoundedLine::End,
            });
        }
        has_begun = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        if buffer.len() + taken > MAX_LINE_BYTES {
            is_too_long = true;
            buffer.clear();
        }
        if !is_too_long {
            buffer.extend_from_slice(&available[..taken]);
        }
        source.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(if is_too_long { BoundedLine::TooLong } else { BoundedLine::Line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_reader_without_final_newline_yields_last_line() {
        let mut source = &b"a\n\nbc"[..];
        let mut lines = Vec::new();
        let mut buffer = Vec::new();
        while let Ok(BoundedLine::Line) = read_bounded(&mut source, &mut buffer) {
            lines.push(String::from_utf8(std::mem::take(&mut buffer)).unwrap());
        }
        assert_eq!(lines, ["a", "", "bc"]);
    }
}
