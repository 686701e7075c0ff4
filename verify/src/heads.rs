//! Heads proofs: an outlet's last position, numbers and chain head under the root of a group's heads tree, or that
//! the tree has no such outlet.
//!
//! The bytes stand at the top of the server's `heads/proof.rs` and in `docs/FORMAT.md`; the way of an outlet is the
//! bits of SHA-256 of its id, and every hash on it names the bits that all keys below it share, so that a path that
//! leaves an outlet's way proves that it is nowhere.

use crate::failure::{Failure, Kind};
use crate::hash::{Hash, Tagged, sha256};

/// Series of one outlet: its own and its devices'.
const SERIES_MAX: u32 = 10_000;

/// What the tree says about an outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) position: u64,
    /// The last number of each series, by its code.
    pub(crate) series: Vec<(String, u64)>,
    pub(crate) chain_head: Hash,
    pub(crate) perpetual: Hash,
}

#[derive(Debug)]
enum End {
    Nothing,
    Outlet { id: String, head: Head },
    Fork { depth: u8, prefix: Hash, left: Hash, right: Hash },
    Other { key: Hash, contents: Hash },
}

/// A path from the root to where an outlet's key leads.
#[derive(Debug)]
struct Path {
    /// From the root on.
    steps: Vec<(u8, Hash)>,
    end: End,
}

fn wrong(detail: &str) -> Failure {
    Failure::new(Kind::Inclusion, "heads proof", detail)
}

/// Checks a proof and says what it proves: the outlet's head, or that it has none.
pub(crate) fn check(proof: &[u8], root: &Hash, outlet: &str) -> Result<Option<Head>, Failure> {
    let path = Reader(proof).path();
    let path =
        path.ok_or_else(|| Failure::new(Kind::Format, "heads proof", "its bytes cannot be read"))?;
    let key = sha256(&[outlet.as_bytes()]);
    let (mut hash, shared) = match &path.end {
        End::Nothing => (Tagged::new("fiscus/heads-empty/v1").finish(), None),
        End::Outlet { id, .. } if id != outlet => return Err(wrong("it is about another outlet")),
        End::Outlet { id, head } => (entry_hash(&key, &contents_hash(id, head)), None),
        End::Other { key: other, .. } if *other == key => {
            return Err(wrong("it hides the outlet behind a hash of its figures"));
        }
        End::Other { key: other, contents } => {
            (entry_hash(other, contents), Some(shared_bits(&key, other)))
        }
        End::Fork { depth, prefix, .. } if shared_bits(&key, prefix) >= u32::from(*depth) => {
            return Err(wrong("it ends before it says anything about the outlet"));
        }
        End::Fork { depth, prefix, left, right } => {
            (node_hash(*depth, prefix, left, right), Some(shared_bits(&key, prefix)))
        }
    };
    // What the path ends at must stand on the outlet's side of its last branch.
    if let Some((shared, (depth, _))) = shared.zip(path.steps.last())
        && shared <= u32::from(*depth)
    {
        return Err(wrong("it follows another outlet's way"));
    }
    for (depth, sibling) in path.steps.iter().rev() {
        let prefix = leading(&key, *depth);
        hash = if bit(&key, *depth) {
            node_hash(*depth, &prefix, sibling, &hash)
        } else {
            node_hash(*depth, &prefix, &hash, sibling)
        };
    }
    if hash != *root {
        return Err(wrong("it leads to another root"));
    }
    match path.end {
        End::Outlet { head, .. } => Ok(Some(head)),
        _ => Ok(None),
    }
}

/// The data of the leaf under which a heads root stands in its group's log.
pub(crate) fn leaf(cluster: &str, group: u64, leaf_index: u64, root: &Hash) -> Hash {
    Tagged::new("fiscus/heads-leaf/v1")
        .text(cluster)
        .number(group)
        .number(leaf_index)
        .bytes(root)
        .finish()
}

fn contents_hash(outlet: &str, head: &Head) -> Hash {
    let mut hash = Tagged::new("fiscus/heads-contents/v1");
    hash.text(outlet)
        .number(head.position)
        .number(u64::try_from(head.series.len()).unwrap_or(u64::MAX));
    for (code, last) in &head.series {
        hash.text(code).number(*last);
    }
    hash.bytes(&head.chain_head).bytes(&head.perpetual).finish()
}

fn entry_hash(key: &Hash, contents: &Hash) -> Hash {
    Tagged::new("fiscus/heads-entry/v1").bytes(key).bytes(contents).finish()
}

fn node_hash(depth: u8, prefix: &Hash, left: &Hash, right: &Hash) -> Hash {
    Tagged::new("fiscus/heads-node/v1")
        .number(u64::from(depth))
        .bytes(prefix)
        .bytes(left)
        .bytes(right)
        .finish()
}

fn bit(key: &Hash, depth: u8) -> bool {
    key[usize::from(depth >> 3)] >> (7 - (depth & 7)) & 1 == 1
}

/// The first `depth` bits, the others zero.
fn leading(key: &Hash, depth: u8) -> Hash {
    let mut bits = [0; 32];
    for at in (0..depth).filter(|at| bit(key, *at)) {
        bits[usize::from(at >> 3)] |= 128 >> (at & 7);
    }
    bits
}

/// How many of their first bits two keys have in common.
fn shared_bits(a: &Hash, b: &Hash) -> u32 {
    let at = a.iter().zip(b).position(|(a, b)| a != b);
    at.map_or(256, |at| u32::try_from(at).unwrap_or(0) * 8 + (a[at] ^ b[at]).leading_zeros())
}

/// Reads the proof's bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn length(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.length()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(bytes.to_vec()).ok()
    }

    fn path(mut self) -> Option<Path> {
        let count = self.length().filter(|count| *count <= 256)?;
        let mut steps: Vec<(u8, Hash)> = Vec::new();
        for _ in 0..count {
            let depth = self.byte()?;
            if steps.last().is_some_and(|(above, _)| *above >= depth) {
                return None;
            }
            steps.push((depth, self.array()?));
        }
        let end = self.end(steps.last().map(|(depth, _)| *depth))?;
        self.0.is_empty().then_some(Path { steps, end })
    }

    fn end(&mut self, above: Option<u8>) -> Option<End> {
        match self.byte()? {
            0 => above.is_none().then_some(End::Nothing),
            1 => Some(End::Outlet { id: self.text()?, head: self.head()? }),
            2 => {
                let (depth, prefix) = (self.byte()?, self.array()?);
                let below =
                    above.is_none_or(|above| above < depth) && prefix == leading(&prefix, depth);
                below.then_some(())?;
                Some(End::Fork { depth, prefix, left: self.array()?, right: self.array()? })
            }
            3 => Some(End::Other { key: self.array()?, contents: self.array()? }),
            _ => None,
        }
    }

    fn head(&mut self) -> Option<Head> {
        let position = self.number()?;
        let mut series: Vec<(String, u64)> = Vec::new();
        for _ in 0..self.length().filter(|count| *count <= SERIES_MAX)? {
            let code = self.text()?;
            if series.last().is_some_and(|(before, _)| *before >= code) {
                return None;
            }
            series.push((code, self.number()?));
        }
        Some(Head { position, series, chain_head: self.array()?, perpetual: self.array()? })
    }
}
