//! How a till is, told to hosts, to people and to the cluster.

use fiscus_ledger::hash::hex;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::payload::Object;
use fiscus_ledger::time::UnixMs;

use super::clock::Moment;
use super::disk::Disk;
use super::entry::Outcome;
use super::spool::SpoolError;
use super::status::{Colour, Standing, TillReport};
use super::till::{Till, not_ready, spool_fault};
use crate::protocol::Fault;

/// Of refused seals so many bytes are told at once, and one more.
const REFUSED_BYTES: usize = 4 << 20;

/// How the till is, for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TillStatus {
    /// The next number.
    pub(crate) next: u64,
    /// Numbers that are left.
    pub(crate) left: u64,
    /// When the cluster was heard last.
    pub(crate) heard: UnixMs,
    pub(crate) free_bytes: u64,
}

/// A seal that the ledger has refused: a customer has its paper, so it is kept for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedSeal {
    pub(crate) sequence: u64,
    fiscal_number: String,
    code: String,
    detail: String,
    refused_ms: u64,
    /// None when it cannot be read any more.
    seal: Option<OfflineSeal>,
}

/// Some of the seals that the ledger has refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedSeals {
    pub(crate) seals: Vec<RefusedSeal>,
    /// There are more behind this one.
    pub(crate) more_after: Option<u64>,
}

impl RefusedSeal {
    /// The seal as `POST /api/v1/invoices/reconcile` takes it, with why it was refused; `null` when it cannot be read.
    pub(crate) fn to_json(&self, device_id: &str) -> String {
        let invoice = |seal: &OfflineSeal| String::from_utf8(seal.invoice.clone()).ok();
        let seal = self.seal.as_ref().and_then(|seal| Some((seal, invoice(seal)?)));
        let told = seal.map_or_else(
            || "null".to_owned(),
            |(seal, invoice)| {
                let told = Object::new()
                    .text("credential_id", &seal.credential_id)
                    .count("place", seal.place)
                    .text("timestamp", &seal.timestamp.to_string())
                    .text("blind", &hex(&seal.blind))
                    .text("prev_hash", &hex(&seal.prev_hash))
                    .text("signature", &hex(&seal.signature))
                    .json("invoice", &invoice);
                told.finish()
            },
        );
        let object = Object::new()
            .text("device_id", device_id)
            .count("sequence", self.sequence)
            .text("fiscal_number", &self.fiscal_number)
            .text("code", &self.code)
            .text("detail", &self.detail)
            .text("refused_at", &UnixMs::new(self.refused_ms).to_string())
            .json("seal", &told);
        object.finish()
    }
}

impl<D: Disk> Till<D> {
    /// Seals that the ledger has refused, by their numbers, from behind one on: some of them, which are not too long
    /// together. One that cannot be read is told without what it was; the others are told all the same.
    pub(crate) fn refused(&mut self, after: u64) -> RefusedSeals {
        let (mut seals, mut bytes, mut last) = (Vec::new(), 0, None);
        for (sequence, slip) in self.book.refused_after(after) {
            let Some((Outcome::Refused { code, detail }, refused_ms)) = slip.settled else {
                continue;
            };
            if bytes >= REFUSED_BYTES {
                break;
            }
            let seal = self.sold_at(slip.at).map(|sold| sold.seal).ok();
            bytes += seal.as_ref().map_or(0, |seal| seal.invoice.len());
            let fiscal_number = slip.fiscal_number;
            seals.push(RefusedSeal { sequence, fiscal_number, code, detail, refused_ms, seal });
            last = Some(sequence);
        }
        let more_after = last.filter(|last| self.book.is_refused_after(*last));
        RefusedSeals { seals, more_after }
    }

    /// How the till is, for a host; why it seals nothing, when it does not.
    pub(crate) fn status(&mut self, now: Moment) -> Result<TillStatus, Fault> {
        let time = self.time(now)?;
        self.facts()?;
        let open = self.book.held.values().filter(|held| held.is_open_at(time.get()));
        let next = open.map(|held| held.terms().first + held.next - 1).min();
        let next =
            next.ok_or_else(|| not_ready("the cluster does not answer, and no numbers are left"))?;
        let (left, _) = self.book.left_at(None, time.get());
        let free = self.spool.free_bytes();
        let free_bytes =
            free.map_err(|source| spool_fault(&SpoolError::Broken { what: "looked at", source }))?;
        let heard = UnixMs::new(self.book.heard.map_or(0, |(group_ms, _)| group_ms));
        Ok(TillStatus { next, left, heard, free_bytes })
    }

    /// How the device stands.
    pub(crate) fn standing(&mut self, now: Moment) -> Standing {
        let time = self.time(now);
        let (numbers_left, until) = match &time {
            Ok(time) => self.book.left_at(None, time.get()),
            Err(_) => (0, 0),
        };
        let waiting = u64::try_from(self.book.unsettled.len()).unwrap_or(u64::MAX);
        let why = match (self.room(), time.and_then(|_| self.facts())) {
            (Err(fault), _) => Some(fault),
            // The cluster's own time is the time while it answers.
            (Ok(()), Err(fault)) if !self.linked => Some(fault),
            (Ok(()), Ok(_)) if !self.linked && numbers_left == 0 => {
                Some(not_ready("the cluster does not answer, and no numbers are left"))
            }
            _ => None,
        };
        let colour = match (&why, self.linked, waiting) {
            (Some(_), ..) => Colour::Blocked,
            (None, false, _) => Colour::Offline,
            (None, true, 0) => Colour::Online,
            (None, true, _) => Colour::Syncing,
        };
        let first = self.book.unsettled.first().and_then(|order| self.book.slips.get(order));
        Standing {
            colour,
            why: why.map(|fault| {
                format!(
                    "{}: {}",
                    fault.reason.as_deref().unwrap_or(fault.code.as_str()),
                    fault.detail
                )
            }),
            numbers_left,
            until: (until > 0).then(|| UnixMs::new(until)),
            waiting,
            waiting_since: first.map(|slip| UnixMs::new(slip.time_ms)),
            refused: self.book.refused,
            damages: u64::try_from(self.book.damages.len()).unwrap_or(u64::MAX),
            spool_bytes: self.spool.bytes(),
        }
    }

    /// How the till is, for the cluster.
    pub(crate) fn report(&mut self, now: Moment) -> TillReport {
        let time = self.time(now).ok();
        let facts = self.book.facts.as_ref();
        let manifest = facts.zip(time).and_then(|(facts, time)| facts.manifest_at(time).ok());
        TillReport {
            last_sequence: self.book.last_sequence(),
            number_prefix: facts
                .map(|facts| format!("{}-{}", facts.outlet.prefix, facts.outlet.code)),
            manifest_version: manifest.map(|manifest| manifest.version().to_owned()),
            free_bytes: self.spool.free_bytes().unwrap_or_default(),
            standing: self.standing(now),
        }
    }
}
