use bytes::Bytes;
use fiscus_ledger::commands::{
    ActivateAuthority, ActivateDevice, AttachSignatures, ChangeOutlet, CheckpointCut,
    CheckpointDecided, CloseBlock, CloseDay, CloseShift, DirectoryFact, GrantBlock, OpenShift,
    PrepareAuthority, PublishManifest, PutDocument, PutDocuments, RaiseApplyVersion,
    ReconcileOffline, RecordCheckpoint, RecordPayment, RecordUpload, RecoveryGap, RegisterDevice,
    RegisterOutlet, ReopenDevice, ReplaceDevice, RevokeDevice, Seal, Submitted, SystemCommand,
    Tick, UploadItem, UploadVerdict,
};
use fiscus_ledger::facts::{Environment, FactKind, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::invoice::Currency;
use fiscus_ledger::money::Amount;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::outcome::{Refusal, RefusalCode};
use fiscus_ledger::problem::{Code, Expected, Problem};
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::state::group::CheckpointTuple;
use fiscus_ledger::state::rows::PaymentStatus;
use fiscus_proto::command::command::Command as Kind;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn id() -> impl Strategy<Value = Id> {
    "\\PC{0,16}".prop_map(Id::from)
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..64)
}

fn signature() -> impl Strategy<Value = [u8; 64]> {
    any::<[[u8; 32]; 2]>().prop_map(|halves| halves.as_flattened().try_into().unwrap())
}

fn submitted() -> impl Strategy<Value = Submitted> {
    (id(), any::<[u8; 16]>(), any::<Hash32>()).prop_map(|(outlet_id, key, fingerprint)| Submitted {
        outlet_id,
        key,
        fingerprint,
    })
}

fn environment() -> impl Strategy<Value = Environment> {
    select(vec![Environment::Live, Environment::Sandbox])
}

fn system() -> impl Strategy<Value = SystemCommand> {
    let tuple = (any::<[u64; 2]>(), any::<[Hash32; 2]>()).prop_map(
        |([log_index, size], [root, state_hash])| {
            let tuple = CheckpointTuple { log_index, size, root, state_hash };
            SystemCommand::CheckpointDecided(CheckpointDecided { tuple })
        },
    );
    let proofs = vec((any::<u64>(), signature()), 0..3);
    prop_oneof![
        Just(SystemCommand::Tick(Tick)),
        (id(), any::<Hash32>(), environment(), proofs).prop_map(
            |(name, public_key, environment, proofs)| {
                let command = PrepareAuthority { name, public_key, environment, proofs };
                SystemCommand::PrepareAuthority(command)
            }
        ),
        id().prop_map(|authority_id| {
            SystemCommand::ActivateAuthority(ActivateAuthority { authority_id })
        }),
        any::<bool>().prop_map(|demand_heads| {
            SystemCommand::CheckpointCut(CheckpointCut { demand_heads })
        }),
        tuple,
        (any::<u64>(), vec(signature(), 0..3)).prop_map(|(first_leaf, signatures)| {
            SystemCommand::AttachSignatures(AttachSignatures { first_leaf, signatures })
        }),
        any::<u32>().prop_map(|to| SystemCommand::RaiseApplyVersion(RaiseApplyVersion { to })),
    ]
}

fn submissions() -> impl Strategy<Value = GroupCommand> {
    prop_oneof![
        (submitted(), id(), option::of(id()), blob()).prop_map(
            |(submitted, terminal_id, device_id, payload)| {
                GroupCommand::Seal(Seal { submitted, terminal_id, device_id, payload })
            }
        ),
        (submitted(), id(), id(), id()).prop_map(
            |(submitted, terminal_id, shift_id, cashier_id)| {
                GroupCommand::OpenShift(OpenShift { submitted, terminal_id, shift_id, cashier_id })
            }
        ),
        (submitted(), id(), id(), id()).prop_map(
            |(submitted, terminal_id, shift_id, cashier_id)| {
                let command = CloseShift { submitted, terminal_id, shift_id, cashier_id };
                GroupCommand::CloseShift(command)
            }
        ),
        (submitted(), id()).prop_map(|(submitted, operator)| {
            GroupCommand::CloseDay(CloseDay { submitted, operator })
        }),
        (submitted(), id(), id(), any::<Hash32>(), any::<[u64; 2]>()).prop_map(
            |(submitted, credential_id, terminal_id, terminal_key, [numbers, validity_ms])| {
                GroupCommand::GrantBlock(GrantBlock {
                    submitted,
                    credential_id,
                    terminal_id,
                    terminal_key,
                    numbers,
                    validity_ms,
                })
            }
        ),
    ]
}

fn record_payment() -> impl Strategy<Value = GroupCommand> {
    let money = (-Amount::MAX_MINOR..=Amount::MAX_MINOR, "[A-Z]{3}");
    (id(), id(), id(), select(PaymentStatus::ALL.to_vec()), money, option::of(id())).prop_map(
        |(outlet_id, provider, reference, status, (minor, currency), fiscal_number)| {
            GroupCommand::RecordPayment(RecordPayment {
                outlet_id,
                provider,
                reference,
                status,
                amount: Amount::from_minor(minor).unwrap(),
                currency: Currency::parse(&currency).unwrap(),
                fiscal_number,
            })
        },
    )
}

fn record_upload() -> impl Strategy<Value = GroupCommand> {
    let item = (id(), id(), id()).prop_map(|(fiscal_number, code, reason)| UploadItem {
        fiscal_number,
        code,
        reason,
    });
    let items = vec(item, 0..4);
    let verdict = select(UploadVerdict::ALL.to_vec());
    (id(), verdict, (id(), id(), id()), any::<[u64; 2]>(), items).prop_map(
        |(outlet_id, verdict, (destination, batch_id, receipt), [after, through], items)| {
            GroupCommand::RecordUpload(RecordUpload {
                outlet_id,
                verdict,
                destination,
                batch_id,
                receipt,
                after,
                through,
                items,
            })
        },
    )
}

fn reconcile_offline() -> impl Strategy<Value = GroupCommand> {
    let seal = (id(), any::<[u64; 2]>(), any::<[Hash32; 2]>(), signature(), blob());
    (id(), seal).prop_map(|(outlet_id, seal)| {
        let (credential_id, [place, time], [blind, prev_hash], signature, invoice) = seal;
        let timestamp = UnixMs::new(time);
        let seal =
            OfflineSeal { credential_id, place, timestamp, blind, prev_hash, signature, invoice };
        GroupCommand::ReconcileOffline(ReconcileOffline { outlet_id, seal })
    })
}

fn data() -> impl Strategy<Value = GroupCommand> {
    let reasons = vec![
        CloseReason::UsedUp,
        CloseReason::Returned,
        CloseReason::Expired,
        CloseReason::Revoked,
    ];
    let kinds = vec![FactKind::Outlet, FactKind::Terminal, FactKind::Device, FactKind::Manifest];
    prop_oneof![
        system().prop_map(GroupCommand::System),
        submissions(),
        record_payment(),
        record_upload(),
        reconcile_offline(),
        (id(), id(), select(reasons)).prop_map(|(outlet_id, credential_id, reason)| {
            GroupCommand::CloseBlock(CloseBlock { outlet_id, credential_id, reason })
        }),
        (select(kinds), id(), any::<u64>(), blob()).prop_map(|(kind, id, version, bytes)| {
            GroupCommand::DirectoryFact(DirectoryFact { kind, id, version, bytes })
        }),
        (id(), any::<u64>(), id(), id()).prop_map(
            |(outlet_id, last_issued, evidence, operator)| {
                let command = RecoveryGap { outlet_id, last_issued, evidence, operator };
                GroupCommand::RecoveryGap(command)
            }
        ),
    ]
}

fn outlet_fact() -> impl Strategy<Value = OutletFact> {
    let statuses = vec![OutletStatus::Active, OutletStatus::Suspended, OutletStatus::Closed];
    let modes = vec![SigningMode::Cluster, SigningMode::Def];
    let texts = (id(), id(), id(), id());
    (texts, any::<u64>(), select(statuses), environment(), select(modes)).prop_map(
        |((outlet_id, merchant_nif, prefix, code), group, status, environment, signing_mode)| {
            OutletFact {
                outlet_id,
                merchant_nif,
                prefix,
                code,
                group,
                status,
                environment,
                signing_mode,
            }
        },
    )
}

fn put_document() -> impl Strategy<Value = PutDocument> {
    (id(), id(), any::<u64>(), blob()).prop_map(|(kind, id, expected_version, bytes)| PutDocument {
        kind,
        id,
        expected_version,
        bytes,
    })
}

fn directory() -> impl Strategy<Value = DirectoryCommand> {
    prop_oneof![
        system().prop_map(DirectoryCommand::System),
        outlet_fact().prop_map(|fact| DirectoryCommand::RegisterOutlet(RegisterOutlet { fact })),
        (outlet_fact(), any::<u64>()).prop_map(|(fact, expected_version)| {
            DirectoryCommand::ChangeOutlet(ChangeOutlet { fact, expected_version })
        }),
        put_document().prop_map(DirectoryCommand::PutDocument),
        vec(put_document(), 0..4)
            .prop_map(|puts| DirectoryCommand::PutDocuments(PutDocuments { puts })),
        "\\PC{0,32}".prop_map(|json| DirectoryCommand::PublishManifest(PublishManifest { json })),
        (id(), id(), any::<Hash32>()).prop_map(|(device_id, outlet_id, activation_hash)| {
            let command = RegisterDevice { device_id, outlet_id, activation_hash };
            DirectoryCommand::RegisterDevice(command)
        }),
        (any::<Hash32>(), blob()).prop_map(|(activation_hash, public_key)| {
            DirectoryCommand::ActivateDevice(ActivateDevice { activation_hash, public_key })
        }),
        (id(), id(), any::<Hash32>()).prop_map(|(device_id, replacement_id, activation_hash)| {
            let command = ReplaceDevice { device_id, replacement_id, activation_hash };
            DirectoryCommand::ReplaceDevice(command)
        }),
        (id(), any::<Hash32>(), any::<Hash32>()).prop_map(|(device_id, one, two)| {
            let mut leave = [0; 64];
            leave[..32].copy_from_slice(&one);
            leave[32..].copy_from_slice(&two);
            DirectoryCommand::ReopenDevice(ReopenDevice { device_id, leave })
        }),
        id().prop_map(|device_id| { DirectoryCommand::RevokeDevice(RevokeDevice { device_id }) }),
        (any::<u64>(), any::<u64>(), any::<Hash32>()).prop_map(|(group, size, root)| {
            DirectoryCommand::RecordCheckpoint(RecordCheckpoint { group, size, root })
        }),
    ]
}

proptest! {
    #[test]
    fn data_entries_return_whole(
        commands in vec(data(), 0..4),
        log_index: u64,
        apply_version: u32,
        stamp in any::<u64>().prop_map(UnixMs::new),
        seed: Hash32,
        group in 1_u64..,
    ) {
        let stored: Vec<_> = commands.iter().map(to_proto_data).collect();
        let bytes = encode_entry(apply_version, stamp, &seed, &stored);
        let message = proto::LogEntry {
            apply_version,
            stamp_ms: stamp.get(),
            seed: Bytes::copy_from_slice(&seed),
            commands: stored,
        };
        prop_assert_eq!(&bytes, &message.encode_to_vec());
        let entry = Entry { log_index, apply_version, stamp, seed, commands };
        prop_assert_eq!(decode_entry(group, log_index, &bytes), Ok(GroupEntry::Data(entry)));
    }

    #[test]
    fn directory_entries_return_whole(commands in vec(directory(), 0..4), seed: Hash32) {
        let stored: Vec<_> = commands.iter().map(to_proto_directory).collect();
        let bytes = encode_entry(1, UnixMs::new(2), &seed, &stored);
        let entry = Entry { log_index: 3, apply_version: 1, stamp: UnixMs::new(2), seed, commands };
        prop_assert_eq!(decode_entry(0, 3, &bytes), Ok(GroupEntry::Directory(entry)));
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..256), group in 0_u64..2) {
        if let Ok(GroupEntry::Data(entry)) = decode_entry(group, 1, &bytes) {
            prop_assert!(entry.commands.len() <= bytes.len());
        }
    }

    /// Near-misses reach further than noise does.
    #[test]
    fn no_damaged_entry_panics(command in data(), at: usize, to: u8, group in 0_u64..2) {
        let mut bytes = encode_entry(1, UnixMs::new(2), &[3; 32], &[to_proto_data(&command)]);
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(GroupEntry::Data(entry)) = decode_entry(group, 1, &bytes) {
            let stored: Vec<_> = entry.commands.iter().map(to_proto_data).collect();
            let again = encode_entry(entry.apply_version, entry.stamp, &entry.seed, &stored);
            let again = decode_entry(group, 1, &again);
            prop_assert_eq!(again, Ok(GroupEntry::Data(entry)));
        }
    }
}

fn seal() -> proto::Seal {
    proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: "O1".into(),
            key: Bytes::from_static(&[1; 16]),
            fingerprint: Bytes::from_static(&[2; 32]),
        }),
        terminal_id: "T1".into(),
        device_id: None,
        payload: Bytes::from_static(b"{}"),
    }
}

fn sealed(change: impl FnOnce(&mut proto::Seal)) -> Kind {
    let mut seal = seal();
    change(&mut seal);
    Kind::Seal(seal)
}

fn submission(change: impl FnOnce(&mut proto::Submitted)) -> Kind {
    sealed(|seal| change(seal.submitted.as_mut().unwrap()))
}

fn payment(status: i32, amount_minor: i64, currency: &str) -> Kind {
    Kind::RecordPayment(proto::RecordPayment {
        outlet_id: "O1".into(),
        provider: "M".into(),
        reference: "R".into(),
        status,
        amount_minor,
        currency: currency.into(),
        fiscal_number: None,
    })
}

#[test]
fn malformed_data_commands_are_named() {
    let closing =
        |reason| Kind::CloseBlock(proto::CloseBlock { reason, ..proto::CloseBlock::default() });
    let offline =
        |seal| Kind::ReconcileOffline(proto::ReconcileOffline { outlet_id: "O1".into(), seal });
    let attached = |count| {
        let signatures = Bytes::from(vec![0; count]);
        Kind::AttachSignatures(proto::AttachSignatures { first_leaf: 0, signatures })
    };
    let short = Bytes::from_static(&[0; 31]);
    let cases = [
        (sealed(|seal| seal.submitted = None), "submitted is missing"),
        (submission(|by| by.key = short.clone()), "submitted.key must have 16 bytes, but has 31"),
        (
            submission(|by| by.fingerprint = short.clone()),
            "submitted.fingerprint must have 32 bytes, but has 31",
        ),
        (
            submission(|by| by.outlet_id = "O".repeat(65)),
            "submitted.outlet_id must not be longer than 64 bytes, but has 65",
        ),
        (
            sealed(|seal| seal.device_id = Some("D".repeat(65))),
            "device_id must not be longer than 64 bytes, but has 65",
        ),
        (payment(0, 1, "CDF"), "status is 0, which is none of its choices"),
        (payment(99, 1, "CDF"), "status is 99, which is none of its choices"),
        (
            payment(1, i64::MIN, "CDF"),
            "amount_minor is -9223372036854775808, but must be within 1000000000000000 minor units \
             either way",
        ),
        (payment(1, 1, "cdf"), "currency must be three capital letters"),
        (closing(0), "reason is 0, which is none of its choices"),
        (closing(5), "reason is 5, which is none of its choices"),
        (offline(None), "seal is missing"),
        (offline(Some(proto::OfflineSeal::default())), "seal.blind must have 32 bytes, but has 0"),
        (attached(65), "signatures must have 64 bytes, but has 65"),
        (Kind::CheckpointDecided(proto::CheckpointDecided { tuple: None }), "tuple is missing"),
        (
            Kind::DirectoryFact(proto::DirectoryFact {
                kind: 1,
                id: "x".repeat(161),
                ..proto::DirectoryFact::default()
            }),
            "id must not be longer than 160 bytes, but has 161",
        ),
        (
            Kind::RevokeDevice(proto::RevokeDevice { device_id: "D1".into() }),
            "RevokeDevice is not a command of a data group; send it to a group that takes it",
        ),
    ];
    for (kind, message) in cases {
        let error = data_command(proto::Command { command: Some(kind) }).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn malformed_directory_commands_are_named() {
    let registered = |status, environment, signing_mode| {
        let fact =
            proto::OutletFact { status, environment, signing_mode, ..proto::OutletFact::default() };
        Kind::RegisterOutlet(proto::RegisterOutlet { fact: Some(fact) })
    };
    let cases = [
        (Kind::RegisterOutlet(proto::RegisterOutlet { fact: None }), "fact is missing"),
        (registered(0, 1, 1), "fact.status is 0, which is none of its choices"),
        (registered(1, 0, 1), "fact.environment is 0, which is none of its choices"),
        (registered(1, 1, 3), "fact.signing_mode is 3, which is none of its choices"),
        (
            Kind::RegisterDevice(proto::RegisterDevice::default()),
            "activation_hash must have 32 bytes, but has 0",
        ),
        (
            Kind::Seal(seal()),
            "Seal is not a command of the directory; send it to a group that takes it",
        ),
    ];
    for (kind, message) in cases {
        let error = directory_command(proto::Command { command: Some(kind) }).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_command_of_a_newer_binary_is_unknown() {
    // Field 1000, an empty message: no such command yet.
    let newer = proto::Command::decode(&[0xc2, 0x3e, 0x00][..]).unwrap();
    assert_eq!(data_command(newer.clone()), Err(CommandError::Unknown));
    assert_eq!(directory_command(newer), Err(CommandError::Unknown));
}

#[test]
fn entries_that_are_none_are_told_apart() {
    let wire = decode_entry(1, 5, &[0xff]).unwrap_err();
    assert!(matches!(wire, EntryError::Wire { group: 1, log_index: 5, .. }), "{wire}");
    let seed = decode_entry(1, 5, &[]);
    assert_eq!(seed, Err(EntryError::Seed { group: 1, log_index: 5, found: 0 }));
    let tick = proto::Command { command: Some(Kind::Tick(proto::Tick {})) };
    let bytes = encode_entry(1, UnixMs::new(2), &[3; 32], &[tick, proto::Command::default()]);
    let source = CommandError::Unknown;
    let expected = EntryError::Command { group: 1, log_index: 5, place: 1, source };
    assert_eq!(decode_entry(1, 5, &bytes), Err(expected));
}

#[test]
fn refusals_carry_all_that_a_client_shows() {
    let expected = Expected { tax_groups: "[]".into(), totals: "{}".into() };
    let problem = Problem {
        code: Code::TotalsMismatch,
        pointer: "/totals/total".into(),
        detail: "the totals are wrong".into(),
        expected: Some(Box::new(expected)),
    };
    let cases = [
        (
            Refusal::Invoice(Box::new(problem)),
            ["TOTALS_MISMATCH", "the totals are wrong", "/totals/total", "[]", "{}"],
        ),
        (
            Refusal::Rule { code: RefusalCode::OutletHeld, detail: "held".into() },
            ["OUTLET_HELD", "held", "", "", ""],
        ),
    ];
    for (refusal, [code, detail, pointer, tax_groups, totals]) in cases {
        let message = refusal_to_proto(&refusal);
        assert_eq!(
            [
                &*message.code,
                &*message.detail,
                &*message.pointer,
                &*message.expected_tax_groups,
                &*message.expected_totals,
            ],
            [code, detail, pointer, tax_groups, totals]
        );
    }
}
