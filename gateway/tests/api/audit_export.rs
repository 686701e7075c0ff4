//! An export is checked with nothing but the published keys: chain, numbers, taxes, signatures, proofs.

use std::collections::BTreeMap;

use crate::support::{LIMIT, Setup, World, sale};
use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::hash::{Hash32, from_hex};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reports::Fold;
use fiscus_ledger::time::UnixMs;
use fiscus_ledger::tree::{verify_consistency, verify_inclusion};
use fiscus_proto::ledger::Consistency;
use serde_json::{Value, json};

const INVOICES: u64 = 1_040;

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn hash(value: &Value, name: &str) -> Hash32 {
    from_hex(text(value, name)).unwrap_or_else(|| panic!("{name} of {value}"))
}

fn hashes(value: &Value) -> Vec<Hash32> {
    let list = value.as_array().expect("a list").iter();
    list.map(|hash| from_hex(hash.as_str().expect("text")).expect("a hash")).collect()
}

fn record(value: &Value) -> Record<'_> {
    Record {
        outlet_id: text(value, "outlet_id"),
        position: number(value, "position"),
        leaf_index: number(value, "leaf_index"),
        kind: RecordKind::parse(text(value, "kind")).expect("a kind"),
        authority_id: text(value, "fiscal_authority_id"),
        fiscal_number: text(value, "fiscal_number"),
        timestamp: UnixMs::parse_canonical(text(value, "timestamp")).expect("a time"),
        total: text(value, "total"),
        currency: text(value, "currency"),
        payload: text(value, "payload").as_bytes(),
        blind: hash(value, "blind"),
        prev_hash: hash(value, "previous_hash"),
        entry_hash: hash(value, "entry_hash"),
        submission: None,
    }
}

/// What a reader of exports believes, from elsewhere.
async fn keys(world: &mut World) -> BTreeMap<String, VerifyingKey> {
    let client = world.cluster.client().await;
    let group = client.read_group(1, Consistency::Linearizable, LIMIT).await.expect("a group");
    let keys = group.authorities.into_iter().map(|known| {
        let key = (&*known.public_key).try_into().expect("32 bytes");
        (known.id, VerifyingKey::from_bytes(&key).expect("a key"))
    });
    keys.collect()
}

fn checkpoint(note: &str) -> Checkpoint {
    let end = note.rfind("\n\n").expect("a note has a blank line");
    Checkpoint::parse(&note[..=end]).expect("a checkpoint")
}

/// Checks chunks of a whole journal. How many invoices they hold.
fn verify(chunks: &[Value], keys: &BTreeMap<String, VerifyingKey>) -> u64 {
    let note = text(chunks.last().expect("a chunk"), "checkpoint");
    let pinned = checkpoint(note);
    let manifest = Manifest::builtin();
    let mut fold = Fold::default();
    let mut invoices = 0;
    for (at, chunk) in (0..).zip(chunks) {
        assert_eq!(number(chunk, "chunk_index"), at);
        let last = usize::try_from(at).expect("few") + 1 == chunks.len();
        assert_eq!(chunk["last"], json!(last), "only the last one is the last");
        assert_eq!(chunk.get("checkpoint").is_some(), last);
        for value in chunk["records"].as_array().expect("records") {
            let record = record(value);
            fold.add(&record, &[&manifest]).expect("it follows the record before it");
            let signature = from_hex::<64>(text(value, "signature")).expect("a signature");
            let key = &keys[record.authority_id];
            let signed = key.verify_strict(&record.entry_hash, &Signature::from_bytes(&signature));
            signed.expect("the authority has signed it");
            let (leaf, proof) = (record.leaf_index, hashes(&value["inclusion"]));
            verify_inclusion(&record.entry_hash, leaf, pinned.size(), &proof, pinned.root())
                .expect("it is in the log");
            invoices += u64::from(record.kind.invoice_type().is_some());
        }
    }
    invoices
}

async fn fill(world: &World) {
    let before = world.cluster.leader(1).await;
    assert!(before > 0);
    let mut at = 0;
    while at < INVOICES {
        let calls = (at..INVOICES.min(at + 20)).map(|number| {
            let price = u32::try_from(number % 97 + 1).expect("small");
            let call = world.post("/api/v1/invoices").by("owner");
            call.idempotent(&format!("sale-{number}")).json(&sale("outlet-gombe", price)).send()
        });
        for answer in futures_util::future::join_all(calls).await {
            answer.expect(201);
        }
        at += 20;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_read_in_acknowledged_chunks_and_checks_out() {
    let mut world = World::start_with(Setup { gateways: 2, ..Setup::default() }).await;
    fill(&world).await;
    let keys = keys(&mut world).await;
    let body = json!({"outlet_id": "outlet-gombe"});
    let begin = |by: &'static str| {
        world.post("/api/v1/audit/export").by(by).idempotent("export-1").json(&body).send()
    };
    let begun = begin("auditor").await.expect(201).json();
    let again = begin("auditor").await.expect(200).json();
    assert_eq!(again, begun, "a repetition is answered with the same export");
    assert_eq!((number(&begun, "chunks"), number(&begun, "next_chunk")), (2, 0));
    assert_eq!(begin("other").await.expect(404).code(), "OUTLET_UNKNOWN");
    assert_eq!(begin("supervisor").await.expect(403).code(), "SCOPE_MISSING");

    let place = format!("/api/v1/audit/export/{}", text(&begun, "export_id"));
    let chunk = |gateway: usize, at: u64| {
        world.call_at(gateway, "GET", &format!("{place}/chunks/{at}")).by("auditor").send()
    };
    let ack = |gateway: usize, at: u64| {
        world.call_at(gateway, "POST", &format!("{place}/chunks/{at}/ack")).by("auditor").send()
    };
    let first = chunk(0, 0).await.expect(200);
    assert_eq!(chunk(1, 0).await.expect(200).body, first.body, "the same at every gateway");
    assert_eq!(chunk(0, 1).await.expect(409).code(), "CHUNK_NOT_ACKNOWLEDGED");
    assert_eq!(ack(0, 1).await.expect(409).code(), "CHUNK_NOT_ACKNOWLEDGED");
    assert_eq!(number(&ack(1, 0).await.expect(200).json(), "acknowledged"), 1);
    assert_eq!(number(&ack(0, 0).await.expect(200).json(), "acknowledged"), 1, "once is enough");
    let second = chunk(0, 1).await.expect(200);
    let done = ack(1, 1).await.expect(200).json();
    assert!(done.get("next_chunk").is_none(), "{done}");
    assert_eq!(chunk(0, 2).await.expect(404).code(), "CHUNK_UNKNOWN");
    let state = world.get(&place).by("auditor").send().await.expect(200).json();
    assert_eq!(number(&state, "acknowledged"), 2);
    let foreign = world.get(&place).by("other").send().await.expect(404);
    assert_eq!(foreign.code(), "EXPORT_UNKNOWN");
    let foreign = world.get(&format!("{place}/chunks/0")).by("other").send().await.expect(404);
    assert_eq!(foreign.code(), "EXPORT_UNKNOWN");

    let chunks = [first.json(), second.json()];
    assert_eq!(verify(&chunks, &keys), INVOICES);
    assert_eq!(chunks[0]["records"].as_array().map(Vec::len), Some(1_000));

    // The same at once, a chunk a line.
    let whole = world.get("/api/v1/audit/export?outlet_id=outlet-gombe").by("auditor").send().await;
    let whole = whole.expect(200);
    assert_eq!(whole.header("content-type"), "application/x-ndjson");
    let text = whole.text();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a chunk")).collect();
    assert_eq!(verify(&lines, &keys), INVOICES);
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_lead_to_the_checkpoint() {
    let world = World::start().await;
    let seal = |key: &'static str| {
        let call = world.post("/api/v1/invoices").by("owner").idempotent(key);
        call.json(&sale("outlet-gombe", 100)).send()
    };
    let sealed = seal("sale-1").await.expect(201).json();
    let proof = |query: String| {
        world.get(&format!("/api/v1/audit/proofs/inclusion?{query}")).by("auditor").send()
    };
    let named = format!("fiscal_number={}", text(&sealed, "fiscal_number"));
    let early = proof(named.clone()).await.expect(200).json();
    let old = checkpoint(text(&early["checkpoint"], "checkpoint"));
    let entry = hash(&sealed, "entry_hash");
    let leaf = number(&early, "leaf_index");
    verify_inclusion(&entry, leaf, old.size(), &hashes(&early["hashes"]), old.root())
        .expect("it is in the log");

    seal("sale-2").await.expect(201);
    let placed = proof("outlet_id=outlet-gombe&position=1".to_owned()).await.expect(200).json();
    assert_eq!(number(&placed, "position"), 1);
    let later = world.get("/api/v1/invoices/KIN-GOMBE-2").by("auditor").send().await.expect(200);
    let later = number(&later.json(), "leaf_index");
    let named_later = proof("fiscal_number=KIN-GOMBE-2".to_owned()).await.expect(200).json();
    let new = checkpoint(text(&named_later["checkpoint"], "checkpoint"));
    assert!(new.size() > later && new.size() > old.size());
    let grown = format!(
        "/api/v1/audit/proofs/consistency?group=1&from_size={}&size={}",
        old.size(),
        new.size()
    );
    let grown = world.get(&grown).by("auditor").send().await.expect(200).json();
    let way = hashes(&grown["hashes"]);
    verify_consistency(old.size(), old.root(), new.size(), new.root(), &way)
        .expect("the log only grew");

    let listed = world.get("/api/v1/checkpoints").by("auditor").send().await.expect(200).json();
    let groups: Vec<u64> =
        listed["data"].as_array().expect("data").iter().map(|one| number(one, "group")).collect();
    assert!(groups.contains(&1), "{listed}");
    for (query, status, code) in [
        (format!("{named}&size=100000"), 400, "PARAMETER_INVALID"),
        ("position=1".to_owned(), 400, "PARAMETER_INVALID"),
        ("outlet_id=outlet-gombe&position=100000".to_owned(), 404, "RECORD_UNKNOWN"),
        ("outlet_id=outlet-kenya&position=1".to_owned(), 404, "OUTLET_UNKNOWN"),
        ("fiscal_number=LUB-KENYA-1".to_owned(), 404, "INVOICE_UNKNOWN"),
    ] {
        assert_eq!(proof(query.clone()).await.expect(status).code(), code, "{query}");
    }
    let unknown = world.get("/api/v1/audit/proofs/consistency?group=9&from_size=0").by("auditor");
    assert_eq!(unknown.send().await.expect(404).code(), "GROUP_UNKNOWN");
}
