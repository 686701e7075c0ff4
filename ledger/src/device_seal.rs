//! What a real fiscal device sealed: an entry of its own journal, and what the ledger keeps of it.
//!
//! ```text
//! entry      = {"record_type","sequence","timestamp","merchant_nif","client_registration","total",
//!               "vat_total","tax_breakdown","payload_hash","prev_hash"}        canonical JSON, this order
//! entry_hash = SHA-256(entry)                                   the next entry's prev_hash
//! signature  = ECDSA P-256 with SHA-256 over the entry, r ‖ s
//! origin     = H("fiscus/device-journal/v1", str device_id)     the first entry's prev_hash
//! ```
//!
//! Everything in the entry but its sequence, its time and its link comes from the invoice, so that an entry
//! whose signature holds is one about this invoice and no other.
//!
//! Non-goals: what the device prints, and its clock, which nobody trusts.

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::commands::InvoiceSlot;
use crate::hash::{Hash32, Tagged, hex, payload_hash};
use crate::invoice::{CanonicalInvoice, parse_strict};
use crate::payload::Object;
use crate::problem::Code;
use crate::seal::{is_series_prefix, split_number};
use crate::state::Id;
use crate::state::group::Group;
use crate::state::rows::KeyHash;
use crate::time::UnixMs;

/// One invoice as a device sealed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSeal {
    /// The device.
    pub device_id: Id,
    /// Its number in the device's series, from 1.
    pub sequence: u64,
    /// The device's time.
    pub timestamp: UnixMs,
    /// The entry before it, or the origin of the device's journal.
    pub prev_hash: Hash32,
    /// The device's signature over the entry.
    pub signature: [u8; 64],
    /// The canonical invoice.
    pub invoice: Vec<u8>,
}

/// What the first entry of a device's journal links to.
#[must_use]
pub fn journal_origin(device_id: &str) -> Hash32 {
    Tagged::new("fiscus/device-journal/v1").str(device_id).finish()
}

/// The hash of an entry.
#[must_use]
pub fn entry_hash(entry: &str) -> Hash32 {
    Sha256::digest(entry.as_bytes()).into()
}

/// The fiscal number of an entry; none when the device's id cannot stand before a number.
#[must_use]
pub fn device_number(device_id: &str, sequence: u64) -> Option<String> {
    if !is_series_prefix(device_id) {
        return None;
    }
    let number = format!("{device_id}-{sequence}");
    split_number(&number).is_some().then_some(number)
}

/// A device's public key: a point of P-256, compressed or not.
#[must_use]
pub fn device_key(bytes: &[u8]) -> Option<VerifyingKey> {
    VerifyingKey::from_sec1_bytes(bytes).ok()
}

/// Whether a device signed an entry.
#[must_use]
pub fn is_signed(key: &VerifyingKey, entry: &str, signature: &[u8; 64]) -> bool {
    Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify(entry.as_bytes(), &signature).is_ok())
}

/// The text that a device signs for an invoice.
#[must_use]
pub fn entry_text(
    invoice: &CanonicalInvoice<'_>,
    sequence: u64,
    timestamp: UnixMs,
    prev_hash: &Hash32,
) -> String {
    let totals = invoice.totals();
    Object::new()
        .text("record_type", invoice.invoice_type().as_str())
        .count("sequence", sequence)
        .text("timestamp", &timestamp.to_string())
        .text("merchant_nif", invoice.merchant_nif())
        .text("client_registration", invoice.client().nif.as_ref())
        .text("total", &totals.total.to_string())
        .text("vat_total", &totals.total_vat.to_string())
        .json("tax_breakdown", tax_breakdown(invoice.canonical_text()))
        .text("payload_hash", &hex(&invoice.payload_hash()))
        .text("prev_hash", &hex(prev_hash))
        .finish()
}

/// The tax groups of a canonical invoice as they stand in it. Quotes inside of texts are escaped, and every
/// other object holds texts only, so nothing else in a canonical invoice looks like this.
fn tax_breakdown(canonical: &str) -> &str {
    let rest = canonical.split_once(",\"tax_groups\":").map_or("[]", |(_, rest)| rest);
    rest.split_once(",\"totals\":{").map_or("[]", |(groups, _)| groups)
}

impl DeviceSeal {
    /// The entry that the device signed, if this is what it sealed.
    #[must_use]
    pub fn entry(&self, invoice: &CanonicalInvoice<'_>) -> String {
        entry_text(invoice, self.sequence, self.timestamp, &self.prev_hash)
    }

    /// The idempotency key of its import: one for each number of each device.
    #[must_use]
    pub fn key(&self) -> KeyHash {
        let hash =
            Tagged::new("fiscus/device-number/v1").str(&self.device_id).u64(self.sequence).finish();
        let mut key = KeyHash::default();
        key.copy_from_slice(&hash[..16]);
        key
    }

    /// Tells an honest repetition from another seal under the same number, before anything is parsed.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        Tagged::new("fiscus/device-entry/v1")
            .str(&self.device_id)
            .u64(self.sequence)
            .u64(self.timestamp.get())
            .h32(&self.prev_hash)
            .h32(&payload_hash(&self.invoice))
            .finish()
    }

    /// The payload of the ledger's record: the device's entry and signature, with the invoice inside and last.
    #[must_use]
    pub fn record_payload(&self, entry: &str, invoice: &CanonicalInvoice<'_>) -> String {
        Object::new()
            .text("device_id", &self.device_id)
            .json("entry", entry)
            .bytes("entry_hash", &entry_hash(entry))
            .bytes("signature", &self.signature)
            .json("invoice", invoice.canonical_text())
            .finish()
    }

    /// The invoice inside a record's payload.
    #[must_use]
    pub fn invoice_in(payload: &[u8]) -> Option<&[u8]> {
        const NAME: &[u8] = br#","invoice":{"#;
        // Quotes inside of texts are escaped, so the first of these is the member itself.
        let at = payload.windows(NAME.len()).position(|window| window == NAME)?;
        payload[at + NAME.len() - 1..].strip_suffix(b"}")
    }

    /// Parses the invoice under the manifest that it names. A device's clock is nobody's, so its time does not
    /// choose the manifest: it is one that has come into force by the group's time.
    pub(crate) fn parse<'e>(&'e self, group: &Group, time: UnixMs) -> InvoiceSlot<'e> {
        let mut found = None;
        for manifest in group.manifests_until(time).rev() {
            match parse_strict(&self.invoice, manifest) {
                Ok(invoice) => return InvoiceSlot(Some(Ok(invoice))),
                Err(problem) => {
                    let other = problem.code == Code::ManifestStale;
                    found = Some(Err(Box::new(problem)));
                    if !other {
                        break;
                    }
                }
            }
        }
        InvoiceSlot(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoice::parse_lenient;
    use crate::manifest::Manifest;

    const DRAFT: &str = r#"{"merchant_nif":"A1","outlet_id":"o","pos_terminal_id":"t","cashier_id":"",
        "invoice_type":"sale","client":{"name":"x","nif":"N-\",\"tax_groups\":[","classification":"individual"},
        "items":[{"code":"c","description":"a,\"tax_groups\":[{\"totals\":{","quantity":"1","unit_price":"5.00",
        "tax_group":"TG02","taxable_unit":"u"}],"payments":[]}"#;

    #[test]
    fn an_entry_says_what_its_invoice_says() {
        let manifest = Manifest::builtin();
        let parsed =
            parse_lenient(DRAFT.as_bytes(), &manifest, UnixMs::new(0)).expect("it is right");
        let invoice = parsed.invoice;
        let entry = entry_text(&invoice, 7, UnixMs::new(1_000), &journal_origin("DEF-1"));
        let groups = invoice.tax_groups_json(&manifest);
        assert!(
            entry.contains(&format!(",\"tax_breakdown\":{groups},\"payload_hash\":")),
            "{entry}"
        );
        assert!(entry.starts_with(
            r#"{"record_type":"sale","sequence":7,"timestamp":"1970-01-01T00:00:01.000Z","#
        ));
        let seal = DeviceSeal {
            device_id: "DEF-1".into(),
            sequence: 7,
            timestamp: UnixMs::new(1_000),
            prev_hash: journal_origin("DEF-1"),
            signature: [0; 64],
            invoice: invoice.canonical_bytes().to_vec(),
        };
        let payload = seal.record_payload(&entry, &invoice);
        assert_eq!(DeviceSeal::invoice_in(payload.as_bytes()), Some(invoice.canonical_bytes()));
        assert_eq!(seal.entry(&invoice), entry);
    }

    #[test]
    fn ids_that_cannot_stand_before_a_number_give_none() {
        assert_eq!(device_number("DEF-GOMBE-1", 5).as_deref(), Some("DEF-GOMBE-1-5"));
        assert_eq!(device_number("A", 1).as_deref(), Some("A-1"));
        for id in ["def-1", "DEF 1", "DEF--1", "", "-"] {
            assert_eq!(device_number(id, 1), None, "{id}");
        }
        assert_eq!(device_number(&"A".repeat(62), 1).map(|number| number.len()), Some(64));
        assert_eq!(device_number(&"A".repeat(62), 10), None);
    }

    #[test]
    fn the_signature_is_the_one_of_the_standard() {
        // RFC 6979, A.2.5: P-256 with SHA-256, message "sample".
        let hex32 = |text: &str| crate::hash::from_hex::<32>(text).expect("32 bytes");
        let mut point = vec![4];
        point.extend(hex32("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"));
        point.extend(hex32("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"));
        let key = device_key(&point).expect("a point of the curve");
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&hex32(
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
        ));
        signature[32..].copy_from_slice(&hex32(
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ));
        assert!(is_signed(&key, "sample", &signature));
        for bit in 0..512 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_signed(&key, "sample", &changed), "bit {bit}");
        }
        assert!(!is_signed(&key, "Sample", &signature));
        for broken in [&point[..64], &[], &[0], &[5; 65]] {
            assert!(device_key(broken).is_none());
        }
    }
}
