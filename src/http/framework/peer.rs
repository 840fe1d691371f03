//! Peer of a connection: address and client certificate.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The other end of a connection. Every request that comes over it carries this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; an IPv4 address that came as IPv6 is IPv4 again.
    pub address: IpAddr,
    /// The [`arbiter_tls::fingerprint`] of the certificate it proved to own; a CA that we were told to trust issued it.
    pub certificate: Option<Arc<str>>,
}

impl Peer {
    /// A peer that showed no certificate.
    pub fn at(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), certificate: None }
    }

    /// Returns whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.address.is_loopback()
    }
}

/// A request that came over no connection comes from this process.
impl Default for Peer {
    fn default() -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_mapped_address_is_canonical() {
        let local = |text: &str| Peer::at(text.parse().unwrap()).is_local();
        assert!(local("127.0.0.1") && local("::1") && local("::ffff:127.0.0.1"));
        assert!(!local("192.0.2.1") && !local("::ffff:192.0.2.1"));
    }
}
