//! Writing a file of beads: rows become lines, with everything that was kept of the lines they came from.
//!
//! Owns the inverse of the import. Must not write to a disk: lines go to the caller.

use crate::bead_file::import::{GATEKEEPER, NO_AUTHOR, NO_TIME};
use arbiter_beadfiles::{
    BeadState, FileBead, FileComment, FileEdge, Gate, KeptFields, RawFields, write_gate, write_line,
};
use arbiter_core::bead::merge::{MergeBase, effective_time};
use arbiter_core::bead::{Approval, Bead, Status};
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{CYCLIC, Exported, ExportedBead, ExportedComment, ExportedEdge};
use std::collections::HashMap;

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
                let gate = Gate {
                    id: decision.id.to_string(),
                    question: decision.question.clone(),
                    priority: decision.priority,
                    created_at: decision.created_at,
                    updated_at: decision.updated_at,
                };
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
        let ExportedBead { bead, edges, comments, mark } = exported;
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
        let mut file_edges: Vec<FileEdge> = edges.into_iter().map(edge).collect();
        for gate in self.gates.get(bead.id.as_str()).into_iter().flatten() {
            file_edges.push(FileEdge {
                depends_on: gate.id.clone(),
                kind: "blocks".to_owned(),
                created_at: Some(gate.created_at),
                created_by: Some(GATEKEEPER.to_owned()),
                kept: RawFields::default(),
            });
        }
        let comments =
            comments.into_iter().enumerate().map(|(at, comment)| self.comment(at, comment)).collect();
        let written = (bead.id.to_string(), updated_at, bead.revision, seen);
        let file = file_bead(bead, updated_at, file_edges, comments);
        lines.push_str(&write_line(&file, &KeptFields(kept.unwrap_or_default())));
        lines.push('\n');
        (!is_noted).then_some(written)
    }

    fn comment(&self, at: usize, comment: ExportedComment) -> FileComment {
        let mut kept = comment.kept.and_then(|text| RawFields::parse(&text).ok()).unwrap_or_default();
        if self.dialect == FileDialect::Br && comment.id.parse::<i64>().is_err() {
            kept.put("id", (at + 1).to_string());
        }
        FileComment {
            id: comment.id,
            author: comment.author_id,
            text: comment.text,
            created_at: Some(comment.created_at),
            kept,
        }
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
