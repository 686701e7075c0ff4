//! `fiscus-jepsen`: a run of faults on real processes.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use fiscus_nemesis::{Options, run};
use tokio::signal::unix::{SignalKind, signal};

/// Somebody stopped the run.
const STOPPED: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    // With the runtime goes all that a run made outside of its directory: processes, networks, mounts.
    let told = match runtime {
        Ok(runtime) => runtime.block_on(until_stopped(&options)),
        Err(error) => Err(error.into()),
    };
    match told {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("fiscus-jepsen: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn until_stopped(options: &Options) -> Result<u8> {
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        ended = run(options) => return ended,
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    eprintln!("fiscus-jepsen: stopped; nothing was judged, and what it has written stays");
    Ok(STOPPED)
}
