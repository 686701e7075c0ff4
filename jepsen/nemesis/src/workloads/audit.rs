//! An auditor: each signed state follows from the one before, and what was sold is in it.

use std::time::Duration;

use anyhow::{Context, Result};
use fiscus_check::line::{Checkpoint, Digest, Line};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::record::Record;
use fiscus_ledger::tree::{verify_consistency, verify_inclusion};
use fiscus_proto::client::ReadError;
use fiscus_proto::ledger::{
    Consistency, ProveConsistencyRequest, ProveInclusionRequest, ReadCheckpointRequest,
    ReadRecordRequest, read_record_request,
};
use tokio::time::sleep;

use super::{DATA, Shop};
use crate::operator::size_and_root;

const WAIT: Duration = Duration::from_secs(5);

pub(super) async fn run(shop: Shop) -> Result<()> {
    let (till, mut dice) = (shop.till(3), shop.dice("audit"));
    let mut last: Option<(u64, Hash32)> = None;
    while !shop.floor.stopped() {
        let start = shop.recorder.now();
        match follow(&shop, last, dice.roll()).await {
            Ok(Some((next, wrong))) => {
                till.note("audit", start, wrong)?;
                last = Some(next);
            }
            Ok(None) => {}
            // Nobody answers now: that proves nothing.
            Err(error) if error.downcast_ref::<ReadError>().is_some() => {}
            Err(error) => return Err(error),
        }
        sleep(Duration::from_millis(dice.between(200, 600))).await;
    }
    Ok(())
}

type Judged = Option<((u64, Hash32), Option<String>)>;

/// The next state, and what is wrong with it; nothing when there is no other.
async fn follow(shop: &Shop, last: Option<(u64, Hash32)>, choice: u64) -> Result<Judged> {
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
    let mut wrong = None;
    if let Some((before, its_root)) = last.filter(|(before, _)| *before < size) {
        let request = ProveConsistencyRequest { group: DATA, from_size: before, size };
        let proof = hashes(&client.prove_consistency(request, WAIT).await?.hashes)?;
        let checked = verify_consistency(before, &its_root, size, &root, &proof);
        wrong = checked.err().map(|error| format!("from {before} to {size} leaves: {error}"));
    }
    let leaf = choice % size;
    let which = Some(read_record_request::Which::Leaf(leaf));
    let request = ReadRecordRequest { group: DATA, which, consistency };
    // A leaf may be none of a record.
    if let Some(record) = client.read_record(request, WAIT).await?.record {
        let entry = Record::decode(&record.record).context("a record")?.entry_hash;
        let request = ProveInclusionRequest { group: DATA, leaves: vec![leaf], size };
        let proofs = client.prove_inclusion(request, WAIT).await?.proofs;
        let proof = hashes(&proofs.first().context("a proof for each leaf")?.hashes)?;
        if let Err(error) = verify_inclusion(&entry, leaf, size, &proof, &root) {
            wrong = Some(format!("leaf {leaf} in {size}: {error}"));
        }
    }
    Ok(Some(((size, root), wrong)))
}

fn hashes(bytes: &[bytes::Bytes]) -> Result<Vec<Hash32>> {
    bytes.iter().map(|hash| Hash32::try_from(&**hash).context("a hash has 32 bytes")).collect()
}
