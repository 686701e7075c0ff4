//! What a spool remembers, and the bytes of each entry. `docs/FORMAT.md` has them for readers in other languages.

use fiscus_ledger::codec::{DecodeError, Reader, Writer};
use fiscus_ledger::credential::Credential;
use fiscus_ledger::facts::{Fact, FactKind, OutletFact};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::OfflineSeal;

/// The key of a sale on the device path.
pub(crate) type SealKey = [u8; 16];

/// Manifests that are remembered: the one in force, and those to come.
pub(crate) const MANIFESTS_MAX: usize = 16;

/// What is needed of the directory to seal alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) outlet: OutletFact,
    /// Whether the device is active, as far as was heard.
    pub(crate) active: bool,
    pub(crate) manifests: Vec<Manifest>,
}

/// A request for numbers, written down before it is sent: a repetition gets the same block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) credential_id: String,
    pub(crate) terminal_id: String,
    pub(crate) numbers: u64,
    pub(crate) validity_ms: u64,
}

/// A sale that was sealed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sold {
    pub(crate) key: SealKey,
    pub(crate) fiscal_number: String,
    pub(crate) sequence: u64,
    pub(crate) entry_hash: Hash32,
    /// What the host was answered.
    pub(crate) answer: String,
    pub(crate) seal: OfflineSeal,
}

/// What the ledger made of a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the journal.
    Appended { position: u64 },
    /// It is not, and never will be.
    Refused { code: String, detail: String },
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// No document that was authored until then is sealed here: what became of those is not remembered.
    Floor { authored_ms: u64 },
    /// The directory, as heard.
    Facts(Box<Facts>),
    /// The cluster's time, and the wall clock then.
    Heard { group_ms: u64, wall_ms: u64 },
    /// Numbers are asked for.
    Asked(Asked),
    /// They were lent.
    Granted { credential: Box<Credential>, terminal_id: String },
    /// Nothing more is sealed under a credential.
    Ended { credential_id: String },
    /// The ledger has closed its block, or refused to lend it.
    Closed { credential_id: String },
    /// A sale is about to be submitted to the cluster.
    Tried { key: SealKey, authored_ms: u64 },
    /// The cluster surely has not sealed it.
    Untried { key: SealKey },
    /// A sale was sealed here.
    Sold(Box<Sold>),
    /// The ledger has answered to a seal.
    Settled { credential_id: String, place: u64, settled_ms: u64, outcome: Outcome },
    /// A seal that the ledger has appended and whose bytes are kept no longer.
    Pruned { key: SealKey, fiscal_number: String },
    /// Bytes of this spool were damaged or lost: nothing more is sealed under the credentials before this entry, and no
    /// document that was authored until `at_ms`.
    Damaged { at_ms: u64, detail: String },
}

impl Entry {
    /// First bytes of entries.
    pub(crate) const KINDS: std::ops::RangeInclusive<u8> = 1..=13;

    /// The time that the cluster was heard to tell, or that a sale was sealed at.
    pub(crate) fn time_ms(&self) -> u64 {
        match self {
            Self::Heard { group_ms, .. } => *group_ms,
            Self::Sold(sold) => sold.seal.timestamp.get(),
            _ => 0,
        }
    }

    /// The stored form: a kind, and the fields.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(256);
        match self {
            Self::Floor { authored_ms } => out.u8(1).u64(*authored_ms),
            Self::Facts(facts) => {
                out.u8(2).bool(facts.active);
                out.bytes(&Fact::Outlet(facts.outlet.clone()).encode());
                out.len(facts.manifests.len());
                for manifest in &facts.manifests {
                    out.str(&manifest.to_json());
                }
                &mut out
            }
            Self::Heard { group_ms, wall_ms } => out.u8(3).u64(*group_ms).u64(*wall_ms),
            Self::Asked(asked) => out
                .u8(4)
                .str(&asked.credential_id)
                .str(&asked.terminal_id)
                .u64(asked.numbers)
                .u64(asked.validity_ms),
            Self::Granted { credential, terminal_id } => {
                out.u8(5).str(terminal_id).bytes(&credential.to_bytes())
            }
            Self::Ended { credential_id } => out.u8(6).str(credential_id),
            Self::Closed { credential_id } => out.u8(7).str(credential_id),
            Self::Tried { key, authored_ms } => out.u8(8).raw(key).u64(*authored_ms),
            Self::Untried { key } => out.u8(9).raw(key),
            Self::Sold(sold) => out
                .u8(10)
                .raw(&sold.key)
                .str(&sold.fiscal_number)
                .u64(sold.sequence)
                .raw(&sold.entry_hash)
                .str(&sold.answer)
                .bytes(&sold.seal.to_bytes()),
            Self::Settled { credential_id, place, settled_ms, outcome } => {
                out.u8(11).str(credential_id).u64(*place).u64(*settled_ms);
                match outcome {
                    Outcome::Appended { position } => out.u8(0).u64(*position),
                    Outcome::Refused { code, detail } => out.u8(1).str(code).str(detail),
                }
            }
            Self::Pruned { key, fiscal_number } => out.u8(12).raw(key).str(fiscal_number),
            Self::Damaged { at_ms, detail } => out.u8(13).u64(*at_ms).str(detail),
        };
        out.finish()
    }

    /// Reads what [`Self::encode`] writes, and nothing else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let entry = Self::read(&mut from)?;
        from.finish()?;
        Ok(entry)
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match from.u8("entry kind")? {
            1 => Self::Floor { authored_ms: from.u64("floor")? },
            2 => Self::Facts(Box::new(read_facts(from)?)),
            3 => {
                Self::Heard { group_ms: from.u64("group time")?, wall_ms: from.u64("wall clock")? }
            }
            4 => Self::Asked(Asked {
                credential_id: from.str("credential")?.to_owned(),
                terminal_id: from.str("terminal")?.to_owned(),
                numbers: from.u64("numbers")?,
                validity_ms: from.u64("validity")?,
            }),
            5 => {
                let terminal_id = from.str("terminal")?.to_owned();
                let credential = Credential::from_bytes(from.bytes("credential")?);
                let credential = credential.map_err(|_| DecodeError::Invalid("credential"))?;
                Self::Granted { credential: Box::new(credential), terminal_id }
            }
            6 => Self::Ended { credential_id: from.str("credential")?.to_owned() },
            7 => Self::Closed { credential_id: from.str("credential")?.to_owned() },
            8 => Self::Tried { key: from.array("key")?, authored_ms: from.u64("authored")? },
            9 => Self::Untried { key: from.array("key")? },
            10 => Self::Sold(Box::new(Sold {
                key: from.array("key")?,
                fiscal_number: from.str("number")?.to_owned(),
                sequence: from.u64("sequence")?,
                entry_hash: from.h32("entry hash")?,
                answer: from.str("answer")?.to_owned(),
                seal: OfflineSeal::from_bytes(from.bytes("seal")?)?,
            })),
            11 => Self::Settled {
                credential_id: from.str("credential")?.to_owned(),
                place: from.u64("place")?,
                settled_ms: from.u64("settled")?,
                outcome: match from.u8("outcome")? {
                    0 => Outcome::Appended { position: from.u64("position")? },
                    1 => Outcome::Refused {
                        code: from.str("code")?.to_owned(),
                        detail: from.str("detail")?.to_owned(),
                    },
                    _ => return Err(DecodeError::Invalid("outcome")),
                },
            },
            12 => Self::Pruned {
                key: from.array("key")?,
                fiscal_number: from.str("number")?.to_owned(),
            },
            13 => {
                Self::Damaged { at_ms: from.u64("time")?, detail: from.str("detail")?.to_owned() }
            }
            _ => return Err(DecodeError::Invalid("entry kind")),
        })
    }
}

fn read_facts(from: &mut Reader<'_>) -> Result<Facts, DecodeError> {
    let active = from.bool("active")?;
    let Fact::Outlet(outlet) = Fact::decode(FactKind::Outlet, from.bytes("outlet")?)? else {
        return Err(DecodeError::Invalid("outlet"));
    };
    let count = from.len("manifests")?;
    if count > MANIFESTS_MAX {
        return Err(DecodeError::Invalid("manifests"));
    }
    let mut manifests = Vec::with_capacity(count);
    for _ in 0..count {
        let manifest = Manifest::parse(from.str("manifest")?);
        manifests.push(manifest.map_err(|_| DecodeError::Invalid("manifest"))?);
    }
    Ok(Facts { outlet, active, manifests })
}
