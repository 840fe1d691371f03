//! Writer of one line of JSONL: the bead's current fields, and those kept of its original line.

use crate::bead::{FileBead, FileComment, FileEdge, KeptFields};
use crate::line::{ARBITER_FIELDS, KNOWN, Scalar, odd_name, scalar};
use crate::raw::RawFields;
use crate::{lists, spans, text_time, words};
use arbiter_core::bead::Status;
use arbiter_core::kernel::time::Timestamp;
use serde_json::{Map, Value, json};

/// Default time limit of a decision, in nanoseconds: 48 hours.
const GATE_TIMEOUT_NANOS: u64 = 172_800_000_000_000;

/// Fields about the end of a bead, and where they are kept while the bead is not closed.
const CLOSING_FIELDS: [(&str, &str); 2] =
    [("closed_at", "_open_closed_at"), ("close_reason", "_open_close_reason")];

/// A pending decision as `bd` represents it: a gate that a person opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub id: String,
    pub question: String,
    /// Priority, 0 to 4.
    pub priority: u8,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Returns the fields to keep so that the bead's line can be written as it was read.
pub fn kept_fields(bead: &FileBead, fields: RawFields) -> KeptFields {
    let mut kept = fields;
    // A bead that is not closed has no place for the closing fields of its line. After a close and reopen here,
    // they must not be taken for this program's values.
    if bead.state.status != Status::Closed {
        for (name, aside) in CLOSING_FIELDS {
            if let Some(raw) = kept.take(name) {
                kept.put(aside, raw.get().to_owned());
            }
        }
    }
    kept.retain(|name, raw| !KNOWN.contains(&name) || rendered(bead, name).as_deref() != Some(raw));
    KeptFields(kept)
}

/// Renders a known field; `None` if it is omitted.
pub(crate) fn rendered(bead: &FileBead, name: &str) -> Option<String> {
    let text = |text: &str| Some(Value::from(text).to_string()).filter(|_| !text.is_empty());
    match (name, bead.scalar(name)) {
        ("status", _) => text(words::word_for_state(&bead.state)),
        ("priority", Scalar::Number(number)) => Some(number.to_string()),
        (_, Scalar::Text(written)) => text(&written),
        (_, Scalar::Time(at)) => text(&at.map(text_time::written).unwrap_or_default()),
        (_, Scalar::Flag(true)) => Some("true".to_owned()),
        _ => None,
    }
}

/// Writes the line of a bead, without its line feed. A kept field is written unchanged while its value is
/// current.
pub fn write_line(bead: &FileBead, kept: &KeptFields) -> String {
    let mut raw = kept.0.clone();
    let mut parts: Vec<(String, String)> = vec![
        ("_type".to_owned(), "\"issue\"".to_owned()),
        ("id".to_owned(), Value::from(bead.id.as_str()).to_string()),
    ];
    for name in KNOWN {
        let aside =
            CLOSING_FIELDS.iter().find(|(end, _)| *end == name).and_then(|(_, aside)| raw.take(aside));
        if let Some(said) = aside.filter(|_| bead.state.status != Status::Closed) {
            raw.take(name);
            parts.push((name.to_owned(), said.get().to_owned()));
            continue;
        }
        let as_it_was = raw
            .take(name)
            .filter(|raw| scalar(name, Some(raw.get())).is_none_or(|said| said == bead.scalar(name)));
        let written = match as_it_was {
            Some(raw) => Some(raw.get().to_owned()),
            None => rendered(bead, name),
        };
        parts.extend(written.map(|json| (name.to_owned(), json)));
    }
    add_arbiter_metadata(bead, &mut raw);
    for name in ["labels", "dependencies", "comments"] {
        // What was not understood of a list goes back as its raw text.
        let odd = raw.take(&odd_name(name));
        let odd = odd.as_deref().map(serde_json::value::RawValue::get);
        let list = match name {
            "labels" => lists::with_labels(odd, &bead.labels),
            "dependencies" => lists::with_edges(odd, bead),
            _ => lists::with_comments(odd, bead),
        };
        parts.extend(list.map(|json| (name.to_owned(), json)));
    }
    parts.extend(raw.iter().map(|(name, json)| (name.to_owned(), json.to_owned())));
    object(&parts)
}

fn object(parts: &[(String, String)]) -> String {
    let fields: Vec<String> =
        parts.iter().map(|(name, json)| format!("{}:{json}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", fields.join(","))
}

/// Returns this program's fields of a bead, for `metadata.arbiter`.
fn arbiter_fields(bead: &FileBead) -> Map<String, Value> {
    let mut ours = Map::new();
    if let (Status::Blocked, Some(reason)) = (bead.state.status, &bead.state.reason)
        && !reason.starts_with(words::FOREIGN_STATUS_PREFIX)
    {
        ours.insert("block_reason".to_owned(), json!(reason));
    }
    if !bead.context.is_empty() {
        ours.insert("context".to_owned(), json!(bead.context));
    }
    if bead.is_approved {
        ours.insert("approved".to_owned(), json!(true));
    }
    ours
}

/// Sets this program's fields in a raw `metadata`, unless that is not an object. Returns `None` for an empty one.
pub(crate) fn with_arbiter_fields(metadata: Option<&str>, bead: &FileBead) -> Option<String> {
    let ours = arbiter_fields(bead);
    let metadata = metadata.filter(|raw| *raw != "null");
    if ours.is_empty() && metadata.is_none() {
        return None;
    }
    let metadata = metadata.unwrap_or("{}");
    let mut arbiter = spans::value_of(metadata, "arbiter").unwrap_or("{}").to_owned();
    if spans::members(&arbiter).is_none() {
        return Some(metadata.to_owned());
    }
    for name in ARBITER_FIELDS {
        let value = ours.get(name).map(Value::to_string);
        let before = spans::value_of(&arbiter, name);
        let is_same =
            before.and_then(|raw| serde_json::from_str::<Value>(raw).ok()).as_ref() == ours.get(name);
        if !is_same {
            arbiter = spans::set_member(&arbiter, name, value.as_deref());
        }
    }
    let is_empty = spans::members(&arbiter).is_some_and(|members| members.is_empty());
    let written = spans::set_member(metadata, "arbiter", Some(arbiter.as_str()).filter(|_| !is_empty));
    let is_empty = spans::members(&written).is_some_and(|members| members.is_empty());
    Some(written).filter(|_| !is_empty)
}

/// Adds this program's own fields to `metadata.arbiter`, unless `metadata` is not an object.
fn add_arbiter_metadata(bead: &FileBead, raw: &mut RawFields) {
    if arbiter_fields(bead).is_empty() {
        return;
    }
    if let Some(metadata) = with_arbiter_fields(raw.get("metadata"), bead) {
        raw.put("metadata", metadata);
    }
}

pub(crate) fn edge_json(edge: &FileEdge, id: &str) -> String {
    let mut fields = edge.kept.clone();
    put_text(&mut fields, "issue_id", Some(id));
    put_text(&mut fields, "depends_on_id", Some(&edge.depends_on));
    put_text(&mut fields, "type", Some(&edge.kind));
    put_text(&mut fields, "created_at", edge.created_at.map(text_time::written).as_deref());
    put_text(&mut fields, "created_by", edge.created_by.as_deref());
    fields.to_json()
}

pub(crate) fn comment_json(comment: &FileComment, id: &str) -> String {
    let mut fields = comment.kept.clone();
    put_text(&mut fields, "id", Some(comment.id.as_str()).filter(|id| !id.is_empty()));
    put_text(&mut fields, "issue_id", Some(id));
    put_text(&mut fields, "author", Some(&comment.author));
    put_text(&mut fields, "text", Some(&comment.text));
    put_text(&mut fields, "created_at", comment.created_at.map(text_time::written).as_deref());
    fields.to_json()
}

/// Sets a text unless a kept field with its own form exists.
fn put_text(fields: &mut RawFields, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|_| fields.get(name).is_none()) {
        fields.put(name, Value::from(text).to_string());
    }
}

/// Writes the line of a pending decision, without its line feed.
pub fn write_gate(gate: &Gate) -> String {
    json!({
        "_type": "issue", "id": gate.id, "title": gate.question.chars().take(500).collect::<String>(),
        "status": "open", "priority": gate.priority, "issue_type": "gate", "await_type": "human",
        "timeout": GATE_TIMEOUT_NANOS, "created_at": text_time::written(gate.created_at),
        "updated_at": text_time::written(gate.updated_at), "metadata": {"arbiter": {"decision": gate.id}},
    })
    .to_string()
}
