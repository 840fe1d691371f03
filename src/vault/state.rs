//! State of a vault and result of an unlock.

use arbiter_core::kernel::ids::KeyId;

/// State of the vault: missing, locked or unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultState {
    /// No file, or a v1 file without entries: the first password creates the vault.
    Uninitialized,
    Locked,
    /// Secrets can be read and written.
    Unlocked,
}

/// Result of a successful unlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnlockOutcome {
    /// A new vault was created with this password, durably.
    Created,
    Opened {
        /// Entries of the Go program that the password does not decrypt; they are kept unchanged.
        unreadable: Vec<KeyId>,
    },
}
