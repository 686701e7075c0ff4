//! A node that lost its disk is replaced at its own address, the first that everybody asks; and no node
//! speaks for another, nor after it was removed.

mod support;

use std::path::Path;
use std::time::Duration;

use fiscus_proto::admin::StatusRequest;
use fiscus_proto::admin::admin_client::AdminClient;
use fiscus_proto::peer::peer_client::PeerClient;
use fiscus_proto::peer::{ClockRequest, VoteRequest};
use fiscus_raft::consensus::metadata;
use support::load::{Sale, sell};
use support::processes::Processes;
use support::{Demo, admin, client, fresh, history, leader, until};
use tonic::{Code, Request, Status};

const LIMIT: Duration = Duration::from_secs(60);
const CLUSTER: &str = "demo.fiscus.example";
/// The node that is replaced, the first in every list of addresses.
const LOST: u64 = 1;
/// The id of the one in its place.
const NEW: u64 = 5;
/// Whom the others' messages are sent to.
const ASKED: u64 = 2;

fn succeeds(dir: &Path, arguments: &str) -> String {
    let (done, said) = admin(dir, arguments);
    assert!(done, "{arguments}: {said}");
    said
}

fn issue(dir: &Path, id: u64) {
    let pki = dir.join("pki").display().to_string();
    let issue = format!("pki issue --ca {pki} --out {pki} --role node --host 127.0.0.1");
    succeeds(dir, &format!("{issue} --node-id {id} --name n{id}"));
}

/// An empty directory, a new id, a new certificate, the same address.
fn wipe(nodes: &Processes) {
    std::fs::remove_dir_all(nodes.dir.join(format!("n{LOST}/data"))).unwrap();
    issue(&nodes.dir, NEW);
    let path = nodes.config_path(LOST);
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config
        .replace(&format!("node = {LOST}\n"), &format!("node = {NEW}\n"))
        .replace(&format!("/n{LOST}.pem"), &format!("/n{NEW}.pem"))
        .replace(&format!("/n{LOST}.key"), &format!("/n{NEW}.key"));
    std::fs::write(path, config).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_at_its_address_and_nobody_speaks_for_another() {
    let dir = fresh("cluster-identity");
    let mut nodes = Processes::of(Demo::start(&dir));
    for id in nodes.ids() {
        nodes.start(id);
    }
    nodes.listening().await;
    let before = client(&dir, &nodes.nodes).await;
    let mut sales = vec![sell(&before, 0, "whole").await.unwrap()];
    nodes.kill(LOST);
    until("the others lead", LIMIT, || {
        [0, 1].iter().all(|group| leader(&dir, *group).is_some_and(|id| id != LOST))
    })
    .await;
    // The address is first in admin.toml, and nobody answers there.
    succeeds(&dir, &format!("nodes remove {LOST} --yes"));
    wipe(&nodes);
    nodes.start(LOST);
    nodes.listening().await;
    sales.extend(an_empty_node_is_passed_by(&nodes, &before).await);

    let address = nodes.node(LOST).rpc.clone();
    succeeds(&dir, &format!("nodes add {address} --yes"));
    let groups = succeeds(&dir, "groups list --json");
    assert_eq!(groups.matches(r#""voters":[2,3,5],"learners":[]"#).count(), 2, "{groups}");
    sales.push(sell(&before, 2, "replaced").await.unwrap());
    history::check(&before, &sales).await;

    nobody_speaks_for_another(&nodes).await;
    nodes.stop_all().await;
}

/// Whoever asks it first goes on with the others, those who knew the cluster and those who come new.
async fn an_empty_node_is_passed_by(
    nodes: &Processes,
    before: &fiscus_proto::client::ClusterClient,
) -> [Sale; 2] {
    assert_eq!(nodes.nodes[0].id, LOST, "it is the first seed");
    let new = client(&nodes.dir, &nodes.nodes).await;
    [sell(&new, 0, "new").await.unwrap(), sell(before, 1, "known").await.unwrap()]
}

/// A call to the asked node by one who says to be `from`, with a certificate of `holder`.
async fn call<T>(nodes: &Processes, holder: u64, from: u64, message: T) -> (Caller, Request<T>) {
    let status = AdminClient::new(nodes.channel(ASKED, "admin").await);
    let incarnation = match from {
        // Whose node runs can be asked for it.
        3 => {
            let mut of = AdminClient::new(nodes.channel(from, "admin").await);
            let status = of.status(StatusRequest {}).await.unwrap().into_inner();
            status.node.unwrap().incarnation
        }
        _ => "ffff".to_owned(),
    };
    drop(status);
    let mut request = Request::new(message);
    for (name, value) in [
        (metadata::CLUSTER, CLUSTER.to_owned()),
        (metadata::FROM, from.to_string()),
        (metadata::TO, ASKED.to_string()),
        (metadata::INCARNATION, incarnation),
        (metadata::TO_INCARNATION, String::new()),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    (PeerClient::new(nodes.channel(ASKED, &format!("n{holder}")).await), request)
}

type Caller = PeerClient<tonic::transport::Channel>;

async fn clock(nodes: &Processes, holder: u64, from: u64) -> Result<(), Status> {
    let (mut caller, request) = call(nodes, holder, from, ClockRequest {}).await;
    caller.clock(request).await.map(|_| ())
}

async fn nobody_speaks_for_another(nodes: &Processes) {
    clock(nodes, 3, 3).await.expect("node 3 speaks for itself");
    for (holder, from, why) in
        [(NEW, 3, "that of node 5"), (3, NEW, "that of node 3"), (LOST, LOST, "was removed")]
    {
        let refused = clock(nodes, holder, from).await.expect_err(why);
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
    }
    // One who is no member makes no group.
    issue(&nodes.dir, 9);
    let vote = VoteRequest { group: 7, ..VoteRequest::default() };
    let (mut caller, request) = call(nodes, 9, 9, vote).await;
    let refused = caller.vote(request).await.expect_err("it is no member");
    assert!(refused.message().contains("is no member here"), "{refused}");
    assert!(!nodes.dir.join(format!("n{ASKED}/data/groups/7")).exists());
}
