//! Starts a gateway and stops it.
//!
//! ```text
//! configuration ─► certificates ─► cluster ─► directory ─► listeners ─► wait ─► drain
//! ```

use std::net::SocketAddr;

use fiscus_proto::client::{ClientConfig, ClientError, ClusterClient};
use fiscus_proto::tls::TlsError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::App;
use crate::config::{ConfigError, GatewayConfig};
use crate::directory::Directory;
use crate::listener::{Listener, ServerTlsError, acceptor};
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
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    app: App,
    address: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Gateway {
    /// Starts a gateway; it serves when this returns, though it may still be learning the directory.
    pub async fn start(config: GatewayConfig) -> Result<Self, RunError> {
        config.check()?;
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let material = config.cluster.files().map(|files| files.load()).transpose()?;
        let public = listen("the gateway", config.listen).await?;
        let private = listen("the admin listener", config.admin_listen).await?;
        let address = local(&public);
        let admin_address = local(&private);
        let mut client = ClientConfig::new(config.cluster.nodes.clone(), material);
        client.region.clone_from(&config.cluster.region);
        let cluster = ClusterClient::connect(client).await?;
        let (stop, stopping) = watch::channel(false);
        let directory = Directory::default();
        let app = App::new(config, cluster, directory);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(app.clone(), stopping.clone()));
        let listener = Listener {
            socket: public,
            tls,
            routes: api::routes(app.clone()),
            limits: app.config().limits.clone(),
        };
        tasks.spawn(listener.serve(stopping.clone()));
        let listener = Listener {
            socket: private,
            tls: None,
            routes: admin::routes(app.clone(), stopping.clone()),
            limits: app.config().limits.clone(),
        };
        tasks.spawn(listener.serve(stopping));
        Ok(Self { app, address, admin: admin_address, stop, tasks })
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
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            // None of them ends by itself; one that does has failed.
            ended = self.tasks.join_next() => {
                tracing::error!(?ended, "a part of the gateway ended");
            }
        }
        self.stop().await;
    }

    /// Stops it: nothing new is taken, requests come to their end.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
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
