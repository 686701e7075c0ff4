//! Which addresses may be reached. An endpoint's URL is a customer's word; what it leads to must not be this
//! machine, its network, or the services of a cloud, unless the operator says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::{Network, masked};

/// What is not the public internet.
const CLOSED_V4: [([u8; 4], u8); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    // Carriers' NAT.
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local, where clouds have their metadata.
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // A cloud's metadata and DNS behind a public address.
    ([168, 63, 129, 16], 32),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// Of the addresses that are handed out, what leads elsewhere than it says: tunnels and documentation.
const CLOSED_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// An address that may not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not on the public internet, and the operator has not allowed it")]
pub struct Closed(pub IpAddr);

/// The rule of a gateway.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Vec<Network>,
}

impl Guard {
    /// Beside the public internet, these networks may be reached.
    #[must_use]
    pub fn new(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    /// Whether an address may be reached.
    pub fn check(&self, address: IpAddr) -> Result<(), Closed> {
        let real = address.to_canonical();
        let open = match real {
            IpAddr::V4(v4) => is_public_v4(v4),
            IpAddr::V6(v6) => is_public_v6(v6),
        };
        if open || self.allowed.iter().any(|network| network.contains(real)) {
            return Ok(());
        }
        Err(Closed(address))
    }

    /// Whether every one of a name's addresses may be reached: a name that leads to a closed address as well is not
    /// trusted with the others.
    pub fn check_all(&self, addresses: &[IpAddr]) -> Result<(), Closed> {
        addresses.iter().try_for_each(|address| self.check(*address))
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !CLOSED_V4
        .iter()
        .any(|(first, bits)| masked(address.into(), *bits) == Some(IpAddr::V4((*first).into())))
}

/// Only what is handed out as global unicast: NAT64, mapped and compatible addresses, local and multicast ones are
/// all outside of it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let global = address.segments()[0] & 0xe000 == 0x2000;
    let closed = CLOSED_V6
        .iter()
        .any(|(first, bits)| masked(address.into(), *bits) == Some(IpAddr::V6(*first)));
    global && !closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_reached() {
        let guard = Guard::default();
        for open in [
            "8.8.8.8",
            "41.243.0.1",
            "100.63.0.1",
            "172.15.0.1",
            "2a00:1450::1",
            "2c0f:f248::1",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(guard.check(open.parse().unwrap()), Ok(()), "{open}");
        }
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "168.63.129.16",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:7f00:1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1:ffff::10.0.0.1",
            "0.0.0.1",
            "0.255.255.255",
            // Teredo, and 6to4 of loopback and of a private network.
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
            "5f00::1",
            "fec0::1",
        ] {
            let address = closed.parse().unwrap();
            assert_eq!(guard.check(address), Err(Closed(address)), "{closed}");
        }
    }

    #[test]
    fn an_operator_opens_what_it_names_and_nothing_else() {
        let guard = Guard::new(vec!["10.20.0.0/16".parse().unwrap(), "::1".parse().unwrap()]);
        for open in ["10.20.3.4", "::ffff:10.20.3.4", "::1"] {
            assert_eq!(guard.check(open.parse().unwrap()), Ok(()), "{open}");
        }
        for closed in ["10.21.0.1", "127.0.0.1", "::2"] {
            assert!(guard.check(closed.parse().unwrap()).is_err(), "{closed}");
        }
    }

    #[test]
    fn one_closed_address_closes_the_name() {
        let guard = Guard::default();
        let addresses = |texts: &[&str]| {
            texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>()
        };
        assert_eq!(guard.check_all(&addresses(&["8.8.8.8", "8.8.4.4"])), Ok(()));
        let closed = Err(Closed("127.0.0.1".parse().unwrap()));
        assert_eq!(guard.check_all(&addresses(&["8.8.8.8", "127.0.0.1"])), closed);
        assert_eq!(guard.check_all(&addresses(&["127.0.0.1", "8.8.8.8"])), closed);
    }
}
