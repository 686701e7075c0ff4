//! Ways to change bytes.

use crate::random::Random;

/// Every byte changed in each of these ways: its bits one by one would take eight times as long and tell no more.
const MASKS: [u8; 3] = [0x01, 0x20, 0xff];

/// All texts with one byte changed, with its place.
pub(crate) fn flips(sample: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..sample.len()).flat_map(move |at| {
        MASKS.into_iter().map(move |mask| {
            let mut changed = sample.to_vec();
            changed[at] ^= mask;
            (at, changed)
        })
    })
}

/// A change that leaves something else: a byte, a part cut out, doubled, moved or put in, or the end cut off.
pub(crate) fn change(sample: &[u8], random: &mut Random) -> Vec<u8> {
    loop {
        let changed = change_once(sample, random);
        if changed != sample {
            return changed;
        }
    }
}

fn change_once(sample: &[u8], random: &mut Random) -> Vec<u8> {
    let at = random.below(sample.len());
    let length = 1 + random.below(24.min(sample.len() - at));
    let mut changed = sample.to_vec();
    match random.below(7) {
        0 | 1 => changed[at] ^= 1 << random.below(8),
        2 => changed[at] = u8::try_from(random.below(256)).expect("a byte"),
        3 => drop(changed.drain(at..at + length)),
        4 => drop(changed.splice(at..at, sample[at..at + length].to_vec())),
        5 => {
            let from = random.below(sample.len() - length + 1);
            changed.splice(at..at + length, sample[from..from + length].to_vec());
        }
        _ => changed.truncate(at),
    }
    changed
}
