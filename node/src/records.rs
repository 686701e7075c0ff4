//! Records with their signatures: the log's, or made on demand of what is committed.

use fiscus_ledger::codec::DecodeError;
use fiscus_ledger::hash::Hash32;
#[cfg(feature = "planted-bugs")]
use fiscus_ledger::planted::{Bug, is_planted};
use fiscus_ledger::record::Record;
use fiscus_proto::command::{Command, Submitted, command};
use fiscus_raft::store::{AppliedEntry, Replica, StoreError};

use crate::context::NodeContext;
use crate::signer::{SignError, Signable};

/// A record with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRecord {
    /// Its leaf.
    pub leaf: u64,
    /// The stored form.
    pub record: Vec<u8>,
    /// The signature of its authority.
    pub signature: [u8; 64],
}

/// Why a record has no signature here.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What apply made cannot be read back.
    #[error("the record of leaf {leaf} cannot be read: {source}")]
    Decode {
        /// Its leaf.
        leaf: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// Its authority's key is not here.
    #[error("the key of authority {0} is not on this node; load it and restart")]
    NoKey(String),
    /// There is no such record.
    #[error("outlet {outlet_id} has no record at position {position}")]
    Missing {
        /// The outlet.
        outlet_id: String,
        /// The position.
        position: u64,
    },
}

/// A leaf that is no record has no signature; its place holds zeros.
const NO_SIGNATURE: [u8; 64] = [0; 64];

/// Signs the records of an entry that was applied, one signature a leaf.
pub fn sign_entry(
    context: &NodeContext,
    entry: &AppliedEntry,
) -> Result<Vec<[u8; 64]>, RecordError> {
    let mut signatures = vec![NO_SIGNATURE; entry.leaves.len()];
    // Records of one authority are signed together: nearly always that is all of them.
    let mut runs: Vec<(Hash32, Vec<usize>, Vec<Hash32>)> = Vec::new();
    for (at, (leaf, (hash, place))) in (entry.first_leaf..).zip(&entry.leaves).enumerate() {
        let Some((from, to)) = place else { continue };
        let record = Record::decode(&entry.records[*from..*to])
            .map_err(|source| RecordError::Decode { leaf, source })?;
        let key = key_of(context, record.authority_id)?;
        let run = match runs.iter().position(|(known, ..)| *known == key) {
            Some(run) => run,
            None => {
                runs.push((key, Vec::new(), Vec::new()));
                runs.len() - 1
            }
        };
        runs[run].1.push(at);
        runs[run].2.push(*hash);
    }
    for (key, places, hashes) in runs {
        let signed = context.signer.sign_many(&key, &hashes)?;
        for (at, signature) in places.into_iter().zip(signed) {
            signatures[at] = signature;
        }
    }
    Ok(signatures)
}

/// Signs committed leaves, read back from the journal.
pub fn sign_leaves(
    context: &NodeContext,
    replica: &Replica,
    leaves: &[u64],
) -> Result<Vec<(u64, [u8; 64])>, RecordError> {
    let reading = replica.read()?;
    let mut signed = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        let signature = match reading.record(*leaf)? {
            None => NO_SIGNATURE,
            Some(found) => sign_record(context, *leaf, &found.record)?,
        };
        signed.push((*leaf, signature));
    }
    Ok(signed)
}

/// Signs one committed record.
pub fn sign_record(
    context: &NodeContext,
    leaf: u64,
    record: &[u8],
) -> Result<[u8; 64], RecordError> {
    let record = Record::decode(record).map_err(|source| RecordError::Decode { leaf, source })?;
    let key = key_of(context, record.authority_id)?;
    Ok(context.signer.sign(&key, &Signable::EntryHash(record.entry_hash))?)
}

fn key_of(context: &NodeContext, authority_id: &str) -> Result<Hash32, RecordError> {
    context.authority_key(authority_id).ok_or_else(|| RecordError::NoKey(authority_id.to_owned()))
}

/// The record at a position, with its signature: the log's, or the same one made now.
pub fn find_signed(
    context: &NodeContext,
    replica: &Replica,
    outlet_id: &str,
    position: u64,
) -> Result<SignedRecord, RecordError> {
    let reading = replica.read()?;
    let missing = || RecordError::Missing { outlet_id: outlet_id.to_owned(), position };
    let leaf = reading.leaf_of_position(outlet_id, position)?.ok_or_else(missing)?;
    let found = reading.record(leaf)?.ok_or_else(missing)?;
    let signature = match found.signature {
        Some(signature) => signature,
        #[cfg(feature = "planted-bugs")]
        None if is_planted(Bug::RepetitionUnsigned) => NO_SIGNATURE,
        None => sign_record(context, leaf, &found.record)?,
    };
    Ok(SignedRecord { leaf, record: found.record, signature })
}

/// The outlet that a command is about; empty when it is about none.
#[must_use]
pub fn outlet_of(command: &Command) -> &str {
    match &command.command {
        Some(command::Command::Seal(c)) => of(c.submitted.as_ref()),
        Some(command::Command::OpenShift(c)) => of(c.submitted.as_ref()),
        Some(command::Command::CloseShift(c)) => of(c.submitted.as_ref()),
        Some(command::Command::CloseDay(c)) => of(c.submitted.as_ref()),
        Some(command::Command::GrantBlock(c)) => of(c.submitted.as_ref()),
        Some(command::Command::RecordPayment(c)) => &c.outlet_id,
        Some(command::Command::ReconcileOffline(c)) => &c.outlet_id,
        Some(command::Command::ImportDeviceSeal(c)) => &c.outlet_id,
        Some(command::Command::CloseBlock(c)) => &c.outlet_id,
        Some(command::Command::RecoveryGap(c)) => &c.outlet_id,
        Some(command::Command::RecordUpload(c)) => &c.outlet_id,
        _ => "",
    }
}

fn of(submitted: Option<&Submitted>) -> &str {
    submitted.map_or("", |submitted| submitted.outlet_id.as_str())
}
