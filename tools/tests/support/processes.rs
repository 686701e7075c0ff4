//! The nodes of a stopped demonstration as processes of the test itself, so that each can be started
//! with an environment and a configuration of its own, and stays dead until it is started again.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fiscus_proto::tls::client_config;
use tonic::transport::{Channel, Endpoint};

use super::{Demo, NodeAt, fiscus, signal, tls};

/// An unoptimised node needs seconds to open its keys.
const START_WAIT: Duration = Duration::from_secs(60);
const STOP_WAIT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Where Debian's package puts libfaketime, whatever the machine.
fn fake_time_library() -> PathBuf {
    let known = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut known = known.map(|dir| dir.join("faketime/libfaketimeMT.so.1"));
    known.find(|path| path.exists()).expect("libfaketime; tests/setup.sh installs it")
}

/// The program with a wall clock that the environment sets.
pub fn with_fake_time() -> Command {
    let mut program = fiscus();
    program.env("LD_PRELOAD", fake_time_library()).env("DONT_FAKE_MONOTONIC", "1");
    program
}

/// Nodes that this test runs. Whoever is left at the end is killed.
pub struct Processes {
    pub dir: PathBuf,
    pub nodes: Vec<NodeAt>,
    running: BTreeMap<u64, Child>,
}

impl Processes {
    /// Takes over a demonstration's directory; nothing runs yet.
    pub fn of(demo: Demo) -> Self {
        let (dir, nodes) = (demo.dir.clone(), demo.nodes.clone());
        demo.stop();
        Self { dir, nodes, running: BTreeMap::new() }
    }

    pub fn config_path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("n{id}/node.toml"))
    }

    pub fn node(&self, id: u64) -> &NodeAt {
        self.nodes.iter().find(|node| node.id == id).expect("there is such a node")
    }

    /// Replaces a number in a node's configuration.
    pub fn configure(&self, id: u64, name: &str, value: u64) {
        let path = self.config_path(id);
        let text = std::fs::read_to_string(&path).unwrap();
        let named = format!("{name} = ");
        let lines = text.lines().map(|line| match line.starts_with(&named) {
            true => format!("{named}{value}\n"),
            false => format!("{line}\n"),
        });
        let changed: String = lines.collect();
        assert_ne!(text, changed, "{name} of node {id} is not there, or is {value} already");
        std::fs::write(path, changed).unwrap();
    }

    /// A connection to one node, by the certificate that the demonstration made for a role.
    pub async fn channel(&self, id: u64, role: &str) -> Channel {
        let endpoint = Endpoint::from_shared(format!("https://{}", self.node(id).rpc)).unwrap();
        let endpoint = endpoint.tls_config(client_config(&tls(&self.dir, role))).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// The process of a node that runs.
    pub fn pid(&self, id: u64) -> u32 {
        self.running[&id].id()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// Starts a node; it does not listen yet.
    pub fn start(&mut self, id: u64) {
        self.start_as(id, fiscus());
    }

    /// Starts a node by a command that ends where the program's arguments begin.
    pub fn start_as(&mut self, id: u64, mut program: Command) {
        let log = self.dir.join(format!("n{id}/log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = program
            .args(["node", "--stop-with-stdin", "--config"])
            .arg(self.config_path(id))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let before = self.running.insert(id, child);
        assert!(before.is_none(), "node {id} runs already");
    }

    /// Waits until every started node listens.
    pub async fn listening(&mut self) {
        let until = Instant::now() + START_WAIT;
        for (id, child) in &mut self.running {
            let node = self.nodes.iter().find(|node| node.id == *id).unwrap();
            while TcpStream::connect(&node.rpc).is_err() {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "node {id} ended: {ended:?}");
                assert!(Instant::now() < until, "node {id} does not listen");
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self, id: u64) {
        let mut child = self.running.remove(&id).expect("it runs");
        signal("KILL", child.id());
        child.wait().unwrap();
    }

    /// Asks a node to stop; it must end well.
    pub async fn stop(&mut self, id: u64) {
        let mut child = self.running.remove(&id).expect("it runs");
        drop(child.stdin.take());
        let until = Instant::now() + STOP_WAIT;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "node {id} does not stop");
            tokio::time::sleep(LOOK_INTERVAL).await;
        };
        assert!(status.success(), "node {id} ended with {status}");
    }

    /// Asks all of them to stop, at once.
    pub async fn stop_all(mut self) {
        for child in self.running.values_mut() {
            drop(child.stdin.take());
        }
        let ids: Vec<u64> = self.running.keys().copied().collect();
        for id in ids {
            self.stop(id).await;
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended of itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
