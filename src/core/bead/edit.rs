//! Client input for beads: new beads, patches and dependencies, with their validation.

use crate::bead::readiness::Gate;
use crate::bead::{Approval, BACKLOG, BEAD_TYPES, Bead, CRITICAL, DEFAULT_PRIORITY, Status};
use crate::kernel::ids::{BeadId, ProjectId};
use crate::kernel::limits::{self, MAX_TAG, MAX_TAGS};
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::record::set_if_some;
use crate::kernel::refusal::{Problems, Refusal};
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Longest title, in characters.
pub const MAX_TITLE: usize = 500;
const TITLE_CHARS: RangeInclusive<usize> = 1..=MAX_TITLE;
const TAG_BYTES: RangeInclusive<usize> = 1..=MAX_TAG;
/// Longest description or list of criteria, in bytes.
pub const MAX_TEXT: usize = 262_144;

/// The dependency types that say whether a bead is ready; all others only inform.
pub const READINESS_TYPES: &[&str] = &["blocks", "parent-child", "conditional-blocks", "waits-for"];
/// Longest name of a dependency type, in bytes.
pub const MAX_EDGE_TYPE: usize = 50;
const EDGE_TYPE_BYTES: RangeInclusive<usize> = 1..=MAX_EDGE_TYPE;

/// `bead_id` depends on `depends_on`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    pub bead_id: BeadId,
    pub depends_on: BeadId,
    /// Type of dependency: `blocks`, `parent-child`, `related`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Children of the other bead that `waits-for` waits for; all of them if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

impl Edge {
    /// A dependency of this type.
    pub fn new(bead_id: BeadId, depends_on: BeadId, kind: impl Into<String>) -> Self {
        Self { bead_id, depends_on, kind: kind.into(), gate: None }
    }
}

/// Returns whether a dependency of this type bears on readiness.
pub fn affects_readiness(kind: &str) -> bool {
    READINESS_TYPES.contains(&kind)
}

/// Request to create a bead.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NewBead {
    /// A chosen id, or none.
    pub id: Option<String>,
    /// One of [`BEAD_TYPES`]; `task` by default.
    pub bead_type: Option<String>,
    pub title: String,
    pub description: String,
    /// 0 to 4; 2 by default.
    pub priority: Option<u8>,
    pub project_id: String,
    pub assigned_to: Option<String>,
    pub tags: Vec<String>,
    pub context: Map<String, Value>,
    pub acceptance_criteria: String,
    pub parent: Option<String>,
    /// Beads that block it.
    pub blocked_by: Vec<String>,
    /// Beads that are related to it.
    pub related_to: Vec<String>,
    pub due_at: Option<Timestamp>,
    /// Not ready before this time.
    pub defer_until: Option<Timestamp>,
}

impl NewBead {
    /// The bead and its dependencies as they will be stored; `id` is the chosen or made id.
    pub fn build(&self, id: BeadId, now: Timestamp) -> Result<(Bead, Vec<Edge>), Refusal> {
        let bead = Bead {
            id: id.clone(),
            bead_type: self.bead_type.clone().unwrap_or_else(|| "task".to_owned()),
            title: self.title.clone(),
            description: self.description.clone(),
            status: Status::Open,
            priority: self.priority.unwrap_or(DEFAULT_PRIORITY),
            project_id: ProjectId::from_trusted(self.project_id.clone()),
            assigned_to: self.assigned_to.clone(),
            tags: self.tags.clone(),
            context: self.context.clone(),
            acceptance_criteria: self.acceptance_criteria.clone(),
            due_at: self.due_at,
            defer_until: self.defer_until,
            close_reason: None,
            block_reason: None,
            approval: Approval::Missing,
            attempts: 0,
            next_attempt_at: None,
            last_error: None,
            last_answer: None,
            handed_on_by: Vec::new(),
            shelved: None,
            created_at: now,
            updated_at: now,
            closed_at: None,
            revision: 1,
        };
        check(&bead)?;
        Ok((bead, self.edges(&id)))
    }

    fn edges(&self, id: &BeadId) -> Vec<Edge> {
        let edge =
            |target: &String, kind: &str| Edge::new(id.clone(), BeadId::from_trusted(target.clone()), kind);
        let mut edges: Vec<Edge> = self.parent.iter().map(|p| edge(p, "parent-child")).collect();
        edges.extend(self.blocked_by.iter().map(|b| edge(b, "blocks")));
        edges.extend(self.related_to.iter().map(|r| edge(r, "related")));
        let mut seen = std::collections::BTreeSet::new();
        edges.retain(|edge| seen.insert(edge.depends_on.clone()));
        edges
    }
}

/// Returns the sentence that states the range of priorities.
pub(crate) fn priority_rule() -> String {
    format!("must be between {CRITICAL} (critical) and {BACKLOG} (backlog)")
}

/// Checks a bead's own fields and reports all problems at once.
pub fn check(bead: &Bead) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    let title = bead.title.chars().count();
    problems.require(TITLE_CHARS.contains(&title), "title", limits::must_have_chars(&TITLE_CHARS));
    problems.require(bead.description.len() <= MAX_TEXT, "description", limits::must_fit(MAX_TEXT));
    let criteria = bead.acceptance_criteria.len() <= MAX_TEXT;
    problems.require(criteria, "acceptance_criteria", limits::must_fit(MAX_TEXT));
    problems.require(bead.priority <= BACKLOG, "priority", priority_rule());
    problems.require(
        BEAD_TYPES.contains(&bead.bead_type.as_str()),
        "type",
        limits::must_be_one_of(BEAD_TYPES),
    );
    problems.require(bead.tags.len() <= MAX_TAGS, "tags", limits::must_have_at_most(MAX_TAGS));
    let tag_ok = |tag: &String| TAG_BYTES.contains(&tag.len());
    problems.require(
        bead.tags.iter().all(tag_ok),
        "tags",
        format!("{} each", limits::must_have_bytes(&TAG_BYTES)),
    );
    let named = bead.assigned_to.as_ref().is_none_or(tag_ok);
    problems.require(named, "assigned_to", limits::must_have_bytes(&TAG_BYTES));
    limits::check_free_form(&mut problems, "context", &bead.context);
    problems.finish()
}

/// Checks the fields that changed: others may come from a file with other rules.
fn check_changes(before: &Bead, after: &Bead) -> Result<(), Refusal> {
    let mut tested = after.clone();
    for (is_same, field, valid) in [
        (before.title == after.title, &mut tested.title, "unchanged"),
        (before.description == after.description, &mut tested.description, ""),
        (before.acceptance_criteria == after.acceptance_criteria, &mut tested.acceptance_criteria, ""),
        (before.bead_type == after.bead_type, &mut tested.bead_type, "task"),
    ] {
        if is_same {
            valid.clone_into(field);
        }
    }
    if before.tags == after.tags {
        tested.tags.clear();
    }
    if before.assigned_to == after.assigned_to {
        tested.assigned_to = None;
    }
    check(&tested)
}

/// Checks the type of a dependency.
pub fn check_edge_type(kind: &str) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.require(
        EDGE_TYPE_BYTES.contains(&kind.len()),
        "type",
        limits::must_have_bytes(&EDGE_TYPE_BYTES),
    );
    problems.finish()
}

/// Fields of a bead that are to change; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BeadPatch {
    /// One of [`BEAD_TYPES`].
    pub bead_type: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    /// 0 to 4.
    pub priority: Option<u8>,
    pub project_id: Option<String>,
    pub assigned_to: Option<Option<String>>,
    pub tags: Option<Vec<String>>,
    pub context: Option<Map<String, Value>>,
    pub acceptance_criteria: Option<String>,
    pub due_at: Option<Option<Timestamp>>,
    /// Not ready before this time.
    pub defer_until: Option<Option<Timestamp>>,
    pub parent: Option<Option<String>>,
    pub blocked_by: Option<Vec<String>>,
    pub related_to: Option<Vec<String>>,
}

impl BeadPatch {
    /// The bead as the patch wants it, its dependencies left aside.
    pub fn apply(&self, bead: &Bead) -> Result<Bead, Refusal> {
        let mut after = bead.clone();
        let patch = self.clone();
        set_if_some(&mut after.bead_type, patch.bead_type);
        set_if_some(&mut after.title, patch.title);
        set_if_some(&mut after.description, patch.description);
        set_if_some(&mut after.priority, patch.priority);
        set_if_some(&mut after.project_id, patch.project_id.map(ProjectId::from_trusted));
        set_if_some(&mut after.assigned_to, patch.assigned_to);
        set_if_some(&mut after.tags, patch.tags);
        set_if_some(&mut after.context, patch.context);
        set_if_some(&mut after.acceptance_criteria, patch.acceptance_criteria);
        set_if_some(&mut after.due_at, patch.due_at);
        set_if_some(&mut after.defer_until, patch.defer_until);
        let held = bead.status == Status::InProgress;
        if held && after.assigned_to != bead.assigned_to {
            let detail = "is held: release the bead first";
            return Err(Refusal::conflict(ProblemCode::BeadHeld, format!("bead {} {detail}", bead.id)));
        }
        check_changes(bead, &after)?;
        Ok(after)
    }

    /// The dependencies to add and to remove so that they are as the patch wants them.
    pub fn edges(&self, bead: &BeadId, present: &[(BeadId, String)]) -> (Vec<Edge>, Vec<Edge>) {
        let wanted: [(&str, Option<Vec<String>>); 3] = [
            ("parent-child", self.parent.clone().map(|parent| parent.into_iter().collect())),
            ("blocks", self.blocked_by.clone()),
            ("related", self.related_to.clone()),
        ];
        let (mut add, mut remove) = (vec![], vec![]);
        for (kind, wanted) in wanted {
            let Some(wanted) = wanted else { continue };
            let edge = |target: &str| Edge::new(bead.clone(), BeadId::from_trusted(target), kind);
            let has = |target: &str| present.iter().any(|(id, k)| id.as_str() == target && k == kind);
            add.extend(wanted.iter().filter(|target| !has(target)).map(|target| edge(target)));
            let gone = present.iter().filter(|(id, k)| k == kind && !wanted.iter().any(|w| w == id.as_str()));
            remove.extend(gone.map(|(id, _)| edge(id.as_str())));
        }
        (add, remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_checks_only_what_it_changes() {
        let new = NewBead { title: "t".into(), project_id: "p".into(), ..NewBead::default() };
        let built = new.build(BeadId::from_trusted("a-1"), Timestamp::from_millis(0)).unwrap().0;
        let long = "x".repeat(MAX_TEXT + 1);
        let odd = Bead { description: long.clone(), bead_type: "agent".into(), ..built };
        let title = BeadPatch { title: Some("new".into()), ..BeadPatch::default() };
        assert_eq!(title.apply(&odd).unwrap().title, "new");
        let text = BeadPatch { description: Some(long + "x"), ..BeadPatch::default() };
        assert!(text.apply(&odd).is_err());
        let kind = BeadPatch { bead_type: Some("robot".into()), ..BeadPatch::default() };
        assert!(kind.apply(&odd).is_err());
    }
}
