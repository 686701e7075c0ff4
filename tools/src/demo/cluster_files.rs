//! The files of a demonstration cluster: certificates, keys, configurations.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fiscus_ledger::base64::encode_standard;
use fiscus_node::config::{NodeConfig, SignerSection, TlsSection};
use fiscus_node::signer::{KeyFile, Passphrase};
use fiscus_proto::tls::Role;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::admin::cluster::{PROFILE, Profile};
use crate::admin::files::Pair;
use crate::admin::keys::cluster_keys;
use crate::pki::{Subject, issue, make_ca};

/// The name of every demonstration cluster.
pub(super) const CLUSTER: &str = "demo.fiscus.example";
const DATA_GROUPS: u64 = 1;
const DAYS: u32 = 365;
/// Longer than any certificate, so that more of them can be issued.
const CA_DAYS: u32 = 3_650;
/// A demonstration must also run where there is little room.
const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// What a demonstration directory remembers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    /// RPC and admin port of each node.
    ports: Vec<(u16, u16)>,
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    ports: Vec<(u16, u16)>,
}

impl Layout {
    /// The cluster that a directory holds, or a new one.
    pub(super) fn open_or_make(
        dir: &Path,
        nodes: u64,
        port_base: Option<u16>,
        regions: &[String],
    ) -> Result<Self> {
        let remembered = dir.join("demo.toml");
        let made = remembered.exists();
        let ports = if made {
            let text = read(&remembered)?;
            let known: Remembered = toml::from_str(&text).context("demo.toml")?;
            known.ports
        } else {
            let count = usize::try_from(nodes)?;
            let empty = std::fs::read_dir(dir).context("the directory")?.next().is_none();
            ensure!(empty, "{} is neither empty nor a demonstration's", dir.display());
            ports(count, port_base)?
        };
        if let (true, Some(base), Some((first, _))) = (made, port_base, ports.first()) {
            ensure!(
                base == *first,
                "the cluster in {} has its ports from {first} on, and its members know each other by \
                 them; leave --port-base away",
                dir.display()
            );
        }
        let layout = Self { dir: dir.to_owned(), ports };
        if !made {
            layout.make(regions)?;
        }
        Ok(layout)
    }

    fn make(&self, regions: &[String]) -> Result<()> {
        let configs: Vec<NodeConfig> = (1..=self.nodes())
            .zip(regions.iter().cycle().map(Some).chain(std::iter::repeat(None)))
            .map(|(id, region)| self.node_config(id, region))
            .collect();
        // A region that no node would take is found before anything is made.
        configs.iter().try_for_each(NodeConfig::check)?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let pki = self.dir.join("pki");
        let ca = make_ca(CLUSTER, CA_DAYS, now_s)?;
        Pair::new(&pki, "ca").write(&ca)?;
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut names: Vec<(String, Role, Option<u64>)> =
            (1..=self.nodes()).map(|id| (format!("n{id}"), Role::Node, Some(id))).collect();
        names.push(("admin".to_owned(), Role::Admin, None));
        names.push(("gateway".to_owned(), Role::Gateway, None));
        for (name, role, node) in &names {
            let hosts: &[String] = if *role == Role::Node { &hosts } else { &[] };
            let subject = Subject { role: *role, node: *node, name, hosts, days: DAYS };
            Pair::new(&pki, name).write(&issue(&ca, &subject, now_s)?)?;
        }
        let mut secret = [0; 24];
        ensure!(SystemRandom::new().fill(&mut secret).is_ok(), "there is no randomness");
        let secret = encode_standard(&secret);
        write_secret(&self.dir.join("passphrase"), secret.as_bytes())?;
        let keys = cluster_keys("demo", DATA_GROUPS)?;
        KeyFile::create(&self.dir.join("keys"), &Passphrase::new(secret.as_bytes()), keys)?;
        for config in &configs {
            std::fs::create_dir_all(self.node_dir(config.node)).context("a node's directory")?;
            write(&self.node_config_path(config.node), &config.to_toml())?;
        }
        let profile = Profile {
            nodes: self.rpc_addresses(),
            ca: Some("pki/ca.pem".into()),
            cert: Some("pki/admin.pem".into()),
            key: Some("pki/admin.key".into()),
        };
        write(&self.dir.join(PROFILE), &toml::to_string(&profile)?)?;
        // Last: a directory without it was never complete.
        let remembered = Remembered { ports: self.ports.clone() };
        write(&self.dir.join("demo.toml"), &toml::to_string(&remembered)?)
    }

    fn node_config(&self, id: u64, region: Option<&String>) -> NodeConfig {
        let pki = self.dir.join("pki");
        let mut config = NodeConfig::minimal(CLUSTER, id, self.node_dir(id).join("data"));
        if let Some(region) = region {
            config.region.clone_from(region);
        }
        config.rpc_listen = self.address(id, |ports| ports.0);
        config.admin_listen = self.address(id, |ports| ports.1);
        config.tls = Some(TlsSection {
            ca: pki.join("ca.pem"),
            cert: pki.join(format!("n{id}.pem")),
            key: pki.join(format!("n{id}.key")),
        });
        config.signer = SignerSection::KeyFile {
            path: self.dir.join("keys"),
            passphrase_file: Some(self.dir.join("passphrase")),
            passphrase_env: None,
        };
        config.limits.disk_reserve_bytes = DISK_RESERVE_BYTES;
        config
    }

    fn address(&self, id: u64, port: impl Fn(&(u16, u16)) -> u16) -> SocketAddr {
        let at = usize::try_from(id - 1).expect("there are few nodes");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port(&self.ports[at])))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn nodes(&self) -> u64 {
        self.ports.len() as u64
    }

    pub(super) fn data_groups(&self) -> u64 {
        DATA_GROUPS
    }

    pub(super) fn node_dir(&self, id: u64) -> PathBuf {
        self.dir.join(format!("n{id}"))
    }

    pub(super) fn node_config_path(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("node.toml")
    }

    pub(super) fn rpc(&self, id: u64) -> String {
        self.address(id, |ports| ports.0).to_string()
    }

    pub(super) fn admin(&self, id: u64) -> String {
        self.address(id, |ports| ports.1).to_string()
    }

    pub(super) fn rpc_addresses(&self) -> Vec<String> {
        (1..=self.nodes()).map(|id| self.rpc(id)).collect()
    }
}

/// Two ports a node: the ones asked for, or free ones.
fn ports(nodes: usize, base: Option<u16>) -> Result<Vec<(u16, u16)>> {
    if let Some(base) = base {
        let last = u64::from(base) + 2 * nodes as u64 - 1;
        ensure!(last <= u64::from(u16::MAX), "--port-base {base} leaves no room for {nodes} nodes");
        let first = |at: usize| base + 2 * u16::try_from(at).expect("there are few nodes");
        return Ok((0..nodes).map(|at| (first(at), first(at) + 1)).collect());
    }
    // All are held until all are known, so that none comes twice.
    let held: Vec<TcpListener> = (0..nodes * 2)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()
        .context("looking for free ports")?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    let ports: Vec<u16> = held.iter().map(port).collect::<Result<_>>()?;
    Ok(ports.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn write_secret(path: &Path, secret: &[u8]) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| path.display().to_string())?;
    std::io::Write::write_all(&mut file, secret).with_context(|| path.display().to_string())
}
