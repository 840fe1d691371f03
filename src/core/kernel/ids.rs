//! Names of things: one newtype per kind of entity, so that a bead's id is never taken for an agent's.
//!
//! A client may choose an id of the form [`is_valid_id`] checks; otherwise one is made here from
//! random bytes that the caller brings, never from the clock.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest id a client may choose, in bytes.
pub const MAX_ID_LEN: usize = 64;
/// Ids that no bead may have: the words that stand in the place of an id in paths of the API.
pub const RESERVED_BEAD_IDS: [&str; 3] = ["bulk", "claim", "ready"];

/// Invalid id: the given text, shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    #[error("not an id: {0:?}; an id matches ^[a-z0-9][a-z0-9._-]{{0,63}}$")]
    Form(String),
    #[error("not an id: {0:?} is a word of the API's paths")]
    Reserved(String),
}

/// Returns whether a client may choose this text as an id: `^[a-z0-9][a-z0-9._-]{0,63}$`, and none of the
/// words that mean "nothing" somewhere.
pub fn is_valid_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    let head = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    head && text.len() <= MAX_ID_LEN
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && !matches!(text, "null" | "undefined")
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `length` base-36 digits drawn from 16 random bytes; at most 24 of them carry entropy.
pub fn base36(random: [u8; 16], length: usize) -> String {
    let mut rest = u128::from_le_bytes(random);
    let mut text = String::with_capacity(length);
    for _ in 0..length.min(24) {
        let digit = usize::try_from(rest % 36).unwrap_or(0);
        text.push(char::from(DIGITS[digit]));
        rest /= 36;
    }
    text
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $digits:literal $(, reserved $reserved:expr)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// An id of our own making from 16 random bytes.
            pub fn from_random(random: [u8; 16]) -> Self {
                Self(format!(concat!($prefix, "{}"), base36(random, $digits)))
            }

            /// The id a client chose.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                $(if $reserved.contains(&text) {
                    return Err(InvalidId::Reserved(text.to_owned()));
                })?
                if is_valid_id(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId::Form(text.chars().take(80).collect()))
                }
            }

            /// An id that was accepted before: read from the store, or from a reference to be looked up.
            pub fn from_trusted(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An agent.
    AgentId, "agent-", 12
);
id!(
    /// A bead (work item).
    BeadId, "bd-", 8, reserved RESERVED_BEAD_IDS
);
id!(
    /// A decision.
    DecisionId, "dec-", 12
);
id!(
    /// A provider.
    ProviderId, "provider-", 12
);
id!(
    /// A project.
    ProjectId, "project-", 12
);
id!(
    /// One run of an agent on a bead.
    RunId, "run-", 20
);
id!(
    /// An event.
    EventId, "evt-", 20
);
id!(
    /// An entry of the vault.
    KeyId, "key_", 12
);
id!(
    /// An API token (the public half: the secret is never an id).
    TokenId, "tok-", 12
);
id!(
    /// A call to a provider.
    CallId, "call-", 20
);
id!(
    /// A comment on a bead.
    CommentId, "com-", 16
);

impl BeadId {
    /// An id of our own making with another prefix, from 16 random bytes.
    pub fn with_prefix(prefix: &str, random: [u8; 16]) -> Self {
        Self(format!("{prefix}-{}", base36(random, 8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_plain_lower_case() {
        for good in ["coding-agent", "a", "0.x_y", &"a".repeat(64)] {
            assert!(is_valid_id(good), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "null", "é", &"a".repeat(65)] {
            assert!(!is_valid_id(bad), "{bad}");
        }
    }

    #[test]
    fn word_of_the_paths_is_no_bead_id() {
        for word in RESERVED_BEAD_IDS {
            assert_eq!(BeadId::parse(word), Err(InvalidId::Reserved(word.to_owned())));
            assert!(AgentId::parse(word).is_ok() && BeadId::parse(&format!("{word}-1")).is_ok());
        }
    }

    #[test]
    fn generated_ids_are_valid_and_deterministic() {
        let one = RunId::from_random([7; 16]);
        assert!(is_valid_id(one.as_str()), "{one}");
        assert_ne!(one, RunId::from_random([8; 16]));
        assert_eq!(one.as_str().len(), "run-".len() + 20);
    }
}
