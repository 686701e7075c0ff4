use proptest::prelude::*;

use super::*;

fn entry(seed: u64) -> HeadEntry {
    let hash = |text: &str| Tagged::new(text).u64(seed).finish();
    let series = BTreeMap::from([("B".to_owned(), seed / 2), ("A".to_owned(), seed)]);
    HeadEntry::new(seed + 1, series, hash("chain head"), hash("perpetual"))
}

fn outlet(index: u64) -> String {
    format!("OUTLET-{index}")
}

fn trie_of(indices: impl IntoIterator<Item = u64>) -> HeadsTrie {
    let mut trie = HeadsTrie::new();
    for index in indices {
        trie.set(&outlet(index), entry(index));
    }
    trie
}

/// The root from the definition: part the keys by the first bit in which any two of them differ.
fn model_root(entries: &BTreeMap<String, HeadEntry>) -> Hash32 {
    fn subtree(depth: u8, keys: &[(Hash32, &String, &HeadEntry)]) -> Hash32 {
        let [(key, outlet_id, entry)] = keys else {
            let (right, left): (Vec<_>, Vec<_>) =
                keys.iter().copied().partition(|(key, _, _)| bit(key, depth));
            if left.is_empty() || right.is_empty() {
                return subtree(depth + 1, keys);
            }
            let mut shared = [0; 32];
            for place in (0..depth).filter(|place| bit(&keys[0].0, *place)) {
                shared[usize::from(place / 8)] |= 0x80 >> (place % 8);
            }
            let (left, right) = (subtree(depth + 1, &left), subtree(depth + 1, &right));
            return node_hash(depth, &shared, &left, &right);
        };
        entry_hash(key, &contents_hash(outlet_id, entry))
    }
    let keys: Vec<_> = entries.iter().map(|(id, entry)| (outlet_key(id), id, entry)).collect();
    if keys.is_empty() { empty_hash() } else { subtree(0, &keys) }
}

#[test]
fn bits_and_prefixes() {
    let mut key = [0; 32];
    key[0] = 0b1010_0000;
    key[31] = 1;
    for (depth, expected) in
        [(0, true), (1, false), (2, true), (3, false), (254, false), (255, true)]
    {
        assert_eq!(bit(&key, depth), expected, "bit {depth}");
    }
    let mut three = [0; 32];
    three[0] = 0b1010_0000;
    for (depth, expected) in [(0, [0; 32]), (3, three), (255, three)] {
        assert_eq!(prefix(&key, depth), expected, "prefix of {depth}");
    }
    assert_eq!(first_difference(&key, &key), None);
    assert_eq!(first_difference(&key, &three), Some(255));
    assert_eq!(first_difference(&key, &[0; 32]), Some(0));
    assert!(agree(&key, &three, 255) && !agree(&key, &[0; 32], 1) && agree(&key, &[0; 32], 0));
}

#[test]
fn a_clone_does_not_change_with_the_original() {
    let mut trie = trie_of(0..50);
    let (before, root) = (trie.clone(), trie.root());
    trie.set(&outlet(7), entry(1000));
    trie.set(&outlet(50), entry(50));
    assert_eq!((before.root(), before.len()), (root, 50));
    assert_eq!(before.get(&outlet(7)), Some(&entry(7)));
    assert_eq!(before.get(&outlet(50)), None);
    assert_eq!((trie.len(), trie.get(&outlet(7))), (51, Some(&entry(1000))));
    assert_ne!(trie.root(), root);
}

#[test]
fn what_has_changed_makes_the_later_tree_of_the_earlier_one() {
    let mut trie = HeadsTrie::new();
    for round in 0..40_u64 {
        let earlier = trie.clone();
        let changes: Vec<_> = (0..round % 7).map(|n| (round * 13 + n * 5) % 90).collect();
        for index in &changes {
            trie.set(&outlet(*index), entry(round * 1_000 + index));
        }
        let mut named: Vec<String> =
            trie.changed_since(&earlier).iter().map(|(id, _)| (*id).to_owned()).collect();
        named.sort_unstable();
        let mut expected: Vec<String> = changes.iter().map(|index| outlet(*index)).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(named, expected, "round {round}");
        let mut made = earlier.clone();
        made.update(trie.changed_since(&earlier).into_iter().map(|(id, e)| (id, e.clone())));
        assert_eq!(made.root(), trie.root(), "round {round}");
    }
    assert_eq!(trie.changed_since(&HeadsTrie::new()).len(), trie.len());
    assert!(trie.changed_since(&trie.clone()).is_empty());
}

#[test]
fn every_part_of_an_entry_is_in_the_root() {
    let series = |rows: &[(&str, u64)]| rows.iter().map(|(c, n)| ((*c).to_owned(), *n)).collect();
    let root_of = |outlet_id: &str, entry| {
        let mut trie = HeadsTrie::new();
        trie.set(outlet_id, entry);
        trie.root()
    };
    let base = root_of("O", HeadEntry::new(1, series(&[("A", 2)]), [3; 32], [4; 32]));
    for (what, outlet_id, entry) in [
        ("outlet", "P", HeadEntry::new(1, series(&[("A", 2)]), [3; 32], [4; 32])),
        ("position", "O", HeadEntry::new(2, series(&[("A", 2)]), [3; 32], [4; 32])),
        ("series code", "O", HeadEntry::new(1, series(&[("B", 2)]), [3; 32], [4; 32])),
        ("last number", "O", HeadEntry::new(1, series(&[("A", 3)]), [3; 32], [4; 32])),
        ("series", "O", HeadEntry::new(1, series(&[("A", 2), ("B", 0)]), [3; 32], [4; 32])),
        ("no series", "O", HeadEntry::new(1, series(&[]), [3; 32], [4; 32])),
        ("chain head", "O", HeadEntry::new(1, series(&[("A", 2)]), [2; 32], [4; 32])),
        ("perpetual", "O", HeadEntry::new(1, series(&[("A", 2)]), [3; 32], [5; 32])),
    ] {
        assert_ne!(root_of(outlet_id, entry), base, "{what}");
    }
    assert_ne!(HeadsTrie::new().root(), base);
}

#[test]
fn presence_and_absence_are_proved_at_every_size() {
    for size in 0..60 {
        let trie = trie_of(0..size);
        let root = trie.root();
        for index in 0..size + 40 {
            let proof = trie.prove(&outlet(index));
            let verdict = proof.verify(&root, &outlet(index));
            let expected = entry(index);
            if index < size {
                assert_eq!(verdict, Ok(HeadsVerdict::Present(&expected)));
            } else {
                assert_eq!(verdict, Ok(HeadsVerdict::Absent));
            }
            assert_eq!(proof.verify(&[9; 32], &outlet(index)), Err(HeadsProofError::RootMismatch));
            assert_eq!(HeadsProof::decode(&proof.encode()).as_ref(), Ok(&proof));
        }
    }
}

/// All three endings must really occur, or the tests above prove less than they say.
#[test]
fn absence_ends_at_entries_and_at_forks() {
    let trie = trie_of(0..60);
    let (mut at_entry, mut at_fork) = (0, 0);
    for index in 60..400 {
        match trie.prove(&outlet(index)).end {
            proof::End::Other { .. } => at_entry += 1,
            proof::End::Fork { .. } => at_fork += 1,
            end => panic!("an absent outlet ends at {end:?}"),
        }
    }
    assert!(at_entry > 10 && at_fork > 10, "{at_entry} entries, {at_fork} forks");
    assert_eq!(HeadsTrie::new().prove("x").end, proof::End::Empty);
}

/// A proof for one outlet says about another nothing, or the truth.
#[test]
fn a_proof_used_for_another_outlet_never_lies() {
    let trie = trie_of(0..40);
    let root = trie.root();
    let mut other_paths = 0;
    for proved in 0..60 {
        let proof = trie.prove(&outlet(proved));
        for asked in 0..60 {
            match proof.verify(&root, &outlet(asked)) {
                Ok(HeadsVerdict::Present(found)) => assert_eq!(*found, entry(asked)),
                Ok(HeadsVerdict::Absent) => assert!(asked >= 40, "{proved} hides {asked}"),
                Err(HeadsProofError::OtherPath(_)) => other_paths += 1,
                Err(_) => {}
            }
        }
    }
    assert!(other_paths > 1000, "{other_paths}");
}

#[test]
fn every_flipped_bit_of_a_proof_fails() {
    let trie = trie_of(0..40);
    let root = trie.root();
    for index in [0, 1, 39, 40, 41, 42, 43, 44, 45, 46] {
        let bytes = trie.prove(&outlet(index)).encode();
        for place in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[place / 8] ^= 1 << (place % 8);
            if let Ok(proof) = HeadsProof::decode(&flipped) {
                assert!(proof.verify(&root, &outlet(index)).is_err(), "outlet {index} bit {place}");
            }
        }
        for cut in 0..bytes.len() {
            assert!(HeadsProof::decode(&bytes[..cut]).is_err());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(HeadsProof::decode(&longer), Err(DecodeError::Trailing(1)));
    }
}

#[test]
fn a_fork_that_the_outlet_could_be_below_proves_nothing() {
    let trie = trie_of(0..40);
    let root = trie.root();
    let present = trie.prove(&outlet(0));
    let top = &present.steps[0];
    let own = {
        let mut hash = entry_hash(&outlet_key(&outlet(0)), &contents_hash(&outlet(0), &entry(0)));
        let key = outlet_key(&outlet(0));
        for step in present.steps[1..].iter().rev() {
            let bits = prefix(&key, step.depth);
            hash = if bit(&key, step.depth) {
                node_hash(step.depth, &bits, &step.sibling, &hash)
            } else {
                node_hash(step.depth, &bits, &hash, &step.sibling)
            };
        }
        hash
    };
    let key = outlet_key(&outlet(0));
    let (left, right) = if bit(&key, top.depth) { (top.sibling, own) } else { (own, top.sibling) };
    let end = proof::End::Fork { depth: top.depth, prefix: prefix(&key, top.depth), left, right };
    let stopped = HeadsProof { steps: Vec::new(), end };
    let result = stopped.verify(&root, &outlet(0));
    assert_eq!(result, Err(HeadsProofError::Inconclusive(outlet(0))));
}

#[test]
fn misshapen_proofs_are_refused() {
    let step = |depth| proof::Step { depth, sibling: [1; 32] };
    let fork = |depth, prefix| proof::End::Fork { depth, prefix, left: [1; 32], right: [2; 32] };
    let end = || proof::End::Entry { outlet_id: "O".to_owned(), entry: entry(1) };
    for (steps, end, error) in [
        (vec![step(3), step(3)], end(), "step depth"),
        (vec![step(3), step(2)], end(), "step depth"),
        (vec![step(3)], proof::End::Empty, "end kind"),
        (vec![step(3)], fork(3, [0; 32]), "fork prefix"),
        (vec![], fork(3, [0xff; 32]), "fork prefix"),
    ] {
        let bytes = HeadsProof { steps, end }.encode();
        assert_eq!(HeadsProof::decode(&bytes), Err(DecodeError::Invalid(error)));
    }
    assert_eq!(HeadsProof::decode(&[0, 0, 0, 0, 4]), Err(DecodeError::Invalid("end kind")));
    assert_eq!(HeadsProof::decode(&[255; 40]), Err(DecodeError::Truncated("steps")));
}

#[test]
fn entries_with_unsorted_or_doubled_series_are_refused() {
    for (codes, accepted) in [(["A", "B"], true), (["B", "A"], false), (["A", "A"], false)] {
        let mut writer = Writer::new();
        writer.u64(1).len(2);
        for code in codes {
            writer.str(code).u64(5);
        }
        writer.raw(&[1; 32]).raw(&[2; 32]);
        let decoded = HeadEntry::decode(&mut Reader::new(writer.as_bytes()));
        assert_eq!(decoded.is_ok(), accepted, "{codes:?}");
    }
}

#[test]
fn a_hundred_thousand_outlets_give_one_root_in_any_order() {
    let ids: Vec<String> = (0..100_000).map(outlet).collect();
    let mut at_once = HeadsTrie::new();
    at_once.update((0..).zip(&ids).map(|(index, id)| (id.as_str(), entry(index))));
    let mut in_batches = HeadsTrie::new();
    let rows: Vec<_> = (0..).zip(&ids).collect();
    for batch in rows.rchunks(1000) {
        in_batches.update(batch.iter().map(|(index, id)| (id.as_str(), entry(*index))));
    }
    assert_eq!((at_once.len(), in_batches.len()), (100_000, 100_000));
    assert_eq!(at_once.root(), in_batches.root());
    let proof = at_once.prove(&ids[99_999]);
    assert!(proof.steps.len() < 50, "{}", proof.steps.len());
    let expected = entry(99_999);
    let verdict = proof.verify(&at_once.root(), &ids[99_999]);
    assert_eq!(verdict, Ok(HeadsVerdict::Present(&expected)));
}

proptest! {
    #[test]
    fn the_root_depends_on_the_entries_alone(
        batches in proptest::collection::vec(
            proptest::collection::vec((0_u64..60, 0_u64..1000), 0..20),
            0..12,
        ),
    ) {
        let mut model = BTreeMap::new();
        let (mut batched, mut single) = (HeadsTrie::new(), HeadsTrie::new());
        for batch in &batches {
            let rows: Vec<_> = batch.iter().map(|(i, seed)| (outlet(*i), entry(*seed))).collect();
            batched.update(rows.iter().map(|(id, entry)| (id.as_str(), entry.clone())));
            for (id, entry) in rows {
                single.set(&id, entry.clone());
                model.insert(id, entry);
            }
            prop_assert_eq!(batched.root(), model_root(&model));
            prop_assert_eq!(single.root(), batched.root());
            prop_assert_eq!(batched.len(), model.len());
        }
        let by_key: BTreeMap<_, _> =
            model.iter().map(|(id, entry)| (outlet_key(id), (id.as_str(), entry))).collect();
        prop_assert!(batched.iter().eq(by_key.into_values()));
        for index in 0..60 {
            prop_assert_eq!(batched.get(&outlet(index)), model.get(&outlet(index)));
        }
    }

    #[test]
    fn arbitrary_bytes_decode_to_the_same_bytes_or_not_at_all(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Ok(proof) = HeadsProof::decode(&bytes) {
            prop_assert_eq!(proof.encode(), bytes);
        }
    }
}
