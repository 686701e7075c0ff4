//! What was found to be wrong with what this node holds, numbered without gaps: each incident is a line of
//! `incidents.ndjson` in the data directory, and the last ones are in memory for whoever tells others of them.
//!
//! Invariant: a number is one incident's for ever, restarts included. Non-goal: keeping all of them; a long file replaces
//! the one before it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger as wire;
use serde::{Deserialize, Serialize};

const FILE: &str = "incidents.ndjson";
/// A file of incidents is replaced when it is longer; the one before it is kept.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// A line is a part of a file, and one file may have been longer by one.
const READ_BYTES_MAX: u64 = 2 * FILE_BYTES_MAX;
/// So many are in memory.
const KEPT_MAX: usize = 64;

/// How an incident was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The monitor has read what is stored.
    Look,
    /// The group's state is another one than its peers'.
    Difference,
    /// The voters name different states, and none of them has a majority.
    Dispute,
    /// A witness has cosigned another log.
    Witness,
    /// Other nodes have a checkpoint of the same size with another root.
    OtherLogs,
}

impl Cause {
    const ALL: [Self; 5] =
        [Self::Look, Self::Difference, Self::Dispute, Self::Witness, Self::OtherLogs];

    /// For people, and in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Look => "a regular look",
            Self::Difference => "its state differs",
            Self::Dispute => "the cut of a checkpoint",
            Self::Witness => "a witness",
            Self::OtherLogs => "the checkpoints of other nodes",
        }
    }

    /// For programs.
    fn code(self) -> &'static str {
        match self {
            Self::Look => "replica_damaged",
            Self::Difference => "replica_diverged",
            Self::Dispute => "replica_quarantined",
            Self::Witness => "witness_refused",
            Self::OtherLogs => "log_forked",
        }
    }
}

/// What was found in one group, and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Incident {
    pub(crate) at: String,
    pub(crate) node: u64,
    pub(crate) group: u64,
    pub(crate) why: &'static str,
    pub(crate) findings: Vec<String>,
    pub(crate) findings_more: usize,
    pub(crate) repaired: Vec<String>,
    /// What is still wrong; none when all was put right.
    pub(crate) left: Option<String>,
}

/// A line of the file, as far as it is told.
#[derive(Debug, Deserialize)]
struct Line {
    /// A line from before they were numbered has none.
    number: Option<u64>,
    at: String,
    group: u64,
    why: String,
    findings: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    findings_more: usize,
    repaired: Vec<serde::de::IgnoredAny>,
    left: Option<String>,
}

#[derive(Debug, Serialize)]
struct Numbered<'a> {
    number: u64,
    #[serde(flatten)]
    incident: &'a Incident,
}

/// The incidents of this node.
#[derive(Debug)]
pub struct Incidents {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    last: VecDeque<wire::Incident>,
}

impl Known {
    fn keep(&mut self, incident: wire::Incident) {
        self.next = incident.number + 1;
        self.last.push_back(incident);
        if self.last.len() > KEPT_MAX {
            self.last.pop_front();
        }
    }
}

impl Incidents {
    /// Those of the files in a data directory.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let mut known = Known::default();
        for file in [path.with_extension("old"), path.clone()] {
            if let Err(error) = read(&file, &mut known) {
                tracing::error!(file = %file.display(), %error, "incidents cannot be read");
            }
        }
        Self { path, known: Mutex::new(known) }
    }

    /// Takes one in, and writes it down.
    pub(crate) fn take(&self, cause: Cause, at_ms: u64, incident: &Incident) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let number = known.next;
        let numbered = Numbered { number, incident };
        let line = serde_json::to_string(&numbered).expect("an incident is JSON") + "\n";
        if let Err(error) = self.append(&line) {
            tracing::error!(incident = line, %error, "an incident is in the log alone");
        }
        known.keep(wire::Incident {
            number,
            time_ms: at_ms,
            group: incident.group,
            code: cause.code().to_owned(),
            findings: count(incident.findings.len() + incident.findings_more),
            repaired: count(incident.repaired.len()),
            is_open: incident.left.is_some(),
        });
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        let long = std::fs::metadata(&self.path).is_ok_and(|file| file.len() > FILE_BYTES_MAX);
        if long {
            std::fs::rename(&self.path, self.path.with_extension("old"))?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }

    /// Those from a number on, as far as they are in memory, and the number of the next one.
    pub(crate) fn from(&self, number: u64) -> (u64, Vec<wire::Incident>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = known.last.iter().filter(|incident| incident.number >= number);
        (known.next, wanted.cloned().collect())
    }
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

/// Takes in a file; there need not be one. A line that cannot be read, as a torn one, has a number nevertheless.
fn read(path: &Path, known: &mut Known) -> std::io::Result<()> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    for line in BufReader::new(file.take(READ_BYTES_MAX)).split(b'\n') {
        let line = line?;
        let Ok(line) = serde_json::from_slice::<Line>(&line) else {
            known.next += u64::from(!line.is_empty());
            continue;
        };
        let number = line.number.unwrap_or(known.next).max(known.next);
        let cause = Cause::ALL.into_iter().find(|cause| cause.as_str() == line.why);
        known.keep(wire::Incident {
            number,
            time_ms: UnixMs::parse_canonical(&line.at).map_or(0, UnixMs::get),
            group: line.group,
            code: cause.unwrap_or(Cause::Look).code().to_owned(),
            findings: count(line.findings.len() + line.findings_more),
            repaired: count(line.repaired.len()),
            is_open: line.left.is_some(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(group: u64, findings: usize, left: Option<&str>) -> Incident {
        Incident {
            at: "2026-11-28T10:15:30.123Z".to_owned(),
            node: 2,
            group,
            why: Cause::Witness.as_str(),
            findings: vec!["leaf 7".to_owned(); findings],
            findings_more: 1,
            repaired: Vec::new(),
            left: left.map(str::to_owned),
        }
    }

    #[test]
    fn a_number_is_one_incidents_whatever_is_restarted() {
        let dir = tempfile::tempdir().expect("a directory");
        let unnumbered = r#"{"at":"2026-11-28T10:15:29.000Z","node":2,"group":1,"why":"its state differs","findings":["x"],"findings_more":0,"repaired":["x"],"left":null}"#;
        std::fs::write(dir.path().join(FILE), format!("{unnumbered}\n{{\"at\":\n"))
            .expect("a file");
        let first = Incidents::open(dir.path());
        let (next, known) = first.from(0);
        assert_eq!((next, known.len()), (2, 1), "the torn line has the number 1");
        assert_eq!((&*known[0].code, known[0].is_open), ("replica_diverged", false));
        first.take(Cause::Witness, 9, &incident(1, 2, Some("somebody")));
        let again = Incidents::open(dir.path());
        let (next, known) = again.from(2);
        assert_eq!((next, known.len()), (3, 1));
        let told = &known[0];
        assert_eq!((told.number, told.group, told.findings), (2, 1, 3));
        assert_eq!((&*told.code, told.is_open), ("witness_refused", true));
        assert_eq!(
            told.time_ms,
            UnixMs::parse_canonical("2026-11-28T10:15:30.123Z").expect("a time").get()
        );
    }

    #[test]
    fn what_is_in_memory_is_bounded_and_a_long_file_gives_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let incidents = Incidents::open(dir.path());
        let large = incident(0, 4_096, None);
        let rounds = FILE_BYTES_MAX / (4_096 * 9) + 20;
        (0..rounds).for_each(|_| incidents.take(Cause::Look, 1, &large));
        let (next, known) = incidents.from(0);
        assert_eq!((next, known.len()), (rounds, KEPT_MAX));
        assert!(dir.path().join("incidents.old").exists(), "it was long");
        assert_eq!(Incidents::open(dir.path()).from(0).0, rounds, "numbers go on");
    }
}
