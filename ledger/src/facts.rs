//! Directory data that sealing needs, as typed facts with one binary spelling.
//!
//! The directory stores them as documents; a data group copies them into its own state, so that apply
//! never reads another group.

use crate::codec::{DecodeError, Reader, Writer};
use crate::manifest::Manifest;
use crate::state::{Id, read_id};

/// An identifier is at most this long.
pub const IDENTIFIER_BYTES_MAX: usize = 64;
/// Prefixes and outlet codes are at most this long.
pub const CODE_CHARS_MAX: usize = 12;
/// A device's public key is at most this long (an uncompressed P-256 point is 65 bytes).
pub const DEVICE_KEY_BYTES_MAX: usize = 96;

/// What kind of document a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKind {
    /// An outlet's registration.
    Outlet,
    /// A terminal of an outlet.
    Terminal,
    /// A fiscal device.
    Device,
    /// A tax manifest.
    Manifest,
}

impl FactKind {
    /// The name in documents and errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outlet => "outlet",
            Self::Terminal => "terminal",
            Self::Device => "device",
            Self::Manifest => "manifest",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Outlet, Self::Terminal, Self::Device, Self::Manifest]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// A directory document that sealing understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// An outlet's registration.
    Outlet(OutletFact),
    /// A terminal of an outlet.
    Terminal(TerminalFact),
    /// A fiscal device.
    Device(DeviceFact),
    /// A tax manifest.
    Manifest(Manifest),
}

impl Fact {
    /// Reads the document of a kind; everything in it is validated.
    pub fn decode(kind: FactKind, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let fact = match kind {
            FactKind::Outlet => Self::Outlet(OutletFact::decode(&mut from)?),
            FactKind::Terminal => Self::Terminal(TerminalFact::decode(&mut from)?),
            FactKind::Device => Self::Device(DeviceFact::decode(&mut from)?),
            FactKind::Manifest => {
                let text = from.str("manifest")?;
                Self::Manifest(Manifest::parse(text).map_err(|_| DecodeError::Invalid("manifest"))?)
            }
        };
        from.finish()?;
        Ok(fact)
    }

    /// The document's one spelling.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Outlet(fact) => fact.encode(&mut out),
            Self::Terminal(fact) => fact.encode(&mut out),
            Self::Device(fact) => fact.encode(&mut out),
            Self::Manifest(manifest) => {
                out.str(&manifest.to_json());
            }
        }
        out.finish()
    }

    /// The kind of document.
    #[must_use]
    pub fn kind(&self) -> FactKind {
        match self {
            Self::Outlet(_) => FactKind::Outlet,
            Self::Terminal(_) => FactKind::Terminal,
            Self::Device(_) => FactKind::Device,
            Self::Manifest(_) => FactKind::Manifest,
        }
    }

    /// The id under which the directory files it.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Outlet(fact) => fact.outlet_id.clone(),
            Self::Terminal(fact) => Id::from(format!("{}/{}", fact.outlet_id, fact.terminal_id)),
            Self::Device(fact) => fact.device_id.clone(),
            Self::Manifest(manifest) => Id::from(manifest.version()),
        }
    }
}

/// Whether the directory lets an outlet sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutletStatus {
    /// It sells.
    Active,
    /// It is stopped for now.
    Suspended,
    /// It will never sell again.
    Closed,
}

/// Whether an outlet's seals are real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Environment {
    /// Real sales.
    Live,
    /// An integrator's trials; every receipt says TEST.
    Sandbox,
}

impl Environment {
    /// The name in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sandbox => "sandbox",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Live, Self::Sandbox].into_iter().find(|known| known.as_str() == name)
    }

    pub(crate) fn encode(self, out: &mut Writer) {
        out.u8(match self {
            Self::Live => 0,
            Self::Sandbox => 1,
        });
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.u8("environment")? {
            0 => Ok(Self::Live),
            1 => Ok(Self::Sandbox),
            _ => Err(DecodeError::Invalid("environment")),
        }
    }
}

/// Who makes an outlet's security elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningMode {
    /// This ledger.
    Cluster,
    /// A real fiscal device; the ledger imports what it sealed.
    Def,
}

/// An outlet's registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutletFact {
    /// The outlet.
    pub outlet_id: Id,
    /// The merchant's tax number, which every invoice must carry.
    pub merchant_nif: Id,
    /// First part of its fiscal numbers.
    pub prefix: Id,
    /// Second part of its fiscal numbers.
    pub code: Id,
    /// The data group that it lives in, for ever.
    pub group: u64,
    /// Whether it may sell.
    pub status: OutletStatus,
    /// Whether its seals are real.
    pub environment: Environment,
    /// Who seals.
    pub signing_mode: SigningMode,
}

impl OutletFact {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.str(&self.outlet_id).str(&self.merchant_nif).str(&self.prefix).str(&self.code);
        out.u64(self.group).u8(match self.status {
            OutletStatus::Active => 0,
            OutletStatus::Suspended => 1,
            OutletStatus::Closed => 2,
        });
        self.environment.encode(out);
        out.u8(match self.signing_mode {
            SigningMode::Cluster => 0,
            SigningMode::Def => 1,
        });
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            outlet_id: read_identifier(from, "outlet_id")?,
            merchant_nif: read_identifier(from, "merchant_nif")?,
            prefix: read_code(from, "prefix")?,
            code: read_code(from, "outlet code")?,
            group: from.u64("outlet group")?,
            status: match from.u8("outlet status")? {
                0 => OutletStatus::Active,
                1 => OutletStatus::Suspended,
                2 => OutletStatus::Closed,
                _ => return Err(DecodeError::Invalid("outlet status")),
            },
            environment: Environment::decode(from)?,
            signing_mode: match from.u8("signing mode")? {
                0 => SigningMode::Cluster,
                1 => SigningMode::Def,
                _ => return Err(DecodeError::Invalid("signing mode")),
            },
        })
    }
}

/// A terminal of an outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminalFact {
    /// The outlet.
    pub outlet_id: Id,
    /// The terminal, unique within the outlet.
    pub terminal_id: Id,
    /// Whether the operator has stopped it.
    pub blocked: bool,
}

impl TerminalFact {
    fn encode(&self, out: &mut Writer) {
        out.str(&self.outlet_id).str(&self.terminal_id).bool(self.blocked);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            outlet_id: read_identifier(from, "outlet_id")?,
            terminal_id: read_identifier(from, "terminal_id")?,
            blocked: from.bool("terminal blocked")?,
        })
    }
}

/// The life of a fiscal device: registered, then active, then replaced or revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// Known, waiting for its activation code.
    Registered,
    /// Sealing.
    Active,
    /// Another device has taken its place.
    Replaced {
        /// The device that did.
        by: Id,
    },
    /// Stopped for good.
    Revoked,
}

impl DeviceState {
    /// The name in documents.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Replaced { .. } => "replaced",
            Self::Revoked => "revoked",
        }
    }
}

/// A fiscal device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFact {
    /// The device.
    pub device_id: Id,
    /// The one outlet that it seals for.
    pub outlet_id: Id,
    /// Where it is in its life.
    pub state: DeviceState,
    /// Its public key; empty until it is activated.
    pub public_key: Vec<u8>,
}

impl DeviceFact {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.str(&self.device_id).str(&self.outlet_id);
        match &self.state {
            DeviceState::Registered => out.u8(0),
            DeviceState::Active => out.u8(1),
            DeviceState::Replaced { by } => out.u8(2).str(by),
            DeviceState::Revoked => out.u8(3),
        };
        out.bytes(&self.public_key);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fact = Self {
            device_id: read_identifier(from, "device_id")?,
            outlet_id: read_identifier(from, "outlet_id")?,
            state: match from.u8("device state")? {
                0 => DeviceState::Registered,
                1 => DeviceState::Active,
                2 => DeviceState::Replaced { by: read_identifier(from, "device replaced by")? },
                3 => DeviceState::Revoked,
                _ => return Err(DecodeError::Invalid("device state")),
            },
            public_key: from.bytes("device key")?.to_vec(),
        };
        if fact.public_key.len() > DEVICE_KEY_BYTES_MAX {
            return Err(DecodeError::Invalid("device key"));
        }
        Ok(fact)
    }
}

/// Whether text can name an outlet, a terminal or a device: 1 to 64 bytes, no control characters, and
/// not starting with `@`, which is kept for the groups' own chains.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    is_name(text, IDENTIFIER_BYTES_MAX)
}

/// The same with another length.
pub(crate) fn is_name(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len())
        && !text.starts_with('@')
        && !text.chars().any(char::is_control)
}

/// Whether text can be a prefix or an outlet code: `[A-Z0-9]{1,12}`.
#[must_use]
pub fn is_code(text: &str) -> bool {
    (1..=CODE_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn read_identifier(from: &mut Reader<'_>, field: &'static str) -> Result<Id, DecodeError> {
    let id = read_id(from, field)?;
    if is_identifier(&id) { Ok(id) } else { Err(DecodeError::Invalid(field)) }
}

fn read_code(from: &mut Reader<'_>, field: &'static str) -> Result<Id, DecodeError> {
    let code = read_id(from, field)?;
    if is_code(&code) { Ok(code) } else { Err(DecodeError::Invalid(field)) }
}
