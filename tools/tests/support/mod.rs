//! A real cluster of processes, a load of sales, and what must hold of everything that was answered.
//!
//! Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

pub mod auditor;
pub mod gateway;
pub mod history;
pub mod load;
pub mod operator;
pub mod processes;
pub mod webhooks;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fiscus_ledger::json::Value;
use fiscus_proto::client::{ClientConfig, ClusterClient};
use fiscus_proto::tls::{TlsFiles, TlsMaterial};

const LEADER_WAIT: Duration = Duration::from_secs(60);

pub fn fiscus() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fiscus"))
}

/// A directory of one test that does not exist yet. It stays when the test fails.
pub fn fresh(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// `fiscus demo`, running.
pub struct Demo {
    child: Child,
    pub dir: PathBuf,
    pub nodes: Vec<NodeAt>,
    pub gateway: String,
    pub gateway_admin: String,
    pub api_key: String,
    pub device: DeviceAt,
    /// Its standard error, as it comes; taken when it is stopped.
    log: Option<std::thread::JoinHandle<String>>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended already, or the test has failed; its nodes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Clone)]
pub struct NodeAt {
    pub id: u64,
    pub rpc: String,
    pub admin: String,
}

/// The device of a demonstration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAt {
    pub addr: String,
    pub device_id: String,
    pub outlet_id: String,
    pub merchant_nif: String,
}

impl DeviceAt {
    fn of(said: &Value<'_>) -> Self {
        let [addr, device_id, outlet_id, merchant_nif] =
            ["addr", "device_id", "outlet_id", "merchant_nif"].map(|name| text(said, name));
        Self { addr, device_id, outlet_id, merchant_nif }
    }
}

/// Stands among the arguments of a demonstration that is to upload.
pub const UPLOADS: &str = "with uploads";

impl Demo {
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// Starts it and waits for its line.
    pub fn start_with(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_fiscus")), dir, arguments)
    }

    /// The same with a program that stands elsewhere.
    pub fn start_program(program: &Path, dir: &Path, arguments: &[&str]) -> Self {
        // What is uploaded makes records; tests that are about others have none of them.
        let uploads = arguments.contains(&UPLOADS);
        let arguments = arguments.iter().filter(|argument| **argument != UPLOADS);
        let mut child = Command::new(program)
            .args(["demo", "--json", "--dir"])
            .arg(dir)
            .args(arguments)
            .args((!uploads).then_some("--no-uploads"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let lines = BufReader::new(errors).lines().map_while(Result::ok);
            lines.collect::<Vec<_>>().join("\n")
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            child.wait().unwrap();
            panic!("the demo did not start: {}", log.join().unwrap());
        }
        let said = Value::parse(&line).unwrap();
        let Some(Value::Array(list)) = said.member("nodes") else { panic!("{line}") };
        let nodes = list.iter().map(|node| NodeAt {
            id: number(node, "id"),
            rpc: text(node, "rpc"),
            admin: text(node, "admin"),
        });
        Self {
            nodes: nodes.collect(),
            gateway: text(&said, "gateway"),
            gateway_admin: text(&said, "gateway_admin"),
            api_key: text(&said, "api_key"),
            device: DeviceAt::of(said.member("device_proxy").unwrap()),
            child,
            dir: dir.to_owned(),
            log: Some(log),
        }
    }

    /// The process ids of the nodes that run now.
    pub fn pids(&self) -> Vec<(u64, u32)> {
        let pid = |id: u64| self.child_pid(&format!("/n{id}/node.toml"));
        self.nodes.iter().filter_map(|node| Some((node.id, pid(node.id)?))).collect()
    }

    /// The process whose arguments name a file.
    fn child_pid(&self, named: &str) -> Option<u32> {
        let parent = self.child.id().to_string();
        let listed = Command::new("pgrep").args(["-P", &parent, "-a"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let line = listed.lines().find(|line| line.contains(named))?;
        line.split(' ').next()?.parse().ok()
    }

    pub fn kill(&self, id: u64) {
        if let Some((_, pid)) = self.pids().into_iter().find(|(known, _)| *known == id) {
            signal("KILL", pid);
        }
    }

    /// Ctrl-C; waits for the end and returns what was said on standard error.
    pub fn stop(mut self) -> String {
        signal("INT", self.child.id());
        let until = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the demo does not stop");
            std::thread::yield_now();
        }
        let status = self.child.wait().unwrap();
        let said = self.log.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }

    pub async fn client(&self) -> ClusterClient {
        client(&self.dir, &self.nodes).await
    }

    pub fn status(&self) -> String {
        status(&self.dir)
    }

    pub fn leader(&self, group: u64) -> Option<u64> {
        leader(&self.dir, group)
    }
}

/// The files of a certificate that the demonstration made.
pub fn tls(dir: &Path, name: &str) -> TlsMaterial {
    let pki = dir.join("pki");
    let (cert, key) = (pki.join(format!("{name}.pem")), pki.join(format!("{name}.key")));
    TlsFiles { ca: pki.join("ca.pem"), cert, key }.load().unwrap()
}

pub async fn client(dir: &Path, nodes: &[NodeAt]) -> ClusterClient {
    let seeds = nodes.iter().map(|node| node.rpc.clone()).collect();
    let config = ClientConfig::new(seeds, Some(tls(dir, "gateway")));
    ClusterClient::connect(config).await.unwrap()
}

/// Runs `fiscus admin`; the output, and whether it succeeded.
pub fn admin(dir: &Path, arguments: &str) -> (bool, String) {
    let mut command = fiscus();
    let out = command.args(["admin", "--dir"]).arg(dir).args(arguments.split(' ')).output();
    let out = out.unwrap();
    let said = String::from_utf8(out.stdout).unwrap() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), said)
}

/// `fiscus admin status --json`, as a document.
pub fn status(dir: &Path) -> String {
    admin(dir, "status --json").1
}

/// What is wrong, as `fiscus admin status` says it.
pub fn alerts(dir: &Path) -> Vec<String> {
    let status = status(dir);
    let status = Value::parse(&status).expect(&status);
    let Some(Value::Array(alerts)) = status.member("alerts") else { panic!("{status:?}") };
    let text = |alert: &Value<'_>| match alert {
        Value::String(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    alerts.iter().map(text).collect()
}

/// The leader of a group; none when nobody knows one.
pub fn leader(dir: &Path, group: u64) -> Option<u64> {
    let status = status(dir);
    let status = Value::parse(&status).ok()?;
    let Some(Value::Array(groups)) = status.member("groups") else { return None };
    let of = groups.iter().find(|known| number(known, "id") == group)?;
    match of.member("leader") {
        Some(Value::Number(id)) => id.parse().ok(),
        _ => None,
    }
}

/// The leader of a group, as soon as there is one: a busy machine may hold an election at any moment.
pub async fn leader_of(dir: &Path, group: u64) -> u64 {
    let mut found = None;
    until("a group has a leader", LEADER_WAIT, || {
        found = leader(dir, group);
        found.is_some()
    })
    .await;
    found.expect("it was waited for")
}

/// What a node says of itself.
pub fn node_number(dir: &Path, id: u64, member: &str) -> u64 {
    let status = status(dir);
    let status = Value::parse(&status).expect(&status);
    let Some(Value::Array(nodes)) = status.member("nodes") else { panic!("{status:?}") };
    let node = nodes.iter().find(|node| number(node, "id") == id).expect("it is listed");
    number(node, member)
}

/// What a node says of its replica of a group.
pub fn replica_number(dir: &Path, id: u64, group: u64, member: &str) -> u64 {
    let status = status(dir);
    let status = Value::parse(&status).expect(&status);
    let Some(Value::Array(nodes)) = status.member("nodes") else { panic!("{status:?}") };
    let node = nodes.iter().find(|node| number(node, "id") == id).expect("it is listed");
    // A node that does not answer tells of no replicas.
    let Some(Value::Array(replicas)) = node.member("replicas") else { return 0 };
    let replica = replicas.iter().find(|replica| number(replica, "group") == group);
    replica.map_or(0, |replica| number(replica, member))
}

/// Waits for a state of the cluster.
pub async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success() || name == "KILL");
}

pub fn number(value: &Value<'_>, name: &str) -> u64 {
    match value.member(name) {
        Some(Value::Number(text)) => text.parse().unwrap(),
        other => panic!("{name} is {other:?}"),
    }
}

pub fn text(value: &Value<'_>, name: &str) -> String {
    match value.member(name) {
        Some(Value::String(text)) => text.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}
