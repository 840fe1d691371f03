//! The words for what a vault is and what an unlock did.
//!
//! Owns two enums. Must not know how either comes about.

use arbiter_core::kernel::ids::KeyId;

/// Whether the vault exists and its password is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultState {
    /// No file, or a v1 file with nothing in it: the first password creates the vault.
    Uninitialized,
    Locked,
    /// Secrets can be read and written.
    Unlocked,
}

/// What an unlock did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnlockOutcome {
    /// There was no vault; now there is one with this password, durably.
    Created,
    Opened {
        /// Entries of the Go program that it does not open; they are kept as they are.
        unreadable: Vec<KeyId>,
    },
}
