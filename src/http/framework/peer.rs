//! Peer of a connection: address and client certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The other end of a connection. Every request that comes over it carries this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; an IPv4 address that came as IPv6 is IPv4 again.
    pub address: IpAddr,
    /// The [`arbiter_tls::fingerprint`] of the certificate it proved to own; a CA that we were told to trust issued it.
    pub certificate: Option<Arc<str>>,
    /// Set once a request over the connection came with a valid token.
    known: Known,
}

/// A mark that the clones of a peer share.
#[derive(Clone, Debug, Default)]
struct Known(Arc<AtomicBool>);

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.load(Ordering::Acquire) == other.0.load(Ordering::Acquire)
    }
}

impl Eq for Known {}

impl Peer {
    /// A peer that showed no certificate.
    pub fn at(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), certificate: None, known: Known::default() }
    }

    /// The same peer, which has shown this certificate, or none.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<Arc<str>>) -> Self {
        Self { certificate, ..self }
    }

    /// Returns the address that its quotas count for: of IPv6 the first 64 bits, within which a subscriber chooses
    /// addresses at will (RFC 6177).
    pub fn quota_address(&self) -> IpAddr {
        match self.address {
            IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            address => address,
        }
    }

    /// Takes note that a request over this connection came with a valid token.
    pub fn set_known(&self) {
        self.known.0.store(true, Ordering::Release);
    }

    /// Returns whether a request over this connection came with a valid token.
    pub fn is_known(&self) -> bool {
        self.known.0.load(Ordering::Acquire)
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

    #[test]
    fn quota_address_is_an_ipv6_network_of_64_bits() {
        let network = |text: &str| Peer::at(text.parse().unwrap()).quota_address().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(
            (network("192.0.2.1"), network("::ffff:192.0.2.1")),
            ("192.0.2.1".into(), "192.0.2.1".into())
        );
        assert_eq!(network("::1"), "::1");
    }
}
