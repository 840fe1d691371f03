//! The lists of a bead's line: labels, dependencies and comments, each read as far as it can be understood, and
//! changed in place.

use crate::bead::{FileBead, FileComment, FileEdge};
use crate::raw::RawFields;
use crate::write::{comment_json, edge_json};
use crate::{spans, text, text_time};
use arbiter_core::bead::edit::affects_readiness;
use arbiter_core::kernel::time::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

/// The understood items of a list.
#[derive(Debug)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// True if the items say all that the raw list says.
    pub(crate) is_whole: bool,
    pub(crate) warnings: Vec<String>,
}

impl<T> List<T> {
    fn empty() -> Self {
        Self { items: Vec::new(), is_whole: true, warnings: Vec::new() }
    }

    fn keep(&mut self, warning: String) {
        self.is_whole = false;
        self.warnings.push(warning);
    }
}

/// Parses a list item by item; `read` returns `None` for an item that it does not understand.
fn list<T>(name: &str, raw: Option<&str>, mut read: impl FnMut(&str, &mut List<T>) -> Option<T>) -> List<T> {
    let mut list = List::empty();
    let Some(raw) = raw.filter(|raw| *raw != "null") else { return list };
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) else {
        list.keep(format!("{name} is no list: it counts as empty and is kept as it is"));
        return list;
    };
    for (at, item) in items.into_iter().enumerate() {
        match read(item.get(), &mut list) {
            Some(item) => list.items.push(item),
            None => list.keep(format!("item {} of {name} is not understood and is kept as it is", at + 1)),
        }
    }
    list
}

/// Parses labels.
pub(crate) fn labels(raw: Option<&str>) -> List<String> {
    list("labels", raw, |item, list| {
        list.is_whole &= text::is_unicode(item);
        text::read(item)
    })
}

/// Parses dependencies. Of several on one bead, one that holds back counts, else the first.
pub(crate) fn edges(raw: Option<&str>, id: &str) -> List<FileEdge> {
    let mut read = list("dependencies", raw, |item, _| edge(item, id));
    let mut items: Vec<FileEdge> = Vec::new();
    for edge in std::mem::take(&mut read.items) {
        let Some(at) = items.iter().position(|known| known.depends_on == edge.depends_on) else {
            items.push(edge);
            continue;
        };
        if rank(&items[at].kind) < rank(&edge.kind) {
            items[at] = edge;
        }
        read.keep(
            "of two dependencies on one bead, the one that holds back counts; both are kept".to_owned(),
        );
    }
    read.items = items;
    read
}

/// Returns how much a type of dependency holds back.
fn rank(kind: &str) -> u8 {
    match kind {
        "parent-child" => 1,
        kind if affects_readiness(kind) => 2,
        _ => 0,
    }
}

/// Parses comments.
pub(crate) fn comments(raw: Option<&str>, id: &str) -> List<FileComment> {
    list("comments", raw, |item, _| comment(item, id))
}

fn take_text(fields: &mut RawFields, name: &str) -> Option<String> {
    let raw = fields.get(name)?;
    let (read, is_unicode) = (text::read(raw)?, text::is_unicode(raw));
    if is_unicode {
        fields.take(name);
    }
    Some(read)
}

/// Parses a time of an object. It stays in the object if this program would write it in another form.
fn take_time(fields: &mut RawFields, name: &str) -> Option<Timestamp> {
    let written = text::read(fields.get(name)?)?;
    let at = text_time::read(&written)?;
    if text_time::written(at) == written {
        fields.take(name);
    }
    Some(at)
}

/// Parses an item, and takes the id of its bead out of it.
fn item_of(raw: &str, id: &str) -> Option<RawFields> {
    let mut kept = RawFields::parse(raw).ok()?;
    if kept.get("issue_id").and_then(text::read).as_deref() == Some(id) {
        kept.take("issue_id");
    }
    Some(kept)
}

fn edge(raw: &str, id: &str) -> Option<FileEdge> {
    let mut kept = item_of(raw, id)?;
    let depends_on = take_text(&mut kept, "depends_on_id").filter(|target| !target.is_empty())?;
    let kind = take_text(&mut kept, "type").filter(|kind| !kind.is_empty());
    Some(FileEdge {
        depends_on,
        kind: kind.unwrap_or_else(|| "blocks".to_owned()),
        created_at: take_time(&mut kept, "created_at"),
        created_by: take_text(&mut kept, "created_by"),
        kept,
    })
}

fn comment(raw: &str, id: &str) -> Option<FileComment> {
    let mut kept = item_of(raw, id)?;
    let own_id = match take_text(&mut kept, "id") {
        Some(text) => text,
        // Older files hold a number; it is written as a number again.
        None => kept.get("id").filter(|raw| *raw != "null").unwrap_or_default().to_owned(),
    };
    let text = take_text(&mut kept, "text")?;
    let author = take_text(&mut kept, "author").unwrap_or_default();
    let created_at = take_time(&mut kept, "created_at");
    Some(FileComment { id: own_id, author, text, created_at, kept })
}

/// Changes a raw list of labels to these; labels that stay and odd items are left as written.
pub(crate) fn with_labels(raw: Option<&str>, wanted: &[String]) -> Option<String> {
    let is_gone = |item: &str| text::read(item).is_some_and(|label| !wanted.contains(&label));
    let before = raw.map(|raw| spans::remove_items(raw, is_gone));
    let known = labels(before.as_deref()).items;
    let new = wanted.iter().filter(|label| !known.contains(label));
    let new: Vec<String> = new.map(|label| Value::from(label.as_str()).to_string()).collect();
    spans::push_items(before.as_deref(), &new)
}

/// Changes a raw list of dependencies to those of a bead; those that stay and odd items are left as written.
pub(crate) fn with_edges(raw: Option<&str>, bead: &FileBead) -> Option<String> {
    let known = edges(raw, &bead.id).items;
    let is_wanted = |edge: &FileEdge| {
        bead.edges.iter().any(|wanted| (&wanted.depends_on, &wanted.kind) == (&edge.depends_on, &edge.kind))
    };
    // With the edge that counts, those on the same bead go: else one of them would count next.
    let gone: Vec<&String> =
        known.iter().filter(|edge| !is_wanted(edge)).map(|edge| &edge.depends_on).collect();
    let is_gone = |item: &str| edge(item, &bead.id).is_some_and(|edge| gone.contains(&&edge.depends_on));
    let before = raw.map(|raw| spans::remove_items(raw, is_gone));
    let known = edges(before.as_deref(), &bead.id).items;
    let new = bead.edges.iter().filter(|edge| known.iter().all(|old| old.depends_on != edge.depends_on));
    let new: Vec<String> = new.map(|edge| edge_json(edge, &bead.id)).collect();
    spans::push_items(before.as_deref(), &new)
}

/// Comments are the same when author, time and text are.
pub(crate) fn is_same_comment(one: &FileComment, other: &FileComment) -> bool {
    (&one.author, one.created_at, &one.text) == (&other.author, other.created_at, &other.text)
}

/// Returns those of `wanted` that `known` does not have as often.
pub fn new_comments<'a>(known: &[FileComment], wanted: &'a [FileComment]) -> Vec<&'a FileComment> {
    let count = |list: &[FileComment], comment: &FileComment| {
        list.iter().filter(|other| is_same_comment(other, comment)).count()
    };
    let is_new = |(at, comment): &(usize, &FileComment)| {
        count(wanted.get(..=*at).unwrap_or(wanted), comment) > count(known, comment)
    };
    wanted.iter().enumerate().filter(is_new).map(|(_, comment)| comment).collect()
}

/// Adds the comments of a bead that a raw list does not have.
pub(crate) fn with_comments(raw: Option<&str>, bead: &FileBead) -> Option<String> {
    let known = comments(raw, &bead.id).items;
    let new = new_comments(&known, &bead.comments);
    let new: Vec<String> = new.into_iter().map(|comment| comment_json(comment, &bead.id)).collect();
    spans::push_items(raw, &new)
}
