//! The last checkpoint of a group that enough witnesses have cosigned, kept over restarts: `groups/{g}/COSIGNED` is the
//! signed note.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::cosignature::{CosignerKey, cosigners};
use fiscus_ledger::note::Note;

use crate::checkpoints;
use crate::context::NodeContext;

const FILE: &str = "COSIGNED";
const FRESH: &str = "COSIGNED.new";
/// A note is at most so long.
const NOTE_BYTES_MAX: usize = 256 << 10;

/// What is kept of a group's cosigned checkpoints.
#[derive(Debug)]
pub(crate) struct Cosigned {
    dir: PathBuf,
    kept: Mutex<Option<Kept>>,
    /// What is wrong between each witness and this log.
    alerts: Mutex<BTreeMap<String, Alert>>,
}

/// What is wrong, for people.
#[derive(Debug)]
pub(super) enum Alert {
    /// The witness has seen another log.
    Fork(String),
    /// It does not cosign.
    Other(String),
}

#[derive(Debug, Clone)]
struct Kept {
    size: u64,
    cosigners: usize,
    note: String,
}

impl Kept {
    fn read(text: &str, witnesses: &[CosignerKey]) -> Option<Self> {
        if text.len() > NOTE_BYTES_MAX {
            return None;
        }
        let note = Note::parse(text.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(note.text()).ok()?;
        let cosigners = cosigners(&note, witnesses);
        Some(Self { size: checkpoint.size(), cosigners, note: text.to_owned() })
    }
}

fn keys(context: &NodeContext) -> Vec<CosignerKey> {
    context.witnesses.iter().map(|witness| witness.key.clone()).collect()
}

impl Cosigned {
    /// What a group's directory has. A file that cannot be read is as none: the next checkpoint replaces it.
    ///
    /// What the policy of now would not publish is not gone on with, nor what is not of this log.
    pub(crate) fn open(context: &NodeContext, group: u64, dir: PathBuf) -> Self {
        let kept = std::fs::read_to_string(dir.join(FILE)).ok();
        let kept = kept.filter(|text| checkpoints::open(context, group, text).is_some());
        let kept = kept.and_then(|text| Kept::read(&text, &keys(context)));
        let needed = context.config.witness_quorum.max(1);
        let kept = kept.filter(|kept| kept.cosigners >= needed);
        Self { dir, kept: Mutex::new(kept), alerts: Mutex::default() }
    }

    /// The size and the note, when there is one.
    pub(crate) fn last(&self) -> Option<(u64, String)> {
        let kept = self.kept.lock().expect("no holder panics");
        kept.as_ref().map(|kept| (kept.size, kept.note.clone()))
    }

    /// The note of this size.
    pub(crate) fn note_of(&self, size: u64) -> Option<Note> {
        let (known, note) = self.last()?;
        (known == size).then(|| Note::parse(note.as_bytes()).ok()).flatten()
    }

    /// Keeps a note that enough witnesses have cosigned and that says more than the one that is kept. Says whether it
    /// does.
    pub(crate) fn keep(&self, context: &NodeContext, group: u64, text: &str) -> bool {
        let needed = context.config.witness_quorum.max(1);
        let Some(new) = Kept::read(text, &keys(context)) else { return false };
        if new.cosigners < needed {
            return false;
        }
        let mut kept = self.kept.lock().expect("no holder panics");
        let rank = |kept: &Kept| (kept.size, kept.cosigners);
        if kept.as_ref().is_some_and(|kept| rank(kept) >= rank(&new)) {
            return false;
        }
        if let Err(error) = self.write(text) {
            tracing::warn!(group, %error, "a cosigned checkpoint does not outlive a restart");
        }
        *kept = Some(new);
        true
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let fresh = self.dir.join(FRESH);
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, self.dir.join(FILE))
    }

    /// What is wrong, for people.
    pub(crate) fn alerts(&self) -> Vec<String> {
        let alerts = self.alerts.lock().expect("no holder panics");
        let told = alerts.values().map(|(Alert::Fork(what) | Alert::Other(what))| what.clone());
        told.collect()
    }

    /// Notes what is wrong with a witness. Says whether it is a fork, and was none before.
    pub(super) fn alert(&self, witness: &str, alert: Alert) -> bool {
        let is_fork = matches!(alert, Alert::Fork(_));
        let before =
            self.alerts.lock().expect("no holder panics").insert(witness.to_owned(), alert);
        is_fork && !matches!(before, Some(Alert::Fork(_)))
    }

    pub(super) fn clear_alert(&self, witness: &str) {
        self.alerts.lock().expect("no holder panics").remove(witness);
    }
}
