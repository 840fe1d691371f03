//! Fields of a bead that its file carries, and their merge when both sides changed.
//!
//! A bead and its line are compared with what each of them was when both last agreed. A field that one side changed is
//! taken from that side. A field that both changed differently is taken from the newer side, and the other value is
//! reported, so that it can be kept elsewhere.

use crate::bead::merge::merge_list;
use crate::bead::{Approval, Bead, CRITICAL};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the field with status, reasons and the time of closing, which change together.
pub const STATE: &str = "state";

/// Fields of a bead that a file carries, in this program's terms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileFields {
    /// Values by name. Status, reasons and closing time are one value, [`STATE`].
    pub values: BTreeMap<String, Value>,
    pub labels: Vec<String>,
    /// Types of its dependencies by target.
    pub depends_on: BTreeMap<String, String>,
}

/// The four versions of a bead in a merge.
#[derive(Clone, Copy, Debug)]
pub struct MergeSides<'a> {
    /// The stored bead when both last agreed.
    pub ours_before: &'a FileFields,
    /// The file's line when both last agreed.
    pub theirs_before: &'a FileFields,
    pub ours: &'a FileFields,
    pub theirs: &'a FileFields,
    /// True if the file's line is newer than the stored bead.
    pub is_file_newer: bool,
}

/// A field that both sides changed differently.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldConflict {
    pub field: String,
    /// True if the file's value is taken, and the stored one lost.
    pub is_file_taken: bool,
    /// The value that is not taken.
    pub lost: Value,
}

/// Result of a merge.
#[derive(Clone, Debug, PartialEq)]
pub struct MergedFields {
    /// The fields to store.
    pub fields: FileFields,
    /// The next base: it differs from `fields` where the file has to be written.
    pub base: FileFields,
    pub conflicts: Vec<FieldConflict>,
}

impl FileFields {
    /// Collects the fields of a bead; `edges` are pairs of target and type.
    pub fn of(bead: &Bead, edges: impl IntoIterator<Item = (String, String)>) -> Self {
        let state = json!({
            "status": bead.status, "block_reason": bead.block_reason, "close_reason": bead.close_reason,
            "closed_at": bead.closed_at,
        });
        let values = [
            ("title", json!(bead.title)),
            ("description", json!(bead.description)),
            ("acceptance_criteria", json!(bead.acceptance_criteria)),
            (STATE, state),
            ("priority", json!(bead.priority)),
            ("issue_type", json!(bead.bead_type)),
            ("assignee", json!(bead.assigned_to)),
            ("due_at", json!(bead.due_at)),
            ("defer_until", json!(bead.defer_until)),
            ("shelved", json!(bead.shelved)),
            ("context", json!(bead.context)),
            ("approved", json!(bead.approval == Approval::Given)),
        ];
        Self {
            values: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            labels: bead.tags.clone(),
            depends_on: edges.into_iter().collect(),
        }
    }

    /// Returns the names of the values that differ from `base`.
    pub fn changed_since(&self, base: &Self) -> Vec<&str> {
        let differs = |name: &&str| !is_same(name, self.values.get(*name), base.values.get(*name));
        self.values.keys().map(String::as_str).filter(differs).collect()
    }

    /// Returns whether labels and dependencies are those of `base`, in any order.
    pub fn has_lists_of(&self, base: &Self) -> bool {
        let set = |labels: &[String]| labels.iter().cloned().collect::<BTreeSet<String>>();
        set(&self.labels) == set(&base.labels) && self.depends_on == base.depends_on
    }

    fn field<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_value(self.values.get(name)?.clone()).ok()
    }
}

/// Compares two values of a field. The time of closing alone is no difference: files without one get one.
fn is_same(name: &str, one: Option<&Value>, other: Option<&Value>) -> bool {
    let plain = |value: Option<&Value>| {
        let mut state = value?.as_object()?.clone();
        state.remove("closed_at");
        Some(state)
    };
    match name {
        STATE => plain(one) == plain(other),
        _ => one == other,
    }
}

/// Merges a bead and its line.
pub fn merge_fields(sides: MergeSides<'_>) -> MergedFields {
    let MergeSides { ours_before, theirs_before, ours, theirs, is_file_newer } = sides;
    let mut merged = MergedFields { fields: ours.clone(), base: ours.clone(), conflicts: Vec::new() };
    for (name, theirs_value) in &theirs.values {
        let ours_value = ours.values.get(name);
        let is_ours_new = !is_same(name, ours_value, ours_before.values.get(name));
        let is_theirs_new = !is_same(name, Some(theirs_value), theirs_before.values.get(name));
        let agree = is_same(name, ours_value, Some(theirs_value));
        let is_file_taken = is_theirs_new && !agree && (!is_ours_new || is_file_newer);
        if is_ours_new && is_theirs_new && !agree {
            let lost =
                if is_file_taken { ours_value.cloned().unwrap_or_default() } else { theirs_value.clone() };
            merged.conflicts.push(FieldConflict { field: name.clone(), is_file_taken, lost });
        }
        if is_file_taken {
            merged.fields.values.insert(name.clone(), theirs_value.clone());
            merged.base.values.insert(name.clone(), theirs_value.clone());
        } else if is_ours_new && !agree {
            // The file has still to be written.
            let before = ours_before.values.get(name).cloned().unwrap_or_default();
            merged.base.values.insert(name.clone(), before);
        }
    }
    merged.fields.labels = merge_list(&ours.labels, &theirs.labels, &theirs_before.labels);
    merged.base.labels.clone_from(&theirs.labels);
    merged.fields.depends_on = merge_edges(sides);
    merged.base.depends_on.clone_from(&theirs.depends_on);
    merged
}

/// Merges dependencies one by one: a side that changed one decides, and the newer side if both did.
fn merge_edges(sides: MergeSides<'_>) -> BTreeMap<String, String> {
    let MergeSides { ours_before, theirs_before, ours, theirs, is_file_newer } = sides;
    let targets: BTreeSet<&String> = ours.depends_on.keys().chain(theirs.depends_on.keys()).collect();
    let mut merged = BTreeMap::new();
    for target in targets {
        let of = |side: &FileFields| side.depends_on.get(target).cloned();
        let (is_ours_new, is_theirs_new) = (of(ours) != of(ours_before), of(theirs) != of(theirs_before));
        let taken = if is_theirs_new && (!is_ours_new || is_file_newer) { of(theirs) } else { of(ours) };
        merged.extend(taken.map(|kind| (target.clone(), kind)));
    }
    merged
}

impl Bead {
    /// Returns the bead with these values and labels. A file cannot approve what it raises to critical.
    #[must_use]
    pub fn with_file_fields(&self, fields: &FileFields) -> Self {
        let mut after = self.clone();
        let text = |name: &str, old: &str| fields.field(name).unwrap_or_else(|| old.to_owned());
        after.title = text("title", &self.title);
        after.description = text("description", &self.description);
        after.acceptance_criteria = text("acceptance_criteria", &self.acceptance_criteria);
        after.bead_type = text("issue_type", &self.bead_type);
        after.priority = fields.field("priority").unwrap_or(self.priority);
        after.assigned_to = fields.field("assignee").unwrap_or_default();
        after.due_at = fields.field("due_at").unwrap_or_default();
        after.defer_until = fields.field("defer_until").unwrap_or_default();
        after.shelved = fields.field("shelved").unwrap_or_default();
        after.context = fields.field::<Map<String, Value>>("context").unwrap_or_default();
        after.tags.clone_from(&fields.labels);
        let state: Map<String, Value> = fields.field(STATE).unwrap_or_default();
        let of = |name: &str| state.get(name).cloned().unwrap_or_default();
        after.status = serde_json::from_value(of("status")).unwrap_or(self.status);
        after.block_reason = serde_json::from_value(of("block_reason")).unwrap_or_default();
        after.close_reason = serde_json::from_value(of("close_reason")).unwrap_or_default();
        after.closed_at = serde_json::from_value(of("closed_at")).unwrap_or_default();
        if fields.field("approved").unwrap_or(false) {
            after.approval = Approval::Given;
        } else if after.priority == CRITICAL && self.priority != CRITICAL {
            after.approval = Approval::Missing;
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bead::Status;
    use crate::bead::edit::NewBead;
    use crate::kernel::ids::BeadId;
    use crate::kernel::time::Timestamp;

    fn bead(title: &str) -> Bead {
        let new = NewBead { title: title.into(), project_id: "p".into(), ..NewBead::default() };
        new.build(BeadId::from_trusted("a-1"), Timestamp::from_millis(5_000)).unwrap().0
    }

    fn edges(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(target, kind)| ((*target).to_owned(), (*kind).to_owned())).collect()
    }

    fn fields(bead: &Bead) -> FileFields {
        FileFields::of(bead, [])
    }

    fn merge(
        before: &FileFields,
        ours: &FileFields,
        theirs: &FileFields,
        is_file_newer: bool,
    ) -> MergedFields {
        merge_fields(MergeSides { ours_before: before, theirs_before: before, ours, theirs, is_file_newer })
    }

    #[test]
    fn file_fields_survive_a_bead_and_json() {
        let full = Bead {
            tags: vec!["x".into()],
            status: Status::Closed,
            close_reason: Some("done".into()),
            closed_at: Some(Timestamp::from_millis(9)),
            assigned_to: Some("ann".into()),
            context: json!({"a": 1}).as_object().cloned().unwrap(),
            approval: Approval::Given,
            ..bead("t")
        };
        let all = FileFields::of(&full, edges(&[("b", "blocks")]));
        assert_eq!(bead("other").with_file_fields(&all), Bead { revision: full.revision, ..full });
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<FileFields>(&text).unwrap(), all);
    }

    #[test]
    fn fields_changed_on_one_side_are_all_taken() {
        let before = fields(&bead("t"));
        let ours = fields(&Bead { status: Status::Blocked, block_reason: Some("x".into()), ..bead("t") });
        let theirs = fields(&Bead { priority: 1, ..bead("theirs") });
        for is_file_newer in [true, false] {
            let merged = merge(&before, &ours, &theirs, is_file_newer);
            assert_eq!(merged.conflicts, []);
            let after = bead("t").with_file_fields(&merged.fields);
            assert_eq!((after.title.as_str(), after.priority, after.status), ("theirs", 1, Status::Blocked));
            assert_eq!(merged.fields.changed_since(&merged.base), [STATE], "the file lacks the state");
        }
    }

    #[test]
    fn field_changed_on_both_sides_is_taken_from_the_newer() {
        let (before, ours, theirs) = (fields(&bead("t")), fields(&bead("ours")), fields(&bead("theirs")));
        let newer = merge(&before, &ours, &theirs, true);
        assert_eq!(
            (&newer.fields.values["title"], newer.conflicts[0].lost.as_str()),
            (&json!("theirs"), Some("ours"))
        );
        assert!(newer.fields.changed_since(&newer.base).is_empty());
        let older = merge(&before, &ours, &theirs, false);
        assert_eq!(
            (&older.fields.values["title"], older.conflicts[0].lost.as_str()),
            (&json!("ours"), Some("theirs"))
        );
        assert_eq!(older.fields.changed_since(&older.base), ["title"]);
        let same = merge(&before, &ours, &ours, false);
        assert!(same.conflicts.is_empty() && same.fields.changed_since(&same.base).is_empty());
    }

    #[test]
    fn closing_time_alone_is_no_change() {
        let closed =
            |at| Bead { status: Status::Closed, closed_at: Some(Timestamp::from_millis(at)), ..bead("t") };
        let (one, other) = (fields(&closed(1)), fields(&closed(2)));
        assert!(one.changed_since(&other).is_empty());
        assert_eq!(fields(&closed(1)).changed_since(&fields(&bead("t"))), [STATE]);
    }

    #[test]
    fn lists_merge_item_by_item() {
        let with = |labels: &[&str], pairs: &[(&str, &str)]| {
            let tags = labels.iter().map(|label| (*label).to_owned()).collect();
            FileFields::of(&Bead { tags, ..bead("t") }, edges(pairs))
        };
        let before = with(&["a", "b"], &[("x", "blocks"), ("y", "blocks"), ("k", "blocks")]);
        let ours =
            with(&["a", "b", "o"], &[("x", "blocks"), ("y", "blocks"), ("o", "blocks"), ("k", "blocks")]);
        let theirs = with(&["b", "t"], &[("y", "blocks"), ("t", "related"), ("k", "related")]);
        let merged = merge(&before, &ours, &theirs, false);
        assert_eq!(merged.fields.labels, ["b", "o", "t"]);
        let expected = edges(&[("k", "related"), ("o", "blocks"), ("t", "related"), ("y", "blocks")]);
        assert_eq!(merged.fields.depends_on.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!((merged.base.labels, merged.base.depends_on.len()), (theirs.labels, 3));
    }
}
