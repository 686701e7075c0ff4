//! One group without a majority, while the others go on: it neither holds their log on the disk nor
//! slows them down, and it answers again when its majority is back.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use fiscus_proto::admin::admin_client::AdminClient;
use fiscus_proto::admin::change_members_request::Change;
use fiscus_proto::admin::{ChangeMembersRequest, InitRequest};
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use support::load::{Load, Sale, sale, sell};
use support::processes::Processes;
use support::{Demo, admin, alerts, client, fresh, history, leader, node_number, until};

/// The group that loses its majority: of its two voters one is killed.
const STALLED: u64 = 2;
/// Everywhere a voter, and the one that stays in the stalled group.
const LEFT: u64 = 2;
/// The one that is killed.
const KILLED: u64 = 3;
const LIMIT: Duration = Duration::from_secs(60);
/// Written to the log of the others while the group stalls, in documents as large as they may be.
const DOCUMENTS: u64 = 256;
const DOCUMENT_BYTES: usize = 256 << 10;
/// The log of a node: the segments that a lagging group may be behind, what is kept for followers, what
/// is written before the next snapshot.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// One look at evenly paced sales.
const EVENLY: Duration = Duration::from_secs(60);
/// Whoever asks for a long look has a machine that does nothing else.
const P99_SLOWER_MAX: f64 = 1.2;
/// A machine that does other things as well is not to fail this: a sale that is slower by as much counts only
/// when a till would feel it.
const SLOWER_MAX: f64 = 5.0;
const FELT: Duration = Duration::from_millis(250);

/// A stopped cluster of three nodes with two data groups, small segments and short logs, that holds the
/// demonstration's merchants.
async fn two_data_groups(dir: &Path) -> Processes {
    let mut nodes = Processes::of(Demo::start(dir));
    std::fs::remove_file(dir.join("keys")).unwrap();
    let (out, secret) = (dir.join("keys"), dir.join("passphrase"));
    let generate = format!(
        "keys generate --out {} --groups 2 --name demo --passphrase-file {}",
        out.display(),
        secret.display()
    );
    let (made, said) = admin(dir, &generate);
    assert!(made, "{said}");
    for id in nodes.ids() {
        std::fs::remove_dir_all(dir.join(format!("n{id}/data"))).unwrap();
        nodes.configure(id, "log_segment_bytes", 1 << 20);
        nodes.configure(id, "snapshot_log_bytes", 4 << 20);
        nodes.configure(id, "keep_entries", 8);
        nodes.start(id);
    }
    nodes.listening().await;
    let addresses: Vec<String> = nodes.nodes.iter().map(|node| node.rpc.clone()).collect();
    // As far as a founding came that was interrupted: the second data group is missing.
    let begun = InitRequest { nodes: addresses.clone(), data_groups: 1 };
    AdminClient::new(nodes.channel(1, "admin").await).init(begun).await.unwrap();
    let init = format!("init --nodes {} --data-groups 2 --json", addresses.join(","));
    let (made, said) = admin(dir, &init);
    assert!(!made && said.contains("NOT_CONFIRMED"), "{said}");
    let (made, said) = admin(dir, &format!("{init} --yes"));
    assert!(made, "{said}");
    nodes.stop_all().await;
    // It finds the groups, and fills the first with what the sales need.
    Processes::of(Demo::start(dir))
}

/// A command that the stalled group takes, and refuses when it is applied: it has no outlets.
fn to_nobody(key: &str) -> Command {
    sale(0, key)
}

/// How long the group stays without its majority beside the sales of the test: none, unless somebody asks for it,
/// as in `FISCUS_STALL_SECONDS=3600 cargo test --release -p fiscus-tools --test cluster_quorum -- --nocapture`.
fn stall() -> Option<Duration> {
    let seconds = std::env::var("FISCUS_STALL_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("FISCUS_STALL_SECONDS is a number of seconds")))
}

/// Sells at an even pace for a while; how long each sale took.
async fn paced(client: &ClusterClient, name: &str, time: Duration) -> Vec<Duration> {
    let load = Load::paced(client, 4, name, Duration::from_millis(100));
    tokio::time::sleep(time).await;
    let sales = load.finish().await;
    let mut times: Vec<Duration> = sales.iter().map(|sale| sale.ended - sale.began).collect();
    times.sort_unstable();
    println!(
        "{name}: {} sales, median {:?}, p99 {:?}",
        times.len(),
        times[times.len() / 2],
        p99(&times)
    );
    times
}

/// One of a hundred takes at least so long.
fn p99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100]
}

/// Minutes with every group sound, when somebody asks for a long look.
async fn p99_before(client: &ClusterClient) -> Option<Duration> {
    stall()?;
    Some(p99(&paced(client, "before", 3 * EVENLY).await))
}

/// A long look at the other group and at the log, minute by minute: the log stays short, and of all the sales
/// together one of a hundred takes about as long as before.
async fn stay_stalled(client: &ClusterClient, dir: &Path, before: Option<Duration>) {
    let (Some(stall), Some(before)) = (stall(), before) else { return };
    let until = Instant::now() + stall;
    let (mut round, mut all) = (0, Vec::new());
    while Instant::now() < until {
        all.extend(paced(client, &format!("stalled-{round}"), EVENLY).await);
        let log = node_number(dir, LEFT, "wal_bytes");
        println!("the log has {log} bytes");
        assert!(log < LOG_BYTES_MAX, "the log grows");
        round += 1;
    }
    all.sort_unstable();
    let ratio = p99(&all).as_secs_f64() / before.as_secs_f64();
    println!("{} sales, p99 {:?}: {ratio:.2}x of before", all.len(), p99(&all));
    assert!(ratio <= P99_SLOWER_MAX, "the p99 of the other group is {ratio:.2}x of before");
}

/// The middle of how long sales take, one after the other.
async fn median(client: &ClusterClient, name: &str, sales: &mut Vec<Sale>) -> Duration {
    let mut times = Vec::new();
    for number in 0..61 {
        let sold = sell(client, number, &format!("{name}-{number}")).await.unwrap();
        times.push(sold.ended - sold.began);
        sales.push(sold);
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Writes much to the log of the directory, which has its majority.
async fn write_documents(client: &ClusterClient) {
    for version in 0..DOCUMENTS {
        let put = proto::PutDocument {
            kind: "ballast".to_owned(),
            id: "one".to_owned(),
            expected_version: version,
            bytes: vec![b'x'; DOCUMENT_BYTES].into(),
        };
        let put = Command { command: Some(command::Command::PutDocument(put)) };
        let until = Instant::now() + LIMIT;
        loop {
            match client.submit(0, put.clone(), LIMIT).await {
                Ok(Answer::Done) => break,
                // An attempt whose answer was lost has replaced it.
                Ok(Answer::Refused(refusal)) if refusal.code == "VERSION_CONFLICT" => break,
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_without_a_majority_holds_nobody_up() {
    let dir = fresh("cluster-quorum");
    let mut nodes = two_data_groups(&dir).await;
    for id in nodes.ids() {
        nodes.start(id);
    }
    nodes.listening().await;
    let client = client(&dir, &nodes.nodes).await;
    let mut sales = Vec::new();
    let before = median(&client, "before", &mut sales).await;
    let before_p99 = p99_before(&client).await;

    // Node 1 leaves the group; of its two voters one is enough to stop it.
    until("node 2 leads the group", LIMIT, || {
        admin(&dir, &format!("groups transfer {STALLED} --to {LEFT} --yes")).0
    })
    .await;
    leave(&nodes, STALLED, 1).await;
    nodes.kill(KILLED);
    // Entries that will not be committed.
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..16 {
        let client = client.clone();
        let wait = Duration::from_secs(3);
        waiting.spawn(async move {
            client.submit(STALLED, to_nobody(&format!("stalled-{number}")), wait).await
        });
    }
    for answer in waiting.join_all().await {
        assert!(answer.is_err(), "without a majority nothing is answered: {answer:?}");
    }
    until("the others have their leaders", LIMIT, || {
        [0, 1].iter().all(|group| leader(&dir, *group).is_some_and(|id| id != KILLED))
    })
    .await;
    let missing = format!("group {STALLED}: 1 of 2 voters answer");
    until("the status says so", LIMIT, || alerts(&dir).contains(&missing)).await;

    let during = median(&client, "during", &mut sales).await;
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    println!("median of a sale: {before:?} before, {during:?} with a stalled group: {ratio:.2}x");
    assert!(ratio < SLOWER_MAX || during < FELT, "the other group is slower: {ratio:.2}x");

    stay_stalled(&client, &dir, before_p99).await;
    let load = Load::start(&client, 4, "stalled");
    write_documents(&client).await;
    load.wait_for(50).await;
    let log = || node_number(&dir, LEFT, "wal_bytes");
    println!("the log after {} MiB: {} bytes", DOCUMENTS >> 2, log());
    until("the log is short again", LIMIT, || log() < LOG_BYTES_MAX).await;
    sales.extend(load.finish().await);
    let pending = client.submit(STALLED, to_nobody("still"), LIMIT / 30).await;
    assert!(pending.is_err(), "it still has no majority: {pending:?}");

    nodes.start(KILLED);
    // Opening its keys takes a busy machine longer than the group takes to come back.
    nodes.listening().await;
    answers_again(&client).await;
    history::check(&client, &sales).await;
    nodes.stop_all().await;
}

/// The stalled group has its majority back, and answers.
async fn answers_again(client: &ClusterClient) {
    let refused = async {
        loop {
            match client.submit(STALLED, to_nobody("again"), LIMIT).await {
                Ok(Answer::Refused(refusal)) => return refusal.code,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
    };
    let code = tokio::time::timeout(LIMIT, refused).await.expect("the group is back");
    assert_eq!(code, "OUTLET_UNKNOWN");
}

/// Takes a voter out of one group only.
async fn leave(nodes: &Processes, group: u64, voter: u64) {
    let until = Instant::now() + LIMIT;
    loop {
        let mut leader = AdminClient::new(nodes.channel(LEFT, "admin").await);
        let change = Some(Change::Remove(voter));
        match leader.change_members(ChangeMembersRequest { group, change }).await {
            Ok(_) => return,
            Err(status) => assert!(Instant::now() < until, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
