//! The rights of a caller on providers: providers belong to operators, keys to administrators.
//!
//! An operator gives a provider its own key, and may name a key that an administrator has bound to hosts. Only
//! an administrator may use an unbound key, or change the hosts of an existing key.

use crate::kernel::authority::Authority;
use crate::kernel::refusal::Refusal;
use crate::kernel::token::Role;
use crate::provider::Provider;
use crate::provider::edit::ProviderPatch;

/// Prefix of the id of a key that came along with its provider; the provider's id follows.
pub const OWN_KEY: &str = "key_";

/// A key of the vault, as far as rights depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    pub id: String,
    pub binding: KeyBinding,
}

/// The reach of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBinding {
    /// Sent to its hosts alone.
    Hosts,
    /// Sent anywhere.
    Unbound,
}

/// Presence of a new key's value in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKey {
    Given,
    Absent,
}

/// Target of a provider after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Scheme, host and port, or the socket, are as before, and so is the authority by which they are known.
    SamePlace,
    OtherPlace,
}

/// Allows to change providers only without a limit to projects: they belong to none.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn manage(authority: &Authority) -> Result<(), Refusal> {
    authority.require_project(None)
}

/// Allows to name these keys in a provider: below an administrator only those that are bound to hosts and no other
/// provider's own. A provider with a `ca_cert` gets none of them: the owner of that authority could answer in the
/// name of the key's hosts.
///
/// # Errors
/// [`Refusal::Forbidden`], and as [`manage`].
pub fn name_keys<'a>(
    authority: &Authority,
    named: impl IntoIterator<Item = &'a str>,
    ca_cert: Option<&str>,
    known: &[KnownKey],
) -> Result<(), Refusal> {
    manage(authority)?;
    if authority.role == Role::Admin {
        return Ok(());
    }
    for id in named {
        let Some(key) = known.iter().find(|key| key.id == id) else { continue };
        if key.binding == KeyBinding::Unbound || id.starts_with(OWN_KEY) {
            return Err(Refusal::Forbidden(format!(
                "key {id} is another provider's or is bound to no host: only an administrator names it here"
            )));
        }
        if ca_cert.is_some() {
            return Err(Refusal::Forbidden(format!(
                "the provider has a ca_cert of its own: only an administrator names key {id} here"
            )));
        }
    }
    Ok(())
}

/// Allows a change of a provider, below an administrator only one that neither sends a key elsewhere nor
/// replaces one that is not this provider's.
///
/// # Errors
/// [`Refusal::Forbidden`], and as [`name_keys`].
pub fn change(
    authority: &Authority,
    before: &Provider,
    patch: &ProviderPatch,
    (api_key, target): (ApiKey, Target),
    known: &[KnownKey],
) -> Result<(), Refusal> {
    let held = before.key_id.as_ref().map(|id| id.as_str());
    let client_held = before.client_key_id.as_ref().map(|id| id.as_str());
    let key = newly_named(&patch.key_id, held);
    let ca_cert = patch.ca_cert.as_ref().unwrap_or(&before.ca_cert).as_deref();
    let named = key.into_iter().chain(newly_named(&patch.client_key_id, client_held));
    name_keys(authority, named, ca_cert, known)?;
    if authority.role == Role::Admin {
        return Ok(());
    }
    if api_key == ApiKey::Given {
        let own = format!("{OWN_KEY}{}", before.id);
        let taken = known.iter().any(|key| key.id == own);
        if key.is_some() || held != Some(&own) && (held.is_some() || taken) {
            let detail = "the key is not this provider's own: only an administrator replaces it";
            return Err(Refusal::Forbidden(detail.to_owned()));
        }
    }
    if target == Target::OtherPlace && (held.is_some() && api_key == ApiKey::Absent || client_held.is_some())
    {
        let detail = "a provider that has a key moves to another scheme, host, port or socket, or to another \
                      ca_cert, with its api_key, or by an administrator";
        return Err(Refusal::Forbidden(detail.to_owned()));
    }
    Ok(())
}

/// The key that a patch names and the provider does not have.
fn newly_named<'a>(wanted: &'a Option<Option<String>>, held: Option<&str>) -> Option<&'a str> {
    wanted.as_ref()?.as_deref().filter(|id| Some(*id) != held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ids::{KeyId, ProviderId};
    use crate::kernel::time::Timestamp;
    use crate::provider::ProviderType;
    use crate::provider::edit::NewProvider;

    const UNMOVED: (ApiKey, Target) = (ApiKey::Absent, Target::SamePlace);

    fn operator() -> Authority {
        Authority { role: Role::Operator, ..Authority::unlimited("ann") }
    }

    fn provider(key: Option<&str>) -> Provider {
        let new = NewProvider::named("P", ProviderType::Custom, "https://one.example");
        let at = Timestamp::from_millis(0);
        new.build(ProviderId::from_trusted("p"), key.map(KeyId::from_trusted), at).unwrap()
    }

    fn known() -> Vec<KnownKey> {
        let key = |id: &str, binding| KnownKey { id: id.into(), binding };
        vec![
            key("bound", KeyBinding::Hosts),
            key("free", KeyBinding::Unbound),
            key("key_q", KeyBinding::Hosts),
        ]
    }

    fn naming(key: &str) -> ProviderPatch {
        ProviderPatch { key_id: Some(Some(key.into())), ..ProviderPatch::default() }
    }

    #[test]
    fn operator_names_only_bound_keys() {
        let limited = Authority { projects: Some(vec!["p".into()]), ..operator() };
        for (key, allowed) in [("bound", true), ("free", false), ("key_q", false), ("unknown", true)] {
            assert_eq!(name_keys(&operator(), [key], None, &known()).is_ok(), allowed, "{key}");
            let named = change(&operator(), &provider(None), &naming(key), UNMOVED, &known());
            assert_eq!(named.is_ok(), allowed, "{key}");
            assert_eq!(name_keys(&Authority::unlimited("root"), [key], Some("ca"), &known()), Ok(()));
            assert!(name_keys(&limited, [key], None, &known()).is_err(), "{key}");
            let private = name_keys(&operator(), [key], Some("ca"), &known());
            assert_eq!(private.is_ok(), key == "unknown", "{key}");
        }
        let kept = change(&operator(), &provider(Some("free")), &naming("free"), UNMOVED, &known());
        assert_eq!(kept, Ok(()));
    }

    #[test]
    fn operator_moves_a_key_only_with_its_value() {
        let patch = ProviderPatch::default();
        let changed =
            |held: Option<&str>, how| change(&operator(), &provider(held), &patch, how, &known()).is_ok();
        assert!(changed(Some("key_p"), UNMOVED));
        assert!(changed(None, (ApiKey::Absent, Target::OtherPlace)));
        assert!(!changed(Some("key_p"), (ApiKey::Absent, Target::OtherPlace)));
        assert!(changed(Some("key_p"), (ApiKey::Given, Target::OtherPlace)));
        assert!(!changed(Some("bound"), (ApiKey::Given, Target::SamePlace)));
        assert!(changed(None, (ApiKey::Given, Target::SamePlace)));
    }
}
