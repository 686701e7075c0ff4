//! `fiscus gateway`: the fiscal REST API in front of a cluster.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use fiscus_gateway::config::{ConfigError, GatewayConfig};
use fiscus_gateway::{Gateway, RunError};

use crate::process::{self, Service, misconfigured};

/// Run a gateway: the REST API through which invoices are sealed and verified.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus gateway --config /etc/fiscus/gateway.toml

It keeps nothing: any number of gateways may stand before a cluster, and each may end at any time. It starts
while the cluster cannot be reached, and is ready (/readyz on the admin listener) when it has heard of the
directory. SIGTERM and SIGINT stop it: it is no longer ready, takes nothing new, lets requests come to their
end, and ends. Its log goes to standard error, a line of JSON each.

Exit codes:
  0  stopped as asked
  1  it failed; the last line of the log says why
  2  wrong usage or configuration; nothing was started")]
pub(crate) struct Arguments {
    #[command(flatten)]
    process: process::ServiceArguments,
    /// Listen for clients here instead of where the file says.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configured(arguments) {
        Ok(config) => config,
        Err(error) => return misconfigured("gateway", &error),
    };
    let log = config.log.clone();
    let service = Service { name: "gateway", log: &log, toml: config.to_toml() };
    process::run(
        &arguments.process,
        &service,
        async |stop| Ok(Gateway::start(config).await?.run(stop.asked()).await?),
        |error| match error.downcast_ref::<RunError>() {
            Some(RunError::Config(_) | RunError::ServerTls(_) | RunError::Tls(_)) => 2,
            _ => 1,
        },
    )
}

/// The file, with what the command line changes; checked whole.
fn configured(arguments: &Arguments) -> Result<GatewayConfig, ConfigError> {
    let mut config = GatewayConfig::load(&arguments.process.config)?;
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if let Some(listen) = arguments.process.admin_listen {
        config.admin_listen = listen;
    }
    if let Some(log) = &arguments.process.log {
        config.log.clone_from(log);
    }
    config.check()?;
    Ok(config)
}
