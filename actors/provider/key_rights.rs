//! The rights of a caller on a provider's keys, decided with the vault's entries.

use crate::caller::Caller;
use crate::provider::ProviderContext;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::Provider;
use arbiter_core::provider::authorize::{self, ApiKey, KeyBinding, KnownKey, Target};
use arbiter_core::provider::edit::{NewProvider, ProviderPatch};
use arbiter_providers::is_same_address;

/// Refuses a new provider with keys that the caller may not name.
pub(crate) fn check_new(shared: &ProviderContext, caller: &Caller, new: &NewProvider) -> Result<(), Refusal> {
    let named = new.key_id.iter().chain(&new.client_key_id).map(String::as_str);
    authorize::name_keys(&caller.authority, named, new.ca_cert.as_deref(), &known_keys(shared))
}

/// Refuses a change by which a key would go where the caller may not send it.
pub(crate) fn check_change(
    shared: &ProviderContext,
    caller: &Caller,
    before: &Provider,
    patch: &ProviderPatch,
    api_key: ApiKey,
) -> Result<(), Refusal> {
    let target = if is_moved(before, patch) { Target::OtherPlace } else { Target::SamePlace };
    authorize::change(&caller.authority, before, patch, (api_key, target), &known_keys(shared))
}

/// Returns whether a patch brings a provider to another place: an address, and the authority by which it is known.
fn is_moved(before: &Provider, patch: &ProviderPatch) -> bool {
    let is_elsewhere = patch.endpoint.as_deref().is_some_and(|to| !is_same_address(to, &before.endpoint));
    is_elsewhere || patch.ca_cert.as_ref().is_some_and(|authority| *authority != before.ca_cert)
}

fn known_keys(shared: &ProviderContext) -> Vec<KnownKey> {
    let snapshot = shared.open_vault.snapshot();
    let keys = snapshot.keys.values().map(|entry| KnownKey {
        id: entry.id.to_string(),
        binding: if entry.allowed_hosts.is_empty() { KeyBinding::Unbound } else { KeyBinding::Hosts },
    });
    keys.collect()
}
