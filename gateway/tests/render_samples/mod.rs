//! Sealed invoices to render, made with the ledger's own functions.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod reports;

use std::fmt::Write as _;

use ed25519_dalek::{Signer as _, SigningKey};
use fiscus_gateway::render::{
    CopyMark, Language, MerchantLabel, OutletLabel, ReceiptParts, ReceiptView, ViewError,
};
use fiscus_ledger::credential::{Credential, CredentialTerms};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::ZERO_HASH;
use fiscus_ledger::invoice::{CanonicalInvoice, InvoiceType, parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reports::invoice_of;
use fiscus_ledger::seal::authority_id;
use fiscus_ledger::time::UnixMs;

pub(crate) const HOST: &str = "verify.example.cd";
pub(crate) const NOW: UnixMs = UnixMs::new(1_795_167_001_123);
pub(crate) const OFFLINE_AT: UnixMs = UnixMs::new(1_795_160_000_456);

pub(crate) const SALE: &str = include_str!("../../../docs/samples/sale.json");
pub(crate) const INCLUSIVE: &str = include_str!("../../../docs/samples/inclusive.json");
pub(crate) const USD: &str = include_str!("../../../docs/samples/usd.json");
pub(crate) const EXPORT: &str = include_str!("../../../docs/samples/export.json");
pub(crate) const EMBASSY: &str = include_str!("../../../docs/samples/embassy.json");
pub(crate) const CREDIT: &str = include_str!("../../../docs/samples/credit_note.json");

pub(crate) const MERCHANT: MerchantLabel<'static> = MerchantLabel {
    name: "Alimentation Gombe SARL",
    nif: "A1234567B",
    rccm: "CD/KIN/RCCM/14-B-01234",
    address: "12, avenue de l'Équateur, Gombe, Kinshasa",
};

pub(crate) const OUTLET: OutletLabel<'static> = OutletLabel {
    name: "Supermarché de la Gombe",
    address: "45, boulevard du 30 Juin, Kinshasa",
    environment: Environment::Live,
};

/// How a sample is rendered.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) mark: CopyMark,
    pub(crate) language: Language,
    pub(crate) merchant: MerchantLabel<'static>,
    pub(crate) outlet: OutletLabel<'static>,
}

pub(crate) const FRENCH: Look = Look {
    mark: CopyMark::Original,
    language: Language::French,
    merchant: MERCHANT,
    outlet: OUTLET,
};

pub(crate) const ENGLISH: Look = Look { language: Language::English, ..FRENCH };

/// A record of an invoice, and who signed it.
pub(crate) struct Sealed {
    pub(crate) kind: RecordKind,
    pub(crate) payload: String,
    pub(crate) number: String,
    pub(crate) authority: String,
    pub(crate) total: String,
    pub(crate) currency: String,
    pub(crate) credential: Option<Credential>,
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn terminal_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

/// Seals an invoice as the REST API reads it.
pub(crate) fn seal(text: &str) -> Sealed {
    let manifest = Manifest::builtin();
    let parsed = parse_lenient(text.as_bytes(), &manifest, NOW)
        .unwrap_or_else(|problem| panic!("the sample is refused: {problem:?}"));
    let invoice = parsed.invoice;
    Sealed {
        kind: RecordKind::Invoice(invoice.invoice_type()),
        payload: invoice.canonical_text().to_owned(),
        number: "CD-GOMBE-1042".to_owned(),
        authority: authority_id("dgi-cd-live-1", key().verifying_key().as_bytes()),
        total: invoice.totals().total.to_string(),
        currency: invoice.totals().currency.as_str().to_owned(),
        credential: None,
    }
}

/// The same, sealed by a terminal that was offline.
pub(crate) fn seal_offline(text: &str, credential_id: &str) -> Sealed {
    let online = seal(text);
    let terms = CredentialTerms {
        id: credential_id.to_owned(),
        outlet_id: "outlet-gombe".to_owned(),
        prefix: "CD-GOMBE".to_owned(),
        first: 1_000,
        last: 1_499,
        not_before_ms: OFFLINE_AT.get() - 1_000,
        not_after_ms: OFFLINE_AT.get() + 40_000_000,
        terminal_key: terminal_key().verifying_key().to_bytes(),
        block_entry_hash: [9; 32],
        authority_id: online.authority.clone(),
    };
    let signature = key().sign(&terms.signed_hash()).to_bytes();
    let credential = Credential::new(terms, signature).unwrap();
    let mut inner = OfflineSeal {
        credential_id: credential_id.into(),
        place: 43,
        timestamp: OFFLINE_AT,
        blind: [3; 32],
        prev_hash: [4; 32],
        signature: [0; 64],
        invoice: online.payload.clone().into_bytes(),
    };
    let manifest = Manifest::builtin();
    let invoice = parse_strict(online.payload.as_bytes(), &manifest).unwrap();
    let hash = inner.entry_hash("outlet-gombe", &online.number, &invoice);
    inner.signature = terminal_key().sign(&hash).to_bytes();
    Sealed {
        kind: RecordKind::Offline(invoice.invoice_type()),
        payload: inner.record_payload(&online.number, &hash).unwrap(),
        credential: Some(credential),
        ..online
    }
}

impl Sealed {
    pub(crate) fn record(&self) -> Record<'_> {
        let mut record = Record {
            outlet_id: "outlet-gombe",
            position: 2_077,
            leaf_index: 40_312,
            kind: self.kind,
            authority_id: &self.authority,
            fiscal_number: &self.number,
            timestamp: NOW,
            total: &self.total,
            currency: &self.currency,
            payload: self.payload.as_bytes(),
            blind: [1; 32],
            prev_hash: [2; 32],
            entry_hash: ZERO_HASH,
            submission: None,
        };
        record.entry_hash = record.recomputed_entry_hash();
        record
    }

    pub(crate) fn with_invoice<T>(&self, look: impl FnOnce(&CanonicalInvoice<'_>) -> T) -> T {
        let manifest = Manifest::builtin();
        look(&invoice_of(&self.record(), &[&manifest]).unwrap())
    }

    pub(crate) fn signature(&self) -> [u8; 64] {
        key().sign(&self.record().entry_hash).to_bytes()
    }

    pub(crate) fn view(&self, look: Look) -> ReceiptView {
        self.try_view(look, self.credential.as_ref(), HOST).unwrap()
    }

    pub(crate) fn try_view(
        &self,
        look: Look,
        credential: Option<&Credential>,
        verify_host: &str,
    ) -> Result<ReceiptView, ViewError> {
        let (record, manifest) = (self.record(), Manifest::builtin());
        let invoice = invoice_of(&record, &[&manifest]).unwrap();
        ReceiptView::new(&ReceiptParts {
            record: &record,
            signature: &self.signature(),
            invoice: &invoice,
            manifest: &manifest,
            credential,
            merchant: look.merchant,
            outlet: look.outlet,
            verify_host,
            mark: look.mark,
            language: look.language,
        })
    }
}

/// The start of an invoice, up to its items.
fn head(kind: InvoiceType, name: &str, classification: &str) -> String {
    format!(
        r#"{{"merchant_nif":"A1234567B","outlet_id":"outlet-gombe","pos_terminal_id":"till-1","cashier_id":"cashier-7","invoice_type":"{}","client":{{"name":{name},"nif":"A7654321C","classification":"{classification}"}},"#,
        kind.as_str()
    )
}

/// A sale with one line for each description, which is JSON text with its quotes.
pub(crate) fn sale_of(descriptions: &[&str]) -> String {
    let mut text = head(InvoiceType::Sale, "\"Kivu Services SARL\"", "company");
    text.push_str("\"items\":[");
    for (at, description) in descriptions.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(
            text,
            r#"{comma}{{"code":"A{at}","description":{description},"quantity":"{}.5","unit_price":"{}.25","tax_group":"TG02"}}"#,
            at % 9 + 1,
            at % 5_000 + 100,
        );
    }
    text.push_str("]}");
    text
}

/// Every group that one invoice can hold: export goods stand on export invoices only.
pub(crate) fn sale_of_thirteen_groups() -> String {
    let mut text = head(InvoiceType::Sale, "\"Ministère des Finances\"", "company");
    text.push_str("\"items\":[");
    let references = r#"{"funding_source":"BAD-2026-17","regime_registration":"AGR-991","mining_license":"CAMI-77120","excise_certificate":"DGDA-3321-X","telecom_operator":"ARPTC-05"}"#;
    for group in (1..=14).filter(|group| *group != 7) {
        let comma = if group == 1 { "" } else { "," };
        let _ = write!(
            text,
            r#"{comma}{{"code":"G{group:02}","description":"Article du groupe {group}","quantity":2,"unit_price":"1234.55","discount":"10.00","tax_group":"TG{group:02}","taxable_unit":"pce","references":{references}}}"#
        );
    }
    text.push_str(
        r#"],"payments":[{"method":"cash","amount":"10000.00"},{"method":"mobile_money","provider":"mpesa","instrument_id":"+243810000001","amount":"12000.00"}],"metadata":{"tax_override_reason":"Marché public n° 17/2026"}}"#,
    );
    text
}

/// Every text as long as it may be, and amounts as large.
pub(crate) fn longest() -> String {
    let long = |bytes: usize| "W".repeat(bytes);
    let words =
        |bytes: usize| "longue désignation ".repeat(40).chars().take(bytes).collect::<String>();
    let mut references = String::new();
    for at in 0..31 {
        let _ = write!(references, r#""r{at:02}{}":"{}","#, "k".repeat(61), long(64));
    }
    references.push_str(r#""telecom_operator":"ARPTC""#);
    let mut payments = String::new();
    for at in 0..64 {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(
            payments,
            r#"{comma}{{"method":"mobile_money","provider":"airtel_money","instrument_id":"{at:02}{}","amount":"10000000000000.00"}}"#,
            long(62)
        );
    }
    format!(
        r#"{{"merchant_nif":"{nif}","outlet_id":"outlet-gombe","pos_terminal_id":"{id}","cashier_id":"{id}","invoice_type":"sale","currency":"USD","fx":{{"rate":"2.123456"}},"client":{{"name":"{name}","nif":"{id}","classification":"company"}},"items":[{{"code":"{id}","description":"{name}","quantity":"0.001","unit_price":"3000000000000.00","discount":"1.00","tax_group":"TG13","taxable_unit":"{id}","references":{{{references}}}}},{{"code":"x","description":"{description}","quantity":"3999999999.999","unit_price":"500.00","tax_group":"TG02","taxable_unit":"{id}"}}],"payments":[{payments}],"metadata":{{"tax_override_reason":"{reason}"}}}}"#,
        nif = long(64),
        id = long(64),
        name = long(512),
        description = words(400),
        reason = long(256),
    )
}
