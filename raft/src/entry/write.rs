//! From the ledger's commands and refusals to their stored form.

use bytes::Bytes;
use fiscus_ledger::commands::{
    DirectoryCommand, GroupCommand, ImportDeviceSeal, PrepareAuthority, PutDocument,
    ReconcileOffline, RecordPayment, RecordUpload, Submitted, SystemCommand, UploadVerdict,
};
use fiscus_ledger::facts::{Environment, FactKind, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::outcome::Refusal;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::state::group::CheckpointTuple;
use fiscus_ledger::state::rows::PaymentStatus;
use fiscus_proto::command as proto;
use fiscus_proto::command::command::Command as Kind;

/// The stored form of a command of a data group.
#[must_use]
pub fn to_proto_data(command: &GroupCommand) -> proto::Command {
    let kind = match command {
        GroupCommand::System(command) => system(command),
        GroupCommand::Seal(command) => Kind::Seal(proto::Seal {
            submitted: submitted(&command.submitted),
            terminal_id: command.terminal_id.to_string(),
            device_id: command.device_id.as_deref().map(str::to_owned),
            payload: bytes(&command.payload),
        }),
        GroupCommand::RecordPayment(command) => Kind::RecordPayment(record_payment(command)),
        GroupCommand::RecordUpload(command) => Kind::RecordUpload(record_upload(command)),
        GroupCommand::OpenShift(command) => Kind::OpenShift(proto::OpenShift {
            submitted: submitted(&command.submitted),
            terminal_id: command.terminal_id.to_string(),
            shift_id: command.shift_id.to_string(),
            cashier_id: command.cashier_id.to_string(),
        }),
        GroupCommand::CloseShift(command) => Kind::CloseShift(proto::CloseShift {
            submitted: submitted(&command.submitted),
            terminal_id: command.terminal_id.to_string(),
            shift_id: command.shift_id.to_string(),
            cashier_id: command.cashier_id.to_string(),
        }),
        GroupCommand::CloseDay(command) => Kind::CloseDay(proto::CloseDay {
            submitted: submitted(&command.submitted),
            operator: command.operator.to_string(),
        }),
        GroupCommand::GrantBlock(command) => Kind::GrantBlock(proto::GrantBlock {
            submitted: submitted(&command.submitted),
            credential_id: command.credential_id.to_string(),
            terminal_id: command.terminal_id.to_string(),
            terminal_key: bytes(&command.terminal_key),
            numbers: command.numbers,
            validity_ms: command.validity_ms,
        }),
        GroupCommand::ReconcileOffline(command) => {
            Kind::ReconcileOffline(reconcile_offline(command))
        }
        GroupCommand::ImportDeviceSeal(command) => {
            Kind::ImportDeviceSeal(import_device_seal(command))
        }
        GroupCommand::CloseBlock(command) => Kind::CloseBlock(proto::CloseBlock {
            outlet_id: command.outlet_id.to_string(),
            credential_id: command.credential_id.to_string(),
            reason: close_reason(command.reason).into(),
        }),
        GroupCommand::DirectoryFact(command) => Kind::DirectoryFact(proto::DirectoryFact {
            kind: fact_kind(command.kind).into(),
            id: command.id.to_string(),
            version: command.version,
            bytes: bytes(&command.bytes),
        }),
        GroupCommand::RecoveryGap(command) => Kind::RecoveryGap(proto::RecoveryGap {
            outlet_id: command.outlet_id.to_string(),
            last_issued: command.last_issued,
            evidence: command.evidence.to_string(),
            operator: command.operator.to_string(),
        }),
    };
    proto::Command { command: Some(kind) }
}

/// The stored form of a command of the directory.
#[must_use]
pub fn to_proto_directory(command: &DirectoryCommand) -> proto::Command {
    let kind = match command {
        DirectoryCommand::System(command) => system(command),
        DirectoryCommand::RegisterOutlet(command) => {
            Kind::RegisterOutlet(proto::RegisterOutlet { fact: outlet_fact(&command.fact) })
        }
        DirectoryCommand::ChangeOutlet(command) => Kind::ChangeOutlet(proto::ChangeOutlet {
            fact: outlet_fact(&command.fact),
            expected_version: command.expected_version,
        }),
        DirectoryCommand::PutDocument(command) => Kind::PutDocument(put_document(command)),
        DirectoryCommand::PutDocuments(command) => {
            let puts = command.puts.iter().map(put_document).collect();
            Kind::PutDocuments(proto::PutDocuments { puts })
        }
        DirectoryCommand::PublishManifest(command) => {
            Kind::PublishManifest(proto::PublishManifest { json: command.json.clone() })
        }
        DirectoryCommand::RegisterDevice(command) => Kind::RegisterDevice(proto::RegisterDevice {
            device_id: command.device_id.to_string(),
            outlet_id: command.outlet_id.to_string(),
            activation_hash: bytes(&command.activation_hash),
        }),
        DirectoryCommand::ActivateDevice(command) => Kind::ActivateDevice(proto::ActivateDevice {
            activation_hash: bytes(&command.activation_hash),
            public_key: bytes(&command.public_key),
        }),
        DirectoryCommand::ReplaceDevice(command) => Kind::ReplaceDevice(proto::ReplaceDevice {
            device_id: command.device_id.to_string(),
            replacement_id: command.replacement_id.to_string(),
            activation_hash: bytes(&command.activation_hash),
        }),
        DirectoryCommand::RevokeDevice(command) => {
            Kind::RevokeDevice(proto::RevokeDevice { device_id: command.device_id.to_string() })
        }
        DirectoryCommand::ReopenDevice(command) => Kind::ReopenDevice(proto::ReopenDevice {
            device_id: command.device_id.to_string(),
            leave: bytes(&command.leave),
        }),
        DirectoryCommand::RecordCheckpoint(command) => {
            Kind::RecordCheckpoint(proto::RecordCheckpoint {
                group: command.group,
                size: command.size,
                root: bytes(&command.root),
            })
        }
    };
    proto::Command { command: Some(kind) }
}

/// A refusal as clients read it.
#[must_use]
pub fn refusal_to_proto(refusal: &Refusal) -> proto::Refusal {
    let mut message = proto::Refusal {
        code: refusal.code().to_owned(),
        detail: refusal.detail().to_owned(),
        ..proto::Refusal::default()
    };
    if let Refusal::Invoice(problem) = refusal {
        message.pointer.clone_from(&problem.pointer);
        if let Some(expected) = &problem.expected {
            message.expected_tax_groups.clone_from(&expected.tax_groups);
            message.expected_totals.clone_from(&expected.totals);
        }
    }
    message
}

fn system(command: &SystemCommand) -> Kind {
    match command {
        SystemCommand::Tick(_) => Kind::Tick(proto::Tick {}),
        SystemCommand::PrepareAuthority(command) => {
            Kind::PrepareAuthority(prepare_authority(command))
        }
        SystemCommand::ActivateAuthority(command) => {
            let authority_id = command.authority_id.to_string();
            Kind::ActivateAuthority(proto::ActivateAuthority { authority_id })
        }
        SystemCommand::CheckpointCut(command) => {
            Kind::CheckpointCut(proto::CheckpointCut { demand_heads: command.demand_heads })
        }
        SystemCommand::CheckpointDecided(command) => {
            let tuple = Some(checkpoint_tuple(&command.tuple));
            Kind::CheckpointDecided(proto::CheckpointDecided { tuple })
        }
        SystemCommand::AttachSignatures(command) => {
            Kind::AttachSignatures(proto::AttachSignatures {
                first_leaf: command.first_leaf,
                signatures: bytes(command.signatures.as_flattened()),
            })
        }
        SystemCommand::RaiseApplyVersion(command) => {
            Kind::RaiseApplyVersion(proto::RaiseApplyVersion { to: command.to })
        }
    }
}

fn bytes(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}

// A message field that is never absent here still is an `Option` in the message.
fn submitted(submitted: &Submitted) -> Option<proto::Submitted> {
    Some(proto::Submitted {
        outlet_id: submitted.outlet_id.to_string(),
        key: bytes(&submitted.key),
        fingerprint: bytes(&submitted.fingerprint),
    })
}

fn put_document(command: &PutDocument) -> proto::PutDocument {
    proto::PutDocument {
        kind: command.kind.to_string(),
        id: command.id.to_string(),
        expected_version: command.expected_version,
        bytes: bytes(&command.bytes),
    }
}

fn record_payment(command: &RecordPayment) -> proto::RecordPayment {
    proto::RecordPayment {
        outlet_id: command.outlet_id.to_string(),
        provider: command.provider.to_string(),
        reference: command.reference.to_string(),
        status: payment_status(command.status).into(),
        amount_minor: command.amount.minor(),
        currency: command.currency.as_str().to_owned(),
        fiscal_number: command.fiscal_number.as_deref().map(str::to_owned),
    }
}

fn record_upload(command: &RecordUpload) -> proto::RecordUpload {
    let items = command.items.iter().map(|item| proto::UploadItem {
        fiscal_number: item.fiscal_number.to_string(),
        code: item.code.to_string(),
        reason: item.reason.to_string(),
    });
    let verdict = match command.verdict {
        UploadVerdict::Acknowledged => proto::UploadVerdict::Acknowledged,
        UploadVerdict::Rejected => proto::UploadVerdict::Rejected,
        UploadVerdict::Failed => proto::UploadVerdict::Failed,
        UploadVerdict::Again => proto::UploadVerdict::Again,
    };
    proto::RecordUpload {
        outlet_id: command.outlet_id.to_string(),
        verdict: verdict.into(),
        destination: command.destination.to_string(),
        batch_id: command.batch_id.to_string(),
        receipt: command.receipt.to_string(),
        after_position: command.after,
        through_position: command.through,
        items: items.collect(),
    }
}

fn reconcile_offline(command: &ReconcileOffline) -> proto::ReconcileOffline {
    let seal = &command.seal;
    proto::ReconcileOffline {
        outlet_id: command.outlet_id.to_string(),
        seal: Some(proto::OfflineSeal {
            credential_id: seal.credential_id.to_string(),
            place: seal.place,
            timestamp_ms: seal.timestamp.get(),
            blind: bytes(&seal.blind),
            prev_hash: bytes(&seal.prev_hash),
            signature: bytes(&seal.signature),
            invoice: bytes(&seal.invoice),
        }),
    }
}

fn import_device_seal(command: &ImportDeviceSeal) -> proto::ImportDeviceSeal {
    let seal = &command.seal;
    proto::ImportDeviceSeal {
        outlet_id: command.outlet_id.to_string(),
        seal: Some(proto::DeviceSeal {
            device_id: seal.device_id.to_string(),
            sequence: seal.sequence,
            timestamp_ms: seal.timestamp.get(),
            prev_hash: bytes(&seal.prev_hash),
            signature: bytes(&seal.signature),
            invoice: bytes(&seal.invoice),
        }),
    }
}

fn outlet_fact(fact: &OutletFact) -> Option<proto::OutletFact> {
    Some(proto::OutletFact {
        outlet_id: fact.outlet_id.to_string(),
        merchant_nif: fact.merchant_nif.to_string(),
        prefix: fact.prefix.to_string(),
        code: fact.code.to_string(),
        group: fact.group,
        status: outlet_status(fact.status).into(),
        environment: environment(fact.environment).into(),
        signing_mode: signing_mode(fact.signing_mode).into(),
    })
}

fn prepare_authority(command: &PrepareAuthority) -> proto::PrepareAuthority {
    let proof = |(voter, signature): &(u64, [u8; 64])| proto::VoterProof {
        voter: *voter,
        signature: bytes(signature),
    };
    proto::PrepareAuthority {
        name: command.name.to_string(),
        public_key: bytes(&command.public_key),
        environment: environment(command.environment).into(),
        proofs: command.proofs.iter().map(proof).collect(),
    }
}

fn checkpoint_tuple(tuple: &CheckpointTuple) -> proto::CheckpointTuple {
    proto::CheckpointTuple {
        log_index: tuple.log_index,
        size: tuple.size,
        root: bytes(&tuple.root),
        state_hash: bytes(&tuple.state_hash),
    }
}

fn environment(value: Environment) -> proto::Environment {
    match value {
        Environment::Live => proto::Environment::Live,
        Environment::Sandbox => proto::Environment::Sandbox,
    }
}

fn payment_status(value: PaymentStatus) -> proto::PaymentStatus {
    match value {
        PaymentStatus::Pending => proto::PaymentStatus::Pending,
        PaymentStatus::Confirmed => proto::PaymentStatus::Confirmed,
        PaymentStatus::Failed => proto::PaymentStatus::Failed,
        PaymentStatus::Reversed => proto::PaymentStatus::Reversed,
    }
}

fn close_reason(value: CloseReason) -> proto::CloseReason {
    match value {
        CloseReason::UsedUp => proto::CloseReason::UsedUp,
        CloseReason::Returned => proto::CloseReason::Returned,
        CloseReason::Expired => proto::CloseReason::Expired,
        CloseReason::Revoked => proto::CloseReason::Revoked,
    }
}

fn fact_kind(value: FactKind) -> proto::FactKind {
    match value {
        FactKind::Outlet => proto::FactKind::Outlet,
        FactKind::Terminal => proto::FactKind::Terminal,
        FactKind::Device => proto::FactKind::Device,
        FactKind::Manifest => proto::FactKind::Manifest,
    }
}

fn outlet_status(value: OutletStatus) -> proto::OutletStatus {
    match value {
        OutletStatus::Active => proto::OutletStatus::Active,
        OutletStatus::Suspended => proto::OutletStatus::Suspended,
        OutletStatus::Closed => proto::OutletStatus::Closed,
    }
}

fn signing_mode(value: SigningMode) -> proto::SigningMode {
    match value {
        SigningMode::Cluster => proto::SigningMode::Cluster,
        SigningMode::Def => proto::SigningMode::Def,
    }
}
