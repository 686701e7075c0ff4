//! Starts a proxy and stops it.
//!
//! ```text
//! configuration ─► certificates ─► sockets ─► cluster ─► directory, hosts, health ─► wait ─► drain
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{ClientConfig, ClientError, ClusterClient};
use fiscus_proto::tls::{TlsError, TlsMaterial, not_after};
use ring::rand::SystemRandom;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::admin::{self, Admin};
use crate::attach::{Attached, KeptInvoices, Owner, Place, attach, import};
use crate::config::{AttachSection, ConfigError, LimitsSection, ProxyConfig};
use crate::devices::Devices;
use crate::health as device_health;
use crate::host::Device;
use crate::metrics::Metrics;
use crate::offline::{Agent, OfflineError, SharedTill};
use crate::port::{Port, Shared};
use crate::protocol::SessionLimits;
use crate::serial;

/// After an error of accept, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Before a line that is not there, or has gone, is looked for again.
const LINE_PAUSE: Duration = Duration::from_millis(250);

/// A silent host is asked whether it is there after so long, so often, with such pauses.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Why a proxy does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates for the cluster.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClientError),
    /// A listener.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        what: String,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// What a device is to remember while the cluster is away. Without it, it cannot know what it has sealed.
    #[error("device {device_id} cannot sell without the cluster: {source}")]
    Offline {
        /// Which.
        device_id: String,
        /// Why.
        source: OfflineError,
    },
    /// Where the invoices of a real device are kept.
    #[error("attach.invoices_dir of device {device_id} cannot be used: {source}")]
    Invoices {
        /// Which.
        device_id: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// What never ends by itself did.
    #[error("a part of the proxy ended by itself: {detail}")]
    Ended {
        /// What the runtime says.
        detail: String,
    },
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    addresses: Vec<(String, SocketAddr)>,
    admin: SocketAddr,
    /// Nothing new is taken from then on.
    stop: watch::Sender<bool>,
    /// What hosts see.
    hosts: JoinSet<()>,
    /// What goes on until the last of their commands has come to its end.
    behind: JoinSet<()>,
    end: watch::Sender<bool>,
    drain: Duration,
}

impl Proxy {
    /// Starts a proxy; it serves when this returns. A cluster that does not answer now may do so later: until
    /// then hosts are told so.
    pub async fn start(config: ProxyConfig) -> Result<Self, RunError> {
        config.check()?;
        let material = config.cluster.files().map(|files| files.load()).transpose()?;
        let admin_socket = listen("the admin listener".to_owned(), config.admin_listen).await?;
        let admin_address = local(&admin_socket);
        let mut sockets = Vec::new();
        for device in &config.devices {
            let Some(address) = device.listen else { continue };
            let socket = listen(format!("device {}", device.device_id), address).await?;
            sockets.push((device.device_id.clone(), socket));
        }
        let addresses = sockets.iter().map(|(id, socket)| (id.clone(), local(socket))).collect();
        let certificate_expires = material.as_ref().map(expires).transpose()?;
        let mut client = ClientConfig::new(config.cluster.nodes.clone(), material);
        client.region.clone_from(&config.cluster.region);
        client.limits.attempt_timeout = Duration::from_millis(config.limits.attempt_timeout_ms);
        let shared = Arc::new(Shared {
            cluster: ClusterClient::new(client)?,
            devices: Devices::new(&config.devices),
            verify_host: config.verify_host.clone(),
            certificate_expires,
        });
        let metrics = Arc::new(Metrics::new(&config.devices));
        let (ports, attached, owners) = ports(&config, &shared).await?;
        let (stop, stopping) = watch::channel(false);
        let (end, ending) = watch::channel(false);
        let (mut hosts, mut behind) = (JoinSet::new(), JoinSet::new());
        behind.spawn(follow(Arc::clone(&shared), ending.clone()));
        let admin = Admin {
            shared: Arc::clone(&shared),
            metrics: Arc::clone(&metrics),
            tills: tills(&ports),
            stopping: stopping.clone(),
        };
        for port in &ports {
            behind.spawn(tell(Arc::clone(port), ending.clone()));
            if let Some(till) = port.till() {
                behind.spawn(keep_in_touch(
                    Agent::new(Arc::clone(port), till.clone()),
                    ending.clone(),
                ));
            }
        }
        behind.spawn(health(admin_socket, admin, ending.clone()));
        for (attached, (owner, port)) in attached.into_iter().zip(owners) {
            metrics.attached(&attached);
            behind.spawn(own(owner, ending.clone()));
            behind.spawn(import(port, attached, ending.clone()));
        }
        for (section, port) in config.devices.iter().zip(ports) {
            let device = Arc::new(device(&config, port, &metrics));
            let at = sockets.iter().position(|(id, _)| *id == section.device_id);
            if let Some((_, socket)) = at.map(|at| sockets.swap_remove(at)) {
                let places = config.limits.hosts_max;
                hosts.spawn(accept(Arc::clone(&device), socket, places, stopping.clone()));
            }
            for path in &section.serial {
                hosts.spawn(attend(Arc::clone(&device), path.clone(), stopping.clone()));
            }
        }
        tracing::info!(?addresses, admin = %admin_address, "the device proxy serves");
        let drain = Duration::from_millis(config.limits.drain_ms);
        Ok(Self { addresses, admin: admin_address, stop, hosts, behind, end, drain })
    }

    /// Where a device is reached over TCP.
    #[must_use]
    pub fn address(&self, device_id: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|(id, _)| id == device_id).map(|(_, address)| *address)
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Serves until `stop` ends, then lets commands come to their end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let ended = tokio::select! {
            () = stop => Ok(()),
            ended = self.hosts.join_next() => Err(ended_by_itself(&ended)),
            ended = self.behind.join_next() => Err(ended_by_itself(&ended)),
        };
        tracing::info!("the device proxy stops: commands come to their end");
        self.stop().await;
        ended
    }

    /// Stops it: no new command is taken, those that were are answered, for a bounded time.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let drained =
            timeout(self.drain, async { while self.hosts.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!("hosts that were still answered are cut off");
        }
        self.hosts.shutdown().await;
        self.end.send_replace(true);
        while self.behind.join_next().await.is_some() {}
    }
}

/// The ways to the cluster, and the real devices among them with those who own them.
type Ports = (Vec<Arc<Port>>, Vec<Arc<Attached>>, Vec<(Owner, Arc<Port>)>);

/// The ways to the cluster, one a device, and their tills.
async fn ports(config: &ProxyConfig, shared: &Arc<Shared>) -> Result<Ports, RunError> {
    let mut ports = Vec::with_capacity(config.devices.len());
    let (mut all_attached, mut owners) = (Vec::new(), Vec::new());
    for section in &config.devices {
        let device_id = section.device_id.clone();
        let till = match section.offline.clone() {
            None => None,
            Some(settings) => {
                let (id, host) = (device_id.clone(), config.verify_host.clone());
                // Deriving a key takes the processor for a while.
                let opened =
                    tokio::task::spawn_blocking(move || SharedTill::open(&id, &host, &settings));
                let ended = |error: JoinError| RunError::Ended { detail: error.to_string() };
                let offline = |source| RunError::Offline { device_id: device_id.clone(), source };
                Some(opened.await.map_err(ended)?.map_err(offline)?)
            }
        };
        let terminals = config.limits.hosts_max + section.serial.len();
        let place = section.attach.as_ref().and_then(place);
        let dir = section.attach.as_ref().and_then(|attach| attach.invoices_dir.clone());
        let kept = match dir {
            None => KeptInvoices::in_memory(),
            Some(dir) => KeptInvoices::in_dir(dir)
                .map_err(|source| RunError::Invoices { device_id: device_id.clone(), source })?,
        };
        let real = place.map(|place| attach(&device_id, place, terminals, kept));
        let (attached, owner) = real.map(|(attached, owner)| (Arc::new(attached), owner)).unzip();
        let port = Port::new(Arc::clone(shared), &device_id, till, attached.clone());
        let port = Arc::new(port);
        all_attached.extend(attached);
        owners.extend(owner.map(|owner| (owner, Arc::clone(&port))));
        ports.push(port);
    }
    Ok((ports, all_attached, owners))
}

fn tills(ports: &[Arc<Port>]) -> Vec<(String, SharedTill)> {
    let of = |port: &Arc<Port>| Some((port.device_id().to_owned(), port.till()?.clone()));
    ports.iter().filter_map(of).collect()
}

async fn keep_in_touch(agent: Agent, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = agent.run() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Tells how a device is until the proxy ends.
async fn tell(port: Arc<Port>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = device_health::tell(port) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

fn device(config: &ProxyConfig, port: Arc<Port>, metrics: &Arc<Metrics>) -> Device {
    let LimitsSection { queue_max, nonces_max, prepared_bytes_max, write_timeout_ms, .. } =
        config.limits;
    Device {
        port,
        hosts: AtomicU64::new(0),
        metrics: Arc::clone(metrics),
        limits: SessionLimits { queue_max, nonces_max, prepared_bytes_max },
        write_timeout: Duration::from_millis(write_timeout_ms),
        began: Instant::now(),
        random: SystemRandom::new(),
    }
}

/// Where a real device is.
fn place(section: &AttachSection) -> Option<Place> {
    let serial = section.serial.clone().map(Place::Serial);
    serial.or(section.tcp.map(Place::Tcp))
}

/// Owns a real device until the proxy ends.
async fn own(owner: Owner, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = owner.run() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// When a certificate ends.
fn expires(material: &TlsMaterial) -> Result<String, TlsError> {
    let seconds = not_after(&material.certificate()?)?;
    let ms = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
    Ok(UnixMs::new(ms).to_string())
}

fn ended_by_itself(ended: &Option<Result<(), JoinError>>) -> RunError {
    let detail = match ended {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) => "it has nothing more to do".to_owned(),
        None => "there is none".to_owned(),
    };
    RunError::Ended { detail }
}

async fn follow(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = shared.devices.follow(&shared.cluster) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn health(socket: TcpListener, admin: Admin, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // A sender that is gone stops as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let served = tokio::select! {
        served = async { axum::serve(socket, admin::routes(admin)).await } => served,
        () = stopped => Ok(()),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener failed");
    }
}

/// Takes the hosts of one device over TCP until it is told to stop, and then lets them come to their end.
async fn accept(
    device: Arc<Device>,
    socket: TcpListener,
    hosts_max: usize,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(hosts_max));
    let mut talking = JoinSet::new();
    let mut stopping = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        while talking.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    talking.spawn(talk(Arc::clone(&device), stream, place, stop.clone()));
                }
                Err(_) => device.turn_away(stream).await,
            },
            Err(error) => {
                tracing::warn!(%error, "a host could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(socket);
    while talking.join_next().await.is_some() {}
}

async fn talk(
    device: Arc<Device>,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true).and_then(|()| notice_the_dead(&stream)) {
        tracing::debug!(%error, "a host's connection is as the system makes it");
    }
    let counted = device.metrics.host(device.port.device_id());
    if let Err(error) = device.converse(stream, stop).await {
        tracing::debug!(%error, "a host is gone");
    }
    drop((counted, place));
}

/// A host that lost its power never says so: its place is given away after some minutes.
fn notice_the_dead(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    Ok(sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?)
}

/// Attends to one line until it is told to stop. A line that is not there, or whose other end has gone, is
/// looked for again and again.
async fn attend(device: Arc<Device>, path: PathBuf, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    let mut told = false;
    loop {
        match serial::open(&path) {
            Ok(line) => {
                told = false;
                let counted = device.metrics.host(device.port.device_id());
                tracing::info!(path = %path.display(), "a line is open");
                if let Err(error) = device.converse(line, stop.clone()).await {
                    tracing::debug!(path = %path.display(), %error, "a line is gone");
                }
                drop(counted);
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!(path = %path.display(), %error, "a line cannot be opened");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(LINE_PAUSE) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn listen(what: String, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { what, address, source })
}

fn local(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound listener has an address")
}
