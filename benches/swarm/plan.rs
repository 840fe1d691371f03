//! Work of the swarm: beads in layers, each of which waits for some beads of the layer before it.

use arbiter_testkit::SplitMix64;
use serde_json::{Value, json};

/// Beads of one layer: enough for all agents, even while some beads wait for the lease of a dead one.
const LAYER_SIZE: usize = 400;
/// Reach of a dependency to both sides, so that one dead agent does not stop all others.
const SPREAD: usize = 4;

/// A bead to create.
pub struct Planned {
    pub id: String,
    /// Beads that must be completed first.
    pub blocked_by: Vec<String>,
    priority: usize,
}

impl Planned {
    /// Builds the request body.
    pub fn body(&self, project: &str) -> Value {
        json!({"id": self.id, "title": format!("Work {}", self.id), "project_id": project,
            "blocked_by": self.blocked_by, "priority": self.priority})
    }
}

/// Plans `count` beads in dependency order. Each depends on one to three beads near it in the layer before; one
/// in ten also depends on any earlier bead.
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
        // Critical beads would wait for a person.
        let priority = 1 + rng.below(4);
        Planned { id: id(number), blocked_by: before.into_iter().map(id).collect(), priority }
    };
    (0..count).map(one).collect()
}
