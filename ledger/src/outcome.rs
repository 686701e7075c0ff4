//! What apply answers to a command, and what it tells the outside.

use crate::problem::Problem;
use crate::state::Id;
use crate::state::group::CheckpointTuple;
use crate::time::UnixMs;

/// The answer to one command. Every replica reaches the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command became a record.
    Recorded(Recorded),
    /// The same submission became this record before; its original bytes are the answer.
    AlreadyRecorded {
        /// The record's position in the outlet's journal.
        position: u64,
    },
    /// An offline seal came before its predecessor and waits for it.
    Waiting,
    /// The command changed state without a record of its own.
    Done,
    /// The command had nothing to do; no state has changed.
    Unchanged,
    /// The command was refused; no state has changed and no number was taken.
    Refused(Refusal),
}

impl Outcome {
    pub(crate) fn refused(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self::Refused(Refusal::Rule { code, detail: detail.into() })
    }
}

/// A record that a command made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its position in the journal.
    pub position: u64,
    /// Its leaf in the group's tree.
    pub leaf_index: u64,
    /// Its fiscal number; empty when it took none.
    pub fiscal_number: Id,
    /// Its time.
    pub timestamp: UnixMs,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The invoice is wrong in itself.
    Invoice(Box<Problem>),
    /// The state does not allow it.
    Rule {
        /// The stable code.
        code: RefusalCode,
        /// What happened, and what to do.
        detail: String,
    },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invoice(problem) => problem.code.as_str(),
            Self::Rule { code, .. } => code.as_str(),
        }
    }

    /// What happened, and what to do.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Invoice(problem) => &problem.detail,
            Self::Rule { detail, .. } => detail,
        }
    }
}

macro_rules! refusal_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// The stable codes of refusals that come from state, not from the invoice itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RefusalCode { $($(#[doc = $doc])+ $name,)+ }

        impl RefusalCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as clients see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}

refusal_codes! {
    /// No such outlet in this group.
    OutletUnknown = "OUTLET_UNKNOWN",
    /// The outlet is suspended or closed.
    OutletInactive = "OUTLET_INACTIVE",
    /// The outlet is held after a restore until its last number has been shown.
    OutletHeld = "OUTLET_HELD",
    /// The outlet is not held, so there is nothing to release.
    OutletNotHeld = "OUTLET_NOT_HELD",
    /// The outlet's numbers are made by a real device at the moment.
    SigningModeDef = "SIGNING_MODE_DEF",
    /// The payload names another outlet or merchant than the submission.
    IdentityMismatch = "IDENTITY_MISMATCH",
    /// The terminal has been stopped by the operator.
    TerminalBlocked = "TERMINAL_BLOCKED",
    /// No such device, or it serves another outlet.
    DeviceUnknown = "DEVICE_UNKNOWN",
    /// The device was revoked or replaced.
    DeviceRevoked = "DEVICE_REVOKED",
    /// The device is not active.
    DeviceNotActive = "DEVICE_NOT_ACTIVE",
    /// The device's key is no key that its seals could be checked with.
    DeviceKeyInvalid = "DEVICE_KEY_INVALID",
    /// The device cannot have a series of its own in this outlet.
    DeviceSeriesInvalid = "DEVICE_SERIES_INVALID",
    /// The device's seal is not the next one of its series.
    DeviceSealOutOfOrder = "DEVICE_SEAL_OUT_OF_ORDER",
    /// The device's seal does not link to the one before it.
    DeviceSealLinkBroken = "DEVICE_SEAL_LINK_BROKEN",
    /// The device's signature does not match its seal.
    DeviceSealSignatureInvalid = "DEVICE_SEAL_SIGNATURE_INVALID",
    /// The device has sealed another invoice under the same number.
    DeviceSealConflict = "DEVICE_SEAL_CONFLICT",
    /// The group has no active authority for the outlet's environment.
    NoAuthority = "NO_AUTHORITY",
    /// No tax manifest is in force yet.
    NoManifest = "NO_MANIFEST",
    /// The key was used for something else.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT",
    /// The original invoice is not in this outlet's journal.
    OriginalNotFound = "ORIGINAL_NOT_FOUND",
    /// The original is of a type, or in a currency, that this credit note cannot credit.
    OriginalMismatch = "ORIGINAL_MISMATCH",
    /// The credit notes of the original would exceed it.
    CreditExceedsOriginal = "CREDIT_EXCEEDS_ORIGINAL",
    /// The outlet's totals hold as many currencies as they may.
    CurrencyLimit = "CURRENCY_LIMIT",
    /// The outlet has no number left that fits its format.
    SeriesExhausted = "SERIES_EXHAUSTED",
    /// The payment is in a state that cannot follow the recorded one.
    PaymentTransition = "PAYMENT_TRANSITION",
    /// The payment's amount, currency or invoice differ from what was recorded.
    PaymentMismatch = "PAYMENT_MISMATCH",
    /// The invoice that the payment names is not in this outlet's journal.
    InvoiceUnknown = "INVOICE_UNKNOWN",
    /// The terminal has an open shift already.
    ShiftOpen = "SHIFT_OPEN",
    /// The shift is not open at this terminal.
    ShiftNotOpen = "SHIFT_NOT_OPEN",
    /// A field of the command is outside what it may hold.
    FieldInvalid = "FIELD_INVALID",
    /// A block of this size, or for this long, is not lent.
    BlockLimit = "BLOCK_LIMIT",
    /// A credential with this id exists.
    CredentialExists = "CREDENTIAL_EXISTS",
    /// No such credential in this outlet.
    CredentialUnknown = "CREDENTIAL_UNKNOWN",
    /// The block is closed.
    BlockClosed = "BLOCK_CLOSED",
    /// The block cannot be closed for this reason yet.
    BlockNotExpired = "BLOCK_NOT_EXPIRED",
    /// The offline seal is outside the block that its credential names.
    OfflineOutOfBlock = "OFFLINE_OUT_OF_BLOCK",
    /// The offline seal's time is outside the credential's window.
    OfflineOutOfTime = "OFFLINE_OUT_OF_TIME",
    /// The terminal's signature does not match the offline seal.
    OfflineSignatureInvalid = "OFFLINE_SIGNATURE_INVALID",
    /// The offline seal does not link to its neighbour in the terminal's chain.
    OfflineLinkBroken = "OFFLINE_LINK_BROKEN",
    /// The slot holds another seal: the terminal sealed two invoices under one number.
    OfflineSlotConflict = "OFFLINE_SLOT_CONFLICT",
    /// Too many bytes wait for their predecessors; submit in order.
    OfflineWaitingFull = "OFFLINE_WAITING_FULL",
    /// The tax authority's answer is about other invoices than those that come next.
    UploadOutOfOrder = "UPLOAD_OUT_OF_ORDER",
    /// Nothing of a sandbox outlet is uploaded.
    UploadNotLive = "UPLOAD_NOT_LIVE",
    /// The invoice is not refused by the tax authority, so there is nothing to send again.
    UploadNotRefused = "UPLOAD_NOT_REFUSED",
    /// The document's version is not the one that the change was made from.
    VersionConflict = "VERSION_CONFLICT",
    /// The document cannot be read, or its id does not match.
    DocumentInvalid = "DOCUMENT_INVALID",
    /// The document's kind has a command of its own.
    DocumentKindReserved = "DOCUMENT_KIND_RESERVED",
    /// An outlet with this id exists.
    OutletExists = "OUTLET_EXISTS",
    /// The prefix and code belong to an outlet, now or once.
    NumberSpaceTaken = "NUMBER_SPACE_TAKEN",
    /// What identifies an outlet can never change.
    OutletIdentityFixed = "OUTLET_IDENTITY_FIXED",
    /// A device with this id exists.
    DeviceExists = "DEVICE_EXISTS",
    /// The activation code is unknown or was used.
    ActivationInvalid = "ACTIVATION_INVALID",
    /// The device cannot go from its state to the one asked for.
    DeviceTransition = "DEVICE_TRANSITION",
    /// This is no leave of the tax authority for the device's next life.
    DeviceLeaveInvalid = "DEVICE_LEAVE_INVALID",
    /// A manifest of this version exists, or its effective date has passed.
    ManifestConflict = "MANIFEST_CONFLICT",
    /// The authority's id is not made from its key, or it exists.
    AuthorityInvalid = "AUTHORITY_INVALID",
    /// A voter has not shown that it holds the key.
    AuthorityProofInvalid = "AUTHORITY_PROOF_INVALID",
    /// The authority is not prepared.
    AuthorityNotPrepared = "AUTHORITY_NOT_PREPARED",
    /// The rules can only be raised by one, to a version that this binary knows.
    ApplyVersionInvalid = "APPLY_VERSION_INVALID",
    /// The evidence is below what the ledger already knows.
    EvidenceTooLow = "EVIDENCE_TOO_LOW",
}

/// Something that people must hear of, beside the records themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An offline seal was refused although it claims a credential of ours.
    SecurityAlert {
        /// The outlet.
        outlet_id: Id,
        /// The credential.
        credential_id: Id,
        /// Why it was refused.
        code: RefusalCode,
    },
    /// What a device of ours is said to have sealed was refused.
    DeviceAlert {
        /// The outlet.
        outlet_id: Id,
        /// The device.
        device_id: Id,
        /// Why it was refused.
        code: RefusalCode,
    },
    /// A closed block lacks numbers.
    NumbersMissing {
        /// The outlet.
        outlet_id: Id,
        /// The ranges, first and last.
        ranges: Vec<(u64, u64)>,
    },
    /// A missing number has come after all.
    MissingNumberCleared {
        /// The outlet.
        outlet_id: Id,
        /// The number.
        fiscal_number: Id,
    },
    /// A checkpoint was decided: it may be signed now.
    CheckpointDecided(CheckpointTuple),
    /// This replica's own cut differs from the decided one: it must be quarantined and rebuilt.
    ReplicaDiverged {
        /// What the majority agreed on.
        decided: CheckpointTuple,
        /// What this replica has.
        own: CheckpointTuple,
    },
}
