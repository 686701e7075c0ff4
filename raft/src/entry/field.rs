//! Fields of commands, one function a kind of field: each reads it into the ledger's type or says
//! which field is wrong.

use bytes::Bytes;
use fiscus_ledger::commands::UploadVerdict;
use fiscus_ledger::facts::{
    Environment, FactKind, IDENTIFIER_BYTES_MAX, OutletStatus, SigningMode,
};
use fiscus_ledger::invoice::Currency;
use fiscus_ledger::money::Amount;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::state::rows::PaymentStatus;
use fiscus_proto::command as proto;

/// Why a command cannot be read. Nothing has happened; the sender is to correct what is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It is of a kind that this binary does not know.
    #[error("the command is absent, or of a newer kind than this binary knows; upgrade this node")]
    Unknown,
    /// It is a command of the other kind of group.
    #[error("{command} is not a command of {group}; send it to a group that takes it")]
    WrongGroup {
        /// The command.
        command: &'static str,
        /// What was asked to take it.
        group: &'static str,
    },
    /// A part that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// Bytes of a fixed length have another one.
    #[error("{field} must have {expected} bytes, but has {found}")]
    Length {
        /// The field.
        field: &'static str,
        /// How many it must have; of a list, each item.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// A name is longer than any that the ledger gives.
    #[error("{field} must not be longer than {limit} bytes, but has {found}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// How many bytes it may have.
        limit: usize,
        /// How many it has.
        found: usize,
    },
    /// A choice is left open, or is one that this binary does not know.
    #[error("{field} is {value}, which is none of its choices")]
    Choice {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: i32,
    },
    /// An amount of money is out of bounds.
    #[error("{field} is {minor}, but must be within {} minor units either way", Amount::MAX_MINOR)]
    Amount {
        /// The field.
        field: &'static str,
        /// What it holds.
        minor: i64,
    },
    /// A currency is not one.
    #[error("{field} must be three capital letters")]
    Currency {
        /// The field.
        field: &'static str,
    },
}

type Read<T> = Result<T, CommandError>;

pub(super) fn present<T>(field: &'static str, value: Option<T>) -> Read<T> {
    value.ok_or(CommandError::Missing { field })
}

/// Bytes of a fixed length.
pub(super) fn array<const N: usize>(field: &'static str, value: &[u8]) -> Read<[u8; N]> {
    let found = value.len();
    value.try_into().map_err(|_| CommandError::Length { field, expected: N, found })
}

/// Arrays one after the other.
pub(super) fn arrays<const N: usize>(field: &'static str, value: &[u8]) -> Read<Vec<[u8; N]>> {
    match value.as_chunks() {
        (chunks, []) => Ok(chunks.to_vec()),
        (_, _) => Err(CommandError::Length { field, expected: N, found: value.len() }),
    }
}

/// Bytes of any length. Freshly decoded bytes have one owner, so this moves them.
pub(super) fn owned(value: Bytes) -> Vec<u8> {
    Vec::from(value)
}

/// A name that the ledger looks up as it is.
pub(super) fn name(field: &'static str, value: String) -> Read<Id> {
    bounded(field, value, IDENTIFIER_BYTES_MAX)
}

pub(super) fn bounded(field: &'static str, value: String, limit: usize) -> Read<Id> {
    if value.len() > limit {
        return Err(CommandError::TooLong { field, limit, found: value.len() });
    }
    Ok(Id::from(value))
}

pub(super) fn amount(field: &'static str, minor: i64) -> Read<Amount> {
    Amount::from_minor(minor).ok_or(CommandError::Amount { field, minor })
}

pub(super) fn currency(field: &'static str, value: &str) -> Read<Currency> {
    Currency::parse(value).ok_or(CommandError::Currency { field })
}

pub(super) fn environment(field: &'static str, value: i32) -> Read<Environment> {
    match proto::Environment::try_from(value) {
        Ok(proto::Environment::Live) => Ok(Environment::Live),
        Ok(proto::Environment::Sandbox) => Ok(Environment::Sandbox),
        Ok(proto::Environment::Unspecified) | Err(_) => Err(CommandError::Choice { field, value }),
    }
}

pub(super) fn payment_status(field: &'static str, value: i32) -> Read<PaymentStatus> {
    match proto::PaymentStatus::try_from(value) {
        Ok(proto::PaymentStatus::Pending) => Ok(PaymentStatus::Pending),
        Ok(proto::PaymentStatus::Confirmed) => Ok(PaymentStatus::Confirmed),
        Ok(proto::PaymentStatus::Failed) => Ok(PaymentStatus::Failed),
        Ok(proto::PaymentStatus::Reversed) => Ok(PaymentStatus::Reversed),
        Ok(proto::PaymentStatus::Unspecified) | Err(_) => {
            Err(CommandError::Choice { field, value })
        }
    }
}

pub(super) fn upload_verdict(field: &'static str, value: i32) -> Read<UploadVerdict> {
    match proto::UploadVerdict::try_from(value) {
        Ok(proto::UploadVerdict::Acknowledged) => Ok(UploadVerdict::Acknowledged),
        Ok(proto::UploadVerdict::Rejected) => Ok(UploadVerdict::Rejected),
        Ok(proto::UploadVerdict::Failed) => Ok(UploadVerdict::Failed),
        Ok(proto::UploadVerdict::Again) => Ok(UploadVerdict::Again),
        Ok(proto::UploadVerdict::Unspecified) | Err(_) => {
            Err(CommandError::Choice { field, value })
        }
    }
}

pub(super) fn close_reason(field: &'static str, value: i32) -> Read<CloseReason> {
    match proto::CloseReason::try_from(value) {
        Ok(proto::CloseReason::UsedUp) => Ok(CloseReason::UsedUp),
        Ok(proto::CloseReason::Returned) => Ok(CloseReason::Returned),
        Ok(proto::CloseReason::Expired) => Ok(CloseReason::Expired),
        Ok(proto::CloseReason::Revoked) => Ok(CloseReason::Revoked),
        Ok(proto::CloseReason::Unspecified) | Err(_) => Err(CommandError::Choice { field, value }),
    }
}

pub(super) fn fact_kind(field: &'static str, value: i32) -> Read<FactKind> {
    match proto::FactKind::try_from(value) {
        Ok(proto::FactKind::Outlet) => Ok(FactKind::Outlet),
        Ok(proto::FactKind::Terminal) => Ok(FactKind::Terminal),
        Ok(proto::FactKind::Device) => Ok(FactKind::Device),
        Ok(proto::FactKind::Manifest) => Ok(FactKind::Manifest),
        Ok(proto::FactKind::Unspecified) | Err(_) => Err(CommandError::Choice { field, value }),
    }
}

pub(super) fn outlet_status(field: &'static str, value: i32) -> Read<OutletStatus> {
    match proto::OutletStatus::try_from(value) {
        Ok(proto::OutletStatus::Active) => Ok(OutletStatus::Active),
        Ok(proto::OutletStatus::Suspended) => Ok(OutletStatus::Suspended),
        Ok(proto::OutletStatus::Closed) => Ok(OutletStatus::Closed),
        Ok(proto::OutletStatus::Unspecified) | Err(_) => Err(CommandError::Choice { field, value }),
    }
}

pub(super) fn signing_mode(field: &'static str, value: i32) -> Read<SigningMode> {
    match proto::SigningMode::try_from(value) {
        Ok(proto::SigningMode::Cluster) => Ok(SigningMode::Cluster),
        Ok(proto::SigningMode::Def) => Ok(SigningMode::Def),
        Ok(proto::SigningMode::Unspecified) | Err(_) => Err(CommandError::Choice { field, value }),
    }
}
