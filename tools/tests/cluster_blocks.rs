//! Numbers that were lent to a terminal that never came back.

mod support;

use std::time::Duration;

use ed25519_dalek::SigningKey;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use support::load::sell;
use support::processes::{Processes, with_fake_time};
use support::{Demo, admin, client, fresh, history};

const LIMIT: Duration = Duration::from_secs(60);
const OUTLET: &str = "outlet-gombe";
const NUMBERS: u64 = 3;
/// The credential is valid for a second, and its grace is of three days.
const LATER: &str = "+73h";

async fn lend(client: &ClusterClient) {
    let grant = proto::GrantBlock {
        submitted: Some(proto::Submitted {
            outlet_id: OUTLET.to_owned(),
            key: vec![7; 16].into(),
            fingerprint: vec![7; 32].into(),
        }),
        credential_id: "credential-1".to_owned(),
        terminal_id: "till-1".to_owned(),
        terminal_key: SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes().to_vec().into(),
        numbers: NUMBERS,
        validity_ms: 1_000,
    };
    let grant = Command { command: Some(command::Command::GrantBlock(grant)) };
    let until = std::time::Instant::now() + LIMIT;
    loop {
        match client.submit(1, grant.clone(), LIMIT).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => return,
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
        }
    }
}

/// The kinds and the payloads of what the outlet's journal says of blocks.
async fn said(client: &ClusterClient) -> Vec<(RecordKind, String)> {
    let journal = history::journal(client, 1).await;
    let records = journal.iter().map(|stored| Record::decode(&stored.record).unwrap());
    let of_blocks = records.filter(|record| {
        let kinds = [RecordKind::BlockGrant, RecordKind::BlockClose, RecordKind::NumbersMissing];
        record.outlet_id == OUTLET && kinds.contains(&record.kind)
    });
    of_blocks
        .map(|record| (record.kind, String::from_utf8(record.payload.to_vec()).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_nobody_brings_back_is_closed() {
    let dir = fresh("cluster-blocks");
    let mut nodes = Processes::of(Demo::start(&dir));
    for id in nodes.ids() {
        nodes.start(id);
    }
    nodes.listening().await;
    let before = client(&dir, &nodes.nodes).await;
    lend(&before).await;
    sell(&before, 0, "beside the block").await.unwrap();
    assert_eq!(said(&before).await.len(), 1, "it is lent");
    // A backup is checked whole, the list of open blocks with it.
    let backup = dir.join("backup");
    let (made, told) = admin(&dir, &format!("backup --to {}", backup.display()));
    assert!(made, "{told}");
    for id in nodes.ids() {
        nodes.stop(id).await;
    }

    for id in nodes.ids() {
        let mut program = with_fake_time();
        program.env("FAKETIME", LATER);
        nodes.start_as(id, program);
    }
    nodes.listening().await;
    let later = client(&dir, &nodes.nodes).await;
    let closed = async {
        loop {
            let said = said(&later).await;
            if said.len() > 1 {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let said = tokio::time::timeout(LIMIT, closed).await.expect("the leader closes it");
    let [_, (close, why), (missing, which)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((*close, *missing), (RecordKind::BlockClose, RecordKind::NumbersMissing));
    assert!(why.contains(r#""reason":"expired""#), "{why}");
    assert!(which.contains("credential-1"), "{which}");
    sell(&later, 0, "after the block").await.unwrap();
    nodes.stop_all().await;
}
