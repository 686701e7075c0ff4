//! The cluster of a run: real processes of the real program, each in a namespace of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::network::Network;

pub(crate) const NAME: &str = "jepsen.fiscus.example";
/// The group that knows of all others.
pub(crate) const DIRECTORY: u64 = 0;
/// The data group.
pub(crate) const GROUP: u64 = 1;
const PORT: u16 = 7400;
const RESERVE_BYTES: u64 = 64 << 20;

/// What a run's nodes are made of.
#[derive(Debug, Clone)]
pub(crate) struct Make {
    pub(crate) dir: PathBuf,
    pub(crate) program: PathBuf,
    /// An older program for some nodes.
    pub(crate) previous: Option<PathBuf>,
    /// A bug that nodes plant in themselves.
    pub(crate) planted: Option<String>,
    pub(crate) nodes: u64,
    /// A disk of its own for each.
    pub(crate) disks: bool,
    /// A clock of its own for each.
    pub(crate) clocks: bool,
    /// Bytes of log after which there is a snapshot.
    pub(crate) snapshot_bytes: u64,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    child: Option<Child>,
    /// A starting process has this; dropped after the process.
    disk: Option<Disk>,
    clock: Option<Clock>,
    /// Runs the older program.
    pub(crate) old: bool,
    /// Asked to be away for a fault.
    pub(crate) held: bool,
}

impl Drop for Node {
    fn drop(&mut self) {
        // The disk goes after this, and cannot while the process uses it.
        self.kill();
    }
}

impl Node {
    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended of itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal to the process, if there is one.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let pid = Pid::from_child(child);
        kill_process(pid, signal).with_context(|| format!("signalling node {}", self.id))
    }

    /// Whether its process runs; one that has ended is noted as gone, with how.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status.to_string())
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn disk(&mut self) -> Result<&mut Disk> {
        let id = self.id;
        self.disk.as_mut().with_context(|| format!("node {id} has no disk of its own"))
    }

    pub(crate) fn clock(&self) -> Result<&Clock> {
        self.clock.as_ref().with_context(|| format!("node {} has no clock of its own", self.id))
    }
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) make: Make,
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Dropped after the nodes.
    pub(crate) network: Network,
}

impl Cluster {
    /// Makes keys, certificates, configurations, disks and the network, and starts all nodes.
    pub(crate) fn start(make: Make) -> Result<Self> {
        fs::create_dir_all(&make.dir).with_context(|| make.dir.display().to_string())?;
        let network = Network::lay([])?;
        let mut cluster = Self { make, nodes: BTreeMap::new(), network };
        cluster.make_secrets()?;
        for id in 1..=cluster.make.nodes {
            cluster.add(id)?;
        }
        cluster.write_profile(&(1..=cluster.make.nodes).collect::<Vec<_>>())?;
        Ok(cluster)
    }

    fn make_secrets(&self) -> Result<()> {
        self.fiscus(&["admin", "pki", "init", "--out", "pki", "--cluster", NAME])?;
        for (role, name) in [("admin", "ops"), ("gateway", "gw")] {
            self.issue(&["--role", role, "--name", name])?;
        }
        let secret = blake3::hash(self.make.dir.display().to_string().as_bytes()).to_hex();
        let mut options = fs::OpenOptions::new();
        let path = self.make.dir.join("passphrase");
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(secret.as_bytes())?;
        let keys =
            ["admin", "keys", "generate", "--out", "keys", "--groups", "1", "--name", "jepsen"];
        self.fiscus(&[&keys[..], &["--passphrase-file", "passphrase"]].concat())
    }

    fn issue(&self, what: &[&str]) -> Result<()> {
        let issue = ["admin", "pki", "issue", "--ca", "pki", "--out", "pki"];
        self.fiscus(&[&issue[..], what].concat())
    }

    /// Runs the program in the run's directory; it must succeed.
    pub(crate) fn fiscus(&self, arguments: &[&str]) -> Result<()> {
        let mut program = Command::new(&self.make.program);
        let ended =
            program.args(arguments).current_dir(&self.make.dir).stdin(Stdio::null()).output();
        let ended = ended.with_context(|| format!("running {}", self.make.program.display()))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "fiscus {}: {said}", arguments.join(" "));
        Ok(())
    }

    /// Adds a node that belongs to no cluster yet, and starts it.
    pub(crate) fn add(&mut self, id: u64) -> Result<()> {
        self.network.add(id)?;
        let (number, name, host) = (id.to_string(), format!("n{id}"), self.network.address(id));
        self.issue(&["--role", "node", "--node-id", &number, "--name", &name, "--host", &host])?;
        let place = self.place(id);
        fs::create_dir_all(&place)?;
        let disk = match self.make.disks {
            true => Some(Disk::make(&self.make.dir.join(format!("n{id}.ext4")), &place)?),
            false => None,
        };
        let clock = match self.make.clocks {
            true => Some(Clock::new(self.make.dir.join(format!("n{id}.clock")))?),
            false => None,
        };
        fs::write(self.config(id), self.configuration(id))?;
        self.nodes.insert(id, Node { id, child: None, disk, clock, old: false, held: false });
        self.run(id)
    }

    /// Where a node keeps everything.
    pub(crate) fn place(&self, id: u64) -> PathBuf {
        self.make.dir.join(format!("n{id}"))
    }

    fn config(&self, id: u64) -> PathBuf {
        self.make.dir.join(format!("n{id}.toml"))
    }

    pub(crate) fn address(&self, id: u64) -> String {
        format!("{}:{PORT}", self.network.address(id))
    }

    fn configuration(&self, id: u64) -> String {
        let (dir, address) = (self.make.dir.display(), self.address(id));
        let snapshot = self.make.snapshot_bytes;
        format!(
            "cluster = \"{NAME}\"\nnode = {id}\ndata_dir = \"{dir}/n{id}/data\"\nrpc_listen = \"{address}\"\n\
             admin_listen = \"127.0.0.1:7401\"\n\n[tls]\nca = \"{dir}/pki/ca.pem\"\ncert = \"{dir}/pki/n{id}.pem\"\n\
             key = \"{dir}/pki/n{id}.key\"\n\n[signer]\nkind = \"key-file\"\npath = \"{dir}/keys\"\n\
             passphrase_file = \"{dir}/passphrase\"\n\n[raft]\nsnapshot_log_bytes = {snapshot}\n\n\
             [limits]\ndisk_reserve_bytes = {RESERVE_BYTES}\n"
        )
    }

    /// How operators reach it from now on.
    pub(crate) fn write_profile(&self, ids: &[u64]) -> Result<()> {
        let nodes: Vec<String> = ids.iter().map(|id| self.address(*id)).collect();
        let text = format!(
            "nodes = {nodes:?}\nca = \"pki/ca.pem\"\ncert = \"pki/ops.pem\"\nkey = \"pki/ops.key\"\n"
        );
        let path = self.make.dir.join("admin.toml");
        fs::write(path.with_extension("next"), text)?;
        Ok(fs::rename(path.with_extension("next"), path)?)
    }

    pub(crate) fn node(&mut self, id: u64) -> Result<&mut Node> {
        self.nodes.get_mut(&id).with_context(|| format!("there is no node {id}"))
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Starts a node that does not run.
    pub(crate) fn run(&mut self, id: u64) -> Result<()> {
        let (config, log) = (self.config(id), self.make.dir.join(format!("n{id}.log")));
        let mut command = self.network.enter(id);
        let previous = self.make.previous.clone();
        let current = self.make.program.clone();
        command.envs(self.make.planted.iter().map(|bug| ("FISCUS_PLANTED", bug)));
        let node = self.node(id)?;
        if node.runs() {
            return Ok(());
        }
        let program =
            if node.old { previous.context("there is no older program")? } else { current };
        if let Some(clock) = &mut node.clock {
            clock.give(&mut command)?;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .arg(program)
            .args(["node", "--stop-with-stdin", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("running nsenter; tests/setup.sh installs it (util-linux)")?;
        node.child = Some(child);
        Ok(())
    }

    /// Forgets a node that was taken out of the cluster.
    pub(crate) fn forget(&mut self, id: u64) {
        self.nodes.remove(&id);
    }
}

/// The files that somebody with a role identifies itself with.
pub(crate) fn tls_files(dir: &Path, name: &str) -> fiscus_proto::tls::TlsFiles {
    let pki = dir.join("pki");
    fiscus_proto::tls::TlsFiles {
        ca: pki.join("ca.pem"),
        cert: pki.join(format!("{name}.pem")),
        key: pki.join(format!("{name}.key")),
    }
}
