//! The files of a demonstration cluster: certificates, keys, configurations.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fiscus_device_proxy::config::{OfflineSection, ProxyConfig};
use fiscus_gateway::config::{GatewayConfig, Tier, WebhooksSection};
use fiscus_gateway::uploads::config::UploadsSection;
use fiscus_ledger::base64::encode_standard;
use fiscus_node::config::{NodeConfig, SignerSection, TlsSection};
use fiscus_node::signer::{KeyFile, Passphrase};
use fiscus_proto::tls::Role;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::samples::TERMINAL;
use crate::admin::cluster::{PROFILE, Profile};
use crate::admin::files::Pair;
use crate::admin::keys::cluster_keys;
use crate::pki::{Subject, issue, make_ca};

/// The name of every demonstration cluster.
pub(super) const CLUSTER: &str = "demo.fiscus.example";
/// How the receipts' QR codes name the public verification.
pub(super) const VERIFY_HOST: &str = "verify.example.cd";
/// The fiscal device that the device proxy is.
pub(super) const DEVICE: &str = "def-gombe-1";
const REMEMBERED: &str = "demo.toml";
/// Requests a minute of the demonstration's key: more than this machine can do, so that it can be measured.
const KEY_PER_MINUTE: u32 = 10_000_000;
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
    /// Public and admin port of the gateway; a directory that an older program made has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<(u16, u16)>,
    /// The device's and the admin port of the device proxy, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_proxy: Option<(u16, u16)>,
    /// The port of the tax authority's stand-in; none in a directory in which nothing is uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mcf: Option<u16>,
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    ports: Vec<(u16, u16)>,
    gateway: (u16, u16),
    device_proxy: (u16, u16),
    mcf: Option<u16>,
}

impl Layout {
    /// The cluster that a directory holds, or a new one.
    pub(super) fn open_or_make(
        dir: &Path,
        nodes: u64,
        port_base: Option<u16>,
        regions: &[String],
        uploads: bool,
    ) -> Result<Self> {
        let remembered = dir.join(REMEMBERED);
        if remembered.exists() {
            let known: Remembered = toml::from_str(&read(&remembered)?).context(REMEMBERED)?;
            return Self::open(dir, known, port_base);
        }
        let empty = std::fs::read_dir(dir).context("the directory")?.next().is_none();
        ensure!(empty, "{} is neither empty nor a demonstration's", dir.display());
        let mut ports = ports(usize::try_from(nodes)? + 2 + usize::from(uploads), port_base)?;
        let mcf = if uploads { ports.pop().map(|(port, _)| port) } else { None };
        let device_proxy = ports.pop().context("there are ports for the device proxy")?;
        let gateway = ports.pop().context("there are ports for the gateway")?;
        let layout = Self { dir: dir.to_owned(), ports, gateway, device_proxy, mcf };
        layout.make(regions)?;
        layout.make_mcf()?;
        layout.make_gateway()?;
        layout.make_device_proxy()?;
        // Last: a directory without it was never complete.
        layout.remember()?;
        Ok(layout)
    }

    fn open(dir: &Path, known: Remembered, port_base: Option<u16>) -> Result<Self> {
        if let (Some(base), Some((first, _))) = (port_base, known.ports.first()) {
            ensure!(
                base == *first,
                "the cluster in {} has its ports from {first} on, and its members know each other by \
                 them; leave --port-base away",
                dir.display()
            );
        }
        let mut free = ports(2, None)?;
        let mut port = || free.pop().context("there are ports for what is new");
        let (has_gateway, has_proxy) = (known.gateway.is_some(), known.device_proxy.is_some());
        let layout = Self {
            dir: dir.to_owned(),
            ports: known.ports,
            gateway: known.gateway.map_or_else(&mut port, Ok)?,
            device_proxy: known.device_proxy.map_or_else(&mut port, Ok)?,
            mcf: known.mcf,
        };
        if !has_gateway {
            let port = layout.gateway.0;
            eprintln!("an older program made this cluster: it gets a gateway, on port {port}");
            layout.make_gateway()?;
        }
        if !has_proxy {
            let port = layout.device_proxy.0;
            eprintln!("an older program made this cluster: it gets a device proxy, on port {port}");
            layout.make_device_proxy()?;
        }
        layout.remember()?;
        Ok(layout)
    }

    fn remember(&self) -> Result<()> {
        let remembered = Remembered {
            ports: self.ports.clone(),
            gateway: Some(self.gateway),
            device_proxy: Some(self.device_proxy),
            mcf: self.mcf,
        };
        write(&self.dir.join(REMEMBERED), &toml::to_string(&remembered)?)
    }

    /// The gateway's directory and configuration.
    fn make_gateway(&self) -> Result<()> {
        let pki = self.dir.join("pki");
        let mut config = GatewayConfig::minimal(self.rpc_addresses());
        config.listen = local(self.gateway.0);
        config.admin_listen = local(self.gateway.1);
        VERIFY_HOST.clone_into(&mut config.verify_host);
        config.cluster.ca = Some(pki.join("ca.pem"));
        config.cluster.cert = Some(pki.join("gateway.pem"));
        config.cluster.key = Some(pki.join("gateway.key"));
        config.limits.linger_ms = 0;
        // Whoever tries it out alone on this machine is not to be slowed down.
        config.rates.enterprise = Tier { per_minute: KEY_PER_MINUTE, per_day: 0 };
        config.webhooks = Some(self.webhooks()?);
        config.uploads = self.uploads();
        config.check()?;
        std::fs::create_dir_all(self.gateway_dir()).context("the gateway's directory")?;
        write(&self.gateway_dir().join("url"), &format!("http://{}\n", self.gateway()))?;
        write(&self.gateway_config_path(), &config.to_toml())
    }

    /// Endpoints on this machine, over plain HTTP, for whoever tries them out.
    fn webhooks(&self) -> Result<WebhooksSection> {
        let path = self.dir.join("webhook.key");
        if !path.exists() {
            let mut key = [0; 32];
            SystemRandom::new().fill(&mut key).ok().context("the system has no randomness")?;
            write_secret(&path, fiscus_ledger::hash::hex(&key).as_bytes())?;
        }
        let mut webhooks = WebhooksSection::new(path);
        webhooks.plain_http = true;
        webhooks.allow =
            ["127.0.0.0/8", "::1/128"].iter().filter_map(|it| it.parse().ok()).collect();
        Ok(webhooks)
    }

    /// The directory and the key of the tax authority's stand-in.
    fn make_mcf(&self) -> Result<()> {
        let Some(url) = self.mcf_url() else { return Ok(()) };
        std::fs::create_dir_all(self.mcf_dir()).context("the control module's directory")?;
        let mut key = [0; 24];
        SystemRandom::new().fill(&mut key).ok().context("the system has no randomness")?;
        write_secret(&self.mcf_key_path(), fiscus_ledger::hash::hex(&key).as_bytes())?;
        write(&self.mcf_dir().join("url"), &format!("{url}\n"))
    }

    /// Uploads to the stand-in, on this machine.
    fn uploads(&self) -> Option<UploadsSection> {
        let mut uploads = UploadsSection::new(format!("{}/v1/batches", self.mcf_url()?));
        uploads.key_file = Some(self.mcf_key_path());
        uploads.plain_http = true;
        uploads.allow =
            ["127.0.0.0/8", "::1/128"].iter().filter_map(|it| it.parse().ok()).collect();
        Some(uploads)
    }

    /// The device proxy's directory, certificate and configuration.
    fn make_device_proxy(&self) -> Result<()> {
        let pki = self.dir.join("pki");
        let pair = Pair::new(&pki, "device-proxy");
        if pair.existing().is_none() {
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            let (role, name) = (Role::Proxy, "device-proxy");
            let subject = Subject { role, node: None, name, hosts: &[], days: DAYS };
            pair.write(&issue(&Pair::new(&pki, "ca").read()?, &subject, now_s)?)?;
        }
        let mut config = ProxyConfig::minimal(self.rpc_addresses(), DEVICE);
        config.admin_listen = local(self.device_proxy.1);
        config.devices[0].listen = Some(local(self.device_proxy.0));
        VERIFY_HOST.clone_into(&mut config.verify_host);
        config.cluster.ca = Some(pki.join("ca.pem"));
        config.cluster.cert = Some(pki.join("device-proxy.pem"));
        config.cluster.key = Some(pki.join("device-proxy.key"));
        config.check()?;
        std::fs::create_dir_all(self.device_proxy_dir()).context("the device proxy's directory")?;
        write(&self.device_proxy_dir().join("addr"), &format!("{}\n", self.device_proxy()))?;
        write(&self.device_proxy_config_path(), &config.to_toml())
    }

    /// Lets the device sell while the cluster is away.
    pub(super) fn sell_offline(&self) -> Result<()> {
        let mut config = ProxyConfig::load(&self.device_proxy_config_path())?;
        let secret_path = self.device_proxy_dir().join("till-passphrase");
        if !secret_path.exists() {
            let mut secret = [0; 24];
            ensure!(SystemRandom::new().fill(&mut secret).is_ok(), "there is no randomness");
            write_secret(&secret_path, encode_standard(&secret).as_bytes())?;
        }
        let dir =
            std::path::absolute(self.device_proxy_dir()).context("the demonstration's place")?;
        let (till, secret) = (dir.join("till"), dir.join("till-passphrase"));
        let mut offline = OfflineSection::minimal(till, secret, vec![TERMINAL.to_owned()]);
        (offline.numbers, offline.low_numbers) = (100, 20);
        config.devices[0].offline = Some(offline);
        config.check()?;
        write(&self.device_proxy_config_path(), &config.to_toml())
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
        write(&self.dir.join(PROFILE), &toml::to_string(&profile)?)
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
        local(port(&self.ports[at]))
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

    pub(super) fn gateway_dir(&self) -> PathBuf {
        self.dir.join("gateway")
    }

    pub(super) fn gateway_config_path(&self) -> PathBuf {
        self.gateway_dir().join("gateway.toml")
    }

    pub(super) fn gateway(&self) -> String {
        local(self.gateway.0).to_string()
    }

    pub(super) fn gateway_admin(&self) -> String {
        local(self.gateway.1).to_string()
    }

    pub(super) fn device_proxy_dir(&self) -> PathBuf {
        self.dir.join("device-proxy")
    }

    pub(super) fn device_proxy_config_path(&self) -> PathBuf {
        self.device_proxy_dir().join("device-proxy.toml")
    }

    /// Where a point of sale reaches the device.
    pub(super) fn device_proxy(&self) -> String {
        local(self.device_proxy.0).to_string()
    }

    pub(super) fn device_proxy_admin(&self) -> String {
        local(self.device_proxy.1).to_string()
    }

    /// A sale to try the device with: the canonical bytes that the protocol asks for.
    pub(super) fn device_sale_path(&self) -> PathBuf {
        self.device_proxy_dir().join("sale.json")
    }

    /// Where the tax authority's stand-in is; nothing when nothing is uploaded.
    pub(super) fn mcf_url(&self) -> Option<String> {
        self.mcf_address().map(|address| format!("http://{address}"))
    }

    pub(super) fn mcf_address(&self) -> Option<String> {
        self.mcf.map(|port| local(port).to_string())
    }

    pub(super) fn mcf_dir(&self) -> PathBuf {
        self.dir.join("mcf")
    }

    pub(super) fn mcf_key_path(&self) -> PathBuf {
        self.mcf_dir().join("key")
    }

    /// Where the key of the demonstration's owner is kept.
    pub(super) fn api_key_path(&self) -> PathBuf {
        self.dir.join("api-key")
    }

    /// A sale to try the API with.
    pub(super) fn sale_path(&self) -> PathBuf {
        self.dir.join("sale.json")
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

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Two ports a process: the ones asked for, or free ones.
fn ports(processes: usize, base: Option<u16>) -> Result<Vec<(u16, u16)>> {
    if let Some(base) = base {
        let last = u64::from(base) + 2 * processes as u64 - 1;
        ensure!(last <= u64::from(u16::MAX), "--port-base {base} leaves no room for the ports");
        let first = |at: usize| base + 2 * u16::try_from(at).expect("there are few processes");
        return Ok((0..processes).map(|at| (first(at), first(at) + 1)).collect());
    }
    // All are held until all are known, so that none comes twice.
    let held: Vec<TcpListener> = (0..processes * 2)
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

pub(super) fn write_secret(path: &Path, secret: &[u8]) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| path.display().to_string())?;
    std::io::Write::write_all(&mut file, secret).with_context(|| path.display().to_string())
}
