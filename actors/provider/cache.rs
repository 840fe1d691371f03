//! Cache of all providers with their models and latencies.
//!
//! Owns a copy of rows, so that a call does not read them all. Code that changes a row calls
//! [`ProviderCache::invalidate`] after the commit; the next call reads again.

use crate::error::Error;
use crate::vault::open_vault::OpenVault;
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::Provider;
use arbiter_core::provider::rank::{self, Candidate};
use arbiter_store::Store;
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A provider with what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct CachedProvider {
    pub(crate) provider: Provider,
    pub(crate) models: BTreeSet<String>,
    /// Latency of heartbeats, in milliseconds.
    pub(crate) latency_ms: Option<f64>,
}

impl CachedProvider {
    /// Returns whether it serves a model of this name.
    pub(crate) fn offers(&self, model: &str) -> bool {
        self.models.contains(model) || self.provider.model() == Some(model)
    }
}

/// The copy, and how often it was found to be out of date.
#[derive(Default)]
pub(crate) struct ProviderCache(RwLock<(u64, Option<Arc<[CachedProvider]>>)>);

impl ProviderCache {
    /// From now on what was read before does not count.
    pub(crate) fn invalidate(&self) {
        let mut cache = self.0.write();
        *cache = (cache.0 + 1, None);
    }

    /// Every provider.
    pub(crate) async fn all(&self, store: &Store) -> Result<Arc<[CachedProvider]>, Error> {
        let generation = {
            let cache = self.0.read();
            if let Some(known) = &cache.1 {
                return Ok(Arc::clone(known));
            }
            cache.0
        };
        let mut offers: HashMap<ProviderId, BTreeSet<String>> = HashMap::new();
        for (id, models) in store.offers().await? {
            offers.insert(id, models.into_iter().map(|model| model.id).collect());
        }
        let mut known = Vec::new();
        for provider in store.all_providers().await? {
            let median = store.median_latency(provider.id.to_string()).await?;
            #[allow(clippy::cast_precision_loss)] // latencies stay far below 2^52
            let latency_ms = median.map(|ms| ms as f64);
            let models = offers.remove(&provider.id).unwrap_or_default();
            known.push(CachedProvider { provider, models, latency_ms });
        }
        let known: Arc<[CachedProvider]> = known.into();
        let mut cache = self.0.write();
        // Something changed meanwhile: what was read is good for this call alone.
        if cache.0 == generation {
            cache.1 = Some(Arc::clone(&known));
        }
        Ok(known)
    }

    /// Returns the usable providers, the best first.
    pub(crate) async fn usable(
        &self,
        store: &Store,
        vault: &OpenVault,
    ) -> Result<Vec<CachedProvider>, Error> {
        let all = self.all(store).await?;
        let usable: Vec<&CachedProvider> =
            all.iter().filter(|known| known.provider.is_usable(vault.access(&known.provider))).collect();
        let candidates: Vec<Candidate<'_>> = usable
            .iter()
            .map(|known| Candidate { provider: &known.provider, latency_ms: known.latency_ms })
            .collect();
        let place: HashMap<&str, &CachedProvider> =
            usable.iter().map(|known| (known.provider.id.as_str(), *known)).collect();
        let ranked = rank::ranked(&candidates);
        Ok(ranked.iter().filter_map(|one| place.get(one.provider.id.as_str()).copied().cloned()).collect())
    }
}
