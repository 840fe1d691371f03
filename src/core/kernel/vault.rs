//! The vault's states. What is in it is none of the core's business.

use crate::kernel::state_machine::StateMachine;

string_enum! {
    /// State of the vault.
    pub enum Status {
        /// There is no key file yet.
        Uninitialized = "uninitialized",
        Locked = "locked",
        Unlocked = "unlocked",
    }
}

string_enum! {
    /// Event that moves the vault to another state.
    pub enum Trigger {
        Create = "be created",
        Unlock = "unlock",
        Lock = "lock",
    }
}

impl StateMachine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "vault";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Uninitialized, Trigger::Create, Self::Unlocked),
        (Self::Locked, Trigger::Unlock, Self::Unlocked),
        (Self::Unlocked, Trigger::Lock, Self::Locked),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_every_pair_is_listed_or_refused() {
        crate::kernel::state_machine::tests::check_exhaustively(Status::ALL, Trigger::ALL);
    }
}
