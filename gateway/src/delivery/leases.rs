//! Who serves which shard. No IO and no clock: it is told what the directory says and what time it is.
//!
//! A gateway's lease is the document in which it says that it is there. It writes that again and again, with every
//! write of a shard as well; each shard names its holder. Who sees a gateway's document unchanged for the whole length
//! of a lease takes its shards, in one write that puts the document out of force from the version that was seen: the
//! gateway's next write is refused. Nobody compares clocks: each counts the time since it saw or wrote something
//! itself, and a holder lets go after two thirds of the length without a write that was taken.
//!
//! Invariant: when somebody else may take a shard, its holder has let go, or its writes are refused.

use std::collections::BTreeMap;

use super::kept::SHARDS;

/// Gateways that share the work at most; there is a place for each to say that it is there. One without a place serves
/// nothing.
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
    /// It is to be given to somebody else.
    pub leaving: bool,
}

/// What is to be taken, in one write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The shards, each with the version that was seen.
    pub shards: Vec<(usize, u64)>,
    /// The places of gateways that are gone and have held some of them, each with the version that was seen. They are
    /// written over with the shards.
    pub over: Vec<(usize, u64)>,
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
    /// When the last write of this gateway's place that was taken was sent; none before the first, and when the place
    /// was lost.
    renewed_ms: Option<u64>,
}

impl Leases {
    /// Nothing is known, nothing held.
    #[must_use]
    pub fn new(me: &str, lease_ms: u64, now_ms: u64) -> Self {
        let shards = vec![Seen { changed_ms: now_ms, ..Seen::default() }; SHARDS];
        let (gateways, held) = (BTreeMap::new(), BTreeMap::new());
        let me = me.to_owned();
        Self { me, lease_ms, began_ms: now_ms, shards, gateways, held, renewed_ms: None }
    }

    /// What the directory says of a shard. One that somebody else has taken is served here no more.
    pub fn saw_shard(&mut self, shard: usize, version: u64, holder: &str, now_ms: u64) {
        if let Some(seen) = self.shards.get_mut(shard) {
            see(seen, version, holder, now_ms);
        }
    }

    /// What the directory says in a gateway's place.
    pub fn saw_gateway(&mut self, place: usize, version: u64, holder: &str, now_ms: u64) {
        let seen = self.gateways.entry(place).or_default();
        let was_own = seen.holder == self.me;
        see(seen, version, holder, now_ms);
        if was_own && seen.holder != self.me {
            self.renewed_ms = None;
        }
    }

    /// The gateways that are there, this one among them.
    #[must_use]
    pub fn gateways(&self, now_ms: u64) -> usize {
        let others = self.gateways.values().filter(|seen| self.is_alive(seen, now_ms));
        let others = others.filter(|seen| seen.holder != self.me);
        let mut holders: Vec<&str> = others.map(|seen| &*seen.holder).collect();
        holders.sort_unstable();
        holders.dedup();
        holders.len() + 1
    }

    fn is_alive(&self, seen: &Seen, now_ms: u64) -> bool {
        !seen.holder.is_empty() && now_ms.saturating_sub(seen.changed_ms) < self.lease_ms
    }

    /// A place in which this gateway can say that it is there, with the version that is there now: its own, else one
    /// whose gateway is gone. `random` keeps those that begin together apart.
    #[must_use]
    pub fn own_place(&self, now_ms: u64, random: u64) -> Option<(usize, u64)> {
        let own = self.gateways.iter().find(|(_, seen)| seen.holder == self.me);
        if let Some((place, seen)) = own {
            return Some((*place, seen.version));
        }
        let free = (0..GATEWAYS_MAX).filter(|place| {
            self.gateways.get(place).is_none_or(|seen| !self.is_alive(seen, now_ms))
        });
        let free: Vec<usize> = free.collect();
        let at = usize::try_from(random % (free.len().max(1) as u64)).unwrap_or(0);
        let place = *free.get(at)?;
        Some((place, self.gateways.get(&place).map_or(0, |seen| seen.version)))
    }

    /// Whether it is time to say again that this gateway is there.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.renewed_ms.is_none_or(|ms| now_ms.saturating_sub(ms) >= self.lease_ms / 4)
    }

    /// What to take now. What is given back, or was held by somebody who has no place any more, is free at once.
    #[must_use]
    pub fn claims(&self, now_ms: u64) -> Claims {
        let mut claims = Claims::default();
        // Others that begin at the same time are heard of within a moment.
        let begins = now_ms.saturating_sub(self.began_ms) < self.lease_ms / 4;
        if begins || self.is_over(now_ms) {
            return claims;
        }
        // What names this gateway was let go, or taken by a write whose answer was lost: nobody else takes it as long as
        // this gateway is there. What is too much is given back.
        let others = (0..SHARDS).filter(|shard| !self.held.contains_key(shard));
        let (own, others): (Vec<_>, Vec<_>) =
            others.partition(|shard| self.shards[*shard].holder == self.me);
        claims.shards.extend(own.into_iter().map(|shard| (shard, self.shards[shard].version)));
        let room = self.fair(now_ms).saturating_sub(self.held.len());
        for shard in others {
            if claims.shards.len() >= room {
                break;
            }
            let seen = &self.shards[shard];
            if !seen.holder.is_empty() {
                let places = self.gateways.iter().filter(|(_, it)| it.holder == seen.holder);
                let places: Vec<_> = places.collect();
                if places.iter().any(|(_, it)| self.is_alive(it, now_ms)) {
                    continue;
                }
                let over = places.iter().map(|(place, it)| (**place, it.version));
                let new: Vec<_> = over.filter(|it| !claims.over.contains(it)).collect();
                claims.over.extend(new);
            }
            claims.shards.push((shard, seen.version));
        }
        claims
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

    /// A write of this gateway's place was taken: it was sent then, and made this version.
    pub fn renewed(&mut self, place: usize, version: u64, sent_ms: u64, now_ms: u64) {
        let seen = self.gateways.entry(place).or_default();
        if version < seen.version {
            // Somebody has written over it meanwhile.
            return;
        }
        *seen = Seen { version, holder: self.me.clone(), changed_ms: now_ms };
        self.renewed_ms = self.renewed_ms.max(Some(sent_ms));
    }

    /// A write of a shard's document was taken, with one of this gateway's place, and made this version.
    pub fn took(&mut self, shard: usize, version: u64, now_ms: u64) {
        let leaving = self.held.get(&shard).is_some_and(|held| held.leaving);
        self.held.insert(shard, Held { version, leaving });
        let me = self.me.clone();
        self.saw_shard(shard, version, &me, now_ms);
    }

    /// It turned out that a write was taken whose answer never came.
    pub fn adopted(&mut self, shard: usize, version: u64) {
        if let Some(held) = self.held.get_mut(&shard) {
            held.version = held.version.max(version);
        }
    }

    /// A shard is served here no more.
    pub fn let_go(&mut self, shard: usize) {
        self.held.remove(&shard);
    }

    /// The shards that may be served here no more: all when the lease was not renewed in time or the place was lost,
    /// and each that somebody else has taken.
    #[must_use]
    pub fn expired(&self, now_ms: u64) -> Vec<usize> {
        let over = self.is_over(now_ms);
        let gone = |shard: &usize, held: &Held| {
            let seen = &self.shards[*shard];
            over || (seen.version > held.version && seen.holder != self.me)
        };
        self.held
            .iter()
            .filter(|(shard, held)| gone(shard, held))
            .map(|(shard, _)| *shard)
            .collect()
    }

    fn is_over(&self, now_ms: u64) -> bool {
        self.renewed_ms.is_none_or(|ms| now_ms.saturating_sub(ms) >= self.lease_ms / 3 * 2)
    }

    /// Whether something may be sent for a shard now.
    #[must_use]
    pub fn may_send(&self, shard: usize, now_ms: u64) -> bool {
        let held = self.held.get(&shard);
        held.is_some_and(|held| !held.leaving) && !self.is_over(now_ms)
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
