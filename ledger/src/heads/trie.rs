//! The trie itself: shared, immutable nodes, and an update that rebuilds only the paths it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::proof::{End, Step};
use super::{
    HeadEntry, HeadsProof, agree, bit, contents_hash, empty_hash, entry_hash, first_difference,
    node_hash, outlet_key, prefix,
};
use crate::hash::Hash32;

/// The heads tree of a group. A clone takes constant time and never changes with the original.
#[derive(Clone, Default)]
pub struct HeadsTrie {
    root: Option<Arc<Node>>,
    len: usize,
}

struct Node {
    hash: Hash32,
    /// An entry's key, or the bits that all keys below an inner node share.
    bits: Hash32,
    shape: Shape,
}

enum Shape {
    Entry { outlet_id: Box<str>, entry: HeadEntry },
    Inner { depth: u8, left: Arc<Node>, right: Arc<Node> },
}

impl HeadsTrie {
    /// The tree without outlets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The hash over all entries.
    #[must_use]
    pub fn root(&self) -> Hash32 {
        self.root.as_ref().map_or_else(empty_hash, |node| node.hash)
    }

    /// How many outlets have an entry.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no outlet has an entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// An outlet's entry.
    #[must_use]
    pub fn get(&self, outlet_id: &str) -> Option<&HeadEntry> {
        let key = outlet_key(outlet_id);
        let mut node = self.root.as_deref()?;
        loop {
            match &node.shape {
                Shape::Entry { entry, .. } => return (node.bits == key).then_some(entry),
                Shape::Inner { depth, left, right } => {
                    node = if bit(&key, *depth) { right } else { left };
                }
            }
        }
    }

    /// Sets one outlet's entry. For several, [`Self::update`] does less work.
    pub fn set(&mut self, outlet_id: &str, entry: HeadEntry) {
        self.update([(outlet_id, entry)]);
    }

    /// Sets the entries of many outlets and hashes every node on their paths once. When an outlet is
    /// named twice its last entry stays.
    pub fn update<'a>(&mut self, changes: impl IntoIterator<Item = (&'a str, HeadEntry)>) {
        let by_key: BTreeMap<_, _> = changes
            .into_iter()
            .map(|(outlet_id, entry)| (outlet_key(outlet_id), (outlet_id, entry)))
            .collect();
        let changed: Vec<_> = by_key
            .into_iter()
            .map(|(key, (outlet_id, entry))| Arc::new(Node::entry(key, outlet_id, entry)))
            .collect();
        if changed.is_empty() {
            return;
        }
        let mut replaced = 0;
        self.root = Some(match &self.root {
            Some(node) => merge(node, &changed, &mut replaced),
            None => build(&changed),
        });
        self.len += changed.len() - replaced;
    }

    /// All outlets and their entries, by key: the order looks random but is the same everywhere.
    #[must_use]
    pub fn iter(&self) -> HeadsIter<'_> {
        HeadsIter { ahead: self.root.as_deref().into_iter().collect() }
    }

    /// The outlets whose entries are not those of an earlier state of this tree, by key. What the two share
    /// is not looked at.
    #[must_use]
    pub fn changed_since<'a>(&'a self, earlier: &Self) -> Vec<(&'a str, &'a HeadEntry)> {
        let mut changed = Vec::new();
        if let Some(root) = self.root.as_deref() {
            differ(root, earlier.root.as_deref(), &mut changed);
        }
        changed
    }

    /// Proves an outlet's entry, or that it has none.
    #[must_use]
    pub fn prove(&self, outlet_id: &str) -> HeadsProof {
        let key = outlet_key(outlet_id);
        let mut steps = Vec::new();
        let Some(mut node) = self.root.as_deref() else {
            return HeadsProof { steps, end: End::Empty };
        };
        loop {
            match &node.shape {
                Shape::Entry { outlet_id, entry } => {
                    let end = if node.bits == key {
                        End::Entry { outlet_id: outlet_id.to_string(), entry: entry.clone() }
                    } else {
                        End::Other { key: node.bits, contents: contents_hash(outlet_id, entry) }
                    };
                    return HeadsProof { steps, end };
                }
                Shape::Inner { depth, left, right } if agree(&key, &node.bits, *depth) => {
                    let (next, other) =
                        if bit(&key, *depth) { (right, left) } else { (left, right) };
                    steps.push(Step { depth: *depth, sibling: other.hash });
                    node = next;
                }
                Shape::Inner { depth, left, right } => {
                    let (left, right) = (left.hash, right.hash);
                    let end = End::Fork { depth: *depth, prefix: node.bits, left, right };
                    return HeadsProof { steps, end };
                }
            }
        }
    }
}

impl std::fmt::Debug for HeadsTrie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let root = crate::hash::hex(&self.root());
        f.debug_struct("HeadsTrie").field("len", &self.len).field("root", &root).finish()
    }
}

impl<'a> IntoIterator for &'a HeadsTrie {
    type Item = (&'a str, &'a HeadEntry);
    type IntoIter = HeadsIter<'a>;

    fn into_iter(self) -> HeadsIter<'a> {
        self.iter()
    }
}

/// The entries of a [`HeadsTrie`], by key.
pub struct HeadsIter<'a> {
    ahead: Vec<&'a Node>,
}

impl std::fmt::Debug for HeadsIter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeadsIter").field("subtrees_ahead", &self.ahead.len()).finish()
    }
}

impl<'a> Iterator for HeadsIter<'a> {
    type Item = (&'a str, &'a HeadEntry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match &self.ahead.pop()?.shape {
                Shape::Entry { outlet_id, entry } => return Some((outlet_id, entry)),
                Shape::Inner { left, right, .. } => self.ahead.extend([&**right, &**left]),
            }
        }
    }
}

impl Node {
    fn entry(key: Hash32, outlet_id: &str, entry: HeadEntry) -> Self {
        let hash = entry_hash(&key, &contents_hash(outlet_id, &entry));
        Self { hash, bits: key, shape: Shape::Entry { outlet_id: outlet_id.into(), entry } }
    }

    /// The node over two subtrees that first differ in bit `depth`.
    fn inner(depth: u8, left: Arc<Self>, right: Arc<Self>) -> Arc<Self> {
        let bits = prefix(&left.bits, depth);
        let hash = node_hash(depth, &bits, &left.hash, &right.hash);
        Arc::new(Self { hash, bits, shape: Shape::Inner { depth, left, right } })
    }
}

/// Puts `changed` entries, sorted by key, into the subtree `node`, and counts those that it had.
/// Every deeper call looks at a later bit of the keys, so the recursion is bounded by their 256 bits.
fn merge(node: &Arc<Node>, changed: &[Arc<Node>], replaced: &mut usize) -> Arc<Node> {
    let (Some(first), Some(last)) = (changed.first(), changed.last()) else {
        return Arc::clone(node);
    };
    // Of a sorted list, the first or the last key leaves the node's path before all others do.
    let leaves_path_at = [first, last].map(|entry| first_difference(&node.bits, &entry.bits));
    let leaves_path_at = leaves_path_at.into_iter().flatten().min();
    match (&node.shape, leaves_path_at) {
        (Shape::Inner { depth, left, right }, place) if place.is_none_or(|p| p >= *depth) => {
            let (to_left, to_right) = split(changed, *depth);
            let left = merge(left, to_left, replaced);
            Node::inner(*depth, left, merge(right, to_right, replaced))
        }
        (_, Some(depth)) => {
            let (to_left, to_right) = split(changed, depth);
            if bit(&node.bits, depth) {
                Node::inner(depth, build(to_left), merge(node, to_right, replaced))
            } else {
                Node::inner(depth, merge(node, to_left, replaced), build(to_right))
            }
        }
        // Every changed key is the entry's own key, and keys are listed once.
        (_, None) => {
            *replaced += 1;
            Arc::clone(first)
        }
    }
}

/// Gathers the entries below `node` that are not below `earlier`, the subtree of an earlier state whose keys
/// are all below `node` or on its path. Every deeper call looks at a later bit of the keys.
fn differ<'a>(node: &'a Node, earlier: Option<&Node>, changed: &mut Vec<(&'a str, &'a HeadEntry)>) {
    if earlier.is_some_and(|earlier| earlier.hash == node.hash) {
        return;
    }
    match &node.shape {
        Shape::Entry { outlet_id, entry } => changed.push((outlet_id, entry)),
        Shape::Inner { depth, left, right } => {
            let (before_left, before_right) = match earlier {
                None => (None, None),
                Some(Node { shape: Shape::Inner { depth: known, left, right }, .. })
                    if known == depth =>
                {
                    (Some(&**left), Some(&**right))
                }
                // A branch that came between the earlier subtree and its root.
                Some(earlier) if bit(&earlier.bits, *depth) => (None, Some(earlier)),
                Some(earlier) => (Some(earlier), None),
            };
            differ(left, before_left, changed);
            differ(right, before_right, changed);
        }
    }
}

/// The subtree over at least one entry, sorted by key.
fn build(entries: &[Arc<Node>]) -> Arc<Node> {
    let first = entries.first().expect("callers split where an entry is on each side");
    let last = entries.last().expect("callers split where an entry is on each side");
    let Some(depth) = first_difference(&first.bits, &last.bits) else { return Arc::clone(first) };
    let (left, right) = split(entries, depth);
    Node::inner(depth, build(left), build(right))
}

/// Parts entries that agree up to bit `depth` by that bit.
fn split(entries: &[Arc<Node>], depth: u8) -> (&[Arc<Node>], &[Arc<Node>]) {
    entries.split_at(entries.partition_point(|entry| !bit(&entry.bits, depth)))
}
