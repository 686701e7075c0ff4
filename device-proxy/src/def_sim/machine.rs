//! The device's mind: commands and times in, answers and what must be stored out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::activation::device_of;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::commands::leave_message;
use fiscus_ledger::device_seal::{device_number, entry_hash, entry_text, journal_origin};
use fiscus_ledger::hash::{Hash32, from_hex, payload_hash};
use fiscus_ledger::invoice::{CanonicalInvoice, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::money::format_minor;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::qr::{QrFields, QrPayload};
use fiscus_ledger::seal::AuthCode;
use fiscus_ledger::time::UnixMs;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::key::DeviceKey;
use crate::protocol::answer::ok;
use crate::protocol::nonce::NONCE_LIFE;
use crate::protocol::{Code, Command, DumpFormat, Fault, Nonce};

/// Nonces that all hosts together may hold.
const POOL: usize = 32;
/// Commits that are answered again.
const REMEMBERED: usize = 256;
/// Records of a chunk.
const CHUNK: usize = 50;
/// Beside an invoice's bytes.
const ENTRY_BYTES: u64 = 1_024;

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// Its id, before every number.
    pub device_id: String,
    /// How its codes name the host of the public verification.
    pub verify_host: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// The tax tables that it knows.
    pub manifests: Vec<Manifest>,
    /// The tax authority's key, for `CFG|TIME` and `ADM|RESET`.
    pub dgi_key: Option<VerifyingKey>,
}

/// An invoice that it sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The text that is signed.
    pub text: String,
    /// Its signature.
    pub signature: [u8; 64],
    /// The canonical invoice.
    pub invoice: String,
    /// The device's time.
    pub timestamp: UnixMs,
    hash: Hash32,
    payload_hash: Hash32,
    answer: String,
    auth_code: String,
    qr_payload: String,
    currency: String,
}

/// What must be in the journal before an answer leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored(pub String);

/// An answer, and what must be stored first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// The body of the answer.
    pub answer: String,
    /// What must be stored first.
    pub store: Option<Stored>,
}

/// What the journal held when the power came.
pub type PoweredBy = Vec<String>;

struct Prepared {
    host: u64,
    nonce: Nonce,
    payload: Vec<u8>,
    until: Duration,
}

struct Dump {
    format: DumpFormat,
    chunk: u64,
    next: usize,
    end: usize,
}

/// The device.
pub struct Machine {
    config: MachineConfig,
    key: DeviceKey,
    /// The activation code's hash, once it is bound.
    bound: Option<String>,
    entries: Vec<Entry>,
    sealed: BTreeMap<Hash32, usize>,
    used_bytes: u64,
    prepared: Vec<Prepared>,
    committed: VecDeque<(u64, Nonce, String)>,
    closed: BTreeSet<String>,
    /// The first entry since the last closure.
    open_from: usize,
    lives: u64,
    dumps: BTreeMap<u64, Dump>,
    time: UnixMs,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (id, entries) = (&self.config.device_id, self.entries.len());
        f.debug_struct("Machine").field("device_id", id).field("entries", &entries).finish()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Bound(String),
    Entry {
        #[serde(borrow)]
        text: &'a RawValue,
        signature: String,
        invoice: &'a RawValue,
    },
    Closed(String),
    Life(u64),
}

impl Machine {
    /// Powers a device on with what its journal holds.
    #[must_use]
    pub fn power_on(config: MachineConfig, key: DeviceKey, lines: &PoweredBy) -> Option<Self> {
        let mut machine = Self {
            config,
            key,
            bound: None,
            entries: Vec::new(),
            sealed: BTreeMap::new(),
            used_bytes: 0,
            prepared: Vec::new(),
            committed: VecDeque::new(),
            closed: BTreeSet::new(),
            open_from: 0,
            lives: 1,
            dumps: BTreeMap::new(),
            time: UnixMs::new(0),
        };
        for line in lines {
            match serde_json::from_str(line).ok()? {
                Line::Bound(code) => machine.bound = Some(code),
                Line::Entry { text, signature, invoice } => {
                    machine.restore(text.get(), &signature, invoice.get())?;
                }
                Line::Closed(date) => {
                    machine.closed.insert(date);
                    machine.open_from = machine.entries.len();
                }
                Line::Life(life) => machine.lives = life,
            }
        }
        Some(machine)
    }

    fn restore(&mut self, text: &str, signature: &str, invoice: &str) -> Option<()> {
        #[derive(Deserialize)]
        struct Read {
            timestamp: String,
        }
        let read: Read = serde_json::from_str(text).ok()?;
        let timestamp = UnixMs::parse_canonical(&read.timestamp)?;
        let signature = from_hex(signature)?;
        let invoice = invoice.to_owned();
        let entry = self.entry(text.to_owned(), signature, &invoice, timestamp)?;
        self.keep(entry);
        Some(())
    }

    /// The id and the public key, as its label shows them.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.key.public_key()
    }

    /// What it has sealed.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Changes how much it can hold.
    pub fn set_memory(&mut self, bytes: u64) {
        self.config.memory_bytes = bytes;
    }

    /// Forgets what the connections of a host held.
    pub fn hung_up(&mut self, host: u64) {
        self.prepared.retain(|prepared| prepared.host != host);
        self.dumps.remove(&host);
    }

    /// Does a command. `clock` is the device's own, which may be anything.
    pub fn handle(
        &mut self,
        host: u64,
        command: Result<Command, Fault>,
        now: Duration,
        clock: UnixMs,
        random: [u8; 8],
    ) -> Handled {
        self.time = clock;
        self.prepared.retain(|prepared| prepared.until + NONCE_LIFE > now);
        let done = command.and_then(|command| self.done(host, command, now, random));
        done.unwrap_or_else(|fault| Handled { answer: fault.to_json(), store: None })
    }

    fn done(
        &mut self,
        host: u64,
        command: Command,
        now: Duration,
        random: [u8; 8],
    ) -> Result<Handled, Fault> {
        let asks_only = matches!(command, Command::Status | Command::Init { .. });
        if self.bound.is_none() && !asks_only {
            let detail = "the device has not been activated; send CFG|INIT";
            return Err(Fault::new(Code::Unauthorized, detail));
        }
        match command {
            Command::Prepare { payload, .. } => self.prepare(host, payload, now, random).map(told),
            Command::Commit { nonce } => self.commit(host, nonce, now),
            Command::Status => Ok(told(self.status())),
            Command::Log { sequence } => self.log(sequence).map(told),
            Command::CloseDay { date } => Ok(self.close_day(date)),
            Command::Snapshot => Ok(told(self.totals(ok().text("period", "day"), self.open_from))),
            Command::Articles { since, until } => Ok(told(self.articles(since, until))),
            Command::DumpLog { format } => {
                let end = self.entries.len();
                self.dumps.insert(host, Dump { format, chunk: 0, next: 0, end });
                self.chunk(host, None).map(told)
            }
            Command::Acknowledge { chunk } => self.chunk(host, Some(chunk)).map(told),
            Command::Reset { authorization } => self.reset(&authorization),
            Command::SetTime { timestamp, signature } => {
                self.set_time(timestamp, &signature).map(told)
            }
            Command::Init { activation_code, public_key } => {
                self.init(&activation_code, &public_key)
            }
        }
    }

    fn prepare(
        &mut self,
        host: u64,
        payload: Vec<u8>,
        now: Duration,
        random: [u8; 8],
    ) -> Result<String, Fault> {
        self.check(&payload)?;
        if self.prepared.iter().filter(|prepared| prepared.until > now).count() >= POOL {
            let detail = "as many nonces as there are have been given out";
            return Err(Fault::new(Code::DeviceBusy, detail));
        }
        let nonce = Nonce::new(random, &payload);
        self.prepared.push(Prepared { host, nonce, payload, until: now + NONCE_LIFE });
        let seconds = NONCE_LIFE.as_secs();
        let answer = ok().text("nonce", &nonce.to_string()).count("expires_in", seconds);
        Ok(answer.text("message", "prepared").finish())
    }

    /// Everything that sealing checks.
    fn check<'p>(&self, payload: &'p [u8]) -> Result<CanonicalInvoice<'p>, Fault> {
        let mut found = Fault::schema("no tax table is in force");
        let mut invoice = None;
        for manifest in self.config.manifests.iter().rev() {
            match parse_strict(payload, manifest) {
                Ok(parsed) => {
                    invoice = Some(parsed);
                    break;
                }
                Err(problem) => {
                    let reason = Some(problem.code.as_str().to_owned());
                    found = Fault { reason, ..Fault::schema(problem.detail) };
                }
            }
        }
        let invoice = invoice.ok_or(found)?;
        if let Some(at) = self.sealed.get(&invoice.payload_hash()) {
            let detail = format!("this invoice is sealed already, as number {}", at + 1);
            return Err(Fault::new(Code::ReplayDetected, detail));
        }
        let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX).saturating_add(ENTRY_BYTES);
        if bytes > self.free_bytes() {
            return Err(Fault::new(Code::StorageFull, "the device's memory is full"));
        }
        Ok(invoice)
    }

    fn free_bytes(&self) -> u64 {
        self.config.memory_bytes.saturating_sub(self.used_bytes)
    }

    fn commit(&mut self, host: u64, nonce: Nonce, now: Duration) -> Result<Handled, Fault> {
        let again = self.committed.iter().find(|(of, known, _)| *of == host && *known == nonce);
        if let Some((_, _, answer)) = again {
            return Ok(told(answer.clone()));
        }
        let mine = |prepared: &Prepared| prepared.host == host && prepared.nonce == nonce;
        let at = self.prepared.iter().position(mine).ok_or_else(|| {
            Fault::new(Code::InvalidNonce, "nothing was prepared here under this nonce")
        })?;
        let prepared = self.prepared.swap_remove(at);
        if prepared.until <= now {
            let detail = "this nonce was not committed within 7 seconds";
            return Err(Fault::new(Code::NonceExpired, detail));
        }
        let invoice = self.check(&prepared.payload)?;
        let sequence = u64::try_from(self.entries.len()).unwrap_or(u64::MAX - 1) + 1;
        let text = entry_text(&invoice, sequence, self.time, &self.head());
        let signed = self.key.sign(text.as_bytes());
        let failed = || Fault::new(Code::Unavailable, "the device cannot sign");
        let signature = signed.ok_or_else(failed)?;
        let entry = self.entry(text, signature, invoice.canonical_text(), self.time);
        let entry = entry.ok_or_else(failed)?;
        let store = Object::new()
            .json(
                "entry",
                &Object::new()
                    .json("text", &entry.text)
                    .bytes("signature", &entry.signature)
                    .json("invoice", &entry.invoice)
                    .finish(),
            )
            .finish();
        let answer = entry.answer.clone();
        self.keep(entry);
        self.committed.push_back((host, nonce, answer.clone()));
        if self.committed.len() > REMEMBERED {
            self.committed.pop_front();
        }
        Ok(Handled { answer, store: Some(Stored(store)) })
    }

    fn head(&self) -> Hash32 {
        let last = self.entries.last().map(|entry| entry.hash);
        last.unwrap_or_else(|| journal_origin(&self.config.device_id))
    }

    /// An entry with what is told of it.
    fn entry(
        &self,
        text: String,
        signature: [u8; 64],
        invoice: &str,
        timestamp: UnixMs,
    ) -> Option<Entry> {
        let manifests = self.config.manifests.iter().rev();
        let mut parsed = manifests.map(|manifest| parse_strict(invoice.as_bytes(), manifest).ok());
        let parsed = parsed.find_map(|parsed| parsed)?;
        let totals = parsed.totals();
        let sequence = u64::try_from(self.entries.len()).ok()? + 1;
        let fiscal_number = device_number(&self.config.device_id, sequence)?;
        let hash = entry_hash(&text);
        let qr_payload = QrPayload::new(QrFields {
            host: self.config.verify_host.clone(),
            fiscal_number: fiscal_number.clone(),
            timestamp,
            kind: parsed.invoice_type().as_str().to_owned(),
            total: totals.total.to_string(),
            currency: totals.currency.as_str().to_owned(),
            authority_id: self.config.device_id.clone(),
            hidden_hash: hash,
            signature,
            credential: None,
        });
        let qr_payload = qr_payload.ok()?.to_url();
        let auth_code = AuthCode::of_signature(&signature).to_string();
        let answer = ok()
            .count("invoice_seq", sequence)
            .text("fiscal_number", &fiscal_number)
            .text("auth_code", &auth_code)
            .text("device_id", &self.config.device_id)
            .text("timestamp", &timestamp.to_string())
            .text("qr_payload", &qr_payload)
            .finish();
        Some(Entry {
            text,
            signature,
            payload_hash: payload_hash(invoice.as_bytes()),
            invoice: invoice.to_owned(),
            timestamp,
            hash,
            answer,
            auth_code,
            qr_payload,
            currency: totals.currency.as_str().to_owned(),
        })
    }

    fn keep(&mut self, entry: Entry) {
        self.sealed.insert(entry.payload_hash, self.entries.len());
        let bytes = u64::try_from(entry.invoice.len()).unwrap_or(0);
        self.used_bytes = self.used_bytes.saturating_add(bytes + ENTRY_BYTES);
        self.entries.push(entry);
    }

    fn status(&self) -> String {
        let left = POOL.saturating_sub(self.prepared.len());
        let last = self
            .entries
            .last()
            .map_or_else(|| UnixMs::new(0).to_string(), |entry| entry.timestamp.to_string());
        let next = u64::try_from(self.entries.len()).unwrap_or(u64::MAX - 1) + 1;
        ok().text("firmware_version", concat!("def-sim-", env!("CARGO_PKG_VERSION")))
            .text("device_id", &self.config.device_id)
            .count("next_invoice_seq", next)
            .count("free_memory_bytes", self.free_bytes())
            .text("last_sync_timestamp", &last)
            .count("nonce_pool", u64::try_from(left).unwrap_or(0))
            .finish()
    }

    fn log(&self, sequence: u64) -> Result<String, Fault> {
        let at = usize::try_from(sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        let entry = at
            .and_then(|at| self.entries.get(at))
            .ok_or_else(|| Fault::new(Code::NotFound, format!("there is no entry {sequence}")))?;
        Ok(ok().json("log_entry", &entry.told()).finish())
    }

    fn chunk(&mut self, host: u64, acknowledged: Option<u64>) -> Result<String, Fault> {
        let none = || Fault::schema("no dump waits for this acknowledgement");
        let dump = self.dumps.get_mut(&host).ok_or_else(none)?;
        match acknowledged {
            Some(chunk) if chunk != dump.chunk => return Err(none()),
            Some(_) => dump.chunk += 1,
            None => {}
        }
        let to = dump.end.min(dump.next + CHUNK);
        let format = dump.format;
        let records = self.entries[dump.next..to].iter().zip(dump.next + 1..);
        let records = records.map(|(entry, sequence)| match format {
            DumpFormat::Json => entry.told(),
            DumpFormat::Digest => Object::new()
                .count("sequence", u64::try_from(sequence).unwrap_or(0))
                .bytes("entry_hash", &entry.hash)
                .finish(),
        });
        let records = array(records);
        dump.next = to;
        let (chunk, last) = (dump.chunk, to == dump.end);
        if last {
            self.dumps.remove(&host);
        }
        Ok(ok().count("chunk_index", chunk).json("records", &records).flag("last", last).finish())
    }

    /// Totals of the entries from one on.
    fn totals(&self, object: Object, from: usize) -> String {
        let mut sums: BTreeMap<(String, String), (i128, i128)> = BTreeMap::new();
        for entry in &self.entries[from..] {
            let mut parsed = self.config.manifests.iter().rev();
            let invoice =
                parsed.find_map(|manifest| parse_strict(entry.invoice.as_bytes(), manifest).ok());
            let Some(invoice) = invoice else { continue };
            let sign = if invoice.invoice_type().is_credit() { -1 } else { 1 };
            for group in invoice.tax_groups() {
                let key = (entry.currency.clone(), group.code.as_str().to_owned());
                let sum = sums.entry(key).or_default();
                sum.0 += sign * i128::from(group.base.minor());
                sum.1 += sign * i128::from(group.tax.minor());
            }
        }
        let totals = sums.into_iter().map(|((currency, code), (base, tax))| {
            Object::new()
                .text("currency", &currency)
                .text("code", &code)
                .text("base", &format_minor(base))
                .text("tax", &format_minor(tax))
                .finish()
        });
        let count = u64::try_from(self.entries.len() - from).unwrap_or(0);
        let object = object.count("transaction_count", count);
        object.json("totals", &array(totals)).finish()
    }

    fn close_day(&mut self, date: String) -> Handled {
        let first = u64::try_from(self.open_from).unwrap_or(0) + 1;
        let last = u64::try_from(self.entries.len()).unwrap_or(0);
        let object =
            ok().text("period", &date).count("sequence_start", first).count("sequence_end", last);
        let answer = self.totals(object, self.open_from);
        let store = Object::new().text("closed", &date).finish();
        self.open_from = self.entries.len();
        self.closed.insert(date);
        Handled { answer, store: Some(Stored(store)) }
    }

    fn articles(&self, since: UnixMs, until: UnixMs) -> String {
        #[derive(Deserialize)]
        struct Items<'a> {
            #[serde(borrow)]
            items: Vec<&'a RawValue>,
        }
        let within = self.entries.iter().filter(|e| since <= e.timestamp && e.timestamp < until);
        let articles = within.flat_map(|entry| {
            let read = serde_json::from_str::<Items<'_>>(&entry.invoice);
            let items = read.map(|read| read.items).unwrap_or_default();
            items.into_iter().map(|item| item.get().to_owned()).collect::<Vec<_>>()
        });
        ok().json("articles", &array(articles)).finish()
    }

    fn signed_by_dgi(&self, message: &str, signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        let key = self.config.dgi_key.as_ref();
        key.is_some_and(|key| key.verify_strict(message.as_bytes(), &signature).is_ok())
    }

    /// A new life: numbers go on.
    fn reset(&mut self, authorization: &[u8; 64]) -> Result<Handled, Fault> {
        let life = self.lives + 1;
        let message = leave_message(&self.config.device_id, life);
        if !self.signed_by_dgi(&message, authorization) {
            let detail = "this is no leave of the tax authority for the next life of this device";
            return Err(Fault::new(Code::Unauthorized, detail));
        }
        self.lives = life;
        self.prepared.clear();
        let store = Object::new().count("life", life).finish();
        let answer = ok().count("life", life).finish();
        Ok(Handled { answer, store: Some(Stored(store)) })
    }

    fn set_time(&self, timestamp: UnixMs, signature: &[u8; 64]) -> Result<String, Fault> {
        let message = crate::port::time_message(&self.config.device_id, timestamp);
        if !self.signed_by_dgi(&message, signature) {
            let detail = "the time is not signed by the tax authority's key";
            return Err(Fault::new(Code::Unauthorized, detail));
        }
        let last = self.entries.last().map_or(UnixMs::new(0), |entry| entry.timestamp);
        if timestamp < last {
            let detail = format!("{timestamp} is before {last}, the time of the last entry");
            return Err(Fault::new(Code::ClockRollbackDetected, detail));
        }
        Ok(ok().text("timestamp", &timestamp.to_string()).finish())
    }

    fn init(&mut self, activation_code: &str, public_key: &[u8]) -> Result<Handled, Fault> {
        let refused = |detail: &str| Err(Fault::new(Code::Unauthorized, detail));
        if device_of(activation_code) != Some(&*self.config.device_id) {
            return refused("this code is not one of this device");
        }
        if public_key != self.key.public_key() {
            return refused("this is not the device's public key");
        }
        let answer = ok()
            .text("device_id", &self.config.device_id)
            .text("fiscal_number_prefix", &self.config.device_id)
            .finish();
        let code = encode_standard(&fiscus_ledger::activation::activation_hash(activation_code));
        match &self.bound {
            Some(known) if *known == code => Ok(told(answer)),
            Some(_) if !self.entries.is_empty() => refused("this device is active already"),
            _ => {
                self.bound = Some(code.clone());
                let store = Object::new().text("bound", &code).finish();
                Ok(Handled { answer, store: Some(Stored(store)) })
            }
        }
    }
}

impl Entry {
    /// The entry as `QRY|LOG` tells it: what is signed, and what belongs to it.
    fn told(&self) -> String {
        let open = self.text.strip_suffix('}').unwrap_or(&self.text);
        let rest = Object::new()
            .bytes("entry_hash", &self.hash)
            .bytes("signature", &self.signature)
            .text("auth_code", &self.auth_code)
            .text("qr_payload", &self.qr_payload)
            .json("invoice", &self.invoice)
            .finish();
        format!("{open},{}", rest.strip_prefix('{').unwrap_or(&rest))
    }
}

fn told(answer: String) -> Handled {
    Handled { answer, store: None }
}
