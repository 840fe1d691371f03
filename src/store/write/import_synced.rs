//! Import of lines of a project's own file: a merge of each changed line with its bead, field by field.

use crate::base::error::StoreError;
use crate::base::unit_of_work::Write;
use crate::tables::bead_files::{self, BaseBead, FileBase, FileMark};
use crate::tables::{beads, dependencies, leases};
use crate::write::import::{EmitFn, Import, ImportedBead, ImportedComment, ImportedEdge, SyncedLine, seen};
use crate::write::import_comments::{self, CommentKey};
use crate::write::import_edges::{CYCLIC, PendingEdge};
use crate::write::readiness;
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::file_fields::{FieldConflict, FileFields, MergeSides, MergedFields, merge_fields};
use arbiter_core::bead::merge::{MergeVerdict, effective_time, merge_list, verdict};
use arbiter_core::bead::{Bead, Status};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::record::{self, FieldChanges};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Author of the comments that keep a value which could not be merged.
const MERGE_AUTHOR: &str = "arbiter:merge";

/// Returns the pairs of target and type that a file would have for stored dependencies.
fn edge_pairs(connection: &Connection, bead: &str) -> Result<Vec<(String, String)>, StoreError> {
    let edges = dependencies::depends_on(connection, bead)?;
    let plain = |kind: &str| kind.strip_prefix(CYCLIC).unwrap_or(kind).to_owned();
    Ok(edges.into_iter().map(|(target, kind)| (target.to_string(), plain(&kind))).collect())
}

fn pairs_of(edges: &[ImportedEdge]) -> Vec<(String, String)> {
    edges.iter().map(|edge| (edge.depends_on.to_string(), edge.kind.clone())).collect()
}

/// Notes the base of a bead that an import has created.
pub(crate) fn created(
    import: &Import<'_>,
    bead: &Bead,
    edges: &[ImportedEdge],
    comments: usize,
    line: &SyncedLine,
) -> Result<(), StoreError> {
    let Some(text) = &line.text else { return Ok(()) };
    let bead_before = BaseBead {
        fields: FileFields::of(bead, pairs_of(edges)),
        comments,
        gates: line.gates.clone(),
        ..BaseBead::default()
    };
    let base = FileBase { line: text.clone(), bead: bead_before };
    bead_files::put_base(import.connection, import.project.as_str(), bead.id.as_str(), Some(&base))
}

/// A stored bead and its line.
struct Pair<'a> {
    ours: &'a Bead,
    theirs: Bead,
    theirs_at: Timestamp,
    theirs_fields: FileFields,
    ours_fields: FileFields,
    mark: Option<FileMark>,
    base: Option<FileBase>,
}

impl Pair<'_> {
    fn ours_at(&self) -> Timestamp {
        effective_time(self.ours, self.mark.as_ref().map(|mark| (mark.updated_at, mark.revision)))
    }

    fn is_file_newer(&self) -> bool {
        verdict(self.ours_at(), self.theirs_at) == MergeVerdict::File
    }

    /// Merges with the line's former text as base.
    fn merged(&self, line: &SyncedLine) -> MergedFields {
        let Some(before) = &line.before else { return self.merged_by_time(line.joins) };
        let stored = self.base.as_ref().map(|base| &base.bead.fields);
        merge_fields(MergeSides {
            ours_before: stored.filter(|_| before.is_stored).unwrap_or(&before.fields),
            theirs_before: &before.fields,
            ours: &self.ours_fields,
            theirs: &self.theirs_fields,
            is_file_newer: self.is_file_newer(),
        })
    }

    /// Without a base the newer side counts, and lists are joined.
    fn merged_by_time(&self, joins: bool) -> MergedFields {
        let seen = self.mark.as_ref().filter(|_| !joins).map(|mark| mark.seen.clone()).unwrap_or_default();
        let (ours, theirs) = (&self.ours_fields, &self.theirs_fields);
        let winner = if self.is_file_newer() { theirs } else { ours };
        let mut fields = winner.clone();
        fields.labels = merge_list(&ours.labels, &theirs.labels, &seen.labels);
        let keys = |side: &FileFields| side.depends_on.keys().cloned().collect::<Vec<_>>();
        let targets = merge_list(&keys(ours), &keys(theirs), &seen.depends_on);
        let kind = |target: &String| {
            let found = winner.depends_on.get(target).or_else(|| ours.depends_on.get(target));
            found.or_else(|| theirs.depends_on.get(target)).cloned().unwrap_or_default()
        };
        fields.depends_on = targets.into_iter().map(|target| (target.clone(), kind(&target))).collect();
        MergedFields { fields, base: theirs.clone(), conflicts: Vec::new() }
    }
}

/// Merges a line of the file with the stored bead.
pub(crate) fn update(
    import: &mut Import<'_>,
    ours: &Bead,
    row: ImportedBead,
    line: &SyncedLine,
    emit: &mut EmitFn<'_>,
) -> Result<(), StoreError> {
    let theirs_at = row.theirs_at();
    let ImportedBead { bead: theirs, edges, comments, kept, .. } = row;
    let (connection, project, id) = (import.connection, import.project.to_string(), ours.id.to_string());
    let pair = Pair {
        ours,
        theirs_fields: FileFields::of(&theirs, pairs_of(&edges)),
        theirs,
        theirs_at,
        ours_fields: FileFields::of(ours, edge_pairs(connection, &id)?),
        mark: bead_files::get(connection, &id)?,
        base: bead_files::get_base(connection, &project, &id)?,
    };
    if line.is_base {
        return adopt(import, &pair, &comments, line);
    }
    let is_from_base = line.before.as_ref().is_some_and(|before| before.is_stored);
    let merged = pair.merged(line);
    let after = ours.with_file_fields(&merged.fields);
    let change = FieldChanges::between(ours, &after, Some("imported"));
    let has_edges = merged.fields.depends_on != pair.ours_fields.depends_on;
    if (has_edges || !change.is_noop()) && leases::get(connection, &id)?.is_some() {
        import.report.held_ids.push(id);
        return Ok(());
    }
    let known = import_comments::keys(connection, &ours.id)?;
    let revision = apply_change(import, ours, change, emit)?;
    let mut has_changed = revision != ours.revision;
    has_changed |= apply_edges(import, &pair, &merged.fields.depends_on, edges.clone(), emit)?;
    has_changed |= import_comments::add(import, &ours.id, &comments, emit)? > 0;
    for conflict in &merged.conflicts {
        tell_conflict(import, &ours.id, conflict, emit)?;
    }
    let report = &mut import.report;
    if has_changed {
        report.updated += 1;
        report.updated_ids.push(id.clone());
    } else {
        report.unchanged += 1;
    }
    let has_pending = !merged.fields.changed_since(&merged.base).is_empty();
    if has_pending && line.before.is_none() {
        report.stale_skipped_ids.push(id.clone());
    }
    let updated_at = pair.theirs.updated_at;
    let revision = if has_pending { 0 } else { revision };
    let mark = FileMark { updated_at, revision, seen: seen(&pair.theirs, &edges), kept };
    bead_files::put(connection, &id, &mark)?;
    let Some(text) = &line.text else { return Ok(()) };
    let written = known.len() - unwritten(&known, &comments, pair.base.as_ref().filter(|_| is_from_base));
    let new = import_comments::keys(connection, &ours.id)?
        .len()
        .saturating_sub(known.len() + merged.conflicts.len());
    let bead = BaseBead {
        fields: merged.base,
        comments: written + new,
        gates: line.gates.clone(),
        ..BaseBead::default()
    };
    let base = FileBase { line: text.clone(), bead };
    bead_files::put_base(connection, &project, &id, Some(&base))
}

/// Returns how many of the known comments the file still has to get.
fn unwritten(known: &[CommentKey], theirs: &[ImportedComment], base: Option<&FileBase>) -> usize {
    let missing = import_comments::missing(known, theirs);
    match base {
        // Others may have removed comments from the line; those are not written again.
        Some(base) => missing.min(known.len().saturating_sub(base.bead.comments)),
        None => missing,
    }
}

/// Takes a line as the base of a bead that was written or read by an older version of this program.
fn adopt(
    import: &mut Import<'_>,
    pair: &Pair<'_>,
    comments: &[ImportedComment],
    line: &SyncedLine,
) -> Result<(), StoreError> {
    let Some(text) = &line.text else { return Ok(()) };
    let is_unchanged = pair.mark.as_ref().is_some_and(|mark| mark.revision == pair.ours.revision);
    let mut fields = if is_unchanged { pair.ours_fields.clone() } else { pair.theirs_fields.clone() };
    fields.labels.clone_from(&pair.theirs_fields.labels);
    fields.depends_on.clone_from(&pair.theirs_fields.depends_on);
    let known = import_comments::keys(import.connection, &pair.ours.id)?;
    let comments = known.len() - import_comments::missing(&known, comments);
    let bead = BaseBead { fields, comments, gates: line.gates.clone(), ..BaseBead::default() };
    let base = FileBase { line: text.clone(), bead };
    import.report.unchanged += 1;
    bead_files::put_base(import.connection, import.project.as_str(), pair.ours.id.as_str(), Some(&base))
}

/// Changes the bead's row; returns its revision.
fn apply_change(
    import: &mut Import<'_>,
    ours: &Bead,
    change: FieldChanges,
    emit: &mut EmitFn<'_>,
) -> Result<u64, StoreError> {
    if change.is_noop() {
        return Ok(ours.revision);
    }
    let happenings = [change];
    let next = record::apply_all(ours, &happenings, import.at);
    beads::write(import.connection, &Write::Update { row: next.clone(), expected: ours.revision })?;
    for happening in &happenings {
        emit(record::event(&next, happening).into())?;
    }
    if ours.status != Status::Closed && next.status == Status::Closed {
        let data = json!({"reason": next.close_reason});
        let completed =
            NewEvent::in_project(EventType::BeadCompleted, &next.project_id, next.id.as_str(), data);
        emit(completed.into())?;
    }
    readiness::collect_neighbours(import.connection, ours, &mut import.seeds)?;
    Ok(next.revision)
}

/// Brings the dependencies of a bead to these; says whether any changed.
fn apply_edges(
    import: &mut Import<'_>,
    pair: &Pair<'_>,
    wanted: &BTreeMap<String, String>,
    theirs: Vec<ImportedEdge>,
    emit: &mut EmitFn<'_>,
) -> Result<bool, StoreError> {
    let (id, before) = (&pair.ours.id, &pair.ours_fields.depends_on);
    let differs = |target: &String, kind: &String, other: &BTreeMap<String, String>| {
        other.get(target).is_none_or(|known| known != kind)
    };
    let lost: Vec<&String> = before
        .iter()
        .filter(|(target, kind)| differs(target, kind, wanted))
        .map(|(target, _)| target)
        .collect();
    for target in &lost {
        let edge = Edge::new(id.clone(), BeadId::from_trusted(target.as_str()), "");
        dependencies::remove(import.connection, &edge)?;
        let data = json!({"depends_on": target});
        let removed =
            NewEvent::in_project(EventType::BeadDependencyRemoved, &import.project, id.as_str(), data);
        emit(removed.into())?;
        import.seeds.insert(id.clone());
        readiness::waiters(import.connection, target, &mut import.seeds)?;
    }
    let is_new = |edge: &ImportedEdge| {
        let target = edge.depends_on.to_string();
        wanted.get(&target) == Some(&edge.kind) && differs(&target, &edge.kind, before)
    };
    let won: Vec<ImportedEdge> = theirs.into_iter().filter(is_new).collect();
    let has_changed = !(lost.is_empty() && won.is_empty());
    let pending = |edge| PendingEdge { bead_id: id.clone(), edge, has_own_event: true };
    import.edges.extend(won.into_iter().map(pending));
    Ok(has_changed)
}

/// Keeps the value that lost as a comment on the bead.
fn tell_conflict(
    import: &mut Import<'_>,
    bead: &BeadId,
    conflict: &FieldConflict,
    emit: &mut EmitFn<'_>,
) -> Result<(), StoreError> {
    let field = &conflict.field;
    let (taken, lost) = if conflict.is_file_taken { ("the file", "here") } else { ("here", "the file") };
    let value = match &conflict.lost {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = format!(
        "{field} was changed here and in the bead file. The value of {taken} is newer and counts; that of {lost} was: {value}"
    );
    // A longer comment would not be read back from the file, nor its bead.
    let text = limits::cut(text, limits::MAX_RESULT);
    let comment = ImportedComment {
        id: String::new(),
        author_id: MERGE_AUTHOR.to_owned(),
        text,
        created_at: import.at,
        kept: None,
    };
    import_comments::add(import, bead, std::slice::from_ref(&comment), emit)?;
    import.report.conflicts.push((bead.to_string(), field.clone()));
    Ok(())
}
