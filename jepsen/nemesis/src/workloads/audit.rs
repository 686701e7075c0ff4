//! An auditor: each signed state follows from the one before, and what was sold is in it.

use std::time::Duration;

use anyhow::{Context, Result};
use fiscus_check::Kind;
use fiscus_check::line::{Checkpoint, Digest, Line};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::record::Record;
use fiscus_ledger::tree::{verify_consistency, verify_inclusion};
use fiscus_proto::client::{ClusterClient, ReadError};
use fiscus_proto::ledger::{
    Consistency, ProveConsistencyRequest, ProveInclusionRequest, ReadCheckpointRequest,
    ReadRecordRequest, read_record_request,
};
use tokio::time::{Instant, sleep};

use super::{DATA, Shop};
use crate::operator::size_and_root;

const WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// A log's size and root.
type Seen = (u64, Hash32);

pub(super) async fn run(shop: Shop) -> Result<()> {
    let (till, mut dice) = (shop.till(3), shop.dice("audit"));
    let mut last: Option<Seen> = None;
    while !shop.floor.stopped() {
        let start = shop.recorder.now();
        if let Some((next, wrong)) = unless_silent(follow(&shop, last, dice.roll()).await)? {
            till.note("audit", start, wrong)?;
            last = last.filter(|(size, _)| *size > next.0).or(Some(next));
        }
        sleep(Duration::from_millis(dice.between(200, 600))).await;
    }
    Ok(())
}

/// All is healed: an auditor is answered within so long.
pub(crate) async fn must_audit(shop: &Shop, patience: Duration) -> Result<()> {
    let (till, mut dice) = (shop.till(3), shop.dice("last audit"));
    let began = Instant::now();
    loop {
        let start = shop.recorder.now();
        if let Some((_, wrong)) = unless_silent(follow(shop, None, dice.roll()).await)? {
            return till.note("audit", start, wrong);
        }
        if began.elapsed() > patience {
            let what = format!("all is healed, and no audit could be made within {patience:?}");
            shop.recorder.finding(Kind::Convergence, what);
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

/// A state, and what is wrong with it; nothing when there is none yet.
type Judged = Option<(Seen, Option<String>)>;

/// That nobody answers now proves nothing.
fn unless_silent(judged: Result<Judged>) -> Result<Judged> {
    match judged {
        Err(error) if error.downcast_ref::<ReadError>().is_some() => Ok(None),
        judged => judged,
    }
}

/// The next state, and what is wrong with it.
async fn follow(shop: &Shop, last: Option<Seen>, choice: u64) -> Result<Judged> {
    let client = &shop.clients[0];
    let consistency = Consistency::Linearizable.into();
    let request = ReadCheckpointRequest { group: DATA, consistency };
    let told = client.read_checkpoint(request, WAIT).await?.checkpoint;
    if told.is_empty() {
        return Ok(None);
    }
    let (size, root) = size_and_root(&told).context("a checkpoint")?;
    let (group, source) = (DATA, "auditor".into());
    shop.recorder.line(&Line::Checkpoint(Checkpoint {
        group,
        size,
        root: Digest(root),
        source,
    }))?;
    let mut wrong = match last {
        Some(before) => not_after(client, before, (size, root)).await?,
        None => None,
    };
    if wrong.is_none() {
        wrong = not_in(client, choice % size.max(1), (size, root)).await?;
    }
    Ok(Some(((size, root), wrong)))
}

/// Why a state does not follow from an earlier one.
async fn not_after(client: &ClusterClient, last: Seen, next: Seen) -> Result<Option<String>> {
    let ((before, its_root), (size, root)) = (last, next);
    if size < before {
        return Ok(Some(format!("the log has {size} leaves, and had {before}")));
    }
    if size == before {
        let differs = its_root != root;
        return Ok(differs.then(|| format!("there are two roots of {size} leaves")));
    }
    let request = ProveConsistencyRequest { group: DATA, from_size: before, size };
    let why = match unless_refused(client.prove_consistency(request, WAIT).await)? {
        Ok(told) => match hashes(&told.hashes) {
            Some(proof) => verify_consistency(before, &its_root, size, &root, &proof)
                .err()
                .map(|error| error.to_string()),
            None => Some(NO_HASH.to_owned()),
        },
        Err(why) => Some(why),
    };
    Ok(why.map(|why| format!("from {before} to {size} leaves: {why}")))
}

/// Why a leaf's record is not proven to be in a state.
async fn not_in(client: &ClusterClient, leaf: u64, (size, root): Seen) -> Result<Option<String>> {
    let which = Some(read_record_request::Which::Leaf(leaf));
    let consistency = Consistency::Linearizable.into();
    let request = ReadRecordRequest { group: DATA, which, consistency };
    let failed = |why: String| Ok(Some(format!("leaf {leaf} in {size}: {why}")));
    let record = match unless_refused(client.read_record(request, WAIT).await)? {
        Ok(told) => told.record,
        Err(why) => return failed(why),
    };
    // A leaf may be none of a record.
    let Some(record) = record else { return Ok(None) };
    let entry = match Record::decode(&record.record) {
        Ok(record) => record.entry_hash,
        Err(error) => return failed(error.to_string()),
    };
    let request = ProveInclusionRequest { group: DATA, leaves: vec![leaf], size };
    let proofs = match unless_refused(client.prove_inclusion(request, WAIT).await)? {
        Ok(told) => told.proofs,
        Err(why) => return failed(why),
    };
    let Some(proof) = proofs.first().and_then(|proof| hashes(&proof.hashes)) else {
        return failed(NO_HASH.to_owned());
    };
    match verify_inclusion(&entry, leaf, size, &proof, &root) {
        Ok(()) => Ok(None),
        Err(error) => failed(error.to_string()),
    }
}

const NO_HASH: &str = "the proof is missing, or is not made of hashes";

/// What was just published can be proven: whoever refuses that is wrong, and says why. A node that does not have the group
/// says only that it is the wrong one.
fn unless_refused<T>(told: Result<T, ReadError>) -> Result<Result<T, String>> {
    match told {
        Ok(told) => Ok(Ok(told)),
        Err(error) if matches!(error, ReadError::Rejected { .. }) && !error.is_not_found() => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn hashes(bytes: &[bytes::Bytes]) -> Option<Vec<Hash32>> {
    bytes.iter().map(|hash| Hash32::try_from(&**hash).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_proof_is_a_failed_audit_and_silence_is_none() {
        let rejected = |status| {
            let detail = "no".to_owned();
            unless_refused::<()>(Err(ReadError::Rejected { status, detail }))
        };
        assert!(rejected(tonic::Code::OutOfRange).is_ok_and(|told| told.is_err()));
        assert!(rejected(tonic::Code::NotFound).is_err());
        let silent = ReadError::Unavailable { detail: "no".to_owned() };
        let judged: Result<Judged> = unless_refused::<()>(Err(silent)).map(|_| None);
        assert!(unless_silent(judged).is_ok_and(|judged| judged.is_none()));
    }
}
