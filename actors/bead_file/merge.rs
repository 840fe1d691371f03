//! The consequences of reading a project's file: lines to merge into the store, and lines for beads that changed here.
//!
//! Owns the rule that only lines of beads that changed here since the base are replaced. Does no I/O.

use crate::bead_file::export::{BeadForFile, FileDialect, for_file, gate_edge, gate_of};
use crate::bead_file::import::RowBuilder;
use arbiter_beadfiles::{
    Document, Entry, EntryChange, EntryContent, FileBead, Gate, kept_fields, new_comments, patch_line,
    read_document, tombstone_line, write_gate, write_line,
};
use arbiter_core::bead::Bead;
use arbiter_core::bead::file_fields::{FileFields, STATE};
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{
    BaseBead, CYCLIC, Exported, ExportedBead, FileBase, Imported, LineBefore, SyncedLine, WrittenBead,
};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Type of the beads that this program makes for a review; they are not written to a shared file.
const REVIEW: &str = "review";
/// Time after a write within which a missing line was overwritten by a program that had read the file before.
const OVERWRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// Name under which deletions of this program appear in a file.
const DELETED_BY: &str = "arbiter";

/// Bases by id of bead or decision.
pub(crate) type Bases = HashMap<String, FileBase>;

/// Lines that the store does not take, by id: their text, and why.
pub(crate) type SetAside = HashMap<String, (String, String)>;

/// Returns the entries whose lines differ from the base and were not set aside, as items for the store.
pub(crate) fn lines_to_merge(
    document: &Document,
    bases: &Bases,
    aside: &SetAside,
    rows: &mut RowBuilder,
    is_base: bool,
) -> Vec<Imported> {
    let gates = document.entries.iter().filter(|entry| entry.content == EntryContent::Gate);
    rows.gates.extend(gates.map(|entry| entry.id.clone()));
    let rows = &*rows;
    let is_new = |entry: &&Entry| {
        bases.get(&entry.id).is_none_or(|base| base.line != entry.text)
            && aside.get(&entry.id).is_none_or(|(text, _)| *text != entry.text)
    };
    let item = |entry: &Entry| {
        let line = SyncedLine {
            text: Some(entry.text.clone()),
            before: bases.get(&entry.id).and_then(|base| line_before(rows, entry, base)),
            is_base,
            ..SyncedLine::default()
        };
        merge_item(rows, entry, line)
    };
    document.entries.iter().filter(is_new).filter_map(item).collect()
}

/// Returns the line that a changed line comes from. One that is older than what this program wrote comes from the line
/// before that: its writer had read the file before it was written.
fn line_before(rows: &RowBuilder, entry: &Entry, base: &FileBase) -> Option<LineBefore> {
    let time = |entry: &Entry| match &entry.content {
        EntryContent::Bead(bead, _) => bead.updated_at,
        EntryContent::Tombstone | EntryContent::Gate => None,
    };
    let written = read_document(base.line.as_bytes()).ok()?;
    let is_older = written.entries.first().and_then(time) > time(entry);
    match base.bead.previous.as_ref().filter(|_| is_older) {
        Some(previous) => fields_of(rows, previous).map(|fields| LineBefore { fields, is_stored: false }),
        None => fields_of(rows, &base.line).map(|fields| LineBefore { fields, is_stored: true }),
    }
}

fn merge_item(rows: &RowBuilder, entry: &Entry, mut line: SyncedLine) -> Option<Imported> {
    let EntryContent::Bead(bead, fields) = &entry.content else { return None };
    let gates = bead.edges.iter().filter(|edge| rows.is_gate(edge));
    line.gates = gates.map(|edge| edge.depends_on.clone()).collect();
    let number = entry.lines.first().copied().unwrap_or(0);
    let kept = kept_fields(bead, fields.clone());
    let mut imported = rows.imported(number, FileBead::clone(bead), kept);
    imported.synced = Some(line);
    Some(Imported::Bead(Box::new(imported)))
}

/// Returns what the lines of a bead say, in the terms of rows.
fn fields_of(rows: &RowBuilder, text: &str) -> Option<FileFields> {
    let entry = read_document(text.as_bytes()).ok()?.entries.into_iter().next()?;
    let EntryContent::Bead(bead, fields) = entry.content else { return None };
    let kept = kept_fields(&bead, fields);
    let imported = rows.imported(0, *bead, kept);
    let edges = imported.edges.iter().map(|edge| (edge.depends_on.to_string(), edge.kind.clone()));
    Some(FileFields::of(&imported.bead, edges.collect::<Vec<_>>()))
}

/// Lines that another program wrote to a file that is not the project's file any more.
pub(crate) struct LateLines {
    /// The file before those lines were written; `None` if that is not known.
    pub(crate) before: Option<Vec<u8>>,
    pub(crate) after: Vec<u8>,
}

/// Splits late lines into those of beads that the file has, to be merged, and those to be appended to it.
pub(crate) fn late_lines(
    late: &LateLines,
    document: &Document,
    rows: &RowBuilder,
) -> (Vec<Imported>, Vec<String>) {
    let lines = |bytes: &[u8]| -> Vec<String> {
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        lines
            .map(|line| line.trim_end_matches('\r').to_owned())
            .filter(|line| !line.trim().is_empty())
            .collect()
    };
    let before = late.before.as_deref().unwrap_or_default();
    let known: HashSet<String> = lines(before).into_iter().collect();
    let old = read_document(before).unwrap_or_default();
    let (mut items, mut appended) = (Vec::new(), Vec::new());
    for line in lines(&late.after).into_iter().filter(|line| !known.contains(line)) {
        // Half a line is not taken: its rest is not known.
        let Ok(one) = read_document(format!("{line}\n").as_bytes()) else { continue };
        match one.entries.first() {
            Some(entry) if document.entry_of(&entry.id).is_some() => {
                let before = old.entry_of(&entry.id).and_then(|old| fields_of(rows, &old.text));
                let before = before.map(|fields| LineBefore { fields, is_stored: false });
                items.extend(merge_item(rows, entry, SyncedLine { before, ..SyncedLine::default() }));
            }
            _ if document.has_line(&line) => {}
            _ => appended.push(line),
        }
    }
    (items, appended)
}

/// How a file is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteWish {
    pub(crate) dialect: FileDialect,
    /// True to write also beads whose lines others have removed.
    pub(crate) is_full: bool,
    pub(crate) at: Timestamp,
}

/// Changes of a file, and what is to be noted when they are in it.
#[derive(Debug, Default)]
pub(crate) struct WritePlan {
    pub(crate) changes: Vec<EntryChange>,
    pub(crate) bases: Vec<(String, Option<FileBase>)>,
    pub(crate) marks: Vec<WrittenBead>,
    /// Beads that the file has, with these changes.
    pub(crate) beads: u64,
    pub(crate) deleted_ids: Vec<String>,
    pub(crate) removed_labels: Vec<(String, String)>,
    /// Remarks on beads, by id.
    pub(crate) notes: Vec<(String, String)>,
}

/// Plans the changes of a file: `exported` is the whole project, and `deleted` are ids of beads deleted here.
pub(crate) fn lines_to_write(
    document: &Document,
    bases: &Bases,
    exported: Vec<Exported>,
    deleted: &HashSet<String>,
    wish: WriteWish,
) -> WritePlan {
    let mut planner = Planner { document, bases, wish, plan: WritePlan::default(), gates: HashMap::new() };
    let (mut ids, mut lines) = (HashSet::new(), Vec::new());
    for item in exported {
        match item {
            Exported::Decision(decision) => {
                let gate = gate_of(&decision);
                ids.insert(gate.id.clone());
                planner.gate(&gate);
                let bead = decision.bead_id.as_ref().map(ToString::to_string).unwrap_or_default();
                planner.gates.entry(bead).or_default().push(gate);
            }
            Exported::Bead(bead) => {
                ids.insert(bead.bead.id.to_string());
                planner.bead(*bead);
            }
            Exported::Line(line) => lines.push(line),
            Exported::End => {}
        }
    }
    for (id, base) in bases.iter().filter(|(id, _)| !ids.contains(*id)) {
        planner.gone(id, base, deleted.contains(id));
    }
    let mut plan = planner.plan;
    // In a file that is made anew, in the order of ids; other lines come last.
    plan.changes.sort_by(|one, other| one.id().cmp(&other.id()));
    if document.is_empty() && bases.is_empty() {
        plan.changes.extend(lines.into_iter().map(|line| EntryChange::Append { line }));
    }
    plan
}

struct Planner<'a> {
    document: &'a Document,
    bases: &'a Bases,
    wish: WriteWish,
    plan: WritePlan,
    /// Pending decisions by the bead they are about.
    gates: HashMap<String, Vec<Gate>>,
}

/// The changes of a bead since the base.
struct BeadChanges<'a> {
    base: &'a BaseBead,
    now: &'a BaseBead,
    /// Decisions of this server that the line names; those of another one are not ours to remove.
    gates: &'a [String],
}

fn set_of(ids: &[String]) -> HashSet<&String> {
    ids.iter().collect()
}

impl BeadChanges<'_> {
    fn is_none(&self) -> bool {
        let (base, now) = (self.base, self.now);
        now.fields.changed_since(&base.fields).is_empty()
            && now.fields.has_lists_of(&base.fields)
            && now.comments <= base.comments
            && set_of(&now.gates) == set_of(self.gates)
    }

    /// Returns what the file's line is to say: what it says now, with the changes that were made here.
    fn target(&self, line: &FileBead, ours: &FileBead, gates: &[Gate]) -> FileBead {
        let mut target = line.clone();
        for name in self.now.fields.changed_since(&self.base.fields) {
            set(&mut target, ours, name);
        }
        let (base, now) = (&self.base.fields, &self.now.fields);
        target.labels.retain(|label| now.labels.contains(label) || !base.labels.contains(label));
        for label in now.labels.iter().filter(|label| !base.labels.contains(label)) {
            if !target.labels.contains(label) {
                target.labels.push(label.clone());
            }
        }
        let is_same = |id: &str| now.depends_on.get(id) == base.depends_on.get(id);
        target.edges.retain(|edge| is_same(&edge.depends_on));
        let changed = |id: &str| now.depends_on.contains_key(id) && !is_same(id);
        target.edges.extend(ours.edges.iter().filter(|edge| changed(&edge.depends_on)).cloned());
        let is_over = |id: &String| self.gates.contains(id) && !self.now.gates.contains(id);
        target.edges.retain(|edge| !is_over(&edge.depends_on));
        for gate in gates.iter().filter(|gate| !self.gates.contains(&gate.id)) {
            if target.edges.iter().all(|edge| edge.depends_on != gate.id) {
                target.edges.push(gate_edge(gate));
            }
        }
        let new: Vec<_> = new_comments(&line.comments, &ours.comments).into_iter().cloned().collect();
        target.comments.extend(new);
        target
    }
}

/// Sets a field of [`FileFields`] in a bead of a file.
fn set(target: &mut FileBead, ours: &FileBead, name: &str) {
    match name {
        "title" => target.title.clone_from(&ours.title),
        "description" => target.description.clone_from(&ours.description),
        "acceptance_criteria" => target.acceptance_criteria.clone_from(&ours.acceptance_criteria),
        STATE => {
            target.state.clone_from(&ours.state);
            target.close_reason.clone_from(&ours.close_reason);
            target.closed_at = ours.closed_at;
        }
        "priority" => target.priority = ours.priority,
        "issue_type" => target.bead_type.clone_from(&ours.bead_type),
        "assignee" => target.assignee.clone_from(&ours.assignee),
        "due_at" => target.due_at = ours.due_at,
        "defer_until" => target.defer_until = ours.defer_until,
        "shelved" => {
            target.is_pinned = ours.is_pinned;
            target.is_ephemeral = ours.is_ephemeral;
        }
        "context" => target.context.clone_from(&ours.context),
        "approved" => target.is_approved = ours.is_approved,
        _ => {}
    }
}

impl Planner<'_> {
    fn bead(&mut self, exported: ExportedBead) {
        let id = exported.bead.id.to_string();
        let gates = self.gates.remove(&id).unwrap_or_default();
        let now = base_of(&exported, &gates);
        let (bead_type, revision) = (exported.bead.bead_type.clone(), exported.bead.revision);
        let ours = for_file(self.wish.dialect, exported, &gates);
        let document = self.document;
        match (document.entry_of(&id), self.bases.get(&id)) {
            (Some(entry), Some(base)) if entry.text == base.line => match &entry.content {
                EntryContent::Bead(line, _) => {
                    self.plan.beads += 1;
                    let own = self.own_gates(&base.bead);
                    let changes = BeadChanges { base: &base.bead, now: &now, gates: &own };
                    if !changes.is_none() {
                        let target = changes.target(line, &ours.file, &gates);
                        self.removed_labels(&id, &base.bead, &now);
                        self.replace(entry, line, target, &ours, (now, revision));
                    }
                }
                EntryContent::Tombstone | EntryContent::Gate => {}
            },
            // Not merged yet, or never: nothing is written over it.
            (Some(entry), _) => {
                self.plan.beads += 1;
                if entry.content == EntryContent::Tombstone {
                    self.plan.beads -= 1;
                    let text = "deletes a bead that is still here; the bead is not written".to_owned();
                    self.plan.notes.push((id, text));
                }
            }
            (None, Some(base)) => {
                // Others removed its line, as a change of branches does; it comes back with its next change.
                let is_overwritten =
                    base.bead.written_at.is_some_and(|at| self.wish.at < at.plus(OVERWRITTEN_WITHIN));
                let own = self.own_gates(&base.bead);
                let has_changed = !(BeadChanges { base: &base.bead, now: &now, gates: &own }).is_none();
                if self.wish.is_full || is_overwritten || has_changed {
                    self.append(id, ours, now);
                }
            }
            (None, None) if bead_type != REVIEW => self.append(id, ours, now),
            (None, None) => {}
        }
    }

    /// Returns the decisions of this server among those that a line names.
    fn own_gates(&self, base: &BaseBead) -> Vec<String> {
        base.gates.iter().filter(|id| self.bases.contains_key(*id)).cloned().collect()
    }

    fn removed_labels(&mut self, id: &str, base: &BaseBead, now: &BaseBead) {
        let lost = base.fields.labels.iter().filter(|label| !now.fields.labels.contains(label));
        self.plan.removed_labels.extend(lost.map(|label| (id.to_owned(), label.clone())));
    }

    fn replace(
        &mut self,
        entry: &Entry,
        line: &FileBead,
        mut target: FileBead,
        ours: &BeadForFile,
        (now, revision): (BaseBead, u64),
    ) {
        let (id, plan) = (entry.id.clone(), &mut self.plan);
        if entry.lines.len() == 1 && patch_line(&entry.winner, &target) == entry.winner {
            // The file says it already.
            let base = FileBase { line: entry.text.clone(), bead: now };
            return plan.bases.push((id, Some(base)));
        }
        let second_later = line.updated_at.map(|at| at.plus(Duration::from_secs(1)));
        target.updated_at = ours.file.updated_at.max(second_later);
        let text = patch_line(&entry.winner, &target);
        if let Some(at) = target.updated_at {
            plan.marks.push((id.clone(), at, revision, ours.mark.3.clone()));
        }
        let (previous, written_at) = (Some(entry.text.clone()), Some(self.wish.at));
        let bead = BaseBead { previous, written_at, ..now };
        plan.bases.push((id.clone(), Some(FileBase { line: text.clone(), bead })));
        plan.changes.push(EntryChange::Put { id, line: text });
    }

    fn append(&mut self, id: String, ours: BeadForFile, now: BaseBead) {
        let line = write_line(&ours.file, &ours.kept);
        self.plan.beads += 1;
        self.plan.marks.push(ours.mark);
        let bead = BaseBead { written_at: Some(self.wish.at), ..now };
        self.plan.bases.push((id.clone(), Some(FileBase { line: line.clone(), bead })));
        self.plan.changes.push(EntryChange::Put { id, line });
    }

    /// Plans the line of a pending decision, which is ours alone unless others have changed it.
    fn gate(&mut self, gate: &Gate) {
        let (line, id) = (write_gate(gate), gate.id.clone());
        let (entry, base) = (self.document.entry_of(&id), self.bases.get(&id));
        let is_new = match (entry, base) {
            (None, None) => true,
            (None, Some(_)) => self.wish.is_full,
            (Some(entry), Some(base)) => entry.text == base.line && base.line != line,
            (Some(_), None) => false,
        };
        if is_new {
            let base = FileBase { line: line.clone(), bead: BaseBead::default() };
            self.plan.bases.push((id.clone(), Some(base)));
            self.plan.changes.push(EntryChange::Put { id, line });
        }
    }

    /// Plans the line of a bead or decision that is not in the project any more.
    fn gone(&mut self, id: &str, base: &FileBase, is_deleted: bool) {
        let Some(entry) = self.document.entry_of(id) else {
            if is_deleted {
                self.plan.bases.push((id.to_owned(), None));
            }
            return;
        };
        let is_ours = entry.text == base.line;
        match &entry.content {
            EntryContent::Gate if is_ours => {
                self.plan.bases.push((id.to_owned(), None));
                self.plan.changes.push(EntryChange::Remove { id: id.to_owned() });
            }
            EntryContent::Bead(..) if is_ours && is_deleted => {
                let line = tombstone_line(&entry.winner, self.wish.at, DELETED_BY, "");
                self.plan.bases.push((id.to_owned(), None));
                self.plan.deleted_ids.push(id.to_owned());
                self.plan.changes.push(EntryChange::Put { id: id.to_owned(), line });
            }
            _ => {}
        }
    }
}

/// Returns what a stored bead is now, as a later base.
fn base_of(exported: &ExportedBead, gates: &[Gate]) -> BaseBead {
    let plain = |kind: &str| kind.strip_prefix(CYCLIC).unwrap_or(kind).to_owned();
    let edges = exported.edges.iter().map(|edge| (edge.depends_on.clone(), plain(&edge.kind)));
    let bead: &Bead = &exported.bead;
    BaseBead {
        fields: FileFields::of(bead, edges.collect::<Vec<_>>()),
        comments: exported.comments.len(),
        gates: gates.iter().map(|gate| gate.id.clone()).collect(),
        ..BaseBead::default()
    }
}

/// Returns the bases of the lines of decisions in a file that an older version of this program has written.
pub(crate) fn gate_bases(document: &Document) -> Vec<(String, Option<FileBase>)> {
    let gates = document.entries.iter().filter(|entry| entry.content == EntryContent::Gate);
    let base = |entry: &Entry| FileBase { line: entry.text.clone(), bead: BaseBead::default() };
    gates.map(|entry| (entry.id.clone(), Some(base(entry)))).collect()
}
