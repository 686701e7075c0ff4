//! What a group holds beside its rows: clock, tree, authorities, manifests and checkpoints.

use std::collections::BTreeMap;

use crate::codec::{DecodeError, Reader, Writer};
use crate::facts::Environment;
use crate::hash::{Hash32, Tagged, ZERO_HASH};
use crate::heads::{HeadEntry, HeadsTrie};
use crate::manifest::Manifest;
use crate::state::outlet::{Chain, PendingHead};
use crate::state::{Id, read_id};
use crate::time::UnixMs;
use crate::tree::CompactRange;

/// The newest rules that this binary can apply. Version 2 is in the making: only binaries that test how a
/// cluster is moved to newer rules know it.
pub const APPLY_VERSION_MAX: u32 = if cfg!(feature = "next-apply-version") { 2 } else { 1 };
/// How many cuts may wait for their decision; older ones are forgotten.
pub const UNDECIDED_CUTS_MAX: usize = 64;

/// Where an authority is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityStatus {
    /// Announced; every voter has shown that it holds the key.
    Prepared,
    /// It signs.
    Active,
    /// It has signed; its public key stays published for ever.
    Retired,
}

/// A signing key of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// `name.` and the first 8 bytes, in hex, of SHA-256(public key).
    pub id: Id,
    /// The Ed25519 public key.
    pub public_key: Hash32,
    /// Whether it signs real seals or trials.
    pub environment: Environment,
    /// Where it is in its life.
    pub status: AuthorityStatus,
    /// The group time of its activation.
    pub valid_from: Option<UnixMs>,
    /// The group time of its successor's activation.
    pub valid_until: Option<UnixMs>,
}

/// What a cut fixes on each replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointTuple {
    /// The cut's place in the Raft log.
    pub log_index: u64,
    /// The tree's size.
    pub size: u64,
    /// The tree's root.
    pub root: Hash32,
    /// The state's hash.
    pub state_hash: Hash32,
}

/// A tax manifest with its one spelling, so that storing the group does not spell it out again.
#[derive(Debug, Clone)]
pub struct PublishedManifest {
    /// What it says.
    pub manifest: Manifest,
    /// Its canonical JSON.
    pub json: Id,
}

/// The replicated state of a group that is always at hand. Its persistent part is one row; `heads` and
/// `heads_pending` are rebuilt from the outlets' rows.
#[derive(Debug, Clone)]
pub struct Group {
    /// The cluster's name.
    pub cluster: Id,
    /// The group's number; 0 is the directory.
    pub number: u64,
    /// Which rules apply follows.
    pub apply_version: u32,
    /// The only clock that apply knows.
    pub time: UnixMs,
    /// The last applied entry.
    pub log_index: u64,
    /// Chains the effects of every entry.
    pub effects_hash: Hash32,
    /// The group tree's right edge.
    pub tree: CompactRange,
    /// How many leaves have their signatures in the log.
    pub signed_leaves: u64,
    /// The group's own journal.
    pub chain: Chain,
    /// Keys, in the order of their preparation.
    pub authorities: Vec<Authority>,
    /// Manifests, sorted by effective date, then version.
    pub manifests: Vec<PublishedManifest>,
    /// Root of the heads tree at the last cut.
    pub heads_root: Hash32,
    /// The tree's size after the last heads leaf.
    pub heads_leaf_end: u64,
    /// The group time of the last heads leaf.
    pub heads_leaf_time: UnixMs,
    /// Whether it was made of a backup. An outlet that it has not heard of may have sold after that
    /// backup, so that every new one is held.
    pub restored: bool,
    /// Cuts that are not decided yet, oldest first.
    pub cuts: Vec<CheckpointTuple>,
    /// The last decided cut.
    pub decided: Option<CheckpointTuple>,
    /// The heads tree as of the last cut.
    pub heads: HeadsTrie,
    /// Outlets that changed since.
    pub heads_pending: BTreeMap<Id, PendingHead>,
}

impl Group {
    /// A group before its first entry.
    #[must_use]
    pub fn new(cluster: &str, number: u64) -> Self {
        let heads = HeadsTrie::new();
        Self {
            cluster: Id::from(cluster),
            number,
            apply_version: 1,
            time: UnixMs::new(0),
            log_index: 0,
            effects_hash: ZERO_HASH,
            tree: CompactRange::new(),
            signed_leaves: 0,
            chain: Chain::empty(),
            authorities: Vec::new(),
            manifests: Vec::new(),
            heads_root: heads.root(),
            heads_leaf_end: 0,
            heads_leaf_time: UnixMs::new(0),
            restored: false,
            cuts: Vec::new(),
            decided: None,
            heads,
            heads_pending: BTreeMap::new(),
        }
    }

    /// The outlet id of the group's own chain.
    #[must_use]
    pub fn chain_id(&self) -> Id {
        Id::from(format!("@group/{}", self.number))
    }

    /// The key that signs now.
    #[must_use]
    pub fn active_authority(&self, environment: Environment) -> Option<&Authority> {
        self.authorities.iter().find(|authority| {
            authority.environment == environment && authority.status == AuthorityStatus::Active
        })
    }

    /// The manifest in force at `time`: of those that have taken effect, the one that did last.
    #[must_use]
    pub fn manifest_at(&self, time: UnixMs) -> Option<&Manifest> {
        let after = self.manifests.partition_point(|known| known.manifest.effective_from() <= time);
        self.manifests[..after].last().map(|known| &known.manifest)
    }

    /// The manifests that have come into force by a time, in their order.
    pub(crate) fn manifests_until(
        &self,
        time: UnixMs,
    ) -> impl DoubleEndedIterator<Item = &Manifest> {
        let after = self.manifests.partition_point(|known| known.manifest.effective_from() <= time);
        self.manifests[..after].iter().map(|known| &known.manifest)
    }

    /// Files a manifest. Says whether it was new.
    pub(crate) fn publish(&mut self, manifest: Manifest) -> bool {
        let order = |known: &Manifest| (known.effective_from(), Id::from(known.version()));
        if self.manifests.iter().any(|known| known.manifest.version() == manifest.version()) {
            return false;
        }
        let at = self.manifests.partition_point(|known| order(&known.manifest) < order(&manifest));
        let json = Id::from(manifest.to_json());
        self.manifests.insert(at, PublishedManifest { manifest, json });
        true
    }

    /// The key that signs the group's own chain: the live one, or any other while there is none.
    #[must_use]
    pub fn chain_authority(&self) -> Option<&Authority> {
        self.active_authority(Environment::Live)
            .or_else(|| self.active_authority(Environment::Sandbox))
    }

    /// `H("fiscus/state/v1", u64 index, effects hash, tree root, heads root)`: equal on replicas whose
    /// states are equal.
    #[must_use]
    pub fn state_hash(&self) -> Hash32 {
        Tagged::new("fiscus/state/v1")
            .u64(self.log_index)
            .h32(&self.effects_hash)
            .h32(&self.tree.root())
            .h32(&self.heads_root)
            .finish()
    }

    /// Takes the outlets that changed into the heads tree.
    pub(crate) fn fold_heads(&mut self) {
        let pending = std::mem::take(&mut self.heads_pending);
        self.heads.update(pending.iter().map(|(id, head)| (&**id, head.entry())));
    }

    /// The key of the one row that holds the persistent part.
    #[must_use]
    pub fn stored_key() -> Vec<u8> {
        vec![1]
    }

    /// The persistent part.
    #[must_use]
    pub fn stored_row(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(2048);
        out.str(&self.cluster).u64(self.number).u32(self.apply_version).u64(self.time.get());
        out.u64(self.log_index).raw(&self.effects_hash);
        self.tree.encode(&mut out);
        out.u64(self.signed_leaves);
        self.chain.encode(&mut out);
        out.len(self.authorities.len());
        for authority in &self.authorities {
            authority.encode(&mut out);
        }
        out.len(self.manifests.len());
        for manifest in &self.manifests {
            out.str(&manifest.json);
        }
        out.raw(&self.heads_root).u64(self.heads_leaf_end).u64(self.heads_leaf_time.get());
        out.bool(self.restored);
        out.len(self.cuts.len());
        for tuple in self.cuts.iter().chain(&self.decided) {
            tuple.encode(&mut out);
        }
        out.finish()
    }

    /// Reads the persistent part back, and rebuilds the heads tree from the outlets' entries.
    pub fn from_stored(
        row: &[u8],
        heads: impl IntoIterator<Item = (Id, HeadEntry)>,
    ) -> Result<Self, DecodeError> {
        let mut from = Reader::new(row);
        let cluster = read_id(&mut from, "cluster")?;
        let mut group = Self::new(&cluster, from.u64("group number")?);
        group.apply_version = from.u32("apply version")?;
        group.time = UnixMs::new(from.u64("group time")?);
        group.log_index = from.u64("log index")?;
        group.effects_hash = from.h32("effects hash")?;
        group.tree = CompactRange::decode(&mut from)?;
        group.signed_leaves = from.u64("signed leaves")?;
        group.chain = Chain::decode(&mut from)?;
        for _ in 0..from.len("authorities")? {
            group.authorities.push(Authority::decode(&mut from)?);
        }
        for _ in 0..from.len("manifests")? {
            let manifest = Manifest::parse(from.str("manifest")?)
                .map_err(|_| DecodeError::Invalid("manifest"))?;
            if !group.publish(manifest) {
                return Err(DecodeError::Invalid("manifest version"));
            }
        }
        group.heads_root = from.h32("heads root")?;
        group.heads_leaf_end = from.u64("heads leaf end")?;
        group.heads_leaf_time = UnixMs::new(from.u64("heads leaf time")?);
        group.restored = from.bool("group restored")?;
        for _ in 0..from.len("cuts")? {
            group.cuts.push(CheckpointTuple::decode(&mut from)?);
        }
        if !from.is_empty() {
            group.decided = Some(CheckpointTuple::decode(&mut from)?);
        }
        from.finish()?;
        let heads: Vec<(Id, HeadEntry)> = heads.into_iter().collect();
        group.heads.update(heads.iter().map(|(id, entry)| (&**id, entry.clone())));
        Ok(group)
    }
}

impl Authority {
    fn encode(&self, out: &mut Writer) {
        out.str(&self.id).raw(&self.public_key);
        self.environment.encode(out);
        out.u8(match self.status {
            AuthorityStatus::Prepared => 0,
            AuthorityStatus::Active => 1,
            AuthorityStatus::Retired => 2,
        });
        for time in [self.valid_from, self.valid_until] {
            out.u64(time.map_or(u64::MAX, UnixMs::get));
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let read_time = |from: &mut Reader<'_>| -> Result<Option<UnixMs>, DecodeError> {
            Ok(Some(from.u64("authority time")?).filter(|ms| *ms != u64::MAX).map(UnixMs::new))
        };
        Ok(Self {
            id: read_id(from, "authority id")?,
            public_key: from.h32("authority key")?,
            environment: Environment::decode(from)?,
            status: match from.u8("authority status")? {
                0 => AuthorityStatus::Prepared,
                1 => AuthorityStatus::Active,
                2 => AuthorityStatus::Retired,
                _ => return Err(DecodeError::Invalid("authority status")),
            },
            valid_from: read_time(from)?,
            valid_until: read_time(from)?,
        })
    }
}

impl CheckpointTuple {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.log_index).u64(self.size).raw(&self.root).raw(&self.state_hash);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            log_index: from.u64("cut index")?,
            size: from.u64("cut size")?,
            root: from.h32("cut root")?,
            state_hash: from.h32("cut state")?,
        })
    }
}
