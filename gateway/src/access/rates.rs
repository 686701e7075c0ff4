//! How often keys and outlets may ask: a bucket each, refilled evenly.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{RatesSection, Tier};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Buckets kept at most.
const BUCKETS_MAX: usize = 100_000;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What the answer says of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests in a window.
    pub limit: u32,
    /// What is left of it now.
    pub remaining: u32,
    /// Until it is whole again.
    pub reset: Duration,
}

/// What an answer will say of the limits: the caller notes it, the outermost layer tells it.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<Option<Standing>>>);

impl Told {
    /// Notes where a request stands; the tightest limit is told.
    pub fn note(&self, standing: Standing) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|known| standing.remaining <= known.remaining) {
            *told = Some(standing);
        }
    }

    /// What was noted.
    #[must_use]
    pub fn get(&self) -> Option<Standing> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Counted {
    /// A key.
    Key(String),
    /// A key at one outlet.
    Outlet(String, String),
    /// An address that sends keys which are none.
    Failures(IpAddr),
}

impl Counted {
    /// Whoever has one address of a network of IPv6 has all of them.
    fn network(self) -> Self {
        match self {
            Self::Failures(address) => Self::Failures(network(address)),
            known => known,
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Who has asked how often, at this gateway.
#[derive(Debug)]
pub struct Rates {
    tiers: RatesSection,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    /// The time at which each bucket would be full again; a request moves it on by its share of the window.
    full_at: HashMap<(Counted, Window), Instant>,
    swept: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Window {
    Minute,
    Day,
}

impl Rates {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(tiers: &RatesSection) -> Self {
        let buckets = Buckets { full_at: HashMap::new(), swept: Instant::now() };
        Self { tiers: tiers.clone(), buckets: Mutex::new(buckets) }
    }

    /// The tier of a name; an unknown one is the smallest.
    #[must_use]
    pub fn tier(&self, name: &str) -> Tier {
        match name {
            "enterprise" => self.tiers.enterprise,
            "professional" => self.tiers.professional,
            _ => self.tiers.growth,
        }
    }

    /// How many wrong keys an address may send: many, for whole shops share one.
    #[must_use]
    pub fn failures_tier(&self) -> Tier {
        Tier { per_minute: self.tiers.failures_per_minute, per_day: 0 }
    }

    /// Takes `cost` from a bucket. `Err` holds when to come back; nothing was taken then.
    pub fn take(
        &self,
        who: &Counted,
        tier: Tier,
        cost: u32,
    ) -> Result<Option<Standing>, (Standing, Duration)> {
        let now = Instant::now();
        let who = who.clone().network();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = [(Window::Minute, MINUTE, tier.per_minute), (Window::Day, DAY, tier.per_day)];
        let mut told: Option<Standing> = None;
        let mut taken = Vec::with_capacity(windows.len());
        for (window, length, limit) in windows {
            if limit == 0 {
                continue;
            }
            let key = (who.clone(), window);
            let full_at = buckets.full_at.get(&key).map_or(now, |full_at| now.max(*full_at));
            let share = length / limit;
            // More than a window's worth at once is let through when the bucket is full.
            let next = full_at + share * cost.min(limit);
            let standing = |full_at: Instant| {
                let used = (full_at - now).as_nanos().div_ceil(share.as_nanos().max(1));
                let used = u32::try_from(used).unwrap_or(limit).min(limit);
                Standing { limit, remaining: limit - used, reset: full_at - now }
            };
            if next > now + length {
                return Err((standing(full_at), next - (now + length)));
            }
            taken.push((key, next));
            let standing = standing(next);
            if told.is_none_or(|known| standing.remaining < known.remaining) {
                told = Some(standing);
            }
        }
        for (key, full_at) in taken {
            buckets.make_room(&key, now);
            buckets.full_at.insert(key, full_at);
        }
        Ok(told)
    }

    /// Counts what was let in already, as the items of a batch. What is over the limit is owed: the next requests
    /// wait until it has been made up for.
    pub fn charge(&self, who: &Counted, tier: Tier, cost: u32) {
        let now = Instant::now();
        let who = who.clone().network();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = [(Window::Minute, MINUTE, tier.per_minute), (Window::Day, DAY, tier.per_day)];
        for (window, length, limit) in windows.into_iter().filter(|(_, _, limit)| *limit > 0) {
            let key = (who.clone(), window);
            let full_at = buckets.full_at.get(&key).map_or(now, |full_at| now.max(*full_at));
            buckets.make_room(&key, now);
            buckets.full_at.insert(key, full_at + length / limit * cost);
        }
    }
}

impl Buckets {
    /// There are never more buckets than there may be. Those that are full again are forgotten first, in one sweep
    /// a second at most; when many ask from many addresses, somebody's count is forgotten early, which lets a
    /// little more through and costs no search.
    fn make_room(&mut self, key: &(Counted, Window), now: Instant) {
        if self.full_at.len() < BUCKETS_MAX || self.full_at.contains_key(key) {
            return;
        }
        if now >= self.swept + SWEEP_INTERVAL {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept = now;
        }
        while self.full_at.len() >= BUCKETS_MAX
            && let Some(any) = self.full_at.keys().next().cloned()
        {
            self.full_at.remove(&any);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_and_fills_again() {
        let rates = Rates::new(&RatesSection::default());
        let who = Counted::Key("k".to_owned());
        let tier = Tier { per_minute: 60, per_day: 0 };
        for left in (0..60).rev() {
            let standing = rates.take(&who, tier, 1).expect("there is room").expect("a limit");
            assert_eq!(standing.remaining, left);
        }
        let (standing, wait) = rates.take(&who, tier, 1).expect_err("it is empty");
        assert_eq!((standing.remaining, wait), (0, Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        rates.take(&who, tier, 1).expect("one has come back");
        rates.take(&who, tier, 1).expect_err("and only one");
        rates.take(&Counted::Key("other".to_owned()), tier, 1).expect("others have their own");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_let_in_is_owed() {
        let rates = Rates::new(&RatesSection::default());
        let who = Counted::Key("k".to_owned());
        let tier = Tier { per_minute: 60, per_day: 0 };
        rates.take(&who, tier, 1).expect("the batch is let in");
        rates.charge(&who, tier, 99);
        let (standing, wait) = rates.take(&who, tier, 1).expect_err("a hundred are owed");
        assert_eq!((standing.remaining, wait), (0, Duration::from_secs(41)));
        tokio::time::advance(wait).await;
        rates.take(&who, tier, 1).expect("it has been made up for");
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_window_refuses_is_taken_from_none() {
        let rates = Rates::new(&RatesSection::default());
        let who = Counted::Key("k".to_owned());
        let tier = Tier { per_minute: 10, per_day: 2 };
        rates.take(&who, tier, 1).expect("one");
        rates.take(&who, tier, 1).expect("two");
        let (_, wait) = rates.take(&who, tier, 1).expect_err("the day is used up");
        assert_eq!(wait, Duration::from_secs(12 * 60 * 60));
        let free = Tier { per_minute: 10, per_day: 0 };
        let standing = rates.take(&who, free, 1).expect("the minute is not").expect("a limit");
        assert_eq!(standing.remaining, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_fill_no_memory_and_a_network_counts_as_one() {
        let rates = Rates::new(&RatesSection::default());
        let tier = Tier { per_minute: 2, per_day: 0 };
        for at in 0..2 * u32::try_from(BUCKETS_MAX).expect("few") {
            let address = IpAddr::from(at.to_be_bytes());
            rates.take(&Counted::Failures(address), tier, 1).expect("each has its own");
        }
        assert!(rates.buckets.lock().expect("whole").full_at.len() <= BUCKETS_MAX);
        let network =
            |last: u16| Counted::Failures(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        rates.take(&network(1), tier, 1).expect("one");
        rates.take(&network(2), tier, 1).expect("two");
        rates.take(&network(3), tier, 1).expect_err("the network's bucket is empty");
    }

    #[tokio::test(start_paused = true)]
    async fn the_tightest_limit_is_told() {
        let rates = Rates::new(&RatesSection::default());
        let who = Counted::Key("k".to_owned());
        let standing = rates.take(&who, Tier { per_minute: 10, per_day: 5 }, 1);
        assert_eq!(standing.expect("room").expect("a limit").limit, 5);
        let told = Told::default();
        for remaining in [4, 2, 3] {
            told.note(Standing { limit: 5, remaining, reset: Duration::ZERO });
        }
        assert_eq!(told.get().expect("noted").remaining, 2);
    }
}
