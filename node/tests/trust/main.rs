//! What keeps a log honest: witnesses cosign it and refuse another one, and a replica that differs is taken anew.

mod cluster;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use cluster::{Cluster, OUTLET};
use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::base64::{decode_standard, encode_standard};
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::cosignature::{CosignerKey, cosigned_text, cosigners};
use fiscus_ledger::hash::{Hash32, from_hex};
use fiscus_ledger::note::Note;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::state::Id;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::tree::{empty_root, verify_consistency};
use fiscus_node::config::{NodeConfig, WitnessSection};
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::ledger::{
    Consistency, ReadCheckpointRequest, ReadRecordsRequest, ReadTileRequest,
};
use fiscus_raft::disk::{Disk, RealDisk};
use fiscus_raft::index::{Batch, Durability, Index as _, RedbIndex, RedbOptions};
use futures_util::TryStreamExt;
use tonic::transport::Channel;

const GROUP: u64 = 1;
const LOG: &str = "harness/g/1";
const SEED: [u8; 32] = [7; 32];
const LOOK: Duration = Duration::from_millis(50);

/// Where the witness of these tests listens: nodes are configured by functions that catch nothing.
static WITNESS: OnceLock<SocketAddr> = OnceLock::new();

/// What it has cosigned: size and root by the log's name.
type Seen = Arc<Mutex<BTreeMap<String, (u64, Hash32)>>>;

fn witness_key() -> CosignerKey {
    let key = SigningKey::from_bytes(&SEED).verifying_key();
    CosignerKey::new("witness.example/w1", key.as_bytes()).expect("a key")
}

/// A witness as C2SP tlog-witness describes it, but that it believes every signature of the log.
fn add_checkpoint(seen: &Seen, body: &str) -> (StatusCode, HeaderMap, String) {
    let answer = |status, kind: &str, text: String| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().expect("a type"));
        (status, headers, text)
    };
    let plain = |status, text: &str| answer(status, "text/plain", text.to_owned());
    let (head, note) = body.split_once("\n\n").expect("a blank line");
    let mut lines = head.lines();
    let old = lines.next().and_then(|line| line.strip_prefix("old ")).expect("the old size");
    let old: u64 = old.parse().expect("a number");
    let proof: Vec<Hash32> = lines
        .map(|line| decode_standard(line).expect("base64").try_into().expect("32 bytes"))
        .collect();
    let note = Note::parse(note.as_bytes()).expect("a note");
    let new = Checkpoint::parse(note.text()).expect("a checkpoint");
    let mut seen = seen.lock().expect("no holder panics");
    let (size, root) = seen.get(new.origin()).copied().unwrap_or((0, empty_root()));
    if old > new.size() {
        return plain(StatusCode::BAD_REQUEST, "the old size is larger\n");
    }
    if old != size {
        return answer(StatusCode::CONFLICT, "text/x.tlog.size", format!("{size}\n"));
    }
    if old == new.size() && root != *new.root() {
        return plain(StatusCode::CONFLICT, "another root\n");
    }
    if verify_consistency(old, &root, new.size(), new.root(), &proof).is_err() {
        return plain(StatusCode::UNPROCESSABLE_ENTITY, "the proof does not hold\n");
    }
    seen.insert(new.origin().to_owned(), (new.size(), *new.root()));
    let time = 1_795_000_000_u64;
    let signature = SigningKey::from_bytes(&SEED).sign(cosigned_text(note.text(), time).as_bytes());
    let text = witness_key().to_text();
    let id: [u8; 4] = text.split('+').nth(1).and_then(from_hex).expect("an id");
    let bytes = [&id[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
    let line = format!("— witness.example/w1 {}\n", encode_standard(&bytes));
    answer(StatusCode::OK, "text/plain", line)
}

async fn start_witness() -> Seen {
    let seen = Seen::default();
    let state = seen.clone();
    let route = post(move |body: String| {
        let state = state.clone();
        async move { add_checkpoint(&state, &body) }
    });
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    WITNESS.set(socket.local_addr().expect("an address")).expect("there is one witness");
    tokio::spawn(async move {
        axum::serve(socket, Router::new().route("/w1/add-checkpoint", route)).await
    });
    seen
}

fn witnessed(config: &mut NodeConfig) {
    let address = WITNESS.get().expect("the witness is there");
    let (key, url) = (witness_key().to_text(), format!("http://{address}/w1"));
    config.witnesses = vec![WitnessSection { key, url }];
    config.witness_quorum = 1;
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
    assert_eq!(cosigners(&note, &[witness_key()]), 1, "nothing is published without the witness");
    Some((checkpoint.size(), note))
}

/// Waits until a node publishes more than `size` leaves.
async fn published_after(cluster: &Cluster, id: u64, size: u64) -> u64 {
    let waiting = async {
        loop {
            match published(cluster, id).await {
                Some((known, _)) if known > size => return known,
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(cluster::LIMIT, waiting).await.expect("a larger one is published")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_what_is_published_and_a_fork_is_an_alert() {
    let seen = start_witness().await;
    let mut cluster = Cluster::start_with(3, witnessed).await;
    cluster.sell(5).await;
    let mut size = 0;
    for id in 1..=3 {
        size = size.max(published_after(&cluster, id, 0).await);
    }
    // Another leader goes on where the witness is, and what was cosigned outlives its node.
    let led = cluster.leader(GROUP).await;
    cluster.kill_node(led).await;
    cluster.sell(5).await;
    let leader = cluster.leader(GROUP).await;
    let size = published_after(&cluster, leader, size).await;
    cluster.start_node(led).await;
    // It is kept over a restart: nobody tells of it again.
    published_after(&cluster, led, 0).await;

    // The witness has seen another log of this name.
    let known = seen.lock().expect("no holder panics")[LOG];
    seen.lock().expect("no holder panics").insert(LOG.to_owned(), (known.0, [9; 32]));
    cluster.sell(1).await;
    let leader = cluster.leader(GROUP).await;
    let alerts = cluster.wait_alert(leader, "does not extend what it has seen").await;
    assert!(alerts.contains("group 1: the witness witness.example/w1"), "{alerts}");
    let (stays, _) = published(&cluster, leader).await.expect("the last one is still published");
    assert!(stays >= size, "{stays} after {size}");
    // When it knows the log again, it goes on.
    seen.lock().expect("no holder panics").insert(LOG.to_owned(), known);
    cluster.sell(1).await;
    published_after(&cluster, leader, stays).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_is_found_by_the_next_checkpoint_and_taken_anew() {
    let mut cluster = Cluster::start_calm(3).await;
    cluster.sell(10).await;
    cluster.wait_equal(GROUP).await;
    let id = cluster.follower(GROUP).await;
    let at = usize::try_from(id - 1).expect("a few nodes");
    cluster.stop_node(id).await;
    let path = cluster.members[at].state_dir(GROUP).join("index.redb");
    {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let index = RedbIndex::open(disk, path, RedbOptions::default()).expect("an index");
        let key = Outlet::stored_key(&Id::from(OUTLET));
        let row = index.get(&key).expect("it is read").expect("the outlet is there");
        let mut outlet = Outlet::from_stored(&row).expect("an outlet");
        outlet.last_z += 1;
        let mut batch = Batch::new();
        batch.put(key, outlet.stored_row());
        index.write(&batch, Durability::Durable).expect("it is written");
    }
    cluster.start_node(id).await;
    cluster.sell(3).await;
    let incidents = cluster.members[at].dir.join("incidents.ndjson");
    let waiting = async {
        loop {
            let text = std::fs::read_to_string(&incidents).unwrap_or_default();
            if text.contains("its state differs from the one that a majority agreed on") {
                return text;
            }
            cluster.sell(1).await;
            tokio::time::sleep(LOOK).await;
        }
    };
    let text = tokio::time::timeout(cluster::LIMIT, waiting).await.expect("an incident is noted");
    assert!(text.contains("rebuilt from its peers"), "{text}");
    cluster.wait(id, GROUP, |r| r.recovering.is_empty() && r.stopped.is_empty()).await;
    cluster.wait_equal(GROUP).await;
    assert_eq!(cluster.scrub(id, GROUP, false).await, (vec![], vec![]));
}

fn recorded_soon(config: &mut NodeConfig) {
    config.limits.checkpoint_record_ms = 200;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_records_how_far_the_other_logs_are() {
    let mut cluster = Cluster::start_with(3, recorded_soon).await;
    let client = cluster.client().await;
    let mut last = (0, String::new());
    for _ in 0..2 {
        cluster.sell(2).await;
        let before = last.0;
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
        last = tokio::time::timeout(cluster::LIMIT, waiting).await.expect("it is recorded");
        assert!(
            last.1.starts_with(r#"{"origin":"harness/g/1","group":1,"tree_size":"#),
            "{last:?}"
        );
    }
    let tile = ReadTileRequest { group: GROUP, level: None, index: 0, width: 1 };
    client.read_tile(tile, cluster::LIMIT).await.expect("what is recorded is published");
}
