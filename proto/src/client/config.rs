//! Whom a client talks to, how, and the limits of everything that it holds.

use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::error::ClientError;
use crate::dial::{Dialer, connect_lazy};
use crate::tls::{TlsMaterial, client_config, only_node};

/// A client's configuration.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Nodes as `host:port`; any of them tells of the others.
    pub seeds: Vec<String>,
    /// Absent only where all nodes are on this machine.
    pub tls: Option<TlsMaterial>,
    /// Nodes of this region are read from first.
    pub region: Option<String>,
    /// The limits.
    pub limits: ClientLimits,
    /// Where the jitter of retries starts; drawn from the process when absent.
    pub jitter_seed: Option<u64>,
    /// How nodes are reached when it is not over TCP.
    pub dialer: Option<Dialer>,
}

impl ClientConfig {
    /// A configuration with the usual limits.
    #[must_use]
    pub fn new(seeds: Vec<String>, tls: Option<TlsMaterial>) -> Self {
        let limits = ClientLimits::default();
        Self { seeds, tls, region: None, limits, jitter_seed: None, dialer: None }
    }
}

/// How long and how many.
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    /// A connection is made within this time.
    pub connect_timeout: Duration,
    /// One node has this long to answer before another is asked.
    pub attempt_timeout: Duration,
    /// Commands that wait for a node's stream.
    pub queue_max: usize,
    /// Commands that wait for a node's answer.
    pub pending_max: usize,
    /// The longest message that is accepted.
    pub message_bytes_max: usize,
    /// The first wait before a retry; it doubles.
    pub backoff_first: Duration,
    /// The longest.
    pub backoff_max: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(5),
            queue_max: 256,
            pending_max: 4096,
            message_bytes_max: 8 * 1024 * 1024,
            backoff_first: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
        }
    }
}

impl ClientConfig {
    /// A channel to a node, or to any that is there when none is named. It connects when it is first used
    /// and again after it broke.
    pub(super) fn channel(&self, address: &str, node: Option<u64>) -> Result<Channel, ClientError> {
        let invalid = || ClientError::Address { address: address.to_owned() };
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(invalid());
        }
        if self.tls.is_none() && !is_loopback(host) {
            return Err(ClientError::Plain { address: address.to_owned() });
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|_| invalid())?
            .connect_timeout(self.limits.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.limits.attempt_timeout)
            .keep_alive_timeout(self.limits.attempt_timeout)
            .keep_alive_while_idle(true);
        let dialer = self.dialer.as_ref();
        let Some(tls) = &self.tls else { return Ok(connect_lazy(&endpoint, dialer)) };
        let any = client_config(tls);
        let expected = match node {
            Some(id) => only_node(any, id),
            None => any,
        };
        let endpoint = endpoint
            .tls_config(expected)
            .map_err(|source| ClientError::Tls { address: address.to_owned(), source })?;
        Ok(connect_lazy(&endpoint, dialer))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
