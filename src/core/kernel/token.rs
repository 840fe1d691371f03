//! API tokens, what their roles may do, and the browser sessions that they begin.

use crate::kernel::ids::TokenId;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};

string_enum! {
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

string_enum! {
    /// What proves that somebody holds a token.
    pub enum Proof {
        /// A secret text.
        Text = "text",
        /// The private key of a client certificate.
        Certificate = "certificate",
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
    /// The projects it is limited to; none: all of them, and what belongs to no project.
    pub projects: Option<Vec<String>>,
    /// What proves it.
    pub proof: Proof,
    /// SHA-256 of the text or of the certificate, in hex.
    #[serde(skip)]
    pub digest: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
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

    /// Whether its holder may see and change what belongs to this project.
    pub fn reaches(&self, project: &str) -> bool {
        self.projects.as_ref().is_none_or(|projects| projects.iter().any(|known| known == project))
    }
}

/// A browser that signed in with a token. It may what the token may, and ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie's secret, in hex.
    pub digest: String,
    /// The token it began with.
    pub token_id: TokenId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_without_a_list_reaches_every_project_and_one_with_an_empty_list_none() {
        let token = |projects: Option<&[&str]>| Token {
            id: TokenId::from_trusted("tok-1"),
            name: "t".into(),
            role: Role::Viewer,
            user: None,
            agent_id: None,
            projects: projects.map(|list| list.iter().map(|id| (*id).to_owned()).collect()),
            proof: Proof::Text,
            digest: String::new(),
            created_at: Timestamp::default(),
            expires_at: None,
            last_used_at: None,
        };
        assert!(token(None).reaches("p"));
        assert!(token(Some(&["o", "p"])).reaches("p"));
        assert!(!token(Some(&["o"])).reaches("p") && !token(Some(&[])).reaches("p"));
    }
}
