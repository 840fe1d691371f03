//! Writing a file of beads: rows become lines, with everything that was kept of the lines they came from.
//!
//! Owns the inverse of the import. Must not write to a disk: lines go to the caller.

use crate::bead_file::import::{GATEKEEPER, NO_AUTHOR, NO_TIME, PINNED_EPHEMERAL};
use arbiter_beadfiles::{
    BeadState, FileBead, FileComment, FileEdge, Gate, KeptFields, RawFields, write_gate, write_line,
};
use arbiter_core::bead::merge::{MergeBase, effective_time};
use arbiter_core::bead::{Approval, Bead, Status};
use arbiter_core::decision::Decision;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{CYCLIC, Exported, ExportedBead, ExportedComment, ExportedEdge, NO_ID};
use std::collections::{HashMap, HashSet};

/// Whose reader a file is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileDialect {
    /// `bd`.
    #[default]
    Bd,
    /// `br`, which takes numbers as ids of comments and nothing else.
    Br,
}

/// Mark of a written bead: its id, its change time in the file, its revision, its lists.
pub(crate) type WrittenMark = (String, Timestamp, u64, MergeBase);

/// Makes lines of what the store exports.
pub(crate) struct BeadWriter {
    dialect: FileDialect,
    /// Pending decisions by the bead they are about.
    gates: HashMap<String, Vec<Gate>>,
    /// Lines of decisions, to be sorted in by id.
    waiting: Vec<Gate>,
}

impl BeadWriter {
    /// A writer that has written nothing.
    pub(crate) fn new(dialect: FileDialect) -> Self {
        Self { dialect, gates: HashMap::new(), waiting: Vec::new() }
    }

    /// The lines of one thing, each with its end, and what of it has to be noted when they are in the file.
    pub(crate) fn lines(&mut self, item: Exported) -> (String, Option<WrittenMark>) {
        match item {
            Exported::Decision(decision) => {
                let gate = gate_of(&decision);
                let bead = decision.bead_id.as_ref().map(ToString::to_string).unwrap_or_default();
                self.gates.entry(bead).or_default().push(gate.clone());
                self.waiting.push(gate);
                (String::new(), None)
            }
            Exported::Bead(bead) => {
                let mut lines = self.gates_before(Some(bead.bead.id.as_str()));
                let written = self.bead(*bead, &mut lines);
                (lines, written)
            }
            Exported::Line(line) => {
                let before = self.gates_before(None);
                (format!("{before}{line}\n"), None)
            }
            Exported::End => (self.gates_before(None), None),
        }
    }

    /// The lines of decisions whose ids come before this one.
    fn gates_before(&mut self, id: Option<&str>) -> String {
        let count = self.waiting.iter().take_while(|gate| id.is_none_or(|id| gate.id.as_str() < id)).count();
        self.waiting.drain(..count).map(|gate| write_gate(&gate) + "\n").collect()
    }

    fn bead(&self, exported: ExportedBead, lines: &mut String) -> Option<WrittenMark> {
        let gates = self.gates.get(exported.bead.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let written = for_file(self.dialect, exported, gates);
        lines.push_str(&write_line(&written.file, &written.kept));
        lines.push('\n');
        (!written.is_noted).then_some(written.mark)
    }
}

/// A stored bead in the terms of a file.
pub(crate) struct BeadForFile {
    pub(crate) file: FileBead,
    pub(crate) kept: KeptFields,
    pub(crate) mark: WrittenMark,
    /// True if the mark is stored already.
    pub(crate) is_noted: bool,
}

/// Translates a stored bead; it waits for each of the pending decisions.
pub(crate) fn for_file(dialect: FileDialect, exported: ExportedBead, gates: &[Gate]) -> BeadForFile {
    let ExportedBead { bead, edges, comments, mark, .. } = exported;
    let since = mark.as_ref().map(|mark| (mark.updated_at, mark.revision));
    let updated_at = effective_time(&bead, since);
    let seen = MergeBase {
        labels: bead.tags.clone(),
        depends_on: edges.iter().map(|edge| edge.depends_on.clone()).collect(),
    };
    let is_noted = mark.as_ref().is_some_and(|mark| {
        (mark.updated_at, mark.revision, &mark.seen) == (updated_at, bead.revision, &seen)
    });
    let kept = mark.and_then(|mark| mark.kept).and_then(|text| RawFields::parse(&text).ok());
    let mut kept = kept.unwrap_or_default();
    let is_ephemeral_too = kept.take(PINNED_EPHEMERAL).is_some();
    let mut file_edges: Vec<FileEdge> = edges.into_iter().map(edge).collect();
    file_edges.extend(gates.iter().map(gate_edge));
    let numbers = (dialect == FileDialect::Br).then(|| comment_numbers(&comments));
    let comments = comments.into_iter().enumerate().map(|(at, one)| {
        let mut kept = one.kept.as_deref().and_then(|text| RawFields::parse(text).ok()).unwrap_or_default();
        if let Some(number) = numbers.as_ref().and_then(|numbers| numbers.get(at)) {
            kept.take(NO_ID);
            kept.put("id", number.to_string());
        }
        comment(one, kept)
    });
    let mark = (bead.id.to_string(), updated_at, bead.revision, seen);
    let mut file = file_bead(bead, updated_at, file_edges, comments.collect());
    file.is_ephemeral |= file.is_pinned && is_ephemeral_too;
    BeadForFile { file, kept: KeptFields(kept), mark, is_noted }
}

/// The dependency of a bead on a pending decision.
pub(crate) fn gate_edge(gate: &Gate) -> FileEdge {
    FileEdge {
        depends_on: gate.id.clone(),
        kind: "blocks".to_owned(),
        created_at: Some(gate.created_at),
        created_by: Some(GATEKEEPER.to_owned()),
        kept: RawFields::default(),
    }
}

fn comment(comment: ExportedComment, mut kept: RawFields) -> FileComment {
    let has_time = kept.take(NO_TIME).is_none();
    FileComment {
        id: if kept.take(NO_ID).is_some() { String::new() } else { comment.id },
        author: comment.author_id,
        text: comment.text,
        created_at: Some(comment.created_at).filter(|_| has_time),
        kept,
    }
}

/// Returns numbers for the ids of comments: their own where they are numbers that are not taken, else free ones.
fn comment_numbers(comments: &[ExportedComment]) -> Vec<i64> {
    let mut taken = HashSet::new();
    let own: Vec<Option<i64>> =
        comments.iter().map(|one| one.id.parse().ok().filter(|number| taken.insert(*number))).collect();
    let mut free = (1..).filter(move |number| !taken.contains(number));
    own.into_iter().map(|number| number.or_else(|| free.next()).unwrap_or_default()).collect()
}

/// The gate that stands for a pending decision.
pub(crate) fn gate_of(decision: &Decision) -> Gate {
    Gate {
        id: decision.id.to_string(),
        question: decision.question.clone(),
        priority: decision.priority,
        created_at: decision.created_at,
        updated_at: decision.updated_at,
    }
}

fn edge(edge: ExportedEdge) -> FileEdge {
    let mut kept = edge.kept.and_then(|text| RawFields::parse(&text).ok()).unwrap_or_default();
    let (has_author, has_time) = (kept.take(NO_AUTHOR).is_none(), kept.take(NO_TIME).is_none());
    if let Some(gate) = edge.gate.filter(|_| kept.get("metadata").is_none()) {
        let metadata = serde_json::json!({"gate": gate}).to_string();
        kept.put("metadata", serde_json::Value::from(metadata).to_string());
    }
    FileEdge {
        depends_on: edge.depends_on,
        kind: edge.kind.strip_prefix(CYCLIC).unwrap_or(&edge.kind).to_owned(),
        created_at: Some(edge.created_at).filter(|_| has_time),
        created_by: Some(edge.created_by).filter(|_| has_author),
        kept,
    }
}

fn file_bead(
    bead: Bead,
    updated_at: Timestamp,
    edges: Vec<FileEdge>,
    comments: Vec<FileComment>,
) -> FileBead {
    FileBead {
        id: bead.id.to_string(),
        title: bead.title,
        description: bead.description,
        acceptance_criteria: bead.acceptance_criteria,
        state: BeadState {
            status: bead.status,
            reason: bead.block_reason.filter(|_| bead.status == Status::Blocked),
        },
        priority: bead.priority,
        bead_type: bead.bead_type,
        assignee: bead.assigned_to,
        created_at: Some(bead.created_at),
        updated_at: Some(updated_at),
        closed_at: bead.closed_at,
        close_reason: bead.close_reason,
        due_at: bead.due_at,
        defer_until: bead.defer_until,
        is_pinned: bead.shelved.as_deref() == Some("pinned"),
        is_ephemeral: bead.shelved.as_deref() == Some("ephemeral"),
        labels: bead.tags,
        context: bead.context,
        is_approved: bead.approval == Approval::Given,
        edges,
        comments,
        project_id: None,
    }
}
