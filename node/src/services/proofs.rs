//! Proofs of a group's tree for whoever checks a receipt or a checkpoint.

use fiscus_ledger::hash::Hash32;
use fiscus_proto::ledger as wire;
use fiscus_proto::ledger::prove_heads_request::Which;
use fiscus_raft::store::ProofError;
use prost::bytes::Bytes;
use tonic::Status;

use super::ledger::{LedgerService, as_of, failed};

/// Leaves of one call.
const LEAVES_MAX: usize = 1_000;

fn hashes(proof: Vec<Hash32>) -> Vec<Bytes> {
    proof.into_iter().map(|hash| Bytes::copy_from_slice(&hash)).collect()
}

/// A size that is not reached here yet may be elsewhere; a leaf outside its tree is so everywhere.
fn no_proof(error: &ProofError) -> Status {
    match error {
        ProofError::Store(error) => failed(error),
        ProofError::Prove(error) => Status::out_of_range(error.to_string()),
        ProofError::Size { .. } => Status::unavailable(error.to_string()),
    }
}

impl LedgerService {
    pub(super) async fn inclusion(
        &self,
        request: wire::ProveInclusionRequest,
    ) -> Result<wire::ProveInclusionResponse, Status> {
        if request.leaves.is_empty() || request.leaves.len() > LEAVES_MAX {
            return Err(Status::invalid_argument("a proof is of 1 to 1,000 leaves"));
        }
        let local = wire::Consistency::Local.into();
        self.search(request.group, local, move |_, _, reading| {
            let proofs = reading.prove_inclusion(&request.leaves, request.size);
            let proofs = proofs.map_err(|error| no_proof(&error))?;
            let proofs = request.leaves.iter().zip(proofs);
            let proofs = proofs
                .map(|(leaf, proof)| wire::InclusionProof { leaf: *leaf, hashes: hashes(proof) });
            let as_of = Some(as_of(reading.as_of()));
            Ok(wire::ProveInclusionResponse { as_of, proofs: proofs.collect() })
        })
        .await
    }

    pub(super) async fn consistency(
        &self,
        request: wire::ProveConsistencyRequest,
    ) -> Result<wire::ProveConsistencyResponse, Status> {
        let local = wire::Consistency::Local.into();
        self.search(request.group, local, move |_, _, reading| {
            let proof = reading.prove_consistency(request.from_size, request.size);
            let hashes = hashes(proof.map_err(|error| no_proof(&error))?);
            let as_of = Some(as_of(reading.as_of()));
            Ok(wire::ProveConsistencyResponse { as_of, hashes })
        })
        .await
    }

    /// What a version of the heads tree says of an outlet.
    pub(super) async fn heads(
        &self,
        request: wire::ProveHeadsRequest,
    ) -> Result<wire::ProveHeadsResponse, Status> {
        self.search(request.group, request.consistency, move |_, _, reading| {
            let known = reading.heads_versions().map_err(|error| failed(&error))?;
            let before = |leaf: u64| known.partition_point(|version| version.leaf < leaf);
            let version = match request.which {
                None => known.last(),
                Some(Which::BeforeLeaf(leaf)) => {
                    before(leaf).checked_sub(1).and_then(|at| known.get(at))
                }
                Some(Which::FromLeaf(leaf)) => known.get(before(leaf)),
            };
            let proof = version.map(|version| {
                let heads = reading.heads_at(&known, version).map_err(|error| failed(&error))?;
                Ok::<_, Status>(wire::HeadsProof {
                    leaf: version.leaf,
                    time_ms: version.time_ms,
                    root: Bytes::copy_from_slice(&version.root),
                    proof: heads.prove(&request.outlet_id).encode().into(),
                })
            });
            let leaves = reading.as_of().leaves;
            Ok(wire::ProveHeadsResponse {
                as_of: Some(as_of(reading.as_of())),
                is_behind: known.last().map_or(0, |last| last.leaf + 1) < leaves,
                proof: proof.transpose()?,
            })
        })
        .await
    }
}
