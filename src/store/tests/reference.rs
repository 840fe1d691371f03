//! A slow reference for readiness, as docs/guides/beads-and-dependencies.md defines it and `bd ready` computes it.
//!
//! The reference recomputes everything from the rows and shares no code with the store.

use std::collections::{BTreeMap, BTreeSet};

/// The last one is `waits-for` with the gate `any-children`.
const AFFECTING: [&str; 5] = ["blocks", "parent-child", "conditional-blocks", "waits-for", "waits-for any"];
const NOT_WORK: [&str; 7] = ["merge-request", "gate", "molecule", "message", "agent", "role", "rig"];

/// All that bears on readiness.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Status and type by id.
    pub beads: BTreeMap<String, (String, String)>,
    pub reasons: BTreeMap<String, String>,
    /// Beads that are excluded from work at any status.
    pub shelved: BTreeSet<String>,
    /// True if `conditional-blocks` is taken by its word.
    pub on_failure: bool,
    /// Type by (who depends, on what); ends may be gone.
    pub edges: BTreeMap<(String, String), String>,
    /// Pending decisions with the bead they are about.
    pub pending: BTreeMap<String, String>,
}

impl Graph {
    fn is_not_closed(&self, id: &str) -> bool {
        self.beads.get(id).is_some_and(|(status, _)| status != "closed")
    }

    /// Returns whether a bead stands in the way of those that it blocks.
    fn is_blocking(&self, id: &str) -> bool {
        let reason = self.reasons.get(id).map(String::as_str);
        let is_pinned = self.beads[id].0 == "blocked" && reason == Some("bd:pinned");
        self.is_not_closed(id) && !is_pinned
    }

    fn has_failed(&self, id: &str) -> bool {
        !self.is_not_closed(id) && self.reasons.get(id).is_some_and(|reason| reason.contains("failed"))
    }

    fn children(&self, id: &str) -> impl Iterator<Item = &str> {
        let child = move |((child, parent), kind): (&'_ (String, String), &'_ String)| {
            (kind == "parent-child" && parent == id && self.beads.contains_key(child)).then_some(())
        };
        self.edges.iter().filter_map(move |edge| child(edge).map(|()| edge.0.0.as_str()))
    }

    /// Returns the existing targets that block this bead.
    pub fn waiting_on(&self, id: &str) -> Vec<String> {
        let mut found = Vec::new();
        for ((from, to), kind) in &self.edges {
            if from != id || !self.beads.contains_key(to) {
                continue;
            }
            let holds = match kind.as_str() {
                "conditional-blocks" if self.on_failure => !self.has_failed(to),
                "blocks" | "conditional-blocks" => self.is_blocking(to),
                "parent-child" => !self.waiting_on(to).is_empty(),
                "waits-for" => self.children(to).any(|child| self.is_not_closed(child)),
                "waits-for any" => {
                    self.children(to).count() > 0 && self.children(to).all(|child| self.is_not_closed(child))
                }
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
                && !self.shelved.contains(*id)
        });
        work.map(|(id, _)| id.clone()).collect()
    }

    /// Returns whether an edge from one bead to another would close a circle of the affecting types.
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
