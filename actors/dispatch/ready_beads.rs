//! Reads ready beads for the dispatcher and for the queue of external agents.
//!
//! Owns nothing. Must not decide which agent gets a bead: `core/dispatch.rs` and `core/pull.rs` do.

use crate::error::Error;
use arbiter_core::bead::Bead;
use arbiter_core::dispatch::assign::Load;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{DueFilter, Store};

/// Ready beads that one search looks at.
const SEARCH_LIMIT: u32 = 256;

/// Filter for the ready beads of a project.
#[derive(Default)]
pub(crate) struct ReadyFilter {
    /// Only those that ask for no role, or for one of these.
    pub(crate) roles: Vec<String>,
    /// Only those with all of these tags.
    pub(crate) tags: Vec<String>,
}

/// Searches the projects with work and free capacity, each in the order of urgency. A bead found by several
/// searches is returned several times.
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
