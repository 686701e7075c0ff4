//! The format of a history: one JSON object a line, with one member that says what the line is.
//!
//! Times of operations are nanoseconds of one monotonic clock; digests are SHA-256 or BLAKE3, in hex. A line that is not
//! known is an error: a check that silently leaves out what it cannot read proves nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// The version of the format, in the first line.
pub const FORMAT: u32 = 1;

/// Text of a history, borrowed from its line where it can be.
pub type Text<'a> = Cow<'a, str>;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line<'a> {
    /// The first line.
    #[serde(borrow)]
    Run(Run<'a>),
    /// An operation of a client, from its beginning to its end.
    Op(Op<'a>),
    /// A fault, from its beginning to when it was healed.
    Fault(Fault<'a>),
    /// From here on nothing is wrong with the machines: everything must be answered.
    Healed {
        /// When.
        at: u64,
    },
    /// What a node said of its state.
    State(State<'a>),
    /// A signed state of a log, whoever showed it.
    Checkpoint(Checkpoint<'a>),
    /// The final journal, record by record in the order of the tree.
    Record(Record<'a>),
    /// A leaf of the tree that is no record.
    Leaf(Leaf),
    /// An outlet's totals in the end.
    Totals(Totals<'a>),
    /// A replica in the end.
    End(End),
    /// What a check must allow for.
    Caveat {
        /// The clocks of so many voters as make a majority were wrong at once.
        majority_of_clocks: bool,
    },
}

/// What the run was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run<'a> {
    /// [`FORMAT`].
    pub format: u32,
    /// In words.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// The wall clock, in milliseconds, at 0 of the monotonic clock.
    pub wall_ms: u64,
    /// How far a record's time may be from the clock of whoever wrote the history.
    pub clock_error_ms: u64,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has happened.
    Ok,
    /// It surely has not, and will not.
    Fail,
    /// Nobody knows.
    Unknown,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Op<'a> {
    /// Does one operation after the other.
    pub process: u64,
    /// `seal`, `borrow`, `close_day` and others with a key become a record; a `reconcile` that is ok and has no position
    /// was told to wait, and may; `read` looks at an outlet; `audit` verifies proofs; any other is only kept.
    #[serde(borrow)]
    pub f: Text<'a>,
    /// When it began.
    pub start: u64,
    /// When it ended; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// The group.
    pub group: u64,
    /// The outlet.
    #[serde(borrow)]
    pub outlet: Text<'a>,
    /// Attempts under one key are one submission.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text<'a>>,
    /// The digest of what was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Digest>,
    /// How it ended.
    pub outcome: Outcome,
    /// Of a seal, its number; of a read, the last number of the series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Of what became a record, its position; of a read, the last position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The series of the number.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Text<'a>>,
    /// The digest of the bytes that were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Digest>,
    /// The digest of the text that shows an answer to people or to other programs, when that is what came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Digest>,
    /// Why not.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text<'a>>,
}

impl<'a> Op<'a> {
    /// An attempt that has begun, and of which nothing is known yet.
    pub fn begun(
        process: u64,
        f: impl Into<Text<'a>>,
        group: u64,
        outlet: impl Into<Text<'a>>,
        start: u64,
    ) -> Self {
        Self {
            process,
            f: f.into(),
            start,
            end: None,
            group,
            outlet: outlet.into(),
            key: None,
            payload: None,
            outcome: Outcome::Unknown,
            number: None,
            position: None,
            series: None,
            bytes: None,
            text: None,
            error: None,
        }
    }
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault<'a> {
    /// What, as in `kill`.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Whom it hit.
    #[serde(borrow)]
    pub target: Text<'a>,
    /// When it began.
    pub start: u64,
    /// When it was healed.
    pub end: u64,
}

/// A replica's state at an entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State<'a> {
    /// The group.
    pub group: u64,
    /// Who said so.
    #[serde(borrow)]
    pub node: Text<'a>,
    /// The entry.
    pub index: u64,
    /// The hash of the state after it.
    pub hash: Digest,
}

/// A signed state of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint<'a> {
    /// The group.
    pub group: u64,
    /// Leaves.
    pub size: u64,
    /// The root.
    pub root: Digest,
    /// Who showed it.
    #[serde(borrow)]
    pub source: Text<'a>,
}

/// Whence a number came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The cluster gave it when it sealed.
    Online,
    /// A terminal gave it, out of a block that was lent.
    Offline,
    /// A real device gave it, in a series of its own.
    Device,
}

/// A record of the final journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<'a> {
    /// The group.
    pub group: u64,
    /// Its place in the tree, from 0.
    pub leaf: u64,
    /// The outlet.
    #[serde(borrow)]
    pub outlet: Text<'a>,
    /// Its place in the outlet's chain, from 1.
    pub position: u64,
    /// What it is about.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// Its time, in Unix milliseconds.
    pub time_ms: u64,
    /// The entry hash of the record before it, zeros at the first.
    pub prev: Digest,
    /// Its entry hash, which is the leaf's data.
    pub entry: Digest,
    /// The digest of its bytes and signature, as an answer has them.
    pub bytes: Digest,
    /// The operation that its key is of, as in [`Op::f`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub f: Option<Text<'a>>,
    /// The key that it was submitted under.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text<'a>>,
    /// The digest of what was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Digest>,
    /// Its fiscal number.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub numbered: Option<Numbered<'a>>,
    /// Numbers of the main series that it lends, first and last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent: Option<(u64, u64)>,
    /// Numbers that it says never came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(u64, u64)>,
    /// Numbers that it says were skipped after a restore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<(u64, u64)>,
    /// Of a closure: what it says of the invoices since the last one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Sums<'a>>,
}

/// What an invoice has beside other records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbered<'a> {
    /// Its series.
    #[serde(borrow)]
    pub series: Text<'a>,
    /// Its number in it.
    pub number: u64,
    /// Whence.
    pub source: Source,
    /// Its currency.
    #[serde(borrow)]
    pub currency: Text<'a>,
    /// Its total in minor units; a credit note's is negative.
    pub total: i64,
    /// The number, in the same series, of the invoice that it credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<u64>,
}

/// A leaf that is no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// The group.
    pub group: u64,
    /// Its place in the tree.
    pub leaf: u64,
    /// Its data.
    pub data: Digest,
}

/// How many invoices, and what they come to in each currency, in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums<'a> {
    /// Invoices of every kind.
    pub invoices: u64,
    /// By currency.
    #[serde(borrow)]
    pub amounts: BTreeMap<Text<'a>, i128>,
}

/// An outlet in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals<'a> {
    /// The group.
    pub group: u64,
    /// The outlet.
    #[serde(borrow)]
    pub outlet: Text<'a>,
    /// The last position of its chain.
    pub position: u64,
    /// The last number that its main series has given away.
    pub last: u64,
    /// Since its first invoice.
    #[serde(borrow)]
    pub perpetual: Sums<'a>,
}

/// A replica in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The group.
    pub group: u64,
    /// The node.
    pub node: u64,
    /// Leaves of its tree.
    pub leaves: u64,
    /// The last entry that it has applied.
    pub applied: u64,
}

/// 32 bytes, in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Digest, E> {
                Digest::parse(text)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Hex)
    }
}
