//! The nodes of a demonstration, as child processes.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::cluster_files::Layout;

/// A node listens within this time.
const START_WAIT: Duration = Duration::from_secs(120);
/// A node that is asked to stop ends within this time, or is made to.
const STOP_WAIT: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A dead node stays dead long enough to be seen.
const RESTART_AFTER: Duration = Duration::from_secs(3);

struct Running {
    child: Child,
    pid: u32,
}

/// The child processes. Their standard input is a pipe from here: when this process goes, however it
/// goes, they go with it.
pub(super) struct Nodes {
    running: BTreeMap<u64, Running>,
    commands: BTreeMap<u64, NodeCommand>,
    ready: bool,
}

struct NodeCommand {
    /// This program, where it stood at the start: a newer one in its place is what starts next.
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    rpc: String,
    admin: String,
}

impl NodeCommand {
    fn spawn(&self) -> Result<Running> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let child = Command::new(&self.program)
            .arg("node")
            .arg("--config")
            .arg(&self.config)
            .args(["--rpc-listen", &self.rpc, "--admin-listen", &self.admin])
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // An interrupt from the terminal is this process's to pass on, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("starting a node")?;
        let pid = child.id().context("a node ended at once")?;
        Ok(Running { child, pid })
    }
}

impl Nodes {
    pub(super) fn start(layout: &Layout) -> Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let mut nodes = Self { running: BTreeMap::new(), commands: BTreeMap::new(), ready: false };
        for id in 1..=layout.nodes() {
            let command = NodeCommand {
                program: program.clone(),
                config: layout.node_config_path(id),
                log: layout.node_dir(id).join("log"),
                rpc: layout.rpc(id),
                admin: layout.admin(id),
            };
            nodes.running.insert(id, command.spawn()?);
            nodes.commands.insert(id, command);
        }
        Ok(nodes)
    }

    /// Ids and process ids.
    pub(super) fn list(&self) -> impl Iterator<Item = (u64, u32)> {
        self.running.iter().map(|(id, running)| (*id, running.pid))
    }

    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    pub(super) fn are_ready(&self) -> bool {
        self.ready
    }

    /// Waits until every node listens.
    pub(super) async fn wait_until_they_serve(&mut self, layout: &Layout) -> Result<()> {
        let until = Instant::now() + START_WAIT;
        for (id, running) in &mut self.running {
            let log = layout.node_dir(*id).join("log");
            while TcpStream::connect(layout.rpc(*id)).await.is_err() {
                if let Some(status) = running.child.try_wait()? {
                    let last = std::fs::read_to_string(&log).unwrap_or_default();
                    let last = last.lines().last().unwrap_or("it logged nothing").to_owned();
                    bail!("node {id} ended with {status}: {last}");
                }
                if Instant::now() > until {
                    bail!("node {id} does not listen; see {}", log.display());
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Starts nodes again that end. Never returns but with an error.
    pub(super) async fn keep_running(&mut self) -> Result<()> {
        let mut again: BTreeMap<u64, Instant> = BTreeMap::new();
        loop {
            for (id, running) in &mut self.running {
                if again.contains_key(id) {
                    continue;
                }
                if let Some(status) = running.child.try_wait()? {
                    eprintln!("node {id} ended ({status}); it comes back in {RESTART_AFTER:?}");
                    again.insert(*id, Instant::now() + RESTART_AFTER);
                }
            }
            let due: Vec<u64> =
                again.iter().filter(|(_, at)| **at <= Instant::now()).map(|(id, _)| *id).collect();
            for id in due {
                let started = self.commands[&id].spawn()?;
                eprintln!("node {id} is back, pid {}", started.pid);
                self.running.insert(id, started);
                again.remove(&id);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Asks every node to stop, and sees to it.
    pub(super) async fn stop(mut self) -> Result<()> {
        for running in self.running.values_mut() {
            // The end of its standard input asks a node to stop.
            drop(running.child.stdin.take());
        }
        let mut forced = Vec::new();
        for (id, running) in &mut self.running {
            match tokio::time::timeout(STOP_WAIT, running.child.wait()).await {
                Ok(ended) => {
                    ended.with_context(|| format!("waiting for node {id}"))?;
                }
                Err(_) => {
                    running.child.kill().await.with_context(|| format!("killing node {id}"))?;
                    forced.push(id.to_string());
                }
            }
        }
        if forced.is_empty() {
            return Ok(());
        }
        bail!("node {} did not stop in {STOP_WAIT:?} and was killed", forced.join(" and "))
    }
}
