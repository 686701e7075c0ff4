//! What goes wrong on a device's line, without IO: chosen by a seed, or asked for.

use std::time::Duration;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer comes in pieces, with pauses between them.
    Split,
    /// Bytes of noise come before the answer.
    Garbage,
    /// The command is done and its answer does not come.
    Lose,
    /// The command is not done: the device is busy.
    Busy,
    /// The answer comes late, but within the protocol's time.
    Late,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Split, Self::Garbage, Self::Lose, Self::Busy, Self::Late];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Garbage => "garbage",
            Self::Lose => "lose",
            Self::Busy => "busy",
            Self::Late => "late",
        }
    }
}

/// Which faults come by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// Of these.
    pub kinds: Vec<Fault>,
    /// So many of a thousand answers.
    pub per_mille: u64,
    /// How late a late answer is.
    pub late: Duration,
    /// It tells no more than the protocol asks for: its journal without the invoices.
    pub terse: bool,
    state: u64,
}

/// Why a list of faults is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fault; there are split, garbage, lose, busy and late, or all")]
pub struct FaultsError(String);

/// What is done to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Write(Vec<u8>),
    Pause(Duration),
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self {
            kinds: Vec::new(),
            per_mille: 0,
            late: Duration::from_millis(1_500),
            terse: false,
            state: 1,
        }
    }

    /// The same on a device that tells no more than the protocol asks for.
    #[must_use]
    pub fn terse(self, terse: bool) -> Self {
        Self { terse, ..self }
    }

    /// The faults that a list with commas names, so many of a thousand answers.
    pub fn parse(list: &str, per_mille: u64, seed: u64) -> Result<Self, FaultsError> {
        let mut faults = Self { per_mille, state: seed | 1, ..Self::none() };
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = Fault::ALL.into_iter().find(|fault| fault.as_str() == name);
            match (known, name) {
                (Some(fault), _) => faults.kinds.push(fault),
                (None, "all") => faults.kinds = Fault::ALL.to_vec(),
                (None, name) => return Err(FaultsError(name.to_owned())),
            }
        }
        Ok(faults)
    }

    fn random(&mut self, below: u64) -> u64 {
        // SplitMix64: the same faults for the same seed.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// The fault of the next command, if it has one.
    pub(super) fn next(&mut self) -> Option<Fault> {
        if self.kinds.is_empty() || self.random(1_000) >= self.per_mille {
            return None;
        }
        let at = self.random(u64::try_from(self.kinds.len()).unwrap_or(1));
        self.kinds.get(usize::try_from(at).unwrap_or(0)).copied()
    }

    /// What becomes of an answer.
    pub(super) fn deliver(&mut self, fault: Option<Fault>, answer: Vec<u8>) -> Vec<Act> {
        match fault {
            None | Some(Fault::Busy) => vec![Act::Write(answer)],
            Some(Fault::Lose) => Vec::new(),
            Some(Fault::Late) => vec![Act::Pause(self.late), Act::Write(answer)],
            Some(Fault::Garbage) => {
                // Noise that could begin a frame is cut short by the frame itself.
                let count = 1 + self.random(40);
                let noise = (0..count).map(|_| {
                    let byte = u8::try_from(self.random(256)).unwrap_or(0);
                    if byte == 3 { b'?' } else { byte }
                });
                vec![Act::Write(noise.collect()), Act::Write(answer)]
            }
            Some(Fault::Split) => {
                let pieces = answer.chunks((answer.len() / 5).max(1));
                pieces
                    .flat_map(|piece| {
                        [Act::Write(piece.to_vec()), Act::Pause(Duration::from_millis(3))]
                    })
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_faults() {
        let of = |seed| {
            let mut faults = Faults::parse("all", 500, seed).expect("they are known");
            (0..100).map(|_| faults.next()).collect::<Vec<_>>()
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(9));
        for fault in Fault::ALL {
            assert!(of(7).contains(&Some(fault)), "{fault:?}");
        }
        assert!(Faults::parse("split,noise", 1, 1).is_err());
        assert_eq!(Faults::none().next(), None);
    }

    #[test]
    fn an_answer_is_whole_unless_it_is_lost() {
        let mut faults = Faults::none();
        for fault in [Fault::Split, Fault::Late] {
            let acts = faults.deliver(Some(fault), b"answer".to_vec());
            let bytes: Vec<u8> = acts
                .into_iter()
                .filter_map(|act| match act {
                    Act::Write(bytes) => Some(bytes),
                    Act::Pause(_) => None,
                })
                .flatten()
                .collect();
            assert_eq!(bytes, b"answer");
        }
        assert!(faults.deliver(Some(Fault::Lose), b"answer".to_vec()).is_empty());
    }
}
