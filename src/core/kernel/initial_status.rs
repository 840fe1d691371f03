//! The status that a new agent or provider begins with.

string_enum! {
    /// Status of a new agent or provider.
    pub enum InitialStatus {
        /// Started at once; a provider's first heartbeat decides its status.
        Active = "active",
        /// Not started, or switched off, until an operator activates it.
        Inactive = "inactive",
    }
}

#[allow(clippy::derivable_impls, reason = "the macro writes the enum")]
impl Default for InitialStatus {
    fn default() -> Self {
        Self::Active
    }
}
