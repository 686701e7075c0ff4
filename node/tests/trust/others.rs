//! The directory's log tells how far the other logs are, wherever they live.

use fiscus_ledger::record::{Record, RecordKind};
use fiscus_node::config::NodeConfig;
use fiscus_proto::admin::change_members_request::Change;
use fiscus_proto::admin::{ChangeMembersRequest, TransferRequest};
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{ReadRecordsRequest, ReadTileRequest};
use futures_util::TryStreamExt;

use crate::cluster::{self, Cluster};
use crate::{GROUP, LOOK};

fn recorded_soon(config: &mut NodeConfig) {
    config.limits.checkpoint_record_ms = 200;
}

/// Waits until the directory's log tells of more than `before` leaves; what it tells.
async fn recorded_after(client: &ClusterClient, before: u64) -> (u64, String) {
    let waiting = async {
        loop {
            let request = ReadRecordsRequest {
                outlet_id: "@group/0".to_owned(),
                from_position: 1,
                ..ReadRecordsRequest::default()
            };
            let records = client.read_records(request, cluster::LIMIT);
            let records: Vec<_> = records.try_collect().await.expect("records");
            let recorded = records.iter().rev().find_map(|sealed| {
                let record = Record::decode(&sealed.record).expect("a record");
                let payload = String::from_utf8_lossy(record.payload).into_owned();
                (record.kind == RecordKind::Checkpoint).then_some(payload)
            });
            let size = recorded.as_ref().and_then(|payload| {
                let size = payload.split("\"tree_size\":").nth(1)?.split(',').next()?;
                size.parse::<u64>().ok()
            });
            match (recorded, size) {
                (Some(payload), Some(size)) if size > before => return (size, payload),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(cluster::LIMIT, waiting).await.expect("it is recorded")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_records_how_far_the_other_logs_are() {
    let mut cluster = Cluster::start_with(3, recorded_soon).await;
    let client = cluster.client().await;
    let mut last = (0, String::new());
    for _ in 0..2 {
        cluster.sell(2).await;
        last = recorded_after(&client, last.0).await;
        assert!(
            last.1.starts_with(r#"{"origin":"harness/g/1","group":1,"tree_size":"#),
            "{last:?}"
        );
    }
    let tile = ReadTileRequest { group: GROUP, level: None, index: 0, width: 1 };
    client.read_tile(tile, cluster::LIMIT).await.expect("what is recorded is published");
}

/// Changes the directory's members; asks the leader until it is done.
async fn change(cluster: &Cluster, change: Change) {
    let request = ChangeMembersRequest { group: 0, change: Some(change) };
    let changing = async {
        loop {
            let leader = cluster.leader(0).await;
            match cluster.admin(leader).change_members(request.clone()).await {
                Ok(_) => return,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(cluster::LIMIT, changing).await.expect("the members change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_live_with_the_directorys_leader_is_recorded_too() {
    let mut cluster = Cluster::start_with(1, recorded_soon).await;
    let newcomer = cluster.add_node().await;
    let address = cluster.members[1].rpc.to_string();
    change(&cluster, Change::AddLearner(address)).await;
    change(&cluster, Change::Promote(newcomer)).await;
    cluster.wait(newcomer, 0, |replica| replica.role == "follower").await;
    let transfer = TransferRequest { group: 0, to: newcomer };
    cluster.admin(1).transfer(transfer).await.expect("it is on its way");
    cluster.wait(newcomer, 0, |replica| replica.role == "leader").await;
    assert!(cluster.replica(newcomer, GROUP).await.is_none(), "the data group lives elsewhere");
    let client = cluster.client().await;
    let (size, _) = recorded_after(&client, 0).await;
    cluster.sell(2).await;
    recorded_after(&client, size).await;
    assert_eq!(cluster.leader(0).await, newcomer, "it was recorded from there");
}
