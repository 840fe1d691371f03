//! Who asks, and under which condition.

/// Who asks for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that events show: a user, an agent, or `system`.
    pub name: String,
    /// The revision the caller has seen; a change of any other is refused.
    pub if_match: Option<u64>,
}

impl Caller {
    /// A caller without a condition.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), if_match: None }
    }

    /// Arbiter itself.
    pub fn system() -> Self {
        Self::named("system")
    }
}

/// Whether a deletion takes along what depends on the entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cascade {
    /// It does.
    Yes,
    /// It is refused while something depends on it.
    No,
}
