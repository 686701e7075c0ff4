//! A real cluster in one process: plain text on the loopback, each node on a runtime of its own, so
//! that one can be killed without a word while the others go on.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_node::config::{ClockSection, LimitsSection, NodeConfig, RaftSection, SignerSection};
use fiscus_node::signer::{KeyFile, KeyToStore, Passphrase};
use fiscus_node::{Node, RunError};
use fiscus_proto::admin::admin_client::AdminClient;
use fiscus_proto::admin::{
    ExecuteRequest, InitRequest, KeysRequest, Progress, ProveAuthorityRequest, ReplicaStatus,
    ScrubRequest, SnapshotRequest, StatusRequest,
};
use fiscus_proto::client::{Answer, ClientConfig, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::JournalRecord;
use fiscus_proto::ledger::submit_response::Result as Told;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tonic::transport::Channel;

pub(crate) const CLUSTER: &str = "harness";
pub(crate) const OUTLET: &str = "outlet-gombe";
pub(crate) const NIF: &str = "A1234567B";
pub(crate) const TERMINAL: &str = "till-1";
const SECRET: &[u8] = b"a long enough secret";
/// Whatever a test waits for happens within this time.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A node: its directory for ever, its process now and then.
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) dir: PathBuf,
    pub(crate) rpc: SocketAddr,
    /// Where its metrics are read.
    admin: SocketAddr,
    running: Option<(Runtime, oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
}

/// A cluster in a directory that goes with it.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    client: Option<ClusterClient>,
    sold: u64,
    configure: fn(&mut NodeConfig),
    dir: tempfile::TempDir,
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn config(dir: &Path, id: u64, rpc: SocketAddr) -> NodeConfig {
    NodeConfig {
        cluster: CLUSTER.to_owned(),
        node: id,
        region: "here".to_owned(),
        data_dir: dir.join(format!("node-{id}")),
        rpc_listen: rpc,
        rpc_advertise: None,
        admin_listen: any_port(),
        tls: None,
        insecure: true,
        signer: SignerSection::KeyFile {
            path: dir.join("keys"),
            passphrase_file: Some(dir.join("passphrase")),
            passphrase_env: None,
        },
        raft: RaftSection {
            heartbeat_ms: 100,
            election_min_ms: 700,
            election_max_ms: 1_000,
            keep_entries: 8,
            durable_interval_ms: 100,
            ..RaftSection::default()
        },
        limits: LimitsSection {
            disk_reserve_bytes: 1 << 20,
            // Tests look for damage themselves.
            integrity_leaves_per_s: 0,
            index_cache_bytes: 8 << 20,
            ..LimitsSection::default()
        },
        clock: ClockSection::default(),
        witness_quorum: 0,
        witnesses: Vec::new(),
        log: "info".to_owned(),
    }
}

impl Cluster {
    /// A cluster of `nodes` with one data group, an authority, a manifest, an outlet and an open shift.
    pub(crate) async fn start(nodes: u64) -> Self {
        Self::start_with(nodes, |_| {}).await
    }

    /// The same, of nodes that leave the lead where it is however busy the machine gets.
    pub(crate) async fn start_calm(nodes: u64) -> Self {
        Self::start_with(nodes, |config| {
            (config.raft.election_min_ms, config.raft.election_max_ms) = (4_000, 5_000);
        })
        .await
    }

    /// The same, of nodes whose configuration differs from the usual one.
    pub(crate) async fn start_with(nodes: u64, configure: fn(&mut NodeConfig)) -> Self {
        let mut cluster = Self::unfounded(nodes, configure).await;
        cluster.init(1, &cluster.addresses(), 1).await.expect("the cluster begins");
        cluster.authorities(1, &["kin"]).await;
        cluster.found().await;
        cluster
    }

    /// The same with more data groups, and with an authority for trials.
    pub(crate) async fn start_sized(nodes: u64, data_groups: u64) -> Self {
        let mut cluster = Self::unfounded(nodes, |_| {}).await;
        cluster.init(1, &cluster.addresses(), data_groups).await.expect("the cluster begins");
        cluster.authorities(data_groups, &["kin", "kin-trial"]).await;
        cluster.found().await;
        cluster
    }

    /// Nodes that run and belong to no cluster.
    pub(crate) async fn unfounded(nodes: u64, configure: fn(&mut NodeConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("passphrase"), SECRET).expect("it is written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let only_mine = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(dir.path().join("passphrase"), only_mine).expect("it is");
        }
        let keys = vec![
            KeyToStore::generate_authority("kin", Environment::Live, None).expect("a key"),
            KeyToStore::generate_authority("kin-trial", Environment::Sandbox, None).expect("a key"),
            KeyToStore::generate_log("log", None).expect("a key"),
        ];
        KeyFile::create(&dir.path().join("keys"), &Passphrase::new(SECRET), keys).expect("a file");
        let members = (1..=nodes).map(|id| Member {
            id,
            dir: dir.path().join(format!("node-{id}")),
            rpc: any_port(),
            admin: any_port(),
            running: None,
        });
        let members = members.collect();
        let mut cluster = Self { members, client: None, sold: 0, configure, dir };
        for id in 1..=nodes {
            cluster.start_node(id).await;
        }
        cluster
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| member.rpc.to_string()).collect()
    }

    /// Asks a node to found the groups.
    pub(crate) async fn init(
        &self,
        asked: u64,
        nodes: &[String],
        data_groups: u64,
    ) -> Result<(), tonic::Status> {
        let init = InitRequest { nodes: nodes.to_vec(), data_groups };
        self.admin(asked).init(init).await.map(|_| ())
    }

    fn member(&mut self, id: u64) -> &mut Member {
        self.members.iter_mut().find(|member| member.id == id).expect("there is such a node")
    }

    /// Starts a node, the first time or again, at the address that it had.
    pub(crate) async fn start_node(&mut self, id: u64) {
        self.try_start_node(id).await.expect("the node starts");
    }

    /// The same, for a node that may refuse to start.
    pub(crate) async fn try_start_node(&mut self, id: u64) -> Result<(), RunError> {
        let (dir, configure) = (self.dir.path().to_owned(), self.configure);
        let member = self.member(id);
        assert!(member.running.is_none(), "node {id} runs already");
        let mut config = config(&dir, id, member.rpc);
        configure(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let started = runtime.spawn(Node::start(config)).await.expect("no panic");
        let node = match started {
            Ok(node) => node,
            Err(error) => {
                end(runtime).await;
                return Err(error);
            }
        };
        member.rpc = node.rpc_address();
        member.admin = node.admin_address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = runtime.spawn(async move {
            let stopped = async {
                // A sender that is gone stops as well.
                let _ = stopped.await;
            };
            node.run(stopped).await.expect("the node stops well");
        });
        member.running = Some((runtime, stop, running));
        Ok(())
    }

    /// Starts one more node, which belongs to no group yet.
    pub(crate) async fn add_node(&mut self) -> u64 {
        let id = self.members.len() as u64 + 1;
        let dir = self.dir.path().join(format!("node-{id}"));
        let (rpc, admin) = (any_port(), any_port());
        self.members.push(Member { id, dir, rpc, admin, running: None });
        self.start_node(id).await;
        id
    }

    /// Stops a node as an operator does.
    pub(crate) async fn stop_node(&mut self, id: u64) {
        let (runtime, stop, running) = self.member(id).running.take().expect("it runs");
        stop.send(()).expect("it listens");
        running.await.expect("no panic");
        end(runtime).await;
    }

    /// Ends a node without a word: nothing is flushed, nobody is told.
    pub(crate) async fn kill_node(&mut self, id: u64) {
        let (runtime, stop, running) = self.member(id).running.take().expect("it runs");
        running.abort();
        end(runtime).await;
        drop(stop);
    }

    /// What an operator uses.
    pub(crate) fn admin(&self, id: u64) -> AdminClient<Channel> {
        let member = self.members.iter().find(|member| member.id == id).expect("it is there");
        let endpoint = Channel::from_shared(format!("http://{}", member.rpc)).expect("an address");
        AdminClient::new(endpoint.connect_lazy())
    }

    /// What a gateway uses.
    pub(crate) async fn client(&mut self) -> ClusterClient {
        if self.client.is_none() {
            let seeds = self.members.iter().map(|member| member.rpc.to_string()).collect();
            let client = ClusterClient::connect(ClientConfig::new(seeds, None)).await;
            self.client = Some(client.expect("a client"));
        }
        self.client.clone().expect("it was made")
    }

    /// How a group stands on a node; `None` while the node does not answer.
    pub(crate) async fn replica(&self, id: u64, group: u64) -> Option<ReplicaStatus> {
        let status = self.admin(id).status(StatusRequest {}).await.ok()?.into_inner();
        status.replicas.into_iter().find(|replica| replica.group == group)
    }

    /// Waits until a group stands on a node as it should.
    pub(crate) async fn wait(
        &self,
        id: u64,
        group: u64,
        wanted: impl Fn(&ReplicaStatus) -> bool,
    ) -> ReplicaStatus {
        let waiting = async {
            loop {
                if let Some(replica) = self.replica(id, group).await.filter(&wanted) {
                    return replica;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(LIMIT, waiting).await {
            Ok(replica) => replica,
            Err(_) => panic!("node {id}, group {group}: {:?}", self.replica(id, group).await),
        }
    }

    /// The node that leads a group.
    pub(crate) async fn leader(&self, group: u64) -> u64 {
        let asked: Vec<u64> =
            self.members.iter().filter(|m| m.running.is_some()).map(|m| m.id).collect();
        let waiting = async {
            loop {
                for id in &asked {
                    let replica = self.replica(*id, group).await;
                    if replica.is_some_and(|replica| replica.role == "leader") {
                        return *id;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("somebody leads")
    }

    /// A node that follows in a group.
    pub(crate) async fn follower(&self, group: u64) -> u64 {
        let leader = self.leader(group).await;
        let mut others = self.members.iter().filter(|member| member.running.is_some());
        others.find(|member| member.id != leader).expect("there is another").id
    }

    /// Gives a command to a group's leader on an operator's word.
    pub(crate) async fn execute(&self, group: u64, command: command::Command) {
        let command = Some(Command { command: Some(command) });
        let request = ExecuteRequest { group, command, timeout_ms: 5_000 };
        let trying = async {
            let mut in_doubt = false;
            loop {
                let leader = self.leader(group).await;
                let answer = self.admin(leader).execute(request.clone()).await;
                match answer.map(|answer| answer.into_inner().result) {
                    // An attempt whose answer was lost has done it.
                    Ok(Some(Told::Refused(_))) if in_doubt => return,
                    Ok(Some(Told::Refused(refused))) => panic!("{refused:?}"),
                    Ok(Some(Told::Malformed(wrong))) => panic!("{wrong:?}"),
                    Ok(Some(Told::NotLeader(_) | Told::Busy(_))) => {}
                    Ok(Some(Told::Unknown(_)) | None) | Err(_) => in_doubt = true,
                    Ok(Some(_)) => return,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, trying).await.expect("the command is taken");
    }

    /// Prepares and activates keys in every group.
    async fn authorities(&self, data_groups: u64, names: &[&str]) {
        let keys = self.admin(1).keys(KeysRequest {}).await.expect("keys").into_inner().keys;
        let keys = keys.iter().filter(|key| names.contains(&key.name.as_str()));
        for (key, group) in keys.flat_map(|key| (0..=data_groups).map(move |group| (key, group))) {
            let mut proofs = Vec::new();
            for member in &self.members {
                let request = ProveAuthorityRequest {
                    group,
                    name: key.name.clone(),
                    public_key: key.public_key.clone(),
                };
                let proof = self.admin(member.id).prove_authority(request).await.expect("a proof");
                let signature = proof.into_inner().signature;
                proofs.push(proto::VoterProof { voter: member.id, signature });
            }
            let prepare = proto::PrepareAuthority {
                name: key.name.clone(),
                public_key: key.public_key.clone(),
                environment: key.environment,
                proofs,
            };
            self.execute(group, command::Command::PrepareAuthority(prepare)).await;
            let authority_id = key.authority_id.clone();
            let activate = proto::ActivateAuthority { authority_id };
            self.execute(group, command::Command::ActivateAuthority(activate)).await;
        }
    }

    /// Manifest, outlet, shift.
    async fn found(&mut self) {
        let json = Manifest::builtin().to_json();
        let publish = proto::PublishManifest { json };
        self.execute(0, command::Command::PublishManifest(publish)).await;
        let fact = proto::OutletFact {
            outlet_id: OUTLET.to_owned(),
            merchant_nif: NIF.to_owned(),
            prefix: "KIN".to_owned(),
            code: "GOMBE".to_owned(),
            group: 1,
            status: proto::OutletStatus::Active.into(),
            environment: proto::Environment::Live.into(),
            signing_mode: proto::SigningMode::Cluster.into(),
        };
        let register = proto::RegisterOutlet { fact: Some(fact) };
        self.execute(0, command::Command::RegisterOutlet(register)).await;
        self.open_shift().await;
    }

    /// Opens the shift as soon as the data group has heard of the outlet.
    async fn open_shift(&mut self) {
        let client = self.client().await;
        let open = proto::OpenShift {
            submitted: Some(submitted("shift", [0; 32].to_vec())),
            terminal_id: TERMINAL.to_owned(),
            shift_id: "shift-1".to_owned(),
            cashier_id: "cashier-7".to_owned(),
        };
        let command = Command { command: Some(command::Command::OpenShift(open)) };
        let opening = async {
            loop {
                match client.submit(1, command.clone(), LIMIT).await {
                    Ok(Answer::Refused(_)) => {}
                    Ok(answer) => return answer,
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, opening).await.expect("the shift opens");
    }

    /// Seals `count` sales, several at a time; each must be recorded.
    pub(crate) async fn sell(&mut self, count: u64) {
        let client = self.client().await;
        let mut selling = tokio::task::JoinSet::new();
        for number in self.sold..self.sold + count {
            let client = client.clone();
            selling.spawn(async move { client.submit(1, sale(number), LIMIT).await });
        }
        self.sold += count;
        while let Some(sold) = selling.join_next().await {
            match sold.expect("no panic").expect("an answer") {
                Answer::Recorded(_) | Answer::AlreadyRecorded(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Tries to seal one more sale for so long; whether it was recorded.
    pub(crate) async fn try_sell(&mut self, wait: Duration) -> bool {
        let client = self.client().await;
        let number = self.sold;
        self.sold += 1;
        match client.submit(1, sale(number), wait).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => true,
            Ok(other) => panic!("{other:?}"),
            Err(_) => false,
        }
    }

    /// Repeats a sale that was recorded; the record that it is answered with.
    pub(crate) async fn repeat(&mut self, number: u64) -> JournalRecord {
        let client = self.client().await;
        match client.submit(1, sale(number), LIMIT).await.expect("an answer") {
            Answer::AlreadyRecorded(record) => record,
            other => panic!("{other:?}"),
        }
    }

    /// What a node counts.
    pub(crate) async fn metrics(&self, id: u64) -> String {
        let member = self.members.iter().find(|member| member.id == id).expect("it is there");
        let mut stream = tokio::net::TcpStream::connect(member.admin).await.expect("it listens");
        let request = "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    /// What a node says is wrong.
    pub(crate) async fn alerts(&self, id: u64) -> String {
        let status = self.admin(id).status(StatusRequest {}).await.expect("a status");
        status.into_inner().alerts.join("\n")
    }

    /// Waits until a node says that this is wrong.
    pub(crate) async fn wait_alert(&self, id: u64, wanted: &str) -> String {
        let waiting = async {
            loop {
                let alerts = self.alerts(id).await;
                if alerts.contains(wanted) {
                    return alerts;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("it is told")
    }

    /// Makes a snapshot of a group on a node.
    pub(crate) async fn snapshot(&self, id: u64, group: u64) {
        self.admin(id).snapshot(SnapshotRequest { group }).await.expect("a snapshot");
    }

    /// Scrubs a group on a node; what it found and what it repaired.
    pub(crate) async fn scrub(
        &self,
        id: u64,
        group: u64,
        repair: bool,
    ) -> (Vec<String>, Vec<String>) {
        let (mut found, mut repaired, mut finished) = (Vec::new(), Vec::new(), false);
        let request = ScrubRequest { group, repair };
        let mut told = self.admin(id).scrub(request).await.expect("a scrub").into_inner();
        while let Some(progress) = told.message().await.expect("the scrub goes on") {
            let Progress { finding, repaired: mended, finished: end, left, .. } = progress;
            assert_eq!(left.is_some(), end, "the last message says what is left");
            let wrong = if repair { 0 } else { found.len() as u64 };
            assert!(left.is_none_or(|left| left == wrong), "{left:?} are left of {found:?}");
            found.extend((!finding.is_empty()).then_some(finding));
            repaired.extend((!mended.is_empty()).then_some(mended));
            finished |= end;
        }
        assert!(finished, "the scrub says when it has finished");
        (found, repaired)
    }

    /// Waits until all running nodes have applied the same, and says its hash.
    pub(crate) async fn wait_equal(&self, group: u64) -> Vec<u8> {
        let waiting = async {
            loop {
                let mut states = Vec::new();
                for member in self.members.iter().filter(|member| member.running.is_some()) {
                    let replica = self.replica(member.id, group).await;
                    states.push(replica.map(|r| (r.state_index, r.state_hash, r.signed_leaves)));
                }
                if let Some(Some(first)) = states.first()
                    && states.iter().all(|state| state.as_ref() == Some(first))
                {
                    return first.1.to_vec();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("all states become equal")
    }
}

impl Member {
    /// Whether its process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The directory of a group.
    pub(crate) fn group_dir(&self, group: u64) -> PathBuf {
        self.dir.join("groups").join(group.to_string())
    }

    /// The directory of a group's state in use.
    pub(crate) fn state_dir(&self, group: u64) -> PathBuf {
        let dir = self.group_dir(group);
        let name = std::fs::read_to_string(dir.join("CURRENT")).expect("a state is in use");
        dir.join(name.trim())
    }
}

async fn end(runtime: Runtime) {
    let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(LIMIT));
    ended.await.expect("no panic");
}

pub(crate) fn submitted(key: &str, fingerprint: Vec<u8>) -> proto::Submitted {
    let key = payload_hash(key.as_bytes())[..16].to_vec().into();
    let fingerprint = fingerprint.into();
    proto::Submitted { outlet_id: OUTLET.to_owned(), key, fingerprint }
}

fn sale(number: u64) -> Command {
    let price = 1_000 + number;
    let text = format!(
        r#"{{"merchant_nif":"{NIF}","outlet_id":"{OUTLET}","pos_terminal_id":"{TERMINAL}",
        "invoice_type":"sale","currency":"CDF","client":{{"classification":"individual"}},
        "items":[{{"code":"A","description":"Farine","quantity":1,"unit_price":"{price}.00",
        "tax_group":"TG01"}}],"payments":[{{"method":"cash","amount":"{price}.00"}}]}}"#
    );
    let now = UnixMs::new(1_795_262_400_000);
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), now).expect("a sale");
    let payload = parsed.invoice.canonical_bytes().to_vec();
    let seal = proto::Seal {
        submitted: Some(submitted(&format!("sale {number}"), payload_hash(&payload).to_vec())),
        terminal_id: TERMINAL.to_owned(),
        device_id: None,
        payload: payload.into(),
    };
    Command { command: Some(command::Command::Seal(seal)) }
}

/// Flips one bit of a file.
pub(crate) fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it has that byte");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).expect("it is written");
}

/// The first file of a run.
pub(crate) fn first_piece(state: &Path, run: &str) -> PathBuf {
    let path = state.join(run).join(format!("{:016x}", 0));
    assert!(path.exists(), "{} is missing", path.display());
    path
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A runtime must not wait for its threads while another one drops it.
        for (runtime, ..) in self.members.iter_mut().filter_map(|member| member.running.take()) {
            runtime.shutdown_background();
        }
    }
}
