//! arbiter-providers
