//! What ids of a project's new beads begin with.
//!
//! Owns a copy of that one column, so that a bead is created without another read. Whoever changes a project
//! calls [`Prefixes::forget`] after the commit.

use crate::context::Shared;
use crate::error::Fault;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Default)]
struct Held {
    /// How often it was found to be out of date.
    generation: u64,
    by_project: HashMap<String, Option<Arc<str>>>,
}

/// The copy.
#[derive(Default)]
pub(crate) struct Prefixes(RwLock<Held>);

impl Prefixes {
    /// From now on what was read before does not count.
    pub(crate) fn forget(&self) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        held.generation += 1;
        held.by_project.clear();
    }

    /// The prefix of a project's own, if it has one. An unknown project has none; the store refuses it later.
    pub(crate) async fn of(&self, shared: &Shared, project: &str) -> Result<Option<Arc<str>>, Fault> {
        let generation = {
            let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(prefix) = held.by_project.get(project) {
                return Ok(prefix.clone());
            }
            held.generation
        };
        let Some(row) = shared.store.project(project.to_owned()).await? else { return Ok(None) };
        let prefix: Option<Arc<str>> = row.bead_prefix.map(Arc::from);
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Something changed meanwhile: what was read is good for this bead alone.
        if held.generation == generation {
            held.by_project.insert(project.to_owned(), prefix.clone());
        }
        Ok(prefix)
    }
}
