//! What an operator does to a demonstration: `fiscus admin`, and nodes beside those that it started.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use fiscus_ledger::json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{Demo, number, signal, text};

/// An unoptimised node needs seconds to open its keys.
const START_WAIT: Duration = Duration::from_secs(120);
const COMMAND_WAIT: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fiscus"));
    program.stdin(Stdio::null()).kill_on_drop(true);
    program
}

/// Waits for a state.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + START_WAIT;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(LOOK_INTERVAL).await;
    }
}

impl Demo {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    async fn run(&self, arguments: &str) -> Output {
        self.run_within(COMMAND_WAIT, arguments).await
    }

    async fn run_within(&self, wait: Duration, arguments: &str) -> Output {
        let mut command = program();
        command.arg("admin").arg("--dir").arg(&self.dir).args(arguments.split(' '));
        timeout(wait, command.output()).await.expect(arguments).unwrap()
    }

    /// What a command that succeeds prints.
    pub async fn ok(&self, arguments: &str) -> String {
        self.ok_within(COMMAND_WAIT, arguments).await
    }

    /// The same of one that may take long.
    pub async fn ok_within(&self, wait: Duration, arguments: &str) -> String {
        let output = self.run_within(wait, arguments).await;
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that ends with an exit code prints.
    pub async fn fails(&self, exit: i32, arguments: &str) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.status.code(), Some(exit), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub async fn shows(&self, arguments: &str, expected: &str) {
        let shown = self.ok(arguments).await;
        assert!(shown.contains(expected), "{arguments}: {expected} is not in {shown}");
    }

    /// Waits until a command shows what is expected.
    pub async fn comes_to_show(&self, arguments: &str, expected: &str) {
        until(expected, async || self.ok(arguments).await.contains(expected)).await;
    }

    /// Waits until nothing is wrong with any node.
    pub async fn is_well(&self) {
        until("nothing is wrong", async || {
            self.run("status --check --json").await.status.success()
        })
        .await;
    }

    /// The nodes that vote in every group, when no group has learners and all have the same voters.
    pub async fn members(&self) -> BTreeSet<u64> {
        let listed = self.ok("groups list --json").await;
        let listed = Value::parse(&listed).unwrap();
        let Some(Value::Array(groups)) = listed.member("groups") else { panic!("{listed:?}") };
        let ids = |group: &Value<'_>, role: &str| -> BTreeSet<u64> {
            let Some(Value::Array(ids)) = group.member(role) else { panic!("{group:?}") };
            let id = |id: &Value<'_>| match id {
                Value::Number(id) => id.parse::<u64>().unwrap(),
                other => panic!("{other:?}"),
            };
            ids.iter().map(id).collect()
        };
        let voters = ids(&groups[0], "voters");
        for group in groups {
            assert_eq!(ids(group, "voters"), voters, "{listed:?}");
            assert_eq!(ids(group, "learners"), BTreeSet::new(), "{listed:?}");
        }
        voters
    }

    /// What a node says of its replica of a group.
    pub async fn replica(&self, node: u64, group: u64) -> Replica {
        let status = self.ok("status --json").await;
        let status = Value::parse(&status).unwrap();
        let Some(Value::Array(nodes)) = status.member("nodes") else { panic!("{status:?}") };
        let of_node = nodes.iter().find(|known| number(known, "id") == node).unwrap();
        let Some(Value::Array(replicas)) = of_node.member("replicas") else {
            panic!("{of_node:?}")
        };
        let replica = replicas.iter().find(|known| number(known, "group") == group).unwrap();
        Replica {
            committed: number(replica, "committed"),
            applied: number(replica, "applied"),
            snapshot: number(replica, "snapshot"),
            leaves: number(replica, "leaves"),
            state: (number(replica, "state_index"), text(replica, "state_hash")),
        }
    }

    /// How the cluster is reached from now on: by these nodes.
    pub fn reach_by(&self, addresses: &[&str]) {
        let path = self.path("admin.toml");
        let profile = fs::read_to_string(&path).unwrap();
        let rest = profile.split_once(']').expect("it lists nodes").1;
        fs::write(path, format!("nodes = {addresses:?}{rest}")).unwrap();
    }
}

/// A node's replica of a group at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub committed: u64,
    pub applied: u64,
    pub snapshot: u64,
    pub leaves: u64,
    /// The last index with a state hash, and the hash.
    pub state: (u64, String),
}

/// A node that the demonstration does not know of and does not start again.
pub struct ExtraNode {
    pub id: u64,
    pub address: String,
    admin: String,
    dir: PathBuf,
    child: Child,
}

impl ExtraNode {
    /// Starts a node in a directory of its own, with a certificate, the cluster's keys, and free ports.
    pub async fn start(demo: &Demo, id: u64) -> Self {
        Self::start_in(demo, id, &format!("n{id}"), |config| config).await
    }

    /// Starts it in a directory of this name, with a configuration that may differ.
    pub async fn start_in(
        demo: &Demo,
        id: u64,
        name: &str,
        configure: impl FnOnce(String) -> String,
    ) -> Self {
        let pki = demo.path("pki").display().to_string();
        let issue = format!(
            "pki issue --ca {pki} --role node --node-id {id} --name {name} --host 127.0.0.1 --out {pki}"
        );
        demo.ok(&issue).await;
        let ports = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, admin] = ports.map(|port| port.local_addr().unwrap().to_string());
        let dir = demo.path(name);
        fs::create_dir(&dir).unwrap();
        let config = fs::read_to_string(demo.path("n1/node.toml")).unwrap();
        let config = config.replace("node = 1", &format!("node = {id}"));
        let config = config.replace("/n1", &format!("/{name}"));
        fs::write(dir.join("node.toml"), configure(config)).unwrap();
        let child = spawn(&dir, &address, &admin);
        let node = Self { id, address, admin, dir, child };
        node.listens().await;
        node
    }

    async fn listens(&self) {
        until("an added node serves", async || TcpStream::connect(&self.address).await.is_ok())
            .await;
    }

    /// SIGTERM, waits for a good end, and starts it as it was.
    pub async fn restart(&mut self) {
        signal("TERM", self.child.id().unwrap());
        let ended = timeout(START_WAIT, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
        self.child = spawn(&self.dir, &self.address, &self.admin);
        self.listens().await;
    }

    pub async fn stop(mut self) {
        drop(self.child.stdin.take());
        let ended = timeout(START_WAIT, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

fn spawn(dir: &std::path::Path, address: &str, admin: &str) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    program()
        .args(["node", "--stop-with-stdin", "--rpc-listen", address, "--admin-listen", admin])
        .arg("--config")
        .arg(dir.join("node.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
