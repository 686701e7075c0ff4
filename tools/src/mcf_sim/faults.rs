//! How the control module fails. What is left to chance comes from a seed, so that a run can be repeated.

use serde::{Deserialize, Serialize};

/// See the help of the command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    pub(crate) slow_ms: u64,
    pub(crate) down_ms: u64,
    pub(crate) status: u16,
    pub(crate) status_percent: u64,
    pub(crate) retry_after_s: u64,
    pub(crate) lose_answer: u64,
    pub(crate) wrong_id: u64,
    pub(crate) wrong_hash: u64,
    pub(crate) missing: u64,
    pub(crate) extra: u64,
    pub(crate) retry_percent: u64,
    pub(crate) reject_suffix: String,
    pub(crate) reject_code: String,
    pub(crate) seed: u64,
}

/// How an answer is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoiled {
    Lost,
    WrongId,
    WrongHash,
    Missing,
    Extra,
}

impl Faults {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let faults: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if faults.status != 0 && !(400..=599).contains(&faults.status) {
            return Err("status must be 400 to 599".to_owned());
        }
        Ok(faults)
    }

    /// How the answer to a batch is spoiled, of what was taken.
    pub(crate) fn spoil(&self, chance: &mut Chance) -> Option<Spoiled> {
        let ways = [
            (self.lose_answer, Spoiled::Lost),
            (self.wrong_id, Spoiled::WrongId),
            (self.wrong_hash, Spoiled::WrongHash),
            (self.missing, Spoiled::Missing),
            (self.extra, Spoiled::Extra),
        ];
        ways.into_iter().find(|(percent, _)| chance.percent(*percent)).map(|(_, way)| way)
    }
}

/// Chance, from a seed: splitmix64.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % 100 < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_fault_is_refused() {
        assert!(Faults::parse(r#"{"lose_answer": 10}"#).is_ok());
        assert!(Faults::parse(r#"{"loose_answer": 10}"#).is_err());
        assert!(Faults::parse(r#"{"status": 200}"#).is_err());
    }

    #[test]
    fn chance_is_what_the_seed_says() {
        let draws = |seed| {
            let mut chance = Chance::new(seed);
            (0..1_000).filter(|_| chance.percent(30)).count()
        };
        assert_eq!(draws(7), draws(7));
        assert!((250..350).contains(&draws(7)), "{}", draws(7));
        assert_eq!(Faults::default().spoil(&mut Chance::new(1)), None);
    }
}
