//! `fiscus device-proxy`: the fiscal-device protocol in front of a cluster.

use std::process::ExitCode;

use clap::Args;
use fiscus_device_proxy::config::{ConfigError, ProxyConfig};
use fiscus_device_proxy::{Proxy, RunError};

use crate::process::{self, Service, misconfigured};

/// Run a device proxy: fiscal devices for points of sale that speak nothing but their protocol.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus device-proxy --serve --config /etc/fiscus/device-proxy.toml
  fiscus device-proxy --attach --config /etc/fiscus/device-proxy.toml

Each device of the configuration is reached over TCP, serial lines and pseudo-terminals, by any number of
hosts. With --serve the cluster is their memory, their counter and their key; with --attach each is a real
device (its `attach` in the configuration), whose journal is carried into the ledger. It keeps nothing, and may
end at any time. It
starts while the cluster cannot be reached, and is ready (/readyz on the admin listener) when it has heard of
the directory. SIGTERM and SIGINT stop it: it takes nothing new, answers what it took, and ends. Its log goes to
standard error, a line of JSON each.

Exit codes:
  0  stopped as asked
  1  it failed; the last line of the log says why
  2  wrong usage or configuration; nothing was started")]
pub(crate) struct Arguments {
    #[command(flatten)]
    process: process::ServiceArguments,
    /// Be the devices of the configuration.
    #[arg(long, conflicts_with = "attach", required_unless_present = "attach")]
    serve: bool,
    /// Stand before the real devices of the configuration.
    #[arg(long)]
    attach: bool,
    /// Listen for the hosts of the first device here instead of where the file says.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<std::net::SocketAddr>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configured(arguments) {
        Ok(config) => config,
        Err(error) => return misconfigured("device-proxy", &error),
    };
    let log = config.log.clone();
    let service = Service { name: "device-proxy", log: &log, toml: config.to_toml() };
    process::run(
        &arguments.process,
        &service,
        async |stop| Ok(Proxy::start(config).await?.run(stop.asked()).await?),
        |error| match error.downcast_ref::<RunError>() {
            Some(RunError::Config(_) | RunError::Tls(_)) => 2,
            _ => 1,
        },
    )
}

/// The file, with what the command line changes; checked whole.
fn configured(arguments: &Arguments) -> Result<ProxyConfig, ConfigError> {
    let mut config = ProxyConfig::load(&arguments.process.config)?;
    if let (Some(listen), Some(first)) = (arguments.listen, config.devices.first_mut()) {
        first.listen = Some(listen);
    }
    if let Some(listen) = arguments.process.admin_listen {
        config.admin_listen = listen;
    }
    if let Some(log) = &arguments.process.log {
        config.log.clone_from(log);
    }
    config.check()?;
    if config.devices.iter().any(|device| device.attach.is_some() != arguments.attach) {
        let rule = if arguments.attach {
            "of each device must say where it is: the proxy stands before real devices"
        } else {
            "is for --attach: with --serve the proxy is the device"
        };
        return Err(ConfigError::Value { field: "devices.attach", rule: rule.to_owned() });
    }
    Ok(config)
}
