//! Nonces: what a host holds between `TXN|PREPARE` and `TXN|COMMIT`.
//!
//! ```text
//! nonce = 8 random bytes ‖ idempotency key      idempotency key = H("fiscus/device-seal/v1", payload hash)[..16]
//! ```
//!
//! The key is made of the payload, so that one payload is sealed at most once on the device path: under two
//! nonces, through two proxies, before and after a power cut. And it is part of the nonce, so that a proxy
//! that has forgotten the nonce still finds what was sealed under it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use fiscus_ledger::hash::{Hash32, Tagged, from_hex, hex, payload_hash};

/// A nonce lives so long.
pub const NONCE_LIFE: Duration = Duration::from_secs(7);
/// A payload whose outcome is unknown is kept so long, to be asked for again.
pub const DOUBT_LIFE: Duration = Duration::from_secs(600);
/// Nonces that are remembered when they have come to their end.
const REMEMBERED: usize = 64;
const RANDOM_BYTES: usize = 8;
const KEY_BYTES: usize = 16;

/// A nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    random: [u8; RANDOM_BYTES],
    key: [u8; KEY_BYTES],
}

impl Nonce {
    /// A nonce for a payload.
    #[must_use]
    pub fn new(random: [u8; RANDOM_BYTES], payload: &[u8]) -> Self {
        Self { random, key: seal_key(&payload_hash(payload)) }
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = from_hex::<{ RANDOM_BYTES + KEY_BYTES }>(text)?;
        let (random, key) = (*bytes.first_chunk()?, *bytes.last_chunk()?);
        Some(Self { random, key }).filter(|nonce| nonce.to_string() == text)
    }

    /// The idempotency key that is in it.
    #[must_use]
    pub fn key(&self) -> [u8; KEY_BYTES] {
        self.key
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", hex(&self.random), hex(&self.key))
    }
}

/// The idempotency key of a payload on the device path.
#[must_use]
pub fn seal_key(payload_hash: &Hash32) -> [u8; KEY_BYTES] {
    let hash = Tagged::new("fiscus/device-seal/v1").h32(payload_hash).finish();
    *hash.first_chunk().expect("a hash is longer than a key")
}

/// What was prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The canonical invoice.
    pub payload: Vec<u8>,
    /// The terminal that it names.
    pub terminal_id: String,
    /// Whether it was checked, and is to be sealed, without the cluster.
    pub alone: bool,
}

#[derive(Debug)]
struct Held {
    nonce: Nonce,
    prepared: Prepared,
    until: Duration,
    /// A commit of it has no answer yet.
    doubtful: bool,
}

/// What is known of a nonce.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is to be sealed.
    Held(Prepared),
    /// It was sealed: the answer.
    Sealed(String),
    /// It was never used in its time.
    Expired,
    /// It was used, nobody knew the outcome, and that is long ago.
    Forgotten,
    /// Not here.
    Unknown,
}

/// The nonces of one host.
#[derive(Debug)]
pub(super) struct Nonces {
    held: VecDeque<Held>,
    held_bytes: usize,
    nonces_max: usize,
    bytes_max: usize,
    sealed: VecDeque<(Nonce, String)>,
    /// And whether it was used.
    ended: VecDeque<(Nonce, bool)>,
}

impl Nonces {
    pub(super) fn new(nonces_max: usize, bytes_max: usize) -> Self {
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            nonces_max,
            bytes_max,
            sealed: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }

    /// How many more there may be.
    pub(super) fn left(&mut self, now: Duration) -> usize {
        self.expire(now);
        self.nonces_max.saturating_sub(self.held.len())
    }

    /// Whether there is room for a payload.
    pub(super) fn has_room(&mut self, bytes: usize, now: Duration) -> bool {
        self.left(now) > 0 && self.held_bytes + bytes <= self.bytes_max
    }

    /// Holds a payload under a new nonce.
    pub(super) fn hold(&mut self, random: [u8; 8], prepared: Prepared, now: Duration) -> Nonce {
        let nonce = Nonce::new(random, &prepared.payload);
        self.held_bytes += prepared.payload.len();
        self.held.push_back(Held { nonce, prepared, until: now + NONCE_LIFE, doubtful: false });
        nonce
    }

    /// What is to be done with a nonce.
    pub(super) fn look(&mut self, nonce: &Nonce, now: Duration) -> Known {
        self.expire(now);
        if let Some(held) = self.held.iter().find(|held| held.nonce == *nonce) {
            return Known::Held(held.prepared.clone());
        }
        if let Some((_, answer)) = self.sealed.iter().find(|(sealed, _)| sealed == nonce) {
            return Known::Sealed(answer.clone());
        }
        match self.ended.iter().find(|(ended, _)| ended == nonce) {
            Some((_, true)) => Known::Forgotten,
            Some((_, false)) => Known::Expired,
            None => Known::Unknown,
        }
    }

    /// The outcome of a commit is unknown: the payload is kept, so that it can be asked for again.
    pub(super) fn doubt(&mut self, nonce: &Nonce, now: Duration) {
        if let Some(held) = self.held.iter_mut().find(|held| held.nonce == *nonce) {
            held.doubtful = true;
            held.until = now + DOUBT_LIFE;
        }
    }

    /// It was sealed.
    pub(super) fn seal(&mut self, nonce: Nonce, answer: String) {
        self.release(&nonce);
        remember(&mut self.sealed, (nonce, answer));
    }

    /// It was refused: it is used up, and nothing was sealed.
    pub(super) fn refuse(&mut self, nonce: &Nonce) {
        self.release(nonce);
    }

    fn release(&mut self, nonce: &Nonce) {
        if let Some(at) = self.held.iter().position(|held| held.nonce == *nonce) {
            self.drop_at(at);
        }
    }

    fn drop_at(&mut self, at: usize) -> Option<Held> {
        let held = self.held.remove(at)?;
        self.held_bytes -= held.prepared.payload.len();
        Some(held)
    }

    fn expire(&mut self, now: Duration) {
        while let Some(at) = self.held.iter().position(|held| held.until <= now) {
            if let Some(held) = self.drop_at(at) {
                remember(&mut self.ended, (held.nonce, held.doubtful));
            }
        }
    }
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}
