//! What a proxy is told: one file, a few flags, checked before any socket opens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fiscus_ledger::facts::is_identifier;
use fiscus_ledger::seal::is_series_prefix;
use fiscus_proto::tls::TlsFiles;
use serde::{Deserialize, Serialize};

pub use crate::offline::OfflineSection;

/// Everything about a proxy. Every limit has its unit in its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Health and metrics over plain HTTP: only on a loopback address.
    pub admin_listen: SocketAddr,
    /// How receipts' QR codes name the host of the public verification, as in `verify.example.cd`.
    pub verify_host: String,
    /// Devices on addresses that others reach: the protocol has neither passwords nor encryption.
    #[serde(default)]
    pub insecure: bool,
    /// The log's level filter.
    #[serde(default = "default_log")]
    pub log: String,
    /// The cluster behind it.
    pub cluster: ClusterSection,
    /// Bounds.
    #[serde(default)]
    pub limits: LimitsSection,
    /// The devices that it is.
    pub devices: Vec<DeviceSection>,
}

fn default_log() -> String {
    "info".to_owned()
}

/// The cluster behind a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// Nodes as `host:port`; any of them tells of the others.
    pub nodes: Vec<String>,
    /// The CA of the cluster; with `cert` and `key`, or none of the three on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate with the role `proxy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Nodes of this region are read from first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl ClusterSection {
    /// The files of mutual TLS, when there are any.
    #[must_use]
    pub fn files(&self) -> Option<TlsFiles> {
        match (&self.ca, &self.cert, &self.key) {
            (Some(ca), Some(cert), Some(key)) => {
                Some(TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() })
            }
            _ => None,
        }
    }
}

/// One device, and where hosts reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSection {
    /// As an operator has registered it.
    pub device_id: String,
    /// For hosts that tunnel the serial line through TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Serial devices and pseudo-terminals, each a host; they may come and go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serial: Vec<PathBuf>,
    /// How it sells while the cluster is away; not at all when this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<OfflineSection>,
    /// The real device behind the proxy; without it the cluster is the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<AttachSection>,
}

/// Where a real device is: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachSection {
    /// Its port, under a path that stays the same, as `/dev/serial/by-id/…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<PathBuf>,
    /// Where its line is tunnelled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<SocketAddr>,
    /// A directory for invoices that the device was given to seal and the ledger does not have: needed for a device that
    /// does not tell invoices in `QRY|LOG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoices_dir: Option<PathBuf>,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Hosts of one device over TCP; more are told that it is busy.
    pub hosts_max: usize,
    /// Commands of a host that wait behind the one that is done.
    pub queue_max: usize,
    /// Nonces that a host may hold.
    pub nonces_max: usize,
    /// Bytes of the invoices behind them.
    pub prepared_bytes_max: usize,
    /// A host takes its answer within this time, or is let go.
    pub write_timeout_ms: u64,
    /// One node has this long to answer before another is asked.
    pub attempt_timeout_ms: u64,
    /// How long a stopping proxy lets commands come to their end.
    pub drain_ms: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            hosts_max: 64,
            queue_max: 16,
            nonces_max: 8,
            prepared_bytes_max: 4 << 20,
            write_timeout_ms: 10_000,
            attempt_timeout_ms: 1_500,
            drain_ms: 10_000,
        }
    }
}

/// Why a proxy cannot be run so.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not a configuration.
    #[error("the configuration {path} is wrong: {detail}")]
    Syntax {
        /// Where.
        path: PathBuf,
        /// What is wrong, with its line.
        detail: String,
    },
    /// A value cannot be.
    #[error("{field} {rule}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it must be.
        rule: String,
    },
}

impl ProxyConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// A configuration with every default and one device, on free ports of the loopback address.
    #[must_use]
    pub fn minimal(nodes: Vec<String>, device_id: &str) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let device = DeviceSection {
            device_id: device_id.to_owned(),
            listen: Some(free),
            serial: Vec::new(),
            attach: None,
            offline: None,
        };
        Self {
            admin_listen: free,
            verify_host: "verify.example.cd".to_owned(),
            insecure: false,
            log: default_log(),
            cluster: ClusterSection { nodes, ca: None, cert: None, key: None, region: None },
            limits: LimitsSection::default(),
            devices: vec![device],
        }
    }

    /// The configuration as a file; it holds no secret, only where secrets are.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has no value that TOML lacks")
    }

    /// Checks every value.
    pub fn check(&self) -> Result<(), ConfigError> {
        rule(
            self.admin_listen.ip().is_loopback(),
            "admin_listen",
            "must be a loopback address: it is plain HTTP",
        )?;
        let host = &self.verify_host;
        rule(
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b)),
            "verify_host",
            "must be a host name, with a port if need be",
        )?;
        let cluster = &self.cluster;
        rule(
            !cluster.nodes.is_empty(),
            "cluster.nodes",
            "must name at least one node as host:port",
        )?;
        let files = [&cluster.ca, &cluster.cert, &cluster.key];
        let given = files.iter().filter(|file| file.is_some()).count();
        rule(
            given == 0 || given == 3,
            "cluster",
            "needs ca, cert and key together, or none of them",
        )?;
        self.check_devices()?;
        self.check_limits()
    }

    fn check_devices(&self) -> Result<(), ConfigError> {
        rule(!self.devices.is_empty(), "devices", "must name at least one device")?;
        let mut ids = BTreeSet::new();
        let (mut paths, mut dirs) = (BTreeSet::new(), BTreeSet::new());
        for device in &self.devices {
            rule(
                is_identifier(&device.device_id) && ids.insert(&device.device_id),
                "devices.device_id",
                "must have 1 to 64 printable bytes, and be named once",
            )?;
            rule(
                device.listen.is_some() || !device.serial.is_empty(),
                "devices",
                "need listen or serial, or both: nobody could reach the device",
            )?;
            rule(
                self.insecure || device.listen.is_none_or(|address| address.ip().is_loopback()),
                "devices.listen",
                "must be a loopback address, or insecure = true: the protocol protects nothing",
            )?;
            rule(
                device.serial.iter().all(|path| path.is_absolute() && paths.insert(path)),
                "devices.serial",
                "must be absolute paths, each named once",
            )?;
            let offline = device.offline.as_ref();
            if let Some((field, must)) = offline.and_then(OfflineSection::wrong) {
                return rule(false, field, must);
            }
            rule(
                offline.is_none_or(|offline| dirs.insert(&offline.dir)),
                "devices.offline.dir",
                "must be another one for each device",
            )?;
            rule(
                device.attach.is_none() || offline.is_none(),
                "devices.offline",
                "is not for a real device: it goes on by itself",
            )?;
            self.check_attach(device, &mut paths, &mut dirs)?;
        }
        Ok(())
    }

    fn check_attach<'c>(
        &self,
        device: &'c DeviceSection,
        paths: &mut BTreeSet<&'c PathBuf>,
        dirs: &mut BTreeSet<&'c PathBuf>,
    ) -> Result<(), ConfigError> {
        let Some(attach) = &device.attach else { return Ok(()) };
        rule(
            attach.serial.is_some() != attach.tcp.is_some(),
            "devices.attach",
            "must have serial or tcp, and not both",
        )?;
        rule(
            attach.serial.iter().all(|path| path.is_absolute() && paths.insert(path)),
            "devices.attach.serial",
            "must be an absolute path that is named nowhere else",
        )?;
        rule(
            attach.invoices_dir.as_ref().is_none_or(|dir| dir.is_absolute() && dirs.insert(dir)),
            "devices.attach.invoices_dir",
            "must be an absolute path, another one for each device",
        )?;
        rule(
            is_series_prefix(&device.device_id),
            "devices.device_id",
            "of a real device must be capital letters and digits in parts with dashes: it stands before its numbers",
        )?;
        rule(
            self.insecure || attach.tcp.is_none_or(|address| address.ip().is_loopback()),
            "devices.attach.tcp",
            "must be a loopback address, or insecure = true: the protocol protects nothing",
        )
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let few = 1..=65_536;
        rule(few.contains(&limits.hosts_max), "limits.hosts_max", "must be 1 to 65,536")?;
        rule((1..=1_024).contains(&limits.queue_max), "limits.queue_max", "must be 1 to 1,024")?;
        rule((1..=1_024).contains(&limits.nonces_max), "limits.nonces_max", "must be 1 to 1,024")?;
        rule(
            (1 << 20..=1 << 30).contains(&limits.prepared_bytes_max),
            "limits.prepared_bytes_max",
            "must be 1 MiB to 1 GiB",
        )?;
        rule(
            (100..=60_000).contains(&limits.write_timeout_ms),
            "limits.write_timeout_ms",
            "must be 100 to 60,000",
        )?;
        rule(
            (100..=4_000).contains(&limits.attempt_timeout_ms),
            "limits.attempt_timeout_ms",
            "must be 100 to 4,000: commands are answered within 5 seconds",
        )?;
        rule(limits.drain_ms <= 600_000, "limits.drain_ms", "must be at most 600,000")
    }
}

fn rule(holds: bool, field: &'static str, rule: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value { field, rule: rule.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ProxyConfig {
        ProxyConfig::minimal(vec!["127.0.0.1:17400".to_owned()], "def-1")
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let mut config = config();
        config.devices[0].serial.push("/dev/ttyGS0".into());
        let read: ProxyConfig = toml::from_str(&config.to_toml()).expect("it reads");
        assert_eq!(read, config);
        config.check().expect("the defaults are sound");
    }

    #[test]
    fn each_wrong_value_is_named() {
        type Change = fn(&mut ProxyConfig);
        let far = SocketAddr::from(([0, 0, 0, 0], 80));
        assert!(!far.ip().is_loopback());
        let change: [(&str, Change); 13] = [
            ("admin_listen", |c| c.admin_listen = SocketAddr::from(([0, 0, 0, 0], 80))),
            ("verify_host", |c| c.verify_host = "a b".to_owned()),
            ("cluster.nodes", |c| c.cluster.nodes.clear()),
            ("cluster", |c| c.cluster.ca = Some("ca.pem".into())),
            ("devices", |c| c.devices.clear()),
            ("devices", |c| c.devices[0].listen = None),
            ("devices.device_id", |c| c.devices.push(c.devices[0].clone())),
            ("devices.listen", |c| {
                c.devices[0].listen = Some(SocketAddr::from(([0, 0, 0, 0], 80)));
            }),
            ("devices.serial", |c| c.devices[0].serial.push("ttyGS0".into())),
            ("devices.attach.invoices_dir", |c| {
                c.devices[0].attach = Some(AttachSection {
                    serial: Some("/dev/ttyUSB0".into()),
                    tcp: None,
                    invoices_dir: Some("invoices".into()),
                });
            }),
            ("limits.hosts_max", |c| c.limits.hosts_max = 0),
            ("limits.prepared_bytes_max", |c| c.limits.prepared_bytes_max = 0),
            ("limits.attempt_timeout_ms", |c| c.limits.attempt_timeout_ms = 5_000),
        ];
        for (field, change) in change {
            let mut config = config();
            change(&mut config);
            match config.check() {
                Err(ConfigError::Value { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
