//! arbiter-actors
