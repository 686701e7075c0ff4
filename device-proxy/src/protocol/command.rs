//! Commands in the bodies of frames.

use std::time::Duration;

use fiscus_ledger::base64::decode_standard;
use fiscus_ledger::facts::DEVICE_KEY_BYTES_MAX;
use fiscus_ledger::time::UnixMs;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{Code, Fault};
use super::nonce::Nonce;

/// Kept of a command's time limit for the way back to the host.
const MARGIN: Duration = Duration::from_millis(500);
/// A code, a token or a date is no longer than this.
const TEXT_BYTES_MAX: usize = 1_024;

/// How much of each record a dump tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// As `QRY|LOG` does.
    Json,
    /// Its place and its hash.
    Digest,
}

/// What a host asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Check an invoice and give a nonce for it.
    Prepare {
        /// The invoice, which is canonical if it is one.
        payload: Vec<u8>,
        /// The terminal that it names.
        terminal_id: String,
    },
    /// Seal what the nonce was given for.
    Commit {
        /// The nonce.
        nonce: Nonce,
    },
    /// How the device is.
    Status,
    /// One sealed invoice, by its sequence.
    Log {
        /// The sequence.
        sequence: u64,
    },
    /// Close the day.
    CloseDay {
        /// Which.
        date: String,
    },
    /// Totals since the last closing.
    Snapshot,
    /// Lines of invoices.
    Articles {
        /// Not before.
        since: UnixMs,
        /// Before.
        until: UnixMs,
    },
    /// The journal from its beginning.
    DumpLog {
        /// How much of each record.
        format: DumpFormat,
    },
    /// The next chunk of it.
    Acknowledge {
        /// The chunk that has come.
        chunk: u64,
    },
    /// A new life of the device.
    Reset {
        /// The tax authority's leave.
        authorization: [u8; 64],
    },
    /// The time, signed by the tax authority.
    SetTime {
        /// The time.
        timestamp: UnixMs,
        /// The signature.
        signature: [u8; 64],
    },
    /// Bind the device to its outlet.
    Init {
        /// The operator's code.
        activation_code: String,
        /// The device's key.
        public_key: Vec<u8>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitPayload {
    nonce: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatePayload {
    date: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeriodPayload {
    period: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangePayload {
    since: String,
    until: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatPayload {
    format: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetPayload {
    dgi_authorization: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimePayload {
    timestamp: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InitPayload {
    activation_code: String,
    public_key: String,
}

/// The one field that is needed before the ledger looks at an invoice; whatever else it holds is its business.
#[derive(Deserialize)]
struct Terminal {
    pos_terminal_id: String,
}

impl Command {
    /// Reads the body of a frame.
    pub fn parse(body: &[u8]) -> Result<Self, Fault> {
        let body = body.trim_ascii();
        let json_at = body.iter().position(|byte| *byte == b'{').unwrap_or(body.len());
        let (head, json) = body.split_at(json_at);
        let head = std::str::from_utf8(head).ok().filter(|head| head.is_ascii());
        let head = head.ok_or_else(|| unknown("a body begins with FAMILY|VERB in ASCII"))?;
        let mut words = head.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default();
        let argument = words.next();
        if words.next().is_some() {
            return Err(Fault::schema("a command takes at most one argument before its payload"));
        }
        let parts = Parts { verb, argument, json };
        match verb {
            "TXN|PREPARE" => parts.prepare(),
            "TXN|COMMIT" => {
                let CommitPayload { nonce } = parts.payload()?;
                let invalid = || Fault::new(Code::InvalidNonce, "this is no nonce of this device");
                Ok(Self::Commit { nonce: Nonce::parse(&nonce).ok_or_else(invalid)? })
            }
            "QRY|STATUS" => parts.bare().map(|()| Self::Status),
            "QRY|LOG" => Ok(Self::Log { sequence: parts.number()? }),
            "RPT|Z" => {
                let DatePayload { date } = parts.payload()?;
                let whole = UnixMs::parse_canonical(&format!("{date}T00:00:00.000Z"));
                whole.ok_or_else(|| Fault::schema("date must be YYYY-MM-DD"))?;
                Ok(Self::CloseDay { date })
            }
            "RPT|X" => {
                let PeriodPayload { period } = parts.payload()?;
                match period.as_str() {
                    "day" | "current" => Ok(Self::Snapshot),
                    _ => Err(Fault::schema("period must be \"day\": everything since the last Z")),
                }
            }
            "RPT|A" => parts.articles(),
            "ADM|DUMPLOG" => {
                let FormatPayload { format } = parts.payload()?;
                match format.as_str() {
                    "json" => Ok(Self::DumpLog { format: DumpFormat::Json }),
                    "digest" => Ok(Self::DumpLog { format: DumpFormat::Digest }),
                    _ => Err(Fault::schema("format must be \"json\" or \"digest\"")),
                }
            }
            "ADM|ACK" => Ok(Self::Acknowledge { chunk: parts.number()? }),
            "ADM|RESET" => {
                let ResetPayload { dgi_authorization } = parts.payload()?;
                let authorization = signature(&dgi_authorization);
                let refused = || Fault::new(Code::Unauthorized, "dgi_authorization is no token");
                Ok(Self::Reset { authorization: authorization.ok_or_else(refused)? })
            }
            "CFG|TIME" => parts.time(),
            "CFG|INIT" => parts.init(),
            _ => Err(unknown("there is no such command")),
        }
    }

    /// The host is answered within this time of the command's end.
    #[must_use]
    pub fn limit(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Status => 2,
            Self::Prepare { .. }
            | Self::Commit { .. }
            | Self::SetTime { .. }
            | Self::Init { .. } => 5,
            _ => 10,
        })
    }

    /// The cluster is waited for within this time.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.limit() - MARGIN
    }
}

/// A body that was taken apart.
struct Parts<'b> {
    verb: &'b str,
    argument: Option<&'b str>,
    json: &'b [u8],
}

impl Parts<'_> {
    fn payload<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        if self.argument.is_some() {
            return Err(Fault::schema(format!("{} takes a payload and no argument", self.verb)));
        }
        if self.json.is_empty() {
            return Err(Fault::schema(format!("{} needs a payload", self.verb)));
        }
        serde_json::from_slice(self.json)
            .map_err(|error| Fault::schema(format!("the payload of {}: {error}", self.verb)))
    }

    fn bare(&self) -> Result<(), Fault> {
        if self.argument.is_none() && self.json.is_empty() {
            return Ok(());
        }
        Err(Fault::schema(format!("{} takes neither argument nor payload", self.verb)))
    }

    fn number(&self) -> Result<u64, Fault> {
        let digits = self.argument.filter(|_| self.json.is_empty());
        let plain = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = plain.and_then(|text| text.parse().ok());
        number.ok_or_else(|| Fault::schema(format!("{} takes one number", self.verb)))
    }

    fn prepare(&self) -> Result<Command, Fault> {
        let Terminal { pos_terminal_id } = self.payload()?;
        Ok(Command::Prepare { payload: self.json.to_vec(), terminal_id: pos_terminal_id })
    }

    fn articles(&self) -> Result<Command, Fault> {
        let RangePayload { since, until } = self.payload()?;
        let moment = |name: &str, text: &str| {
            let day = format!("{text}T00:00:00.000Z");
            let moment = UnixMs::parse_canonical(&day).or_else(|| UnixMs::parse_lenient(text));
            moment.ok_or_else(|| Fault::schema(format!("{name} must be a date or a time")))
        };
        let (since, until) = (moment("since", &since)?, moment("until", &until)?);
        if since >= until {
            return Err(Fault::schema("since must be before until"));
        }
        Ok(Command::Articles { since, until })
    }

    fn time(&self) -> Result<Command, Fault> {
        let payload: TimePayload = self.payload()?;
        let timestamp = UnixMs::parse_canonical(&payload.timestamp);
        let wrong = || Fault::schema("timestamp must be YYYY-MM-DDThh:mm:ss.sssZ");
        let timestamp = timestamp.ok_or_else(wrong)?;
        let refused = || Fault::new(Code::Unauthorized, "signature is no signature");
        let signature = signature(&payload.signature).ok_or_else(refused)?;
        Ok(Command::SetTime { timestamp, signature })
    }

    fn init(&self) -> Result<Command, Fault> {
        let InitPayload { activation_code, public_key } = self.payload()?;
        if activation_code.len() > TEXT_BYTES_MAX {
            return Err(Fault::schema("activation_code is longer than any code"));
        }
        let key = decode_standard(&public_key)
            .filter(|key| (1..=DEVICE_KEY_BYTES_MAX).contains(&key.len()));
        let wrong = || Fault::schema("public_key must be base64 of 1 to 96 bytes");
        Ok(Command::Init { activation_code, public_key: key.ok_or_else(wrong)? })
    }
}

fn unknown(detail: &str) -> Fault {
    Fault::new(Code::UnknownCommand, detail)
}

/// 64 bytes in base64.
fn signature(text: &str) -> Option<[u8; 64]> {
    decode_standard(text)?.try_into().ok()
}
