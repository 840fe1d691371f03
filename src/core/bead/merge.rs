//! Merge of beads that come from a file with the stored ones.
//!
//! The side that is newer by at least a whole second wins. Within one second the stored side wins. Lists are merged
//! against the file's previous content: an entry missing from the file now was removed there. An entry that the file
//! never had was added here.

use crate::bead::{Approval, Bead, CRITICAL};
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// List contents of a file when it was last read or written; the base of a three-way merge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeBase {
    pub labels: Vec<String>,
    pub depends_on: Vec<String>,
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeVerdict {
    File,
    /// Both are of the same second: ours, but lists are merged.
    Tie,
    /// Ours: the file is older.
    Stale,
}

/// Returns the time of a bead's last change for its file. Without events here since, this is the file's own time, else
/// at least a second later.
pub fn effective_time(row: &Bead, file: Option<(Timestamp, u64)>) -> Timestamp {
    match file {
        None => row.updated_at,
        Some((said, revision)) if revision == row.revision => said,
        Some((said, _)) => row.updated_at.max(said.plus(std::time::Duration::from_secs(1))),
    }
}

/// Whose word counts, by when both changed.
pub fn verdict(ours: Timestamp, theirs: Timestamp) -> MergeVerdict {
    let second = |at: Timestamp| at.as_millis().div_euclid(1_000);
    match second(theirs).cmp(&second(ours)) {
        std::cmp::Ordering::Greater => MergeVerdict::File,
        std::cmp::Ordering::Equal => MergeVerdict::Tie,
        std::cmp::Ordering::Less => MergeVerdict::Stale,
    }
}

/// Merges a list that both sides may have changed since the file last contained `seen`.
pub fn merge_list(ours: &[String], theirs: &[String], seen: &[String]) -> Vec<String> {
    let (theirs_set, seen_set): (BTreeSet<&String>, BTreeSet<&String>) =
        (theirs.iter().collect(), seen.iter().collect());
    let mut merged: Vec<String> =
        ours.iter().filter(|item| theirs_set.contains(item) || !seen_set.contains(item)).cloned().collect();
    for item in theirs {
        if !merged.contains(item) && !seen_set.contains(item) {
            merged.push(item.clone());
        }
    }
    merged
}

impl Bead {
    /// Bead after the merge. Fields that the file does not carry keep their stored values.
    #[must_use]
    pub fn imported(&self, file: &Self, verdict: MergeVerdict, seen: &MergeBase) -> Self {
        let mut after = self.clone();
        after.tags = match verdict {
            MergeVerdict::Stale => return after,
            MergeVerdict::File | MergeVerdict::Tie => merge_list(&self.tags, &file.tags, &seen.labels),
        };
        if verdict == MergeVerdict::Tie {
            return after;
        }
        let file = file.clone();
        after.title = file.title;
        after.description = file.description;
        after.acceptance_criteria = file.acceptance_criteria;
        after.status = file.status;
        after.priority = file.priority;
        after.bead_type = file.bead_type;
        after.assigned_to = file.assigned_to;
        after.close_reason = file.close_reason;
        after.closed_at = file.closed_at;
        after.due_at = file.due_at;
        after.defer_until = file.defer_until;
        after.shelved = file.shelved;
        // A block reason of Arbiter is absent from foreign files.
        after.block_reason = file.block_reason.or_else(|| {
            let stays = self.status == file.status && self.status == crate::bead::Status::Blocked;
            self.block_reason.clone().filter(|_| stays)
        });
        if !file.context.is_empty() {
            after.context = file.context;
        }
        if file.approval == Approval::Given {
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

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn bead(title: &str) -> Bead {
        let new = NewBead { title: title.into(), project_id: "p".into(), ..NewBead::default() };
        new.build(BeadId::from_trusted("a-1"), Timestamp::from_millis(5_000)).unwrap().0
    }

    #[test]
    fn merge_verdict_compares_whole_seconds() {
        let at = Timestamp::from_millis;
        assert_eq!(verdict(at(5_999), at(6_000)), MergeVerdict::File);
        assert_eq!(verdict(at(5_000), at(5_999)), MergeVerdict::Tie);
        assert_eq!(verdict(at(5_999), at(5_000)), MergeVerdict::Tie);
        assert_eq!(verdict(at(6_000), at(5_999)), MergeVerdict::Stale);
    }

    #[test]
    fn local_change_is_newer_than_the_file() {
        let row = bead("t");
        let at = Timestamp::from_millis;
        assert_eq!(effective_time(&row, None), at(5_000));
        assert_eq!(effective_time(&row, Some((at(90_000), row.revision))), at(90_000));
        assert_eq!(effective_time(&row, Some((at(90_000), 0))), at(91_000));
        assert_eq!(effective_time(&row, Some((at(1_000), 0))), at(5_000));
    }

    #[test]
    fn lists_merge_against_the_last_file_version() {
        let merged = |ours: &[&str], theirs: &[&str], seen: &[&str]| {
            merge_list(&list(ours), &list(theirs), &list(seen))
        };
        assert_eq!(merged(&["a", "b"], &["b", "c"], &[]), ["a", "b", "c"], "nothing was seen: both");
        assert_eq!(merged(&["a", "b"], &["b"], &["a", "b"]), ["b"], "the file has lost one");
        assert_eq!(merged(&["b"], &["a", "b"], &["a", "b"]), ["b"], "we have lost one");
        assert_eq!(merged(&["a", "new"], &["a", "other"], &["a"]), ["a", "new", "other"]);
    }

    #[test]
    fn newer_file_wins_and_tie_merges_only_lists() {
        let ours = Bead { tags: list(&["x"]), attempts: 2, approval: Approval::Given, ..bead("ours") };
        let theirs = Bead {
            tags: list(&["y"]),
            status: Status::Closed,
            close_reason: Some("done".into()),
            ..bead("theirs")
        };
        let newer = ours.imported(&theirs, MergeVerdict::File, &MergeBase::default());
        assert_eq!((newer.title.as_str(), newer.status, newer.attempts), ("theirs", Status::Closed, 2));
        assert_eq!((newer.tags, newer.approval), (list(&["x", "y"]), Approval::Given));
        let tie = ours.imported(&theirs, MergeVerdict::Tie, &MergeBase::default());
        assert_eq!((tie.title.as_str(), tie.tags), ("ours", list(&["x", "y"])));
        assert_eq!(ours.imported(&theirs, MergeVerdict::Stale, &MergeBase::default()), ours);
        let raised =
            ours.imported(&Bead { priority: 0, ..bead("t") }, MergeVerdict::File, &MergeBase::default());
        assert_eq!(raised.approval, Approval::Missing, "a file does not approve what a person has to");
    }
}
