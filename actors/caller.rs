//! The caller of a change, and its condition.

use arbiter_core::kernel::authority::Authority;
use arbiter_core::kernel::event::Origin;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Change, KeptAnswer, Unit};
use std::sync::Arc;

/// The caller of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that events show: a user, an agent, or `system`.
    pub name: String,
    /// The rights, on which a change is decided with the row it is made to.
    pub authority: Arc<Authority>,
    /// The revision the caller has seen; a change of any other is refused.
    pub if_match: Option<u64>,
    pub origin: Option<Origin>,
    /// Idempotency record of a request that may be repeated, written in the same commit as the change.
    pub keep: Option<Box<KeptAnswer>>,
}

impl Caller {
    /// The beginning of what this caller changes.
    pub(crate) fn unit(&self, at: Timestamp, source: &'static str) -> Unit {
        let mut unit = Unit::new(at, self.name.clone(), source);
        unit.origin.clone_from(&self.origin);
        if let Some(kept) = &self.keep {
            unit.change(Change::KeepAnswer(kept.as_ref().clone()));
        }
        unit
    }

    /// The beginning of what this caller changes besides: the request is noted by another unit.
    pub(crate) fn unit_again(&self, at: Timestamp, source: &'static str) -> Unit {
        Self { keep: None, ..self.clone() }.unit(at, source)
    }

    /// A caller without a condition, with all rights.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            authority: Arc::new(Authority::unlimited(&*name)),
            name,
            if_match: None,
            origin: None,
            keep: None,
        }
    }

    /// Arbiter itself.
    pub fn system() -> Self {
        Self::named("system")
    }
}

/// The treatment of dependent entities in a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cascade {
    Yes,
    No,
}
