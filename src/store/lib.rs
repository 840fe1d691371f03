//! arbiter-store
