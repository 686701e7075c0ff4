//! What a gateway is told: one file, a few flags, checked before any socket opens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fiscus_proto::tls::TlsFiles;
use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::uploads::config::UploadsSection;

/// Everything about a gateway. Every limit has its unit in its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where clients reach it.
    pub listen: SocketAddr,
    /// Health and metrics over plain HTTP: only on a loopback address.
    pub admin_listen: SocketAddr,
    /// How receipts' QR codes name the host of the public verification, as in `verify.example.cd`.
    pub verify_host: String,
    /// Hosts that older receipts name; they are verified like the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify_hosts_former: Vec<String>,
    /// Proxies that are believed when they name the address of whoever asks, in `X-Forwarded-For`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Network>,
    /// The certificate for clients; without it only a loopback address is served, or with `insecure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Plain HTTP on an address that others reach, as behind a proxy that ends TLS.
    #[serde(default)]
    pub insecure: bool,
    /// The cluster behind it.
    pub cluster: ClusterSection,
    /// Bounds.
    #[serde(default)]
    pub limits: LimitsSection,
    /// How often keys may ask.
    #[serde(default)]
    pub rates: RatesSection,
    /// Customers' endpoints; without it none are served here, and none can be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<WebhooksSection>,
    /// The tax authority; without it nothing is uploaded from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploads: Option<UploadsSection>,
    /// The log's level filter.
    #[serde(default = "default_log")]
    pub log: String,
}

fn default_log() -> String {
    "info".to_owned()
}

/// The files of TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The cluster behind a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// Nodes as `host:port`; any of them tells of the others.
    pub nodes: Vec<String>,
    /// The CA of the cluster; with `cert` and `key`, or none of the three on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate with the role `gateway`.
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

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Open connections.
    pub connections_max: usize,
    /// Requests that are served at once; more are told to come back.
    pub requests_max: usize,
    /// Of them, for one organisation.
    pub requests_per_organisation_max: usize,
    /// A request's head must be there within this time.
    pub head_timeout_ms: u64,
    /// A connection on which nothing is asked for so long is let go.
    pub idle_timeout_ms: u64,
    /// A request is answered within this time, whatever the cluster does.
    pub request_timeout_ms: u64,
    /// Bytes of an ordinary body.
    pub body_bytes_max: usize,
    /// Bytes of a batch.
    pub batch_bytes_max: usize,
    /// Batches that are served at once; each may hold its bytes in memory.
    pub batches_max: usize,
    /// Of them, for one organisation: one whose batches are slow leaves places for the others.
    pub batches_per_organisation_max: usize,
    /// A batch is answered within this time; what is not sealed by then is told so.
    pub batch_timeout_ms: u64,
    /// How long a stopping gateway, which is not ready any more, still takes connections, so that balancers hear
    /// of it first.
    pub linger_ms: u64,
    /// How long it then lets requests come to their end.
    pub drain_ms: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            requests_max: 1_024,
            requests_per_organisation_max: 512,
            head_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            request_timeout_ms: 10_000,
            body_bytes_max: 1 << 20,
            batch_bytes_max: 64 << 20,
            linger_ms: 2_000,
            batches_max: 8,
            batches_per_organisation_max: 4,
            batch_timeout_ms: 120_000,
            drain_ms: 15_000,
        }
    }
}

/// Customers' endpoints. Every gateway of a cluster has the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksSection {
    /// The key that seals endpoints' secrets: a file of 64 hexadecimal digits.
    pub key_file: PathBuf,
    /// Keys that sealed secrets before; they open them still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_key_files: Vec<PathBuf>,
    /// Networks beside the public internet that endpoints may be in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Network>,
    /// Endpoints may be plain HTTP: for development.
    #[serde(default)]
    pub plain_http: bool,
    /// The certificates that vouch for endpoints, in a PEM file; the system's unless it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A gateway that is silent for so long is gone, and others do its work.
    #[serde(default = "lease_ms")]
    pub lease_ms: u64,
    /// Messages that wait for their answers at once.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// Bytes of events in memory, about.
    #[serde(default = "feed_bytes_max")]
    pub feed_bytes_max: usize,
    /// An endpoint answers within this time.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Attempts are remembered for so long, as far as they fit.
    #[serde(default = "log_kept_hours")]
    pub log_kept_hours: u64,
    /// What is wrong with a device or an outlet is told when it has lasted for so long.
    #[serde(default = "alert_after_ms")]
    pub alert_after_ms: u64,
    /// The pauses of the short schedule, when they are to be others than documented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delays_ms: Option<Vec<u64>>,
}

fn lease_ms() -> u64 {
    6_000
}

fn in_flight_max() -> usize {
    1_024
}

fn feed_bytes_max() -> usize {
    64 << 20
}

fn timeout_ms() -> u64 {
    15_000
}

fn log_kept_hours() -> u64 {
    30 * 24
}

fn alert_after_ms() -> u64 {
    75_000
}

impl WebhooksSection {
    /// Every default, with this key.
    #[must_use]
    pub fn new(key_file: PathBuf) -> Self {
        Self {
            key_file,
            former_key_files: Vec::new(),
            allow: Vec::new(),
            plain_http: false,
            ca_file: None,
            lease_ms: lease_ms(),
            in_flight_max: in_flight_max(),
            feed_bytes_max: feed_bytes_max(),
            timeout_ms: timeout_ms(),
            log_kept_hours: log_kept_hours(),
            alert_after_ms: alert_after_ms(),
            retry_delays_ms: None,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        rule(
            (2_000..=60_000).contains(&self.lease_ms),
            "webhooks.lease_ms",
            "must be 2,000 to 60,000",
        )?;
        rule(
            (1..=16_384).contains(&self.in_flight_max),
            "webhooks.in_flight_max",
            "must be 1 to 16,384",
        )?;
        rule(
            (1 << 20..=1 << 30).contains(&self.feed_bytes_max),
            "webhooks.feed_bytes_max",
            "must be 1 MiB to 1 GiB",
        )?;
        rule(
            (100..=15_000).contains(&self.timeout_ms),
            "webhooks.timeout_ms",
            "must be 100 to 15,000",
        )?;
        rule(
            (1..=8_760).contains(&self.log_kept_hours),
            "webhooks.log_kept_hours",
            "must be 1 to 8,760",
        )?;
        rule(
            self.alert_after_ms <= 86_400_000,
            "webhooks.alert_after_ms",
            "must be at most 86,400,000",
        )?;
        let delays = self.retry_delays_ms.as_deref().unwrap_or_default();
        rule(
            delays.len() <= 16 && delays.iter().all(|ms| (10..=86_400_000).contains(ms)),
            "webhooks.retry_delays_ms",
            "must be at most 16 pauses of 10 ms to a day",
        )
    }
}

/// How often a key may ask; the tiers are named in the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RatesSection {
    /// The tier `growth`.
    pub growth: Tier,
    /// The tier `professional`.
    pub professional: Tier,
    /// The tier `enterprise`.
    pub enterprise: Tier,
    /// Public verifications, an address.
    pub public_per_minute: u32,
    /// Tiles and checkpoints of the logs, an address.
    pub log_per_minute: u32,
    /// Requests with keys that are none, an address; valid keys are served all the same.
    pub failures_per_minute: u32,
}

/// One tier; 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Requests a minute.
    pub per_minute: u32,
    /// Requests a day.
    #[serde(default)]
    pub per_day: u32,
}

impl Default for RatesSection {
    fn default() -> Self {
        Self {
            growth: Tier { per_minute: 60, per_day: 10_000 },
            professional: Tier { per_minute: 300, per_day: 100_000 },
            enterprise: Tier { per_minute: 1_000, per_day: 0 },
            public_per_minute: 30,
            log_per_minute: 1_200,
            failures_per_minute: 600,
        }
    }
}

/// Why a gateway cannot be run so.
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

impl GatewayConfig {
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

    /// A configuration with every default, on free ports of the loopback address, in plain text.
    #[must_use]
    pub fn minimal(nodes: Vec<String>) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: free,
            admin_listen: free,
            verify_host: "verify.example.cd".to_owned(),
            verify_hosts_former: Vec::new(),
            trusted_proxies: Vec::new(),
            tls: None,
            insecure: false,
            cluster: ClusterSection { nodes, ca: None, cert: None, key: None, region: None },
            limits: LimitsSection::default(),
            rates: RatesSection::default(),
            webhooks: None,
            uploads: None,
            log: default_log(),
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
            self.tls.is_some() || self.insecure || self.listen.ip().is_loopback(),
            "tls",
            "is missing: plain HTTP is served on a loopback address only, or with `insecure = true` behind a proxy \
             that ends TLS",
        )?;
        rule(
            self.admin_listen.ip().is_loopback(),
            "admin_listen",
            "must be a loopback address: it is plain HTTP",
        )?;
        let is_host = |host: &String| {
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b))
        };
        let host = "must be a host name, with a port if need be";
        rule(is_host(&self.verify_host), "verify_host", host)?;
        rule(self.verify_hosts_former.iter().all(is_host), "verify_hosts_former", host)?;
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
        self.webhooks.as_ref().map_or(Ok(()), WebhooksSection::check)?;
        let uploads = self.uploads.as_ref();
        uploads.map_or(Ok(()), |uploads| uploads.check(self.webhooks.is_some()))?;
        self.check_limits()
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        rule(limits.connections_max >= 1, "limits.connections_max", "must be at least 1")?;
        rule(limits.requests_max >= 1, "limits.requests_max", "must be at least 1")?;
        rule(
            limits.requests_per_organisation_max >= 1,
            "limits.requests_per_organisation_max",
            "must be at least 1",
        )?;
        let time = 100..=600_000;
        rule(
            time.contains(&limits.head_timeout_ms),
            "limits.head_timeout_ms",
            "must be 100 to 600,000",
        )?;
        rule(
            time.contains(&limits.idle_timeout_ms),
            "limits.idle_timeout_ms",
            "must be 100 to 600,000",
        )?;
        rule(
            time.contains(&limits.request_timeout_ms),
            "limits.request_timeout_ms",
            "must be 100 to 600,000",
        )?;
        rule(limits.linger_ms <= 600_000, "limits.linger_ms", "must be at most 600,000")?;
        rule(
            time.contains(&limits.batch_timeout_ms),
            "limits.batch_timeout_ms",
            "must be 100 to 600,000",
        )?;
        rule(limits.batches_max >= 1, "limits.batches_max", "must be at least 1")?;
        rule(
            limits.batches_per_organisation_max >= 1,
            "limits.batches_per_organisation_max",
            "must be at least 1",
        )?;
        rule(limits.drain_ms <= 600_000, "limits.drain_ms", "must be at most 600,000")?;
        rule(
            (1_024..=1 << 20).contains(&limits.body_bytes_max),
            "limits.body_bytes_max",
            "must be 1,024 to 1,048,576",
        )?;
        rule(
            (limits.body_bytes_max..=1 << 30).contains(&limits.batch_bytes_max),
            "limits.batch_bytes_max",
            "must be at least body_bytes_max and at most 1 GiB",
        )
    }
}

fn rule(holds: bool, field: &'static str, rule: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value { field, rule: rule.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let mut config = GatewayConfig::minimal(vec!["127.0.0.1:17400".to_owned()]);
        config.trusted_proxies.push("10.0.0.0/8".parse().expect("a network"));
        let read: GatewayConfig = toml::from_str(&config.to_toml()).expect("it reads");
        assert_eq!(read, config);
        config.check().expect("the defaults are sound");
    }

    #[test]
    fn a_proxy_that_is_no_network_is_refused_with_its_line() {
        let config = GatewayConfig::minimal(vec!["127.0.0.1:17400".to_owned()]);
        let text = format!("trusted_proxies = [\"10.0.0.1/8\"]\n{}", config.to_toml());
        let error = toml::from_str::<GatewayConfig>(&text).expect_err("bits behind the length");
        assert!(error.to_string().contains("write 10.0.0.0/8"), "{error}");
    }

    #[test]
    fn each_wrong_value_is_named() {
        type Change = fn(&mut GatewayConfig);
        let change: [(&str, Change); 8] = [
            ("tls", |c| c.listen = SocketAddr::from(([0, 0, 0, 0], 80))),
            ("admin_listen", |c| c.admin_listen = SocketAddr::from(([0, 0, 0, 0], 80))),
            ("verify_host", |c| c.verify_host = "a b".to_owned()),
            ("verify_hosts_former", |c| c.verify_hosts_former.push(String::new())),
            ("cluster.nodes", |c| c.cluster.nodes.clear()),
            ("cluster", |c| c.cluster.ca = Some("ca.pem".into())),
            ("limits.requests_max", |c| c.limits.requests_max = 0),
            ("limits.body_bytes_max", |c| c.limits.body_bytes_max = 2 << 20),
        ];
        for (field, change) in change {
            let mut config = GatewayConfig::minimal(vec!["127.0.0.1:17400".to_owned()]);
            change(&mut config);
            match config.check() {
                Err(ConfigError::Value { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
