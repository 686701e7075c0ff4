//! Connections to other nodes: one a node and lane, shared by all groups.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fiscus_proto::dial::{Dialer, connect_lazy};
use fiscus_proto::peer::peer_client::PeerClient;
use fiscus_proto::tls::only_node;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// The names of what every call between nodes carries.
pub mod metadata {
    /// The cluster's name.
    pub const CLUSTER: &str = "fiscus-cluster";
    /// The sender's node id.
    pub const FROM: &str = "fiscus-from";
    /// The receiver's node id.
    pub const TO: &str = "fiscus-to";
    /// The sender's incarnation.
    pub const INCARNATION: &str = "fiscus-incarnation";
    /// The receiver's incarnation, as the membership knows it; empty when it is not known yet.
    pub const TO_INCARNATION: &str = "fiscus-to-incarnation";
}

/// A peer that does not answer a ping for so long is cut off.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Entries and snapshot parts are far below it; whoever sends more is broken.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's id.
    pub node: u64,
    /// Made with the node's directory.
    pub incarnation: String,
}

/// What a connection is for. A snapshot must not hold up entries, nor entries a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Votes, heartbeats, read indexes, clocks.
    Control,
    /// Entries.
    Append,
    /// Snapshots and repairs.
    Snapshot,
}

/// A connection that says who speaks to whom.
pub(crate) type Peer = PeerClient<InterceptedService<Channel, Introduce>>;

/// Puts both identities on every call.
#[derive(Debug, Clone)]
pub struct Introduce {
    headers: Arc<Vec<(&'static str, String)>>,
}

impl Interceptor for Introduce {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in self.headers.iter() {
            let value = MetadataValue::try_from(value.as_str())
                .map_err(|_| Status::internal("an identity has characters that no header has"))?;
            request.metadata_mut().insert(*name, value);
        }
        Ok(request)
    }
}

/// By address, node and lane.
type Channels = BTreeMap<(String, u64, Lane), Channel>;

/// The connections of a node.
#[derive(Clone)]
pub struct PeerPool {
    identity: Identity,
    tls: Option<ClientTlsConfig>,
    dialer: Option<Dialer>,
    channels: Arc<Mutex<Channels>>,
}

impl std::fmt::Debug for PeerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.tls.is_some();
        f.debug_struct("PeerPool").field("identity", &self.identity).field("tls", &tls).finish()
    }
}

/// An address that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("{address} is not an address to connect to: {source}")]
pub struct AddressError {
    /// What was given.
    pub address: String,
    /// What is wrong.
    pub source: tonic::transport::Error,
}

impl PeerPool {
    /// A pool that has no connection yet.
    #[must_use]
    pub fn new(identity: Identity, tls: Option<ClientTlsConfig>) -> Self {
        Self { identity, tls, dialer: None, channels: Arc::default() }
    }

    /// The same, which reaches the others as the dialer does.
    #[must_use]
    pub fn with_dialer(self, dialer: Option<Dialer>) -> Self {
        Self { dialer, ..self }
    }

    /// Whose pool it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A client for the node `to` at `address`, or for whichever is there when `to` is 0; it connects when
    /// it is used, and again after a failure.
    pub fn client(
        &self,
        to: u64,
        to_incarnation: &str,
        address: &str,
        lane: Lane,
    ) -> Result<Peer, AddressError> {
        let channel = self.channel(to, address, lane)?;
        let headers = vec![
            (metadata::CLUSTER, self.identity.cluster.clone()),
            (metadata::FROM, self.identity.node.to_string()),
            (metadata::INCARNATION, self.identity.incarnation.clone()),
            (metadata::TO, to.to_string()),
            (metadata::TO_INCARNATION, to_incarnation.to_owned()),
        ];
        let client =
            PeerClient::with_interceptor(channel, Introduce { headers: Arc::new(headers) });
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn channel(&self, to: u64, address: &str, lane: Lane) -> Result<Channel, AddressError> {
        let mut channels = self.channels.lock().expect("no holder panics");
        let place = (address.to_owned(), to, lane);
        if let Some(channel) = channels.get(&place) {
            return Ok(channel.clone());
        }
        let wrong = |source| AddressError { address: address.to_owned(), source };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(wrong)?
            .connect_timeout(Duration::from_millis(500))
            .tcp_nodelay(true)
            .keep_alive_while_idle(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        if let Some(tls) = &self.tls {
            let tls = if to == 0 { tls.clone() } else { only_node(tls.clone(), to) };
            endpoint = endpoint.tls_config(tls).map_err(wrong)?;
        }
        let channel = connect_lazy(&endpoint, self.dialer.as_ref());
        channels.insert(place, channel.clone());
        Ok(channel)
    }
}
