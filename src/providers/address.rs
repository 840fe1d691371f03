//! Classification of network addresses: may a provider live there?
//!
//! Pure: it judges an address and knows nothing of names, URLs or connections. The ranges are IANA's
//! special-purpose registries; the single addresses are the metadata services of the clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reach of a network address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressScope {
    /// This machine or its private network.
    Local,
    Public,
    /// Never a provider: metadata services, link-local, multicast, unspecified and reserved addresses.
    Forbidden,
}

/// Metadata services outside of the forbidden ranges: Azure's wire server and Alibaba Cloud.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];

/// Classifies an address, including an IPv6 address that embeds an IPv4 address.
pub(crate) fn scope_of(address: IpAddr) -> AddressScope {
    match address {
        IpAddr::V4(v4) => scope_of_v4(v4),
        IpAddr::V6(v6) => scope_of_v6(v6),
    }
}

fn scope_of_v4(address: Ipv4Addr) -> AddressScope {
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        _ if METADATA_V4.contains(&address) => AddressScope::Forbidden,
        // 169.254/16 holds the metadata of AWS, Azure, Google and ECS; 192.0.0/24 that of Oracle.
        (0 | 224..=255, _, _) | (169, 254, _) | (192, 0, 0) => AddressScope::Forbidden,
        (10 | 127, _, _) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => AddressScope::Local,
        _ => AddressScope::Public,
    }
}

fn scope_of_v6(address: Ipv6Addr) -> AddressScope {
    if address == Ipv6Addr::LOCALHOST {
        return AddressScope::Local;
    }
    if let Some(mapped) = address.to_ipv4_mapped() {
        return scope_of_v4(mapped);
    }
    if let Some(inner) = embedded_v4(address) {
        // A public tunnel into a private network serves only to bypass this check.
        return match scope_of_v4(inner) {
            AddressScope::Public => AddressScope::Public,
            AddressScope::Local | AddressScope::Forbidden => AddressScope::Forbidden,
        };
    }
    match address.segments() {
        // Metadata services within unique local addresses. Amazon (EC2, EKS Pod Identity), Oracle, Scaleway;
        // Akamai; Google; and any that writes 169.254.169.254 at its end, as Oracle does.
        [0xfd00, 0xec2 | 0xc1 | 0x42, ..] | [0xfd00, 0xa9fe, 0xa9fe, ..] | [0xfd20, 0xce, ..] => {
            AddressScope::Forbidden
        }
        [0xfc00..=0xfdff, .., 0xa9fe, 0xa9fe] => AddressScope::Forbidden,
        // Link-local, the old site-local, multicast.
        [0xfe80..=0xffff, ..] => AddressScope::Forbidden,
        [0xfc00..=0xfdff, ..] => AddressScope::Local,
        _ => AddressScope::Public,
    }
}

/// Returns the IPv4 address that a translated or tunnelled IPv6 address leads to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // IPv4-compatible (and the unspecified address), IPv4-translated, NAT64, local NAT64
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low] => Some(join(high, low)),
        // 6to4
        [0x2002, high, low, ..] => Some(join(high, low)),
        // Teredo writes the client's address inverted
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_scope_follows_the_table() {
        let table = [
            (AddressScope::Local, "127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1"),
            (AddressScope::Local, "100.64.0.1 ::1 fd12::1 ::ffff:127.0.0.1 ::ffff:10.1.2.3"),
            (AddressScope::Public, "1.1.1.1 172.32.0.1 198.18.0.1 100.128.0.1 2606:4700::1111"),
            (AddressScope::Public, "::ffff:1.1.1.1 64:ff9b::101:101 2002:101:101::1"),
            (AddressScope::Forbidden, "169.254.169.254 169.254.170.2 0.0.0.0 0.1.2.3 224.0.0.1"),
            (AddressScope::Forbidden, "255.255.255.255 240.0.0.1 192.0.0.192 168.63.129.16"),
            (AddressScope::Forbidden, "100.100.100.200 :: ff02::1 fe80::1 fec0::1 fd00:ec2::254"),
            (AddressScope::Forbidden, "fd00:ec2::23 fd20:ce::254 ::ffff:169.254.169.254 ::169.254.169.254"),
            (AddressScope::Forbidden, "fd00:c1::a9fe:a9fe fd00:42::42 fd00:a9fe:a9fe::1 fd12:3::a9fe:a9fe"),
            (AddressScope::Forbidden, "fd00:ec2::253 fd00:ec2:1::5 fd20:ce:0:1::2"),
            (AddressScope::Local, "fd00:1::254 fd20::ce fc00::a9fe:1"),
            (AddressScope::Forbidden, "64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe 2002:a9fe:a9fe::1"),
            (AddressScope::Forbidden, "2002:7f00:1::1 2001:0:1:2:3:4:5601:5601 ::ffff:0:169.254.169.254"),
        ];
        for (expected, addresses) in table {
            for text in addresses.split(' ') {
                let address: IpAddr = text.parse().unwrap();
                assert_eq!(scope_of(address), expected, "{text}");
            }
        }
    }
}
