//! One instance of each command as the bytes that it had when it was first stored, in
//! `raft/vectors/commands-v1.json`. A test that fails here means that logs and snapshots that exist can no longer be read: the change must go.

use bytes::Bytes;
use fiscus_ledger::hash::hex;
use fiscus_proto::command as proto;
use fiscus_proto::command::command::Command as Kind;
use prost::Message;

use super::read::kind_name;
use super::{CommandError, data_command, directory_command, to_proto_data, to_proto_directory};

fn submitted() -> Option<proto::Submitted> {
    Some(proto::Submitted { outlet_id: "O1".into(), key: of(1, 16), fingerprint: of(2, 32) })
}

fn of(byte: u8, count: usize) -> Bytes {
    Bytes::from(vec![byte; count])
}

fn fact() -> Option<proto::OutletFact> {
    Some(proto::OutletFact {
        outlet_id: "O1".into(),
        merchant_nif: "A1".into(),
        prefix: "P".into(),
        code: "C".into(),
        group: 3,
        status: 2,
        environment: 2,
        signing_mode: 2,
    })
}

fn system_commands() -> Vec<Kind> {
    vec![
        Kind::Tick(proto::Tick {}),
        Kind::PrepareAuthority(proto::PrepareAuthority {
            name: "CD".into(),
            public_key: of(3, 32),
            environment: 1,
            proofs: vec![proto::VoterProof { voter: 7, signature: of(4, 64) }],
        }),
        Kind::ActivateAuthority(proto::ActivateAuthority { authority_id: "CD.1".into() }),
        Kind::CheckpointCut(proto::CheckpointCut { demand_heads: true }),
        Kind::CheckpointDecided(proto::CheckpointDecided {
            tuple: Some(proto::CheckpointTuple {
                log_index: 8,
                size: 9,
                root: of(5, 32),
                state_hash: of(6, 32),
            }),
        }),
        Kind::AttachSignatures(proto::AttachSignatures { first_leaf: 10, signatures: of(7, 128) }),
        Kind::RaiseApplyVersion(proto::RaiseApplyVersion { to: 2 }),
    ]
}

fn submissions() -> Vec<Kind> {
    vec![
        Kind::Seal(proto::Seal {
            submitted: submitted(),
            terminal_id: "T1".into(),
            device_id: Some("D1".into()),
            payload: Bytes::from_static(b"{}"),
        }),
        Kind::OpenShift(proto::OpenShift {
            submitted: submitted(),
            terminal_id: "T1".into(),
            shift_id: "S1".into(),
            cashier_id: "K1".into(),
        }),
        Kind::CloseShift(proto::CloseShift {
            submitted: submitted(),
            terminal_id: "T1".into(),
            shift_id: "S1".into(),
            cashier_id: "K1".into(),
        }),
        Kind::CloseDay(proto::CloseDay { submitted: submitted(), operator: "K1".into() }),
        Kind::GrantBlock(proto::GrantBlock {
            submitted: submitted(),
            credential_id: "B1".into(),
            terminal_id: "T1".into(),
            terminal_key: of(8, 32),
            numbers: 500,
            validity_ms: 86_400_000,
        }),
    ]
}

fn other_data_commands() -> Vec<Kind> {
    vec![
        Kind::RecordPayment(proto::RecordPayment {
            outlet_id: "O1".into(),
            provider: "M".into(),
            reference: "R".into(),
            status: 4,
            amount_minor: 1234,
            currency: "CDF".into(),
            fiscal_number: Some("P-C-1".into()),
        }),
        Kind::RecordUpload(proto::RecordUpload {
            outlet_id: "O1".into(),
            verdict: 2,
            destination: "dgi".into(),
            batch_id: "b1".into(),
            receipt: "r1".into(),
            after_position: 3,
            through_position: 5,
            items: vec![proto::UploadItem {
                fiscal_number: "P-C-1".into(),
                code: "NIF_UNKNOWN".into(),
                reason: "no".into(),
            }],
        }),
        Kind::ReconcileOffline(proto::ReconcileOffline {
            outlet_id: "O1".into(),
            seal: Some(proto::OfflineSeal {
                credential_id: "B1".into(),
                place: 2,
                timestamp_ms: 1_795_262_400_000,
                blind: of(9, 32),
                prev_hash: of(10, 32),
                signature: of(11, 64),
                invoice: Bytes::from_static(b"{}"),
            }),
        }),
        Kind::ImportDeviceSeal(proto::ImportDeviceSeal {
            outlet_id: "O1".into(),
            seal: Some(proto::DeviceSeal {
                device_id: "DEF-1".into(),
                sequence: 3,
                timestamp_ms: 1_795_262_400_000,
                prev_hash: of(13, 32),
                signature: of(14, 64),
                invoice: Bytes::from_static(b"{}"),
            }),
        }),
        Kind::CloseBlock(proto::CloseBlock {
            outlet_id: "O1".into(),
            credential_id: "B1".into(),
            reason: 4,
        }),
        Kind::DirectoryFact(proto::DirectoryFact {
            kind: 4,
            id: "v1".into(),
            version: 3,
            bytes: of(12, 2),
        }),
        Kind::RecoveryGap(proto::RecoveryGap {
            outlet_id: "O1".into(),
            last_issued: 77,
            evidence: "E".into(),
            operator: "K1".into(),
        }),
    ]
}

fn directory_commands() -> Vec<Kind> {
    vec![
        Kind::RegisterOutlet(proto::RegisterOutlet { fact: fact() }),
        Kind::ChangeOutlet(proto::ChangeOutlet { fact: fact(), expected_version: 5 }),
        Kind::PutDocument(proto::PutDocument {
            kind: "user".into(),
            id: "u1".into(),
            expected_version: 6,
            bytes: of(13, 2),
        }),
        Kind::PutDocuments(proto::PutDocuments {
            puts: vec![
                proto::PutDocument {
                    kind: "user".into(),
                    id: "u1".into(),
                    expected_version: 6,
                    bytes: of(13, 2),
                },
                proto::PutDocument {
                    kind: "action".into(),
                    id: "a1".into(),
                    expected_version: 0,
                    bytes: of(17, 2),
                },
            ],
        }),
        Kind::PublishManifest(proto::PublishManifest { json: "{}".into() }),
        Kind::RegisterDevice(proto::RegisterDevice {
            device_id: "D1".into(),
            outlet_id: "O1".into(),
            activation_hash: of(14, 32),
        }),
        Kind::ActivateDevice(proto::ActivateDevice {
            activation_hash: of(14, 32),
            public_key: of(15, 65),
        }),
        Kind::ReplaceDevice(proto::ReplaceDevice {
            device_id: "D1".into(),
            replacement_id: "D2".into(),
            activation_hash: of(16, 32),
        }),
        Kind::RevokeDevice(proto::RevokeDevice { device_id: "D1".into() }),
        Kind::ReopenDevice(proto::ReopenDevice { device_id: "D1".into(), leave: of(18, 64) }),
        Kind::RecordCheckpoint(proto::RecordCheckpoint { group: 3, size: 1_000, root: of(17, 32) }),
    ]
}

/// Every instance, and whether a data group and the directory take it.
fn every_kind() -> Vec<(proto::Command, bool, bool)> {
    let data = [submissions(), other_data_commands()].concat();
    let groups =
        [(system_commands(), true, true), (data, true, false), (directory_commands(), false, true)];
    let mut all = Vec::new();
    for (kinds, data, directory) in groups {
        let command = |kind| proto::Command { command: Some(kind) };
        all.extend(kinds.into_iter().map(|kind| (command(kind), data, directory)));
    }
    all
}

#[test]
fn stored_bytes_never_change() {
    let mut lines = Vec::new();
    for (command, _, _) in every_kind() {
        let kind = command.command.as_ref().unwrap();
        let stored = command.encode_to_vec();
        lines.push(format!("  \"{}\": \"{}\"", kind_name(kind), hex(&stored)));
        assert_eq!(proto::Command::decode(&*stored).unwrap(), command);
    }
    let written = format!("{{\n{}\n}}\n", lines.join(",\n"));
    assert_eq!(written, include_str!("../../vectors/commands-v1.json"));
}

#[test]
fn each_command_is_of_its_groups_and_returns_whole() {
    for (command, data, directory) in every_kind() {
        match data_command(command.clone()) {
            Ok(ours) => assert_eq!((true, &to_proto_data(&ours)), (data, &command)),
            Err(CommandError::WrongGroup { .. }) => assert!(!data, "{command:?}"),
            Err(error) => panic!("{command:?}: {error}"),
        }
        match directory_command(command.clone()) {
            Ok(ours) => assert_eq!((true, &to_proto_directory(&ours)), (directory, &command)),
            Err(CommandError::WrongGroup { .. }) => assert!(!directory, "{command:?}"),
            Err(error) => panic!("{command:?}: {error}"),
        }
    }
}
