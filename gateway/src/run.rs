//! Starts a gateway and stops it.
//!
//! ```text
//! configuration ─► certificates ─► cluster ─► directory ─► listeners ─► wait ─► drain
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fiscus_proto::client::{ClientConfig, ClientError, ClusterClient};
use fiscus_proto::tls::TlsError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::access::App;
use crate::config::{ConfigError, GatewayConfig};
use crate::delivery::{Deliveries, DeliveryError};
use crate::directory::Directory;
use crate::listener::{Listener, ServerTlsError, acceptor};
use crate::uploads::adapter::AdapterError;
use crate::uploads::agent::Uploads;
use crate::{admin, api};

/// Why a gateway does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate for clients.
    #[error(transparent)]
    ServerTls(#[from] ServerTlsError),
    /// The certificates for the cluster.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClientError),
    /// What endpoints are served with.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// What the tax authority is spoken with.
    #[error(transparent)]
    Uploads(#[from] AdapterError),
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
    /// What never ends by itself did.
    #[error("a part of the gateway ended by itself: {detail}")]
    Ended {
        /// What the runtime says.
        detail: String,
    },
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    app: App,
    address: SocketAddr,
    admin: SocketAddr,
    /// Nothing new is taken from then on.
    stop: watch::Sender<bool>,
    /// What clients see.
    public: JoinSet<()>,
    /// What goes on until the last of their requests has come to its end.
    behind: JoinSet<()>,
    end: watch::Sender<bool>,
}

impl Gateway {
    /// Starts a gateway; it serves when this returns, though it may still be learning the directory. A cluster
    /// that does not answer now may do so later: until then requests are told so.
    pub async fn start(config: GatewayConfig) -> Result<Self, RunError> {
        config.check()?;
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let material = config.cluster.files().map(|files| files.load()).transpose()?;
        let public_socket = listen("the gateway", config.listen).await?;
        let private_socket = listen("the admin listener", config.admin_listen).await?;
        let address = local(&public_socket);
        let admin_address = local(&private_socket);
        let mut client = ClientConfig::new(config.cluster.nodes.clone(), material);
        client.region.clone_from(&config.cluster.region);
        let cluster = ClusterClient::new(client)?;
        let (stop, stopping) = watch::channel(false);
        let directory = Arc::new(Directory::default());
        let deliveries = config.webhooks.as_ref();
        let deliveries = deliveries
            .map(|section| {
                let leases_shared = config.uploads.is_some();
                Deliveries::open(section, &cluster, &directory, leases_shared).map(Arc::new)
            })
            .transpose()?;
        let uploads = match (&config.uploads, &deliveries) {
            (Some(section), Some(deliveries)) => {
                Some(Arc::new(Uploads::open(section, &cluster, &directory, deliveries)?))
            }
            _ => None,
        };
        let app = App::new(config, cluster, directory, deliveries.clone(), uploads.clone());
        let (end, ending) = watch::channel(false);
        let (mut public, mut behind) = (JoinSet::new(), JoinSet::new());
        behind.spawn(follow(app.clone(), ending.clone()));
        if let Some(deliveries) = deliveries {
            behind.spawn(deliveries.run(stopping.clone()));
        }
        if let Some(uploads) = uploads {
            behind.spawn(uploads.run(stopping.clone()));
        }
        let limits = app.config().limits.clone();
        let listener = Listener {
            socket: public_socket,
            tls,
            routes: api::routes(app.clone()),
            linger: Duration::from_millis(limits.linger_ms),
            limits: limits.clone(),
        };
        public.spawn(listener.serve(stopping.clone()));
        let listener = Listener {
            socket: private_socket,
            tls: None,
            routes: admin::routes(app.clone(), stopping),
            linger: Duration::ZERO,
            limits,
        };
        behind.spawn(listener.serve(ending));
        tracing::info!(%address, admin = %admin_address, "the gateway serves");
        Ok(Self { app, address, admin: admin_address, stop, public, behind, end })
    }

    /// What its handlers share.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Serves until `stop` ends, then lets requests come to their end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let ended = tokio::select! {
            () = stop => Ok(()),
            ended = self.public.join_next() => Err(ended_by_itself(&ended)),
            ended = self.behind.join_next() => Err(ended_by_itself(&ended)),
        };
        tracing::info!("the gateway stops: nothing new is taken, requests come to their end");
        self.stop().await;
        ended
    }

    /// Stops it: it is not ready any more, takes nothing new, and lets requests come to their end.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        join(&mut self.public).await;
        self.end.send_replace(true);
        join(&mut self.behind).await;
    }
}

async fn join(parts: &mut JoinSet<()>) {
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the gateway broke");
        }
    }
}

fn ended_by_itself(ended: &Option<Result<(), JoinError>>) -> RunError {
    let detail = match ended {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) => "it has nothing more to do".to_owned(),
        None => "there is none".to_owned(),
    };
    RunError::Ended { detail }
}

async fn follow(app: App, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = app.follow_directory() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { what, address, source })
}

fn local(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound listener has an address")
}
