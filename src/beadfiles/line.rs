//! Parser of one line of JSONL.

use crate::bead::{BeadState, FileBead};
use crate::lists::{self, List};
use crate::raw::RawFields;
use crate::{reason, text, text_time, words};
use arbiter_core::bead::BACKLOG;
use arbiter_core::kernel::limits::{self, MAX_DOCUMENT_DEPTH};
use arbiter_core::kernel::refusal::Problems;
use arbiter_core::kernel::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;
/// Longest text that is taken from a file, in bytes.
pub const MAX_FILE_TEXT: usize = 262_144;
/// Most bytes of a line's fields without a counterpart here, and of a line that is no bead.
pub const MAX_KEPT_BYTES: usize = 1_048_576;
/// Longest name, in bytes: as many characters as a name may have, of four bytes each.
const MAX_NAME_BYTES: usize = 4 * limits::MAX_NAME;
/// Longest id, in bytes.
const MAX_ID_BYTES: usize = 255;
/// Longest title, in characters.
const MAX_TITLE: usize = 500;
/// Fields that are computed when a line is written, or stored elsewhere.
const DERIVED_FIELDS: [&str; 4] = ["_type", "dependency_count", "dependent_count", "comment_count"];

/// Content of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Blank,
    Schema,
    Bead {
        bead: Box<FileBead>,
        fields: RawFields,
        /// Irregularities that did not prevent the parse.
        warnings: Vec<String>,
    },
    /// A bead that was deleted; its status alone says so.
    Tombstone {
        id: String,
        /// Time of the deletion, else of the last change.
        at: Option<Timestamp>,
    },
    /// A pending decision written by this program, see [`crate::Gate`].
    Gate {
        id: String,
    },
    /// Any other record, kept unchanged.
    Other {
        kind: String,
    },
}

/// Reason why a line is not a bead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    #[error("it is no JSON object: {0}")]
    NotAnObject(String),
    /// An object that ends before its closing brace: its writer may not be done.
    #[error("it ends in the middle of an object")]
    Torn,
    #[error("{field} {problem}")]
    Field { field: &'static str, problem: String },
}

fn field(field: &'static str, problem: impl Into<String>) -> LineProblem {
    LineProblem::Field { field, problem: problem.into() }
}

/// Value of a known field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Time(Option<Timestamp>),
    Number(i64),
    Flag(bool),
    State(BeadState),
}

/// Fields with a counterpart in this program, in the order of writing.
pub(crate) const KNOWN: [&str; 15] = [
    "title",
    "description",
    "acceptance_criteria",
    "status",
    "priority",
    "issue_type",
    "assignee",
    "created_at",
    "updated_at",
    "closed_at",
    "close_reason",
    "due_at",
    "defer_until",
    "pinned",
    "ephemeral",
];

/// Parses the raw JSON of a known field; `None` if it is invalid.
pub(crate) fn scalar(name: &str, raw: Option<&str>) -> Option<Scalar> {
    let raw = raw.filter(|raw| *raw != "null");
    let text = || raw.map_or(Some(String::new()), text::read);
    Some(match name {
        "status" => Scalar::State(words::state_from_word(&text()?)),
        "issue_type" => Scalar::Text(words::canonical_type(&text()?).to_owned()),
        "priority" => Scalar::Number(raw.map_or(Some(0), words::priority)?),
        "pinned" | "ephemeral" => Scalar::Flag(raw.map_or(Some(false), |raw| raw.parse().ok())?),
        _ if name.ends_with("_at") || name == "defer_until" => match text()?.as_str() {
            "" => Scalar::Time(None),
            written => Scalar::Time(Some(text_time::read(written)?)),
        },
        _ => Scalar::Text(text()?),
    })
}

impl FileBead {
    /// Returns the value of a known field of this bead.
    pub(crate) fn scalar(&self, name: &str) -> Scalar {
        let text = |text: &Option<String>| Scalar::Text(text.clone().unwrap_or_default());
        match name {
            "title" => Scalar::Text(self.title.clone()),
            "description" => Scalar::Text(self.description.clone()),
            "acceptance_criteria" => Scalar::Text(self.acceptance_criteria.clone()),
            "status" => Scalar::State(self.state.clone()),
            "priority" => Scalar::Number(self.priority.into()),
            "issue_type" => Scalar::Text(self.bead_type.clone()),
            "assignee" => text(&self.assignee),
            "created_at" => Scalar::Time(self.created_at),
            "updated_at" => Scalar::Time(self.updated_at),
            "closed_at" => Scalar::Time(self.closed_at),
            "close_reason" => text(&self.close_reason),
            "due_at" => Scalar::Time(self.due_at),
            "defer_until" => Scalar::Time(self.defer_until),
            "pinned" => Scalar::Flag(self.is_pinned),
            _ => Scalar::Flag(self.is_ephemeral),
        }
    }

    fn set(&mut self, name: &str, value: Scalar) {
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        match (name, value) {
            ("title", Scalar::Text(text)) => self.title = text,
            ("description", Scalar::Text(text)) => self.description = text,
            ("acceptance_criteria", Scalar::Text(text)) => self.acceptance_criteria = text,
            ("status", Scalar::State(state)) => self.state = state,
            ("priority", Scalar::Number(number)) => self.priority = u8::try_from(number).unwrap_or(u8::MAX),
            ("issue_type", Scalar::Text(text)) => self.bead_type = text,
            ("assignee", Scalar::Text(text)) => self.assignee = filled(text),
            ("created_at", Scalar::Time(at)) => self.created_at = at,
            ("updated_at", Scalar::Time(at)) => self.updated_at = at,
            ("closed_at", Scalar::Time(at)) => self.closed_at = at,
            ("close_reason", Scalar::Text(text)) => self.close_reason = filled(text),
            ("due_at", Scalar::Time(at)) => self.due_at = at,
            ("defer_until", Scalar::Time(at)) => self.defer_until = at,
            ("pinned", Scalar::Flag(flag)) => self.is_pinned = flag,
            ("ephemeral", Scalar::Flag(flag)) => self.is_ephemeral = flag,
            _ => {}
        }
    }
}

/// This program's part of `metadata`: `metadata.arbiter`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ArbiterMetadata {
    pub(crate) block_reason: Option<String>,
    pub(crate) context: Map<String, Value>,
    pub(crate) approved: bool,
    pub(crate) decision: Option<String>,
}

/// Names of the fields of [`ArbiterMetadata`] that a bead's line has.
pub(crate) const ARBITER_FIELDS: [&str; 3] = ["block_reason", "context", "approved"];

/// Parses `metadata.arbiter`, and removes its fields that are written from the bead.
fn take_arbiter_metadata(fields: &mut RawFields) -> Option<ArbiterMetadata> {
    let mut metadata = RawFields::parse(fields.get("metadata")?).ok()?;
    let raw = metadata.take("arbiter")?;
    let ours = serde_json::from_str(raw.get()).ok()?;
    let mut others = RawFields::parse(raw.get()).ok()?;
    ARBITER_FIELDS.iter().for_each(|name| drop(others.take(name)));
    if !others.is_empty() {
        metadata.put("arbiter", others.to_json());
    }
    if metadata.is_empty() {
        fields.take("metadata");
    } else {
        fields.put("metadata", metadata.to_json());
    }
    Some(ours)
}

/// Parses one line, without its line feed.
///
/// # Errors
/// [`LineProblem`] if the line is not an object, or a bead without id or title or with an invalid priority.
pub fn read_line(text: &str) -> Result<Line, LineProblem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Line::Blank);
    }
    let mut fields =
        RawFields::parse(text).map_err(|error| match error.is_eof() && text.starts_with('{') {
            true => LineProblem::Torn,
            false => LineProblem::NotAnObject(reason::json(&error)),
        })?;
    // Half a line stays half a line, however deep it is nested.
    check_depth(text)?;
    if fields.get("_schema").is_some() {
        return Ok(Line::Schema);
    }
    let kind = fields.get("_type").map(|raw| serde_json::from_str::<String>(raw).unwrap_or_default());
    if let Some(kind) = kind.filter(|kind| kind != "issue") {
        check_kept(text.len())?;
        return Ok(Line::Other { kind });
    }
    let id = text_of(&fields, "id").ok_or_else(|| field("id", "is missing or no text"))?;
    if id.is_empty() || id.len() > MAX_ID_BYTES || id == "null" || id == "undefined" {
        return Err(field(
            "id",
            format!("must have 1 to {MAX_ID_BYTES} bytes, and be neither null nor undefined"),
        ));
    }
    if text_of(&fields, "status").is_some_and(|word| word.eq_ignore_ascii_case("tombstone")) {
        let time = |name: &str| text_of(&fields, name).and_then(|text| text_time::read(&text));
        return Ok(Line::Tombstone { id, at: time("deleted_at").max(time("updated_at")) });
    }
    let ours = take_arbiter_metadata(&mut fields).unwrap_or_default();
    if ours.decision.is_some() {
        return Ok(Line::Gate { id });
    }
    let (bead, warnings) = bead(id, ours, &mut fields)?;
    Ok(Line::Bead { bead: Box::new(bead), fields, warnings })
}

/// Parses a bead, and leaves in `fields` what its line needs besides.
fn bead(
    id: String,
    ours: ArbiterMetadata,
    fields: &mut RawFields,
) -> Result<(FileBead, Vec<String>), LineProblem> {
    let mut warnings = Vec::new();
    let mut bead = FileBead { id, context: ours.context, is_approved: ours.approved, ..FileBead::default() };
    for name in KNOWN {
        match scalar(name, fields.get(name)) {
            Some(value) => bead.set(name, value),
            None if name == "priority" => return Err(field("priority", "is not 0 to 4")),
            None => warnings.push(format!("{name} cannot be read and counts as missing")),
        }
    }
    if bead.state.reason.is_none() && bead.state.status == arbiter_core::bead::Status::Blocked {
        bead.state.reason = ours.block_reason;
    }
    let title = bead.title.chars().count();
    if !(1..=MAX_TITLE).contains(&title) {
        return Err(field("title", format!("has {title} characters, not 1 to {MAX_TITLE}")));
    }
    if bead.priority > BACKLOG {
        return Err(field("priority", "is not 0 to 4"));
    }
    if fields.get("priority").is_none() {
        warnings.push("priority is missing and counts as 0, critical".to_owned());
    }
    // `wisp` is an older name of the same flag.
    bead.is_ephemeral |= fields.get("wisp") == Some("true");
    let labels = lists::labels(fields.get("labels"));
    bead.labels = keep_odd(fields, "labels", labels, &mut warnings);
    let edges = lists::edges(fields.get("dependencies"), &bead.id);
    bead.edges = keep_odd(fields, "dependencies", edges, &mut warnings);
    let comments = lists::comments(fields.get("comments"), &bead.id);
    bead.comments = keep_odd(fields, "comments", comments, &mut warnings);
    fields.take("id");
    DERIVED_FIELDS.iter().for_each(|name| drop(fields.take(name)));
    bead.check_limits()?;
    let unknown = fields.iter().filter(|(name, _)| !KNOWN.contains(name));
    check_kept(unknown.map(|(name, raw)| name.len() + raw.len()).sum())?;
    if bead.edges.iter().any(|edge| edge.kind == "parent-child") {
        fields.take("parent");
    }
    Ok((bead, warnings))
}

/// Returns the name under which a list is kept that was not completely understood.
pub(crate) fn odd_name(name: &str) -> String {
    format!("_odd_{name}")
}

/// Takes a list out of the fields, and keeps its raw text if it was not completely understood.
fn keep_odd<T>(fields: &mut RawFields, name: &str, list: List<T>, warnings: &mut Vec<String>) -> Vec<T> {
    if let Some(raw) = fields.take(name).filter(|_| !list.is_whole) {
        fields.put(&odd_name(name), raw.get().to_owned());
    }
    warnings.extend(list.warnings);
    list.items
}

/// Refuses a document that is nested deeper than a parser of another program reads.
pub(crate) fn check_depth(json: &str) -> Result<(), LineProblem> {
    if limits::text_depth(json.as_bytes()) <= MAX_DOCUMENT_DEPTH {
        return Ok(());
    }
    Err(field("line", limits::must_be_nested_at_most(MAX_DOCUMENT_DEPTH)))
}

/// Refuses too much content without a counterpart here, since it is stored with its bead.
pub(crate) fn check_kept(bytes: usize) -> Result<(), LineProblem> {
    if bytes <= MAX_KEPT_BYTES {
        return Ok(());
    }
    Err(field("unknown content", limits::must_fit(MAX_KEPT_BYTES)))
}

impl FileBead {
    /// Refuses a bead with a text or a context that is too long or nested too deep.
    pub(crate) fn check_limits(&self) -> Result<(), LineProblem> {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let comments = &mut self.comments.iter().map(|comment| comment.text.len());
        let authors = &mut self.comments.iter().map(|comment| comment.author.len());
        let comment_ids = &mut self.comments.iter().map(|comment| comment.id.len());
        let makers = &mut self.edges.iter().map(|edge| optional(&edge.created_by));
        let ids = &mut self.edges.iter().map(|edge| edge.depends_on.len());
        for (name, bytes, max_bytes) in [
            ("description", self.description.len(), MAX_FILE_TEXT),
            ("acceptance_criteria", self.acceptance_criteria.len(), MAX_FILE_TEXT),
            ("close_reason", optional(&self.close_reason), MAX_FILE_TEXT),
            ("status", optional(&self.state.reason), MAX_FILE_TEXT),
            ("labels", self.labels.iter().map(String::len).sum(), MAX_FILE_TEXT),
            ("comments", longest(comments), MAX_FILE_TEXT),
            ("comments", longest(authors), MAX_NAME_BYTES),
            ("comments", longest(comment_ids), MAX_ID_BYTES),
            ("dependencies", longest(makers), MAX_NAME_BYTES),
            ("dependencies", longest(ids), MAX_ID_BYTES),
            ("dependencies", longest(&mut self.edges.iter().map(|edge| edge.kind.len())), MAX_ID_BYTES),
            ("issue_type", self.bead_type.len(), MAX_ID_BYTES),
            ("assignee", optional(&self.assignee), MAX_NAME_BYTES),
        ] {
            if bytes > max_bytes {
                return Err(field(name, limits::must_fit(max_bytes)));
            }
        }
        let mut problems = Problems::default();
        limits::check_free_form(&mut problems, "context", &self.context);
        problems.finish().map_err(|refusal| field("metadata", refusal.to_string()))
    }
}

fn text_of(fields: &RawFields, name: &str) -> Option<String> {
    serde_json::from_str(fields.get(name)?).ok()
}

#[cfg(test)]
mod tests;
