//! `fiscus node`: one replica.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use fiscus_node::config::{ConfigError, NodeConfig};
use fiscus_node::{Node, RunError};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::output::answer;

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
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Listen for others here instead of where the file says.
    #[arg(long, value_name = "IP:PORT")]
    rpc_listen: Option<std::net::SocketAddr>,
    /// Serve health and metrics here instead of where the file says.
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<std::net::SocketAddr>,
    /// Keep everything here instead of where the file says.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The log's level filter instead of the file's, as in debug or fiscus_raft=debug,info.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Print the configuration in force, and end.
    #[arg(long)]
    print_config: bool,
    /// End when standard input ends, so that a node does not outlive whoever started it.
    #[arg(long)]
    stop_with_stdin: bool,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configured(arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("fiscus node: {error}");
            return ExitCode::from(2);
        }
    };
    if arguments.print_config {
        return answer("node", &config.to_toml(), 0);
    }
    let filter = match EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("fiscus node: log: {error}");
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match serve(config, arguments.stop_with_stdin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the node failed");
            match error.downcast_ref::<RunError>() {
                Some(RunError::Config(_)) => ExitCode::from(2),
                Some(RunError::Poisoned(_)) => ExitCode::from(3),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The file, with what the command line changes; checked whole.
fn configured(arguments: &Arguments) -> Result<NodeConfig, ConfigError> {
    let mut config = NodeConfig::load(&arguments.config)?;
    if let Some(listen) = arguments.rpc_listen {
        config.rpc_listen = listen;
    }
    if let Some(listen) = arguments.admin_listen {
        config.admin_listen = listen;
    }
    if let Some(dir) = &arguments.data_dir {
        config.data_dir.clone_from(dir);
    }
    if let Some(log) = &arguments.log {
        config.log.clone_from(log);
    }
    config.check()?;
    Ok(config)
}

fn serve(config: NodeConfig, stop_with_stdin: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    run_to_the_end(runtime, async {
        let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let node = Node::start(config).await?;
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                () = stdin_ends(), if stop_with_stdin => {}
            }
        };
        node.run(stop).await.map_err(anyhow::Error::from)
    })
}

/// Runs the work, and ends however it ended: a thread that still waits, as for standard input, holds up
/// neither a good end nor a bad one.
fn run_to_the_end(runtime: Runtime, work: impl Future<Output = Result<()>>) -> Result<()> {
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

async fn stdin_ends() {
    let waiting = tokio::task::spawn_blocking(|| {
        let mut sink = [0; 256];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut sink).is_ok_and(|bytes| bytes > 0) {}
    });
    // A thread that failed to wait counts as an end as well.
    let _ = waiting.await;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// A poisoned log must end the process with its own exit code while somebody holds standard input open.
    #[test]
    fn an_error_ends_it_while_a_thread_still_waits() {
        for fails in [true, false] {
            let (open, never) = mpsc::sync_channel::<()>(1);
            let (told, ended) = mpsc::sync_channel(1);
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
                let ended = run_to_the_end(runtime, async {
                    let (began, begun) = tokio::sync::oneshot::channel();
                    tokio::task::spawn_blocking(move || {
                        began.send(()).expect("somebody waits for it");
                        // As a read of a pipe that nobody closes.
                        let _ = never.recv();
                    });
                    begun.await.expect("it has begun");
                    if fails { anyhow::bail!("poisoned") } else { Ok(()) }
                });
                told.send(ended.is_err()).expect("the test waits");
            });
            let failed = ended.recv_timeout(Duration::from_secs(30));
            assert_eq!(failed, Ok(fails), "it does not wait for the thread");
            drop(open);
        }
    }
}
