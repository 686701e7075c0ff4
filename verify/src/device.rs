//! What a real fiscal device sealed, inside the record that took it in, and the devices' series: numbers without a
//! gap, entries that link to each other, each signed with the key that the outlet's journal names for the device.

use std::collections::BTreeMap;

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::encoding::{from_hex, to_hex};
use crate::failure::{Failure, Kind};
use crate::hash::{Hash, Tagged, payload_hash};
use crate::qr::split_number;
use crate::scan::{Scanner, Unreadable};
use crate::time;
use crate::value::Value;

/// An entry of a device's journal.
#[derive(Debug, Clone)]
pub(crate) struct DeviceSeal {
    pub(crate) device: String,
    /// From 1.
    pub(crate) sequence: u64,
    time_text: String,
    previous: Hash,
    entry_text: String,
    entry: Hash,
    signature: [u8; 64],
}

fn chain(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Chain, "device seal", detail)
}

impl DeviceSeal {
    /// Reads a payload: the entry, and the text of the invoice in it. Quotes inside of texts are escaped, so the
    /// names of members are found nowhere else.
    pub(crate) fn parse(payload: &str) -> Result<(Self, &str), Unreadable> {
        let s = &mut Scanner::new(payload);
        s.literal("{\"device_id\":")?;
        let device = s.text(1, 64)?.into_owned();
        s.literal(",\"entry\":")?;
        let (entry_text, _) = s
            .remaining()
            .split_once(",\"entry_hash\":")
            .ok_or_else(|| s.error("the entry does not end"))?;
        s.literal(entry_text)?;
        s.literal(",\"entry_hash\":")?;
        let entry = s.parsed("32 bytes", from_hex)?;
        s.literal(",\"signature\":")?;
        let signature = s.parsed("64 bytes", from_hex)?;
        s.literal(",\"invoice\":")?;
        let invoice =
            s.remaining().strip_suffix('}').ok_or_else(|| s.error("the payload does not end"))?;

        let inner = &mut Scanner::new(entry_text);
        inner.literal("{\"record_type\":")?;
        inner.string()?;
        inner.literal(",\"sequence\":")?;
        let sequence = inner.count()?;
        inner.literal(",\"timestamp\":")?;
        let time_ms = inner.parsed("a UTC time", time::parse)?;
        let link = entry_text.rsplit_once(",\"prev_hash\":\"").map(|(_, link)| link);
        let link = link.and_then(|link| link.strip_suffix("\"}")).and_then(from_hex::<32>);
        let previous = link.ok_or_else(|| inner.error("the entry has no link"))?;
        let time_text = time::format(time_ms).ok_or_else(|| inner.error("it has no time"))?;
        let entry_text = entry_text.to_owned();
        Ok((Self { device, sequence, time_text, previous, entry_text, entry, signature }, invoice))
    }

    /// Whether the entry is what its hash says, and is about the record's invoice and number.
    pub(crate) fn check_entry(
        &self,
        number: &str,
        kind: &str,
        total: &str,
        invoice: &str,
    ) -> Result<(), Failure> {
        let hash: Hash = Sha256::digest(self.entry_text.as_bytes()).into();
        if hash != self.entry {
            return Err(chain("it is not what its hash says"));
        }
        if number != format!("{}-{}", self.device, self.sequence) || split_number(number).is_none()
        {
            return Err(chain("its number is not that of the record"));
        }
        if self.expected(kind, total, invoice).as_deref() != Some(&self.entry_text) {
            return Err(chain("its entry is not about the invoice"));
        }
        Ok(())
    }

    /// The entry as it must be, of the pieces of the canonical invoice.
    fn expected(&self, kind: &str, total: &str, invoice: &str) -> Option<String> {
        let between = |text: &str, before: &str, after: &str| {
            let (_, rest) = text.split_once(before)?;
            rest.split_once(after).map(|(piece, _)| piece.to_owned())
        };
        let merchant = between(invoice, "{\"merchant_nif\":", ",\"outlet_id\":")?;
        let client = between(invoice, ",\"client\":{", ",\"classification\":")?;
        let (_, client) = client.split_once(",\"nif\":")?;
        let groups = between(invoice, ",\"tax_groups\":", ",\"totals\":{")?;
        let vat = between(invoice, ",\"total_vat\":", ",\"total\":")?;
        Some(format!(
            "{{\"record_type\":\"{kind}\",\"sequence\":{},\"timestamp\":\"{}\",\"merchant_nif\":{merchant},\
             \"client_registration\":{client},\"total\":\"{total}\",\"vat_total\":{vat},\"tax_breakdown\":{groups},\
             \"payload_hash\":\"{}\",\"prev_hash\":\"{}\"}}",
            self.sequence,
            self.time_text,
            to_hex(&payload_hash(invoice.as_bytes())),
            to_hex(&self.previous),
        ))
    }
}

/// One device's series.
#[derive(Debug, Clone)]
struct Series {
    /// None when what came before is not known.
    last: Option<u64>,
    head: Option<Hash>,
    /// The first number since the last closure.
    first_since_z: Option<u64>,
}

/// The devices of an outlet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Devices {
    keys: BTreeMap<String, VerifyingKey>,
    series: BTreeMap<String, Series>,
}

impl Devices {
    /// The last number of a series before the first record.
    pub(crate) fn goes_on_from(&mut self, device: &str, last: u64) {
        let series = Series { last: Some(last), head: None, first_since_z: None };
        self.series.insert(device.to_owned(), series);
    }

    /// The last number of a series, when something was imported into it.
    pub(crate) fn last(&self, device: &str) -> Option<u64> {
        self.series.get(device)?.last
    }

    /// Where a series stands among the devices'.
    pub(crate) fn has(&self, device: &str) -> bool {
        self.series.contains_key(device)
    }

    pub(crate) fn count(&self) -> usize {
        self.series.len()
    }

    /// A device's event names its key.
    pub(crate) fn registered(&mut self, event: &Value) -> Result<(), Failure> {
        let unreadable = || Failure::new(Kind::Format, "payload", "it tells of no device");
        let device = event.text("device_id").ok_or_else(unreadable)?;
        let digits = event.text("public_key").ok_or_else(unreadable)?;
        let pairs = digits.as_bytes().chunks(2).map(|pair| {
            from_hex::<1>(std::str::from_utf8(pair).unwrap_or_default()).map(|[byte]| byte)
        });
        let point: Vec<u8> = pairs.collect::<Option<_>>().ok_or_else(unreadable)?;
        // A device that serves points of sale may have a key of another kind; it seals nothing of its own.
        if let Ok(key) = VerifyingKey::from_sec1_bytes(&point) {
            self.keys.insert(device.to_owned(), key);
        }
        Ok(())
    }

    /// The next entry of a device. A series that is new begins at 1 when all earlier ones are known; its key is known
    /// when the journal is complete.
    pub(crate) fn sealed(
        &mut self,
        seal: &DeviceSeal,
        knows_series: bool,
        complete: bool,
    ) -> Result<(), Failure> {
        let fresh = || {
            let origin = Tagged::new("fiscus/device-journal/v1").text(&seal.device).finish();
            let start = knows_series.then_some((0, origin)).unzip();
            Series { last: start.0, head: start.1, first_since_z: None }
        };
        let series = self.series.entry(seal.device.clone()).or_insert_with(fresh);
        let next = series.last.map(|last| last + 1);
        if let Some(next) = next.filter(|next| *next != seal.sequence) {
            let kind = if seal.sequence < next { Kind::Duplicate } else { Kind::Gap };
            let detail = format!("{} comes where {next} of {} should", seal.sequence, seal.device);
            return Err(Failure::new(kind, "device seal", detail));
        }
        if series.head.is_some_and(|head| head != seal.previous) {
            return Err(chain("it does not link to the entry before it"));
        }
        match self.keys.get(&seal.device) {
            Some(key) => {
                let signature = Signature::from_slice(&seal.signature);
                let text = seal.entry_text.as_bytes();
                if !signature.is_ok_and(|signature| key.verify(text, &signature).is_ok()) {
                    let detail = "the device's signature does not match";
                    return Err(Failure::new(Kind::Signature, "device seal", detail));
                }
            }
            None if complete => {
                let detail = format!("device {:?} was registered nowhere", seal.device);
                return Err(Failure::new(Kind::Signature, "device seal", detail));
            }
            None => {}
        }
        series.last = Some(seal.sequence);
        series.head = Some(seal.entry);
        series.first_since_z.get_or_insert(seal.sequence);
        Ok(())
    }

    /// Whether a closure, or a change of the outlet, states these series after the main one.
    pub(crate) fn are_stated_by(&self, stated: &[Value]) -> bool {
        let stands = |(value, (device, series)): (&Value, (&String, &Series))| {
            let sealed = series.first_since_z.zip(series.last);
            let empty = ["open", "missing", "recovery_gaps"];
            value.text("series") == Some(device)
                && value.count("last") == series.last
                && value.ranges("sealed") == Some(sealed.into_iter().collect())
                && empty.iter().all(|name| value.ranges(name) == Some(Vec::new()))
        };
        stated.len() == self.series.len() && stated.iter().zip(&self.series).all(stands)
    }

    /// Whether a change of the outlet states the last number of each.
    pub(crate) fn check_change(&self, event: &Value, complete: bool) -> Result<(), Failure> {
        let stated = event.list("device_series").unwrap_or_default();
        let known = |value: &Value| {
            let device = value.text("series").unwrap_or_default();
            let last = self.last(device);
            value.count("last") == last || (last.is_none() && !complete)
        };
        let all = !complete || stated.len() == self.series.len();
        if all && stated.iter().all(known) {
            return Ok(());
        }
        let detail = "it states other last numbers of the devices than those of the records";
        Err(Failure::new(Kind::Gap, "numbers", detail))
    }

    pub(crate) fn closed(&mut self) {
        for series in self.series.values_mut() {
            series.first_since_z = None;
        }
    }

    /// The last numbers that are known.
    pub(crate) fn lasts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.series.iter().filter_map(|(device, series)| Some((device.as_str(), series.last?)))
    }
}
