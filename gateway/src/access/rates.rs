//! How often keys, outlets and addresses may ask: a bucket each, refilled evenly.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{RatesSection, Tier};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Buckets kept at most; those that are full again are forgotten first.
const BUCKETS_MAX: usize = 100_000;

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

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Counted {
    /// A key.
    Key(String),
    /// A key at one outlet.
    Outlet(String, String),
    /// An address that nobody has vouched for.
    Address(std::net::IpAddr),
}

/// Who has asked how often, at this gateway.
#[derive(Debug)]
pub struct Rates {
    tiers: RatesSection,
    buckets: Mutex<HashMap<(Counted, Window), Bucket>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Window {
    Minute,
    Day,
}

/// The time at which the bucket would be full again; a request moves it on by its share of the window.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl Rates {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(tiers: &RatesSection) -> Self {
        Self { tiers: tiers.clone(), buckets: Mutex::default() }
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

    /// What an address that nobody has vouched for may ask.
    #[must_use]
    pub fn public_tier(&self) -> Tier {
        Tier { per_minute: self.tiers.public_per_minute, per_day: 0 }
    }

    /// Takes `cost` from a bucket. `Err` holds when to come back; nothing was taken then.
    pub fn take(
        &self,
        who: &Counted,
        tier: Tier,
        cost: u32,
    ) -> Result<Option<Standing>, (Standing, Duration)> {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| bucket.full_at > now);
        }
        let windows = [(Window::Minute, MINUTE, tier.per_minute), (Window::Day, DAY, tier.per_day)];
        let mut told = None;
        let mut taken = Vec::with_capacity(windows.len());
        for (window, length, limit) in windows {
            if limit == 0 {
                continue;
            }
            let key = (who.clone(), window);
            let full_at = buckets.get(&key).map_or(now, |bucket| bucket.full_at.max(now));
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
            told.get_or_insert_with(|| standing(next));
        }
        for (key, full_at) in taken {
            buckets.insert(key, Bucket { full_at });
        }
        Ok(told)
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
}
