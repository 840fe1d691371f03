//! Who stands in for a provider that fails, and who is not asked for a while.
//!
//! Owns a breaker for each provider, in memory: after a restart each is closed, and failing calls open it
//! again. A provider without a pool has nobody to stand in for it.

use crate::entropy;
use crate::fault::Fault;
use crate::shared::Shared;
use arbiter_core::breaker::{Breaker, End, Pass};
use arbiter_core::ids::ProviderId;
use arbiter_core::provider::Provider;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The breakers of all providers.
#[derive(Default)]
pub(crate) struct Breakers(Mutex<HashMap<ProviderId, Breaker>>);

impl Breakers {
    /// Asks for leave to call; none while the breaker is open.
    pub(crate) fn admit(&self, shared: &Shared, id: &ProviderId) -> Option<Pass> {
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.entry(id.clone()).or_default().admit(shared.clock.now()).ok()
    }

    /// Takes note of how an admitted call ended.
    pub(crate) fn report(&self, shared: &Shared, id: &ProviderId, pass: Pass, end: End) {
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.entry(id.clone()).or_default().report(pass, end, shared.clock.now(), entropy::number());
    }
}

/// The usable members of a provider's pool besides itself, in the order in which they are asked: by their
/// place, and by chance according to their weight within one place.
pub(crate) async fn substitutes(shared: &Shared, provider: &Provider) -> Result<Vec<ProviderId>, Fault> {
    let Some(pool) = &provider.pool else { return Ok(Vec::new()) };
    let mut members = shared.store.all_providers().await?;
    members.retain(|member| {
        member.id != provider.id
            && member.pool.as_ref() == Some(pool)
            && member.is_usable(shared.vault_place.access(member))
    });
    let mut drawn: Vec<(u32, f64, ProviderId)> =
        members.into_iter().map(|member| (member.priority, lot(member.weight), member.id)).collect();
    drawn.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    Ok(drawn.into_iter().map(|(_, _, id)| id).collect())
}

/// A lot that is the smaller, the greater the weight: the first of many is a member in proportion to its weight.
fn lot(weight: u32) -> f64 {
    #[allow(clippy::cast_precision_loss)] // chance needs no more than 53 bits
    let chance = (entropy::number() >> 11) as f64 / (1_u64 << 53) as f64;
    -(1.0 - chance).ln() / f64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greater_weight_wins_more_often() {
        let won = (0..2_000).filter(|_| lot(9) < lot(1)).count();
        assert!((1_650..1_950).contains(&won), "{won} of 2000, not about 1800");
    }
}
