//! The network of a run: a bridge, and for each node a namespace with one end of a cable in it. What a node hears and is
//! heard of is decided by nftables in its own namespace.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What a node's namespace drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Everything that a node sends it.
    Deaf {
        /// Whom it does not hear.
        to: u64,
    },
    /// Everything that it sends a node.
    Mute {
        /// Who does not hear it.
        to: u64,
    },
    /// Everything, clients too.
    Alone,
    /// So many of a hundred packets that come.
    Loses {
        /// Of a hundred.
        percent: u8,
    },
}

/// Number of a fault, and the rules that hold while it lasts.
type Rules = BTreeMap<u64, Vec<(u64, Rule)>>;

/// The network of a run. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    bridge: String,
    /// The third byte of all addresses, and a part of all names.
    place: u8,
    nodes: Vec<u64>,
    rules: Rules,
}

impl Network {
    /// Lays a network that no other run has.
    pub(crate) fn lay(nodes: impl IntoIterator<Item = u64>) -> Result<Self> {
        for place in 1..=250 {
            let bridge = format!("fj{place}");
            // Whoever makes the bridge has the place.
            let made = Command::new("ip").args(["link", "add", &bridge, "type", "bridge"]).output();
            let made = made.context("running ip; tests/setup.sh installs it (iproute2)")?;
            if made.status.success() {
                let rules = Rules::new();
                let mut network = Self { bridge, place, nodes: Vec::new(), rules };
                network.prepare()?;
                for node in nodes {
                    network.add(node)?;
                }
                return Ok(network);
            }
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            ensure!(
                said.contains("exists"),
                "network namespaces and bridges are needed, and only root can make them: {said}"
            );
        }
        bail!(
            "250 networks of runs are there already: remove those that nobody uses with `ip link del fj1`"
        )
    }

    fn prepare(&self) -> Result<()> {
        let address = format!("{}/24", self.host());
        run("ip", &["addr", "add", &address, "dev", &self.bridge])?;
        run("ip", &["link", "set", &self.bridge, "up"])?;
        // A firewall of the machine has no say in what a bridge passes on.
        let own = format!("/sys/class/net/{}/bridge/nf_call_iptables", self.bridge);
        if std::path::Path::new(&own).exists() {
            std::fs::write(&own, "0").context(own)?;
        }
        Ok(())
    }

    /// Gives a node its namespace.
    pub(crate) fn add(&mut self, node: u64) -> Result<()> {
        let (space, cable) = (self.space(node), self.cable(node));
        run("ip", &["netns", "add", &space])?;
        self.nodes.push(node);
        run(
            "ip",
            &["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &space],
        )?;
        run("ip", &["link", "set", &cable, "master", &self.bridge, "up"])?;
        let address = format!("{}/24", self.address(node));
        run("ip", &["-n", &space, "addr", "add", &address, "dev", "eth0"])?;
        run("ip", &["-n", &space, "link", "set", "eth0", "up"])?;
        run("ip", &["-n", &space, "link", "set", "lo", "up"])?;
        self.write(node)
    }

    /// The address of whoever is not in a namespace: clients and gateways.
    pub(crate) fn host(&self) -> String {
        format!("10.213.{}.254", self.place)
    }

    pub(crate) fn address(&self, node: u64) -> String {
        format!("10.213.{}.{node}", self.place)
    }

    fn space(&self, node: u64) -> String {
        format!("fj{}n{node}", self.place)
    }

    fn cable(&self, node: u64) -> String {
        format!("fj{}v{node}", self.place)
    }

    /// A command that runs what is added to it in a node's namespace, as the same process.
    pub(crate) fn enter(&self, node: u64) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.space(node)));
        command
    }

    /// Lets a fault begin.
    pub(crate) fn impose(&mut self, fault: u64, rules: Vec<(u64, Rule)>) -> Result<()> {
        self.rules.insert(fault, rules);
        self.write_all()
    }

    /// Ends a fault.
    pub(crate) fn lift(&mut self, fault: u64) -> Result<()> {
        self.rules.remove(&fault);
        self.write_all()
    }

    /// Ends all of them.
    pub(crate) fn heal(&mut self) -> Result<()> {
        self.rules.clear();
        self.write_all()
    }

    fn write_all(&self) -> Result<()> {
        self.nodes.iter().try_for_each(|node| self.write(*node))
    }

    /// Replaces the rules of a namespace, all at once.
    fn write(&self, node: u64) -> Result<()> {
        let own = self.rules.values().flatten().filter(|(whose, _)| *whose == node);
        let (mut heard, mut sent) = (String::new(), String::new());
        for (_, rule) in own {
            match rule {
                Rule::Deaf { to } => {
                    heard += &format!("    ip saddr {} drop\n", self.address(*to));
                }
                Rule::Mute { to } => sent += &format!("    ip daddr {} drop\n", self.address(*to)),
                Rule::Alone => {
                    heard += "    iifname eth0 drop\n";
                    sent += "    oifname eth0 drop\n";
                }
                Rule::Loses { percent } => {
                    heard += &format!("    iifname eth0 numgen random mod 100 < {percent} drop\n");
                }
            }
        }
        let text = format!(
            "table inet jepsen\ndelete table inet jepsen\ntable inet jepsen {{\n  \
             chain heard {{\n    type filter hook input priority 0; policy accept;\n{heard}  }}\n  \
             chain sent {{\n    type filter hook output priority 0; policy accept;\n{sent}  }}\n}}\n"
        );
        let mut child = self
            .enter(node)
            .args(["nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(
                "running nsenter and nft; tests/setup.sh installs them (util-linux, nftables)",
            )?;
        child.stdin.take().context("it has an input")?.write_all(text.as_bytes())?;
        let ended = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "nft refuses the rules of node {node}: {said}");
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cables end with the namespaces.
        for node in &self.nodes {
            told("ip", &["netns", "del", &self.space(*node)]);
        }
        told("ip", &["link", "del", &self.bridge]);
    }
}

/// Runs a command that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let ended = ended.with_context(|| format!("running {program}"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program} {}: {said}", arguments.join(" "));
    Ok(())
}

/// Runs a command; a failure is only told.
pub(crate) fn told(program: &str, arguments: &[&str]) {
    if let Err(error) = run(program, arguments) {
        eprintln!("fiscus-jepsen: {error:#}");
    }
}
