//! The work of the swarm: beads in layers, each of which waits for some of the layer before it.

use arbiter_testkit::SplitMix64;
use serde_json::{Value, json};

/// Beads of one layer: enough for everybody, also while some wait for somebody who has died.
const LAYER_SIZE: usize = 400;
/// How far to both sides a dependency reaches, so that one dead agent does not stop everybody.
const SPREAD: usize = 4;

/// A bead that is to be made.
pub struct Planned {
    /// Its id.
    pub id: String,
    /// Those that have to be done before.
    pub blocked_by: Vec<String>,
    priority: usize,
}

impl Planned {
    /// What the server is told.
    pub fn body(&self, project: &str) -> Value {
        json!({"id": self.id, "title": format!("Work {}", self.id), "project_id": project,
            "blocked_by": self.blocked_by, "priority": self.priority})
    }
}

/// So many beads, each behind all that it depends on: one to three near it in the layer before, and one of ten
/// also any earlier one.
pub fn plan(count: usize, rng: &mut SplitMix64) -> Vec<Planned> {
    let id = |number: usize| format!("b{number}");
    let one = |number: usize| {
        let mut before = Vec::new();
        if number >= LAYER_SIZE {
            for _ in 0..=rng.below(3) {
                let place = number % LAYER_SIZE + LAYER_SIZE + rng.below(2 * SPREAD + 1) - SPREAD;
                before.push((number / LAYER_SIZE - 1) * LAYER_SIZE + place % LAYER_SIZE);
            }
            if rng.below(10) == 0 {
                before.push(rng.below(number / LAYER_SIZE * LAYER_SIZE));
            }
        }
        before.sort_unstable();
        before.dedup();
        // Critical ones would wait for a person.
        let priority = 1 + rng.below(4);
        Planned { id: id(number), blocked_by: before.into_iter().map(id).collect(), priority }
    };
    (0..count).map(one).collect()
}
