//! What a node works out for a gateway: invoices with what came after them, searches, reports, proofs.

mod cluster;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, LIMIT, NIF, OUTLET, TERMINAL, submitted};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use fiscus_ledger::hash::{Hash32, Tagged, payload_hash};
use fiscus_ledger::heads::{HeadsProof, HeadsVerdict, heads_leaf};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reports::digest_of;
use fiscus_ledger::state::rows::SealedInvoice;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_ledger::tree::{verify_consistency, verify_inclusion};
use fiscus_proto::client::{Answer, ClusterClient, ReadError};
use fiscus_proto::command::{self as proto, Command, PaymentStatus, command};
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::ledger::report_part::Part;
use fiscus_proto::ledger::x_report_request::Scope;
use fiscus_proto::ledger::{
    AReportRequest, Consistency, FindNumbersRequest, FindRecordsRequest, JournalRecord,
    OutletScope, ProveConsistencyRequest, ProveHeadsRequest, ProveInclusionRequest,
    ReadGroupResponse, ReadInvoiceRequest, ReadInvoiceResponse, ReadTileRequest, ShiftScope,
    TerminalScope, XReportRequest, prove_heads_request::Which,
};
use fiscus_raft::disk::{Disk, RealDisk};
use fiscus_raft::store::SnapshotDir;
use futures_util::{StreamExt, TryStreamExt};
use tonic::Code;
use tonic::transport::Channel;

const GROUP: u64 = 1;

fn number_of(record: &JournalRecord) -> String {
    Record::decode(&record.record).expect("a record").fiscal_number.to_owned()
}

fn position_of(record: &JournalRecord) -> u64 {
    Record::decode(&record.record).expect("a record").position
}

async fn record(client: &ClusterClient, command: command::Command) -> JournalRecord {
    match client.submit(GROUP, Command { command: Some(command) }, LIMIT).await {
        Ok(Answer::Recorded(record)) => record,
        other => panic!("{other:?}"),
    }
}

/// A credit note over a part of an invoice.
fn credit(original: &str, price: u64) -> command::Command {
    let text = format!(
        r#"{{"merchant_nif":"{NIF}","outlet_id":"{OUTLET}","pos_terminal_id":"{TERMINAL}",
        "invoice_type":"credit_note","original_fiscal_number":"{original}","currency":"CDF",
        "client":{{"classification":"individual"}},
        "items":[{{"code":"A","description":"Retour","quantity":1,"unit_price":"{price}.00",
        "tax_group":"TG01"}}],"payments":[]}}"#
    );
    let now = UnixMs::new(1_795_262_400_000);
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), now).expect("a note");
    let payload = parsed.invoice.canonical_bytes().to_vec();
    let key = format!("credit {original} {price}");
    command::Command::Seal(proto::Seal {
        submitted: Some(submitted(&key, payload_hash(&payload).to_vec())),
        terminal_id: TERMINAL.to_owned(),
        device_id: None,
        payload: payload.into(),
    })
}

fn payment(reference: &str, status: PaymentStatus, number: Option<&str>) -> command::Command {
    command::Command::RecordPayment(proto::RecordPayment {
        outlet_id: OUTLET.to_owned(),
        provider: "mpesa".to_owned(),
        reference: reference.to_owned(),
        status: status.into(),
        amount_minor: 50_000,
        currency: "CDF".to_owned(),
        fiscal_number: number.map(str::to_owned),
    })
}

fn of_invoice(number: &str, consistency: Consistency) -> ReadInvoiceRequest {
    ReadInvoiceRequest {
        group: GROUP,
        outlet_id: OUTLET.to_owned(),
        fiscal_number: number.to_owned(),
        consistency: consistency.into(),
    }
}

fn summary(read: &ReadInvoiceResponse) -> (Vec<String>, Vec<(String, PaymentStatus, u64)>) {
    let payments = read.payments.iter();
    (
        read.credits.iter().map(number_of).collect(),
        payments.map(|p| (p.reference.clone(), p.status(), p.position)).collect(),
    )
}

async fn on_node(cluster: &Cluster, id: u64) -> LedgerClient<Channel> {
    let rpc = cluster.members.iter().find(|member| member.id == id).expect("it is there").rpc;
    let channel = Channel::from_shared(format!("http://{rpc}")).expect("an address");
    LedgerClient::new(channel.connect().await.expect("it listens"))
}

async fn group(client: &ClusterClient) -> ReadGroupResponse {
    client.read_group(GROUP, Consistency::Linearizable, LIMIT).await.expect("the group")
}

fn is_signed(group: &ReadGroupResponse, authority: &str, digest: &[u8], signature: &[u8]) {
    let known = group.authorities.iter().find(|known| known.id == authority).expect("it is known");
    let key: Hash32 = (*known.public_key).try_into().expect("a key has 32 bytes");
    let key = VerifyingKey::from_bytes(&key).expect("a key");
    let signature = Signature::from_slice(signature).expect("64 bytes");
    key.verify_strict(digest, &signature).expect("the authority has signed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_read_with_its_credit_notes_and_payments_wherever_its_state_came_from() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(5).await;
    let client = cluster.client().await;
    let number = number_of(&cluster.repeat(0).await);
    let other = number_of(&cluster.repeat(1).await);
    let notes = [
        number_of(&record(&client, credit(&number, 10)).await),
        number_of(&record(&client, credit(&number, 20)).await),
    ];
    record(&client, credit(&other, 30)).await;
    record(&client, payment("R1", PaymentStatus::Pending, Some(&number))).await;
    record(&client, payment("R2", PaymentStatus::Confirmed, None)).await;
    record(&client, payment("R3", PaymentStatus::Failed, Some(&other))).await;
    let linked = record(&client, payment("R2", PaymentStatus::Confirmed, Some(&number))).await;
    let paid = record(&client, payment("R1", PaymentStatus::Confirmed, None)).await;

    let read = client.read_invoice(of_invoice(&number, Consistency::Linearizable), LIMIT).await;
    let read = read.expect("the invoice");
    assert_eq!(read.record.as_ref().map(number_of), Some(number.clone()));
    let row = SealedInvoice::from_stored(&read.invoice_row).expect("a row");
    assert_eq!(row.groups[0].credited_base.to_string(), "30.00");
    let wanted = (
        notes.to_vec(),
        vec![
            ("R2".to_owned(), PaymentStatus::Confirmed, position_of(&linked)),
            ("R1".to_owned(), PaymentStatus::Confirmed, position_of(&paid)),
        ],
    );
    assert_eq!(summary(&read), wanted);
    assert!(read.payments.iter().all(|payment| payment.time_ms > 0 && payment.currency == "CDF"));
    assert!(!read.credits_cut && !read.payments_cut);
    for unknown in ["KIN-GOMBE-999", "", &"9".repeat(70_000)] {
        let read = client.read_invoice(of_invoice(unknown, Consistency::Local), LIMIT).await;
        let read = read.expect("an answer");
        assert!(read.record.is_none() && read.invoice_row.is_empty(), "{read:?}");
    }

    // A node that was away until its entries were gone takes a snapshot; the rows come with it.
    let away = cluster.follower(GROUP).await;
    cluster.stop_node(away).await;
    let directory = cluster.members.iter().find(|m| m.id == away).expect("it is there");
    std::fs::remove_dir_all(directory.group_dir(GROUP)).expect("it is removed");
    let later = record(&client, payment("R1", PaymentStatus::Reversed, None)).await;
    let leader = cluster.leader(GROUP).await;
    cluster.sell(30).await;
    cluster.snapshot(leader, GROUP).await;
    cluster.start_node(away).await;
    cluster.wait_equal(GROUP).await;
    let mut node = on_node(&cluster, away).await;
    let read = node.read_invoice(of_invoice(&number, Consistency::Local)).await;
    let (credits, payments) = summary(&read.expect("the invoice").into_inner());
    assert_eq!(credits, notes);
    let reversed = ("R1".to_owned(), PaymentStatus::Reversed, position_of(&later));
    assert_eq!(payments, [wanted.1[0].clone(), reversed]);

    // The rows of a backup are compared with its journal.
    let dir = cluster.members.iter().find(|m| m.id == leader).expect("it is there");
    let snapshots = dir.group_dir(GROUP).join("snapshots");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let newest = disk.list(&snapshots).expect("they are listed").into_iter().next_back();
    let path = snapshots.join(newest.expect("there is one"));
    let checked = SnapshotDir::open(&disk, Path::new(&path)).expect("a snapshot");
    checked.check(&*disk, &[]).expect("it is sound");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_come_page_by_page_and_say_where_they_go_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(25).await;
    let client = cluster.client().await;
    let request = FindRecordsRequest {
        group: GROUP,
        outlet_ids: vec!["nobody".to_owned(), OUTLET.to_owned()],
        kinds: vec!["sale".to_owned()],
        limit: 7,
        descending: true,
        ..FindRecordsRequest::default()
    };
    let mut page = request.clone();
    let (mut leaves, mut calls) = (Vec::new(), 0);
    loop {
        let found = client.find_records(page.clone(), LIMIT).await.expect("a page");
        leaves.extend(found.records.iter().map(|record| record.leaf));
        assert!(found.records.iter().all(|record| record.signature.len() == 64));
        calls += 1;
        let Some(next) = found.next_leaf else { break };
        page.below_leaf = next;
    }
    assert_eq!((leaves.len(), calls >= 4), (25, true));
    assert!(leaves.is_sorted_by(|a, b| a > b), "{leaves:?}");

    let numbers = FindNumbersRequest {
        group: GROUP,
        outlet_id: OUTLET.to_owned(),
        from_sequence: 3,
        to_sequence: 20,
        limit: 5,
        ..FindNumbersRequest::default()
    };
    let found = client.find_numbers(numbers, LIMIT).await.expect("numbers");
    let told: Vec<String> = found.records.iter().map(number_of).collect();
    let wanted: Vec<String> = (3..8).map(|number| format!("KIN-GOMBE-{number}")).collect();
    assert_eq!((told, found.next_sequence), (wanted, Some(8)));

    for (outlets, kind) in [(Vec::new(), "sale"), (vec![OUTLET.to_owned()], "nothing")] {
        let outlet_ids = outlets;
        let wrong =
            FindRecordsRequest { outlet_ids, kinds: vec![kind.to_owned()], ..request.clone() };
        let refused = client.find_records(wrong, LIMIT).await;
        let is_refused =
            matches!(refused, Err(ReadError::Rejected { status: Code::InvalidArgument, .. }));
        assert!(is_refused, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_signed_by_the_outlets_authority_over_what_they_say() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(8).await;
    let client = cluster.client().await;
    let known = group(&client).await;
    let request = |scope| XReportRequest {
        group: GROUP,
        outlet_id: OUTLET.to_owned(),
        consistency: Consistency::Linearizable.into(),
        scope: Some(scope),
    };
    let (terminal_id, shift_id) = (TERMINAL.to_owned(), "shift-1".to_owned());
    let shift = ShiftScope { terminal_id: terminal_id.clone(), shift_id };
    for scope in [
        Scope::Outlet(OutletScope {}),
        Scope::Shift(shift.clone()),
        Scope::Terminal(TerminalScope { terminal_id: terminal_id.clone() }),
    ] {
        let report = client.x_report(request(scope), LIMIT).await.expect("a report");
        assert!(report.json.contains(r#""invoices":8,"#), "{}", report.json);
        assert_eq!(
            digest_of(&report.json).map(|digest| digest.to_vec()),
            Some(report.digest.to_vec())
        );
        is_signed(&known, &report.authority_id, &report.digest, &report.signature);
    }
    // A device and a block of numbers are found by the records that tell of them.
    let register = proto::RegisterDevice {
        device_id: "device-1".to_owned(),
        outlet_id: OUTLET.to_owned(),
        activation_hash: vec![7; 32].into(),
    };
    cluster.execute(0, command::Command::RegisterDevice(register)).await;
    let grant = proto::GrantBlock {
        submitted: Some(submitted("block", vec![1; 32])),
        credential_id: "credential-1".to_owned(),
        terminal_id: terminal_id.clone(),
        terminal_key: SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes().to_vec().into(),
        numbers: 40,
        validity_ms: 3_600_000,
    };
    record(&client, command::Command::GrantBlock(grant)).await;
    let told = async {
        loop {
            let report = client.x_report(request(Scope::Outlet(OutletScope {})), LIMIT).await;
            let json = report.expect("a report").json;
            if !json.contains(r#""devices":[]"#) {
                return json;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let json = tokio::time::timeout(LIMIT, told).await.expect("the group hears of the device");
    let device = r#""devices":[{"device_id":"device-1","state":"registered"}],"uploads_queued":0,"#;
    assert!(json.contains(device), "{json}");
    assert!(json.contains("only 40 numbers are left"), "{json}");
    let wrong = Scope::Shift(ShiftScope { shift_id: "shift-2".to_owned(), ..shift });
    let refused = client.x_report(request(wrong), LIMIT).await;
    assert!(matches!(refused, Err(ReadError::Rejected { status: Code::NotFound, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_article_report_is_signed_as_a_whole() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(8).await;
    let client = cluster.client().await;
    let known = group(&client).await;
    let articles =
        AReportRequest { group: GROUP, outlet_id: OUTLET.to_owned(), ..Default::default() };
    let parts = client.a_report(articles.clone(), LIMIT).try_collect::<Vec<_>>().await;
    let mut parts = parts.expect("a report").into_iter().map(|part| part.part.expect("a part"));
    let Some(Part::Header(header)) = parts.next() else { panic!("it begins with its header") };
    assert!(header.contains(r#""report":"a""#), "{header}");
    let mut hash = Tagged::new("fiscus/article-report/v1");
    hash.str(&header);
    let mut lines = 0_u64;
    let trailer = loop {
        match parts.next().expect("it ends with its trailer") {
            Part::Header(again) => panic!("{again}"),
            Part::Line(line) => {
                assert!(line.contains(r#""description":"Farine""#), "{line}");
                hash.str(&line);
                lines += 1;
            }
            Part::Trailer(trailer) => break trailer,
        }
    };
    assert_eq!((lines, parts.next()), (8, None));
    assert_eq!(hash.u64(lines).finish().to_vec(), trailer.digest.to_vec());
    is_signed(&known, &trailer.authority_id, &trailer.digest, &trailer.signature);
    let beyond = AReportRequest { to_position: 1_000, ..articles };
    let mut refused = std::pin::pin!(client.a_report(beyond, LIMIT));
    let refused = refused.next().await.expect("an answer");
    assert!(matches!(refused, Err(ReadError::Rejected { status: Code::OutOfRange, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_lead_to_the_root_that_the_group_names() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(5).await;
    let client = cluster.client().await;
    let size_and_root = |group: &ReadGroupResponse| {
        let root: Hash32 = (*group.tree_root).try_into().expect("32 bytes");
        (group.as_of.expect("a moment").leaves, root)
    };
    let (old_size, old_root) = size_and_root(&group(&client).await);
    cluster.sell(300).await;
    let (size, root) = size_and_root(&group(&client).await);
    let all = FindRecordsRequest {
        group: GROUP,
        outlet_ids: vec![OUTLET.to_owned()],
        below_leaf: size,
        ..FindRecordsRequest::default()
    };
    let all = client.find_records(all, LIMIT).await.expect("records").records;
    assert!(all.len() > 300, "{}", all.len());
    let leaves = all.iter().map(|record| record.leaf).collect();
    let request = ProveInclusionRequest { group: GROUP, leaves, size };
    let proofs = client.prove_inclusion(request, LIMIT).await.expect("proofs").proofs;
    let hashes = |hashes: &[bytes::Bytes]| -> Vec<Hash32> {
        hashes.iter().map(|hash| (**hash).try_into().expect("32 bytes")).collect()
    };
    for (record, proof) in all.iter().zip(&proofs) {
        let entry_hash = Record::decode(&record.record).expect("a record").entry_hash;
        let hashes = hashes(&proof.hashes);
        verify_inclusion(&entry_hash, proof.leaf, size, &hashes, &root).expect("it is in the tree");
    }
    assert_eq!(all.len(), proofs.len());
    let request = ProveConsistencyRequest { group: GROUP, from_size: old_size, size };
    let proof = client.prove_consistency(request, LIMIT).await.expect("a proof");
    let proof = hashes(&proof.hashes);
    verify_consistency(old_size, &old_root, size, &root, &proof).expect("nothing was rewritten");
    assert!(Record::decode(&all[0].record).is_ok_and(|record| record.kind != RecordKind::Payment));

    let outside = ProveInclusionRequest { group: GROUP, leaves: vec![size], size };
    let refused = client.prove_inclusion(outside, LIMIT).await;
    assert!(matches!(refused, Err(ReadError::Rejected { status: Code::OutOfRange, .. })));
    let future = ProveConsistencyRequest { group: GROUP, from_size: 1, size: size + 1_000 };
    let refused = client.prove_consistency(future, Duration::from_millis(500)).await;
    assert!(matches!(refused, Err(ReadError::Unavailable { .. })), "{refused:?}");
}

/// A root of the heads tree as of now.
async fn demand(client: &ClusterClient) {
    let cut = command::Command::CheckpointCut(proto::CheckpointCut { demand_heads: true });
    let answer = client.submit(GROUP, Command { command: Some(cut) }, LIMIT).await;
    assert!(matches!(answer, Ok(Answer::Done | Answer::Unchanged)), "{answer:?}");
}

/// The leaf of a version, and the outlet's last position in it.
async fn head(client: &ClusterClient, outlet: &str, which: Option<Which>) -> (u64, Option<u64>) {
    let request = ProveHeadsRequest {
        group: GROUP,
        outlet_id: outlet.to_owned(),
        which,
        ..ProveHeadsRequest::default()
    };
    let answer = client.prove_heads(request, LIMIT).await.expect("an answer");
    let told = answer.proof.expect("such a version is kept");
    let root: Hash32 = (*told.root).try_into().expect("32 bytes");
    let proof = HeadsProof::decode(&told.proof).expect("a proof");
    let last = match proof.verify(&root, outlet).expect("it holds") {
        HeadsVerdict::Present(entry) => Some(entry.last_position()),
        HeadsVerdict::Absent => None,
    };
    let (index, width) = (told.leaf / 256, u32::try_from(told.leaf % 256 + 1).expect("small"));
    let tile = ReadTileRequest { group: GROUP, level: None, index, width };
    let entries = loop {
        // The checkpoint that covers it is decided a moment later.
        match client.read_tile(tile, LIMIT).await {
            Ok(tile) => break tile.hashes,
            Err(error) => assert!(error.is_beyond(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let leaf = heads_leaf(cluster::CLUSTER, GROUP, told.leaf, &root);
    assert!(entries.ends_with(&leaf), "the version is that of its leaf");
    (told.leaf, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_proved_as_of_then_and_outlive_a_restart() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(5).await;
    let client = cluster.client().await;
    demand(&client).await;
    let (first, then) = head(&client, OUTLET, None).await;
    assert_eq!(head(&client, "nowhere", None).await, (first, None));
    cluster.sell(3).await;
    demand(&client).await;
    let (second, now) = head(&client, OUTLET, None).await;
    assert!(second > first);
    assert_eq!(now, then.map(|position| position + 3));
    for restarted in [false, true] {
        let before = head(&client, OUTLET, Some(Which::BeforeLeaf(second))).await;
        assert_eq!(before, (first, then), "restarted: {restarted}");
        let from = head(&client, OUTLET, Some(Which::FromLeaf(first + 1))).await;
        assert_eq!(from, (second, now), "restarted: {restarted}");
        if restarted {
            break;
        }
        for id in 1..=3 {
            cluster.stop_node(id).await;
            cluster.start_node(id).await;
        }
    }
    let beyond = ProveHeadsRequest {
        group: GROUP,
        outlet_id: OUTLET.to_owned(),
        which: Some(Which::FromLeaf(1 << 40)),
        ..ProveHeadsRequest::default()
    };
    assert!(client.prove_heads(beyond, LIMIT).await.expect("an answer").proof.is_none());
}
