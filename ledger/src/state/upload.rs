//! How far the tax authority has an outlet's invoices. Everything up to a position is acknowledged, but for invoices
//! that have a row of their own: so the state of millions takes a few numbers.

use crate::codec::{DecodeError, Reader, Writer};
use crate::state::rows::InvoiceKey;
use crate::state::table::Row;
use crate::state::{Id, read_id};
use crate::time::UnixMs;

/// An outlet's uploads, as far as they are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uploads {
    /// Invoices up to this position are settled, unless their rows say otherwise.
    pub through: u64,
    /// How many are acknowledged.
    pub acknowledged: u64,
    /// How many are refused, and nobody has asked to send them again.
    pub refused: u64,
    /// How many were refused and are to be sent again.
    pub again: u64,
}

impl Uploads {
    /// How many are acknowledged or refused.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.acknowledged.saturating_add(self.refused)
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u64(self.through).u64(self.acknowledged).u64(self.refused).u64(self.again);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            through: from.u64("uploads through")?,
            acknowledged: from.u64("uploads acknowledged")?,
            refused: from.u64("uploads refused")?,
            again: from.u64("uploads again")?,
        })
    }
}

/// What an upload's row may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// The tax authority has refused it.
    Rejected,
    /// The tax authority could not take it, again and again.
    Failed,
    /// It is to be sent again.
    Again,
}

impl UploadState {
    const ALL: [Self; 3] = [Self::Rejected, Self::Failed, Self::Again];

    /// The state that everybody sees.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Again => "queued",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Rejected => 1,
            Self::Failed => 2,
            Self::Again => 3,
        }
    }
}

/// An invoice that the tax authority has not acknowledged though it was answered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// What became of it.
    pub state: UploadState,
    /// The invoice's position.
    pub position: u64,
    /// The position of the record that says so.
    pub stated_at: u64,
    /// When.
    pub since: UnixMs,
    /// How often it was refused.
    pub refusals: u32,
    /// The tax authority's code of the last refusal.
    pub code: Id,
    /// And its sentence.
    pub reason: Id,
}

impl Row for Upload {
    type Key = InvoiceKey;
    const TABLE: u8 = 10;
    const NAME: &'static str = "upload";

    fn write_key(key: &InvoiceKey, out: &mut Writer) {
        out.str(&key.0).str(&key.1);
    }

    fn encode(&self, out: &mut Writer) {
        out.u8(self.state.code()).u64(self.position).u64(self.stated_at).u64(self.since.get());
        out.u64(u64::from(self.refusals)).str(&self.code).str(&self.reason);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = from.u8("upload state")?;
        let state = UploadState::ALL.into_iter().find(|state| state.code() == code);
        Ok(Self {
            state: state.ok_or(DecodeError::Invalid("upload state"))?,
            position: from.u64("upload position")?,
            stated_at: from.u64("upload stated at")?,
            since: UnixMs::new(from.u64("upload since")?),
            refusals: u32::try_from(from.u64("upload refusals")?)
                .map_err(|_| DecodeError::Invalid("upload refusals"))?,
            code: read_id(from, "upload code")?,
            reason: read_id(from, "upload reason")?,
        })
    }
}
