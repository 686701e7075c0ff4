//! What is submitted: outlets, invoices, and commands.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use ed25519_dalek::{Signer, SigningKey};
use fiscus_check::line::Digest;
use fiscus_ledger::hash::{Hash32, payload_hash};
use fiscus_ledger::invoice::{parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::record::Record;
use fiscus_ledger::state::Id;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClusterClient, SubmitError};
use fiscus_proto::command::{self as proto, Command, command};
use tokio::time::{Duration, Instant, sleep};

use crate::cluster::GROUP;

pub(crate) const MERCHANT: &str = "A1234567B";
pub(crate) const PREFIX: &str = "JEP";
const TERMINAL: &str = "till-1";
const WAIT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// An offline credential is good for so long.
const VALIDITY_MS: u64 = 3_600_000;

/// One submission; attempts are copies of it.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    /// The operation in the history.
    pub(crate) f: &'static str,
    pub(crate) outlet: String,
    /// The text that a client chooses; the ledger knows its hash.
    pub(crate) key: String,
    pub(crate) payload: Option<Digest>,
    pub(crate) command: Command,
    /// Of an invoice: as a point of sale sends it over HTTP.
    pub(crate) text: String,
}

/// The key as the ledger knows it: that of the idempotency key.
fn key_hash(key: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"fiscus/idempotency/v1").update(key.as_bytes());
    let hash = hasher.finalize();
    std::array::from_fn(|at| hash.as_bytes()[at])
}

/// A key as the history has it.
pub(crate) fn key_name(key: &str) -> String {
    fiscus_ledger::hash::hex(&key_hash(key))
}

fn submitted(outlet: &str, key: &str, fingerprint: &[u8]) -> proto::Submitted {
    proto::Submitted {
        outlet_id: outlet.to_owned(),
        key: key_hash(key).to_vec().into(),
        fingerprint: fingerprint.to_vec().into(),
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A sale of one article at a price, or a credit note of a whole one.
fn invoice(outlet: &str, mark: &str, price: u64, credits: Option<&str>) -> String {
    let (kind, original) = match credits {
        Some(number) => ("credit_note", format!("\"original_fiscal_number\":\"{number}\",")),
        None => ("sale", String::new()),
    };
    let at = UnixMs::new(now_ms());
    format!(
        r#"{{"merchant_nif":"{MERCHANT}","outlet_id":"{outlet}","pos_terminal_id":"{TERMINAL}","cashier_id":"cashier-7","invoice_type":"{kind}","timestamp":"{at}",{original}"client":{{"classification":"individual"}},"items":[{{"code":"A","description":"mark {mark}","quantity":1,"unit_price":"{price}","tax_group":"TG01"}}],"payments":[{{"method":"cash","amount":"{price}"}}]}}"#
    )
}

/// A seal of an invoice under a key. A mark makes the invoice like no other.
pub(crate) fn seal(
    outlet: &str,
    key: &str,
    mark: &str,
    credits: Option<&str>,
) -> Result<Submission> {
    let price = match credits {
        // The whole of what `price_of` says.
        Some(_) => price_of(mark.split_once('/').map_or(mark, |(original, _)| original)),
        None => price_of(mark),
    };
    let text = invoice(outlet, mark, price, credits);
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), UnixMs::new(now_ms()));
    let parsed = parsed.map_err(|problem| anyhow!("an invoice: {problem}"))?;
    let payload = parsed.invoice.canonical_bytes().to_vec();
    let seal = proto::Seal {
        submitted: Some(submitted(outlet, key, &parsed.fingerprint)),
        terminal_id: TERMINAL.to_owned(),
        device_id: None,
        payload: payload.clone().into(),
    };
    Ok(Submission {
        f: "seal",
        outlet: outlet.to_owned(),
        key: key.to_owned(),
        payload: Some(Digest(payload_hash(&payload))),
        command: Command { command: Some(command::Command::Seal(seal)) },
        text: text.clone(),
    })
}

/// What an invoice with this mark comes to.
fn price_of(mark: &str) -> u64 {
    1_000 + u64::from(payload_hash(mark.as_bytes())[0])
}

/// A Z closure.
pub(crate) fn close_day(outlet: &str, key: &str) -> Submission {
    let close = proto::CloseDay {
        submitted: Some(submitted(outlet, key, &payload_hash(key.as_bytes()))),
        operator: "manager-1".to_owned(),
    };
    plain("close_day", outlet, key, command::Command::CloseDay(close))
}

fn plain(f: &'static str, outlet: &str, key: &str, command: command::Command) -> Submission {
    let command = Command { command: Some(command) };
    let (outlet, key) = (outlet.to_owned(), key.to_owned());
    Submission { f, outlet, key, payload: None, command, text: String::new() }
}

/// A terminal that seals alone, with a key of its own.
#[derive(Debug)]
pub(crate) struct Terminal {
    outlet: String,
    credential: String,
    key: SigningKey,
}

impl Terminal {
    pub(crate) fn new(outlet: &str, name: &str) -> Self {
        let key = SigningKey::from_bytes(&payload_hash(name.as_bytes()));
        Self { outlet: outlet.to_owned(), credential: name.to_owned(), key }
    }

    pub(crate) fn borrow(&self, numbers: u64) -> Submission {
        let key = format!("borrow {}", self.credential);
        let grant = proto::GrantBlock {
            submitted: Some(submitted(&self.outlet, &key, &payload_hash(key.as_bytes()))),
            credential_id: self.credential.clone(),
            terminal_id: TERMINAL.to_owned(),
            terminal_key: self.key.verifying_key().to_bytes().to_vec().into(),
            numbers,
            validity_ms: VALIDITY_MS,
        };
        plain("borrow", &self.outlet, &key, command::Command::GrantBlock(grant))
    }

    /// Seals at a place of its chain; the command that delivers it, and the seal's hash.
    pub(crate) fn seal(
        &self,
        series: &str,
        (first, place): (u64, u64),
        at_ms: u64,
        prev_hash: Hash32,
    ) -> Result<(Submission, Hash32)> {
        let mark = format!("{} {place}", self.credential);
        let text = invoice(&self.outlet, &mark, price_of(&mark), None);
        let manifest = Manifest::builtin();
        let parsed = parse_lenient(text.as_bytes(), &manifest, UnixMs::new(at_ms));
        let parsed = parsed.map_err(|problem| anyhow!("an invoice: {problem}"))?;
        let bytes = parsed.invoice.canonical_bytes().to_vec();
        let invoice = parse_strict(&bytes, &manifest).map_err(|problem| anyhow!("{problem}"))?;
        let number = format!("{series}-{}", first + place - 1);
        let mut seal = OfflineSeal {
            credential_id: Id::from(&*self.credential),
            place,
            timestamp: UnixMs::new(at_ms),
            blind: payload_hash(mark.as_bytes()),
            prev_hash,
            signature: [0; 64],
            invoice: bytes.clone(),
        };
        let entry = seal.entry_hash(&self.outlet, &number, &invoice);
        seal.signature = self.key.sign(&entry).to_bytes();
        let deliver = proto::ReconcileOffline {
            outlet_id: self.outlet.clone(),
            seal: Some(proto::OfflineSeal {
                credential_id: self.credential.clone(),
                place,
                timestamp_ms: at_ms,
                blind: seal.blind.to_vec().into(),
                prev_hash: prev_hash.to_vec().into(),
                signature: seal.signature.to_vec().into(),
                invoice: bytes.into(),
            }),
        };
        let deliver = command::Command::ReconcileOffline(deliver);
        let key = offline_key(&self.credential, place);
        Ok((plain("reconcile", &self.outlet, &key, deliver), entry))
    }

    /// Gives the block back.
    pub(crate) fn close(&self) -> Submission {
        let close = proto::CloseBlock {
            outlet_id: self.outlet.clone(),
            credential_id: self.credential.clone(),
            reason: proto::CloseReason::Returned.into(),
        };
        plain("close_block", &self.outlet, &self.credential, command::Command::CloseBlock(close))
    }
}

/// The key of an offline seal in a history.
pub(crate) fn offline_key(credential: &str, place: u64) -> String {
    format!("{credential} {place}")
}

/// The numbers of a grant's record, and its entry hash.
pub(crate) fn granted(record: &[u8]) -> Result<(u64, u64, Hash32)> {
    granted_in(&Record::decode(record).context("a grant's record")?)
}

pub(crate) fn granted_in(record: &Record<'_>) -> Result<(u64, u64, Hash32)> {
    let terms: serde_json::Value = serde_json::from_slice(record.payload).context("a grant")?;
    let number = |name: &str| terms[name].as_u64().with_context(|| format!("a grant's {name}"));
    Ok((number("first")?, number("last")?, record.entry_hash))
}

/// The series of an outlet by its place in the roster.
pub(crate) fn series(code: &str) -> String {
    format!("{PREFIX}-{code}")
}

/// Registers an outlet; one that is there already stays.
pub(crate) async fn register(client: &ClusterClient, outlet: &str, code: &str) -> Result<()> {
    let fact = proto::OutletFact {
        outlet_id: outlet.to_owned(),
        merchant_nif: MERCHANT.to_owned(),
        prefix: PREFIX.to_owned(),
        code: code.to_owned(),
        group: GROUP,
        status: proto::OutletStatus::Active.into(),
        environment: proto::Environment::Live.into(),
        signing_mode: proto::SigningMode::Cluster.into(),
    };
    let register = command::Command::RegisterOutlet(proto::RegisterOutlet { fact: Some(fact) });
    let command = Command { command: Some(register) };
    let began = Instant::now();
    loop {
        match client.submit(0, command.clone(), WAIT).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => return Ok(()),
            Ok(Answer::Refused(refusal)) if refusal.code == "OUTLET_EXISTS" => return Ok(()),
            Ok(answer) => bail!("{outlet} was not registered: {answer:?}"),
            Err(SubmitError::Malformed { detail }) => {
                bail!("{outlet} was not registered: {detail}")
            }
            Err(error) if began.elapsed() > PATIENCE => bail!("{outlet}: {error}"),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
