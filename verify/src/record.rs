//! One record of an export, alone: its form, its hash, its payload, its proof and its signature. What depends on
//! the records before it is in `outlet`.

use std::borrow::Cow;

use crate::batch::{Signed, first_wrong};
use crate::decimal::amount;
use crate::device::DeviceSeal;
use crate::encoding::from_hex;
use crate::failure::{Failure, Kind};
use crate::hash::{Hash, Printed, entry_hash, hidden_hash, payload_hash};
use crate::invoice::Invoice;
use crate::leave;
use crate::manifest::Manifest;
use crate::merkle::Paths;
use crate::note::Checkpoint;
use crate::offline::OfflineSeal;
use crate::policy::Policy;
use crate::qr::TYPES;
use crate::scan::{Scanner, Unreadable};
use crate::tally::Counted;
use crate::tax;
use crate::time;
use crate::value::Value;

/// A path in a tree of 2^63 leaves.
const PROOF_MAX: usize = 63;
/// Records that are not invoices.
const PLAIN_KINDS: [&str; 15] = [
    "z_closure",
    "block_grant",
    "block_close",
    "numbers_missing",
    "payment_event",
    "shift_open",
    "shift_close",
    "outlet_event",
    "terminal_event",
    "device_event",
    "manifest_event",
    "authority_event",
    "apply_version",
    "recovery_gap",
    "upload_event",
];

/// A record as an export states it.
#[derive(Debug, Clone)]
struct Record<'a> {
    outlet: Cow<'a, str>,
    position: u64,
    leaf_index: u64,
    kind: Cow<'a, str>,
    authority: Cow<'a, str>,
    number: Cow<'a, str>,
    time_ms: u64,
    total: Cow<'a, str>,
    currency: Cow<'a, str>,
    payload: Cow<'a, str>,
    blind: Hash,
    previous: Hash,
    entry: Hash,
    signature: [u8; 64],
    inclusion: Vec<Hash>,
}

/// What the records after it need to know of a record.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) outlet: String,
    pub(crate) position: u64,
    pub(crate) leaf_index: u64,
    pub(crate) kind: String,
    pub(crate) number: String,
    pub(crate) time_ms: u64,
    pub(crate) previous: Hash,
    pub(crate) entry: Hash,
    /// None when the record is not what its hash says: there is nothing to be learned from it.
    pub(crate) body: Option<Body>,
    /// What is wrong with the record itself.
    pub(crate) failure: Option<Failure>,
    /// Made under a key of a trial.
    pub(crate) sandbox: bool,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// An invoice, and the seal of the terminal that sealed it alone, or of a real device.
    Invoice(Box<Sale>),
    /// Anything else: its payload's text, and the same as a tree.
    Plain { text: String, value: Value },
}

/// An invoice in a record.
#[derive(Debug, Clone)]
pub(crate) struct Sale {
    pub(crate) counted: Counted,
    pub(crate) terminal: String,
    pub(crate) original: Option<String>,
    pub(crate) offline: Option<OfflineSeal>,
    pub(crate) device: Option<DeviceSeal>,
}

impl<'a> Record<'a> {
    fn parse(text: &'a str, with_inclusion: bool) -> Result<Self, Unreadable> {
        let s = &mut Scanner::new(text);
        let hash = |s: &mut Scanner<'a>, name| {
            s.literal(name)?;
            s.parsed("32 bytes in hexadecimal", from_hex::<32>)
        };
        let string = |s: &mut Scanner<'a>, name| {
            s.literal(name)?;
            s.string()
        };
        let count = |s: &mut Scanner<'a>, name| {
            s.literal(name)?;
            s.count()
        };
        let record = Self {
            outlet: string(s, "{\"outlet_id\":")?,
            position: count(s, ",\"position\":")?,
            leaf_index: count(s, ",\"leaf_index\":")?,
            kind: string(s, ",\"kind\":")?,
            authority: string(s, ",\"fiscal_authority_id\":")?,
            number: string(s, ",\"fiscal_number\":")?,
            time_ms: {
                s.literal(",\"timestamp\":")?;
                s.parsed("a UTC time", time::parse)?
            },
            total: string(s, ",\"total\":")?,
            currency: string(s, ",\"currency\":")?,
            payload: string(s, ",\"payload\":")?,
            blind: hash(s, ",\"blind\":")?,
            previous: hash(s, ",\"previous_hash\":")?,
            entry: hash(s, ",\"entry_hash\":")?,
            signature: {
                s.literal(",\"signature\":")?;
                s.parsed("64 bytes in hexadecimal", from_hex::<64>)?
            },
            inclusion: if with_inclusion {
                s.literal(",\"inclusion\":")?;
                s.list(PROOF_MAX, |s| s.parsed("32 bytes in hexadecimal", from_hex::<32>))?
            } else {
                Vec::new()
            },
        };
        s.literal("}")?;
        s.finish()?;
        record.check_form(s)?;
        Ok(record)
    }

    /// What records of every kind and what invoices must have.
    fn check_form(&self, s: &Scanner<'_>) -> Result<(), Unreadable> {
        let of_invoice = [&self.number, &self.total, &self.currency];
        let fits = match self.invoice_type() {
            Some(_) => of_invoice.iter().all(|text| !text.is_empty()),
            None => {
                PLAIN_KINDS.contains(&&*self.kind) && of_invoice.iter().all(|text| text.is_empty())
            }
        };
        if fits && self.position > 0 {
            Ok(())
        } else {
            Err(s.error("the record's kind does not fit its fields"))
        }
    }

    /// The type of the invoice in it.
    fn invoice_type(&self) -> Option<&str> {
        let inner = self.kind.strip_prefix("offline_").or_else(|| self.kind.strip_prefix("def_"));
        let plain = inner.unwrap_or(&self.kind);
        TYPES.contains(&plain).then_some(plain)
    }

    fn is_what_its_hash_says(&self) -> bool {
        let payload = payload_hash(self.payload.as_bytes());
        let hidden =
            hidden_hash(&self.outlet, self.position, &payload, &self.blind, &self.previous);
        let printed = Printed {
            authority: &self.authority,
            number: &self.number,
            time_ms: self.time_ms,
            kind: &self.kind,
            total: &self.total,
            currency: &self.currency,
        };
        entry_hash(&printed, &hidden) == self.entry
    }
}

/// Checks records alone; each core has one.
#[derive(Debug)]
pub(crate) struct Checker<'p> {
    policy: &'p Policy,
    checkpoint: &'p Checkpoint,
    with_inclusion: bool,
    paths: Paths,
}

impl<'p> Checker<'p> {
    pub(crate) fn new(
        policy: &'p Policy,
        checkpoint: &'p Checkpoint,
        with_inclusion: bool,
    ) -> Self {
        Self { policy, checkpoint, with_inclusion, paths: Paths::default() }
    }

    /// Checks several records. One that cannot be read ends the list.
    pub(crate) fn check<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t [u8]>,
    ) -> Vec<Result<Facts, Failure>> {
        let mut all = Vec::new();
        let mut signed: Vec<(usize, Signed<'p>)> = Vec::new();
        for text in texts {
            let read =
                std::str::from_utf8(text).map_err(|error| error.to_string()).and_then(|text| {
                    Record::parse(text, self.with_inclusion).map_err(|error| error.to_string())
                });
            let record = match read {
                Ok(record) => record,
                Err(detail) => {
                    all.push(Err(Failure::new(Kind::Format, "", detail)));
                    break;
                }
            };
            let (facts, signature) = self.check_one(&record);
            signed.extend(signature.map(|signature| (all.len(), signature)));
            all.push(Ok(facts));
        }
        let batch: Vec<Signed<'_>> = signed.iter().map(|(_, one)| *one).collect();
        if first_wrong(&batch).is_some() {
            for (at, one) in &signed {
                let wrong = first_wrong(&[*one]).is_some();
                if let Some(Ok(facts)) = all.get_mut(*at).filter(|_| wrong) {
                    let detail = "the authority's signature does not match";
                    facts.failure.get_or_insert_with(|| Failure::new(Kind::Signature, "", detail));
                }
            }
        }
        all
    }

    /// The record's own failures, the gravest first; the signature is checked with those of others.
    fn check_one(&mut self, record: &Record<'_>) -> (Facts, Option<Signed<'p>>) {
        let mut facts = Facts {
            outlet: record.outlet.clone().into_owned(),
            position: record.position,
            leaf_index: record.leaf_index,
            kind: record.kind.clone().into_owned(),
            number: record.number.clone().into_owned(),
            time_ms: record.time_ms,
            previous: record.previous,
            entry: record.entry,
            body: None,
            failure: None,
            sandbox: false,
        };
        if !record.is_what_its_hash_says() {
            facts.failure = Some(Failure::new(Kind::Chain, "", "it is not what its hash says"));
            return (facts, None);
        }
        match read_body(record, self.policy) {
            Ok((body, failure)) => (facts.body, facts.failure) = (Some(body), failure),
            Err(failure) => facts.failure = Some(failure),
        }
        let cosigned = self.checkpoint.cosigned_ms;
        // A group's first authority signs that it is prepared and activated before it is in force for anything else.
        let founds = record.kind == "authority_event" && record.outlet.starts_with('@');
        let signed_ms = if founds { None } else { Some(record.time_ms) };
        let authority = self.policy.authorities().in_force(&record.authority, signed_ms, cosigned);
        let signed = match authority {
            Ok(authority) => {
                facts.sandbox = authority.sandbox;
                Some(Signed {
                    key: &authority.key,
                    message: record.entry,
                    signature: record.signature,
                })
            }
            Err(failure) => {
                facts.failure.get_or_insert(failure);
                None
            }
        };
        // A proof is looked at only where nothing else is wrong: it would fail with everything that is signed.
        if self.with_inclusion && facts.failure.is_none() {
            let Checkpoint { size, root, .. } = self.checkpoint;
            let checked =
                self.paths.check(&record.entry, record.leaf_index, *size, &record.inclusion, root);
            facts.failure = checked.err();
        }
        (facts, signed)
    }
}

/// What a record holds, and what is wrong with its figures.
fn read_body(record: &Record<'_>, policy: &Policy) -> Result<(Body, Option<Failure>), Failure> {
    let unreadable = |error: Unreadable| Failure::new(Kind::Format, "payload", error.to_string());
    let Some(kind) = record.invoice_type() else {
        let value = Value::parse(&record.payload).map_err(unreadable)?;
        let of_directory = record.kind == "device_event" && record.outlet.starts_with('@');
        let checked = if of_directory { leave::check(&value, policy) } else { Ok(()) };
        let text = record.payload.clone().into_owned();
        return Ok((Body::Plain { text, value }, checked.err()));
    };
    let (mut text, mut offline, mut device) = (&*record.payload, None, None);
    if record.kind.starts_with("offline_") {
        let (seal, inner) = OfflineSeal::parse(&record.payload).map_err(unreadable)?;
        (text, offline) = (inner, Some(seal));
    } else if record.kind.starts_with("def_") {
        let (seal, inner) = DeviceSeal::parse(&record.payload).map_err(unreadable)?;
        (text, device) = (inner, Some(seal));
    }
    let invoice = Invoice::parse(text).map_err(unreadable)?;
    let sealed_ms = offline.as_ref().map_or(record.time_ms, |seal| seal.time_ms);
    let manifest = match &device {
        // Nobody trusts a device's clock: it is taxed by the manifest that it names, if that was in force yet.
        Some(_) => policy.manifest_named(&invoice.manifest, record.time_ms),
        None => policy.manifest_at(sealed_ms),
    };
    let checked =
        check_sale(record, kind, &invoice, manifest).and_then(|()| match (&offline, &device) {
            (Some(seal), _) => seal.check_hash(
                &record.outlet,
                &record.number,
                kind,
                (&record.total, &record.currency),
                text,
            ),
            (None, Some(seal)) => seal.check_entry(&record.number, kind, &record.total, text),
            (None, None) => Ok(()),
        });
    let sale = Sale {
        counted: Counted::of(&invoice),
        terminal: invoice.terminal.into_owned(),
        original: invoice.original.map(Cow::into_owned),
        offline,
        device,
    };
    Ok((Body::Invoice(Box::new(sale)), checked.err()))
}

fn check_sale(
    record: &Record<'_>,
    kind: &str,
    invoice: &Invoice<'_>,
    manifest: Option<&Manifest>,
) -> Result<(), Failure> {
    let manifest = manifest
        .ok_or_else(|| Failure::new(Kind::Tax, "invoice", "no tax manifest was in force then"))?;
    tax::check(invoice, manifest)?;
    for (name, same) in [
        ("type", TYPES[invoice.kind] == kind),
        ("total", amount(&record.total) == Some(invoice.totals.total)),
        ("currency", record.currency.as_bytes() == invoice.totals.currency),
        ("outlet", record.outlet == invoice.outlet),
    ] {
        if !same {
            let detail = format!("the record and its invoice state different {name}");
            return Err(Failure::new(Kind::Totals, "invoice", detail));
        }
    }
    Ok(())
}
