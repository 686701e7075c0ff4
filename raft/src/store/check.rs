//! Checks a snapshot that nobody has open, down to every record and every signature.
//!
//! ```text
//! MANIFEST ──► hashes of files ──► rows ──► leaves with their records and signatures ──► tree, chains
//! ```
//!
//! Invariant: what passes here can be restored, and says nothing that the group's own keys, hashes and
//! chains do not confirm. Memory is bounded by the largest file and the number of outlets.
//!
//! Non-goal: mending. A damaged backup is refused; another one has to be used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::codec::{DecodeError, Reader};
use fiscus_ledger::facts::{Fact, FactKind, OutletFact};
use fiscus_ledger::hash::{Hash32, ZERO_HASH};
use fiscus_ledger::heads::{HeadEntry, heads_leaf};
use fiscus_ledger::record::Record;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::{Block, WaitingSeal};
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::outlet::{Chain, Outlet};
use fiscus_ledger::state::registry::{Activation, Document, NumberSpace};
use fiscus_ledger::state::rows::{Device, Payment, SealedInvoice, Submission, Terminal};
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::upload::Upload;
use fiscus_ledger::tree::CompactRange;
use fiscus_proto::peer::SnapshotFile;
use fiscus_proto::stored;
use prost::Message;

use crate::disk::Disk;
use crate::store::decided::{DECIDED_TABLE, DecidedCheckpoint};
use crate::store::journal::{
    FRAME_BYTES, LEAF_BYTES, LeafEntry, NODE_BYTES, SIGNATURE_BYTES, TREE_HEIGHTS, TREE_NAMES,
    open_frame, open_numbered, run_identity,
};
use crate::store::open_blocks::{OPEN_BLOCK_TABLE, open_block_key};
use crate::store::references::{REFERENCE_TABLE, reference_key};
use crate::store::replica::{APPLIED_KEY, POSITION_TABLE, position_key};
use crate::store::series::{HEADER_BYTES, header_of};
use crate::store::snapshot::rows::RowFiles;
use crate::store::snapshot::{SnapshotDir, SnapshotError};
use crate::store::versions::{PART_TABLE, VERSION_TABLE, VersionsCheck};

/// What a check has looked at, and what it found.
#[derive(Debug)]
pub struct Checked {
    /// Bytes of all files, each hashed.
    pub bytes: u64,
    /// Rows, each decoded.
    pub rows: u64,
    /// Leaves of the tree, records or not.
    pub leaves: u64,
    /// Records, each decoded and hashed again.
    pub records: u64,
    /// Signatures, each checked with its authority's key.
    pub signatures: u64,
    /// The outlets that the group seals for.
    pub outlets: Vec<Id>,
    /// The group, with its authorities.
    pub group: Group,
    /// The registrations that the directory holds; none in a data group.
    pub registered: Vec<OutletFact>,
}

/// What the rows say, to be compared with the journal.
struct Rows {
    count: u64,
    applied: stored::AppliedState,
    group: Vec<u8>,
    chains: BTreeMap<Id, Chain>,
    heads: Vec<(Id, HeadEntry)>,
    registered: Vec<OutletFact>,
    positions: Sum,
    references: Sum,
    open_blocks: Sum,
    /// Those that are named as open.
    named_open: Sum,
    versions: VersionsCheck,
    /// Sizes and roots of checkpoints that were decided.
    decided: Vec<(u64, Hash32)>,
}

/// A sum of hashes: equal for equal sets in whatever order they come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    sum: u128,
}

impl Sum {
    fn take(&mut self, key: &[u8], row: &[u8]) -> Result<(), String> {
        let leaf = row.try_into().map_err(|_| "it leads nowhere".to_owned())?;
        self.add(key, u64::from_le_bytes(leaf));
        Ok(())
    }

    fn add(&mut self, key: &[u8], leaf: u64) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(key).update(&leaf.to_le_bytes());
        let hash = hasher.finalize();
        let low = hash.as_bytes().first_chunk::<16>().expect("a hash has 32 bytes");
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(*low));
        self.count += 1;
    }
}

impl SnapshotDir {
    /// Checks everything. `roots` are roots of the tree that were published, each at its size.
    pub fn check(
        &self,
        disk: &dyn Disk,
        roots: &[(u64, Hash32)],
    ) -> Result<Checked, SnapshotError> {
        self.verify(disk)?;
        let rows = self.check_rows(disk)?;
        let unreadable = |error: DecodeError| self.wrong(format!("the group row: {error}"));
        let group = Group::from_stored(&rows.group, rows.heads.clone()).map_err(unreadable)?;
        self.check_manifest(&rows, &group)?;
        let mut roots = roots.to_vec();
        let cuts = group.cuts.iter().chain(&group.decided);
        roots.extend(cuts.map(|tuple| (tuple.size, tuple.root)));
        roots.extend(&rows.decided);
        let keys = self.keys_of(&group)?;
        let mut walk = Walk::new(self, disk, Some(keys), roots);
        walk.heads = rows.versions.roots.clone();
        walk.run(&rows.applied)?;
        walk.compare(&rows, &group)?;
        Ok(Checked {
            bytes: self.bytes(),
            rows: rows.count,
            leaves: rows.applied.leaves,
            records: walk.positions.count,
            signatures: walk.signed,
            outlets: rows.heads.into_iter().map(|(id, _)| id).collect(),
            registered: rows.registered,
            group,
        })
    }

    /// Checks the journal alone: every record, its hash, the chains and the tree, up to the root that the
    /// group's row names. Signatures are compared with their checksums only, and rows with nothing: the
    /// hash of the state is compared when the state is opened.
    pub(crate) fn check_journal(&self, disk: &dyn Disk) -> Result<(), SnapshotError> {
        let (mut applied, mut group) = (None, None);
        for row in RowFiles::new(self, disk) {
            let (key, value) = row?;
            if key == APPLIED_KEY {
                applied = stored::AppliedState::decode(&*value).ok();
            } else if key == Group::stored_key() {
                let heads = std::iter::empty::<(Id, HeadEntry)>();
                group = Group::from_stored(&value, heads).ok();
            }
            if applied.is_some() && group.is_some() {
                break;
            }
        }
        let applied = applied.unwrap_or_default();
        if applied.leaves != self.manifest.leaves {
            return Err(self.wrong("manifest and rows differ: the number of leaves".to_owned()));
        }
        let Some(group) = group else {
            return match applied.leaves {
                0 => Ok(()),
                _ => Err(self.wrong("its rows do not name the group".to_owned())),
            };
        };
        let cuts = group.cuts.iter().chain(&group.decided);
        let roots = cuts.map(|tuple| (tuple.size, tuple.root)).collect();
        let mut walk = Walk::new(self, disk, None, roots);
        walk.run(&applied)?;
        if walk.tree.root() != group.tree.root() {
            return Err(self.wrong("the tree's root is not the group's".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn wrong(&self, what: String) -> SnapshotError {
        SnapshotError::Unusable { path: self.path.clone(), what }
    }

    fn keys_of(&self, group: &Group) -> Result<BTreeMap<Id, VerifyingKey>, SnapshotError> {
        let keys = group.authorities.iter().map(|authority| {
            let key = VerifyingKey::from_bytes(&authority.public_key)
                .map_err(|_| self.wrong(format!("the key of {} is no key", authority.id)))?;
            Ok((authority.id.clone(), key))
        });
        keys.collect()
    }

    fn check_rows(&self, disk: &dyn Disk) -> Result<Rows, SnapshotError> {
        let mut rows = Rows {
            count: 0,
            applied: stored::AppliedState::default(),
            group: Vec::new(),
            chains: BTreeMap::new(),
            heads: Vec::new(),
            registered: Vec::new(),
            positions: Sum::default(),
            references: Sum::default(),
            open_blocks: Sum::default(),
            named_open: Sum::default(),
            versions: VersionsCheck::default(),
            decided: Vec::new(),
        };
        let mut last: Option<Vec<u8>> = None;
        for row in RowFiles::new(self, disk) {
            let (key, value) = row?;
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err(self.wrong(format!("row {} is out of order", rows.count)));
            }
            rows.take(&key, &value).map_err(|what| {
                self.wrong(format!("row {} (table {:?}): {what}", rows.count, key.first()))
            })?;
            rows.count += 1;
            last = Some(key);
        }
        if rows.open_blocks != rows.named_open {
            return Err(self.wrong("the open blocks are not those that are named".to_owned()));
        }
        rows.versions.finish().map_err(|what| self.wrong(what))?;
        Ok(rows)
    }

    fn check_manifest(&self, rows: &Rows, group: &Group) -> Result<(), SnapshotError> {
        let manifest = &self.manifest;
        let applied = &rows.applied;
        let index = manifest.log_id.map_or(0, |id| id.index);
        let same = [
            ("the last entry", applied.applied == manifest.log_id && index > 0),
            ("the number of leaves", applied.leaves == manifest.leaves),
            ("the size of the tree", group.tree.size() == manifest.leaves),
            ("the number of signatures", applied.signatures == group.signed_leaves),
            ("the state's hash", *manifest.state_hash == group.state_hash()),
            ("the cluster", *manifest.cluster == *group.cluster),
            ("the group", manifest.group == group.number),
        ];
        match same.iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(self.wrong(format!("manifest and rows differ: {what}"))),
            None => Ok(()),
        }
    }
}

impl Rows {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        fn sound<R: Row>(value: &[u8]) -> Result<(), String> {
            R::from_stored(value).map(drop).map_err(|error| format!("the {}: {error}", R::NAME))
        }
        if key == APPLIED_KEY {
            self.applied =
                stored::AppliedState::decode(value).map_err(|error| error.to_string())?;
            return Ok(());
        }
        if key == Group::stored_key() {
            self.group = value.to_vec();
            return Ok(());
        }
        match key.first().copied() {
            Some(Outlet::TABLE) => self.take_outlet(key, value),
            Some(Submission::TABLE) => sound::<Submission>(value),
            Some(SealedInvoice::TABLE) => sound::<SealedInvoice>(value),
            Some(Terminal::TABLE) => sound::<Terminal>(value),
            Some(Payment::TABLE) => sound::<Payment>(value),
            Some(Upload::TABLE) => sound::<Upload>(value),
            Some(Device::TABLE) => sound::<Device>(value),
            Some(Block::TABLE) => self.take_block(key, value),
            Some(WaitingSeal::TABLE) => sound::<WaitingSeal>(value),
            Some(Document::TABLE) => self.take_document(key, value),
            Some(NumberSpace::TABLE) => sound::<NumberSpace>(value),
            Some(Activation::TABLE) => sound::<Activation>(value),
            Some(POSITION_TABLE) => self.positions.take(key, value),
            Some(REFERENCE_TABLE) => self.references.take(key, value),
            Some(OPEN_BLOCK_TABLE) => {
                self.named_open.add(key, 0);
                Ok(())
            }
            Some(VERSION_TABLE) => self.versions.take_version(key, value),
            Some(PART_TABLE) => self.versions.take_part(key, value),
            Some(DECIDED_TABLE) => {
                let known = DecidedCheckpoint::read(key, value);
                let known = known.map_err(|error| error.to_string())?;
                self.decided.push((known.size, known.root));
                Ok(())
            }
            _ => Err("this version knows no such table; use the one that made it".to_owned()),
        }
    }

    fn take_outlet(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let outlet = Outlet::from_stored(value).map_err(|error| format!("the outlet: {error}"))?;
        let id = outlet.fact.outlet_id.clone();
        if Outlet::stored_key(&id) != key {
            return Err(format!("the outlet {id} is filed as another"));
        }
        self.heads.push((id.clone(), outlet.head_entry()));
        self.chains.insert(id, outlet.chain);
        Ok(())
    }

    fn take_block(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let block = Block::from_stored(value).map_err(|error| format!("the block: {error}"))?;
        let credential = Reader::new(&key[1..]).str("credential").map_err(|e| e.to_string())?;
        if block.closed.is_none() {
            self.open_blocks.add(&open_block_key(block.grace_end(), credential), 0);
        }
        Ok(())
    }

    fn take_document(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let document =
            Document::from_stored(value).map_err(|error| format!("the document: {error}"))?;
        let kind =
            Reader::new(&key[1..]).str("document kind").map_err(|e| e.to_string())?.to_owned();
        if kind != FactKind::Outlet.as_str() {
            return Ok(());
        }
        match Fact::decode(FactKind::Outlet, &document.bytes) {
            Ok(Fact::Outlet(fact)) => self.registered.push(fact),
            Ok(_) => return Err("the registration of an outlet is of another kind".to_owned()),
            Err(error) => return Err(format!("the registration of an outlet: {error}")),
        }
        Ok(())
    }
}

/// Reads a run from its first byte to its last, file after file.
struct Run<'a> {
    snapshot: &'a SnapshotDir,
    disk: &'a dyn Disk,
    identity: Hash32,
    files: std::vec::IntoIter<&'a SnapshotFile>,
    name: PathBuf,
    content: Vec<u8>,
    at: usize,
    /// Bytes of the files before this one, without their headers.
    before: u64,
}

impl<'a> Run<'a> {
    fn new(snapshot: &'a SnapshotDir, disk: &'a dyn Disk, run: &str) -> Self {
        let manifest = &snapshot.manifest;
        let of_run = |file: &&SnapshotFile| {
            file.name.split_once('/').is_some_and(|(folder, _)| folder == run)
        };
        let files: Vec<_> = manifest.files.iter().filter(of_run).collect();
        Self {
            snapshot,
            disk,
            identity: run_identity(run, &manifest.cluster, manifest.group),
            files: files.into_iter(),
            name: PathBuf::from(run),
            content: Vec::new(),
            at: 0,
            before: 0,
        }
    }

    /// The next bytes; they never stand in two files.
    fn next(&mut self, bytes: usize) -> Result<&[u8], SnapshotError> {
        while self.at == self.content.len() {
            self.open_next()?;
        }
        let from = self.at;
        self.at += bytes;
        match self.content.get(from..from + bytes) {
            Some(part) => Ok(part),
            None => {
                let what = format!("{} ends inside an entry", self.name.display());
                Err(self.snapshot.wrong(what))
            }
        }
    }

    fn open_next(&mut self) -> Result<(), SnapshotError> {
        let header = usize::try_from(HEADER_BYTES).expect("64 fits");
        self.before += self.content.len().saturating_sub(header) as u64;
        let Some(file) = self.files.next() else {
            let what = format!("{} ends before its last entry", self.name.display());
            return Err(self.snapshot.wrong(what));
        };
        self.name = PathBuf::from(&file.name);
        let bytes = usize::try_from(file.bytes).unwrap_or(usize::MAX);
        self.content = self.snapshot.read(self.disk, &file.name, 0, bytes)?;
        self.at = header;
        let expected = header_of(&self.identity, self.before);
        let start = format!("{:016x}", self.before);
        if !self.content.starts_with(&expected) || !file.name.ends_with(&start) {
            let what = format!("{} is of another group, or out of order", file.name);
            return Err(self.snapshot.wrong(what));
        }
        Ok(())
    }

    /// The offset of the next entry within the run.
    fn offset(&self) -> u64 {
        self.before + (self.at as u64).saturating_sub(HEADER_BYTES)
    }

    fn finish(&self) -> Result<(), SnapshotError> {
        if self.at < self.content.len() || self.files.len() > 0 {
            let what = format!("{} goes on behind its last entry", self.name.display());
            return Err(self.snapshot.wrong(what));
        }
        Ok(())
    }
}

/// Goes through the journal, leaf by leaf.
struct Walk<'a> {
    snapshot: &'a SnapshotDir,
    records: Run<'a>,
    leaves: Run<'a>,
    signatures: Run<'a>,
    nodes: [Run<'a>; 3],
    /// Those that signatures are checked with; without them, none is.
    keys: Option<BTreeMap<Id, VerifyingKey>>,
    /// In the order of their sizes, and which of them comes next.
    roots: Vec<(u64, Hash32)>,
    next_root: usize,
    /// Roots of the heads tree by their leaves.
    heads: BTreeMap<u64, Hash32>,
    tree: CompactRange,
    chains: BTreeMap<Id, (u64, Hash32)>,
    positions: Sum,
    references: Sum,
    signed: u64,
}

impl<'a> Walk<'a> {
    fn new(
        snapshot: &'a SnapshotDir,
        disk: &'a dyn Disk,
        keys: Option<BTreeMap<Id, VerifyingKey>>,
        mut roots: Vec<(u64, Hash32)>,
    ) -> Self {
        roots.sort_unstable();
        let run = |name| Run::new(snapshot, disk, name);
        Self {
            snapshot,
            records: run("journal"),
            leaves: run("leaves"),
            signatures: run("signatures"),
            nodes: TREE_NAMES.map(run),
            keys,
            roots,
            next_root: 0,
            heads: BTreeMap::new(),
            tree: CompactRange::new(),
            chains: BTreeMap::new(),
            positions: Sum::default(),
            references: Sum::default(),
            signed: 0,
        }
    }

    fn run(&mut self, applied: &stored::AppliedState) -> Result<(), SnapshotError> {
        self.check_roots()?;
        for leaf in 0..applied.leaves {
            let wrong = |what: &str| self.snapshot.wrong(format!("leaf {leaf}: {what}"));
            let entry = LeafEntry::decode(self.leaves.next(LEAF_BYTES as usize)?)
                .ok_or_else(|| wrong("its entry is not what was written"))?;
            let signature = if leaf < applied.signatures {
                let entry = self.signatures.next(SIGNATURE_BYTES as usize)?;
                let signature = open_numbered(entry, leaf);
                Some(signature.ok_or_else(|| wrong("its signature is not what was written"))?)
            } else {
                None
            };
            if entry.is_record() {
                self.check_record(leaf, &entry, signature)?;
            }
            self.check_heads(leaf, &entry)?;
            self.push(leaf, &entry.hash)?;
            self.check_roots()?;
        }
        for run in self.nodes.iter().chain([&self.records, &self.leaves, &self.signatures]) {
            run.finish()?;
        }
        Ok(())
    }

    fn check_record(
        &mut self,
        leaf: u64,
        entry: &LeafEntry,
        signature: Option<[u8; 64]>,
    ) -> Result<(), SnapshotError> {
        let snapshot = self.snapshot;
        let wrong = |what: String| snapshot.wrong(format!("leaf {leaf}: {what}"));
        let bytes = entry.bytes as usize;
        if bytes < FRAME_BYTES {
            return Err(wrong("its record is shorter than a frame".to_owned()));
        }
        let frame = self.records.next(bytes)?;
        let body = open_frame(frame, leaf)
            .ok_or_else(|| wrong("its record is not what was written".to_owned()))?;
        let record = Record::decode(body).map_err(|error| wrong(error.to_string()))?;
        if record.entry_hash != entry.hash || record.leaf_index != leaf {
            return Err(wrong("its record is of another leaf".to_owned()));
        }
        let who = record.outlet_id;
        let chain = self.chains.entry(Id::from(who)).or_insert((0, ZERO_HASH));
        if record.position != chain.0 + 1 || record.prev_hash != chain.1 {
            let what = format!("position {} of {who} does not follow {}", record.position, chain.0);
            return Err(wrong(what));
        }
        *chain = (record.position, record.entry_hash);
        self.positions.add(&position_key(who, record.position), leaf);
        if let Some(key) = reference_key(&record) {
            self.references.add(&key, leaf);
        }
        let key = self.keys.as_ref().map(|keys| {
            let key = keys.get(record.authority_id);
            key.ok_or_else(|| wrong(format!("{} is unknown", record.authority_id)))
        });
        if let (Some(key), Some(signature)) = (key.transpose()?, signature) {
            key.verify_strict(&record.entry_hash, &Signature::from_bytes(&signature)).map_err(
                |_| wrong(format!("the signature of {who} {} is wrong", record.position)),
            )?;
            self.signed += 1;
        }
        let end = entry.offset + u64::from(entry.bytes);
        if end != self.records.offset() {
            return Err(wrong("its entry names another place".to_owned()));
        }
        Ok(())
    }

    fn push(&mut self, leaf: u64, hash: &Hash32) -> Result<(), SnapshotError> {
        let mut completed = Vec::new();
        self.tree.push_with(hash, |level, _, node| completed.push((level, *node)));
        for (level, node) in completed {
            let Some(at) = TREE_HEIGHTS.iter().position(|kept| *kept == level) else { continue };
            let entry = self.nodes[at].next(NODE_BYTES as usize)?;
            if open_numbered::<32>(entry, leaf >> level) != Some(node) {
                let what = format!("leaf {leaf}: the tree's node of height {level} is another");
                return Err(self.snapshot.wrong(what));
            }
        }
        Ok(())
    }

    /// A version of the heads tree is that of the leaf which it is filed under.
    fn check_heads(&self, leaf: u64, entry: &LeafEntry) -> Result<(), SnapshotError> {
        let Some(root) = self.heads.get(&leaf) else { return Ok(()) };
        let manifest = &self.snapshot.manifest;
        if entry.hash == heads_leaf(&manifest.cluster, manifest.group, leaf, root) {
            return Ok(());
        }
        Err(self.snapshot.wrong(format!("leaf {leaf}: the heads that are kept are not its own")))
    }

    fn check_roots(&mut self) -> Result<(), SnapshotError> {
        let size = self.tree.size();
        while let Some((known, root)) = self.roots.get(self.next_root)
            && *known == size
        {
            if *root != self.tree.root() {
                let what = format!("the tree of {size} leaves has another root than was published");
                return Err(self.snapshot.wrong(what));
            }
            self.next_root += 1;
        }
        Ok(())
    }

    /// The ends of the chains, the tree and the positions must be what the rows say.
    fn compare(&self, rows: &Rows, group: &Group) -> Result<(), SnapshotError> {
        if self.tree.root() != group.tree.root() {
            return Err(self.snapshot.wrong("the tree's root is not the group's".to_owned()));
        }
        if let Some((size, _)) = self.roots.iter().find(|(size, _)| *size > self.tree.size()) {
            let what = format!("a checkpoint of {size} leaves was published; there are fewer");
            return Err(self.snapshot.wrong(what));
        }
        if self.positions != rows.positions {
            return Err(self.snapshot.wrong("positions do not lead to their records".to_owned()));
        }
        if self.references != rows.references {
            let what = "invoices do not lead to their credit notes and payments";
            return Err(self.snapshot.wrong(what.to_owned()));
        }
        let own = (group.chain_id(), &group.chain);
        let chains = rows.chains.iter().map(|(id, chain)| (id.clone(), chain)).chain([own]);
        let mut seen = 0;
        for (id, chain) in chains {
            let walked = self.chains.get(&id);
            seen += usize::from(walked.is_some());
            if walked.copied().unwrap_or((0, ZERO_HASH)) != (chain.last_position, chain.head) {
                let what = format!("the journal of {id} does not end where its row says");
                return Err(self.snapshot.wrong(what));
            }
        }
        if seen != self.chains.len() {
            return Err(self.snapshot.wrong("records of an outlet without a row".to_owned()));
        }
        Ok(())
    }
}
