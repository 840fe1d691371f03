//! Id prefixes of projects for new beads.
//!
//! Owns a copy of that one column, so that a bead is created without another read. Code that changes a project
//! calls [`PrefixCache::invalidate`] after the commit.

use crate::error::Error;
use arbiter_store::Store;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
struct CachedPrefixes {
    generation: u64,
    by_project: HashMap<String, Option<Arc<str>>>,
}

/// The copy.
#[derive(Default)]
pub(crate) struct PrefixCache(RwLock<CachedPrefixes>);

impl PrefixCache {
    /// From now on what was read before does not count.
    pub(crate) fn invalidate(&self) {
        let mut cache = self.0.write();
        cache.generation += 1;
        cache.by_project.clear();
    }

    /// The prefix of a project's own, if it has one. An unknown project has none; the store refuses it later.
    pub(crate) async fn of(&self, store: &Store, project: &str) -> Result<Option<Arc<str>>, Error> {
        let generation = {
            let cache = self.0.read();
            if let Some(prefix) = cache.by_project.get(project) {
                return Ok(prefix.clone());
            }
            cache.generation
        };
        let Some(row) = store.project(project.to_owned()).await? else { return Ok(None) };
        let prefix: Option<Arc<str>> = row.bead_prefix.map(Arc::from);
        let mut cache = self.0.write();
        // Something changed meanwhile: what was read is good for this bead alone.
        if cache.generation == generation {
            cache.by_project.insert(project.to_owned(), prefix.clone());
        }
        Ok(prefix)
    }
}
