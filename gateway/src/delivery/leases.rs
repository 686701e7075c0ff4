//! Who serves which shard. No IO and no clock: it is told what the directory says and what time it is.
//!
//! A lease is a document. Whoever holds it writes it again and again; who sees it unchanged for the whole length of a
//! lease takes it, from the version that was seen. Nobody compares clocks: each counts the time since it saw or
//! wrote something itself, and a holder lets go after two thirds of the length without a write that was taken.
//!
//! Invariant: when somebody else may take a shard, its holder has let go, or its writes are refused.

use std::collections::BTreeMap;

use super::kept::SHARDS;

/// Gateways that share the work at most; there is a place for each to say that it is there.
pub const GATEWAYS_MAX: usize = 16;

#[derive(Debug, Clone, Default)]
struct Seen {
    version: u64,
    holder: String,
    /// When it was seen to change last.
    changed_ms: u64,
}

/// A shard that is served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The version that the next write names.
    pub version: u64,
    /// When the last write that was taken was sent.
    pub renewed_ms: u64,
    /// It is to be given to somebody else.
    pub leaving: bool,
}

/// One gateway's view of all leases.
#[derive(Debug)]
pub struct Leases {
    me: String,
    lease_ms: u64,
    began_ms: u64,
    shards: Vec<Seen>,
    gateways: BTreeMap<usize, Seen>,
    held: BTreeMap<usize, Held>,
}

impl Leases {
    /// Nothing is known, nothing held.
    #[must_use]
    pub fn new(me: &str, lease_ms: u64, now_ms: u64) -> Self {
        let shards = vec![Seen { changed_ms: now_ms, ..Seen::default() }; SHARDS];
        let (gateways, held) = (BTreeMap::new(), BTreeMap::new());
        Self { me: me.to_owned(), lease_ms, began_ms: now_ms, shards, gateways, held }
    }

    /// What the directory says of a shard.
    pub fn saw_shard(&mut self, shard: usize, version: u64, holder: &str, now_ms: u64) {
        if let Some(seen) = self.shards.get_mut(shard) {
            see(seen, version, holder, now_ms);
        }
    }

    /// What the directory says in a gateway's place.
    pub fn saw_gateway(&mut self, place: usize, version: u64, holder: &str, now_ms: u64) {
        see(self.gateways.entry(place).or_default(), version, holder, now_ms);
    }

    /// The gateways that are there, this one among them.
    #[must_use]
    pub fn gateways(&self, now_ms: u64) -> usize {
        let alive = |seen: &&Seen| {
            !seen.holder.is_empty() && now_ms - seen.changed_ms.min(now_ms) < self.lease_ms
        };
        let others = self.gateways.values().filter(alive).filter(|seen| seen.holder != self.me);
        let mut holders: Vec<&str> = others.map(|seen| &*seen.holder).collect();
        holders.sort_unstable();
        holders.dedup();
        holders.len() + 1
    }

    /// A place in which this gateway can say that it is there, with the version that is there now: its own, else one
    /// whose gateway is gone. `random` keeps those that begin together apart.
    #[must_use]
    pub fn own_place(&self, now_ms: u64, random: u64) -> Option<(usize, u64)> {
        let own = self.gateways.iter().find(|(_, seen)| seen.holder == self.me);
        if let Some((place, seen)) = own {
            return Some((*place, seen.version));
        }
        let free = (0..GATEWAYS_MAX).filter(|place| match self.gateways.get(place) {
            None => true,
            Some(seen) => {
                seen.holder.is_empty() || now_ms.saturating_sub(seen.changed_ms) >= self.lease_ms
            }
        });
        let free: Vec<usize> = free.collect();
        let at = usize::try_from(random % (free.len().max(1) as u64)).unwrap_or(0);
        let place = *free.get(at)?;
        Some((place, self.gateways.get(&place).map_or(0, |seen| seen.version)))
    }

    /// The shards to take now, each with the version that was seen.
    #[must_use]
    pub fn claims(&self, now_ms: u64) -> Vec<(usize, u64)> {
        // Others that begin at the same time are heard of within a moment.
        if now_ms.saturating_sub(self.began_ms) < self.lease_ms / 4 {
            return Vec::new();
        }
        let room = self.fair(now_ms).saturating_sub(self.held.len());
        let free = (0..SHARDS).filter(|shard| {
            let seen = &self.shards[*shard];
            let over = now_ms.saturating_sub(seen.changed_ms) >= self.lease_ms;
            !self.held.contains_key(shard) && (seen.holder.is_empty() || over)
        });
        free.take(room).map(|shard| (shard, self.shards[shard].version)).collect()
    }

    /// As many shards as each gateway serves, rounded up.
    fn fair(&self, now_ms: u64) -> usize {
        SHARDS.div_ceil(self.gateways(now_ms))
    }

    /// Marks shards that others should serve, when this gateway has more than its part.
    pub fn share(&mut self, now_ms: u64) {
        let staying = self.held.values().filter(|held| !held.leaving).count();
        let surplus = staying.saturating_sub(self.fair(now_ms));
        let last = self.held.values_mut().rev().filter(|held| !held.leaving);
        last.take(surplus).for_each(|held| held.leaving = true);
    }

    /// Marks all: this gateway ends.
    pub fn leave_all(&mut self) {
        self.held.values_mut().for_each(|held| held.leaving = true);
    }

    /// A write of a shard's document was taken: it was sent then, and made this version.
    pub fn renewed(&mut self, shard: usize, version: u64, sent_ms: u64) {
        let leaving = self.held.get(&shard).is_some_and(|held| held.leaving);
        self.held.insert(shard, Held { version, renewed_ms: sent_ms, leaving });
        let me = self.me.clone();
        self.saw_shard(shard, version, &me, sent_ms);
    }

    /// It turned out that a write was taken whose answer never came. When it was sent is not known any more.
    pub fn adopted(&mut self, shard: usize, version: u64) {
        if let Some(held) = self.held.get_mut(&shard) {
            held.version = held.version.max(version);
        }
    }

    /// A shard is served here no more.
    pub fn let_go(&mut self, shard: usize) {
        self.held.remove(&shard);
    }

    /// The shards that were not renewed in time. Nothing may be sent for them any more.
    #[must_use]
    pub fn expired(&self, now_ms: u64) -> Vec<usize> {
        let over = |held: &Held| self.is_over(held, now_ms);
        self.held.iter().filter(|(_, held)| over(held)).map(|(shard, _)| *shard).collect()
    }

    fn is_over(&self, held: &Held, now_ms: u64) -> bool {
        now_ms.saturating_sub(held.renewed_ms) >= self.lease_ms / 3 * 2
    }

    /// Whether something may be sent for a shard now.
    #[must_use]
    pub fn may_send(&self, shard: usize, now_ms: u64) -> bool {
        let held = self.held.get(&shard);
        held.is_some_and(|held| !held.leaving && !self.is_over(held, now_ms))
    }

    /// What is held here.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<usize, Held> {
        &self.held
    }

    /// Which gateway this is.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }
}

fn see(seen: &mut Seen, version: u64, holder: &str, now_ms: u64) {
    if version > seen.version {
        *seen = Seen { version, holder: holder.to_owned(), changed_ms: now_ms };
    }
}

/// The shard of a destination.
#[must_use]
pub fn shard_of(destination: &str) -> usize {
    let hash = blake3::hash(destination.as_bytes());
    let first = hash.as_bytes().first_chunk::<8>().expect("a hash is longer");
    usize::try_from(u64::from_le_bytes(*first) % SHARDS as u64).expect("there are few shards")
}
