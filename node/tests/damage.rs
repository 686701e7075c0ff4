//! Damage that a running node meets is answered around, and makes nobody throw away what may be the only
//! copy.

mod cluster;

use cluster::{Cluster, first_piece, flip};
use fiscus_proto::admin::{BackupRequest, SnapshotRequest};

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_sale_gets_its_record_though_the_leaders_copy_is_damaged() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(10).await;
    cluster.wait_equal(1).await;
    let leader = cluster.leader(1).await;
    let at = usize::try_from(leader - 1).expect("a few nodes");
    let sound = cluster.repeat(3).await;
    let state = cluster.members[at].state_dir(1);
    let journal = first_piece(&state, "journal");
    let size = std::fs::metadata(&journal).expect("a file").len();
    for byte in (100..size).step_by(300) {
        flip(&journal, byte);
    }
    assert_eq!(cluster.repeat(3).await, sound, "byte by byte the same");
    let alerts = cluster.alerts(leader).await;
    assert!(alerts.contains("group 1: damage was met") && alerts.contains("scrub"), "{alerts}");
    let (found, repaired) = cluster.scrub(leader, 1, true).await;
    assert!(!found.is_empty() && !repaired.is_empty(), "{found:?} {repaired:?}");
    let alerts = cluster.alerts(leader).await;
    assert!(!alerts.contains("damage was met"), "it is mended: {alerts}");
    assert_eq!(cluster.repeat(3).await, sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_damaged_files_is_not_waited_for() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(10).await;
    cluster.wait_equal(1).await;
    let leader = cluster.leader(1).await;
    let at = usize::try_from(leader - 1).expect("a few nodes");
    flip(&first_piece(&cluster.members[at].state_dir(1), "leaves"), 80);
    let snapshot = cluster.admin(leader).snapshot(SnapshotRequest { group: 1 }).await;
    let why = snapshot.expect_err("its files are damaged").message().to_owned();
    assert!(why.contains("no snapshot is made") && why.contains("is damaged"), "{why}");
    let path = cluster.members[at].dir.join("backup").display().to_string();
    let backup = cluster.admin(leader).backup(BackupRequest { group: 1, path }).await;
    let mut backup = backup.expect("it begins").into_inner();
    let why = loop {
        match backup.message().await {
            Ok(told) => assert!(!told.expect("it does not just end").finished),
            Err(why) => break why,
        }
    };
    assert!(why.message().contains("no snapshot is made"), "{why}");
    let (_, repaired) = cluster.scrub(leader, 1, true).await;
    assert!(!repaired.is_empty());
    cluster.snapshot(leader, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_copy_of_a_group_is_never_thrown_away() {
    let mut cluster = Cluster::start(1).await;
    // One sale after the other, each an entry of its own: enough for the log to be purged.
    for _ in 0..100 {
        cluster.sell(1).await;
    }
    cluster.snapshot(1, 1).await;
    cluster.sell(3).await;
    cluster.stop_node(1).await;
    let (group, state) = (cluster.members[0].group_dir(1), cluster.members[0].state_dir(1));
    let aside = cluster.members[0].dir.join("aside");
    std::fs::create_dir(&aside).expect("it is made");
    let moved = [(state.join("index.redb"), "index.redb"), (group.join("snapshots"), "snapshots")];
    for (path, name) in &moved {
        std::fs::rename(path, aside.join(name)).expect("it moves");
    }
    cluster.start_node(1).await;
    let alerts = cluster.wait_alert(1, "group 1 stays closed").await;
    let told = ["no other node votes", "whole records", "restore a backup"];
    assert!(told.iter().all(|part| alerts.contains(part)), "{alerts}");
    assert!(first_piece(&state, "journal").exists(), "nothing was touched");
    for (path, name) in &moved {
        std::fs::rename(aside.join(name), path).expect("it moves back");
    }
    cluster.wait(1, 1, |r| r.role == "leader" && r.stopped.is_empty()).await;
    cluster.sell(1).await;
    assert_eq!(cluster.scrub(1, 1, false).await, (vec![], vec![]));
}
