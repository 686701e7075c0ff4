//! An operator's day: `fiscus admin` against a real cluster of `fiscus demo`, while a till goes on
//! selling. A fourth node comes, votes, leads, and goes.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClusterClient, SubmitError};
use fiscus_proto::command::{self as proto, Command as Submission, command};
use support::operator::{ExtraNode, until};
use support::{Demo, fresh};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const COMMAND_WAIT: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const SAMPLE: &str = include_str!("../../docs/samples/sale.json");

/// A till that sells until it is stopped; whatever it sells is sealed exactly once.
struct Till {
    stop: Arc<AtomicBool>,
    selling: JoinHandle<u64>,
}

impl Till {
    fn open(client: ClusterClient) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let selling = tokio::spawn(async move {
            let mut sold = 0;
            while !stopped.load(Ordering::Relaxed) {
                sell(&client, sold).await;
                sold += 1;
            }
            sold
        });
        Self { stop, selling }
    }

    async fn close(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        timeout(COMMAND_WAIT, self.selling).await.unwrap().unwrap()
    }
}

async fn sell(client: &ClusterClient, number: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = UnixMs::new(u64::try_from(now).unwrap());
    let parsed = parse_lenient(SAMPLE.as_bytes(), &Manifest::builtin(), now).unwrap();
    let key = blake3::hash(format!("admin-cluster/{number}").as_bytes());
    let seal = proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: "outlet-gombe".to_owned(),
            key: key.as_bytes()[..16].to_vec().into(),
            fingerprint: parsed.fingerprint.to_vec().into(),
        }),
        terminal_id: "till-1".to_owned(),
        device_id: None,
        payload: parsed.invoice.canonical_bytes().to_vec().into(),
    };
    let end = Instant::now() + COMMAND_WAIT;
    loop {
        let seal = Submission { command: Some(command::Command::Seal(seal.clone())) };
        match client.submit(1, seal, Duration::from_secs(20)).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => return,
            Ok(answer) => panic!("{answer:?}"),
            Err(error @ SubmitError::Malformed { .. }) => panic!("{error}"),
            Err(error) => assert!(Instant::now() < end, "sealing does not go on: {error}"),
        }
        sleep(LOOK_INTERVAL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_walks_through_every_command_while_a_till_sells() {
    let demo = Demo::start(&fresh("admin-cluster"));
    let till = Till::open(demo.client().await);
    let fourth = ExtraNode::start(&demo, 4).await;
    a_node_comes_and_goes(&demo, &fourth.address).await;
    let sold = till.close().await;
    assert!(sold > 0, "sealing went on");
    outlets_are_registered_and_changed(&demo, sold).await;
    the_cluster_is_looked_at(&demo).await;
    fourth.stop().await;
    an_id_is_used_once(&demo).await;
    a_log_is_inspected_and_never_changed(&demo).await;
    demo.stop();
}

async fn a_node_comes_and_goes(demo: &Demo, address: &str) {
    let refused = demo.fails(2, &format!("nodes add {address} --json")).await;
    assert!(refused.contains(r#""code":"NOT_CONFIRMED""#), "{refused}");
    demo.ok(&format!("nodes add {address} --learner --yes")).await;
    demo.shows("nodes list --json", r#""id":4"#).await;
    demo.shows("groups list --json", r#""voters":[1,2,3],"learners":[4]"#).await;
    demo.ok("nodes promote 4 --yes").await;
    demo.shows("groups list --json", r#""voters":[1,2,3,4],"learners":[]"#).await;
    demo.ok("groups transfer 1 --to 4 --yes").await;
    demo.comes_to_show("groups list --json", r#"{"id":1,"leader":4"#).await;
    demo.ok("nodes drain 4 --yes").await;
    demo.comes_to_show("nodes list --json", r#""state":"draining""#).await;
    demo.comes_to_show("nodes list --json", r#""leads":[],"votes":[0,1],"learns":[]}]}"#).await;
    let refused = demo.fails(2, "groups transfer 1 --to 9 --yes").await;
    assert!(refused.is_empty(), "{refused}");
    let refused = demo.fails(2, "nodes drain 4 --resume --json").await;
    assert!(refused.contains(r#""code":"NOT_CONFIRMED""#), "{refused}");
    demo.shows("nodes drain 4 --resume --yes", "may lead again").await;
    demo.ok("groups transfer 0 --to 4 --yes").await;
    demo.ok("nodes remove 4 --yes").await;
    demo.shows("groups list --json", r#""voters":[1,2,3],"learners":[]"#).await;
}

/// Neither after its node was removed nor beside its node.
async fn an_id_is_used_once(demo: &Demo) {
    // Whose ids these were, and where the new nodes keep what they have.
    for (id, name, whose) in
        [(4, "n4-again", "was removed"), (2, "n2-again", "has another directory")]
    {
        let node = ExtraNode::start_in(demo, id, name, |config| config).await;
        let add = format!("nodes add {} --yes --json", node.address);
        let refused = demo.fails(1, &add).await;
        assert!(refused.contains(r#""code":"NODE_ID_USED""#), "{refused}");
        assert!(refused.contains(whose) && refused.contains("node = 5"), "{refused}");
        node.stop().await;
    }
    // Whoever speaks to a data group's leader alone gets no further.
    demo.shows("groups list --json", r#""voters":[1,2,3],"learners":[]"#).await;
}

async fn outlets_are_registered_and_changed(demo: &Demo, sold: u64) {
    // The demonstration itself has sealed six invoices of every outlet.
    let sealed = format!(r#""perpetual":{{"invoices":{}"#, sold + 6);
    demo.shows("outlets show outlet-gombe --json", &sealed).await;
    let register = "outlets register --id outlet-new --merchant-nif A1234567B --prefix KIN --code NEW \
                    --environment sandbox --yes --json";
    assert!(demo.ok(register).await.contains(r#""group":1"#));
    assert!(demo.fails(1, register).await.contains(r#""code":"OUTLET_EXISTS""#));
    let elsewhere = register.replace("--yes", "--group 7 --yes");
    assert!(demo.fails(2, &elsewhere).await.contains(r#""code":"ARGUMENT_INVALID""#));
    until("the group knows the outlet", async || {
        demo.ok("outlets list --group 1 --json").await.contains(r#""id":"outlet-new""#)
    })
    .await;
    demo.shows("outlets list --held --json", r#""outlets":[]"#).await;
    demo.shows("outlets suspend outlet-new --yes", "is suspended").await;
    demo.shows("outlets activate outlet-new --yes", "is active").await;
    demo.shows("outlets close outlet-new --yes --json", r#""version":4"#).await;
    let reopened = demo.fails(1, "outlets activate outlet-new --yes --json").await;
    assert!(reopened.contains(r#""code":"OUTLET_IDENTITY_FIXED""#), "{reopened}");
    assert!(demo.fails(1, "outlets show nowhere --json").await.contains("OUTLET_UNKNOWN"));
}

async fn the_cluster_is_looked_at(demo: &Demo) {
    let journal = demo.ok("tail --from 0 --json").await;
    assert!(journal.lines().count() > 34, "{journal}");
    assert!(journal.contains(r#""fiscal_number":"KIN-GOMBE-1""#), "{journal}");
    assert_eq!(demo.ok("tail").await.lines().count(), 11);
    let manifest = demo.path("next.json");
    fs::write(&manifest, Manifest::builtin().to_json().replace("2026-02-01", "2099-02-01"))
        .unwrap();
    let publish = format!("manifest publish {} --yes --json", manifest.display());
    demo.ok(&publish).await;
    assert!(demo.fails(1, &publish).await.contains(r#""code":"MANIFEST_CONFLICT""#));
    demo.shows("manifest list", "2099-02-01").await;
    demo.ok("groups prefer 1 --region nowhere --yes").await;
    demo.shows("groups list --json", r#""preferred_region":"nowhere""#).await;
    demo.ok("groups prefer 1 --none --yes").await;
    demo.shows("config --node 2", "\nnode = 2\n").await;
    demo.shows("keys list --json", r#""use":"active","nodes":[1,2,3]"#).await;
    demo.shows("snapshot 1 --node 2 --json", r#""node":2"#).await;
    demo.shows("apply-version raise 1 --json", r#""groups":[]"#).await;
    assert!(demo.fails(1, "apply-version raise 2 --json").await.contains("OPERATION_REFUSED"));
    let lacked = demo.fails(1, "keys rotate 1 --environment live --name other --yes --json").await;
    assert!(lacked.contains("holds no key other"), "{lacked}");
}

async fn a_log_is_inspected_and_never_changed(demo: &Demo) {
    let log = demo.path("n4/data/wal");
    let inspect = format!("wal inspect {} --json", demo.path("n4/data").display());
    let frames = demo.ok(&inspect).await;
    assert!(frames.contains(r#""kind":"entry","group":1"#), "{frames}");
    let segment = first_segment(&log);
    let mut bytes = fs::read(&segment).unwrap();
    let (at, _) = bytes.iter().enumerate().skip(600).find(|(_, byte)| **byte != 0).unwrap();
    bytes[at] ^= 0x40;
    fs::write(&segment, &bytes).unwrap();
    let damaged = demo.fails(1, &inspect).await;
    assert!(damaged.contains(r#""code":"WAL_DAMAGED""#), "{damaged}");
    assert_eq!(fs::read(&segment).unwrap(), bytes, "inspecting changes nothing");
    let nothing = format!("wal inspect {} --json", demo.path("pki").display());
    assert!(demo.fails(2, &nothing).await.contains("INPUT_UNREADABLE"));
}

/// The first segment that holds more than its header.
fn first_segment(log: &Path) -> PathBuf {
    let entries = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    let used = |path: &&PathBuf| fs::read(path).unwrap().iter().skip(600).any(|byte| *byte != 0);
    segments.iter().find(used).unwrap().clone()
}
