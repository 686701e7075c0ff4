//! `fiscus mcf-sim`: a stand-in for the tax authority's control module, which speaks the contract of docs/UPLOAD.md,
//! keeps what it takes, and fails on purpose.
//!
//! ```text
//! POST /v1/batches ─► http.rs ─► service.rs (faults.rs) ─► store.rs, synced ─► answer
//! GET /admin/held, POST /admin/faults, …
//! ```

mod faults;
mod http;
mod service;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use faults::Faults;
use service::Service;
use store::Store;

use crate::process::stdin_ends;

const CONNECTIONS_MAX: usize = 256;

/// Stand in for the tax authority: take uploads, keep them, and fail on purpose.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus mcf-sim --dir /tmp/mcf --key secret
  fiscus mcf-sim --dir /tmp/mcf --key secret --faults '{\"lose_answer\": 10, \"status\": 503, \"status_percent\": 20}'
  curl -s http://127.0.0.1:8799/admin/held              everything that it holds, by outlet, in the order of arrival
  curl -s http://127.0.0.1:8799/admin/held?outlet=O     of one outlet
  curl -s http://127.0.0.1:8799/admin/stats             counts
  curl -s -X POST http://127.0.0.1:8799/admin/faults -d '{\"down_ms\": 60000}'

Faults, each 0 unless it is named; the percents are of batches:
  slow_ms                    every answer waits for so long
  down_ms                    connections are closed unanswered for so long
  status, status_percent     this status instead of an answer, and nothing is taken
  retry_after_s              of answers 429 and 503
  lose_answer                percent: everything is taken, and the connection closed unanswered
  wrong_id, wrong_hash, missing, extra
                             percent: everything is taken, and the answer is wrong in this way
  retry_percent              of invoices: they are not taken now, nor is anything behind them
  reject_suffix, reject_code invoices whose number ends with it are rejected with this code
  seed                       of what is left to chance

Exit codes:
  0  ended as asked
  1  it cannot listen, or keep what it takes
  2  wrong usage")]
pub(crate) struct Arguments {
    /// Where it keeps what it takes.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8799")]
    listen: SocketAddr,
    /// The key that whoever uploads must send; any is good without it.
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    key: Option<String>,
    /// A file with that key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// End when standard input ends, so that it does not outlive whoever started it.
    #[arg(long)]
    stop_with_stdin: bool,
    /// How it fails, as JSON.
    #[arg(long, value_name = "JSON", value_parser = Faults::parse)]
    faults: Option<Faults>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let served = runtime.context("starting the runtime").and_then(|runtime| {
        let served = runtime.block_on(serve(arguments));
        // A thread that waits for standard input holds up no end.
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fiscus mcf-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> Result<()> {
    let key = match (&arguments.key, &arguments.key_file) {
        (Some(key), _) => Some(key.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Some(text.trim().to_owned())
        }
        (None, None) => None,
    };
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let store = Store::open(&arguments.dir)?;
    let held = store.count();
    let service = Arc::new(Service::new(store, key, arguments.faults.clone().unwrap_or_default()));
    let address = arguments.listen;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr().context("its address")?;
    eprintln!("the control module holds {held} invoices");
    println!("listening on http://{address}/v1/batches");
    std::io::Write::flush(&mut std::io::stdout()).context("standard output")?;
    let ends = stdin_ends();
    tokio::pin!(ends);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let (stream, _) = accepted.context("a connection")?;
                let service = Arc::clone(&service);
                connections.spawn(async move {
                    // Whoever hangs up need not be told why.
                    let _ = http::serve(stream, &service).await;
                });
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            () = &mut ends, if arguments.stop_with_stdin => return Ok(()),
        }
    }
}
