//! Failover between providers.
//!
//! The breakers are in `provider/breakers.rs`. A provider outside a pool never fails over.

use crate::call::CallContext;
use crate::call::execute::CallCandidate;
use crate::error::Error;
use crate::provider::ProvidersHandle;
use crate::runtime::random;
use arbiter_core::kernel::call::CallOutcome;
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::Provider;
use arbiter_core::provider::breaker::{CircuitSignal, Permit};
use std::sync::Arc;

/// Leave to call a provider once. Dropped, it says nothing of the provider.
pub(crate) struct BreakerPermit {
    shared: Arc<CallContext>,
    id: ProviderId,
    permit: Option<Permit>,
}

impl BreakerPermit {
    /// Asks for leave.
    pub(crate) fn of(shared: &Arc<CallContext>, id: &ProviderId) -> Self {
        let mut breakers = shared.breakers.lock();
        let permit = breakers.entry(id.clone()).or_default().breaker.admit(shared.clock.now()).ok();
        Self { shared: Arc::clone(shared), id: id.clone(), permit }
    }

    /// Returns whether the breaker is open.
    pub(crate) fn is_refused(&self) -> bool {
        self.permit.is_none()
    }

    /// Records the outcome of the call in the provider's breaker.
    pub(crate) fn end(mut self, told: CallOutcome) {
        self.report(CircuitSignal::from(&told));
        let is_news = {
            let mut breakers = self.shared.breakers.lock();
            let record = breakers.entry(self.id.clone()).or_default();
            let was_clean = std::mem::replace(&mut record.is_clean, told == CallOutcome::Answered);
            !(was_clean && record.is_clean)
        };
        if is_news {
            self.shared.providers.observe(&self.id, told);
        }
    }

    fn report(&mut self, end: CircuitSignal) {
        let Some(permit) = self.permit.take() else { return };
        let mut breakers = self.shared.breakers.lock();
        let breaker = &mut breakers.entry(self.id.clone()).or_default().breaker;
        breaker.report(permit, end, self.shared.clock.now(), random::number());
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        self.report(CircuitSignal::Neutral);
    }
}

/// Rule for the first candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstCandidate {
    Itself,
    Weighted,
}

/// Returns the candidates for a call of this provider, in calling order: itself and the usable members of its
/// pool, by priority, and at random by weight within one priority. A named model restricts the call to the
/// providers that offer it. The others use their own model, unless the caller insists.
pub(crate) async fn candidates(
    providers: &ProvidersHandle,
    provider: &Provider,
    model: Option<&str>,
    first: FirstCandidate,
) -> Result<Vec<CallCandidate>, Error> {
    let own = CallCandidate { provider: provider.clone(), model: model.map(str::to_owned) };
    let Some(pool) = &provider.pool else { return Ok(vec![own]) };
    let members = providers.usable().await?;
    let mut drawn: Vec<(u32, f64, CallCandidate)> = members
        .into_iter()
        .filter(|known| known.provider.id != provider.id && known.provider.pool.as_ref() == Some(pool))
        .map(|known| {
            let model = model.filter(|model| known.offers(model)).map(str::to_owned);
            (
                known.provider.priority,
                sampling_key(known.provider.weight),
                CallCandidate { model, provider: known.provider },
            )
        })
        .collect();
    let before = match first {
        FirstCandidate::Itself => vec![own],
        FirstCandidate::Weighted => {
            drawn.push((provider.priority, sampling_key(provider.weight), own));
            Vec::new()
        }
    };
    drawn.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    Ok(before.into_iter().chain(drawn.into_iter().map(|(_, _, candidate)| candidate)).collect())
}

/// A lot that is the smaller, the greater the weight: the first of many is a member in proportion to its weight.
fn sampling_key(weight: u32) -> f64 {
    #[allow(clippy::cast_precision_loss)] // chance needs no more than 53 bits
    let chance = (random::number() >> 11) as f64 / (1_u64 << 53) as f64;
    -(1.0 - chance).ln() / f64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_key_greater_weight_wins_more_often() {
        let won = (0..2_000).filter(|_| sampling_key(9) < sampling_key(1)).count();
        assert!((1_650..1_950).contains(&won), "{won} of 2000, not about 1800");
    }
}
