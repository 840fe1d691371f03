//! API tokens and what their roles may do.

use crate::ids::TokenId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

words! {
    /// What the holder of a token may do.
    pub enum Role {
        /// Everything.
        Admin = "admin",
        /// Everything but tokens, vault, configuration and backups.
        Operator = "operator",
        /// Its own claims and beads.
        Agent = "agent",
        /// Read.
        Viewer = "viewer",
    }
}

/// A token as the store holds it: its hash, never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// The person who holds it.
    pub user: Option<String>,
    /// The agent that holds it.
    pub agent_id: Option<String>,
    /// SHA-256 of the token, in hex.
    #[serde(skip)]
    pub digest: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// The name under which its holder acts.
    pub fn holder(&self) -> &str {
        self.agent_id.as_deref().or(self.user.as_deref()).unwrap_or(&self.name)
    }

    /// Whether it still works at `now`.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}
