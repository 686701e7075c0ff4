//! Starts a node and stops it.
//!
//! ```text
//! configuration ─► keys ─► identity ─► log ─► groups ─► listeners ─► wait ─► drain ─► flush ─► close
//! ```

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fiscus_proto::admin::admin_server::AdminServer;
use fiscus_proto::ledger::ledger_server::LedgerServer;
use fiscus_proto::peer::peer_server::PeerServer;
use fiscus_proto::stored::NodeIdentity;
use fiscus_proto::tls::{TlsError, TlsMaterial, client_config, not_after, server_config};
use fiscus_raft::consensus::{Identity, OpenError, PeerPool};
use fiscus_raft::disk::Disk;
use fiscus_raft::wal::{OpenMode, Wal, WalError, WalOptions};
use futures_util::Stream;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};

use crate::config::{ConfigError, LimitsSection, NodeConfig, SignerSection};
use crate::context::NodeContext;
use crate::groups::Groups;
use crate::identity::{self, IdentityError};
use crate::services::admin::AdminService;
use crate::services::http::{HttpState, routes};
use crate::services::ledger::LedgerService;
use crate::services::peer::PeerService;
use crate::signer::{KeyFile, KeyFileError, PassphraseError, SelfTestError, Signer, self_test};
use crate::surroundings::{Arrived, Surroundings};
use crate::witnesses::{CaFileError, Witness};
use crate::{monitor, steward};

/// A message from a peer or a client has at most so many bytes.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Between two looks at the disk's room.
const DISK_INTERVAL: Duration = Duration::from_secs(1);
/// What the log copies forward for one group, at least and at most.
const COPY_BYTES_MIN: u64 = 4 << 20;
const COPY_BYTES_MAX: u64 = 256 << 20;
/// How long a stopping node waits for calls that are on their way.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Why a node does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The token.
    #[error("{0}")]
    Token(String),
    /// A key is not what it should be.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificates that vouch for a witness.
    #[error(transparent)]
    WitnessCa(#[from] CaFileError),
    /// The directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A group.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data directory.
    #[error("{path} cannot be made: {source}")]
    DataDir {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A listener.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A server.
    #[error("{what} failed: {detail}")]
    Serve {
        /// Which.
        what: &'static str,
        /// How.
        detail: String,
    },
    /// The log cannot be trusted any more: what was not durable is lost, and everything after it must
    /// not be believed. Start again.
    #[error("the log stopped: {0}")]
    Poisoned(WalError),
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    context: Arc<NodeContext>,
    groups: Arc<Groups>,
    rpc: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    poisoned: watch::Receiver<Option<WalError>>,
    servers: tokio::task::JoinSet<Result<(), RunError>>,
    /// Ends with the node.
    _log_driver: tokio::task::JoinSet<()>,
}

impl Node {
    /// Starts a node; it serves when this returns.
    pub async fn start(config: NodeConfig) -> Result<Self, RunError> {
        #[cfg(feature = "planted-bugs")]
        crate::planted::plant_named();
        Self::start_in(config, Surroundings::real()).await
    }

    /// Starts a node in surroundings of its own.
    pub async fn start_in(
        mut config: NodeConfig,
        surroundings: Surroundings,
    ) -> Result<Self, RunError> {
        let Surroundings { disk, wall, random, signer, network, drive_log } = surroundings;
        config.check()?;
        let signer = tested_signer(&config, signer)?;
        let tls = config.tls.as_ref().map(|tls| tls.files().load()).transpose()?;
        let witnesses = Witness::all(&config.witnesses)?;
        let certificate_ends_s = tls.as_ref().map(certificate_ends).transpose()?;
        let dir = config.data_dir.clone();
        make_data_dir(&*disk, &dir)
            .map_err(|source| RunError::DataDir { path: dir.clone(), source })?;
        let (dialer, listeners) = match network {
            Some(network) => (Some(network.dialer), Listeners::Given(network.incoming)),
            None => (None, Listeners::bind(&mut config).await?),
        };
        let owner = identity::open(&*disk, &random, &dir, &config.cluster, config.node)?;
        identity::check_log(&*disk, &dir, &owner)?;
        let mut log_driver = tokio::task::JoinSet::new();
        let (poison, poisoned) = watch::channel(None);
        let options = log_options(&config.limits, &owner, poison);
        let wal = match drive_log {
            None => Wal::open(disk.clone(), &dir.join("wal"), options)?,
            Some(drive) => {
                let wal = Wal::open_inline(disk.clone(), &dir.join("wal"), options)?;
                log_driver.spawn(drive(wal.clone()));
                wal
            }
        };
        identity::note_log(&*disk, &dir, &owner)?;
        let identity = Identity {
            cluster: config.cluster.clone(),
            node: config.node,
            incarnation: owner.incarnation,
        };
        let pool =
            PeerPool::new(identity.clone(), tls.as_ref().map(client_config)).with_dialer(dialer);
        let context = NodeContext::new(
            config,
            identity,
            pool,
            signer,
            witnesses,
            certificate_ends_s,
            (wall, random),
        );
        let context = Arc::new(context);
        look_at_disk(&context, &*disk);
        let groups_dir = dir.join("groups");
        disk.create_dir_all(&groups_dir)
            .map_err(|source| RunError::DataDir { path: groups_dir.clone(), source })?;
        let groups = Arc::new(Groups::new(context.clone(), disk.clone(), wal, groups_dir));
        groups.open_known().await?;
        let (stop, stopping) = watch::channel(false);
        let (rpc_at, admin_at) = (context.config.rpc_listen, context.config.admin_listen);
        let mut servers = listeners.serve(&context, &groups, tls, &stopping);
        servers.spawn(watch_over(context.clone(), groups.clone(), disk, stopping));
        tracing::info!(node = context.identity.node, rpc = %rpc_at, admin = %admin_at, "the node serves");
        Ok(Self {
            context,
            groups,
            rpc: rpc_at,
            admin: admin_at,
            stop,
            poisoned,
            servers,
            _log_driver: log_driver,
        })
    }

    /// The groups that live here.
    #[must_use]
    pub fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// Where it is reached.
    #[must_use]
    pub fn rpc_address(&self) -> SocketAddr {
        self.rpc
    }

    /// Where its health is asked.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Serves until `stop` is done or something fails; then gives leadership away, makes everything
    /// durable and closes.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut poisoned = self.poisoned.clone();
        let failed = tokio::select! {
            () = stop => None,
            Some(ended) = self.servers.join_next() => Some(match ended {
                Ok(Ok(())) => RunError::Serve { what: "a listener", detail: "it ended".to_owned() },
                Ok(Err(error)) => error,
                Err(error) => RunError::Serve { what: "a listener", detail: error.to_string() },
            }),
            _ = poisoned.wait_for(Option::is_some) => {
                let error = self.poisoned.borrow().clone();
                // Nothing of what is in memory may reach the disk any more.
                return Err(error.map_or_else(
                    || RunError::Serve { what: "the log", detail: "it ended".to_owned() },
                    RunError::Poisoned,
                ));
            }
        };
        tracing::info!("the node is stopping");
        self.context.set_draining(true);
        self.give_leadership_away().await;
        self.stop.send_replace(true);
        let servers = async { while self.servers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, servers).await.is_err() {
            self.servers.abort_all();
        }
        self.groups.shutdown().await;
        self.groups.wal().shutdown();
        tracing::info!("the node has stopped");
        failed.map_or(Ok(()), Err)
    }

    /// Waits for the stewards to move leadership, as long as there is somebody to take it.
    async fn give_leadership_away(&self) {
        let leading = || {
            self.groups.all().iter().any(|hosted| {
                hosted.handle.leading().is_some() && hosted.handle.status().voters.len() > 1
            })
        };
        let moved = async {
            while leading() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // A group without a majority has nobody to give it to.
        let _ = tokio::time::timeout(Duration::from_secs(2), moved).await;
    }
}

/// The given signer or the configured one, all of whose keys sign as they should.
fn tested_signer(
    config: &NodeConfig,
    given: Option<Arc<dyn Signer>>,
) -> Result<Arc<dyn Signer>, RunError> {
    let signer = match given {
        Some(signer) => signer,
        None => open_signer(config)?,
    };
    for key in signer.keys() {
        self_test(&*signer, &key.public_key)?;
    }
    Ok(signer)
}

fn open_signer(config: &NodeConfig) -> Result<Arc<dyn Signer>, RunError> {
    let secret = config.signer.secret().read()?;
    match &config.signer {
        SignerSection::KeyFile { path, .. } => Ok(Arc::new(KeyFile::open(path, &secret)?)),
        SignerSection::Pkcs11 { .. } => open_token(config),
    }
}

#[cfg(not(feature = "pkcs11"))]
fn open_token(_: &NodeConfig) -> Result<Arc<dyn Signer>, RunError> {
    Err(RunError::Token("this program was built without PKCS#11; use a key file".to_owned()))
}

#[cfg(feature = "pkcs11")]
fn open_token(config: &NodeConfig) -> Result<Arc<dyn Signer>, RunError> {
    use crate::signer::{KeyPurpose, Pkcs11Config, Pkcs11Key, Pkcs11Signer};
    use fiscus_ledger::facts::Environment;

    let SignerSection::Pkcs11 { module, token, keys, .. } = &config.signer else {
        return Err(RunError::Token("the configuration names no token".to_owned()));
    };
    let wrong = |what: &str| RunError::Token(format!("signer.keys: {what}"));
    let keys = keys.iter().map(|key| {
        let purpose = match key.purpose.as_str() {
            "authority" => KeyPurpose::Authority,
            "log" => KeyPurpose::Log,
            _ => return Err(wrong("purpose must be authority or log")),
        };
        let environment = match key.environment.as_deref() {
            None => None,
            Some("live") => Some(Environment::Live),
            Some("sandbox") => Some(Environment::Sandbox),
            Some(_) => return Err(wrong("environment must be live or sandbox")),
        };
        Ok(Pkcs11Key {
            label: key.label.clone(),
            name: key.name.clone(),
            purpose,
            environment,
            group: key.group,
        })
    });
    let token = Pkcs11Config {
        module: module.clone(),
        token_label: token.clone(),
        pin: config.signer.secret(),
        keys: keys.collect::<Result<_, _>>()?,
        sessions_max: 8,
    };
    let signer =
        Pkcs11Signer::connect(&token).map_err(|error| RunError::Token(error.to_string()))?;
    Ok(Arc::new(signer))
}

/// Whatever a group without a majority has on its way is copied forward, so that it pins no segment.
fn copy_bytes_max(limits: &LimitsSection) -> u64 {
    let on_the_way = limits.batches_in_flight_max.saturating_mul(limits.batch_bytes_max);
    let twice = u64::try_from(on_the_way).unwrap_or(u64::MAX).saturating_mul(2);
    twice.clamp(COPY_BYTES_MIN, COPY_BYTES_MAX)
}

/// The last second of the own certificate, since 1970.
fn certificate_ends(tls: &TlsMaterial) -> Result<i64, TlsError> {
    not_after(&tls.certificate()?)
}

/// Makes the directory of a node, whose name lasts before anything is kept in it: what is synced in a directory
/// is lost when the directory's own name is.
fn make_data_dir(disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
    let mut made = Vec::new();
    for place in dir.ancestors().filter(|place| !place.as_os_str().is_empty()) {
        if disk.exists(place)? {
            break;
        }
        made.push(place);
    }
    disk.create_dir_all(dir)?;
    // Of a start that was cut off here before, nobody knows how far it came.
    let nearest = made.is_empty().then_some(dir);
    for place in made.into_iter().chain(nearest) {
        let above = place.parent().map_or(place, |above| match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        });
        match disk.sync_dir(above) {
            // Whoever made it for us keeps it.
            Err(error) if nearest.is_some() && error.kind() == ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Where connections come in.
enum Listeners {
    /// Sockets of the system.
    Tcp { rpc: TcpListener, admin: TcpListener },
    /// Another network's.
    Given(BoxStream<'static, std::io::Result<Arrived>>),
}

impl Listeners {
    /// Binds the configured addresses. With port 0 the system chooses one, and the others must hear which.
    async fn bind(config: &mut NodeConfig) -> Result<Self, RunError> {
        let rpc = listen("the RPC listener", config.rpc_listen).await?;
        let admin = listen("the admin listener", config.admin_listen).await?;
        config.rpc_listen = address(&rpc);
        config.admin_listen = address(&admin);
        Ok(Self::Tcp { rpc, admin })
    }

    fn serve(
        self,
        context: &Arc<NodeContext>,
        groups: &Arc<Groups>,
        tls: Option<TlsMaterial>,
        stopping: &watch::Receiver<bool>,
    ) -> tokio::task::JoinSet<Result<(), RunError>> {
        let mut servers = tokio::task::JoinSet::new();
        let (shared, known, stopping) = (context.clone(), groups.clone(), stopping.clone());
        match self {
            Self::Tcp { rpc, admin } => {
                let rpc = prompt(rpc);
                servers.spawn(serve_rpc(shared.clone(), known.clone(), tls, rpc, stopping.clone()));
                servers.spawn(serve_http(shared, known, admin, stopping));
            }
            Self::Given(incoming) => {
                servers.spawn(serve_rpc(shared, known, tls, incoming, stopping));
            }
        }
        servers
    }
}

fn log_options(
    limits: &LimitsSection,
    owner: &NodeIdentity,
    poison: watch::Sender<Option<WalError>>,
) -> WalOptions {
    WalOptions {
        cache_bytes: limits.log_cache_bytes,
        segment_bytes: limits.log_segment_bytes,
        copy_bytes_max: copy_bytes_max(limits),
        mode: OpenMode::Salvage,
        on_poison: Some(Arc::new(move |error: &WalError| {
            poison.send_replace(Some(error.clone()));
        })),
        ..WalOptions::new(identity::log_identity(owner))
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { what, address, source })
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound listener has an address")
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone stops as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn serve_rpc<C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static>(
    context: Arc<NodeContext>,
    groups: Arc<Groups>,
    tls: Option<TlsMaterial>,
    incoming: impl Stream<Item = std::io::Result<C>> + Send,
    stopping: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let failed = |error: tonic::transport::Error| RunError::Serve {
        what: "the RPC listener",
        detail: error.to_string(),
    };
    let ledger = LedgerService::new(context.clone(), groups.clone());
    let peer = PeerService { context: context.clone(), groups: groups.clone() };
    let admin = AdminService { context, groups, ledger: ledger.clone() };
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_concurrent_streams(1_024);
    if let Some(tls) = &tls {
        server = server.tls_config(server_config(tls)).map_err(failed)?;
    }
    server
        .add_service(sized_peer(peer))
        .add_service(
            LedgerServer::new(ledger)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(AdminServer::new(admin))
        .serve_with_incoming_shutdown(incoming, stopped(stopping))
        .await
        .map_err(failed)
}

/// Connections that send what they have at once. With Nagle's algorithm an answer waits for the acknowledgement of the one
/// before, which the other side delays by 40 ms; a server's builder sets only the sockets that it listens on itself.
fn prompt(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

fn sized_peer(service: PeerService) -> PeerServer<PeerService> {
    PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn serve_http(
    context: Arc<NodeContext>,
    groups: Arc<Groups>,
    listener: TcpListener,
    stopping: watch::Receiver<bool>,
) -> Result<(), RunError> {
    axum::serve(listener, routes(HttpState { context, groups }))
        .with_graceful_shutdown(stopped(stopping))
        .await
        .map_err(|error| RunError::Serve { what: "the admin listener", detail: error.to_string() })
}

/// Looks at the clocks of the others and at the disk until the node stops.
async fn watch_over(
    context: Arc<NodeContext>,
    groups: Arc<Groups>,
    disk: Arc<dyn Disk>,
    stopping: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let mut look = tokio::time::interval(DISK_INTERVAL);
    let disks = async {
        loop {
            look.tick().await;
            look_at_disk(&context, &*disk);
        }
    };
    tokio::select! {
        () = disks => {}
        () = steward::sample_clocks(context.clone(), groups.clone()) => {}
        () = groups.clone().supervise() => {}
        () = monitor::run(context.clone(), groups) => {}
        () = stopped(stopping) => {}
    }
    Ok(())
}

fn look_at_disk(context: &NodeContext, disk: &dyn Disk) {
    match disk.space(&context.config.data_dir) {
        Ok(space) => context.note_disk(space.free, space.total),
        Err(error) => tracing::error!(%error, "the disk's room is not known"),
    }
}

#[cfg(test)]
mod tests {
    use fiscus_raft::disk::{RealDisk, RebootMode, SimulatedDisk};
    use futures_util::StreamExt;

    use super::*;

    /// Without it, a power cut soon after the first start takes all of the node with it.
    #[test]
    fn the_name_of_a_nodes_directory_lasts() {
        let dir = Path::new("/srv/fiscus/n1");
        let disk = SimulatedDisk::new();
        make_data_dir(&disk, dir).unwrap();
        let disk = disk.reboot(1, RebootMode::LoseUnsynced);
        assert!(disk.exists(dir).unwrap());
        // A start that was cut off between making and syncing.
        let disk = SimulatedDisk::new();
        disk.create_dir_all(dir.parent().unwrap()).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.sync_dir(Path::new("/srv")).unwrap();
        disk.create_dir_all(dir).unwrap();
        make_data_dir(&disk, dir).unwrap();
        assert!(disk.reboot(1, RebootMode::LoseUnsynced).exists(dir).unwrap());
    }

    #[test]
    fn a_nodes_directory_may_be_there_and_may_be_relative() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("a/b");
        for _ in 0..2 {
            make_data_dir(&RealDisk::new(), &dir).unwrap();
        }
        make_data_dir(&RealDisk::new(), Path::new("src")).unwrap();
    }

    #[tokio::test]
    async fn connections_send_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = prompt(listener);
        let _client = tokio::net::TcpStream::connect(address).await.unwrap();
        let accepted = incoming.next().await.unwrap().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
