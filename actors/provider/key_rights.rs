//! The rights of a caller on a provider's keys, decided with the vault's entries.

use crate::caller::Caller;
use crate::provider::ProviderContext;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::Provider;
use arbiter_core::provider::authorize::{self, ApiKey, KeyBinding, KnownKey, Target};
use arbiter_core::provider::edit::{NewProvider, ProviderPatch};
use arbiter_providers::is_same_origin;

/// Refuses a new provider with keys that the caller may not name.
pub(crate) fn check_new(shared: &ProviderContext, caller: &Caller, new: &NewProvider) -> Result<(), Refusal> {
    let named = new.key_id.iter().chain(&new.client_key_id).map(String::as_str);
    authorize::name_keys(&caller.authority, named, &known_keys(shared))
}

/// Refuses a change by which a key would go where the caller may not send it.
pub(crate) fn check_change(
    shared: &ProviderContext,
    caller: &Caller,
    before: &Provider,
    patch: &ProviderPatch,
    api_key: ApiKey,
) -> Result<(), Refusal> {
    let target = match &patch.endpoint {
        Some(to) if !is_same_origin(to, &before.endpoint) => Target::OtherOrigin,
        _ => Target::SameOrigin,
    };
    authorize::change(&caller.authority, before, patch, (api_key, target), &known_keys(shared))
}

fn known_keys(shared: &ProviderContext) -> Vec<KnownKey> {
    let snapshot = shared.open_vault.snapshot();
    let keys = snapshot.keys.values().map(|entry| KnownKey {
        id: entry.id.to_string(),
        binding: if entry.allowed_hosts.is_empty() { KeyBinding::Unbound } else { KeyBinding::Hosts },
    });
    keys.collect()
}
