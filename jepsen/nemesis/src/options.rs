//! What a run is told.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::faults::Nemesis;
use crate::workloads::Workload;

/// Let real processes fail while clients use them, and check what they were told.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "fiscus-jepsen",
    after_help = "\
Examples:
  fiscus-jepsen --nemesis kill,partition --seconds 60
  fiscus-jepsen --nemesis power,power-all,loss,clock --workload sales,keys,audit --seconds 300 --seed 7
  fiscus-jepsen --nodes 5 --nemesis members,kill,partition --seconds 300
  fiscus-jepsen --nemesis upgrade,kill --previous /tmp/older/fiscus

It runs as root: it makes network namespaces, a bridge, and, for some faults, file systems in files. A run's directory has
history.jsonl, history.edn, summary.json, timeline.svg, report.html, and the nodes' logs.

Exit codes:
  0       sound
  2       wrong usage, or it could not be run
  24      a process ended or panicked although nobody ended it
  130     it was stopped; its processes, networks and mounts are gone
  others  as those of fiscus-check: what is wrong with the history"
)]
pub struct Options {
    /// What goes wrong; all lanes (machines, network, disks, clocks, operators) at once.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kill,partition")]
    pub(crate) nemesis: Vec<Nemesis>,
    /// What clients do.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "sales,keys,batches,credits,blocks,closures,reads,audit,admin"
    )]
    pub(crate) workload: Vec<Workload>,
    /// How long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub(crate) seconds: u64,
    /// Decides what goes wrong and what clients do.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Sales a second, of those that are made one after the other; 0 for as many as they can.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u64,
    /// Clients that sell one sale after the other.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) clients: u64,
    /// Nodes in the beginning.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=7))]
    pub(crate) nodes: u64,
    /// Outlets that are not busy.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(0..=500))]
    pub(crate) cold: u64,
    /// Between two faults of a lane, at most.
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub(crate) gap_ms: u64,
    /// A fault, at most.
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub(crate) fault_ms: u64,
    /// Bytes of log after which a node makes a snapshot.
    #[arg(long, default_value_t = 8 << 20)]
    pub(crate) snapshot_bytes: u64,
    /// The program; beside this one when absent.
    #[arg(long)]
    pub(crate) program: Option<PathBuf>,
    /// An older one, which upgrade needs.
    #[arg(long)]
    pub(crate) previous: Option<PathBuf>,
    /// A bug that nodes plant in themselves, when the program is built with `planted-bugs`.
    #[arg(long)]
    pub(crate) planted: Option<String>,
    /// Where the run is kept; target/jepsen/SEED when absent. What is there of an earlier run is removed.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

impl Options {
    /// The program, which must be there.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("fiscus"));
        let program =
            self.program.clone().or_else(beside).context("name the program: --program")?;
        ensure!(
            program.exists(),
            "{} is not there: build it, or name another with --program",
            program.display()
        );
        std::path::absolute(&program).context("the program's place")
    }

    /// Refuses what cannot be done, before anything is.
    pub(crate) fn check(&self) -> Result<()> {
        if self.nemesis.contains(&Nemesis::Upgrade) {
            let previous = self.previous.as_ref();
            let previous = previous.context("upgrade needs an older program: --previous FILE")?;
            ensure!(previous.exists(), "{}, of --previous, is not there", previous.display());
        }
        Ok(())
    }

    /// The run's directory, empty.
    pub(crate) fn fresh_dir(&self) -> Result<PathBuf> {
        let default = || PathBuf::from(format!("target/jepsen/{}", self.seed));
        let dir = std::path::absolute(self.dir.clone().unwrap_or_else(default))?;
        if dir.exists() {
            let known = dir.join("history.jsonl").exists() || dir.join("pki").exists();
            let empty = std::fs::read_dir(&dir)?.next().is_none();
            ensure!(known || empty, "{} is there and is no run's", dir.display());
            std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }

    /// The run in one line.
    pub(crate) fn name(&self) -> String {
        let nemeses: Vec<&str> = self.nemesis.iter().map(|nemesis| nemesis.name()).collect();
        let Self { nodes, seconds, seed, .. } = self;
        format!("{} on {nodes} nodes, {seconds} s, seed {seed}", nemeses.join(", "))
    }
}
