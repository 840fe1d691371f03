//! arbiter-vault
