//! Generated beads in the shape of a large real tracker, identical for the same count and seed: about
//! 60 % closed, 1.2 dependencies each, only on older beads (so without a cycle), 2 % deferred.
//!
//! Plain data: the caller turns them into beads.

use crate::rng::SplitMix64;
use serde_json::json;

/// The time of the first one, in milliseconds since the epoch: 2026-01-01.
const FIRST_MS: i64 = 1_767_225_600_000;
/// The time between two of them.
const INTERVAL_MS: i64 = 60_000;
/// How far back a dependency reaches, in beads.
const MAX_DEPENDENCY_DISTANCE: usize = 2000;
/// The types and how often each is drawn.
const KINDS: [&str; 5] = ["task", "task", "task", "bug", "feature"];
/// The types of dependencies and how often each is drawn.
const EDGES: [&str; 5] = ["blocks", "blocks", "blocks", "related", "discovered-from"];
/// How many dependencies are drawn.
const DEGREES: [usize; 6] = [0, 0, 1, 1, 2, 3];

/// Where a made-up bead stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedStatus {
    Open,
    Deferred,
    InProgress,
    Closed,
}

/// A made-up bead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedBead {
    pub id: String,
    pub title: String,
    /// 40 to 400 characters.
    pub description: String,
    pub status: GeneratedStatus,
    /// 0 to 4.
    pub priority: u8,
    /// `task`, `bug` or `feature`.
    pub kind: &'static str,
    pub label: String,
    pub assignee: Option<String>,
    /// When it was created, in milliseconds since the epoch.
    pub created_ms: i64,
    pub depends_on: Vec<(String, &'static str)>,
}

impl GeneratedBead {
    /// Its line in a file as `bd export` writes it, without the end of the line.
    pub fn line(&self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.created_ms).unwrap_or_default().to_string();
        let status = match self.status {
            GeneratedStatus::Open => "open",
            GeneratedStatus::Deferred => "deferred",
            GeneratedStatus::InProgress => "in_progress",
            GeneratedStatus::Closed => "closed",
        };
        let mut line = json!({
            "_type": "issue", "id": self.id, "title": self.title, "description": self.description, "status": status,
            "priority": self.priority, "issue_type": self.kind, "created_at": at, "created_by": "gen", "updated_at": at,
            "labels": [self.label],
        });
        if self.status == GeneratedStatus::Closed {
            line["closed_at"] = json!(at);
            line["close_reason"] = json!("done");
        }
        if let Some(name) = &self.assignee {
            line["assignee"] = json!(name);
        }
        if !self.depends_on.is_empty() {
            let edges = self.depends_on.iter().map(|(target, kind)| {
                json!({"issue_id": self.id, "depends_on_id": target, "type": kind, "created_at": at, "created_by": "gen",
                    "metadata": "{}"})
            });
            line["dependencies"] = edges.collect();
        }
        line.to_string()
    }
}

/// The id of the bead with this number.
pub fn generated_id(number: usize) -> String {
    format!("arb-{:06x}", number * 37 + 11)
}

/// So many made-up beads, oldest first.
pub fn generated_beads(count: usize, seed: u64) -> impl Iterator<Item = GeneratedBead> {
    let mut rng = SplitMix64::new(seed);
    (0..count).map(move |number| {
        let status = match rng.below(100) {
            0..60 => GeneratedStatus::Closed,
            60..65 => GeneratedStatus::InProgress,
            65..67 => GeneratedStatus::Deferred,
            _ => GeneratedStatus::Open,
        };
        let mut depends_on: Vec<(String, &'static str)> = Vec::new();
        let degree = if number > 10 { rng.choose(&DEGREES) } else { 0 };
        for _ in 0..degree {
            let target = generated_id(number - 1 - rng.below(number.min(MAX_DEPENDENCY_DISTANCE)));
            let kind = rng.choose(&EDGES);
            if depends_on.iter().all(|(other, _)| *other != target) {
                depends_on.push((target, kind));
            }
        }
        GeneratedBead {
            id: generated_id(number),
            title: format!("Work item {number}"),
            description: "x".repeat(40 + rng.below(361)),
            status,
            priority: rng.choose(&[0, 1, 2, 3, 4]),
            kind: rng.choose(&KINDS),
            label: format!("l{}", rng.below(21)),
            assignee: (status == GeneratedStatus::InProgress).then(|| format!("a{}", number % 50)),
            created_ms: FIRST_MS + INTERVAL_MS * i64::try_from(number).unwrap_or(0),
            depends_on,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_beads_have_tracker_shape_and_are_reproducible() {
        let beads: Vec<GeneratedBead> = generated_beads(10_000, 7).collect();
        assert_eq!(beads, generated_beads(10_000, 7).collect::<Vec<_>>());
        let closed = beads.iter().filter(|bead| bead.status == GeneratedStatus::Closed).count();
        assert!((5_800..6_200).contains(&closed), "{closed}");
        let edges: usize = beads.iter().map(|bead| bead.depends_on.len()).sum();
        assert!((11_000..13_000).contains(&edges), "{edges}");
        assert!(beads.iter().all(|bead| bead.depends_on.iter().all(|(target, _)| *target < bead.id)));
    }
}
