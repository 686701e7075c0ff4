//! The nodes, the gateway and the device proxy of a demonstration, as child processes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::cluster_files::Layout;

/// A process listens, and a gateway is ready, within this time.
const START_WAIT: Duration = Duration::from_secs(120);
/// A process that is asked to stop ends within this time, or is made to.
const STOP_WAIT: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// One question after readiness is answered within this time.
const ASK_WAIT: Duration = Duration::from_secs(2);
/// A dead process stays dead long enough to be seen.
const RESTART_AFTER: Duration = Duration::from_secs(3);

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    /// First, so that both are asked to stop first: they let requests come to their end.
    DeviceProxy,
    Gateway,
    /// The tax authority's stand-in.
    Mcf,
    Node(u64),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceProxy => f.write_str("the device proxy"),
            Self::Gateway => f.write_str("the gateway"),
            Self::Mcf => f.write_str("the control module"),
            Self::Node(id) => write!(f, "node {id}"),
        }
    }
}

struct Running {
    child: Child,
    pid: u32,
}

/// The child processes. Their standard input is a pipe from here: when this process goes, however it
/// goes, they go with it.
pub(super) struct Children {
    running: BTreeMap<Which, Running>,
    commands: BTreeMap<Which, ChildCommand>,
    /// This program, where it stood at the start: a newer one in its place is what starts next.
    program: PathBuf,
    ready: bool,
}

struct ChildCommand {
    arguments: Vec<OsString>,
    log: PathBuf,
    /// Where it can be connected to when it serves.
    address: String,
}

impl ChildCommand {
    fn node(layout: &Layout, id: u64) -> Self {
        let (rpc, admin) = (layout.rpc(id), layout.admin(id));
        let config = layout.node_config_path(id).into_os_string();
        let words = ["--rpc-listen", &rpc, "--admin-listen", &admin].map(OsString::from);
        let arguments = ["node".into(), "--config".into(), config].into_iter().chain(words);
        Self { arguments: arguments.collect(), log: layout.node_dir(id).join("log"), address: rpc }
    }

    fn gateway(layout: &Layout) -> Self {
        let (listen, admin) = (layout.gateway(), layout.gateway_admin());
        let config = layout.gateway_config_path().into_os_string();
        let words = ["--listen", &listen, "--admin-listen", &admin].map(OsString::from);
        let arguments = ["gateway".into(), "--config".into(), config].into_iter().chain(words);
        Self {
            arguments: arguments.collect(),
            log: layout.gateway_dir().join("log"),
            address: listen,
        }
    }

    fn device_proxy(layout: &Layout) -> Self {
        let (listen, admin) = (layout.device_proxy(), layout.device_proxy_admin());
        let config = layout.device_proxy_config_path().into_os_string();
        let words = ["--listen", &listen, "--admin-listen", &admin].map(OsString::from);
        let first = ["device-proxy".into(), "--serve".into(), "--config".into(), config];
        Self {
            arguments: first.into_iter().chain(words).collect(),
            log: layout.device_proxy_dir().join("log"),
            address: listen,
        }
    }

    fn mcf(layout: &Layout) -> Option<Self> {
        let address = layout.mcf_address()?;
        let (dir, key) = (layout.mcf_dir(), layout.mcf_key_path());
        let arguments = [
            "mcf-sim".into(),
            "--dir".into(),
            dir.clone().into_os_string(),
            "--listen".into(),
            address.clone().into(),
            "--key-file".into(),
            key.into_os_string(),
        ];
        Some(Self { arguments: arguments.into(), log: dir.join("log"), address })
    }

    fn spawn(&self, program: &PathBuf) -> Result<Running> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let child = Command::new(program)
            .args(&self.arguments)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // An interrupt from the terminal is this process's to pass on, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("starting a process")?;
        let pid = child.id().context("a process ended at once")?;
        Ok(Running { child, pid })
    }
}

impl Children {
    /// Starts the nodes.
    pub(super) fn start(layout: &Layout) -> Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let (running, commands) = (BTreeMap::new(), BTreeMap::new());
        let mut children = Self { running, commands, program, ready: false };
        for id in 1..=layout.nodes() {
            children.add(Which::Node(id), ChildCommand::node(layout, id))?;
        }
        Ok(children)
    }

    /// Starts the gateway and the device proxy.
    pub(super) fn start_gateways(&mut self, layout: &Layout) -> Result<()> {
        if let Some(mcf) = ChildCommand::mcf(layout) {
            self.add(Which::Mcf, mcf)?;
        }
        self.add(Which::Gateway, ChildCommand::gateway(layout))?;
        self.add(Which::DeviceProxy, ChildCommand::device_proxy(layout))
    }

    fn add(&mut self, which: Which, command: ChildCommand) -> Result<()> {
        self.running.insert(which, command.spawn(&self.program)?);
        self.commands.insert(which, command);
        Ok(())
    }

    /// Ids and process ids of the nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u64, u32)> {
        self.running.iter().filter_map(|(which, running)| match which {
            Which::Node(id) => Some((*id, running.pid)),
            Which::DeviceProxy | Which::Gateway | Which::Mcf => None,
        })
    }

    /// The process id of the gateway, once it was started.
    pub(super) fn gateway_pid(&self) -> Option<u32> {
        self.running.get(&Which::Gateway).map(|running| running.pid)
    }

    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    pub(super) fn are_ready(&self) -> bool {
        self.ready
    }

    /// Waits until every node listens.
    pub(super) async fn wait_until_nodes_listen(&mut self) -> Result<()> {
        let until = Instant::now() + START_WAIT;
        for (which, running) in &mut self.running {
            let command = &self.commands[which];
            while TcpStream::connect(&command.address).await.is_err() {
                running.must_live(*which, command, until, "does not listen")?;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Waits until the gateway and the device proxy know the directory.
    pub(super) async fn wait_until_the_gateways_are_ready(
        &mut self,
        layout: &Layout,
    ) -> Result<()> {
        let until = Instant::now() + START_WAIT;
        for (which, admin) in [
            (Which::Gateway, layout.gateway_admin()),
            (Which::DeviceProxy, layout.device_proxy_admin()),
        ] {
            let running = self.running.get_mut(&which).context("it was started")?;
            while !is_ready(&admin).await {
                let command = &self.commands[&which];
                running.must_live(which, command, until, "does not become ready")?;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Starts processes again that end. Never returns but with an error.
    pub(super) async fn keep_running(&mut self) -> Result<()> {
        let mut again: BTreeMap<Which, Instant> = BTreeMap::new();
        loop {
            for (which, running) in &mut self.running {
                if again.contains_key(which) {
                    continue;
                }
                if let Some(status) = running.child.try_wait()? {
                    eprintln!("{which} ended ({status}); it comes back in {RESTART_AFTER:?}");
                    again.insert(*which, Instant::now() + RESTART_AFTER);
                }
            }
            let due: Vec<Which> =
                again.iter().filter(|(_, at)| **at <= Instant::now()).map(|(id, _)| *id).collect();
            for which in due {
                let started = self.commands[&which].spawn(&self.program)?;
                eprintln!("{which} is back, pid {}", started.pid);
                self.running.insert(which, started);
                again.remove(&which);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Asks every process to stop, those that clients talk with first, and sees to it.
    pub(super) async fn stop(mut self) -> Result<()> {
        let mut forced = Vec::new();
        for which in [Which::DeviceProxy, Which::Gateway, Which::Mcf] {
            let Some(mut first) = self.running.remove(&which) else { continue };
            drop(first.child.stdin.take());
            forced.extend(first.see_it_end(which).await?);
        }
        for running in self.running.values_mut() {
            // The end of its standard input asks a node to stop.
            drop(running.child.stdin.take());
        }
        for (which, running) in &mut self.running {
            forced.extend(running.see_it_end(*which).await?);
        }
        if forced.is_empty() {
            return Ok(());
        }
        bail!("{} did not stop in {STOP_WAIT:?} and was killed", forced.join(" and "))
    }
}

impl Running {
    /// An error when it has ended, or is late.
    fn must_live(
        &mut self,
        which: Which,
        command: &ChildCommand,
        until: Instant,
        late: &str,
    ) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let last = std::fs::read_to_string(&command.log).unwrap_or_default();
            let last = last.lines().last().unwrap_or("it logged nothing").to_owned();
            bail!("{which} ended with {status}: {last}");
        }
        if Instant::now() > until {
            bail!("{which} {late}; see {}", command.log.display());
        }
        Ok(())
    }

    /// Waits for its end, or makes one; its name in that case.
    async fn see_it_end(&mut self, which: Which) -> Result<Option<String>> {
        match tokio::time::timeout(STOP_WAIT, self.child.wait()).await {
            Ok(ended) => {
                ended.with_context(|| format!("waiting for {which}"))?;
                Ok(None)
            }
            Err(_) => {
                self.child.kill().await.with_context(|| format!("killing {which}"))?;
                Ok(Some(which.to_string()))
            }
        }
    }
}

/// Whether an admin listener says so.
async fn is_ready(admin: &str) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head.ends_with(b" 200"))
    };
    matches!(tokio::time::timeout(ASK_WAIT, asking).await, Ok(Ok(true)))
}
