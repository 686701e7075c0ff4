//! One flipped bit in each kind of file of one node: found, named, mended, never served wrong, and the
//! cluster goes on sealing.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, first_piece, flip};
use fiscus_proto::ledger::ReadRecordRequest;
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::ledger::{Consistency, read_record_request::Which};
use tonic::transport::Channel;

/// Several elections of nodes that wait half a second to a second.
const ELECTIONS: Duration = Duration::from_secs(4);

/// Reads a leaf of one node's own copy.
async fn read_leaf(cluster: &Cluster, id: u64, leaf: u64) -> Result<Vec<u8>, tonic::Status> {
    let rpc = cluster.members.iter().find(|member| member.id == id).expect("it is there").rpc;
    let endpoint = Channel::from_shared(format!("http://{rpc}")).expect("an address");
    let mut client = LedgerClient::new(endpoint.connect_lazy());
    let request = ReadRecordRequest {
        group: 1,
        consistency: Consistency::Local.into(),
        which: Some(Which::Leaf(leaf)),
    };
    let answer = client.read_record(request).await?.into_inner();
    Ok(answer.record.map(|record| record.record.to_vec()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_the_journal_is_found_named_and_mended_while_the_cluster_seals() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(300).await;
    cluster.wait_equal(1).await;
    let id = cluster.follower(1).await;
    assert_eq!(cluster.scrub(id, 1, false).await, (vec![], vec![]), "a sound replica");
    let at = usize::try_from(id - 1).expect("a few nodes");
    let state = cluster.members[at].state_dir(1);
    // Leaf 5's entry begins at 64 + 5 * 48, its signature at 64 + 5 * 64; a record is about 1 KiB.
    let rows = [
        ("journal", 64 + 5_000, 1),
        ("leaves", 64 + 5 * 48 + 3, 1),
        ("leaves", 64 + 6 * 48 + 33, 1),
        ("signatures", 64 + 5 * 64 + 7, 1),
        ("tree-08", 64 + 9, 1),
    ];
    for (run, at, findings) in rows {
        let path = first_piece(&state, run);
        flip(&path, at);
        let (found, repaired) = cluster.scrub(id, 1, false).await;
        assert_eq!(found.len(), findings, "{run}: {found:?}");
        assert!(found[0].contains(path.to_str().expect("text")), "{run}: {found:?}");
        assert!(found[0].contains("group 1, leaf ") && found[0].contains(" at byte "), "{found:?}");
        assert!(repaired.is_empty(), "{run}: {repaired:?}");
        cluster.sell(3).await;
        let other = id % 3 + 1;
        for leaf in 0..16 {
            let right = read_leaf(&cluster, other, leaf).await.expect("the others are sound");
            if let Ok(read) = read_leaf(&cluster, id, leaf).await {
                assert_eq!(read, right, "{run}: leaf {leaf} is served right or not at all");
            }
        }
        let (found, repaired) = cluster.scrub(id, 1, true).await;
        assert_eq!((found.len(), repaired.len()), (1, 1), "{run}: {found:?} {repaired:?}");
        assert_eq!(cluster.scrub(id, 1, false).await, (vec![], vec![]), "{run} is whole again");
    }
    let both = ["journal", "leaves"].map(|run| first_piece(&state, run));
    flip(&both[0], 64 + 5_000);
    for leaf in 0..12 {
        flip(&both[1], 64 + leaf * 48 + 1);
    }
    let (_, repaired) = cluster.scrub(id, 1, true).await;
    assert!(!repaired.is_empty());
    assert_eq!(cluster.scrub(id, 1, false).await, (vec![], vec![]), "leaves and record together");
    cluster.sell(3).await;
    cluster.wait_equal(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_rebuilt_when_the_node_starts() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(20).await;
    let id = cluster.follower(1).await;
    let at = usize::try_from(id - 1).expect("a few nodes");
    for snapshot in [false, true] {
        if snapshot {
            cluster.snapshot(id, 1).await;
        }
        cluster.sell(5).await;
        cluster.wait_equal(1).await;
        cluster.stop_node(id).await;
        let index = cluster.members[at].state_dir(1).join("index.redb");
        let size = std::fs::metadata(&index).expect("an index").len();
        for place in 0..size / 4_096 {
            flip(&index, place * 4_096 + 40);
        }
        cluster.sell(5).await;
        cluster.start_node(id).await;
        cluster.wait(id, 1, |r| r.recovering.is_empty() && r.stopped.is_empty()).await;
        cluster.wait_equal(1).await;
        assert_eq!(cluster.scrub(id, 1, false).await, (vec![], vec![]), "snapshot {snapshot}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_its_state_and_its_log_comes_back_from_its_peers() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(40).await;
    let id = cluster.follower(1).await;
    let at = usize::try_from(id - 1).expect("a few nodes");
    // One sale after the other, each an entry of its own: enough for the log to be purged.
    for _ in 0..100 {
        cluster.sell(1).await;
    }
    cluster.wait_equal(1).await;
    for member in 1..=3 {
        cluster.snapshot(member, 1).await;
    }
    cluster.sell(3).await;
    cluster.wait_equal(1).await;
    cluster.kill_node(id).await;
    let dir = cluster.members[at].group_dir(1);
    let state = cluster.members[at].state_dir(1);
    std::fs::remove_file(state.join("index.redb")).expect("it goes");
    std::fs::remove_dir_all(dir.join("snapshots")).expect("they go");
    cluster.sell(5).await;
    // While nobody else is known to have it, nothing of it is touched.
    let led = cluster.leader(1).await;
    let followed = (1..=3).find(|other| *other != id && *other != led).expect("a third");
    for other in [led, followed] {
        cluster.kill_node(other).await;
    }
    cluster.start_node(id).await;
    let alerts = cluster.wait_alert(id, "group 1 stays closed").await;
    assert!(alerts.contains("leads the group with a majority"), "{alerts}");
    assert!(alerts.contains("whole records"), "it says what is left: {alerts}");
    assert!(first_piece(&state, "journal").exists(), "the journal is where it was");
    cluster.start_node(followed).await;
    // It does not vote: with one sound node of three, several elections give no leader.
    let elections = tokio::time::Instant::now() + ELECTIONS;
    while tokio::time::Instant::now() < elections {
        for node in [id, followed] {
            let replica = cluster.replica(node, 1).await;
            assert!(replica.is_none_or(|replica| replica.role != "leader"), "node {node} leads");
        }
    }
    cluster.kill_node(id).await;
    cluster.start_node(id).await;
    cluster.start_node(led).await;
    cluster.wait(id, 1, |r| r.recovering.is_empty() && r.leader != 0).await;
    assert!(!state.exists(), "it was taken anew");
    let names = std::fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("it"));
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(
        names.all(|name| !name.starts_with("lost-")),
        "what was set aside is not needed any more"
    );
    cluster.sell(5).await;
    cluster.wait_equal(1).await;
    assert_eq!(cluster.scrub(id, 1, false).await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_caught_up_from_the_peers() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(60).await;
    cluster.wait_equal(1).await;
    let id = cluster.follower(1).await;
    let at = usize::try_from(id - 1).expect("a few nodes");
    cluster.kill_node(id).await;
    let wal = cluster.members[at].dir.join("wal");
    let segments = std::fs::read_dir(&wal).expect("a log").map(|entry| entry.expect("it").path());
    let mut segments: Vec<_> = segments.filter(|path| path.is_file()).collect();
    segments.sort();
    for segment in segments {
        // One flip in each 16 KiB of what is not zeros: some synced batches are hit.
        let bytes = std::fs::read(&segment).expect("it is read");
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if segment.extension().is_none_or(|kind| kind != "votes") && used > 40_000 {
            flip(&segment, used as u64 / 2);
        }
    }
    cluster.sell(5).await;
    cluster.start_node(id).await;
    cluster.wait(id, 1, |r| r.recovering.is_empty() && r.leader != 0).await;
    cluster.sell(5).await;
    cluster.wait_equal(1).await;
    assert_eq!(cluster.scrub(id, 1, false).await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_is_gone_does_not_start() {
    let mut cluster = Cluster::start(3).await;
    cluster.sell(30).await;
    cluster.wait_equal(1).await;
    let id = cluster.follower(1).await;
    let at = usize::try_from(id - 1).expect("a few nodes");
    // With its groups or without, nothing says any more how it voted.
    cluster.stop_node(id).await;
    for gone in ["wal", "groups"] {
        std::fs::remove_dir_all(cluster.members[at].dir.join(gone)).expect("it goes");
        let refused = cluster.try_start_node(id).await.expect_err("it has forgotten its promises");
        assert!(refused.to_string().contains("under a new id"), "{gone}: {refused}");
    }
    cluster.sell(5).await;
}
