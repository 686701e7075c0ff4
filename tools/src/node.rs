//! `fiscus node`: one replica.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fiscus_node::config::{ConfigError, NodeConfig};
use fiscus_node::{Node, RunError};

use crate::process::{self, Service, misconfigured};

/// Run a node of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus node --config /etc/fiscus/node.toml

A new node waits for `fiscus admin init` or `fiscus admin nodes add`. SIGTERM and SIGINT stop it: it
gives its groups away, makes everything durable, and ends. Its log goes to standard error, a line of
JSON each.

Exit codes:
  0  stopped as asked
  1  it failed; the last line of the log says why
  2  wrong usage or configuration; nothing was started
  3  a write or a sync of the log failed: what is in memory is not trusted any more. Look after the
     disk, then start it again")]
pub(crate) struct Arguments {
    #[command(flatten)]
    process: process::ServiceArguments,
    /// Listen for others here instead of where the file says.
    #[arg(long, value_name = "IP:PORT")]
    rpc_listen: Option<std::net::SocketAddr>,
    /// Keep everything here instead of where the file says.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configured(arguments) {
        Ok(config) => config,
        Err(error) => return misconfigured("node", &error),
    };
    let log = config.log.clone();
    let service = Service { name: "node", log: &log, toml: config.to_toml() };
    process::run(
        &arguments.process,
        &service,
        async |stop| Ok(Node::start(config).await?.run(stop.asked()).await?),
        |error| match error.downcast_ref::<RunError>() {
            Some(RunError::Config(_)) => 2,
            Some(RunError::Poisoned(_)) => 3,
            _ => 1,
        },
    )
}

/// The file, with what the command line changes; checked whole.
fn configured(arguments: &Arguments) -> Result<NodeConfig, ConfigError> {
    let mut config = NodeConfig::load(&arguments.process.config)?;
    if let Some(listen) = arguments.rpc_listen {
        config.rpc_listen = listen;
    }
    if let Some(listen) = arguments.process.admin_listen {
        config.admin_listen = listen;
    }
    if let Some(dir) = &arguments.data_dir {
        config.data_dir.clone_from(dir);
    }
    if let Some(log) = &arguments.process.log {
        config.log.clone_from(log);
    }
    config.check()?;
    Ok(config)
}
