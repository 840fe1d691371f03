//! Rules for the keys that an operator may use: providers belong to operators, keys to administrators.
//!
//! An operator gives a provider its own key (`api_key`), and may name a key that an administrator has bound to
//! hosts. Only an administrator may use an unbound key, or change the hosts of an existing key.

use crate::http::{ApiError, ApiRequest};
use arbiter_core::kernel::token::Role;
use arbiter_core::provider::Provider;
use arbiter_core::provider::edit::ProviderPatch;
use url::Url;

/// Prefix of the id of a key given as `api_key`; the provider's id follows.
const OWN_KEY: &str = "key_";

/// Presence of `api_key` in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKey {
    /// The request has an `api_key`.
    Given,
    /// The request has no `api_key`.
    Absent,
}

/// Returns whether the caller may name these keys in a new provider.
///
/// # Errors
/// 403 below an administrator.
pub fn check_key_ids<'a>(
    request: &ApiRequest,
    named: impl IntoIterator<Item = &'a String>,
) -> Result<(), ApiError> {
    if request.identity.role() == Role::Admin {
        return Ok(());
    }
    let entries = request.handles().vault.entries();
    for id in named {
        let Some(entry) = entries.iter().find(|entry| entry.id.as_str() == id) else { continue };
        if entry.allowed_hosts.is_empty() || id.starts_with(OWN_KEY) {
            let detail = format!(
                "key {id} is another provider's or is bound to no host: only an administrator names it here"
            );
            return Err(ApiError::forbidden(detail));
        }
    }
    Ok(())
}

/// Returns whether the caller may change a provider so.
///
/// # Errors
/// 403 below an administrator for what would send a key elsewhere or replace one that is not this provider's.
pub fn check_patch(
    request: &ApiRequest,
    before: &Provider,
    patch: &ProviderPatch,
    api_key: ApiKey,
) -> Result<(), ApiError> {
    if request.identity.role() == Role::Admin {
        return Ok(());
    }
    let new = |wanted: &Option<Option<String>>, had: Option<&str>| {
        wanted.clone().flatten().filter(|id| Some(id.as_str()) != had)
    };
    let key = new(&patch.key_id, before.key_id.as_ref().map(|id| id.as_str()));
    let client_key = new(&patch.client_key_id, before.client_key_id.as_ref().map(|id| id.as_str()));
    check_key_ids(request, key.iter().chain(&client_key))?;
    let own = format!("{OWN_KEY}{}", before.id);
    let held = before.key_id.as_ref().map(|id| id.as_str());
    if api_key == ApiKey::Given {
        let mine = held == Some(&own);
        let taken = request.handles().vault.entries().iter().any(|entry| entry.id.as_str() == own);
        if key.is_some() || !mine && (held.is_some() || taken) {
            let detail = "the key is not this provider's own: only an administrator replaces it";
            return Err(ApiError::forbidden(detail));
        }
    }
    let moved =
        patch.endpoint.as_deref().is_some_and(|to| endpoint_origin(to) != endpoint_origin(&before.endpoint));
    if moved && (held.is_some() && api_key == ApiKey::Absent || before.client_key_id.is_some()) {
        let detail = "a provider that has a key moves to another scheme, host or port with its api_key, or by \
                      an administrator";
        return Err(ApiError::forbidden(detail));
    }
    Ok(())
}

/// Scheme, host and port of an endpoint.
fn endpoint_origin(endpoint: &str) -> Option<(String, Option<String>, Option<u16>)> {
    let url = Url::parse(endpoint).ok()?;
    Some((url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default()))
}
