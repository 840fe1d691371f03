//! The runs that go on: who works on what, and how to stop it. Outlives the agents' actors.

use arbiter_core::kernel::ids::{AgentId, BeadId};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use tokio::task::AbortHandle;

/// The runs that go on, by agent.
#[derive(Default)]
pub(crate) struct ActiveRuns(Mutex<HashMap<AgentId, (BeadId, AbortHandle)>>);

impl ActiveRuns {
    /// The table itself; a run is entered while it is held, so that it cannot end before.
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, (BeadId, AbortHandle)>> {
        self.0.lock()
    }

    /// Returns whether an agent runs something.
    pub(crate) fn is_running(&self, agent: &AgentId) -> bool {
        self.lock().contains_key(agent)
    }

    /// Returns the number of active runs.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Stops an agent's run of one bead.
    pub(crate) fn abort(&self, agent: &AgentId, bead: &BeadId) {
        let mut runs = self.lock();
        if runs.get(agent).is_some_and(|(running, _)| running == bead)
            && let Some((_, task)) = runs.remove(agent)
        {
            task.abort();
        }
    }

    /// Stops all runs of an agent.
    pub(crate) fn abort_all(&self, agent: &AgentId) {
        if let Some((_, task)) = self.lock().remove(agent) {
            task.abort();
        }
    }

    /// Forgets a run that has ended.
    pub(crate) fn remove(&self, agent: &AgentId, bead: &BeadId) {
        let mut runs = self.lock();
        if runs.get(agent).is_some_and(|(running, _)| running == bead) {
            runs.remove(agent);
        }
    }
}
