//! API tokens, what their roles may do, and the browser sessions that they begin.

use crate::kernel::ids::TokenId;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};

string_enum! {
    /// Permissions of a token's holder.
    pub enum Role {
        Admin = "admin",
        /// Everything but tokens, vault and configuration.
        Operator = "operator",
        Agent = "agent",
        Viewer = "viewer",
    }
}

string_enum! {
    /// Proof of possession of a token.
    pub enum Proof {
        Text = "text",
        Certificate = "certificate",
    }
}

/// A token as the store holds it: its hash, never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub role: Role,
    pub user: Option<String>,
    pub agent_id: Option<String>,
    /// The projects it is limited to; none: all of them, and what belongs to no project.
    pub projects: Option<Vec<String>>,
    pub proof: Proof,
    /// SHA-256 of the text or of the certificate, in hex.
    #[serde(skip)]
    pub digest: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// The name under which its holder acts.
    pub fn holder(&self) -> &str {
        self.agent_id.as_deref().or(self.user.as_deref()).unwrap_or(&self.name)
    }

    /// Returns whether its holder may see and change what belongs to this project.
    pub fn can_access(&self, project: &str) -> bool {
        self.projects.as_ref().is_none_or(|projects| projects.iter().any(|known| known == project))
    }
}

/// Browser session of a token. It has the token's permissions and ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie's secret, in hex.
    pub digest: String,
    pub token_id: TokenId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_without_project_list_can_access_all() {
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
        assert!(token(None).can_access("p"));
        assert!(token(Some(&["o", "p"])).can_access("p"));
        assert!(!token(Some(&["o"])).can_access("p") && !token(Some(&[])).can_access("p"));
    }
}
