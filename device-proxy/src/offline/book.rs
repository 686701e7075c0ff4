//! What the entries of a spool come to. The same code reads them at the start and takes each new one in.

use std::collections::{BTreeMap, BTreeSet};

use fiscus_ledger::credential::{Credential, CredentialTerms};
use fiscus_ledger::hash::Hash32;

use super::entry::{Asked, Entry, Facts, Outcome, SealKey};
use super::scan::Place;
use super::spool::Kept;

/// Refused seals that are told at once.
const REFUSED_AT_ONCE: usize = 500;

/// Numbers that were lent.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) credential: Credential,
    pub(crate) terminal_id: String,
    /// The place of the next seal.
    pub(crate) next: u64,
    /// What it links to.
    pub(crate) prev_hash: Hash32,
    /// Nothing more is sealed under it.
    pub(crate) ended: bool,
    /// The ledger has closed its block.
    pub(crate) closed: bool,
    /// Seals that the ledger has not answered to.
    pub(crate) unsettled: u64,
    /// A seal under it was refused, or may be lost: nobody can say that its numbers which have not come are unused.
    pub(crate) doubtful: bool,
}

impl Held {
    pub(crate) fn terms(&self) -> &CredentialTerms {
        self.credential.terms()
    }

    /// Numbers that are left.
    pub(crate) fn left(&self) -> u64 {
        if self.ended || self.closed {
            return 0;
        }
        let terms = self.terms();
        (terms.last - terms.first + 1).saturating_sub(self.next - 1)
    }

    /// Whether it may be sealed under it at a time.
    pub(crate) fn is_open_at(&self, time_ms: u64) -> bool {
        let terms = self.terms();
        self.left() > 0 && (terms.not_before_ms..=terms.not_after_ms).contains(&time_ms)
    }
}

/// A seal of this box.
#[derive(Debug, Clone)]
pub(crate) struct Slip {
    pub(crate) key: SealKey,
    pub(crate) sequence: u64,
    pub(crate) fiscal_number: String,
    pub(crate) credential_id: String,
    pub(crate) place: u64,
    pub(crate) time_ms: u64,
    /// Where its entry is.
    pub(crate) at: Place,
    /// What the ledger made of it, and when.
    pub(crate) settled: Option<(Outcome, u64)>,
}

/// What became of a sale that was sealed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// Its slip is here, by its order.
    Kept(u64),
    /// The ledger has it under this number.
    Pruned(String),
}

/// Everything that a spool remembers.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) floor_ms: u64,
    /// Whether the cluster's time made it: this machine's clock alone may be decades off. Until then nothing is sealed.
    pub(crate) floor_known: bool,
    pub(crate) facts: Option<Facts>,
    /// The cluster's time, and the wall clock then.
    pub(crate) heard: Option<(u64, u64)>,
    /// By terminal.
    pub(crate) asked: BTreeMap<String, Asked>,
    /// By the credential's id.
    pub(crate) held: BTreeMap<String, Held>,
    /// In the order of their sealing.
    pub(crate) slips: BTreeMap<u64, Slip>,
    pub(crate) unsettled: BTreeSet<u64>,
    pub(crate) sealed: BTreeMap<SealKey, Sealed>,
    by_sequence: BTreeMap<u64, u64>,
    by_place: BTreeMap<(String, u64), u64>,
    /// Sales that were submitted to the cluster, with when they were authored.
    tried: BTreeMap<SealKey, u64>,
    by_authored: BTreeSet<(u64, SealKey)>,
    /// The latest time of a seal.
    pub(crate) last_ms: u64,
    pub(crate) refused: u64,
    /// When this spool was found damaged, and how.
    pub(crate) damages: Vec<(u64, String)>,
    orders: u64,
}

impl Book {
    /// Takes an entry in.
    pub(crate) fn note(&mut self, place: Place, entry: &Entry) {
        match entry {
            Entry::Floor { authored_ms } => {
                self.raise_floor(*authored_ms);
                self.floor_known = true;
            }
            Entry::Facts(facts) => self.facts = Some((**facts).clone()),
            Entry::Heard { group_ms, wall_ms } => self.heard = Some((*group_ms, *wall_ms)),
            Entry::Asked(asked) => {
                self.asked.insert(asked.terminal_id.clone(), asked.clone());
            }
            Entry::Granted { credential, terminal_id } => self.grant(credential, terminal_id),
            Entry::Ended { credential_id } => self.end(credential_id),
            Entry::Closed { credential_id } => {
                self.asked.retain(|_, asked| asked.credential_id != *credential_id);
                if let Some(held) = self.held.get_mut(credential_id) {
                    held.closed = true;
                }
            }
            Entry::Tried { key, authored_ms } => {
                if let Some(before) = self.tried.insert(*key, *authored_ms) {
                    self.by_authored.remove(&(before, *key));
                }
                self.by_authored.insert((*authored_ms, *key));
            }
            Entry::Untried { key } => self.forget(key),
            Entry::Sold(sold) => {
                let seal = &sold.seal;
                let slip = Slip {
                    key: sold.key,
                    sequence: sold.sequence,
                    fiscal_number: sold.fiscal_number.clone(),
                    credential_id: seal.credential_id.to_string(),
                    place: seal.place,
                    time_ms: seal.timestamp.get(),
                    at: place,
                    settled: None,
                };
                self.sell(slip, sold.entry_hash);
            }
            Entry::Settled { credential_id, place, settled_ms, outcome } => {
                self.settle(credential_id, *place, outcome, *settled_ms);
            }
            Entry::Pruned { key, fiscal_number } => {
                self.sealed.insert(*key, Sealed::Pruned(fiscal_number.clone()));
            }
            Entry::Damaged { at_ms, detail } => {
                self.damages.push((*at_ms, detail.clone()));
                self.raise_floor(*at_ms);
                self.floor_known = false;
                // They may have been lent, and sealed under: asked for again, they would be lent again.
                self.asked.clear();
                for held in self.held.values_mut() {
                    (held.ended, held.doubtful) = (true, true);
                }
            }
        }
    }

    fn raise_floor(&mut self, authored_ms: u64) {
        self.floor_ms = self.floor_ms.max(authored_ms);
        while let Some((authored, key)) = self.by_authored.first().copied() {
            if authored > self.floor_ms {
                break;
            }
            self.by_authored.pop_first();
            self.tried.remove(&key);
        }
    }

    fn grant(&mut self, credential: &Credential, terminal_id: &str) {
        let terms = credential.terms();
        self.asked.retain(|_, asked| asked.credential_id != terms.id);
        let held = Held {
            credential: credential.clone(),
            terminal_id: terminal_id.to_owned(),
            next: 1,
            prev_hash: terms.block_entry_hash,
            ended: false,
            closed: false,
            unsettled: 0,
            doubtful: false,
        };
        self.held.entry(terms.id.clone()).or_insert(held);
    }

    fn end(&mut self, credential_id: &str) {
        if let Some(held) = self.held.get_mut(credential_id) {
            held.ended = true;
        }
    }

    fn sell(&mut self, slip: Slip, entry_hash: Hash32) {
        self.orders += 1;
        let order = self.orders;
        self.last_ms = self.last_ms.max(slip.time_ms);
        if let Some(held) = self.held.get_mut(&slip.credential_id) {
            held.next = held.next.max(slip.place + 1);
            held.prev_hash = entry_hash;
            held.unsettled += 1;
        }
        self.sealed.insert(slip.key, Sealed::Kept(order));
        self.by_sequence.insert(slip.sequence, order);
        self.by_place.insert((slip.credential_id.clone(), slip.place), order);
        self.unsettled.insert(order);
        self.slips.insert(order, slip);
    }

    fn settle(&mut self, credential_id: &str, place: u64, outcome: &Outcome, at_ms: u64) {
        let order = self.by_place.get(&(credential_id.to_owned(), place));
        let Some((order, slip)) = order.and_then(|at| Some((*at, self.slips.get_mut(at)?))) else {
            return;
        };
        slip.settled = Some((outcome.clone(), at_ms));
        if self.unsettled.remove(&order)
            && let Some(held) = self.held.get_mut(credential_id)
        {
            held.unsettled -= 1;
        }
        if matches!(outcome, Outcome::Refused { .. }) {
            self.refused += 1;
            // Nothing can link to it any more, and a customer has its paper.
            if let Some(held) = self.held.get_mut(credential_id) {
                (held.ended, held.doubtful) = (true, true);
            }
        }
    }

    fn forget(&mut self, key: &SealKey) {
        if let Some(authored) = self.tried.remove(key) {
            self.by_authored.remove(&(authored, *key));
        }
    }

    /// Whether a sale was ever submitted to the cluster.
    pub(crate) fn was_tried(&self, key: &SealKey) -> bool {
        self.tried.contains_key(key)
    }

    /// Where the floor is to be, so that at most `most` submitted sales are remembered.
    pub(crate) fn floor_for(&self, most: usize) -> Option<u64> {
        let over = self.by_authored.len().checked_sub(most)?.checked_sub(1)?;
        self.by_authored.iter().nth(over).map(|(authored, _)| *authored)
    }

    /// A seal by its number.
    pub(crate) fn by_sequence(&self, sequence: u64) -> Option<&Slip> {
        self.slips.get(self.by_sequence.get(&sequence)?)
    }

    /// Seals that the ledger has refused, by their numbers, from behind one on.
    pub(crate) fn refused_after(&self, sequence: u64) -> Vec<(u64, Slip)> {
        let some = self.all_refused_after(sequence).take(REFUSED_AT_ONCE);
        some.map(|(sequence, slip)| (sequence, slip.clone())).collect()
    }

    /// Whether there is one.
    pub(crate) fn is_refused_after(&self, sequence: u64) -> bool {
        self.all_refused_after(sequence).next().is_some()
    }

    fn all_refused_after(&self, sequence: u64) -> impl Iterator<Item = (u64, &Slip)> {
        let later = self.by_sequence.range(sequence.saturating_add(1)..);
        let slips = later.filter_map(|(sequence, order)| Some((*sequence, self.slips.get(order)?)));
        slips.filter(|(_, slip)| matches!(slip.settled, Some((Outcome::Refused { .. }, _))))
    }

    /// The last number that was sealed under.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.by_sequence.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    /// Whether a number was lent to this box.
    pub(crate) fn lends(&self, sequence: u64) -> bool {
        let lends = |held: &Held| (held.terms().first..=held.terms().last).contains(&sequence);
        self.held.values().any(lends)
    }

    /// The credential that a terminal seals under at a time: the one that ends first.
    pub(crate) fn open_for(&self, terminal_id: &str, time_ms: u64) -> Option<&Held> {
        let open = self.held.values().filter(|held| held.terminal_id == terminal_id);
        open.filter(|held| held.is_open_at(time_ms)).min_by_key(|held| held.terms().not_after_ms)
    }

    /// Numbers that a terminal has from a time on, and until when. Those that were lent a moment ago begin after the time that
    /// the cluster was heard to tell before, and are not asked for a second time.
    pub(crate) fn lent_to(&self, terminal_id: &str, time_ms: u64) -> (u64, u64) {
        let own = self.held.values().filter(|held| held.terminal_id == terminal_id);
        let usable = own.filter(|held| held.left() > 0 && time_ms <= held.terms().not_after_ms);
        usable.fold((0, 0), |(numbers, until), held| {
            (numbers + held.left(), until.max(held.terms().not_after_ms))
        })
    }

    /// Numbers that are left at a time, and until when the last of their credentials is valid.
    pub(crate) fn left_at(&self, terminal_id: Option<&str>, time_ms: u64) -> (u64, u64) {
        let of = |held: &&Held| terminal_id.is_none_or(|id| held.terminal_id == id);
        let open = self.held.values().filter(of).filter(|held| held.is_open_at(time_ms));
        open.fold((0, 0), |(numbers, until), held| {
            (numbers + held.left(), until.max(held.terms().not_after_ms))
        })
    }

    /// The entries that say the same without what is of no use any more. `kept_after_ms` is since when settled seals
    /// are kept. Seals, which are long, are told by their places.
    pub(crate) fn entries(&self, kept_after_ms: u64) -> Vec<Kept> {
        let gone = |slip: &&Slip| matches!(&slip.settled, Some((Outcome::Appended { .. }, at)) if *at < kept_after_ms);
        let needed: BTreeSet<&str> = self
            .slips
            .values()
            .filter(|slip| !gone(slip))
            .map(|slip| &*slip.credential_id)
            .collect();
        let held = self.held.iter().filter(|(id, held)| !held.closed || needed.contains(&***id));
        let granted = |(_, held): (&String, &Held)| {
            let credential = Box::new(held.credential.clone());
            Entry::Granted { credential, terminal_id: held.terminal_id.clone() }
        };
        // The doubtful ones, which have ended, come before the damages that made them so.
        let mut out: Vec<Entry> =
            held.clone().filter(|(_, held)| held.doubtful).map(granted).collect();
        let damages = self.damages.iter().cloned();
        out.extend(damages.map(|(at_ms, detail)| Entry::Damaged { at_ms, detail }));
        // Behind the damages it holds in spite of them; before them it is still to be made.
        let floor_at = if self.floor_known { out.len() } else { 0 };
        if self.floor_known || !self.damages.is_empty() {
            out.insert(floor_at, Entry::Floor { authored_ms: self.floor_ms });
        }
        out.extend(self.facts.clone().map(|facts| Entry::Facts(Box::new(facts))));
        out.extend(self.heard.map(|(group_ms, wall_ms)| Entry::Heard { group_ms, wall_ms }));
        for (key, sealed) in &self.sealed {
            if let Sealed::Pruned(fiscal_number) = sealed {
                out.push(Entry::Pruned { key: *key, fiscal_number: fiscal_number.clone() });
            }
        }
        out.extend(held.clone().filter(|(_, held)| !held.doubtful).map(granted));
        let mut slips = Vec::with_capacity(self.slips.len());
        for slip in self.slips.values() {
            // A credential that is still sealed under needs its last slip, for the place and the link.
            let open = self.held.get(&slip.credential_id).is_some_and(|held| !held.closed);
            if gone(&slip) && !open {
                let fiscal_number = slip.fiscal_number.clone();
                slips.push(Kept::Entry(Entry::Pruned { key: slip.key, fiscal_number }));
                continue;
            }
            slips.push(Kept::At(slip.at));
            if let Some((outcome, settled_ms)) = slip.settled.clone() {
                let (credential_id, place) = (slip.credential_id.clone(), slip.place);
                let settled = Entry::Settled { credential_id, place, settled_ms, outcome };
                slips.push(Kept::Entry(settled));
            }
        }
        let mut rest = Vec::new();
        for (credential_id, held) in held {
            if held.ended {
                rest.push(Entry::Ended { credential_id: credential_id.clone() });
            }
            if held.closed {
                rest.push(Entry::Closed { credential_id: credential_id.clone() });
            }
        }
        rest.extend(self.asked.values().cloned().map(Entry::Asked));
        let tried = self.by_authored.iter();
        rest.extend(
            tried.map(|(authored_ms, key)| Entry::Tried { key: *key, authored_ms: *authored_ms }),
        );
        let (before, after) = (out.into_iter().map(Kept::Entry), rest.into_iter().map(Kept::Entry));
        before.chain(slips).chain(after).collect()
    }
}
