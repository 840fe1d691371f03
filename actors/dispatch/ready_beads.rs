//! Ready beads that somebody could take, read for those who hand work out: the dispatcher, and the queue of those who
//! fetch theirs.
//!
//! Owns nothing. Must not know who gets what: that is `core/dispatch.rs` and `core/pull.rs`.

use crate::error::Error;
use arbiter_core::bead::Bead;
use arbiter_core::dispatch::assign::Load;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{DueFilter, Store};

/// Ready beads that one search looks at.
const SEARCH_LIMIT: u32 = 256;

/// Which beads are looked for in a project.
#[derive(Default)]
pub(crate) struct ReadyFilter {
    /// Only those that ask for no role, or for one of these.
    pub(crate) roles: Vec<String>,
    /// Only those with all of these tags.
    pub(crate) tags: Vec<String>,
}

/// What is found in the projects that have work and room for more of it, each search in the order of urgency; what
/// several find comes several times.
pub(crate) async fn ready_beads(
    store: &Store,
    load: &Load,
    now: Timestamp,
    searches: impl Fn(&ProjectId) -> Vec<ReadyFilter>,
) -> Result<Vec<Bead>, Error> {
    let mut found = Vec::new();
    for project in store.projects_with_work().await? {
        if load.is_closed(&project) {
            continue;
        }
        for ReadyFilter { roles, tags } in searches(&project) {
            let filter = DueFilter { project_id: project.to_string(), roles, tags };
            found.extend(store.due_beads(filter, now, SEARCH_LIMIT).await?);
        }
    }
    Ok(found)
}
