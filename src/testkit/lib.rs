//! arbiter-testkit
