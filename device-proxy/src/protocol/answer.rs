//! What a host is answered: one JSON object, and the codes of what can go wrong.

use fiscus_ledger::payload::Object;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// The codes of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as hosts see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}

codes! {
    /// The frame, its arguments or its payload are not what the command takes, or a rule refuses the invoice.
    SchemaInvalid = "SCHEMA_INVALID",
    /// The checksum is not that of the body.
    ChecksumInvalid = "CHECKSUM_INVALID",
    /// The device was revoked or replaced.
    DeviceRevoked = "DEVICE_REVOKED",
    /// The cluster has no room left, or the outlet no numbers.
    StorageFull = "STORAGE_FULL",
    /// The clock was to be set back.
    ClockRollbackDetected = "CLOCK_ROLLBACK_DETECTED",
    /// No such nonce.
    InvalidNonce = "INVALID_NONCE",
    /// The nonce was not used in its time.
    NonceExpired = "NONCE_EXPIRED",
    /// The payload is sealed already.
    ReplayDetected = "REPLAY_DETECTED",
    /// Too much is asked at once.
    DeviceBusy = "DEVICE_BUSY",
    /// The device, its outlet or its terminal may not do this.
    Unauthorized = "UNAUTHORIZED",
    /// No such command.
    UnknownCommand = "UNKNOWN_COMMAND",
    /// The cluster cannot be reached: nothing was sealed, or `QRY|LOG` tells the outcome.
    Unavailable = "UNAVAILABLE",
    /// No such log entry.
    NotFound = "NOT_FOUND",
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The protocol's code.
    pub code: Code,
    /// What happened, and what to do.
    pub detail: String,
    /// The ledger's own code, where it says more.
    pub reason: Option<String>,
}

impl Fault {
    /// A fault that the protocol's code says all of.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), reason: None }
    }

    /// A payload or an argument that is not what the command takes.
    #[must_use]
    pub fn schema(detail: impl Into<String>) -> Self {
        Self::new(Code::SchemaInvalid, detail)
    }

    /// The answer.
    #[must_use]
    pub fn to_json(&self) -> String {
        Object::new()
            .text("status", "ERR")
            .text("code", self.code.as_str())
            .text("detail", &self.detail)
            .optional("reason", self.reason.as_deref())
            .finish()
    }
}

/// The beginning of the answer to a command that was done.
#[must_use]
pub fn ok() -> Object {
    Object::new().text("status", "OK")
}
