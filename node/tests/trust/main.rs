//! What keeps a log honest: witnesses cosign it and refuse another one, and a replica that differs is taken anew.

#[path = "../cluster/mod.rs"]
mod cluster;
mod disputes;
mod others;
mod witness;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use cluster::Cluster;
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::cosignature::cosigners;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::note::Note;
use fiscus_node::config::{NodeConfig, WitnessSection};
use fiscus_proto::admin::KeysRequest;
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::ledger::{Consistency, ReadCheckpointRequest};
use tonic::transport::Channel;
use witness::{Authority, Witness};

const GROUP: u64 = 1;
const LOG: &str = "harness/g/1";
const LOOK: Duration = Duration::from_millis(50);

/// The key of every log of the cluster.
async fn log_key(cluster: &Cluster) -> Hash32 {
    let keys = cluster.admin(1).keys(KeysRequest {}).await.expect("keys").into_inner().keys;
    let key = keys.into_iter().find(|key| key.purpose == "log").expect("there is one");
    Hash32::try_from(&*key.public_key).expect("32 bytes")
}

/// What a node publishes of the log, and its size; nothing before the first one.
async fn published(cluster: &Cluster, id: u64) -> Option<(u64, Note)> {
    let rpc = cluster.members.iter().find(|member| member.id == id).expect("it is there").rpc;
    let endpoint = Channel::from_shared(format!("http://{rpc}")).expect("an address");
    let mut client = LedgerClient::new(endpoint.connect_lazy());
    let consistency = Consistency::Local.into();
    let request = ReadCheckpointRequest { group: GROUP, consistency };
    let text = client.read_checkpoint(request).await.ok()?.into_inner().checkpoint;
    if text.is_empty() {
        return None;
    }
    let note = Note::parse(text.as_bytes()).expect("a note");
    let checkpoint = Checkpoint::parse(note.text()).expect("a checkpoint");
    Some((checkpoint.size(), note))
}

/// Waits until a node publishes more than `size` leaves.
async fn published_after(cluster: &Cluster, id: u64, size: u64) -> (u64, Note) {
    let waiting = async {
        loop {
            match published(cluster, id).await {
                Some((known, note)) if known > size => return (known, note),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(cluster::LIMIT, waiting).await.expect("a larger one is published")
}

/// Waits for what another part of the cluster does.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(cluster::LIMIT, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Who cosigns in the first test: nodes are configured by functions that catch nothing.
static ONE: OnceLock<WitnessSection> = OnceLock::new();

fn seen_by_one(config: &mut NodeConfig) {
    config.witnesses = vec![ONE.get().expect("the witness is there").clone()];
    config.witness_quorum = 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_what_is_published_and_a_fork_is_an_alert() {
    let witness = Witness::new(1);
    ONE.set(witness.section(&witness.serve().await, None)).expect("it is the first");
    let mut cluster = Cluster::start_with(3, seen_by_one).await;
    witness.know(LOG, &log_key(&cluster).await);
    cluster.sell(5).await;
    let mut size = 0;
    for id in 1..=3 {
        let (known, note) = published_after(&cluster, id, 0).await;
        let seen = cosigners(&note, &[witness.cosigner()]);
        assert_eq!(seen, 1, "nothing is published without the witness");
        size = size.max(known);
    }
    // Another leader goes on where the witness is, and what was cosigned outlives its node.
    let led = cluster.leader(GROUP).await;
    cluster.kill_node(led).await;
    cluster.sell(5).await;
    let leader = cluster.leader(GROUP).await;
    let (size, _) = published_after(&cluster, leader, size).await;
    cluster.start_node(led).await;
    // It is kept over a restart: nobody tells of it again.
    published_after(&cluster, led, 0).await;

    // The witness has seen another log of this name.
    let known = witness.seen(LOG).expect("it has cosigned");
    witness.remember(LOG, (known.0, [9; 32]));
    cluster.sell(1).await;
    let leader = cluster.leader(GROUP).await;
    let alerts = cluster.wait_alert(leader, "does not extend what it has seen").await;
    assert!(alerts.contains("group 1: the witness witness.example/w1"), "{alerts}");
    let (stays, _) = published(&cluster, leader).await.expect("the last one is still published");
    assert!(stays >= size, "{stays} after {size}");
    // When it knows the log again, it goes on.
    witness.remember(LOG, known);
    cluster.sell(1).await;
    published_after(&cluster, leader, stays).await;
}

/// Three of whom two are enough; the third is not who it says.
static THREE: OnceLock<Vec<WitnessSection>> = OnceLock::new();

fn seen_by_two(config: &mut NodeConfig) {
    config.witnesses = THREE.get().expect("the witnesses are there").clone();
    config.witness_quorum = 2;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_published_when_k_of_n_have_seen_it_also_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let (right, wrong) =
        (Authority::new(dir.path().join("ca.pem")), Authority::new(dir.path().join("other.pem")));
    let [first, second, third] = [Witness::new(1), Witness::new(2), Witness::new(3)];
    let sections = vec![
        first.section(&first.serve_tls(&right).await, Some(&right.file)),
        second.section(&second.serve().await, None),
        third.section(&third.serve_tls(&wrong).await, Some(&right.file)),
    ];
    let all = [first.cosigner(), second.cosigner(), third.cosigner()];
    THREE.set(sections).expect("they are the first");
    let mut cluster = Cluster::start_with(1, seen_by_two).await;
    let key = log_key(&cluster).await;
    for witness in [&first, &second, &third] {
        witness.know(LOG, &key);
    }
    cluster.sell(3).await;
    let (_, note) = published_after(&cluster, 1, 0).await;
    assert_eq!(cosigners(&note, &all), 2, "k of n stand under it");
    assert_eq!(cosigners(&note, &all[..2]), 2);
    let alerts = cluster.wait_alert(1, "the witness witness.example/w3 does not cosign").await;
    assert!(alerts.contains("is not believed"), "{alerts}");
    assert_eq!(third.seen(LOG), None, "nothing was said to a stranger");

    // With one of the two away nothing more is published, and sealing goes on.
    second.set_failing(true);
    cluster.sell(1).await;
    let (stays, _) = published(&cluster, 1).await.expect("the last one");
    let sold = stays.max(second.seen(LOG).expect("it has cosigned").0);
    cluster.sell(2).await;
    until("the first witness goes on", || first.seen(LOG).is_some_and(|seen| seen.0 > sold)).await;
    let (still, note) = published(&cluster, 1).await.expect("the last one");
    assert!(still <= sold, "{still} were published, and only one has seen more than {sold}");
    assert_eq!(cosigners(&note, &all), 2);
    second.set_failing(false);
    published_after(&cluster, 1, sold).await;
}

/// Who has seen the log before it is forked.
static FORKED: OnceLock<WitnessSection> = OnceLock::new();

fn seen_before_the_fork(config: &mut NodeConfig) {
    config.witnesses = vec![FORKED.get().expect("the witness is there").clone()];
    config.witness_quorum = 1;
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(done.expect("cp runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_forked_is_refused_and_people_hear_of_it() {
    let witness = Witness::new(1);
    FORKED.set(witness.section(&witness.serve().await, None)).expect("it is the first");
    let mut cluster = Cluster::start_with(1, seen_before_the_fork).await;
    witness.know(LOG, &log_key(&cluster).await);
    cluster.sell(3).await;
    published_after(&cluster, 1, 0).await;
    cluster.stop_node(1).await;
    let dir = cluster.members[0].dir.clone();
    let fork = dir.with_extension("fork");
    copy(&dir, &fork);
    // The same keys, the same beginning, two continuations; the witness sees one of them.
    cluster.start_node(1).await;
    let before = witness.seen(LOG).expect("it has cosigned").0;
    cluster.sell(3).await;
    until("the witness sees the sales", || witness.seen(LOG).is_some_and(|it| it.0 >= before + 3))
        .await;
    let seen = witness.seen(LOG).expect("it has cosigned");
    cluster.stop_node(1).await;
    std::fs::rename(&dir, dir.with_extension("seen")).expect("it moves");
    std::fs::rename(&fork, &dir).expect("it moves");
    cluster.start_node(1).await;
    cluster.sell(8).await;
    cluster.wait_alert(1, "does not extend what it has seen").await;
    let (size, note) = published(&cluster, 1).await.expect("the beginning is still published");
    assert!(size <= before, "nothing of the fork is published: {size} leaves, {before} before it");
    assert_eq!(cosigners(&note, &[witness.cosigner()]), 1);
    assert_eq!(witness.seen(LOG), Some(seen), "the witness has cosigned no second history");
    let incidents = std::fs::read_to_string(dir.join("incidents.ndjson")).expect("there is one");
    let told = incidents.lines().filter(|line| line.contains("does not extend what it has seen"));
    assert_eq!(told.count(), 1, "one incident is enough: {incidents}");
    let metrics = cluster.metrics(1).await;
    let forks = metrics.lines().find_map(|line| line.strip_prefix("fiscus_witness_forks_total "));
    let forks: f64 = forks.and_then(|count| count.parse().ok()).expect("it is counted");
    assert!(forks >= 1.0, "{forks}");
}
