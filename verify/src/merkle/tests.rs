//! Against the server's tree, which is written after another text of the same standard.

use fiscus_ledger::tree::{CompactRange, consistency_proof, inclusion_proof};

use super::*;

/// All complete nodes of a tree, and the roots of every size.
struct Tree {
    nodes: std::collections::BTreeMap<(u32, u64), Hash>,
    roots: Vec<Hash>,
}

fn data(index: u64) -> Hash {
    sha256(&[&index.to_le_bytes()])
}

fn tree(size: u64) -> Tree {
    let mut range = CompactRange::new();
    let mut tree = Tree { nodes: Default::default(), roots: vec![range.root()] };
    for index in 0..size {
        range.push_with(&data(index), |level, index, hash| {
            tree.nodes.insert((level, index), *hash);
        });
        tree.roots.push(range.root());
    }
    tree
}

fn root(tree: &Tree, size: u64) -> &Hash {
    &tree.roots[usize::try_from(size).expect("a small size")]
}

#[test]
fn every_inclusion_proof_is_accepted_and_every_change_refused() {
    let tree = tree(40);
    let node = |level, index| tree.nodes.get(&(level, index)).copied();
    for size in 1..=40 {
        let mut paths = Paths::default();
        for index in 0..size {
            let proof = inclusion_proof(size, index, &node).expect("it exists");
            let root = root(&tree, size);
            check_inclusion(&data(index), index, size, &proof, root).expect("it is there");
            paths.check(&data(index), index, size, &proof, root).expect("it is there");
            for at in 0..proof.len() {
                let mut changed = proof.clone();
                changed[at][7] ^= 1;
                assert!(check_inclusion(&data(index), index, size, &changed, root).is_err());
                assert!(paths.check(&data(index), index, size, &changed, root).is_err());
                assert!(paths.check(&data(index), index, size, &proof[..at], root).is_err());
                let mut dropped = proof.clone();
                dropped.remove(at);
                assert!(paths.check(&data(index), index, size, &dropped, root).is_err());
                let mut doubled = proof.clone();
                doubled.insert(at, proof[at]);
                assert!(paths.check(&data(index), index, size, &doubled, root).is_err());
            }
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(check_inclusion(&data(index), other, size, &proof, root).is_err());
                assert!(paths.check(&data(index), other, size, &proof, root).is_err());
            }
        }
    }
}

#[test]
fn paths_may_come_in_any_order() {
    let tree = tree(133);
    let node = |level, index| tree.nodes.get(&(level, index)).copied();
    let mut paths = Paths::default();
    for step in 0..2_000_u64 {
        let index = step * step % 133;
        let proof = inclusion_proof(133, index, &node).expect("it exists");
        paths.check(&data(index), index, 133, &proof, root(&tree, 133)).expect("it is there");
    }
}

#[test]
fn every_consistency_proof_is_accepted_and_every_change_refused() {
    let tree = tree(40);
    let node = |level, index| tree.nodes.get(&(level, index)).copied();
    for new in 0..=40 {
        for old in 0..=new {
            let proof = consistency_proof(old, new, &node).expect("it exists");
            let (a, b) = ((old, root(&tree, old)), (new, root(&tree, new)));
            check_consistency(a, b, &proof).expect("it only grew");
            for at in 0..proof.len() {
                let mut changed = proof.clone();
                changed[at][31] ^= 128;
                assert!(check_consistency(a, b, &changed).is_err(), "{old} to {new}");
                assert!(check_consistency(a, b, &proof[..at]).is_err(), "{old} to {new}");
            }
            let longer = [&proof[..], &[[0; 32]]].concat();
            assert!(check_consistency(a, b, &longer).is_err());
            assert!(check_consistency((old, &[9; 32]), b, &proof).is_err());
            if old != 0 {
                assert!(check_consistency(a, (new, &[9; 32]), &proof).is_err());
            }
            if old < new {
                assert!(check_consistency(b, a, &proof).is_err(), "a log that shrinks");
            }
        }
    }
}
