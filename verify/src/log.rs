//! Whether a log only grew since a checkpoint that the auditor has kept; and whether one leaf is in it.

use crate::bundle::{BUNDLE_BYTES_MAX, ConsistencyProof, InclusionProof, StatedLog};
use crate::failure::{Failure, Kind};
use crate::hash::Hash;
use crate::merkle::{check_consistency, check_inclusion};
use crate::note::{self, Checkpoint};
use crate::policy::Policy;

/// A log that only grew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// The state that was kept.
    pub since: Checkpoint,
    /// The later one.
    pub now: Checkpoint,
    /// Hashes of the proof.
    pub hashes: u64,
    /// Bytes read.
    pub bytes: u64,
}

fn too_long(bytes: usize) -> Result<(), Failure> {
    if bytes <= BUNDLE_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::new(Kind::Format, "proof", "the file is longer than any proof"))
}

/// Checks that the log of `since`, a checkpoint, goes on as `proof` says, the answer of the audit interface.
pub fn verify_log(since: &str, proof: &str, policy: &Policy) -> Result<LogSummary, Failure> {
    too_long(since.len().max(proof.len()))?;
    let earlier = note::open(since, policy.trusted()).map_err(|failure| failure.within("since"))?;
    let bundle = ConsistencyProof::parse(proof)?;
    let later = note::open(&bundle.checkpoint, policy.trusted())
        .map_err(|failure| failure.within("proof"))?;
    check_stated(&bundle.stated, &later)?;
    if later.origin != earlier.origin {
        let detail = format!(
            "it is about {:?}, and the checkpoint that was kept is of {:?}",
            later.origin, earlier.origin
        );
        return Err(Failure::new(Kind::Consistency, "proof", detail));
    }
    if bundle.from_size != earlier.size && later.size >= earlier.size {
        let detail = format!(
            "it begins at {} leaves, and the checkpoint has {}",
            bundle.from_size, earlier.size
        );
        return Err(Failure::new(Kind::Consistency, "proof", detail));
    }
    check_consistency((earlier.size, &earlier.root), (later.size, &later.root), &bundle.hashes)?;
    Ok(LogSummary {
        since: earlier,
        now: later,
        hashes: u64::try_from(bundle.hashes.len()).unwrap_or(u64::MAX),
        bytes: u64::try_from(since.len() + proof.len()).unwrap_or(u64::MAX),
    })
}

/// What an answer says of its checkpoint must be what the checkpoint says.
fn check_stated(stated: &StatedLog, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let same = stated.origin == checkpoint.origin
        && checkpoint.origin.ends_with(&format!("/g/{}", stated.group))
        && stated.size == checkpoint.size
        && stated.root == checkpoint.root;
    if same {
        Ok(())
    } else {
        Err(Failure::new(Kind::Format, "proof", "it says of its checkpoint what that does not say"))
    }
}

/// Checks that a leaf is in a log; the number is that of the receipt whose leaf it is.
pub(crate) fn verify_leaf(
    proof: &str,
    entry: &Hash,
    number: &str,
    policy: &Policy,
) -> Result<Checkpoint, Failure> {
    too_long(proof.len())?;
    let bundle = InclusionProof::parse(proof)?;
    let checkpoint = note::open(&bundle.checkpoint, policy.trusted())?;
    if let Some(stated) = &bundle.stated {
        check_stated(&stated.log, &checkpoint)?;
        if stated.entry_hash != *entry || stated.fiscal_number != number {
            return Err(Failure::new(
                Kind::Inclusion,
                "proof",
                "it is about another record than this receipt's",
            ));
        }
    }
    check_inclusion(entry, bundle.leaf_index, checkpoint.size, &bundle.hashes, &checkpoint.root)?;
    Ok(checkpoint)
}
