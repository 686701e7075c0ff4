//! The golden values of seals, receipts and credentials, which an independent program recomputes.
//!
//! `FISCUS_BLESS=1 cargo test -p fiscus-ledger --test seal_vectors` writes them anew.

mod vectors;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::credential::{Credential, CredentialTerms};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::{Hash32, ZERO_HASH, hex, payload_hash};
use fiscus_ledger::keys::{AuthorityKey, KeySet, KeyStatus};
use fiscus_ledger::qr::{QrFields, QrPayload, verify};
use fiscus_ledger::seal::{AuthCode, authority_id, blind, entry_hash, hidden_hash};
use fiscus_ledger::time::UnixMs;

const HOST: &str = "verify.example.cd";
const OUTLET: &str = "outlet-kin-01";
const AUTHORITY_SEED: [u8; 32] = [0x11; 32];
const TERMINAL_SEED: [u8; 32] = [0x22; 32];
const ENTRY_SEED: Hash32 = [0x33; 32];
const TERMINAL_BLIND_SEED: Hash32 = [0x44; 32];
const FIRST_TIME_MS: u64 = 1_769_934_600_123;

/// One JSON object, member by member in the order given.
struct Object(Vec<String>);

impl Object {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn text(mut self, name: &str, value: &str) -> Self {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        self.0.push(format!("\"{name}\": \"{escaped}\""));
        self
    }

    fn number(mut self, name: &str, value: u64) -> Self {
        self.0.push(format!("\"{name}\": {value}"));
        self
    }

    fn raw(mut self, name: &str, value: &str) -> Self {
        self.0.push(format!("\"{name}\": {value}"));
        self
    }

    fn end(&self) -> String {
        format!("{{\n{}\n}}", self.0.join(",\n"))
    }
}

/// What one record of a chain is made of.
struct Record<'a> {
    position: u64,
    authority_id: &'a str,
    key: &'a SigningKey,
    fiscal_number: &'a str,
    timestamp_ms: u64,
    kind: &'a str,
    total: &'a str,
    currency: &'a str,
    payload: &'a str,
    seed: &'a Hash32,
    index: u64,
    prev_hash: Hash32,
    credential: Option<Credential>,
}

impl Record<'_> {
    fn hashes(&self) -> (Hash32, Hash32, Hash32, Hash32) {
        let payload = payload_hash(self.payload.as_bytes());
        let salt = blind(self.seed, self.index);
        let hidden = hidden_hash(OUTLET, self.position, &payload, &salt, &self.prev_hash);
        let entry = entry_hash(
            self.authority_id,
            self.fiscal_number,
            self.timestamp_ms,
            self.kind,
            self.total,
            self.currency,
            &hidden,
        );
        (payload, salt, hidden, entry)
    }

    fn object(&self) -> (Object, Hash32) {
        let (payload, salt, hidden, entry) = self.hashes();
        let signature = self.key.sign(&entry).to_bytes();
        let object = Object::new()
            .text("outlet_id", OUTLET)
            .number("position", self.position)
            .text("fiscal_authority_id", self.authority_id)
            .text("fiscal_number", self.fiscal_number)
            .text("timestamp", &time(self.timestamp_ms).to_string())
            .number("timestamp_unix_ms", self.timestamp_ms)
            .text("record_kind", self.kind)
            .text("total", self.total)
            .text("currency", self.currency)
            .text("canonical_payload", self.payload)
            .text("payload_hash", &hex(&payload))
            .text("blind_seed", &hex(self.seed))
            .number("blind_index", self.index)
            .text("blind", &hex(&salt))
            .text("prev_hash", &hex(&self.prev_hash))
            .text("hidden_hash", &hex(&hidden))
            .text("entry_hash", &hex(&entry))
            .text("signature", &hex(&signature))
            .text("auth_code", &AuthCode::of_signature(&signature).to_string());
        (object, entry)
    }

    /// The receipt, which must verify with the published keys alone.
    fn qr_url(&self, keys: &KeySet) -> String {
        let (_, _, hidden, entry) = self.hashes();
        let payload = QrPayload::new(QrFields {
            host: HOST.to_owned(),
            fiscal_number: self.fiscal_number.to_owned(),
            timestamp: time(self.timestamp_ms),
            kind: self.kind.to_owned(),
            total: self.total.to_owned(),
            currency: self.currency.to_owned(),
            authority_id: self.authority_id.to_owned(),
            hidden_hash: hidden,
            signature: self.key.sign(&entry).to_bytes(),
            credential: self.credential.clone(),
        })
        .unwrap();
        let url = payload.to_url();
        assert_eq!(verify(&QrPayload::parse(&url).unwrap(), keys).unwrap().entry_hash, entry);
        url
    }
}

fn time(unix_ms: u64) -> UnixMs {
    UnixMs::new(unix_ms)
}

fn keys(authority: &SigningKey) -> KeySet {
    let public_key = authority.verifying_key();
    KeySet::new([AuthorityKey {
        id: authority_id("demo", public_key.as_bytes()),
        public_key,
        valid_from: time(FIRST_TIME_MS - 123),
        valid_until: None,
        status: KeyStatus::Active,
        environment: Environment::Live,
    }])
    .unwrap()
}

/// A chain of three records: a sale, its credit note, and the grant of a block of numbers. The grant
/// is no invoice: it has no number, no total and no receipt.
fn chain(authority: &SigningKey, keys: &KeySet) -> (String, Hash32) {
    let id = authority_id("demo", authority.verifying_key().as_bytes());
    let rows = [
        ("CD-KIN01-1", "sale", "1160.00", "CDF", r#"{"invoice_type":"sale","totals":"1160.00"}"#),
        ("CD-KIN01-2", "credit_note", "0.50", "USD", r#"{"invoice_type":"credit_note"}"#),
        ("", "block_grant", "", "", r#"{"first":3,"last":12}"#),
    ];
    let mut prev_hash = ZERO_HASH;
    let mut objects = Vec::new();
    for (index, (fiscal_number, kind, total, currency, payload)) in (0_u64..).zip(rows) {
        let record = Record {
            position: index + 1,
            authority_id: &id,
            key: authority,
            fiscal_number,
            timestamp_ms: FIRST_TIME_MS + index * 1_000,
            kind,
            total,
            currency,
            payload,
            seed: &ENTRY_SEED,
            index,
            prev_hash,
            credential: None,
        };
        let (object, entry) = record.object();
        let object = if fiscal_number.is_empty() {
            object
        } else {
            object.text("qr_url", &record.qr_url(keys))
        };
        objects.push(object.end());
        prev_hash = entry;
    }
    (format!("[\n{}\n]", objects.join(",\n")), prev_hash)
}

fn credential(authority: &SigningKey, terminal: &SigningKey, block: Hash32) -> Credential {
    let terms = CredentialTerms {
        id: "credential-0001".to_owned(),
        outlet_id: OUTLET.to_owned(),
        prefix: "CD-KIN01".to_owned(),
        first: 3,
        last: 12,
        not_before_ms: FIRST_TIME_MS + 2_000,
        not_after_ms: FIRST_TIME_MS + 2_000 + 12 * 3_600_000,
        terminal_key: terminal.verifying_key().to_bytes(),
        block_entry_hash: block,
        authority_id: authority_id("demo", authority.verifying_key().as_bytes()),
    };
    let signature = authority.sign(&terms.signed_hash()).to_bytes();
    Credential::new(terms, signature).unwrap()
}

fn credential_object(credential: &Credential) -> String {
    let terms = credential.terms();
    Object::new()
        .text("terminal_key_seed", &hex(&TERMINAL_SEED))
        .text("id", &terms.id)
        .text("outlet_id", &terms.outlet_id)
        .text("prefix", &terms.prefix)
        .number("first", terms.first)
        .number("last", terms.last)
        .number("not_before_unix_ms", terms.not_before_ms)
        .number("not_after_unix_ms", terms.not_after_ms)
        .text("terminal_public_key", &hex(&terms.terminal_key))
        .text("block_entry_hash", &hex(&terms.block_entry_hash))
        .text("fiscal_authority_id", &terms.authority_id)
        .text("signed_hash", &hex(&terms.signed_hash()))
        .text("signature", &hex(credential.signature()))
        .text("compact", &credential.to_compact())
        .end()
}

fn document(authority: &SigningKey, keys: &KeySet) -> String {
    let terminal = SigningKey::from_bytes(&TERMINAL_SEED);
    let public_key = authority.verifying_key().to_bytes();
    let (records, block) = chain(authority, keys);
    let credential = credential(authority, &terminal, block);
    let offline = Record {
        position: 1,
        authority_id: "credential-0001",
        key: &terminal,
        fiscal_number: "CD-KIN01-3",
        timestamp_ms: FIRST_TIME_MS + 60_000,
        kind: "sale",
        total: "99.99",
        currency: "CDF",
        payload: r#"{"invoice_type":"sale","totals":"99.99"}"#,
        seed: &TERMINAL_BLIND_SEED,
        index: 0,
        prev_hash: block,
        credential: Some(credential.clone()),
    };
    let authority_object = Object::new()
        .text("name", "demo")
        .text("key_seed", &hex(&AUTHORITY_SEED))
        .text("public_key", &hex(&public_key))
        .text("fiscal_authority_id", &authority_id("demo", &public_key));
    let mut document = Object::new()
        .text("qr_host", HOST)
        .raw("authority", &authority_object.end())
        .raw("records", &records)
        .raw("credential", &credential_object(&credential))
        .raw("offline_seal", &offline.object().0.text("qr_url", &offline.qr_url(keys)).end())
        .end();
    document.push('\n');
    document
}

#[test]
fn golden_values_of_seals_receipts_and_credentials_stand() {
    let authority = SigningKey::from_bytes(&AUTHORITY_SEED);
    let keys = keys(&authority);
    assert_eq!(KeySet::parse(&keys.to_json()).as_ref(), Ok(&keys));
    vectors::compare("seal.json", &document(&authority, &keys));
    vectors::compare("fiscal-keys.json", &keys.to_json());
}
