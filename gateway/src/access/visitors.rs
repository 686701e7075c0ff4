//! Those who come without a key: from which address, and how often.
//!
//! Addresses are many and cost an attacker nothing, so they are not remembered one by one: a fixed table of cells
//! counts them, each address in one cell of every row, and the emptiest of its cells is its bucket. Memory is
//! the same whoever comes; under a flood some are taken for busier than they are, and nobody for less busy.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;

use super::rates::Standing;
use crate::network::{Network, masked};

const MINUTE_US: u64 = 60_000_000;
const ROWS: usize = 4;
const CELLS: usize = 1 << 14;
/// Households and handsets are given so much of IPv6; what comes behind, each chooses at will.
const IPV6_BITS: u8 = 64;
const FORWARDED: &str = "x-forwarded-for";

/// How often the addresses came, at this gateway.
#[derive(Debug)]
pub(crate) struct Visitors {
    per_minute: u32,
    began: Instant,
    /// Unknown outside, so that nobody can choose addresses that share cells.
    hasher: RandomState,
    /// When each cell would be empty again, in microseconds since `began`.
    cells: Mutex<Vec<u64>>,
}

impl Visitors {
    /// Nobody has come yet. 0 means no limit.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            began: Instant::now(),
            hasher: RandomState::new(),
            cells: Mutex::new(vec![0; ROWS * CELLS]),
        }
    }

    /// Counts `cost` checks from an address. `Err` holds when to come back; nothing was counted then.
    pub(crate) fn take(
        &self,
        address: IpAddr,
        cost: u32,
    ) -> Result<Option<Standing>, (Standing, Duration)> {
        if self.per_minute == 0 {
            return Ok(None);
        }
        let limit = self.per_minute;
        let counted = masked(address, if address.is_ipv6() { IPV6_BITS } else { 32 });
        let counted = counted.expect("every address has so many bits");
        let places: [usize; ROWS] = std::array::from_fn(|row| {
            let hash = self.hasher.hash_one((row, counted));
            row * CELLS + usize::try_from(hash % CELLS as u64).expect("a cell's number is small")
        });
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX / 2);
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = places.iter().map(|at| cells[*at]).min().unwrap_or(0).max(now);
        let share = MINUTE_US / u64::from(limit);
        let next = full_at + share * u64::from(cost.min(limit));
        let standing = |full_at: u64| {
            let used = (full_at - now).div_ceil(share.max(1));
            let used = u32::try_from(used).unwrap_or(limit).min(limit);
            let reset = Duration::from_micros(full_at - now);
            Standing { limit, remaining: limit - used, reset }
        };
        if next > now + MINUTE_US {
            return Err((standing(full_at), Duration::from_micros(next - now - MINUTE_US)));
        }
        for at in places {
            cells[at] = cells[at].max(next);
        }
        Ok(Some(standing(next)))
    }
}

/// Who asks: the peer, or whom a believed proxy names. Of a chain of proxies the first that is not believed is
/// the visitor: everything before it may be made up.
pub(crate) fn visitor(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let mut address = peer.to_canonical();
    let lines = headers.get_all(FORWARDED).iter().rev();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(','));
    for hop in hops {
        if !proxies.iter().any(|proxy| proxy.contains(address)) {
            break;
        }
        match forwarded(hop.trim()) {
            Some(before) => address = before.to_canonical(),
            None => break,
        }
    }
    address
}

/// An address, for some proxies with a port.
fn forwarded(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    hop.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use axum::http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_so_many_a_minute() {
        let visitors = Visitors::new(30);
        for left in (0..30).rev() {
            let standing = visitors.take(ip("192.0.2.1"), 1).unwrap().unwrap();
            assert_eq!((standing.limit, standing.remaining), (30, left));
        }
        let (standing, wait) = visitors.take(ip("192.0.2.1"), 1).unwrap_err();
        assert_eq!((standing.remaining, wait), (0, Duration::from_secs(2)));
        visitors.take(ip("192.0.2.2"), 1).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        visitors.take(ip("192.0.2.1"), 1).unwrap();
        visitors.take(ip("192.0.2.1"), 1).unwrap_err();
        let (_, wait) = visitors.take(ip("192.0.2.1"), 10).unwrap_err();
        assert_eq!(wait, Duration::from_secs(20));
        assert!(Visitors::new(0).take(ip("192.0.2.1"), 1_000).unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_is_one_visitor() {
        let visitors = Visitors::new(2);
        visitors.take(ip("2001:db8:1:2::1"), 1).unwrap();
        visitors.take(ip("2001:db8:1:2:ffff::9"), 1).unwrap();
        visitors.take(ip("2001:db8:1:2:3::"), 1).unwrap_err();
        visitors.take(ip("2001:db8:1:3::1"), 1).unwrap();
    }

    /// Neither memory nor the ordinary visitor suffers from a flood of addresses.
    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_takes_no_memory() {
        let visitors = Visitors::new(30);
        for number in 0..200_000_u32 {
            let flood = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
            let _ = visitors.take(flood, 1);
            if number % 10 == 0 {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(visitors.cells.lock().unwrap().len(), ROWS * CELLS);
        let served = (0..100_u16).filter(|number| {
            let quiet = Ipv6Addr::new(0x2001, 0xdb8, *number, 0, 0, 0, 0, 1);
            visitors.take(quiet.into(), 1).is_ok()
        });
        assert!(served.count() >= 95, "who asks once is served");
    }

    #[test]
    fn only_believed_proxies_name_the_visitor() {
        let proxies = [Network::try_from("10.0.0.0/8".to_owned()).unwrap()];
        let named = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED, HeaderValue::from_str(line).unwrap());
            }
            visitor(ip(peer), &headers, &proxies)
        };
        assert_eq!(named("192.0.2.1", &["198.51.100.7"]), ip("192.0.2.1"), "not believed");
        assert_eq!(named("10.0.0.1", &[]), ip("10.0.0.1"));
        assert_eq!(named("10.0.0.1", &["198.51.100.7"]), ip("198.51.100.7"));
        assert_eq!(named("::ffff:10.0.0.1", &["198.51.100.7"]), ip("198.51.100.7"));
        assert_eq!(named("10.0.0.1", &["1.1.1.1, 198.51.100.7"]), ip("198.51.100.7"), "made up");
        assert_eq!(named("10.0.0.1", &["198.51.100.7, 10.9.9.9"]), ip("198.51.100.7"));
        assert_eq!(named("10.0.0.1", &["198.51.100.7", "10.9.9.9"]), ip("198.51.100.7"));
        assert_eq!(named("10.0.0.1", &["198.51.100.7:4711"]), ip("198.51.100.7"));
        assert_eq!(named("10.0.0.1", &["[2001:db8::1]:4711"]), ip("2001:db8::1"));
        assert_eq!(named("10.0.0.1", &["nonsense"]), ip("10.0.0.1"));
        assert_eq!(named("10.0.0.1", &["198.51.100.7, unknown"]), ip("10.0.0.1"));
    }
}
