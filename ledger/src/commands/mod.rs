//! What can be asked of a group: one command, one file, each with its checks in one order (reserved
//! fields, identity, duplicate, business rules) before its effects.
//!
//! Data groups and the directory take different commands, told apart by type; both take the group's
//! own ones. A refused command changes nothing.

mod activate_authority;
mod activate_device;
mod attach_signatures;
mod change_outlet;
mod checkpoint_cut;
mod checkpoint_decided;
mod close_block;
mod close_day;
mod close_shift;
mod directory_fact;
mod grant_block;
mod import_device_seal;
mod open_shift;
mod prepare_authority;
mod publish_manifest;
mod put_document;
mod put_documents;
mod raise_apply_version;
mod reconcile_offline;
mod record_checkpoint;
mod record_payment;
mod record_upload;
mod recovery_gap;
mod register_device;
mod register_outlet;
mod reopen_device;
mod replace_device;
mod revoke_device;
mod seal;
mod tick;

pub use activate_authority::ActivateAuthority;
pub use activate_device::ActivateDevice;
pub use attach_signatures::AttachSignatures;
pub use change_outlet::ChangeOutlet;
pub use checkpoint_cut::{CheckpointCut, HEADS_LEAF_INTERVAL_MS};
pub use checkpoint_decided::CheckpointDecided;
pub use close_block::CloseBlock;
pub use close_day::CloseDay;
pub use close_shift::CloseShift;
pub use directory_fact::DirectoryFact;
pub use grant_block::GrantBlock;
pub use import_device_seal::ImportDeviceSeal;
pub use open_shift::OpenShift;
pub use prepare_authority::{PrepareAuthority, authority_proof_hash};
pub use publish_manifest::PublishManifest;
pub use put_document::{DOCUMENT_BYTES_MAX, DOCUMENT_ID_BYTES_MAX, PutDocument};
pub use put_documents::{PUTS_BYTES_MAX, PUTS_MAX, PutDocuments};
pub use raise_apply_version::RaiseApplyVersion;
pub use reconcile_offline::ReconcileOffline;
pub use record_checkpoint::{CHECKPOINT_KIND, RecordCheckpoint, recorded_size};
pub use record_payment::RecordPayment;
pub use record_upload::{
    RecordUpload, UPLOAD_ITEMS_MAX, UPLOAD_REASON_BYTES_MAX, UPLOAD_REFUSED_MAX, UploadItem,
    UploadVerdict,
};
pub use recovery_gap::{RecoveryGap, SEQUENCE_MAX};
pub use register_device::RegisterDevice;
pub use register_outlet::RegisterOutlet;
pub use reopen_device::{
    ReopenDevice, TAX_AUTHORITY_KEY_ID, TAX_AUTHORITY_KEY_KIND, leave_message, life_of,
    read_tax_authority_key,
};
pub use replace_device::ReplaceDevice;
pub use revoke_device::RevokeDevice;
pub use seal::Seal;
pub use tick::Tick;

pub(crate) use seal::credit_original;

use crate::apply::ApplyError;
use crate::facts::{OutletStatus, SigningMode};
use crate::hash::Hash32;
use crate::invoice::CanonicalInvoice;
use crate::journal::Journal;
use crate::outcome::{Event, Outcome, RefusalCode};
use crate::problem::Problem;
use crate::record::SubmissionMark;
use crate::state::Id;
use crate::state::group::Group;
use crate::state::outlet::Outlet;
use crate::state::rows::{KeyHash, Operation, Submission, SubmissionKey};
use crate::state::table::Table;
use crate::state::working::{Reads, WorkingSet};

/// Commands that every group takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented by its type")]
pub enum SystemCommand {
    Tick(Tick),
    PrepareAuthority(PrepareAuthority),
    ActivateAuthority(ActivateAuthority),
    CheckpointCut(CheckpointCut),
    CheckpointDecided(CheckpointDecided),
    AttachSignatures(AttachSignatures),
    RaiseApplyVersion(RaiseApplyVersion),
}

/// Commands of a data group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented by its type")]
pub enum GroupCommand {
    System(SystemCommand),
    Seal(Seal),
    RecordPayment(RecordPayment),
    RecordUpload(RecordUpload),
    OpenShift(OpenShift),
    CloseShift(CloseShift),
    CloseDay(CloseDay),
    GrantBlock(GrantBlock),
    ReconcileOffline(ReconcileOffline),
    ImportDeviceSeal(ImportDeviceSeal),
    CloseBlock(CloseBlock),
    DirectoryFact(DirectoryFact),
    RecoveryGap(RecoveryGap),
}

/// Commands of the directory, group 0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented by its type")]
pub enum DirectoryCommand {
    System(SystemCommand),
    RegisterOutlet(RegisterOutlet),
    ChangeOutlet(ChangeOutlet),
    PutDocument(PutDocument),
    PutDocuments(PutDocuments),
    PublishManifest(PublishManifest),
    RegisterDevice(RegisterDevice),
    ActivateDevice(ActivateDevice),
    ReplaceDevice(ReplaceDevice),
    ReopenDevice(ReopenDevice),
    RevokeDevice(RevokeDevice),
    RecordCheckpoint(RecordCheckpoint),
}

/// What a command carries that must be parsed before apply; done once, by whoever prepares the entry.
pub(crate) type ParsedInvoice<'e> = Result<CanonicalInvoice<'e>, Box<Problem>>;

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) state: &'a mut WorkingSet,
    pub(crate) journal: &'a mut Journal,
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) signatures: &'a mut Vec<[u8; 64]>,
    /// The command's index in its entry.
    pub(crate) index: u64,
}

/// A command of either kind of group.
pub trait Command: private::Sealed {
    /// Names the rows that it reads.
    #[doc(hidden)]
    fn read(&self, parsed: Option<&InvoiceSlot<'_>>, reads: &mut Reads);
    /// Parses what it carries.
    #[doc(hidden)]
    fn parse<'e>(&'e self, group: &Group, time: crate::time::UnixMs) -> Option<InvoiceSlot<'e>>;
    /// Checks and applies it.
    #[doc(hidden)]
    fn run(&self, call: Call<'_, '_>) -> Result<Outcome, ApplyError>;
}

/// A parsed invoice on its way from prefetch to apply.
#[derive(Debug)]
pub struct InvoiceSlot<'e>(pub(crate) Option<ParsedInvoice<'e>>);

impl<'e> InvoiceSlot<'e> {
    /// The invoice, when it is right in itself.
    pub(crate) fn accepted(&mut self) -> Option<&mut CanonicalInvoice<'e>> {
        self.0.as_mut()?.as_mut().ok()
    }
}

/// One call of apply on a command.
#[derive(Debug)]
pub struct Call<'a, 'e> {
    pub(crate) cx: Context<'a>,
    pub(crate) parsed: Option<InvoiceSlot<'e>>,
}

mod private {
    pub trait Sealed {}
    impl Sealed for super::GroupCommand {}
    impl Sealed for super::DirectoryCommand {}
}

impl Command for GroupCommand {
    fn parse<'e>(&'e self, group: &Group, time: crate::time::UnixMs) -> Option<InvoiceSlot<'e>> {
        match self {
            Self::Seal(command) => Some(command.parse(group, time)),
            Self::ReconcileOffline(command) => Some(command.seal.parse(group)),
            Self::ImportDeviceSeal(command) => Some(command.seal.parse(group, time)),
            _ => None,
        }
    }

    fn read(&self, parsed: Option<&InvoiceSlot<'_>>, reads: &mut Reads) {
        match self {
            Self::System(_) => {}
            Self::Seal(command) => command.read(parsed, reads),
            Self::RecordPayment(command) => command.read(reads),
            Self::RecordUpload(command) => command.read(reads),
            Self::OpenShift(command) => command.read(reads),
            Self::CloseShift(command) => command.read(reads),
            Self::CloseDay(command) => command.read(reads),
            Self::GrantBlock(command) => command.read(reads),
            Self::ReconcileOffline(command) => command.read(parsed, reads),
            Self::ImportDeviceSeal(command) => command.read(parsed, reads),
            Self::CloseBlock(command) => command.read(reads),
            Self::DirectoryFact(command) => command.read(reads),
            Self::RecoveryGap(command) => command.read(reads),
        }
    }

    fn run(&self, call: Call<'_, '_>) -> Result<Outcome, ApplyError> {
        let Call { mut cx, parsed } = call;
        match self {
            Self::System(command) => command.run(&mut cx),
            Self::Seal(command) => command.apply(&mut cx, parsed),
            Self::RecordPayment(command) => command.apply(&mut cx),
            Self::RecordUpload(command) => command.apply(&mut cx),
            Self::OpenShift(command) => command.apply(&mut cx),
            Self::CloseShift(command) => command.apply(&mut cx),
            Self::CloseDay(command) => command.apply(&mut cx),
            Self::GrantBlock(command) => command.apply(&mut cx),
            Self::ReconcileOffline(command) => command.apply(&mut cx, parsed),
            Self::ImportDeviceSeal(command) => command.apply(&mut cx, parsed),
            Self::CloseBlock(command) => command.apply(&mut cx),
            Self::DirectoryFact(command) => command.apply(&mut cx),
            Self::RecoveryGap(command) => command.apply(&mut cx),
        }
    }
}

impl Command for DirectoryCommand {
    fn parse<'e>(&'e self, _: &Group, _: crate::time::UnixMs) -> Option<InvoiceSlot<'e>> {
        None
    }

    fn read(&self, _: Option<&InvoiceSlot<'_>>, reads: &mut Reads) {
        match self {
            Self::System(_) => {}
            Self::RegisterOutlet(command) => command.read(reads),
            Self::ChangeOutlet(command) => command.read(reads),
            Self::PutDocument(command) => command.read(reads),
            Self::PutDocuments(command) => command.read(reads),
            Self::PublishManifest(command) => command.read(reads),
            Self::RegisterDevice(command) => command.read(reads),
            Self::ActivateDevice(command) => command.read(reads),
            Self::ReplaceDevice(command) => command.read(reads),
            Self::ReopenDevice(command) => command.read(reads),
            Self::RevokeDevice(command) => command.read(reads),
            Self::RecordCheckpoint(command) => command.read(reads),
        }
    }

    fn run(&self, call: Call<'_, '_>) -> Result<Outcome, ApplyError> {
        let mut cx = call.cx;
        match self {
            Self::System(command) => command.run(&mut cx),
            Self::RegisterOutlet(command) => command.apply(&mut cx),
            Self::ChangeOutlet(command) => command.apply(&mut cx),
            Self::PutDocument(command) => command.apply(&mut cx),
            Self::PutDocuments(command) => command.apply(&mut cx),
            Self::PublishManifest(command) => command.apply(&mut cx),
            Self::RegisterDevice(command) => command.apply(&mut cx),
            Self::ActivateDevice(command) => command.apply(&mut cx),
            Self::ReplaceDevice(command) => command.apply(&mut cx),
            Self::ReopenDevice(command) => command.apply(&mut cx),
            Self::RevokeDevice(command) => command.apply(&mut cx),
            Self::RecordCheckpoint(command) => command.apply(&mut cx),
        }
    }
}

impl SystemCommand {
    fn run(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        match self {
            Self::Tick(command) => Ok(command.apply()),
            Self::PrepareAuthority(command) => Ok(command.apply(cx)),
            Self::ActivateAuthority(command) => Ok(command.apply(cx)),
            Self::CheckpointCut(command) => Ok(command.apply(cx)),
            Self::CheckpointDecided(command) => Ok(command.apply(cx)),
            Self::AttachSignatures(command) => Ok(command.apply(cx)),
            Self::RaiseApplyVersion(command) => command.apply(cx),
        }
    }
}

/// What a client sends with each submission so that it happens once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The outlet.
    pub outlet_id: Id,
    /// The key.
    pub key: KeyHash,
    /// What the client chose.
    pub fingerprint: Hash32,
}

impl Submitted {
    fn row_key(&self, operation: Operation) -> SubmissionKey {
        SubmissionKey { outlet_id: self.outlet_id.clone(), operation, key: self.key }
    }

    fn read(&self, operation: Operation, reads: &mut Reads) {
        reads.outlets.insert(self.outlet_id.clone());
        reads.submissions.insert(self.row_key(operation));
    }

    fn mark(&self, operation: Operation) -> SubmissionMark {
        SubmissionMark { operation, key: self.key, fingerprint: self.fingerprint }
    }

    /// The answer when the key is known: the original, or a conflict.
    fn duplicate(
        &self,
        operation: Operation,
        submissions: &Table<Submission>,
    ) -> Result<Option<Outcome>, ApplyError> {
        Ok(submissions.get(&self.row_key(operation))?.map(|known| {
            if known.fingerprint == self.fingerprint {
                Outcome::AlreadyRecorded { position: known.position }
            } else {
                Outcome::refused(
                    RefusalCode::IdempotencyConflict,
                    format!(
                        "this idempotency key was used for another request, which is record {} of \
                         the outlet; use a new key for a new request",
                        known.position
                    ),
                )
            }
        }))
    }

    fn remember(&self, operation: Operation, submissions: &mut Table<Submission>, position: u64) {
        let row = Submission { position, fingerprint: self.fingerprint };
        submissions.put(self.row_key(operation), row);
    }
}

/// The checks and refusals that several commands share.
fn outlet_unknown(outlet_id: &str) -> Outcome {
    Outcome::refused(
        RefusalCode::OutletUnknown,
        format!("outlet {outlet_id} is not registered in this group; check the id"),
    )
}

fn no_authority() -> Outcome {
    Outcome::refused(
        RefusalCode::NoAuthority,
        "no signing authority is active for the outlet's environment; an operator must activate one",
    )
}

fn no_manifest() -> Outcome {
    Outcome::refused(
        RefusalCode::NoManifest,
        "no tax manifest is in force at this time; an operator must publish one",
    )
}

fn terminal_blocked(terminal_id: &str) -> Outcome {
    let detail = format!("terminal {terminal_id} has been stopped by the operator");
    Outcome::refused(RefusalCode::TerminalBlocked, detail)
}

/// Why an outlet may not issue numbers now.
fn closed_for_sale(outlet: &Outlet) -> Option<Outcome> {
    let id = &outlet.fact.outlet_id;
    if outlet.fact.status != OutletStatus::Active {
        let detail = format!("outlet {id} is not active; an operator must reactivate it");
        return Some(Outcome::refused(RefusalCode::OutletInactive, detail));
    }
    if outlet.held {
        let detail = format!("outlet {id} is held after a restore until its last number is shown");
        return Some(Outcome::refused(RefusalCode::OutletHeld, detail));
    }
    if outlet.fact.signing_mode == SigningMode::Def {
        let detail = format!("outlet {id} is sealed by its own fiscal device at the moment");
        return Some(Outcome::refused(RefusalCode::SigningModeDef, detail));
    }
    None
}

fn field_invalid(field: &str, rule: &str) -> Outcome {
    Outcome::refused(RefusalCode::FieldInvalid, format!("{field} {rule}"))
}
