//! Sealing alone, and the memory that keeps a sale from being sealed both here and by the cluster.
//!
//! ```text
//! a sale's key     Tried  ─► submitted to the cluster: sealed there, or nobody knows; never sealed here
//!                  Sold   ─► sealed here; never submitted as a sale
//!                  (none) ─► either may begin
//! ```
//!
//! Whichever is written first, and synced, decides. `Untried` takes `Tried` back when the cluster surely refused or
//! never got it. Keys of submitted sales are forgotten in the order in which their documents were authored; no document
//! that was authored before the last one that was forgotten is sealed here (the floor).

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::hash::{Hash32, payload_hash};
use fiscus_ledger::invoice::{CanonicalInvoice, InvoiceType, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::NextSeal;
use fiscus_ledger::payload::Object;
use fiscus_ledger::qr::QrPayload;
use fiscus_ledger::seal::AuthCode;
use fiscus_ledger::time::UnixMs;
use serde::Deserialize;

use super::book::{Book, Held, Sealed};
use super::clock::{Clock, Moment, SetBack};
use super::disk::Disk;
use super::entry::{Entry, Facts, Outcome, SealKey, Sold};
use super::scan::Place;
use super::settings::OfflineSection;
use super::spool::{Opened, Spool, SpoolError};
use crate::protocol::answer::ok;
use crate::protocol::nonce::Prepared;
use crate::protocol::{Code, Fault};

/// A register's clock may be ahead of this machine's by so much: when nobody remembers what became of earlier documents,
/// those of the next minutes are not sealed here either.
const AHEAD_MS: u64 = 600_000;
/// The cluster's time is noted so often, for the clock of the next process.
const HEARD_EVERY_MS: u64 = 60_000;
/// Flights whose hosts have gone are not told of; so many are looked over.
const FLIGHTS_MAX: usize = 10_000;

/// A device's till.
#[derive(Debug)]
pub(crate) struct Till<D> {
    pub(super) device_id: String,
    pub(super) verify_host: String,
    pub(super) settings: OfflineSection,
    pub(super) key: SigningKey,
    pub(super) spool: Spool<D>,
    pub(super) book: Book,
    pub(super) clock: Clock,
    /// Whether the cluster seals, as far as is known.
    pub(super) linked: bool,
    /// Sales that are being submitted for the first time, and whether by one host only.
    first_flights: BTreeMap<SealKey, bool>,
    /// Terminals that were lent no numbers: until when they are not asked for, and how long that was.
    pub(super) not_lent: BTreeMap<String, (u64, u64)>,
    /// Bytes of the spool when it was written anew last.
    pub(super) tidied: u64,
    /// Until then a spool that there was no room for is not written anew.
    pub(super) tidy_from_up_ms: u64,
    /// When its credentials were compared with the ledger's blocks; not since the cluster came back.
    pub(super) compared_up_ms: Option<u64>,
}

/// Whether a sale may be submitted to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It may; this is remembered.
    Submit,
    /// It was sealed here: the answer.
    Sealed(String),
    /// It was sealed here long ago; the ledger has it under this number.
    InLedger(String),
}

/// What became of a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SealedHere {
    /// It is sealed: the answer.
    Sealed(String),
    /// It may be on the disk or not; the next start tells.
    InDoubt(String),
}

/// What the till knows of a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Slipped {
    /// It was sealed here.
    Here {
        sold: Box<Told>,
        /// Whether the ledger has it.
        delivered: bool,
    },
    /// It was lent and is not used.
    Unused,
    /// It is not one of the till's.
    Elsewhere,
}

/// A seal, and what its paper says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    sold: Sold,
    kind: String,
    pub(crate) total: String,
    pub(crate) currency: String,
    qr_payload: String,
}

/// What is read of the answer that a host was given.
#[derive(Debug, Deserialize)]
struct Answered {
    qr_payload: String,
}

impl Told {
    /// The entry of `QRY|LOG`; `of_document` adds what the invoice says.
    pub(crate) fn log_entry(
        &self,
        of_document: impl FnOnce(Object, &[u8]) -> Option<Object>,
    ) -> Option<String> {
        let (sold, seal) = (&self.sold, &self.sold.seal);
        let object = Object::new()
            .text("record_type", &format!("offline_{}", self.kind))
            .json("position", "null")
            .count("sequence", sold.sequence)
            .text("timestamp", &seal.timestamp.to_string());
        let object = of_document(object, &seal.invoice)?
            .bytes("payload_hash", &payload_hash(&seal.invoice))
            .bytes("prev_hash", &seal.prev_hash)
            .bytes("entry_hash", &sold.entry_hash)
            .bytes("signature", &seal.signature)
            .text("fiscal_number", &sold.fiscal_number)
            .text("auth_code", &AuthCode::of_signature(&seal.signature).to_string())
            .text("qr_payload", &self.qr_payload);
        Some(object.finish())
    }
}

/// What is read of a document before it is looked at any further.
#[derive(Debug, Deserialize)]
struct Authored<'d> {
    #[serde(borrow)]
    timestamp: std::borrow::Cow<'d, str>,
}

fn fault(code: Code, reason: &str, detail: impl Into<String>) -> Fault {
    Fault { code, detail: detail.into(), reason: Some(reason.to_owned()) }
}

impl<D: Disk> Till<D> {
    /// Opens what a device remembers, or begins.
    pub(crate) fn open(
        disk: D,
        (device_id, verify_host): (&str, &str),
        settings: OfflineSection,
        key: SigningKey,
        now: Moment,
    ) -> Result<Self, SpoolError> {
        // What became of earlier documents is known to nobody here; the floor is made when the cluster is heard.
        let at_damage =
            |at_ms: u64, detail: &str| Entry::Damaged { at_ms, detail: detail.to_owned() };
        let mut book = Book::default();
        let opened = Spool::open(disk, at_damage, &mut |place, entry| book.note(place, entry))?;
        let Opened { spool, damage, new } = opened;
        if let Some(damage) = damage {
            tracing::error!(
                device = device_id,
                damage,
                "THE SPOOL IS DAMAGED: seals may be lost, and nothing more is sealed under the credentials so far; \
                 the file as it was found is kept as spool.damaged-*"
            );
        } else if new {
            tracing::info!(device = device_id, "a new spool begins");
        }
        let (group_ms, wall_ms) = book.heard.unwrap_or((0, 0));
        let ahead = i64::try_from(i128::from(group_ms) - i128::from(wall_ms)).unwrap_or(0);
        let clock = Clock::new(now, ahead, book.last_ms.max(group_ms));
        let (device_id, verify_host) = (device_id.to_owned(), verify_host.to_owned());
        let first_flights = BTreeMap::new();
        let mut till = Self {
            device_id,
            verify_host,
            settings,
            key,
            spool,
            book,
            clock,
            linked: false,
            first_flights,
            not_lent: BTreeMap::new(),
            tidied: 0,
            tidy_from_up_ms: 0,
            compared_up_ms: None,
        };
        till.end_those_of_another_key()?;
        Ok(till)
    }

    /// Somebody has taken the key file away, and there is a new key: it signs nothing under what was lent to the old one.
    fn end_those_of_another_key(&mut self) -> Result<(), SpoolError> {
        let own = self.public_key();
        let of_another =
            |held: &Held| held.terms().terminal_key != own && !held.ended && !held.closed;
        let held = self.book.held.iter().filter(|(_, held)| of_another(held));
        let ended: Vec<String> = held.map(|(id, _)| id.clone()).collect();
        if ended.is_empty() {
            return Ok(());
        }
        tracing::error!(
            device = self.device_id,
            ?ended,
            "THE KEY IS NOT THE ONE THAT NUMBERS WERE LENT TO: nothing more is sealed under them"
        );
        for credential_id in ended {
            self.append(&Entry::Ended { credential_id })?;
        }
        // These may have been lent to the old key as well.
        let asked: Vec<String> =
            self.book.asked.values().map(|asked| asked.credential_id.clone()).collect();
        asked.iter().try_for_each(|id| self.closed(id))
    }

    /// Appends an entry and takes it in; it is on the disk when this returns.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), SpoolError> {
        let place = self.spool.append(entry)?;
        self.book.note(place, entry);
        Ok(())
    }

    /// The same for what may be lost: the next entry brings it to the disk.
    pub(super) fn write(&mut self, entry: &Entry) -> Result<(), SpoolError> {
        let place = self.spool.write(entry)?;
        self.book.note(place, entry);
        Ok(())
    }

    /// The ledger has seals that this spool does not know, or it is otherwise not what it was: nothing more is sealed
    /// under the credentials so far.
    pub(crate) fn distrust(&mut self, detail: &str) -> Result<(), SpoolError> {
        tracing::error!(device = self.device_id, detail, "THE SPOOL IS NOT WHAT IT WAS");
        let at_ms = self.book.heard.map_or(0, |(group_ms, _)| group_ms).max(self.book.last_ms);
        self.append(&Entry::Damaged { at_ms, detail: detail.to_owned() })
    }

    /// The cluster answers, or does not.
    pub(crate) fn link(&mut self, linked: bool) {
        if self.linked != linked {
            tracing::info!(device = self.device_id, linked, "the cluster came or went");
        }
        self.linked = linked;
        if !linked {
            self.compared_up_ms = None;
        }
    }

    /// Whether the cluster is asked first.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked
    }

    /// The cluster has told its time.
    pub(crate) fn hear(&mut self, group_ms: u64, now: Moment) -> Result<(), SpoolError> {
        self.clock.hear(group_ms, now);
        if !self.book.floor_known {
            let authored_ms = group_ms.max(self.book.last_ms).saturating_add(AHEAD_MS);
            self.append(&Entry::Floor { authored_ms })?;
        }
        // Later, or after somebody has set the wall clock.
        let (known, wall_ms) = self.book.heard.unwrap_or((0, 0));
        let since = group_ms.saturating_sub(known);
        let set = now.wall_ms.saturating_add(known).abs_diff(group_ms.saturating_add(wall_ms));
        if since >= HEARD_EVERY_MS || set >= HEARD_EVERY_MS {
            self.append(&Entry::Heard { group_ms, wall_ms: now.wall_ms })?;
        }
        Ok(())
    }

    /// Whether the device was active when its directory was heard last.
    pub(crate) fn was_active(&self) -> bool {
        self.book.facts.as_ref().is_some_and(|facts| facts.active)
    }

    /// What became of a sale, if it was sealed here.
    pub(crate) fn find(&mut self, key: &SealKey) -> Result<Option<Begun>, Fault> {
        match self.book.sealed.get(key).cloned() {
            None => Ok(None),
            Some(Sealed::Pruned(number)) => Ok(Some(Begun::InLedger(number))),
            Some(Sealed::Kept(order)) => {
                self.sold(order).map(|sold| Some(Begun::Sealed(sold.answer)))
            }
        }
    }

    /// A seal's entry, read again.
    pub(super) fn sold(&mut self, order: u64) -> Result<Sold, Fault> {
        match self.book.slips.get(&order).map(|slip| slip.at) {
            Some(at) => self.sold_at(at),
            None => Err(spool_fault(&SpoolError::WasBroken)),
        }
    }

    pub(super) fn sold_at(&mut self, at: Place) -> Result<Sold, Fault> {
        match self.spool.read(at) {
            Ok(Entry::Sold(sold)) => Ok(*sold),
            Err(error) => Err(spool_fault(&error)),
            Ok(_) => Err(fault(
                Code::Unavailable,
                "OFFLINE_SPOOL_BROKEN",
                "an entry of the spool is not where it was; restart the proxy",
            )),
        }
    }

    /// What the till knows of a number.
    pub(crate) fn slip(&mut self, sequence: u64) -> Result<Slipped, Fault> {
        let Some(slip) = self.book.by_sequence(sequence) else {
            let lent = self.book.lends(sequence);
            return Ok(if lent { Slipped::Unused } else { Slipped::Elsewhere });
        };
        let delivered = matches!(slip.settled, Some((Outcome::Appended { .. }, _)));
        let at = slip.at;
        let sold = self.sold_at(at)?;
        let wrong = || spool_fault(&SpoolError::WasBroken);
        let answered: Answered = serde_json::from_str(&sold.answer).map_err(|_| wrong())?;
        let qr = QrPayload::parse(&answered.qr_payload).map_err(|_| wrong())?;
        let fields = qr.fields();
        let (kind, total, currency) =
            (fields.kind.clone(), fields.total.clone(), fields.currency.clone());
        let told = Told { sold, kind, total, currency, qr_payload: answered.qr_payload };
        Ok(Slipped::Here { sold: Box::new(told), delivered })
    }

    /// Why a sale is not prepared again.
    pub(crate) fn replayed(&self, key: &SealKey) -> Option<Fault> {
        let number = match self.book.sealed.get(key)? {
            Sealed::Pruned(number) => number,
            Sealed::Kept(order) => &self.book.slips.get(order)?.fiscal_number,
        };
        let detail = format!("this invoice is sealed already, as {number}; it is not sealed again");
        Some(Fault::new(Code::ReplayDetected, detail))
    }

    /// Remembers that a sale is submitted to the cluster; from then on it is not sealed here.
    pub(crate) fn begin(&mut self, payload: &[u8], key: &SealKey) -> Result<Begun, Fault> {
        if let Some(found) = self.find(key)? {
            return Ok(found);
        }
        let authored: Option<Authored<'_>> = serde_json::from_slice(payload).ok();
        let authored = authored.and_then(|told| UnixMs::parse_canonical(&told.timestamp));
        // What has no time, or one below the floor, is not sealed here in any case.
        let Some(authored) = authored.map(UnixMs::get).filter(|time| *time > self.book.floor_ms)
        else {
            return Ok(Begun::Submit);
        };
        if self.book.was_tried(key) {
            // Another copy of it may be sealed whatever becomes of this one.
            if let Some(alone) = self.first_flights.get_mut(key) {
                *alone = false;
            }
        } else {
            let most = self.settings.remembered_max;
            if self.book.floor_known
                && let Some(floor) = self.book.floor_for(most)
            {
                self.write(&Entry::Floor { authored_ms: floor })
                    .map_err(|error| spool_fault(&error))?;
            }
            let tried = Entry::Tried { key: *key, authored_ms: authored };
            self.append(&tried).map_err(|error| spool_fault(&error))?;
            if self.first_flights.len() >= FLIGHTS_MAX {
                // They stay noted as submitted, for good.
                self.first_flights.clear();
            }
            self.first_flights.insert(*key, true);
        }
        Ok(Begun::Submit)
    }

    /// A submission has come to its end. When the cluster surely has not sealed it, and no other copy of it was ever
    /// on its way, the sale may be sealed here.
    pub(crate) fn landed(&mut self, key: &SealKey, surely_not_sealed: bool) {
        let alone = self.first_flights.remove(key) == Some(true);
        if alone
            && surely_not_sealed
            && let Err(error) = self.write(&Entry::Untried { key: *key })
        {
            tracing::warn!(device = self.device_id, %error, "a sale stays noted as submitted");
        }
    }

    /// Whether a sale would be sealed now. Nothing is changed.
    pub(crate) fn check(
        &mut self,
        prepared: &Prepared,
        key: &SealKey,
        now: Moment,
    ) -> Result<(), Fault> {
        if let Some(replayed) = self.replayed(key) {
            return Err(replayed);
        }
        if self.book.was_tried(key) {
            return Err(tried());
        }
        self.room()?;
        let time = self.time(now)?;
        let facts = self.facts()?;
        let invoice = read(&prepared.payload, facts.manifest_at(time)?)?;
        self.check_invoice(&invoice, &facts)?;
        self.open_for(invoice.pos_terminal_id(), time).map(|_| ())
    }

    /// Seals a sale that was prepared here: its answer is on the disk when this returns.
    pub(crate) fn seal(
        &mut self,
        prepared: &Prepared,
        key: &SealKey,
        blind: Hash32,
        now: Moment,
    ) -> Result<SealedHere, Fault> {
        match self.find(key)? {
            Some(Begun::Sealed(answer)) => return Ok(SealedHere::Sealed(answer)),
            Some(Begun::InLedger(_)) => return Err(self.replayed(key).unwrap_or_else(tried)),
            Some(Begun::Submit) | None => {}
        }
        self.check(prepared, key, now)?;
        let (time, facts) = (self.time(now)?, self.facts()?);
        let invoice = read(&prepared.payload, facts.manifest_at(time)?)?;
        let held = self.open_for(invoice.pos_terminal_id(), time)?;
        if held.terms().terminal_key != self.public_key() {
            return Err(not_ready(
                "the terminal's numbers were lent to another key than this box has",
            ));
        }
        let next = NextSeal {
            credential: &held.credential,
            place: held.next,
            prev_hash: held.prev_hash,
            timestamp: time,
            blind,
        };
        let sign = |hash: &Hash32| self.key.sign(hash).to_bytes();
        let sealed = next.seal(&self.verify_host, &invoice, sign);
        let sealed = sealed.map_err(|error| Fault::schema(error.to_string()))?;
        let answer = ok()
            .count("invoice_seq", sealed.sequence)
            .text("fiscal_number", &sealed.fiscal_number)
            .text("auth_code", &AuthCode::of_signature(&sealed.seal.signature).to_string())
            .text("device_id", &self.device_id)
            .text("timestamp", &time.to_string())
            .text("qr_payload", &sealed.receipt.to_url())
            .finish();
        let sold = Sold {
            key: *key,
            fiscal_number: sealed.fiscal_number,
            sequence: sealed.sequence,
            entry_hash: sealed.entry_hash,
            answer: answer.clone(),
            seal: sealed.seal,
        };
        match self.append(&Entry::Sold(Box::new(sold))) {
            Ok(()) => {
                self.clock.pass(time.get());
                Ok(SealedHere::Sealed(answer))
            }
            // Surely not on the disk.
            Err(error @ (SpoolError::Full | SpoolError::WasBroken)) => Err(spool_fault(&error)),
            Err(error) => {
                tracing::error!(device = self.device_id, %error, "THE SPOOL IS BROKEN: restart the proxy");
                Ok(SealedHere::InDoubt(error.to_string()))
            }
        }
    }

    /// The time, which never goes back.
    pub(crate) fn time(&self, now: Moment) -> Result<UnixMs, Fault> {
        self.clock.time(now).map_err(|SetBack { shown, known }| {
            let detail = format!(
                "the clock shows {shown}, but it has been {known}; set it right, or wait for the cluster; nothing was \
                 sealed"
            );
            Fault::new(Code::ClockRollbackDetected, detail)
        })
    }

    pub(super) fn facts(&self) -> Result<Facts, Fault> {
        if !self.book.floor_known {
            return Err(not_ready(
                "the cluster has not answered since the spool began or was damaged, and nobody here remembers which \
                 documents are sealed",
            ));
        }
        let known = self.book.facts.clone().filter(|facts| facts.active);
        known.ok_or_else(|| {
            not_ready(
                "the cluster does not answer, and has never told what is needed to seal alone",
            )
        })
    }

    pub(super) fn room(&mut self) -> Result<(), Fault> {
        if self.spool.is_broken() {
            return Err(spool_fault(&SpoolError::WasBroken));
        }
        self.spool.is_there().map_err(|error| spool_fault(&error))?;
        let full = |detail: &str| Fault::new(Code::StorageFull, detail);
        match self.spool.free_bytes() {
            Ok(free) if free < self.settings.free_bytes_min => {
                Err(full("the disk of the spool is nearly full; nothing was sealed"))
            }
            Ok(_) if self.spool.bytes() >= self.settings.spool_bytes_max => {
                Err(full("the spool is as long as it may be; nothing was sealed"))
            }
            Ok(_) => Ok(()),
            Err(source) => Err(spool_fault(&SpoolError::Broken { what: "looked at", source })),
        }
    }

    fn check_invoice(&self, invoice: &CanonicalInvoice<'_>, facts: &Facts) -> Result<(), Fault> {
        let outlet = &facts.outlet;
        if invoice.outlet_id() != &*outlet.outlet_id
            || invoice.merchant_nif() != &*outlet.merchant_nif
        {
            let detail = format!(
                "the invoice is not of outlet {} and merchant {}",
                outlet.outlet_id, outlet.merchant_nif
            );
            return Err(fault(Code::Unauthorized, "IDENTITY_MISMATCH", detail));
        }
        if matches!(invoice.invoice_type(), InvoiceType::CreditNote | InvoiceType::ExportCredit) {
            let detail = "the cluster does not answer, and only it knows what is left of the original: a credit note \
                          waits for it; nothing was sealed";
            return Err(fault(Code::Unavailable, "OFFLINE_CREDIT_NOTE", detail));
        }
        let authored = invoice.timestamp();
        if authored.get() <= self.book.floor_ms {
            let detail = format!(
                "the cluster does not answer, and of documents from before {} nobody here remembers whether they are \
                 sealed (this one says {authored}; is the register's clock right?); nothing was sealed",
                UnixMs::new(self.book.floor_ms)
            );
            return Err(fault(Code::Unavailable, "OFFLINE_DOCUMENT_TOO_OLD", detail));
        }
        Ok(())
    }

    fn open_for(&self, terminal_id: &str, time: UnixMs) -> Result<&Held, Fault> {
        if let Some(open) = self.book.open_for(terminal_id, time.get()) {
            return Ok(open);
        }
        let own = self.book.held.values().filter(|held| held.terminal_id == terminal_id);
        let (mut any, mut left) = (false, 0);
        for held in own {
            any = true;
            left += held.left();
        }
        Err(match (any, left) {
            (false, _) => not_ready(&format!(
                "the cluster does not answer, and terminal {terminal_id} has no numbers of its own"
            )),
            (true, 0) => fault(
                Code::StorageFull,
                "OFFLINE_NUMBERS_USED_UP",
                format!("terminal {terminal_id} has used up its numbers; it needs the cluster"),
            ),
            (true, _) => fault(
                Code::Unavailable,
                "OFFLINE_CREDENTIAL_EXPIRED",
                format!(
                    "the credential of terminal {terminal_id} is not valid at {time}; it needs the cluster"
                ),
            ),
        })
    }
}

impl Facts {
    /// The manifest in force at a time.
    pub(super) fn manifest_at(&self, time: UnixMs) -> Result<&Manifest, Fault> {
        let in_force = self.manifests.iter().filter(|manifest| manifest.effective_from() <= time);
        in_force
            .max_by_key(|manifest| manifest.effective_from())
            .ok_or_else(|| not_ready("no tax manifest is known that is in force"))
    }
}

fn read<'d>(payload: &'d [u8], manifest: &Manifest) -> Result<CanonicalInvoice<'d>, Fault> {
    parse_strict(payload, manifest).map_err(|problem| Fault {
        code: Code::SchemaInvalid,
        detail: match &*problem.pointer {
            "" => problem.detail.clone(),
            pointer => format!("{} (at {pointer})", problem.detail),
        },
        reason: Some(problem.code.as_str().to_owned()),
    })
}

pub(super) fn not_ready(detail: &str) -> Fault {
    fault(Code::Unavailable, "OFFLINE_NOT_READY", format!("{detail}; nothing was sealed"))
}

fn tried() -> Fault {
    let detail = "this sale was submitted to the cluster, which does not answer, so nobody knows whether it is sealed; \
                  it is not sealed here as well: send the same again, the cluster will tell";
    fault(Code::Unavailable, "OUTCOME_UNKNOWN", detail)
}

pub(super) fn spool_fault(error: &SpoolError) -> Fault {
    match error {
        SpoolError::Full => Fault::new(Code::StorageFull, format!("{error}; nothing was sealed")),
        _ => {
            fault(Code::Unavailable, "OFFLINE_SPOOL_BROKEN", format!("{error}; nothing was sealed"))
        }
    }
}
