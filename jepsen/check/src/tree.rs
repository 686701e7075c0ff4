//! The root of a growing tree (RFC 6962), leaf by leaf.

use sha2::{Digest as _, Sha256};

use crate::line::Digest;

/// The roots of the complete subtrees that a tree's leaves make, the largest first.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    peaks: Vec<[u8; 32]>,
    size: u64,
}

impl Growing {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn push(&mut self, data: &Digest) {
        let mut node: [u8; 32] =
            Sha256::new().chain_update([0]).chain_update(data.0).finalize().into();
        // Each trailing one of the size is a complete subtree that the new leaf completes further.
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a peak for each one in the size");
            node = above(&left, &node);
        }
        self.peaks.push(node);
        self.size += 1;
    }

    pub(crate) fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Digest(Sha256::digest([]).into()) };
        Digest(peaks.fold(*last, |right, left| above(left, &right)))
    }
}

fn above(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: the larger half is the largest power of two below the size.
    fn by_definition(leaves: &[Digest]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => Sha256::new().chain_update([0]).chain_update(one.0).finalize().into(),
            many => {
                let half = many.len().next_power_of_two() / 2;
                above(&by_definition(&many[..half]), &by_definition(&many[half..]))
            }
        }
    }

    #[test]
    fn every_size_has_the_root_of_the_definition() {
        let leaves: Vec<Digest> = (0..70).map(|at| Digest([at; 32])).collect();
        let mut tree = Growing::default();
        for size in 0..=leaves.len() {
            assert_eq!(tree.root().0, by_definition(&leaves[..size]), "{size}");
            if let Some(leaf) = leaves.get(size) {
                tree.push(leaf);
            }
        }
    }
}
