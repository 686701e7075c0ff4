//! Receipts that a terminal sealed alone: checkable before the ledger has them, and after, by either code.

use ed25519_dalek::{Signer as _, SigningKey};
use fiscus_gateway::render::{Paper, qr::svg};
use fiscus_ledger::credential::{Credential, CredentialTerms};
use fiscus_ledger::hash::{Hash32, from_hex, payload_hash};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::qr::{QrFields, QrPayload};
use fiscus_ledger::record::Record;
use fiscus_ledger::seal::{AuthCode, hidden_hash};
use fiscus_ledger::time::UnixMs;
use fiscus_node::signer::{KeyFile, Passphrase, Signable, Signer};
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::JournalRecord;
use serde_json::Value;

use super::{by_number, by_qr, text, world};
use crate::support::{LIMIT, World, sale};

const CREDENTIAL: &str = "cred-verify";
const OUTLET: &str = "outlet-gombe";

/// A receipt as the terminal printed it, and what it will deliver.
struct Printed {
    qr: String,
    number: String,
    code: String,
    seal: proto::OfflineSeal,
}

async fn recorded(client: &ClusterClient, kind: command::Command) -> JournalRecord {
    let command = Command { command: Some(kind) };
    match client.submit(1, command, LIMIT).await.expect("an answer") {
        Answer::Recorded(record) => record,
        other => panic!("{other:?}"),
    }
}

/// Lends a number to the terminal; its credential, signed with the authority's own key.
async fn grant(world: &World, client: &ClusterClient, terminal: &SigningKey) -> Credential {
    let terminal_key = terminal.verifying_key().to_bytes();
    let grant = proto::GrantBlock {
        submitted: Some(proto::Submitted {
            outlet_id: OUTLET.to_owned(),
            key: vec![7; 16].into(),
            fingerprint: vec![7; 32].into(),
        }),
        credential_id: CREDENTIAL.to_owned(),
        terminal_id: "till-1".to_owned(),
        terminal_key: terminal_key.to_vec().into(),
        numbers: 5,
        validity_ms: 3_600_000,
    };
    let stored = recorded(client, command::Command::GrantBlock(grant)).await;
    let record = Record::decode(&stored.record).expect("a record");
    let lent: Value = serde_json::from_slice(record.payload).expect("a payload");
    let time = |name: &str| UnixMs::parse_canonical(text(&lent, name)).expect("a time").get();
    let terms = CredentialTerms {
        id: CREDENTIAL.to_owned(),
        outlet_id: OUTLET.to_owned(),
        prefix: "KIN-GOMBE".to_owned(),
        first: lent["first"].as_u64().expect("a number"),
        last: lent["last"].as_u64().expect("a number"),
        not_before_ms: time("not_before"),
        not_after_ms: time("not_after"),
        terminal_key,
        block_entry_hash: record.entry_hash,
        authority_id: record.authority_id.to_owned(),
    };
    let dir = world.cluster.members[0].dir.parent().expect("the cluster's directory").to_owned();
    let secret = std::fs::read(dir.join("passphrase")).expect("a passphrase");
    let keys = KeyFile::open(&dir.join("keys"), &Passphrase::new(&secret)).expect("the keys");
    let held = keys.keys();
    let held = held.iter().find(|key| key.authority_id() == terms.authority_id).expect("the key");
    let hash = Signable::CredentialHash(terms.signed_hash());
    let signature = keys.sign(&held.public_key, &hash).expect("a signature");
    Credential::new(terms, signature).expect("a credential")
}

/// Seals a sale as the terminal does when it is alone.
fn seal_alone(credential: &Credential, terminal: &SigningKey) -> Printed {
    let terms = credential.terms();
    let invoice = sale(OUTLET, 2_500).to_string();
    let timestamp = UnixMs::new(terms.not_before_ms);
    let parsed = parse_lenient(invoice.as_bytes(), &Manifest::builtin(), timestamp);
    let invoice = parsed.expect("a sale").invoice.canonical_bytes().to_vec();
    let blind: Hash32 = [9; 32];
    let prev_hash = terms.block_entry_hash;
    let hidden = hidden_hash(OUTLET, 1, &payload_hash(&invoice), &blind, &prev_hash);
    let mut fields = QrFields {
        host: "verify.example.cd".to_owned(),
        fiscal_number: format!("KIN-GOMBE-{}", terms.first),
        timestamp,
        kind: "sale".to_owned(),
        total: "2500.00".to_owned(),
        currency: "CDF".to_owned(),
        authority_id: CREDENTIAL.to_owned(),
        hidden_hash: hidden,
        signature: [0; 64],
        credential: Some(credential.clone()),
    };
    let unsigned = QrPayload::new(fields.clone()).expect("a payload");
    fields.signature = terminal.sign(&unsigned.entry_hash()).to_bytes();
    let seal = proto::OfflineSeal {
        credential_id: CREDENTIAL.to_owned(),
        place: 1,
        timestamp_ms: timestamp.get(),
        blind: blind.to_vec().into(),
        prev_hash: prev_hash.to_vec().into(),
        signature: fields.signature.to_vec().into(),
        invoice: invoice.into(),
    };
    let number = fields.fiscal_number.clone();
    let code = AuthCode::of_signature(&fields.signature).to_string();
    let qr = QrPayload::new(fields).expect("a payload").to_url();
    Printed { qr, number, code, seal }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_receipt_is_verified_before_and_after_it_is_delivered() {
    let mut world = world().await;
    let client = world.cluster.client().await;
    let terminal = SigningKey::from_bytes(&[42; 32]);
    let credential = grant(&world, &client, &terminal).await;
    let Printed { qr, number, code, seal } = seal_alone(&credential, &terminal);

    let found = by_qr(&world, &qr).await.expect(200).json();
    assert_eq!(found["result"], "verified", "{found}");
    assert_eq!(found["ledger"], "awaited");
    assert_eq!(found["dgi_status"], "none");
    assert_eq!(found["fiscal_authority_id"], credential.terms().authority_id.as_str());
    assert_eq!(found["sealed_offline"], true);
    let unknown = by_number(&world, &number, &code).await.expect(200).json();
    assert_eq!(unknown["result"], "not_found", "a code proves nothing before the ledger has it");
    let changed = qr.replacen("t=2500.00", "t=25.00", 1);
    let found = by_qr(&world, &changed).await.expect(200).json();
    assert_eq!((&found["result"], &found["evidence"]), (&"tampered".into(), &"signature".into()));
    // Both end a text of whole bytes, whatever its length.
    let last = if qr.ends_with('A') { 'Q' } else { 'A' };
    let changed = format!("{}{last}", &qr[..qr.len() - 1]);
    let found = by_qr(&world, &changed).await.expect(200).json();
    assert_eq!((&found["result"], &found["evidence"]), (&"tampered".into(), &"credential".into()));

    let deliver = proto::ReconcileOffline { outlet_id: OUTLET.to_owned(), seal: Some(seal) };
    let stored = recorded(&client, command::Command::ReconcileOffline(deliver)).await;
    let record = Record::decode(&stored.record).expect("a record");
    let signature: [u8; 64] = (&*stored.signature).try_into().expect("64 bytes");
    let ledgers = QrPayload::new(QrFields::of_online_seal("verify.example.cd", &record, signature));
    let ledgers = ledgers.expect("a payload").to_url();
    let ledgers_code = AuthCode::of_signature(&signature).to_string();
    assert_ne!(ledgers_code, code);
    let inner: Value = serde_json::from_slice(record.payload).expect("a payload");
    assert!(from_hex::<32>(text(&inner, "entry_hash")).is_some());
    for found in [
        by_qr(&world, &qr).await,
        by_qr(&world, &ledgers).await,
        by_number(&world, &number, &code).await,
        by_number(&world, &number, &ledgers_code).await,
    ] {
        let found = found.expect(200).json();
        assert_eq!(found["result"], "verified", "{found}");
        assert_eq!(found["ledger"], "recorded");
        assert_eq!(found["sealed_offline"], true);
        assert_eq!(found["invoice_type"], "sale");
        assert_eq!(found["auth_code"], code.as_str(), "the one on the paper");
        assert_eq!(found["timestamp"], inner["timestamp"], "the one on the paper");
    }

    let place = format!("/api/v1/invoices/{number}");
    let invoice = world.get(&place).by("owner").send().await.expect(200).json();
    assert_eq!(invoice["auth_code"], ledgers_code.as_str());
    assert_eq!(invoice["offline"]["auth_code"], code.as_str(), "answers carry both: {invoice}");
    assert_eq!(invoice["offline"]["timestamp"], inner["timestamp"]);
    assert_eq!(invoice["offline"]["credential_id"], CREDENTIAL);

    // A receipt that is printed again is the terminal's, and names the ledger's code beside its own.
    let receipt = async |query: &str| {
        let place = format!("/api/v1/invoices/{number}/receipt?{query}");
        world.get(&place).by("owner").send().await.expect(200).text()
    };
    let page = receipt("preview=true&lang=fr").await;
    for words in [&*code, &*ledgers_code, CREDENTIAL, "Enregistrée au registre"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let printed = QrPayload::parse(&qr).expect("a code");
    assert_eq!(receipt("format=svg").await, svg(&printed, Paper::A4, "QR"));
}
