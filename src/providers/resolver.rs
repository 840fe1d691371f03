//! Resolves names and returns only addresses that the endpoint may use.
//!
//! The connector resolves once per connection and connects to the result. A name that changes its address
//! between check and connection (DNS rebinding) therefore gains nothing.

use crate::address::{AddressScope, scope_of};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

/// Addresses that an endpoint may resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressRule {
    /// Loopback and private addresses.
    LocalOnly,
    LocalOrPublic,
}

impl AddressRule {
    pub(crate) fn admits(self, found: AddressScope) -> bool {
        match self {
            Self::LocalOnly => found == AddressScope::Local,
            Self::LocalOrPublic => found != AddressScope::Forbidden,
        }
    }
}

/// A name that resolves to a forbidden address.
#[derive(Debug, thiserror::Error)]
#[error("the name {name} leads to {address}, where this endpoint may not go")]
pub(crate) struct AddressRefused {
    name: String,
    address: IpAddr,
}

/// Future of a name's unchecked addresses.
pub(crate) type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// A resolver that calls `lookup` and checks every address against `rule`.
pub(crate) struct GuardedResolver {
    rule: AddressRule,
    lookup: fn(String) -> LookupFuture,
}

impl GuardedResolver {
    pub(crate) fn new(rule: AddressRule, lookup: fn(String) -> LookupFuture) -> Self {
        Self { rule, lookup }
    }
}

/// Resolves a name with the operating system.
pub(crate) fn system_lookup(name: String) -> LookupFuture {
    Box::pin(async move {
        // Port 0 stands for the port of the URL.
        Ok(tokio::net::lookup_host((name, 0)).await?.collect())
    })
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rule, lookup) = (self.rule, self.lookup);
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let addresses = lookup(name.clone()).await?;
            match addresses.iter().map(SocketAddr::ip).find(|ip| !rule.admits(scope_of(*ip))) {
                // One forbidden address rejects the name: an honest provider has none.
                Some(address) => Err(AddressRefused { name, address }.into()),
                None => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(_: String) -> LookupFuture {
        let addresses = ["1.1.1.1:0", "[::ffff:169.254.169.254]:0"];
        Box::pin(async move { Ok(addresses.iter().map(|text| text.parse().unwrap()).collect()) })
    }

    fn public(_: String) -> LookupFuture {
        Box::pin(async { Ok(vec![SocketAddr::from(([1, 1, 1, 1], 0))]) })
    }

    async fn resolve(
        rule: AddressRule,
        lookup: fn(String) -> LookupFuture,
    ) -> Result<Vec<SocketAddr>, String> {
        let name: Name = "provider.example".parse().unwrap();
        let found = GuardedResolver::new(rule, lookup).resolve(name).await;
        found.map(Iterator::collect).map_err(|refused| refused.to_string())
    }

    #[tokio::test]
    async fn name_with_one_forbidden_address_is_refused() {
        let refused = resolve(AddressRule::LocalOrPublic, mixed).await.unwrap_err();
        assert!(refused.contains("169.254.169.254"), "{refused}");
    }

    #[tokio::test]
    async fn public_address_is_refused_by_a_local_only_rule() {
        assert!(resolve(AddressRule::LocalOnly, public).await.is_err());
        assert_eq!(resolve(AddressRule::LocalOrPublic, public).await.map(|found| found.len()), Ok(1));
    }

    #[tokio::test]
    async fn localhost_resolves() {
        let name: Name = "localhost".parse().unwrap();
        let found = GuardedResolver::new(AddressRule::LocalOnly, system_lookup).resolve(name).await;
        assert!(found.unwrap().all(|address| address.ip().is_loopback()));
    }
}
