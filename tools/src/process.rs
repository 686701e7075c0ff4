//! A process that serves until it is told to stop: what nodes and gateways have in common.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::output::answer;

/// What every such process is told.
#[derive(Debug, Args)]
pub(crate) struct ServiceArguments {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Serve health and metrics here instead of where the file says.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admin_listen: Option<std::net::SocketAddr>,
    /// The log's level filter instead of the file's, as in debug or fiscus_raft=debug,info.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Print the configuration in force, and end.
    #[arg(long)]
    print_config: bool,
    /// End when standard input ends, so that it does not outlive whoever started it.
    #[arg(long)]
    stop_with_stdin: bool,
}

/// What runs under which configuration.
pub(crate) struct Service<'a> {
    /// The subcommand.
    pub(crate) name: &'static str,
    /// The log's filter.
    pub(crate) log: &'a str,
    /// The configuration in force.
    pub(crate) toml: String,
}

/// The end that somebody asks for.
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
    with_stdin: bool,
}

impl Stop {
    /// Waits for it.
    pub(crate) async fn asked(mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            () = stdin_ends(), if self.with_stdin => {}
        }
    }
}

/// Wrong usage or configuration: nothing was started.
pub(crate) fn misconfigured(name: &str, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("fiscus {name}: {error}");
    ExitCode::from(2)
}

/// Prints the configuration, or serves with a log until it is told to stop. `exit_code` says what an error means.
pub(crate) fn run(
    arguments: &ServiceArguments,
    service: &Service<'_>,
    work: impl AsyncFnOnce(Stop) -> Result<()>,
    exit_code: impl FnOnce(&anyhow::Error) -> u8,
) -> ExitCode {
    let name = service.name;
    if arguments.print_config {
        return answer(name, &service.toml, 0);
    }
    let filter = match EnvFilter::try_new(service.log) {
        Ok(filter) => filter,
        Err(error) => return misconfigured(name, &format!("log: {error}")),
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match serve(arguments.stop_with_stdin, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the {name} failed");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn serve(with_stdin: bool, work: impl AsyncFnOnce(Stop) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    run_to_the_end(runtime, async {
        let term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        work(Stop { term, int, with_stdin }).await
    })
}

/// Runs the work, and ends however it ended: a thread that still waits, as for standard input, holds up
/// neither a good end nor a bad one.
fn run_to_the_end(runtime: Runtime, work: impl Future<Output = Result<()>>) -> Result<()> {
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

pub(crate) async fn stdin_ends() {
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
