//! A demonstration of three nodes, and `fiscus bench` against it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::load::{Figures, Pace};
use crate::machine::stop;

pub(crate) struct Fiscus {
    program: PathBuf,
    pub(crate) dir: PathBuf,
    demo: Child,
    pub(crate) nodes: Vec<u32>,
}

/// What is asked of `fiscus bench`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) via: &'static str,
    pub(crate) outlets: u32,
    pub(crate) batch: u32,
    pub(crate) clients: usize,
    pub(crate) pace: Pace,
}

impl Fiscus {
    /// Three nodes alone, as the peers are; with a gateway before them when `gateway` is set.
    pub(crate) fn start(program: &Path, dir: &Path, gateway: bool) -> Result<Self> {
        let log = std::fs::File::create(dir.join("demo.log"))?;
        let data = dir.join("demo");
        let mut demo = Command::new(program)
            // The peers do not report to a tax authority either.
            .args(["demo", "--json", "--no-uploads", "--dir"])
            .arg(&data)
            .args((!gateway).then_some("--nodes-only"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let out = demo.stdout.take().context("its output")?;
        let mut started = Self { program: program.to_owned(), dir: data, demo, nodes: Vec::new() };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).context("the demonstration's line")?;
        let nodes = told["nodes"].as_array().context("its nodes")?;
        let pid = |node: &Value| u32::try_from(node["pid"].as_u64()?).ok();
        started.nodes = nodes.iter().filter_map(pid).collect();
        ensure!(started.nodes.len() == 3, "{} nodes", started.nodes.len());
        Ok(started)
    }

    /// Works for so long; what was sealed, and whether it is all there when that is asked.
    pub(crate) async fn run(&self, work: Work, length: Duration, verify: bool) -> Result<Figures> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["bench", "--json", "--warm-up", "2", "--via", work.via, "--dir"]);
        command.arg(&self.dir);
        for (name, value) in [
            ("--outlets", work.outlets.to_string()),
            ("--batch", work.batch.to_string()),
            ("--clients", work.clients.to_string()),
            ("--length", length.as_secs().to_string()),
        ] {
            command.args([name, &value]);
        }
        if let Pace::Open { per_second } = work.pace {
            command.args(["--rate", &format!("{:.0}", per_second.max(1.0))]);
        }
        if verify {
            command.arg("--verify");
        }
        let out = command.output().await.context("fiscus bench")?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "fiscus bench: {}: {said}", out.status);
        let told: Value = serde_json::from_slice(&out.stdout).context("what fiscus bench said")?;
        let step = &told["steps"][0];
        let number = |value: &Value| value.as_f64().context("a figure of fiscus bench");
        Ok(Figures {
            per_second: number(&step["sealed_per_second"])?,
            p50: number(&step["milliseconds"]["p50"])?,
            p99: number(&step["milliseconds"]["p99"])?,
        })
    }
}

impl Drop for Fiscus {
    fn drop(&mut self) {
        stop(&mut self.demo);
    }
}
