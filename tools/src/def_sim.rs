//! `fiscus def-sim`: a simulated fiscal device on a line of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use ed25519_dalek::VerifyingKey;
use fiscus_device_proxy::def_sim::{DefSim, DefSimConfig, Faults, MachineConfig, Place};
use fiscus_ledger::base64::{decode_standard, encode_standard};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::Object;
use fiscus_ledger::seal::is_series_prefix;
use tokio::sync::mpsc;

/// Simulate a real fiscal device (DEF): a P-256 key, a journal of its own, and whatever can go wrong with its line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus def-sim --dir /tmp/def --id DEF-GOMBE-1 --link /tmp/def/line --json
  fiscus def-sim --dir /tmp/def --id DEF-GOMBE-1 --listen 127.0.0.1:9200 --faults split,late --fault-per-mille 50

It keeps its key and its journal in the directory, and goes on where it was. It reads what is to happen from
standard input, a line each, and answers each with a line:

  power-cut [MS]                       the power goes, and comes back after so long
  cut-commit before|torn|after [MS]    it goes during the next commit
  unplug, plug                         the cable
  busy MS                              everything is answered DEVICE_BUSY
  lose N                               the next N answers do not come
  clock TIME|reset|real                the device's own clock
  memory BYTES                         how much it can hold
  entries                              how many invoices it has sealed

At the end of its input it goes on; SIGTERM and SIGINT end it.

Exit codes:
  0  stopped as asked
  1  it failed
  2  wrong usage; nothing was started")]
pub(crate) struct Arguments {
    /// Its key and its journal are here; made when it is not there.
    #[arg(long)]
    dir: PathBuf,
    /// The device's id, which stands before its numbers.
    #[arg(long)]
    id: String,
    /// Link to its pseudo-terminal from here, always.
    #[arg(long, conflicts_with = "listen")]
    link: Option<PathBuf>,
    /// Be reached over TCP instead of a pseudo-terminal.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// How its codes name the host of the public verification.
    #[arg(long, default_value = "verify.example.cd")]
    verify_host: String,
    /// Its memory, in bytes.
    #[arg(long, default_value_t = 64 << 20)]
    memory: u64,
    /// The tax authority's Ed25519 key in base64.
    #[arg(long)]
    dgi_public_key: Option<String>,
    /// Faults that come by themselves: split, garbage, lose, busy, late, or all; with commas.
    #[arg(long, default_value = "")]
    faults: String,
    /// Tell no more than the protocol asks for: QRY|LOG without the invoice.
    #[arg(long)]
    terse: bool,
    /// How many of a thousand answers have one.
    #[arg(long, default_value_t = 20)]
    fault_per_mille: u64,
    /// The same faults for the same seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one line of JSON when it runs: its id, its line and its public key.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let config = match configured(arguments) {
        Ok(config) => config,
        Err(error) => return crate::process::misconfigured("def-sim", &error),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime
        .context("the runtime")
        .and_then(|runtime| runtime.block_on(simulate(arguments, config)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fiscus def-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn configured(arguments: &Arguments) -> Result<DefSimConfig, anyhow::Error> {
    if !is_series_prefix(&arguments.id) {
        return Err(anyhow!("--id must be capital letters and digits in parts with dashes"));
    }
    let dgi_key = arguments.dgi_public_key.as_deref().map(|text| {
        let bytes = decode_standard(text).and_then(|bytes| bytes.try_into().ok());
        let key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        key.ok_or_else(|| anyhow!("--dgi-public-key must be 32 bytes of an Ed25519 key in base64"))
    });
    Ok(DefSimConfig {
        machine: MachineConfig {
            device_id: arguments.id.clone(),
            verify_host: arguments.verify_host.clone(),
            memory_bytes: arguments.memory,
            manifests: vec![Manifest::builtin()],
            dgi_key: dgi_key.transpose()?,
        },
        folder: arguments.dir.clone(),
        place: match arguments.listen {
            Some(address) => Place::Tcp(address),
            None => Place::Pty(arguments.link.clone()),
        },
        faults: Faults::parse(&arguments.faults, arguments.fault_per_mille, arguments.seed)?
            .terse(arguments.terse),
    })
}

async fn simulate(arguments: &Arguments, config: DefSimConfig) -> Result<(), anyhow::Error> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let sim = DefSim::start(config).await?;
    let public_key = encode_standard(sim.public_key());
    let path = sim.path().map(|path| path.display().to_string());
    let address = sim.address().map(|address| address.to_string());
    if arguments.json {
        let json = Object::new()
            .text("device_id", &arguments.id)
            .optional("pty", path.as_deref())
            .optional("addr", address.as_deref())
            .text("public_key", &public_key)
            .count("entries", sim.entries());
        println!("{}", json.finish());
    } else {
        let line = path.or(address).unwrap_or_default();
        println!("{} is at {line}; its public key is {public_key}", arguments.id);
    }
    let mut lines = control_lines();
    let mut open = true;
    loop {
        tokio::select! {
            line = lines.recv(), if open => match line {
                Some(line) => {
                    let answer = sim.control(&line).await;
                    if arguments.json {
                        println!("{}", Object::new().text("done", &answer).finish());
                    } else {
                        println!("{answer}");
                    }
                }
                None => open = false,
            },
            _ = terminated.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    sim.stop().await;
    Ok(())
}

/// The lines of standard input, read on a thread of their own: nothing else can wait for them.
fn control_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
