use proptest::prelude::*;

use super::*;
use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{from_hex, payload_hash};

fn leaf(index: u64) -> Hash32 {
    payload_hash(index.to_string().as_bytes())
}

fn leaves(count: u64) -> Vec<Hash32> {
    (0..count).map(leaf).collect()
}

/// The definition in RFC 6962, section 2.1, word for word.
fn model_root(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => empty_root(),
        [one] => leaf_hash(one),
        many => {
            let mut split = 1;
            while split * 2 < many.len() {
                split *= 2;
            }
            node_hash(&model_root(&many[..split]), &model_root(&many[split..]))
        }
    }
}

/// A node as the model has it; absent when `size` leaves do not complete it.
fn model_node(size: u64) -> impl Fn(u32, u64) -> Option<Hash32> {
    let leaves = leaves(size);
    move |level, index| {
        let start = usize::try_from(index << level).unwrap();
        let end = usize::try_from((index + 1) << level).unwrap();
        leaves.get(start..end).map(model_root)
    }
}

fn range_of(size: u64) -> CompactRange {
    let mut range = CompactRange::new();
    for data in leaves(size) {
        range.push(&data);
    }
    range
}

/// The leaves and roots that Certificate Transparency implementations share.
#[test]
fn the_vectors_of_certificate_transparency() {
    let rows: [(&[u8], &str); 8] = [
        (b"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (&[0x00], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (&[0x10], "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (&[0x20, 0x21], "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (&[0x30, 0x31], "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (b"@ABC", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        (b"PQRSTUVW", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (b"`abcdefghijklmno", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ];
    let mut range = CompactRange::new();
    for (data, root) in rows {
        range.push_hashed(prefixed_leaf(data), |_, _, _| {});
        assert_eq!(Some(range.root()), from_hex(root));
    }
}

#[test]
fn the_compact_range_has_the_root_of_the_definition() {
    for size in 0..=130 {
        assert_eq!(range_of(size).root(), model_root(&leaves(size)), "size {size}");
    }
}

#[test]
fn every_complete_node_is_handed_over_once_and_right() {
    let size = 100;
    let mut kept = std::collections::BTreeMap::new();
    let mut range = CompactRange::new();
    for (index, data) in (0..).zip(leaves(size)) {
        let pushed = range.push_with(&data, |level, index, hash| {
            assert_eq!(kept.insert((level, index), *hash), None, "node {level}/{index} again");
        });
        assert_eq!(pushed, index);
    }
    let model = model_node(size);
    for level in 0..8 {
        for index in 0..=size {
            assert_eq!(kept.get(&(level, index)).copied(), model(level, index), "{level}/{index}");
        }
    }
}

#[test]
fn stored_ranges_round_trip_and_go_on_alike() {
    for size in 0..70 {
        let mut range = range_of(size);
        let mut writer = Writer::new();
        range.encode(&mut writer);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        let mut restored = CompactRange::decode(&mut reader).unwrap();
        reader.finish().unwrap();
        assert_eq!(restored, range);
        restored.push(&leaf(size));
        range.push(&leaf(size));
        assert_eq!(restored.root(), range.root());
    }
}

#[test]
fn broken_stored_ranges_are_refused() {
    for (size, hashes, error) in [
        (3, 1, DecodeError::Truncated("tree edge")),
        (u64::MAX, 64, DecodeError::Invalid("tree size")),
        (LEAVES_MAX + 1, 1, DecodeError::Invalid("tree size")),
        (LEAVES_MAX, 62, DecodeError::Truncated("tree edge")),
    ] {
        let mut writer = Writer::new();
        writer.u64(size);
        for _ in 0..hashes {
            writer.raw(&[7; 32]);
        }
        assert_eq!(CompactRange::decode(&mut Reader::new(writer.as_bytes())), Err(error));
    }
    assert_eq!(
        CompactRange::decode(&mut Reader::new(&[0; 7])),
        Err(DecodeError::Truncated("tree size"))
    );
}

/// Every way to damage a list of hashes: one bit, one hash dropped, doubled, added or swapped.
fn damaged(proof: &[Hash32]) -> Vec<Vec<Hash32>> {
    let mut all = Vec::new();
    for place in 0..proof.len() {
        for bit in 0..256 {
            let mut flipped = proof.to_vec();
            flipped[place][bit / 8] ^= 1 << (bit % 8);
            all.push(flipped);
        }
        let mut dropped = proof.to_vec();
        dropped.remove(place);
        all.push(dropped);
        let mut doubled = proof.to_vec();
        doubled.insert(place, proof[place]);
        all.push(doubled);
        if place > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(place - 1, place);
            all.push(swapped);
        }
    }
    for added in [[0; 32], empty_root()] {
        all.push([proof, &[added]].concat());
        all.push([&[added], proof].concat());
    }
    all
}

#[test]
fn every_inclusion_proof_up_to_70_leaves_verifies() {
    for size in 1..=70 {
        let (node, root) = (model_node(size), range_of(size).root());
        for index in 0..size {
            let proof = inclusion_proof(size, index, &node).unwrap();
            assert_eq!(verify_inclusion(&leaf(index), index, size, &proof, &root), Ok(()));
            assert_eq!(
                verify_inclusion(&leaf(index + 1), index, size, &proof, &root),
                Err(InclusionError::RootMismatch)
            );
        }
    }
}

#[test]
fn every_damaged_inclusion_proof_fails() {
    for size in 1..=70 {
        let (node, root) = (model_node(size), range_of(size).root());
        for index in 0..size {
            let proof = inclusion_proof(size, index, &node).unwrap();
            for wrong in damaged(&proof) {
                let result = verify_inclusion(&leaf(index), index, size, &wrong, &root);
                let expected = match wrong.len().cmp(&proof.len()) {
                    std::cmp::Ordering::Less => InclusionError::TooShort,
                    std::cmp::Ordering::Equal => InclusionError::RootMismatch,
                    std::cmp::Ordering::Greater => InclusionError::TooLong,
                };
                assert_eq!(result, Err(expected), "leaf {index} of {size}");
            }
        }
    }
}

#[test]
fn every_consistency_proof_up_to_40_leaves_verifies() {
    for new in 0..=40 {
        let (node, new_root) = (model_node(new), range_of(new).root());
        for old in 0..=new {
            let old_root = range_of(old).root();
            let proof = consistency_proof(old, new, &node).unwrap();
            assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
            let wrong_old = verify_consistency(old, &[1; 32], new, &new_root, &proof);
            assert!(wrong_old.is_err(), "{old} to {new}");
            let wrong_new = verify_consistency(old, &old_root, new, &[1; 32], &proof);
            let nothing_to_compare = old == 0 && new > 0;
            assert_eq!(wrong_new.is_ok(), nothing_to_compare, "{old} to {new}");
        }
    }
}

#[test]
fn every_damaged_consistency_proof_fails() {
    for new in 0..=40 {
        let (node, new_root) = (model_node(new), range_of(new).root());
        for old in 0..=new {
            let old_root = range_of(old).root();
            let proof = consistency_proof(old, new, &node).unwrap();
            for wrong in damaged(&proof) {
                let result = verify_consistency(old, &old_root, new, &new_root, &wrong);
                match wrong.len().cmp(&proof.len()) {
                    std::cmp::Ordering::Less => assert_eq!(result, Err(ConsistencyError::TooShort)),
                    std::cmp::Ordering::Equal => assert!(matches!(
                        result,
                        Err(ConsistencyError::OldRootMismatch | ConsistencyError::NewRootMismatch)
                    )),
                    std::cmp::Ordering::Greater => {
                        assert_eq!(result, Err(ConsistencyError::TooLong));
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_out_of_range_and_absent_nodes_are_told_apart() {
    let (node, root) = (model_node(7), range_of(7).root());
    for index in [7, 8, u64::MAX] {
        let outside = ProveError::LeafOutsideTree { index, size: 7 };
        assert_eq!(inclusion_proof(7, index, &node), Err(outside));
        let outside = InclusionError::LeafOutsideTree { index, size: 7 };
        assert_eq!(verify_inclusion(&leaf(0), index, 7, &[], &root), Err(outside));
    }
    let shrunk = ProveError::Shrunk { old: 8, new: 7 };
    assert_eq!(consistency_proof(8, 7, &node), Err(shrunk));
    let shrunk = ConsistencyError::Shrunk { old: 8, new: 7 };
    assert_eq!(verify_consistency(8, &root, 7, &root, &[]), Err(shrunk));

    let absent = |level, index| Err(ProveError::NodeAbsent { level, index });
    assert_eq!(inclusion_proof(8, 0, &node), absent(2, 1));
    assert_eq!(consistency_proof(6, 8, &node), absent(1, 3));
    assert_eq!(inclusion_proof(u64::MAX, 0, &|_, _| None), absent(0, u64::MAX - 1));
}

#[test]
fn consistency_of_empty_and_equal_trees_is_exact() {
    let (empty, one) = (empty_root(), range_of(1).root());
    for (old, old_root, new, new_root, proof, expected) in [
        (0, empty, 0, empty, &[][..], Ok(())),
        (0, empty, 1, one, &[], Ok(())),
        (1, one, 1, one, &[], Ok(())),
        (0, one, 1, one, &[], Err(ConsistencyError::OldRootMismatch)),
        (0, one, 0, one, &[], Err(ConsistencyError::OldRootMismatch)),
        (0, empty, 0, one, &[], Err(ConsistencyError::NewRootMismatch)),
        (1, one, 1, empty, &[], Err(ConsistencyError::NewRootMismatch)),
        (0, empty, 1, one, &[one], Err(ConsistencyError::TooLong)),
        (1, one, 1, one, &[one], Err(ConsistencyError::TooLong)),
        (1, one, 2, one, &[], Err(ConsistencyError::TooShort)),
        (3, one, 4, one, &[], Err(ConsistencyError::TooShort)),
    ] {
        assert_eq!(verify_consistency(old, &old_root, new, &new_root, proof), expected);
    }
}

/// The largest sizes need at most 64 hashes and no recursion.
#[test]
fn proofs_at_the_largest_size_are_bounded() {
    let node = |level: u32, index: u64| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&index.to_le_bytes());
        hash[8..12].copy_from_slice(&level.to_le_bytes());
        Some(hash)
    };
    for index in [0, 1, LEAVES_MAX / 2, LEAVES_MAX - 1] {
        let proof = inclusion_proof(LEAVES_MAX, index, &node).unwrap();
        assert!(proof.len() <= 63, "{index}: {}", proof.len());
        let result = verify_inclusion(&[0; 32], index, LEAVES_MAX, &proof, &[0; 32]);
        assert_eq!(result, Err(InclusionError::RootMismatch));
    }
    assert_eq!(consistency_proof(LEAVES_MAX - 1, LEAVES_MAX, &node).unwrap().len(), 63);
}

proptest! {
    #[test]
    fn arbitrary_proofs_never_panic(
        first in any::<u64>(),
        second in any::<u64>(),
        proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        prop_assert!(verify_inclusion(&[0; 32], first, second, &proof, &[0; 32]).is_err());
        prop_assert!(verify_consistency(first, &[0; 32], second, &[1; 32], &proof).is_err());
    }

    #[test]
    fn proofs_of_larger_trees_verify(size in 1_u64..3000, a in any::<u64>(), b in any::<u64>()) {
        let (index, old) = (a % size, b % (size + 1));
        let mut kept = std::collections::BTreeMap::new();
        let mut range = CompactRange::new();
        let mut old_root = empty_root();
        for data in leaves(size) {
            range.push_with(&data, |level, index, hash| {
                kept.insert((level, index), *hash);
            });
            if range.size() == old {
                old_root = range.root();
            }
        }
        let (node, root) = (|level, index| kept.get(&(level, index)).copied(), range.root());
        let proof = inclusion_proof(size, index, &node).unwrap();
        prop_assert_eq!(verify_inclusion(&leaf(index), index, size, &proof, &root), Ok(()));
        let proof = consistency_proof(old, size, &node).unwrap();
        prop_assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Ok(()));
    }
}
