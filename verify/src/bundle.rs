//! The files in which proofs travel: C2SP `tlog-proof`, and the answers of the audit interface, which have one
//! spelling each.

use crate::encoding::{from_base64, from_hex};
use crate::failure::{Failure, Kind};
use crate::hash::Hash;
use crate::note::NOTE_BYTES_MAX;
use crate::scan::{Scanner, Unreadable};

/// Hashes of a path, or of a consistency proof, and its first one.
const HASHES_MAX: usize = 64;
const HEADS_PROOF_BYTES_MAX: usize = 64 * 1024;
/// Longer files hold no single proof.
pub(crate) const BUNDLE_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX + 1024 * 1024;

/// That a leaf is in a log.
#[derive(Debug)]
pub(crate) struct InclusionProof {
    pub(crate) leaf_index: u64,
    pub(crate) hashes: Vec<Hash>,
    pub(crate) checkpoint: String,
    /// What an answer in JSON says about it besides, which must agree.
    pub(crate) stated: Option<Stated>,
}

/// What is only said.
#[derive(Debug)]
pub(crate) struct Stated {
    pub(crate) fiscal_number: String,
    pub(crate) entry_hash: Hash,
    pub(crate) log: StatedLog,
}

/// What is said of a checkpoint beside it.
#[derive(Debug)]
pub(crate) struct StatedLog {
    pub(crate) group: u64,
    pub(crate) size: u64,
    pub(crate) origin: String,
    pub(crate) root: Hash,
}

/// That a log only grew.
#[derive(Debug)]
pub(crate) struct ConsistencyProof {
    pub(crate) from_size: u64,
    pub(crate) hashes: Vec<Hash>,
    pub(crate) checkpoint: String,
    pub(crate) stated: StatedLog,
}

/// What a heads tree says about an outlet, and that its root is in the log.
#[derive(Debug)]
pub(crate) struct HeadsBundle {
    pub(crate) leaf_index: u64,
    pub(crate) root: Hash,
    pub(crate) proof: Vec<u8>,
    pub(crate) inclusion: Vec<Hash>,
}

/// The first line of a range proof, or the whole of an absence proof.
#[derive(Debug)]
pub(crate) struct OutletBundle {
    pub(crate) cluster: String,
    pub(crate) group: u64,
    pub(crate) outlet: String,
    pub(crate) size: u64,
    pub(crate) checkpoint: String,
    pub(crate) claim: Claim,
}

/// What such a bundle is about.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Between two heads.
    Range { start: Option<HeadsBundle>, end: HeadsBundle, records: u64 },
    /// No such outlet.
    Absence { heads: HeadsBundle },
}

fn unreadable(what: &str, error: &Unreadable) -> Failure {
    Failure::new(Kind::Format, what, error.to_string())
}

impl InclusionProof {
    /// Either form.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.starts_with('{') {
            return json_inclusion(text).map_err(|error| unreadable("proof", &error));
        }
        parse_tlog_proof(text)
            .ok_or_else(|| Failure::new(Kind::Format, "proof", "it is no c2sp.org/tlog-proof@v1"))
    }
}

fn parse_tlog_proof(text: &str) -> Option<InclusionProof> {
    let rest = text.strip_prefix("c2sp.org/tlog-proof@v1\nindex ")?;
    let (head, checkpoint) = rest.split_once("\n\n")?;
    let mut lines = head.split('\n');
    let digits = lines.next()?;
    let leaf_index = digits.parse().ok().filter(|index: &u64| index.to_string() == digits)?;
    let hashes: Vec<Hash> =
        lines.map(|line| from_base64(line)?.try_into().ok()).collect::<Option<_>>()?;
    let checkpoint = checkpoint.to_owned();
    (hashes.len() <= HASHES_MAX).then_some(InclusionProof {
        leaf_index,
        hashes,
        checkpoint,
        stated: None,
    })
}

fn json_inclusion(text: &str) -> Result<InclusionProof, Unreadable> {
    let s = &mut Scanner::new(text);
    s.literal("{\"outlet_id\":")?;
    s.string()?;
    s.literal(",\"position\":")?;
    s.count()?;
    s.literal(",\"fiscal_number\":")?;
    let fiscal_number = s.string()?.into_owned();
    s.literal(",\"entry_hash\":")?;
    let entry_hash = hash(s)?;
    s.literal(",\"group\":")?;
    let group = s.count()?;
    s.literal(",\"leaf_index\":")?;
    let leaf_index = s.count()?;
    s.literal(",\"tree_size\":")?;
    let size = s.count()?;
    s.literal(",\"hashes\":")?;
    let hashes = s.list(HASHES_MAX, hash)?;
    let (checkpoint, log) = checkpoint(s, group, size)?;
    Ok(InclusionProof {
        leaf_index,
        hashes,
        checkpoint,
        stated: Some(Stated { fiscal_number, entry_hash, log }),
    })
}

impl ConsistencyProof {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Self::read(text).map_err(|error| unreadable("proof", &error))
    }

    fn read(text: &str) -> Result<Self, Unreadable> {
        let s = &mut Scanner::new(text);
        s.literal("{\"group\":")?;
        let group = s.count()?;
        s.literal(",\"from_size\":")?;
        let from_size = s.count()?;
        s.literal(",\"tree_size\":")?;
        let size = s.count()?;
        s.literal(",\"hashes\":")?;
        let hashes = s.list(HASHES_MAX, hash)?;
        let (checkpoint, stated) = checkpoint(s, group, size)?;
        Ok(Self { from_size, hashes, checkpoint, stated })
    }
}

/// The checkpoint at the end of an answer, and what is said about it.
fn checkpoint(
    s: &mut Scanner<'_>,
    group: u64,
    size: u64,
) -> Result<(String, StatedLog), Unreadable> {
    if s.take("}") {
        return Err(s.error("the proof has no checkpoint: ask for the size of the last one"));
    }
    s.literal(&format!(",\"checkpoint\":{{\"group\":{group},\"origin\":"))?;
    let origin = s.string()?.into_owned();
    s.literal(&format!(",\"tree_size\":{size},\"root\":"))?;
    let root = hash(s)?;
    s.literal(",\"checkpoint\":")?;
    let note = s.string()?.into_owned();
    s.literal("}}")?;
    s.take("\n");
    s.finish()?;
    Ok((note, StatedLog { group, size, origin, root }))
}

fn hash(s: &mut Scanner<'_>) -> Result<Hash, Unreadable> {
    s.parsed("32 bytes in hexadecimal", from_hex)
}

impl OutletBundle {
    /// Reads the first line, without its end.
    pub(crate) fn parse(line: &str) -> Result<Self, Failure> {
        Self::read(line).map_err(|error| unreadable("first line", &error))
    }

    fn read(line: &str) -> Result<Self, Unreadable> {
        let s = &mut Scanner::new(line);
        s.literal("{\"format\":")?;
        let is_range = s.take("\"fiscus/range-proof/v1\"");
        if !is_range {
            s.literal("\"fiscus/absence-proof/v1\"")?;
        }
        s.literal(",\"cluster\":")?;
        let cluster = s.string()?.into_owned();
        s.literal(",\"group\":")?;
        let group = s.count()?;
        s.literal(",\"outlet_id\":")?;
        let outlet = s.string()?.into_owned();
        s.literal(",\"tree_size\":")?;
        let size = s.count()?;
        s.literal(",\"checkpoint\":")?;
        let checkpoint = s.string()?.into_owned();
        let claim = if is_range { range(s)? } else { absence(s)? };
        s.literal("}")?;
        s.finish()?;
        Ok(Self { cluster, group, outlet, size, checkpoint, claim })
    }
}

fn range(s: &mut Scanner<'_>) -> Result<Claim, Unreadable> {
    s.literal(",\"start\":")?;
    let start = if s.take("null") { None } else { Some(heads(s)?) };
    s.literal(",\"end\":")?;
    let end = heads(s)?;
    s.literal(",\"records\":")?;
    Ok(Claim::Range { start, end, records: s.count()? })
}

fn absence(s: &mut Scanner<'_>) -> Result<Claim, Unreadable> {
    s.literal(",\"heads\":")?;
    Ok(Claim::Absence { heads: heads(s)? })
}

fn heads(s: &mut Scanner<'_>) -> Result<HeadsBundle, Unreadable> {
    s.literal("{\"leaf_index\":")?;
    let leaf_index = s.count()?;
    s.literal(",\"root\":")?;
    let root = hash(s)?;
    s.literal(",\"proof\":")?;
    let proof = s.parsed("a heads proof in hexadecimal", bytes)?;
    s.literal(",\"inclusion\":")?;
    let inclusion = s.list(HASHES_MAX, hash)?;
    s.literal("}")?;
    Ok(HeadsBundle { leaf_index, root, proof, inclusion })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * HEADS_PROOF_BYTES_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| from_hex::<1>(text.get(at..at + 2)?).map(|[byte]| byte))
        .collect()
}
