//! Journal records: what one is, how it is stored, and what can be recomputed from it.

use crate::codec::{DecodeError, Reader, Writer};
use crate::device_seal::DeviceSeal;
use crate::hash::{Hash32, payload_hash};
use crate::invoice::InvoiceType;
use crate::offline::OfflineSeal;
use crate::seal;
use crate::state::rows::{KeyHash, Operation};
use crate::time::UnixMs;

const FORMAT_VERSION: u8 = 1;

/// What a record is about. Invoices take a fiscal number; the others only a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// An invoice that the ledger sealed.
    Invoice(InvoiceType),
    /// An invoice that a terminal sealed under a delegated credential.
    Offline(InvoiceType),
    /// An invoice that a real fiscal device sealed.
    Def(InvoiceType),
    /// A daily closure.
    ZClosure,
    /// Numbers lent to a terminal.
    BlockGrant,
    /// A block given back, used up, expired or withdrawn.
    BlockClose,
    /// Numbers of a closed block that never came back.
    NumbersMissing,
    /// What a provider said of a payment.
    Payment,
    /// A shift opened.
    ShiftOpen,
    /// A shift closed, with its totals.
    ShiftClose,
    /// An outlet registered or changed.
    Outlet,
    /// A terminal registered or changed.
    Terminal,
    /// A device registered, activated, replaced or revoked.
    Device,
    /// A tax manifest published.
    Manifest,
    /// An authority prepared or activated.
    Authority,
    /// The group's rules were raised.
    ApplyVersion,
    /// Numbers skipped after a restore.
    RecoveryGap,
    /// How far another group's log is.
    Checkpoint,
    /// What has become of invoices at the tax authority.
    Upload,
}

const PLAIN_KINDS: [(RecordKind, &str); 16] = [
    (RecordKind::ZClosure, "z_closure"),
    (RecordKind::BlockGrant, "block_grant"),
    (RecordKind::BlockClose, "block_close"),
    (RecordKind::NumbersMissing, "numbers_missing"),
    (RecordKind::Payment, "payment_event"),
    (RecordKind::ShiftOpen, "shift_open"),
    (RecordKind::ShiftClose, "shift_close"),
    (RecordKind::Outlet, "outlet_event"),
    (RecordKind::Terminal, "terminal_event"),
    (RecordKind::Device, "device_event"),
    (RecordKind::Manifest, "manifest_event"),
    (RecordKind::Authority, "authority_event"),
    (RecordKind::ApplyVersion, "apply_version"),
    (RecordKind::RecoveryGap, "recovery_gap"),
    (RecordKind::Checkpoint, "checkpoint_event"),
    (RecordKind::Upload, "upload_event"),
];

impl RecordKind {
    /// The name that is hashed and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invoice(kind) => kind.as_str(),
            Self::Offline(InvoiceType::Sale) => "offline_sale",
            Self::Offline(InvoiceType::Advance) => "offline_advance",
            Self::Offline(InvoiceType::CreditNote) => "offline_credit_note",
            Self::Offline(InvoiceType::Export) => "offline_export",
            Self::Offline(InvoiceType::ExportCredit) => "offline_export_credit",
            Self::Def(InvoiceType::Sale) => "def_sale",
            Self::Def(InvoiceType::Advance) => "def_advance",
            Self::Def(InvoiceType::CreditNote) => "def_credit_note",
            Self::Def(InvoiceType::Export) => "def_export",
            Self::Def(InvoiceType::ExportCredit) => "def_export_credit",
            plain => PLAIN_KINDS
                .iter()
                .find_map(|(kind, name)| (*kind == plain).then_some(*name))
                .expect("every other kind is in the table"),
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(inner) = name.strip_prefix("offline_") {
            return InvoiceType::parse(inner).map(Self::Offline);
        }
        if let Some(inner) = name.strip_prefix("def_") {
            return InvoiceType::parse(inner).map(Self::Def);
        }
        InvoiceType::parse(name).map(Self::Invoice).or_else(|| {
            PLAIN_KINDS.iter().find_map(|(kind, known)| (*known == name).then_some(*kind))
        })
    }

    /// The invoice's type, when the record is one.
    #[must_use]
    pub fn invoice_type(self) -> Option<InvoiceType> {
        match self {
            Self::Invoice(kind) | Self::Offline(kind) | Self::Def(kind) => Some(kind),
            _ => None,
        }
    }

    /// The canonical invoice in a record's payload; none when the record is no invoice.
    #[must_use]
    pub fn invoice_in(self, payload: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Invoice(_) => Some(payload),
            Self::Offline(_) => OfflineSeal::invoice_in(payload),
            Self::Def(_) => DeviceSeal::invoice_in(payload),
            _ => None,
        }
    }
}

/// The submission that a record answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionMark {
    /// The operation.
    pub operation: Operation,
    /// The key.
    pub key: KeyHash,
    /// What the client chose.
    pub fingerprint: Hash32,
}

/// One record of an outlet's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The outlet, or the group's own chain.
    pub outlet_id: &'a str,
    /// Its place in the journal, from 1.
    pub position: u64,
    /// Its leaf in the group's tree, from 0.
    pub leaf_index: u64,
    /// What it is about.
    pub kind: RecordKind,
    /// The key that signs it.
    pub authority_id: &'a str,
    /// Its number; empty when it is not an invoice.
    pub fiscal_number: &'a str,
    /// The group time.
    pub timestamp: UnixMs,
    /// The invoice's total; empty when it is not an invoice.
    pub total: &'a str,
    /// The invoice's currency; empty when it is not an invoice.
    pub currency: &'a str,
    /// The canonical payload.
    pub payload: &'a [u8],
    /// What keeps the payload from being guessed.
    pub blind: Hash32,
    /// The entry hash of the record before it.
    pub prev_hash: Hash32,
    /// What is signed and is the tree's leaf.
    pub entry_hash: Hash32,
    /// The submission that it answers.
    pub submission: Option<SubmissionMark>,
}

impl<'a> Record<'a> {
    /// The hash that receipts carry instead of the payload.
    #[must_use]
    pub fn hidden_hash(&self) -> Hash32 {
        seal::hidden_hash(
            self.outlet_id,
            self.position,
            &payload_hash(self.payload),
            &self.blind,
            &self.prev_hash,
        )
    }

    /// The entry hash as the record's own parts make it.
    #[must_use]
    pub fn recomputed_entry_hash(&self) -> Hash32 {
        seal::entry_hash(
            self.authority_id,
            self.fiscal_number,
            self.timestamp.get(),
            self.kind.as_str(),
            self.total,
            self.currency,
            &self.hidden_hash(),
        )
    }

    /// Appends the stored form.
    pub fn encode(&self, out: &mut Writer) {
        out.u8(FORMAT_VERSION).str(self.outlet_id).u64(self.position).u64(self.leaf_index);
        out.str(self.kind.as_str()).str(self.authority_id).str(self.fiscal_number);
        out.u64(self.timestamp.get()).str(self.total).str(self.currency).bytes(self.payload);
        out.raw(&self.blind).raw(&self.prev_hash).raw(&self.entry_hash);
        out.bool(self.submission.is_some());
        if let Some(mark) = &self.submission {
            out.u8(mark.operation.code()).raw(&mark.key).raw(&mark.fingerprint);
        }
    }

    /// Reads a stored record; its hash is checked.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let record = Self::read(bytes)?;
        if record.recomputed_entry_hash() != record.entry_hash {
            return Err(DecodeError::Invalid("record hash"));
        }
        Ok(record)
    }

    /// Reads a stored record without checking its hash: one that was encoded just now, or that nothing is
    /// believed of yet.
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        if from.u8("record version")? != FORMAT_VERSION {
            return Err(DecodeError::Invalid("record version"));
        }
        let record = Self {
            outlet_id: from.str("record outlet")?,
            position: from.u64("record position")?,
            leaf_index: from.u64("record leaf")?,
            kind: RecordKind::parse(from.str("record kind")?)
                .ok_or(DecodeError::Invalid("record kind"))?,
            authority_id: from.str("record authority")?,
            fiscal_number: from.str("record number")?,
            timestamp: UnixMs::new(from.u64("record time")?),
            total: from.str("record total")?,
            currency: from.str("record currency")?,
            payload: from.bytes("record payload")?,
            blind: from.h32("record blind")?,
            prev_hash: from.h32("record link")?,
            entry_hash: from.h32("record hash")?,
            submission: if from.bool("record submission")? {
                Some(SubmissionMark {
                    operation: Operation::from_code(from.u8("record operation")?)
                        .ok_or(DecodeError::Invalid("record operation"))?,
                    key: from.array("record key")?,
                    fingerprint: from.h32("record fingerprint")?,
                })
            } else {
                None
            },
        };
        from.finish()?;
        Ok(record)
    }
}
