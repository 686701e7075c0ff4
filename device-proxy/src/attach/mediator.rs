//! What is asked of the device, one command after the other, and what its answers mean.
//!
//! ```text
//! job ─► recover, if the line was lost ─► PREPARE ─► COMMIT ─► QRY|LOG of what it made ─► reply
//! ```
//!
//! Invariants: a receipt is told only when the device's journal has it, read back and about this invoice; when an
//! answer was lost, the journal says what happened, and until it was read nothing else is asked; an invoice is
//! committed again only when the journal does not have it, and the device itself refuses to seal one twice.
//!
//! The line is a trait, so that thousands of cuts can be tried without one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::entry::LogEntry;
use crate::protocol::nonce::{NONCE_LIFE, seal_key};
use crate::protocol::{Code, Fault};

/// Entries that are remembered, and that are read when the device is first met: more than all terminals together
/// can have in doubt.
pub(crate) const REMEMBERED: usize = 256;
/// Keys of invoices that are remembered beyond those entries: 16 bytes each.
const KEYS_MAX: usize = 65_536;
/// How long a device may take, by the protocol, and a little more.
pub(crate) const TXN_LIMIT: Duration = Duration::from_millis(5_000);
pub(crate) const QUERY_LIMIT: Duration = Duration::from_millis(2_000);
pub(crate) const LONG_LIMIT: Duration = Duration::from_millis(10_000);

/// Members that answers to the commands with a fixed answer have.
const OF_OTHERS: [&str; 8] = [
    "nonce",
    "invoice_seq",
    "next_invoice_seq",
    "log_entry",
    "totals",
    "articles",
    "timestamp",
    "fiscal_number_prefix",
];

/// The line to the device.
pub(crate) trait Line {
    /// Sends a command and waits for its answer.
    async fn ask(&mut self, body: &str, limit: Duration) -> Result<String, Lost>;
    /// Begins anew: whatever was on its way is gone.
    async fn reset(&mut self) -> Result<(), Lost>;
    /// A clock that only goes on.
    fn now(&self) -> Duration;
}

/// No answer came, or none that is one: what was asked may have been done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Lost(pub(crate) String);

/// How the device says it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Status {
    pub(crate) firmware_version: String,
    pub(crate) device_id: String,
    pub(crate) next_invoice_seq: u64,
    pub(crate) free_memory_bytes: u64,
    pub(crate) last_sync_timestamp: String,
    pub(crate) nonce_pool: u64,
}

/// What became of something that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The device would seal it.
    Prepared,
    /// It is sealed.
    Sealed(Box<LogEntry>),
    /// Nothing is sealed under the key.
    NotSealed,
    /// Nobody knows yet.
    InDoubt(String),
    /// Surely nothing was done.
    NotNow(Fault),
    /// Surely nothing was done, and it makes no sense to ask again.
    Refused(Fault),
    /// The device's answer.
    Told(String),
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    invoice_seq: Option<u64>,
}

/// What one exchange came to.
enum Said {
    Ok(String, Answer),
    Err(Fault),
}

/// A device behind a line.
#[derive(Debug)]
pub(crate) struct Mediator<L> {
    pub(crate) line: L,
    device_id: String,
    /// The journal is known up to here; none after the line was lost.
    next: Option<u64>,
    /// The hash of its last entry, once one was read.
    head: Option<(u64, [u8; 32])>,
    entries: VecDeque<LogEntry>,
    /// The keys of the entries that were read, one after the other without a gap, from this sequence on.
    keys: VecDeque<[u8; 16]>,
    keys_from: u64,
    /// The device's nonces by the invoice's key, and when they were given.
    nonces: BTreeMap<[u8; 16], (String, Duration)>,
    status: Option<Status>,
}

fn unavailable(detail: &str) -> Fault {
    Fault::new(Code::Unavailable, format!("the device does not answer: {detail}"))
}

impl<L: Line> Mediator<L> {
    pub(crate) fn new(line: L, device_id: &str) -> Self {
        Self {
            line,
            device_id: device_id.to_owned(),
            next: None,
            head: None,
            entries: VecDeque::new(),
            keys: VecDeque::new(),
            keys_from: 1,
            nonces: BTreeMap::new(),
            status: None,
        }
    }

    /// Whether the device answers and its journal is known to its end.
    pub(crate) fn is_up(&self) -> bool {
        self.next.is_some()
    }

    /// The sequence after its last entry, as far as is known.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next.or_else(|| self.status.as_ref().map(|status| status.next_invoice_seq))
    }

    /// Whether its journal tells invoices, as its last entry shows.
    pub(crate) fn tells_invoices(&self) -> Option<bool> {
        self.entries.back().map(|entry| entry.invoice.is_some())
    }

    /// How many entries are remembered.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn remembered(&self) -> usize {
        self.entries.len()
    }

    /// How it last said that it is.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    fn lost(&mut self) {
        self.next = None;
        // The device binds its nonces to a connection.
        self.nonces.clear();
    }

    async fn say(&mut self, body: &str, limit: Duration) -> Result<Said, Lost> {
        let asked = self.line.ask(body, limit).await;
        let read = asked.and_then(|text| {
            let answer: Answer = serde_json::from_str(&text)
                .map_err(|_| Lost("the device's answer is not understood".to_owned()))?;
            Ok((text, answer))
        });
        let (text, answer) = read.inspect_err(|_| self.lost())?;
        if answer.status == "OK" {
            return Ok(Said::Ok(text, answer));
        }
        let known = Code::ALL.iter().find(|code| code.as_str() == answer.code).copied();
        let code = known.unwrap_or(Code::Unavailable);
        Ok(Said::Err(Fault { code, detail: answer.detail, reason: answer.reason }))
    }

    /// Meets the device, again: who it is, and what its journal holds that is not known here.
    pub(crate) async fn recover(&mut self) -> Result<(), Fault> {
        if self.is_up() {
            return Ok(());
        }
        self.lost();
        self.line.reset().await.map_err(|lost| unavailable(&lost.0))?;
        let status = self.ask_status().await?;
        self.catch_up(status.next_invoice_seq).await
    }

    async fn ask_status(&mut self) -> Result<Status, Fault> {
        let said = self.say("QRY|STATUS", QUERY_LIMIT).await;
        let text = match said.map_err(|lost| unavailable(&lost.0))? {
            Said::Ok(text, _) => text,
            Said::Err(fault) => return Err(fault),
        };
        let Ok(status) = serde_json::from_str::<Status>(&text) else {
            self.lost();
            return Err(unavailable("its status is not understood"));
        };
        if status.device_id != self.device_id {
            self.lost();
            let detail = format!(
                "the device at this line says that it is {}, not {}",
                status.device_id, self.device_id
            );
            return Err(Fault::new(Code::Unauthorized, detail));
        }
        self.status = Some(status.clone());
        Ok(status)
    }

    /// Reads the entries up to `next`: those after the last known one, or the last ones.
    async fn catch_up(&mut self, next: u64) -> Result<(), Fault> {
        let known = self.entries.back().map(|entry| entry.sequence);
        let window = u64::try_from(REMEMBERED).unwrap_or(u64::MAX);
        let oldest = next.saturating_sub(window).max(1);
        if let Some(known) = known
            && next <= known
        {
            let detail = format!(
                "the device's journal ends before its entry {known}, which was read before"
            );
            return Err(Fault::new(Code::Unavailable, detail));
        }
        let from = known.map_or(oldest, |known| (known + 1).max(oldest));
        for sequence in from..next {
            match self.read_entry(sequence).await? {
                Some(entry) => self.note(entry)?,
                None => return Err(unavailable("an entry of its journal is not there")),
            }
        }
        self.next = Some(next);
        Ok(())
    }

    fn note(&mut self, entry: LogEntry) -> Result<(), Fault> {
        if let Some((last, head)) = self.head
            && last + 1 == entry.sequence
            && head != entry.prev_hash
        {
            let detail = format!("entry {} does not link to the one before it", entry.sequence);
            return Err(Fault::new(Code::Unavailable, detail));
        }
        self.head = Some((entry.sequence, entry.entry_hash));
        self.nonces.remove(&entry.key());
        if let Some(status) = &mut self.status {
            status.next_invoice_seq = status.next_invoice_seq.max(entry.sequence + 1);
        }
        self.remember(entry.sequence, entry.key());
        self.entries.push_back(entry);
        if self.entries.len() > REMEMBERED {
            self.entries.pop_front();
        }
        Ok(())
    }

    fn remember(&mut self, sequence: u64, key: [u8; 16]) {
        if self.keys_from + u64::try_from(self.keys.len()).unwrap_or(0) != sequence {
            self.keys.clear();
            self.keys_from = sequence;
        }
        self.keys.push_back(key);
        if self.keys.len() > KEYS_MAX {
            self.keys.pop_front();
            self.keys_from += 1;
        }
    }

    /// One entry of the device's journal, from memory or from the device.
    pub(crate) async fn read_entry(&mut self, sequence: u64) -> Result<Option<LogEntry>, Fault> {
        if let Some(known) = self.entries.iter().find(|entry| entry.sequence == sequence) {
            return Ok(Some(known.clone()));
        }
        let said = self.say(&format!("QRY|LOG {sequence}"), LONG_LIMIT).await;
        match said.map_err(|lost| unavailable(&lost.0))? {
            Said::Err(fault) if fault.code == Code::NotFound => Ok(None),
            Said::Err(fault) => Err(fault),
            Said::Ok(text, _) => {
                let entry = LogEntry::read(&text).filter(|entry| entry.sequence == sequence);
                if entry.is_none() {
                    self.lost();
                }
                let wrong =
                    || unavailable(&format!("its entry {sequence} is not what its hash says"));
                entry.ok_or_else(wrong).map(Some)
            }
        }
    }

    fn sealed_under(&self, key: &[u8; 16]) -> Option<Outcome> {
        let found = self.entries.iter().rev().find(|entry| entry.key() == *key)?;
        Some(Outcome::Sealed(Box::new(found.clone())))
    }

    /// Looks for what was sealed under a key. That nothing was is said when the whole journal was looked through.
    pub(crate) async fn find(&mut self, key: &[u8; 16]) -> Outcome {
        if let Some(sealed) = self.sealed_under(key) {
            return sealed;
        }
        if let Err(fault) = self.recover().await {
            return Outcome::NotNow(fault);
        }
        match self.among_those_read(key).await {
            Outcome::NotSealed if self.keys_from > 1 => {
                let detail = format!(
                    "it is not known whether this was sealed before entry {} of the device's journal; prepare the same \
                     invoice again: the device refuses one that it has sealed",
                    self.keys_from
                );
                let reason = Some("OUTCOME_UNKNOWN".to_owned());
                Outcome::NotNow(Fault { code: Code::Unavailable, detail, reason })
            }
            other => other,
        }
    }

    /// Looks among the entries that were read since this program met the device.
    async fn among_those_read(&mut self, key: &[u8; 16]) -> Outcome {
        if let Some(sealed) = self.sealed_under(key) {
            return sealed;
        }
        let Some(at) = self.keys.iter().rposition(|known| known == key) else {
            return Outcome::NotSealed;
        };
        let sequence = self.keys_from + u64::try_from(at).unwrap_or(0);
        match self.read_entry(sequence).await {
            Ok(Some(entry)) if entry.key() == *key => Outcome::Sealed(Box::new(entry)),
            Ok(_) => {
                self.lost();
                Outcome::InDoubt(format!("its entry {sequence} is not what it was"))
            }
            Err(fault) => Outcome::InDoubt(fault.detail),
        }
    }

    /// Lets the device look at an invoice. Its nonce is kept for the commit.
    pub(crate) async fn prepare(&mut self, payload: &[u8], key: [u8; 16]) -> Outcome {
        if let Err(fault) = self.recover().await {
            return Outcome::NotNow(fault);
        }
        if let Some(Outcome::Sealed(entry)) = self.sealed_under(&key) {
            let detail = format!("this invoice is sealed already, as number {}", entry.sequence);
            return Outcome::Refused(Fault::new(Code::ReplayDetected, detail));
        }
        match self.prepare_now(payload, key).await {
            Ok(()) => Outcome::Prepared,
            Err(outcome) => outcome,
        }
    }

    async fn prepare_now(&mut self, payload: &[u8], key: [u8; 16]) -> Result<(), Outcome> {
        let text = String::from_utf8_lossy(payload);
        let said = self.say(&format!("TXN|PREPARE {text}"), TXN_LIMIT).await;
        match said.map_err(|lost| Outcome::NotNow(unavailable(&lost.0)))? {
            Said::Ok(_, Answer { nonce: Some(nonce), .. }) => {
                let now = self.line.now();
                self.nonces.retain(|_, (_, given)| *given + NONCE_LIFE > now);
                self.nonces.insert(key, (nonce, now));
                Ok(())
            }
            Said::Ok(..) => {
                self.lost();
                Err(Outcome::NotNow(unavailable("its answer is not one to PREPARE")))
            }
            Said::Err(fault) => Err(match fault.code {
                Code::SchemaInvalid | Code::ReplayDetected | Code::Unauthorized => {
                    Outcome::Refused(fault)
                }
                _ => Outcome::NotNow(fault),
            }),
        }
    }

    /// Lets the device seal an invoice, once.
    pub(crate) async fn seal(&mut self, payload: &[u8], key: [u8; 16]) -> Outcome {
        debug_assert_eq!(key, seal_key(&fiscus_ledger::hash::payload_hash(payload)));
        if let Err(fault) = self.recover().await {
            return Outcome::NotNow(fault);
        }
        if let Some(sealed) = self.sealed_under(&key) {
            return sealed;
        }
        // A nonce that the device has let die is prepared anew, once.
        for attempt in 0..2 {
            let now = self.line.now();
            let kept = self.nonces.remove(&key).filter(|(_, given)| *given + NONCE_LIFE > now);
            let nonce = match kept {
                Some((nonce, _)) => nonce,
                None => match self.prepare_now(payload, key).await {
                    Ok(()) => match self.nonces.remove(&key) {
                        Some((nonce, _)) => nonce,
                        None => break,
                    },
                    Err(Outcome::Refused(fault)) if fault.code == Code::ReplayDetected => {
                        // It may be an entry from before those that were read.
                        return match self.look_up(&key).await {
                            Outcome::NotSealed => Outcome::Refused(fault),
                            other => other,
                        };
                    }
                    Err(outcome) => return outcome,
                },
            };
            match self.commit(&nonce, &key).await {
                Ok(outcome) => return outcome,
                Err(fault) if attempt > 0 => return Outcome::NotNow(fault),
                Err(_) => {}
            }
        }
        Outcome::NotNow(unavailable("it gives no nonce that lives"))
    }

    /// Commits; an error means that the nonce has died and nothing is sealed.
    async fn commit(&mut self, nonce: &str, key: &[u8; 16]) -> Result<Outcome, Fault> {
        let expected = self.next;
        let said = self.say(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"), TXN_LIMIT).await;
        match said {
            // The next one that asks reads the journal first.
            Err(lost) => Ok(Outcome::InDoubt(lost.0)),
            Ok(Said::Ok(_, Answer { invoice_seq, .. })) if invoice_seq == expected => {
                Ok(self.read_back(expected.unwrap_or_default(), key).await)
            }
            Ok(Said::Ok(..)) => {
                self.lost();
                Ok(Outcome::InDoubt("the device's answer is another command's".to_owned()))
            }
            // A refusal is believed when the journal says the same.
            Ok(Said::Err(fault)) => match self.look_up(key).await {
                Outcome::NotSealed => match fault.code {
                    Code::InvalidNonce | Code::NonceExpired => Err(fault),
                    Code::SchemaInvalid | Code::Unauthorized => Ok(Outcome::Refused(fault)),
                    _ => Ok(Outcome::NotNow(fault)),
                },
                other => Ok(other),
            },
        }
    }

    /// Reads what a commit has made: only what is in the journal, and of this invoice, is told.
    async fn read_back(&mut self, sequence: u64, key: &[u8; 16]) -> Outcome {
        let noted = match self.read_entry(sequence).await {
            Ok(Some(entry)) => self.note(entry),
            Ok(None) => Err(unavailable("the entry that it made is not there")),
            Err(fault) => Err(fault),
        };
        match (noted, self.sealed_under(key)) {
            (Ok(()), Some(sealed)) => {
                self.next = Some(sequence + 1);
                sealed
            }
            (Ok(()), None) => {
                self.lost();
                Outcome::InDoubt("the entry that it made is of another invoice".to_owned())
            }
            (Err(fault), _) => {
                self.lost();
                Outcome::InDoubt(fault.detail)
            }
        }
    }

    /// Reads the journal to its end, and looks for an invoice in it.
    async fn look_up(&mut self, key: &[u8; 16]) -> Outcome {
        let read = match self.ask_status().await {
            Ok(status) => self.catch_up_from(status.next_invoice_seq).await,
            Err(fault) => Err(fault),
        };
        match read {
            Err(fault) => {
                self.lost();
                Outcome::InDoubt(fault.detail)
            }
            Ok(()) => self.among_those_read(key).await,
        }
    }

    async fn catch_up_from(&mut self, next: u64) -> Result<(), Fault> {
        match self.next {
            Some(known) if known == next => Ok(()),
            _ => self.catch_up(next).await,
        }
    }

    /// How the device is, now.
    pub(crate) async fn how_are_you(&mut self) -> Result<Status, Fault> {
        self.recover().await?;
        let status = self.ask_status().await?;
        self.catch_up_from(status.next_invoice_seq).await?;
        Ok(status)
    }

    /// Asks anything that seals nothing. An answer that is another command's, come too late, is not passed on: the line
    /// is lost, as it is for one's own commands.
    pub(crate) async fn tell(&mut self, body: &str, limit: Duration) -> Outcome {
        if let Err(fault) = self.recover().await {
            return Outcome::NotNow(fault);
        }
        match self.say(body, limit).await {
            Ok(Said::Ok(text, _)) if answers(body, &text) => Outcome::Told(text),
            Ok(Said::Ok(..)) => {
                self.lost();
                Outcome::InDoubt("the device's answer is another command's".to_owned())
            }
            Ok(Said::Err(fault)) => Outcome::Refused(fault),
            Err(lost) => Outcome::InDoubt(lost.0),
        }
    }
}

/// Whether an answer has what only an answer to this command has.
fn answers(body: &str, answer: &str) -> bool {
    #[derive(Deserialize)]
    struct Logged {
        log_entry: Sequence,
    }
    #[derive(Deserialize)]
    struct Sequence {
        sequence: u64,
    }
    if let Some(wanted) = body.strip_prefix("QRY|LOG ") {
        let told = serde_json::from_str::<Logged>(answer);
        return told.is_ok_and(|told| told.log_entry.sequence.to_string() == wanted);
    }
    let Ok(members) = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(answer) else {
        return false;
    };
    let has = |name: &str| members.contains_key(name);
    match body.split(' ').next().unwrap_or_default() {
        "RPT|Z" => has("totals") && has("sequence_start"),
        "RPT|X" => has("totals") && !has("sequence_start"),
        "RPT|A" => has("articles"),
        "CFG|TIME" => has("timestamp") && !has("invoice_seq"),
        "CFG|INIT" => has("fiscal_number_prefix"),
        // What a device answers to a reset is its own affair.
        _ => OF_OTHERS.iter().all(|name| !has(name)),
    }
}
