//! Every backend against a sorted map, and redb against crashes and flipped bytes.

mod conformance;
mod crashes;
mod damage;
mod power;

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop_oneof};

use super::{Batch, Durability};

pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A batch as the tests make them: few keys, so that they meet again.
#[derive(Debug, Clone)]
pub(super) struct Changes(pub(super) Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Changes {
    pub(super) fn batch(&self) -> Batch {
        let mut batch = Batch::with_capacity(self.0.len());
        for (key, value) in &self.0 {
            match value {
                Some(value) => batch.put(key.clone(), value.clone()),
                None => batch.delete(key.clone()),
            };
        }
        batch
    }

    pub(super) fn apply(&self, model: &mut Model) {
        for (key, value) in &self.0 {
            match value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(key),
            };
        }
    }
}

/// Keys of one or two bytes, and the empty one.
pub(super) fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0_u8..6, 0_u8..20).prop_map(|(a, b)| vec![a, b]),
        1 => (0_u8..6).prop_map(|a| vec![a]),
        1 => Just(Vec::new()),
    ]
}

pub(super) fn changes() -> impl Strategy<Value = Changes> {
    let value = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 4_000_usize..20_000).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let value = prop_oneof![3 => value.prop_map(Some), 1 => Just(None)];
    proptest::collection::vec((keys(), value), 0..12).prop_map(Changes)
}

pub(super) fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![2 => Just(Durability::Eventual), 1 => Just(Durability::Durable)]
}

/// The same well-mixed number for the same seed (splitmix64).
pub(super) fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
