//! Knowledge that the user had personas: a directory of them that is gone is not a first start.
//!
//! The log tells of each persona that was put in place. While the directory is missing, nothing is created in its
//! place, and an agent whose persona cannot be found does not act without it. An empty directory, made by hand,
//! is consent to go on without them.

use crate::error::Error;
use crate::persona::directory::PersonaDir;
use crate::persona::{PersonaStore, PersonasHandle};
use arbiter_core::kernel::event::{Event, EventFilter, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

impl PersonaStore {
    /// Checks that the directory has not vanished.
    ///
    /// # Errors
    /// [`Error::Refused`] with `personas-missing`, which says what to do.
    pub(crate) async fn require_present(&self) -> Result<(), Error> {
        if !self.is_expected.load(Ordering::Acquire) {
            return Ok(());
        }
        let is_present = self.with(|persona_dir: &PersonaDir| Ok(persona_dir.root().is_dir())).await?;
        if is_present {
            return Ok(());
        }
        let detail = "the directory personas is missing from the data directory, and the log tells of personas in it: \
                      put it back from a copy; to go on without them, create an empty directory in its place";
        Err(Refusal::conflict(ProblemCode::PersonasMissing, detail).into())
    }
}

impl PersonasHandle {
    /// Returns whether the directory of personas has been there and is gone.
    ///
    /// # Errors
    /// [`Error::Crashed`] when the directory cannot be looked at.
    pub async fn is_missing(&self) -> Result<bool, Error> {
        match self.0.personas.require_present().await {
            Ok(()) => Ok(false),
            Err(Error::Refused(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Reads from the log whether there are personas of the user, and reports a missing directory.
    ///
    /// # Errors
    /// [`Error::Store`] when the log cannot be read.
    pub(crate) async fn check_presence(&self) -> Result<(), Error> {
        let is_expected = self.has_recorded_personas().await?;
        self.0.personas.is_expected.store(is_expected, Ordering::Release);
        if let Err(error) = self.0.personas.require_present().await {
            tracing::error!(%error, "personas are missing");
        }
        Ok(())
    }

    /// Returns whether the newest event of some persona put it in place.
    async fn has_recorded_personas(&self) -> Result<bool, Error> {
        let types = [EventType::PersonaUpdated, EventType::PersonaDeleted].map(TypePattern::Exactly).to_vec();
        let filter = EventFilter { types, ..EventFilter::default() };
        let mut newest = BTreeMap::new();
        let remember = |event: Event| {
            newest.insert(event.subject, event.kind);
            ControlFlow::Continue(())
        };
        self.0.store.scan_events(filter, 0, remember).await?;
        Ok(newest.values().any(|kind| *kind == EventType::PersonaUpdated))
    }
}
