//! Readiness as README says it and `bd ready` has it, recomputed from nothing each time: slow, and written
//! without a look at the store's own way.

use std::collections::{BTreeMap, BTreeSet};

const AFFECTING: [&str; 4] = ["blocks", "parent-child", "conditional-blocks", "waits-for"];
const NOT_WORK: [&str; 7] = ["merge-request", "gate", "molecule", "message", "agent", "role", "rig"];

/// All that bears on readiness.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Status and type by id.
    pub beads: BTreeMap<String, (String, String)>,
    /// Type by (who depends, on what); ends may be gone.
    pub edges: BTreeMap<(String, String), String>,
    /// Pending decisions with the bead they are about.
    pub pending: BTreeMap<String, String>,
}

impl Graph {
    fn is_not_closed(&self, id: &str) -> bool {
        self.beads.get(id).is_some_and(|(status, _)| status != "closed")
    }

    /// What this bead waits for: the targets that exist and hold it back.
    pub fn waiting_on(&self, id: &str) -> Vec<String> {
        let mut found = Vec::new();
        for ((from, to), kind) in &self.edges {
            if from != id || !self.beads.contains_key(to) {
                continue;
            }
            let holds = match kind.as_str() {
                "blocks" | "conditional-blocks" => self.is_not_closed(to),
                "parent-child" => !self.waiting_on(to).is_empty(),
                "waits-for" => self.edges.iter().any(|((child, parent), kind)| {
                    kind == "parent-child" && parent == to && self.is_not_closed(child)
                }),
                _ => false,
            };
            if holds {
                found.push(to.clone());
            }
        }
        found
    }

    /// Every bead on which work could begin, deferral aside.
    pub fn ready(&self) -> BTreeSet<String> {
        let work = self.beads.iter().filter(|(id, (status, kind))| {
            status == "open"
                && !NOT_WORK.contains(&kind.as_str())
                && !self.pending.values().any(|bead| bead == *id)
                && self.waiting_on(id).is_empty()
        });
        work.map(|(id, _)| id.clone()).collect()
    }

    /// Whether an edge from one bead to another would close a circle of the affecting types.
    pub fn closes_cycle(&self, from: &str, to: &str, kind: &str) -> bool {
        AFFECTING.contains(&kind) && (from == to || self.reaches(to, from))
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::from([from.to_owned()]);
        loop {
            let next: BTreeSet<String> = self
                .edges
                .iter()
                .filter(|((start, end), kind)| {
                    AFFECTING.contains(&kind.as_str()) && seen.contains(start) && !seen.contains(end)
                })
                .map(|((_, end), _)| end.clone())
                .collect();
            if next.is_empty() {
                return seen.contains(to);
            }
            seen.extend(next);
        }
    }
}
