//! Offline seals under a delegated credential: what a terminal makes alone, and what the ledger keeps
//! of it.
//!
//! An offline seal uses the formulas of a seal with the credential's id as authority, the terminal's
//! key, and the places and hashes of the terminal's own chain, whose first link is the grant's record.

use crate::codec::{DecodeError, Reader, Writer};
use crate::commands::InvoiceSlot;
use crate::credential::{CoverError, Credential};
use crate::hash::{Hash32, Tagged, payload_hash};
use crate::invoice::{CanonicalInvoice, parse_strict};
use crate::payload::Object;
use crate::qr::{QrError, QrFields, QrPayload};
use crate::seal;
use crate::state::group::Group;
use crate::state::{Id, read_id};
use crate::time::UnixMs;

/// Where a terminal's chain stands when it seals the next invoice.
#[derive(Debug, Clone)]
pub struct NextSeal<'c> {
    /// The leave.
    pub credential: &'c Credential,
    /// The place in the chain, from 1.
    pub place: u64,
    /// The seal before it, or the grant's record.
    pub prev_hash: Hash32,
    /// The terminal's time.
    pub timestamp: UnixMs,
    /// Random.
    pub blind: Hash32,
}

/// A seal that a terminal made, and what is printed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedOffline {
    /// What the ledger will get.
    pub seal: OfflineSeal,
    /// The number.
    pub fiscal_number: String,
    /// Its last part.
    pub sequence: u64,
    /// What was signed, and what the next seal links to.
    pub entry_hash: Hash32,
    /// The QR code, with the credential in it.
    pub receipt: QrPayload,
}

/// Why a terminal may not seal so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealOfflineError {
    /// The invoice is of another outlet.
    #[error("the invoice is of outlet {named}, but the credential is of {outlet_id}")]
    OtherOutlet {
        /// In the invoice.
        named: String,
        /// In the credential.
        outlet_id: String,
    },
    /// The number or the time is outside of the leave.
    #[error(transparent)]
    NotCovered(#[from] CoverError),
    /// What would be printed is not a receipt.
    #[error("no receipt can be made: {0}")]
    Receipt(#[from] QrError),
}

impl NextSeal<'_> {
    /// Seals an invoice: the formulas of a seal with the credential's id as authority. `sign` is the terminal's key.
    pub fn seal(
        &self,
        host: &str,
        invoice: &CanonicalInvoice<'_>,
        sign: impl FnOnce(&Hash32) -> [u8; 64],
    ) -> Result<SealedOffline, SealOfflineError> {
        let terms = self.credential.terms();
        if invoice.outlet_id() != terms.outlet_id {
            let (named, outlet_id) = (invoice.outlet_id().to_owned(), terms.outlet_id.clone());
            return Err(SealOfflineError::OtherOutlet { named, outlet_id });
        }
        // A place beyond all numbers is outside of the block, and so is place 0.
        let sequence = terms.first.saturating_add(self.place).saturating_sub(1);
        let fiscal_number = format!("{}-{sequence}", terms.prefix);
        self.credential.covers(&terms.id, &fiscal_number, self.timestamp.get())?;
        let mut seal = OfflineSeal {
            credential_id: Id::from(&*terms.id),
            place: self.place,
            timestamp: self.timestamp,
            blind: self.blind,
            prev_hash: self.prev_hash,
            signature: [0; 64],
            invoice: invoice.canonical_bytes().to_vec(),
        };
        let entry_hash = seal.entry_hash(&terms.outlet_id, &fiscal_number, invoice);
        seal.signature = sign(&entry_hash);
        let totals = invoice.totals();
        let receipt = QrPayload::new(QrFields {
            host: host.to_owned(),
            fiscal_number: fiscal_number.clone(),
            timestamp: self.timestamp,
            kind: invoice.invoice_type().as_str().to_owned(),
            total: totals.total.to_string(),
            currency: totals.currency.as_str().to_owned(),
            authority_id: terms.id.clone(),
            hidden_hash: seal::hidden_hash(
                &terms.outlet_id,
                self.place,
                &payload_hash(&seal.invoice),
                &self.blind,
                &self.prev_hash,
            ),
            signature: seal.signature,
            credential: Some(self.credential.clone()),
        })?;
        Ok(SealedOffline { seal, fiscal_number, sequence, entry_hash, receipt })
    }
}

/// An invoice as a terminal sealed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineSeal {
    /// The credential that it was sealed under.
    pub credential_id: Id,
    /// Its place in the terminal's chain, from 1: its number is the block's first plus this less 1.
    pub place: u64,
    /// The terminal's time.
    pub timestamp: UnixMs,
    /// The terminal's random blind.
    pub blind: Hash32,
    /// The seal before it, or the grant's record.
    pub prev_hash: Hash32,
    /// The terminal's signature over the entry hash.
    pub signature: [u8; 64],
    /// The canonical invoice.
    pub invoice: Vec<u8>,
}

impl OfflineSeal {
    /// The hash that the terminal signs.
    #[must_use]
    pub fn entry_hash(
        &self,
        outlet_id: &str,
        fiscal_number: &str,
        invoice: &CanonicalInvoice<'_>,
    ) -> Hash32 {
        let hidden = seal::hidden_hash(
            outlet_id,
            self.place,
            &payload_hash(&self.invoice),
            &self.blind,
            &self.prev_hash,
        );
        let totals = invoice.totals();
        seal::entry_hash(
            &self.credential_id,
            fiscal_number,
            self.timestamp.get(),
            invoice.invoice_type().as_str(),
            &totals.total.to_string(),
            totals.currency.as_str(),
            &hidden,
        )
    }

    /// Tells an honest repetition from another seal in the same slot, before anything is parsed.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        Tagged::new("fiscus/offline/v1")
            .str(&self.credential_id)
            .u64(self.place)
            .u64(self.timestamp.get())
            .h32(&self.blind)
            .h32(&self.prev_hash)
            .h32(&payload_hash(&self.invoice))
            .finish()
    }

    /// The payload of the ledger's record: the inner seal, with the invoice inside and last.
    #[must_use]
    pub fn record_payload(&self, fiscal_number: &str, entry_hash: &Hash32) -> Option<String> {
        Some(
            Object::new()
                .text("credential_id", &self.credential_id)
                .count("place", self.place)
                .text("fiscal_number", fiscal_number)
                .text("timestamp", &self.timestamp.to_string())
                .bytes("blind", &self.blind)
                .bytes("prev_hash", &self.prev_hash)
                .bytes("entry_hash", entry_hash)
                .bytes("signature", &self.signature)
                .json("invoice", std::str::from_utf8(&self.invoice).ok()?)
                .finish(),
        )
    }

    /// The invoice inside a record's payload.
    #[must_use]
    pub fn invoice_in(payload: &[u8]) -> Option<&[u8]> {
        const NAME: &[u8] = br#","invoice":"#;
        // The fields before it hold no quote that is not their own: ids are escaped, the rest is hex.
        let at = payload.windows(NAME.len()).position(|window| window == NAME)?;
        payload[at + NAME.len()..].strip_suffix(b"}")
    }

    pub(crate) fn parse<'e>(&'e self, group: &Group) -> InvoiceSlot<'e> {
        InvoiceSlot(
            group
                .manifest_at(self.timestamp)
                .map(|manifest| parse_strict(&self.invoice, manifest).map_err(Box::new)),
        )
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(self.invoice.len() + 256);
        out.str(&self.credential_id).u64(self.place).u64(self.timestamp.get());
        out.raw(&self.blind).raw(&self.prev_hash).raw(&self.signature).bytes(&self.invoice);
        out.finish()
    }

    /// Reads what [`Self::to_bytes`] writes, and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let seal = Self {
            credential_id: read_id(&mut from, "seal credential")?,
            place: from.u64("seal place")?,
            timestamp: UnixMs::new(from.u64("seal time")?),
            blind: from.h32("seal blind")?,
            prev_hash: from.h32("seal link")?,
            signature: from.array("seal signature")?,
            invoice: from.bytes("seal invoice")?.to_vec(),
        };
        from.finish()?;
        Ok(seal)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::credential::CredentialTerms;
    use crate::invoice::parse_lenient;
    use crate::manifest::Manifest;

    const SALE: &str = r#"{"merchant_nif":"A1234567B","outlet_id":"outlet-1","pos_terminal_id":"till-1",
        "cashier_id":"c","invoice_type":"sale","currency":"CDF","client":{"classification":"individual"},
        "items":[{"code":"F","description":"Farine","quantity":1,"unit_price":"10.00","tax_group":"TG02",
        "taxable_unit":"sac"}],"payments":[{"method":"cash","amount":"10.00"}]}"#;

    fn credential(terminal: &SigningKey, outlet_id: &str) -> (Credential, SigningKey) {
        let authority = SigningKey::from_bytes(&[5; 32]);
        let terms = CredentialTerms {
            id: "cred-7".to_owned(),
            outlet_id: outlet_id.to_owned(),
            prefix: "CD-KIN01".to_owned(),
            first: 10,
            last: 12,
            not_before_ms: 1_000,
            not_after_ms: 2_000,
            terminal_key: terminal.verifying_key().to_bytes(),
            block_entry_hash: [4; 32],
            authority_id: "demo.0011223344556677".to_owned(),
        };
        let signature = authority.sign(&terms.signed_hash()).to_bytes();
        (Credential::new(terms, signature).unwrap(), authority)
    }

    fn next(credential: &Credential, place: u64, time: u64) -> NextSeal<'_> {
        let (timestamp, blind) = (UnixMs::new(time), [9; 32]);
        NextSeal { credential, place, prev_hash: [4; 32], timestamp, blind }
    }

    #[test]
    fn what_a_terminal_seals_is_genuine_on_paper() {
        let till = SigningKey::from_bytes(&[6; 32]);
        let (credential, authority) = credential(&till, "outlet-1");
        let manifest = Manifest::builtin();
        let parsed = parse_lenient(SALE.as_bytes(), &manifest, UnixMs::new(1_500)).unwrap();
        let sign = |hash: &Hash32| till.sign(hash).to_bytes();
        let host = "verify.example.cd";
        let sealed = next(&credential, 3, 2_000).seal(host, &parsed.invoice, sign).unwrap();
        assert_eq!((&*sealed.fiscal_number, sealed.sequence), ("CD-KIN01-12", 12));
        assert_eq!(sealed.receipt.entry_hash(), sealed.entry_hash);
        let read = QrPayload::parse(&sealed.receipt.to_url()).unwrap();
        let printed = read.fields();
        assert!(printed.credential.as_ref().unwrap().verify(&authority.verifying_key()));
        let signature = ed25519_dalek::Signature::from_bytes(&printed.signature);
        assert!(till.verifying_key().verify_strict(&read.entry_hash(), &signature).is_ok());
        assert_eq!(OfflineSeal::from_bytes(&sealed.seal.to_bytes()), Ok(sealed.seal));
    }

    #[test]
    fn nothing_outside_of_the_leave_is_sealed() {
        let till = SigningKey::from_bytes(&[6; 32]);
        let (credential, _) = credential(&till, "outlet-1");
        let manifest = Manifest::builtin();
        let parsed = parse_lenient(SALE.as_bytes(), &manifest, UnixMs::new(1_500)).unwrap();
        let sign = |hash: &Hash32| till.sign(hash).to_bytes();
        for (place, time) in [(0, 1_500), (4, 1_500), (u64::MAX, 1_500), (1, 999), (1, 2_001)] {
            let refused = next(&credential, place, time).seal("v.cd", &parsed.invoice, sign);
            assert!(matches!(refused, Err(SealOfflineError::NotCovered(_))), "{place} {time}");
        }
        let (foreign, _) = self::credential(&till, "outlet-2");
        let refused = next(&foreign, 1, 1_500).seal("v.cd", &parsed.invoice, sign);
        assert!(matches!(refused, Err(SealOfflineError::OtherOutlet { .. })));
    }
}
