//! From the stored form to the ledger's commands.

use fiscus_ledger::commands::{
    ActivateAuthority, ActivateDevice, AttachSignatures, ChangeOutlet, CheckpointCut,
    CheckpointDecided, CloseBlock, CloseDay, CloseShift, DirectoryCommand, DirectoryFact,
    GrantBlock, GroupCommand, ImportDeviceSeal, OpenShift, PrepareAuthority, PublishManifest,
    PutDocument, PutDocuments, RaiseApplyVersion, ReconcileOffline, RecordCheckpoint,
    RecordPayment, RecordUpload, RecoveryGap, RegisterDevice, RegisterOutlet, ReopenDevice,
    ReplaceDevice, RevokeDevice, Seal, Submitted, SystemCommand, Tick, UPLOAD_ITEMS_MAX,
    UploadItem,
};
use fiscus_ledger::credential::AUTHORITY_ID_BYTES_MAX;
use fiscus_ledger::device_seal::DeviceSeal;
use fiscus_ledger::facts::OutletFact;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::seal::NUMBER_BYTES_MAX;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::group::CheckpointTuple;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::command as proto;
use fiscus_proto::command::command::Command as Kind;

use super::field::{
    CommandError, amount, array, arrays, bounded, close_reason, currency, environment, fact_kind,
    name, outlet_status, owned, payment_status, present, signing_mode, upload_verdict,
};

/// A fact's id: a terminal's is made of two identifiers and a slash.
const FACT_ID_BYTES_MAX: usize = 160;

/// Reads a command of a data group.
pub fn data_command(command: proto::Command) -> Result<GroupCommand, CommandError> {
    match command.command.ok_or(CommandError::Unknown)? {
        Kind::Seal(message) => seal(message).map(GroupCommand::Seal),
        Kind::RecordPayment(message) => record_payment(message).map(GroupCommand::RecordPayment),
        Kind::OpenShift(message) => open_shift(message).map(GroupCommand::OpenShift),
        Kind::CloseShift(message) => close_shift(message).map(GroupCommand::CloseShift),
        Kind::CloseDay(message) => close_day(message).map(GroupCommand::CloseDay),
        Kind::GrantBlock(message) => grant_block(message).map(GroupCommand::GrantBlock),
        Kind::ReconcileOffline(message) => {
            reconcile_offline(message).map(GroupCommand::ReconcileOffline)
        }
        Kind::ImportDeviceSeal(message) => {
            import_device_seal(message).map(GroupCommand::ImportDeviceSeal)
        }
        Kind::CloseBlock(message) => close_block(message).map(GroupCommand::CloseBlock),
        Kind::DirectoryFact(message) => directory_fact(message).map(GroupCommand::DirectoryFact),
        Kind::RecoveryGap(message) => recovery_gap(message).map(GroupCommand::RecoveryGap),
        Kind::RecordUpload(message) => record_upload(message).map(GroupCommand::RecordUpload),
        other => system_command(other, "a data group").map(GroupCommand::System),
    }
}

/// Reads a command of the directory.
pub fn directory_command(command: proto::Command) -> Result<DirectoryCommand, CommandError> {
    match command.command.ok_or(CommandError::Unknown)? {
        Kind::RegisterOutlet(proto::RegisterOutlet { fact }) => {
            let fact = outlet_fact(present("fact", fact)?)?;
            Ok(DirectoryCommand::RegisterOutlet(RegisterOutlet { fact }))
        }
        Kind::ChangeOutlet(proto::ChangeOutlet { fact, expected_version }) => {
            let fact = outlet_fact(present("fact", fact)?)?;
            Ok(DirectoryCommand::ChangeOutlet(ChangeOutlet { fact, expected_version }))
        }
        Kind::PutDocument(message) => Ok(DirectoryCommand::PutDocument(put_document(message))),
        Kind::PutDocuments(message) => {
            let puts = message.puts.into_iter().map(put_document).collect();
            Ok(DirectoryCommand::PutDocuments(PutDocuments { puts }))
        }
        Kind::PublishManifest(proto::PublishManifest { json }) => {
            Ok(DirectoryCommand::PublishManifest(PublishManifest { json }))
        }
        Kind::RegisterDevice(message) => {
            register_device(message).map(DirectoryCommand::RegisterDevice)
        }
        Kind::ActivateDevice(message) => {
            activate_device(message).map(DirectoryCommand::ActivateDevice)
        }
        Kind::ReplaceDevice(message) => {
            replace_device(message).map(DirectoryCommand::ReplaceDevice)
        }
        Kind::RevokeDevice(proto::RevokeDevice { device_id }) => {
            let device_id = name("device_id", device_id)?;
            Ok(DirectoryCommand::RevokeDevice(RevokeDevice { device_id }))
        }
        Kind::ReopenDevice(proto::ReopenDevice { device_id, leave }) => {
            let (device_id, leave) = (name("device_id", device_id)?, array("leave", &leave)?);
            Ok(DirectoryCommand::ReopenDevice(ReopenDevice { device_id, leave }))
        }
        Kind::RecordCheckpoint(proto::RecordCheckpoint { group, size, root }) => {
            let root = array("root", &root)?;
            Ok(DirectoryCommand::RecordCheckpoint(RecordCheckpoint { group, size, root }))
        }
        other => system_command(other, "the directory").map(DirectoryCommand::System),
    }
}

fn system_command(kind: Kind, group: &'static str) -> Result<SystemCommand, CommandError> {
    match kind {
        Kind::Tick(proto::Tick {}) => Ok(SystemCommand::Tick(Tick)),
        Kind::PrepareAuthority(message) => {
            prepare_authority(message).map(SystemCommand::PrepareAuthority)
        }
        Kind::ActivateAuthority(proto::ActivateAuthority { authority_id }) => {
            let authority_id = bounded("authority_id", authority_id, AUTHORITY_ID_BYTES_MAX)?;
            Ok(SystemCommand::ActivateAuthority(ActivateAuthority { authority_id }))
        }
        Kind::CheckpointCut(proto::CheckpointCut { demand_heads }) => {
            Ok(SystemCommand::CheckpointCut(CheckpointCut { demand_heads }))
        }
        Kind::CheckpointDecided(proto::CheckpointDecided { tuple }) => {
            let tuple = checkpoint_tuple(&present("tuple", tuple)?)?;
            Ok(SystemCommand::CheckpointDecided(CheckpointDecided { tuple }))
        }
        Kind::AttachSignatures(proto::AttachSignatures { first_leaf, signatures }) => {
            let signatures = arrays("signatures", &signatures)?;
            Ok(SystemCommand::AttachSignatures(AttachSignatures { first_leaf, signatures }))
        }
        Kind::RaiseApplyVersion(proto::RaiseApplyVersion { to }) => {
            Ok(SystemCommand::RaiseApplyVersion(RaiseApplyVersion { to }))
        }
        other => Err(CommandError::WrongGroup { command: kind_name(&other), group }),
    }
}

/// The name of the message that a command is.
pub(super) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Tick(_) => "Tick",
        Kind::PrepareAuthority(_) => "PrepareAuthority",
        Kind::ActivateAuthority(_) => "ActivateAuthority",
        Kind::CheckpointCut(_) => "CheckpointCut",
        Kind::CheckpointDecided(_) => "CheckpointDecided",
        Kind::AttachSignatures(_) => "AttachSignatures",
        Kind::RaiseApplyVersion(_) => "RaiseApplyVersion",
        Kind::Seal(_) => "Seal",
        Kind::RecordPayment(_) => "RecordPayment",
        Kind::OpenShift(_) => "OpenShift",
        Kind::CloseShift(_) => "CloseShift",
        Kind::CloseDay(_) => "CloseDay",
        Kind::GrantBlock(_) => "GrantBlock",
        Kind::ReconcileOffline(_) => "ReconcileOffline",
        Kind::ImportDeviceSeal(_) => "ImportDeviceSeal",
        Kind::CloseBlock(_) => "CloseBlock",
        Kind::DirectoryFact(_) => "DirectoryFact",
        Kind::RecoveryGap(_) => "RecoveryGap",
        Kind::RecordUpload(_) => "RecordUpload",
        Kind::RegisterOutlet(_) => "RegisterOutlet",
        Kind::ChangeOutlet(_) => "ChangeOutlet",
        Kind::PutDocument(_) => "PutDocument",
        Kind::PutDocuments(_) => "PutDocuments",
        Kind::PublishManifest(_) => "PublishManifest",
        Kind::RegisterDevice(_) => "RegisterDevice",
        Kind::ActivateDevice(_) => "ActivateDevice",
        Kind::ReplaceDevice(_) => "ReplaceDevice",
        Kind::ReopenDevice(_) => "ReopenDevice",
        Kind::RevokeDevice(_) => "RevokeDevice",
        Kind::RecordCheckpoint(_) => "RecordCheckpoint",
    }
}

fn put_document(message: proto::PutDocument) -> PutDocument {
    PutDocument {
        kind: Id::from(message.kind),
        id: Id::from(message.id),
        expected_version: message.expected_version,
        bytes: owned(message.bytes),
    }
}

fn submitted(message: Option<proto::Submitted>) -> Result<Submitted, CommandError> {
    let message = present("submitted", message)?;
    Ok(Submitted {
        outlet_id: name("submitted.outlet_id", message.outlet_id)?,
        key: array("submitted.key", &message.key)?,
        fingerprint: array("submitted.fingerprint", &message.fingerprint)?,
    })
}

fn seal(message: proto::Seal) -> Result<Seal, CommandError> {
    Ok(Seal {
        submitted: submitted(message.submitted)?,
        terminal_id: name("terminal_id", message.terminal_id)?,
        device_id: message.device_id.map(|id| name("device_id", id)).transpose()?,
        payload: owned(message.payload),
    })
}

fn record_payment(message: proto::RecordPayment) -> Result<RecordPayment, CommandError> {
    let number = message.fiscal_number;
    Ok(RecordPayment {
        outlet_id: name("outlet_id", message.outlet_id)?,
        provider: Id::from(message.provider),
        reference: Id::from(message.reference),
        status: payment_status("status", message.status)?,
        amount: amount("amount_minor", message.amount_minor)?,
        currency: currency("currency", &message.currency)?,
        fiscal_number: number
            .map(|number| bounded("fiscal_number", number, NUMBER_BYTES_MAX))
            .transpose()?,
    })
}

fn open_shift(message: proto::OpenShift) -> Result<OpenShift, CommandError> {
    Ok(OpenShift {
        submitted: submitted(message.submitted)?,
        terminal_id: Id::from(message.terminal_id),
        shift_id: Id::from(message.shift_id),
        cashier_id: Id::from(message.cashier_id),
    })
}

fn close_shift(message: proto::CloseShift) -> Result<CloseShift, CommandError> {
    Ok(CloseShift {
        submitted: submitted(message.submitted)?,
        terminal_id: name("terminal_id", message.terminal_id)?,
        shift_id: name("shift_id", message.shift_id)?,
        cashier_id: Id::from(message.cashier_id),
    })
}

fn close_day(message: proto::CloseDay) -> Result<CloseDay, CommandError> {
    let submitted = submitted(message.submitted)?;
    Ok(CloseDay { submitted, operator: Id::from(message.operator) })
}

fn grant_block(message: proto::GrantBlock) -> Result<GrantBlock, CommandError> {
    Ok(GrantBlock {
        submitted: submitted(message.submitted)?,
        credential_id: name("credential_id", message.credential_id)?,
        terminal_id: name("terminal_id", message.terminal_id)?,
        terminal_key: array("terminal_key", &message.terminal_key)?,
        numbers: message.numbers,
        validity_ms: message.validity_ms,
    })
}

fn reconcile_offline(message: proto::ReconcileOffline) -> Result<ReconcileOffline, CommandError> {
    let seal = present("seal", message.seal)?;
    Ok(ReconcileOffline {
        outlet_id: name("outlet_id", message.outlet_id)?,
        seal: OfflineSeal {
            credential_id: name("seal.credential_id", seal.credential_id)?,
            place: seal.place,
            timestamp: UnixMs::new(seal.timestamp_ms),
            blind: array("seal.blind", &seal.blind)?,
            prev_hash: array("seal.prev_hash", &seal.prev_hash)?,
            signature: array("seal.signature", &seal.signature)?,
            invoice: owned(seal.invoice),
        },
    })
}

fn import_device_seal(message: proto::ImportDeviceSeal) -> Result<ImportDeviceSeal, CommandError> {
    let seal = present("seal", message.seal)?;
    Ok(ImportDeviceSeal {
        outlet_id: name("outlet_id", message.outlet_id)?,
        seal: DeviceSeal {
            device_id: name("seal.device_id", seal.device_id)?,
            sequence: seal.sequence,
            timestamp: UnixMs::new(seal.timestamp_ms),
            prev_hash: array("seal.prev_hash", &seal.prev_hash)?,
            signature: array("seal.signature", &seal.signature)?,
            invoice: owned(seal.invoice),
        },
    })
}

fn close_block(message: proto::CloseBlock) -> Result<CloseBlock, CommandError> {
    Ok(CloseBlock {
        outlet_id: name("outlet_id", message.outlet_id)?,
        credential_id: name("credential_id", message.credential_id)?,
        reason: close_reason("reason", message.reason)?,
    })
}

fn directory_fact(message: proto::DirectoryFact) -> Result<DirectoryFact, CommandError> {
    Ok(DirectoryFact {
        kind: fact_kind("kind", message.kind)?,
        id: bounded("id", message.id, FACT_ID_BYTES_MAX)?,
        version: message.version,
        bytes: owned(message.bytes),
    })
}

fn recovery_gap(message: proto::RecoveryGap) -> Result<RecoveryGap, CommandError> {
    Ok(RecoveryGap {
        outlet_id: name("outlet_id", message.outlet_id)?,
        last_issued: message.last_issued,
        evidence: Id::from(message.evidence),
        operator: Id::from(message.operator),
    })
}

fn record_upload(message: proto::RecordUpload) -> Result<RecordUpload, CommandError> {
    // Apply refuses more than this; what is far more is not even looked at.
    if message.items.len() > UPLOAD_ITEMS_MAX {
        let (limit, found) = (UPLOAD_ITEMS_MAX, message.items.len());
        return Err(CommandError::TooLong { field: "items", limit, found });
    }
    let items = message.items.into_iter().map(|item| {
        Ok(UploadItem {
            fiscal_number: bounded("fiscal_number", item.fiscal_number, NUMBER_BYTES_MAX)?,
            code: Id::from(item.code),
            reason: Id::from(item.reason),
        })
    });
    Ok(RecordUpload {
        items: items.collect::<Result<_, CommandError>>()?,
        outlet_id: name("outlet_id", message.outlet_id)?,
        verdict: upload_verdict("verdict", message.verdict)?,
        destination: Id::from(message.destination),
        batch_id: Id::from(message.batch_id),
        receipt: Id::from(message.receipt),
        after: message.after_position,
        through: message.through_position,
    })
}

fn outlet_fact(message: proto::OutletFact) -> Result<OutletFact, CommandError> {
    Ok(OutletFact {
        outlet_id: name("fact.outlet_id", message.outlet_id)?,
        merchant_nif: Id::from(message.merchant_nif),
        prefix: Id::from(message.prefix),
        code: Id::from(message.code),
        group: message.group,
        status: outlet_status("fact.status", message.status)?,
        environment: environment("fact.environment", message.environment)?,
        signing_mode: signing_mode("fact.signing_mode", message.signing_mode)?,
    })
}

fn register_device(message: proto::RegisterDevice) -> Result<RegisterDevice, CommandError> {
    Ok(RegisterDevice {
        device_id: Id::from(message.device_id),
        outlet_id: name("outlet_id", message.outlet_id)?,
        activation_hash: array("activation_hash", &message.activation_hash)?,
    })
}

fn activate_device(message: proto::ActivateDevice) -> Result<ActivateDevice, CommandError> {
    let activation_hash = array("activation_hash", &message.activation_hash)?;
    Ok(ActivateDevice { activation_hash, public_key: owned(message.public_key) })
}

fn replace_device(message: proto::ReplaceDevice) -> Result<ReplaceDevice, CommandError> {
    Ok(ReplaceDevice {
        device_id: name("device_id", message.device_id)?,
        replacement_id: Id::from(message.replacement_id),
        activation_hash: array("activation_hash", &message.activation_hash)?,
    })
}

fn prepare_authority(message: proto::PrepareAuthority) -> Result<PrepareAuthority, CommandError> {
    let proof =
        |proof: &proto::VoterProof| Ok((proof.voter, array("proofs.signature", &proof.signature)?));
    Ok(PrepareAuthority {
        name: Id::from(message.name),
        public_key: array("public_key", &message.public_key)?,
        environment: environment("environment", message.environment)?,
        proofs: message.proofs.iter().map(proof).collect::<Result<_, _>>()?,
    })
}

fn checkpoint_tuple(message: &proto::CheckpointTuple) -> Result<CheckpointTuple, CommandError> {
    Ok(CheckpointTuple {
        log_index: message.log_index,
        size: message.size,
        root: array("tuple.root", &message.root)?,
        state_hash: array("tuple.state_hash", &message.state_hash)?,
    })
}
