//! Chance by seed, for whatever must be tried again as it was.
//!
//! Invariant: a seed and a purpose give the same numbers in every version, because failures are told by their seeds.
//! Non-goal: being hard to guess.

/// A generator of its own for each purpose, so that a change of one leaves the others as they were.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The generator of a seed for a purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let named = purpose.bytes().fold(seed ^ 0x6a09_e667_f3bc_c908, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut dice = Self(named);
        dice.roll();
        dice
    }

    /// Any number (splitmix64).
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// A number from `from` to `to`, both possible.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Whether something happens that does in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_decide() {
        let rolled = |seed, purpose| {
            let mut dice = Dice::new(seed, purpose);
            [(); 3].map(|()| dice.roll())
        };
        // What was told of a seed once can still be replayed.
        assert_eq!(
            rolled(1, "plan"),
            [0xdbc3_e37c_0b08_5bc2, 0xf983_e173_b022_e4b2, 0x3e9f_8709_ddb7_7861]
        );
        assert_ne!(rolled(1, "storm"), rolled(1, "plan"));
        assert_ne!(rolled(2, "plan"), rolled(1, "plan"));
        let mut dice = Dice::new(3, "bounds");
        let all: Vec<u64> = (0..1_000).map(|_| dice.between(4, 6)).collect();
        assert!([4, 5, 6].iter().all(|number| all.contains(number)));
        assert!(all.iter().all(|number| (4..=6).contains(number)));
        assert!(!dice.chance(0) && dice.chance(100));
    }
}
