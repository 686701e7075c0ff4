//! Processes that end although nobody ended them: each is a finding, unless its disk explains it, and is started again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use fiscus_check::Kind;
use tokio::time::{Instant, sleep};

use super::{Faults, START_AGAIN};

const EVERY: Duration = Duration::from_millis(250);
/// What a disk does to a process is seen so long afterwards at most.
const ECHO: Duration = Duration::from_secs(5);
/// The index's store panics on damaged files. A node expects that, catches it and makes the state anew.
const EXPECTED: &str = "/redb-";

/// Nodes whose disk is full or without power, or was so a moment ago.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<u64, Trouble>);

#[derive(Debug, Default)]
struct Trouble {
    /// Faults of the disk that have not ended.
    now: u32,
    ended: Option<Instant>,
}

impl Troubles {
    fn begin(&mut self, id: u64) {
        self.0.entry(id).or_default().now += 1;
    }

    fn end(&mut self, id: u64, at: Instant) {
        let trouble = self.0.entry(id).or_default();
        (trouble.now, trouble.ended) = (trouble.now.saturating_sub(1), Some(at));
    }

    fn end_all(&mut self, at: Instant) {
        for trouble in self.0.values_mut().filter(|trouble| trouble.now > 0) {
            (trouble.now, trouble.ended) = (0, Some(at));
        }
    }

    /// Whether a node's disk explains that its process ends.
    fn explain(&self, id: u64, at: Instant) -> bool {
        let echoes =
            |trouble: &Trouble| trouble.ended.is_some_and(|ended| at.duration_since(ended) < ECHO);
        self.0.get(&id).is_some_and(|trouble| trouble.now > 0 || echoes(trouble))
    }
}

impl Faults {
    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn disk_fails(&self, id: u64) {
        self.troubles().begin(id);
    }

    pub(super) fn disk_works(&self, id: u64) {
        self.troubles().end(id, Instant::now());
    }

    pub(super) fn all_disks_work(&self) {
        self.troubles().end_all(Instant::now());
    }

    /// Notes that a process has ended in a way that nobody asked for.
    pub(super) fn ended_by_itself(&self, what: String, id: u64) {
        if self.troubles().explain(id, Instant::now()) {
            self.recorder.remark(format!("{what}; its disk was full or without power"));
        } else {
            self.recorder.finding(Kind::Crashed, what);
        }
    }

    /// Starts again whoever has ended without being asked to, as a service manager does.
    pub(crate) async fn supervise(self) -> Result<()> {
        let mut ended: BTreeMap<u64, Instant> = BTreeMap::new();
        loop {
            sleep(EVERY).await;
            let mut due = Vec::new();
            {
                let mut cluster = self.lock();
                for node in cluster.nodes.values_mut().filter(|node| !node.held) {
                    if let Some(how) = node.ended() {
                        self.ended_by_itself(format!("node {} ended: {how}", node.id), node.id);
                    }
                    if node.runs() {
                        continue;
                    }
                    let since = *ended.entry(node.id).or_insert_with(Instant::now);
                    if since.elapsed() >= START_AGAIN {
                        due.push(node.id);
                    }
                }
            }
            for id in due {
                ended.remove(&id);
                self.start_again(id)?;
            }
        }
    }

    /// Looks for panics in what all nodes have ever logged. Files may have been damaged: then some are expected.
    pub(crate) fn find_panics(&self, damaged: bool) -> Result<()> {
        let dir = self.lock().make.dir.clone();
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(id) = node_of_log(&name) else { continue };
            let panics = panics_in(&path)?;
            let (expected, others): (Vec<_>, Vec<_>) =
                panics.into_iter().partition(|line| damaged && line.contains(EXPECTED));
            if let Some(line) = others.first() {
                self.recorder.finding(Kind::Crashed, format!("node {id}: {line}"));
            }
            if let Some(line) = expected.first() {
                self.recorder.remark(format!("node {id} met damaged files: {line}"));
            }
        }
        Ok(())
    }
}

fn node_of_log(name: &str) -> Option<u64> {
    name.strip_prefix('n')?.strip_suffix(".log")?.parse().ok()
}

/// Every line of a log that tells of a panic.
fn panics_in(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut panics = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.with_context(|| path.display().to_string())?;
        let line = String::from_utf8_lossy(&line);
        if line.contains("panicked at") {
            panics.push(line.into_owned());
        }
    }
    Ok(panics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_explains_an_end_while_it_fails_and_for_a_moment_afterwards() {
        let (mut troubles, at) = (Troubles::default(), Instant::now());
        assert!(!troubles.explain(1, at));
        troubles.begin(1);
        troubles.begin(1);
        troubles.end(1, at);
        assert!(troubles.explain(1, at + ECHO * 9), "it is still full");
        troubles.end(1, at);
        assert!(troubles.explain(1, at + ECHO / 2) && !troubles.explain(1, at + ECHO));
        troubles.begin(2);
        troubles.end_all(at);
        assert!(!troubles.explain(2, at + ECHO));
    }

    #[test]
    fn panics_are_found_in_logs_of_nodes() {
        assert_eq!((node_of_log("n12.log"), node_of_log("new.log")), (Some(12), None));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n1.log");
        let line = "thread 'main' (7) panicked at node/src/run.rs:1:2:";
        fs::write(&path, [b"{}\n\xff\n", line.as_bytes(), b"\nwhy\n"].concat()).unwrap();
        assert_eq!(panics_in(&path).unwrap(), [line]);
    }
}
