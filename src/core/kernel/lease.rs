//! Leases: the holder of a bead, the expiry, and the token that proves the claim.

use crate::kernel::ids::{AgentId, BeadId};
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::refusal::Refusal;
use crate::kernel::time::Timestamp;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The shortest lease, in seconds.
pub const MIN_TTL_SEC: u64 = 10;
/// The longest lease, in seconds.
pub const MAX_TTL_SEC: u64 = 3600;

/// A claim on a bead that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub bead_id: BeadId,
    pub agent_id: AgentId,
    /// SHA-256 of the token, in hex; the token itself is only with its holder.
    pub token_digest: String,
    /// Seconds for which a heartbeat extends it.
    pub ttl_sec: u64,
    /// Expiry time unless renewed.
    pub expires_at: Timestamp,
}

/// SHA-256 of a token, or of another text that is compared and not kept, in hex.
pub fn digest(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// A digest, or other bytes, in hex, lower case.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

impl Lease {
    /// The lease renewed at `now` for its full time.
    #[must_use]
    pub fn renewed(&self, now: Timestamp) -> Self {
        Self { expires_at: now.plus(Duration::from_secs(self.ttl_sec)), ..self.clone() }
    }
}

/// Checks the token of a write against the live lease. A bead without a lease needs no token.
pub fn check_token(lease: Option<&Lease>, token: Option<&str>, bead: &BeadId) -> Result<(), Refusal> {
    let stale = |detail: String| Err(Refusal::conflict(ProblemCode::StaleLease, detail));
    match (lease, token) {
        (_, None) => Ok(()),
        (None, Some(_)) => stale(format!("bead {bead} has no lease; the token is of an earlier claim")),
        (Some(lease), Some(token)) if lease.token_digest == digest(token) => Ok(()),
        (Some(_), Some(_)) => {
            stale(format!("the lease token is not that of the present claim of bead {bead}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lease_token_is_refused() {
        let bead = BeadId::from_trusted("bd-1");
        let lease = Lease {
            bead_id: bead.clone(),
            agent_id: AgentId::from_trusted("a"),
            token_digest: digest("new"),
            ttl_sec: 10,
            expires_at: Timestamp::from_millis(0),
        };
        assert!(check_token(Some(&lease), Some("new"), &bead).is_ok());
        assert!(check_token(Some(&lease), Some("old"), &bead).is_err());
        assert!(check_token(None, Some("old"), &bead).is_err());
        assert!(check_token(Some(&lease), None, &bead).is_ok());
        assert_eq!(lease.renewed(Timestamp::from_millis(5)).expires_at.as_millis(), 10_005);
    }
}
