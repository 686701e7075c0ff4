//! Witnesses: whoever else watches that a log only grows, and says so under each checkpoint.
//!
//! ```text
//! decided cut ─► leader ─► add-checkpoint to every witness ─► cosignatures ─► kept here and by the other members
//!                                └─► "this is not the log that I know" ─► alert
//! ```
//!
//! Invariants: what is kept is signed by the log and cosigned by at least as many witnesses as the policy asks for; a
//! checkpoint is only replaced by a larger one, or by the same with more cosignatures. A witness that is away delays
//! nothing but its own cosignature.
//!
//! Non-goal: finding witnesses; who they are is configured, the same on every node.

mod exchange;
mod kept;
mod post;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::cosignature::CosignerKey;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::note::{Note, NoteSignature};
use fiscus_ledger::state::group::CheckpointTuple;
use fiscus_proto::peer;
use fiscus_raft::consensus::Lane;
use fiscus_raft::threads::aside;
use futures_util::future::join_all;
use hyper::Uri;
use rustls::ClientConfig;

use crate::config::WitnessSection;
use crate::context::NodeContext;
use crate::groups::Hosted;
use crate::incidents::Cause;
use crate::{checkpoints, monitor};
use exchange::{Verdict, request, verdict};
use kept::Alert;
pub(crate) use kept::Cosigned;
pub use trust::CaFileError;

/// Between two rounds: a checkpoint is decided about as often.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// A witness that fails is left alone for so long; it doubles, up to a minute.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Another member takes a cosigned checkpoint within this time, or hears of the next one.
const TELL_WAIT: Duration = Duration::from_secs(2);
/// A witness that names another size is asked again at once, so often.
const ATTEMPTS_MAX: usize = 3;

/// A witness as it is configured.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    key: CosignerKey,
    address: Uri,
    /// Who vouches for it; none when it is asked in plain text.
    trust: Option<Arc<ClientConfig>>,
}

impl Witness {
    /// Those of a configuration that was checked.
    pub(crate) fn all(sections: &[WitnessSection]) -> Result<Vec<Self>, CaFileError> {
        let read = sections.iter().filter_map(|section| Some((section, section.read().ok()?)));
        let witnesses = read.map(|(section, (key, address))| {
            let encrypted = address.scheme_str() == Some("https");
            let trust = encrypted.then(|| trust::load(section.ca_file.as_deref())).transpose()?;
            Ok(Self { key, address, trust })
        });
        witnesses.collect()
    }
}

/// What is known of a witness and one log.
#[derive(Debug)]
struct Acquaintance {
    witness: Witness,
    /// The size that it has cosigned, as far as is known,
    size: u64,
    /// and its lines under that checkpoint: the others may cosign it in a later round.
    lines: Vec<NoteSignature>,
    /// It is asked again then, and waited for so long after the next failure.
    after: tokio::time::Instant,
    patience: Duration,
}

/// What came of asking a witness.
struct Asked {
    lines: Vec<NoteSignature>,
    size: u64,
    problem: Option<Problem>,
}

enum Problem {
    /// It has seen another log under this name.
    Fork(String),
    /// Anything that may pass, or that an operator has to set right.
    Other(String),
}

/// Has every checkpoint cosigned for as long as the group lives here and is led from here.
pub(crate) async fn run(context: Arc<NodeContext>, hosted: Arc<Hosted>) {
    let now = tokio::time::Instant::now();
    let known = context.witnesses.iter().cloned();
    let mut known: Vec<Acquaintance> = known
        .map(|witness| Acquaintance {
            witness,
            size: 0,
            lines: Vec::new(),
            after: now,
            patience: PATIENCE,
        })
        .collect();
    let mut round = tokio::time::interval(ROUND_INTERVAL);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        let decided = hosted.handle.replica().progress().borrow().decided.clone();
        if let Some(tuple) = decided.filter(|_| hosted.handle.leading().is_some()) {
            cosign(&context, &hosted, &mut known, &tuple).await;
        }
    }
}

/// Asks the witnesses that have not cosigned this checkpoint.
async fn cosign(
    context: &Arc<NodeContext>,
    hosted: &Arc<Hosted>,
    known: &mut [Acquaintance],
    tuple: &CheckpointTuple,
) {
    let group = hosted.handle.group();
    let now = tokio::time::Instant::now();
    let is_waiting = |known: &Acquaintance| known.size < tuple.size && known.after <= now;
    if !known.iter().any(is_waiting) {
        return;
    }
    let own = match checkpoints::signed(context, group, tuple.size, &tuple.root) {
        Ok(own) => own,
        Err(error) => {
            tracing::warn!(group, %error, "no checkpoint is signed here, so none is cosigned");
            return;
        }
    };
    let Ok(mut note) = Note::parse(own.as_bytes()) else { return };
    // Those that have cosigned it in an earlier round.
    if let Some(earlier) = hosted.cosigned.note_of(tuple.size) {
        note.take_lines(&earlier);
    }
    let have = known.iter().filter(|known| known.size == tuple.size);
    have.flat_map(|known| &known.lines).for_each(|line| note.push_line(line.clone()));
    let waiting: Vec<&mut Acquaintance> =
        known.iter_mut().filter(|known| is_waiting(known)).collect();
    let asking = waiting.iter().map(|known| ask(hosted, known, &note, tuple.size));
    let asked = join_all(asking).await;
    for (known, asked) in waiting.into_iter().zip(asked) {
        let name = known.witness.key.name().to_owned();
        context.metrics.cosignatures.add(asked.lines.len() as u64);
        asked.lines.iter().for_each(|line| note.push_line(line.clone()));
        if known.size < asked.size {
            (known.size, known.lines) = (asked.size, asked.lines);
        }
        match asked.problem {
            None => {
                known.patience = PATIENCE;
                hosted.cosigned.clear_alert(&name);
            }
            Some(problem) => {
                known.after = tokio::time::Instant::now() + known.patience;
                known.patience = (known.patience * 2).min(PATIENCE_MAX);
                note_problem(context, hosted, &name, problem);
            }
        }
    }
    let text = note.to_text();
    if hosted.cosigned.keep(context, group, &text) {
        tell_members(context, hosted, &text).await;
    }
}

fn note_problem(context: &NodeContext, hosted: &Hosted, name: &str, problem: Problem) {
    let group = hosted.handle.group();
    match problem {
        Problem::Fork(what) => {
            context.metrics.witness_forks.add(1);
            context.metrics.alerts.add(1);
            tracing::error!(
                group,
                witness = name,
                what,
                "a witness has seen another log than this"
            );
            let what = format!(
                "the witness {name} refuses the log as one that does not extend what it has seen ({what}); \
                 compare its checkpoint with ours before anything else"
            );
            // It says so again and again; one incident is enough.
            if hosted.cosigned.alert(name, Alert::Fork(what.clone())) {
                monitor::note(context, group, Cause::Witness, &what);
            }
        }
        Problem::Other(what) => {
            context.metrics.witness_failures.add(1);
            tracing::warn!(group, witness = name, what, "a witness does not cosign");
            let what = format!("the witness {name} does not cosign: {what}");
            hosted.cosigned.alert(name, Alert::Other(what));
        }
    }
}

/// Asks one witness, from the size that it names.
async fn ask(hosted: &Arc<Hosted>, known: &Acquaintance, note: &Note, size: u64) -> Asked {
    let mut old = known.size;
    let failed =
        |size, what: String| Asked { lines: Vec::new(), size, problem: Some(Problem::Other(what)) };
    for _ in 0..ATTEMPTS_MAX {
        let proof = match proof(hosted, old, size).await {
            Ok(proof) => proof,
            Err(what) => return failed(0, what),
        };
        let body = request(old, &proof, &note.to_text());
        let answer = match post::post(&known.witness, body).await {
            Ok(answer) => answer,
            Err(error) => return failed(0, error.to_string()),
        };
        let (status, kind, body) = &answer;
        match verdict(&known.witness.key, old, note, (*status, kind, body)) {
            Verdict::Cosigned(lines) => return Asked { lines, size, problem: None },
            Verdict::Elsewhere(other) if other <= size => old = other,
            Verdict::Elsewhere(other) => {
                let leaves = hosted.handle.replica().progress().borrow().leaves;
                // Another leader's checkpoint, which this one is about to decide; or one of a log that is longer.
                if other <= leaves {
                    return Asked { lines: Vec::new(), size: other, problem: None };
                }
                let what = format!("it has cosigned {other} leaves, and there are {leaves}");
                return Asked { lines: Vec::new(), size: 0, problem: Some(Problem::Fork(what)) };
            }
            Verdict::Fork(what) => {
                return Asked { lines: Vec::new(), size: 0, problem: Some(Problem::Fork(what)) };
            }
            Verdict::Refused(what) | Verdict::Broken(what) => return failed(0, what),
        }
    }
    failed(0, "it names another size each time".to_owned())
}

/// That the tree of `size` leaves begins with that of `old`.
async fn proof(hosted: &Arc<Hosted>, old: u64, size: u64) -> Result<Vec<Hash32>, String> {
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let replica = hosted.handle.replica().clone();
    let proving = aside(move || {
        let reading = replica.read().map_err(|error| error.to_string())?;
        reading.prove_consistency(old, size).map_err(|error| error.to_string())
    });
    proving.await.map_err(|error| error.to_string())?
}

/// Gives a cosigned checkpoint to the other members, which serve it, too.
async fn tell_members(context: &Arc<NodeContext>, hosted: &Arc<Hosted>, note: &str) {
    let group = hosted.handle.group();
    let own = context.identity.node;
    let members = hosted.handle.status().members;
    let telling = members.iter().filter(|(id, _)| **id != own).map(|(id, member)| async move {
        let client = context.pool.client(*id, &member.incarnation, &member.rpc, Lane::Control).ok();
        let Some(mut client) = client else { return };
        let report = peer::ReportCosignedRequest { group, note: note.to_owned() };
        let told = tokio::time::timeout(TELL_WAIT, client.report_cosigned(report)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::debug!(group, node = id, "a cosigned checkpoint was not taken");
        }
    });
    join_all(telling).await;
}

/// Takes what another member says was cosigned, when the log has signed it. Says whether it was taken.
pub(crate) fn take(context: &NodeContext, hosted: &Hosted, text: &str) -> bool {
    let group = hosted.handle.group();
    let signed = checkpoints::open(context, group, text).is_some();
    signed && hosted.cosigned.keep(context, group, text)
}
