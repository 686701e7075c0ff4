//! `fiscus-jepsen`: a run of faults on real processes.

use std::process::ExitCode;

use clap::Parser;
use fiscus_nemesis::{Options, run};

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let told = match runtime {
        Ok(runtime) => runtime.block_on(run(&options)),
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
