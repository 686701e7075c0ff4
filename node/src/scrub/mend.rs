//! Puts right what a pass found wrong, from the other members' copies.
//!
//! Invariant: nothing is written but what the tree commits to. A record is believed when it hashes to
//! its leaf's hash, and that hash only when the whole tree has the committed root; a signature when it
//! verifies. Non-goal: a replica whose tree is not the committed one; it is taken anew as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::record::Record;
use fiscus_proto::peer::{FetchLeavesRequest, FetchLeavesResponse};
use fiscus_raft::consensus::{GroupHandle, Lane, Member};
use fiscus_raft::store::{Content, Replica, StoreError};

use crate::context::NodeContext;
use crate::records;
use crate::scrub::pass::{Damage, Pass, What};

/// A peer sends a run of leaves within this time, or another one is asked.
const FETCH_WAIT: Duration = Duration::from_secs(10);
/// Leaves asked for at once.
const RUN_LEAVES: u64 = 256;
/// A leaf that is no record has no signature; its place holds zeros.
const NO_SIGNATURE: [u8; 64] = [0; 64];

/// A leaf of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) hash: Hash32,
    /// Absent for a leaf that is not a record.
    pub(super) record: Option<Vec<u8>>,
    signature: Option<[u8; 64]>,
}

/// Takes a peer's answer when it agrees with itself.
fn understand(leaf: u64, answer: &FetchLeavesResponse) -> Option<Copy> {
    let hash: Hash32 = (&*answer.hash).try_into().ok()?;
    let signature: Option<[u8; 64]> = (&*answer.signature).try_into().ok();
    if answer.leaf != leaf {
        return None;
    }
    if answer.record.is_empty() {
        return Some(Copy { hash, record: None, signature });
    }
    let record = Record::decode(&answer.record).ok()?;
    let sound = record.leaf_index == leaf && record.entry_hash == hash;
    sound.then(|| Copy { hash, record: Some(answer.record.to_vec()), signature })
}

/// The other members of a group.
#[derive(Debug)]
pub(super) struct Peers {
    context: Arc<NodeContext>,
    group: u64,
    members: Vec<(u64, Member)>,
}

impl Peers {
    pub(super) fn of(context: Arc<NodeContext>, handle: &GroupHandle) -> Self {
        let own = context.identity.node;
        let members = handle.status().members.into_iter();
        let members = members.filter(|(id, _)| *id != own).collect();
        Self { context, group: handle.group(), members }
    }

    /// Leaves `from..to` that pass `fits`, from whoever has them.
    pub(super) async fn fetch(
        &self,
        from: u64,
        to: u64,
        fits: impl Fn(u64, &Copy) -> bool,
    ) -> BTreeMap<u64, Copy> {
        let mut found = BTreeMap::new();
        for (id, member) in &self.members {
            let mut next = from;
            while next < to {
                if found.contains_key(&next) {
                    next += 1;
                    continue;
                }
                let asked = tokio::time::timeout(FETCH_WAIT, self.ask(*id, member, next, to));
                let answers = asked.await.unwrap_or_default();
                // A peer's own damage ends its answer: go on behind it.
                let behind = next + (answers.len() as u64).max(1);
                for (leaf, answer) in (next..).zip(&answers) {
                    if let Some(copy) = understand(leaf, answer).filter(|copy| fits(leaf, copy)) {
                        found.entry(leaf).or_insert(copy);
                    }
                }
                if answers.is_empty() && next == from {
                    // It may be damaged at this very leaf, or not be there at all.
                    tracing::debug!(group = self.group, peer = id, next, "a peer has no copy");
                }
                next = behind;
            }
            if found.len() as u64 == to - from {
                break;
            }
        }
        found
    }

    async fn ask(&self, id: u64, member: &Member, from: u64, to: u64) -> Vec<FetchLeavesResponse> {
        let pool = &self.context.pool;
        let client = pool.client(id, &member.incarnation, &member.rpc, Lane::Snapshot);
        let Ok(mut client) = client else { return Vec::new() };
        let request = FetchLeavesRequest { group: self.group, from, to };
        let Ok(answer) = client.fetch_leaves(request).await else { return Vec::new() };
        let mut stream = answer.into_inner();
        let mut answers = Vec::new();
        while let Ok(Some(leaf)) = stream.message().await {
            answers.push(leaf);
        }
        answers
    }
}

/// What became of the damage.
#[derive(Debug, Default)]
pub(super) struct Mended {
    /// What was put right, for people.
    pub(super) repaired: Vec<String>,
    /// How many things nobody could help with.
    pub(super) left: usize,
}

/// Puts leaves, records and signatures right; the pass has found the tree to be the committed one.
pub(super) async fn mend(
    context: &NodeContext,
    peers: &Peers,
    pass: &Pass,
) -> Result<Mended, StoreError> {
    let mut mended = Mended::default();
    let leaves: Vec<&Damage> = pass.damage.iter().filter(|d| d.what == What::Leaf).collect();
    for run in runs(&leaves) {
        let (from, to) = (run[0].leaf, run[run.len() - 1].leaf + 1);
        let wanted: BTreeMap<u64, Hash32> = run.iter().map(|d| (d.leaf, d.hash)).collect();
        let fits = |leaf: u64, copy: &Copy| wanted.get(&leaf) == Some(&copy.hash);
        let copies = peers.fetch(from, to, fits).await;
        for damage in run {
            let told = mend_leaf(pass.replica(), damage, copies.get(&damage.leaf))?;
            mended.note(told);
        }
    }
    for damage in pass.damage.iter().filter(|d| d.what == What::Signature) {
        let told = mend_signature(context, peers, pass, damage).await?;
        mended.note(told);
    }
    for (height, index, node) in &pass.nodes {
        pass.replica().mend_node(*height, *index, node)?;
        let group = pass.replica().group();
        mended.repaired.push(format!("group {group}: node {index} of height {height}"));
    }
    Ok(mended)
}

impl Mended {
    fn note(&mut self, told: Option<String>) {
        match told {
            Some(told) => self.repaired.push(told),
            None => self.left += 1,
        }
    }
}

/// Damage in leaves that follow each other closely, for one call.
fn runs<'a>(damage: &[&'a Damage]) -> Vec<Vec<&'a Damage>> {
    let mut runs: Vec<Vec<&Damage>> = Vec::new();
    for one in damage {
        match runs.last_mut() {
            Some(run)
                if run.last().is_some_and(|last| last.leaf + 1 == one.leaf)
                    && (run.len() as u64) < RUN_LEAVES =>
            {
                run.push(one);
            }
            _ => runs.push(vec![one]),
        }
    }
    runs
}

fn mend_leaf(
    replica: &Replica,
    damage: &Damage,
    copy: Option<&Copy>,
) -> Result<Option<String>, StoreError> {
    let leaf = damage.leaf;
    let Some(offset) = damage.offset else { return Ok(None) };
    let own = replica.inspect()?.examine(leaf, Some(offset))?;
    let record = match (own.content, copy) {
        (Content::Record(record), _) => Some(record),
        (_, Some(copy)) => copy.record.clone(),
        (Content::Other | Content::Damaged, None) => return Ok(None),
    };
    // A record's frame has 16 bytes before it; the next one follows at once.
    let end = offset + record.as_ref().map_or(0, |record| record.len() as u64 + 16);
    if damage.next.is_some_and(|next| next != end) {
        return Ok(None);
    }
    replica.mend_leaf(leaf, damage.hash, offset, record.as_deref())?;
    Ok(Some(format!("group {}: leaf {leaf} and its record", replica.group())))
}

async fn mend_signature(
    context: &NodeContext,
    peers: &Peers,
    pass: &Pass,
    damage: &Damage,
) -> Result<Option<String>, StoreError> {
    let (leaf, replica) = (damage.leaf, pass.replica());
    let told = || Some(format!("group {}: the signature of leaf {leaf}", replica.group()));
    let content = replica.inspect()?.examine(leaf, None)?.content;
    let bytes = match content {
        Content::Record(bytes) => bytes,
        Content::Other => {
            replica.mend_signature(leaf, &NO_SIGNATURE)?;
            return Ok(told());
        }
        Content::Damaged => return Ok(None),
    };
    let Ok(record) = Record::decode(&bytes) else { return Ok(None) };
    let own = records::sign_record(context, leaf, &bytes).ok();
    let signature = match own.filter(|signature| pass.is_signed(&record, signature)) {
        Some(signature) => Some(signature),
        None => {
            let fits = |_: u64, copy: &Copy| {
                copy.signature.is_some_and(|signature| pass.is_signed(&record, &signature))
            };
            let copies = peers.fetch(leaf, leaf + 1, fits).await;
            copies.get(&leaf).and_then(|copy| copy.signature)
        }
    };
    let Some(signature) = signature else { return Ok(None) };
    replica.mend_signature(leaf, &signature)?;
    Ok(told())
}
