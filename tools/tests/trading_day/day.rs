//! What happens on the day: one outlet, two tills, and everything a fiscal ledger must get right.
//!
//! The day is always the same; only keys and seeds differ from run to run. The core has no clock, so
//! the times are arguments, too.

use anyhow::{Context, Result, bail};
use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::checkpoint::{Checkpoint, origin};
use fiscus_ledger::commands::{
    ActivateAuthority, CheckpointCut, CheckpointDecided, CloseBlock, CloseDay, CloseShift,
    DirectoryFact, GrantBlock, GroupCommand, OpenShift, PrepareAuthority, ReconcileOffline,
    RecordPayment, Seal, Submitted, SystemCommand, Tick, authority_proof_hash,
};
use fiscus_ledger::credential::Credential;
use fiscus_ledger::facts::{
    Environment, Fact, OutletFact, OutletStatus, SigningMode, TerminalFact,
};
use fiscus_ledger::hash::{Hash32, Tagged, payload_hash};
use fiscus_ledger::invoice::{Currency, Parsed, parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::money::Amount;
use fiscus_ledger::note::{Note, VerifierKey};
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::outcome::{Outcome, Recorded};
use fiscus_ledger::problem::Problem;
use fiscus_ledger::qr::{QrFields, QrPayload};
use fiscus_ledger::seal::{authority_id, hidden_hash};
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::state::group::CheckpointTuple;
use fiscus_ledger::state::rows::PaymentStatus;
use fiscus_ledger::time::UnixMs;

use crate::group::MemoryGroup;
use crate::random::random_bytes;

/// The cluster that the group would belong to.
const CLUSTER: &str = "demo.fiscus.example";
const HOST: &str = "verify.example.cd";
const OUTLET: &str = "outlet-gombe";
const SERIES: &str = "KIN-GOMBE";
const TILL: &str = "till-1";
const OFFLINE_TILL: &str = "till-2";
const CASHIER: &str = "cashier-7";
const SHIFT: &str = "shift-2026-11-20-a";
const CREDENTIAL: &str = "offline-till-2-0001";
const LENT_NUMBERS: u64 = 3;
const LENT_FOR_MS: u64 = 8 * 3_600_000;

const SALE: &str = include_str!("../../../docs/samples/sale.json");
const INCLUSIVE: &str = include_str!("../../../docs/samples/inclusive.json");
const USD: &str = include_str!("../../../docs/samples/usd.json");
const EXPORT: &str = include_str!("../../../docs/samples/export.json");
const EMBASSY: &str = include_str!("../../../docs/samples/embassy.json");
const CREDIT_NOTE: &str = include_str!("../../../docs/samples/credit_note.json");
const BAD_TOTAL: &str = include_str!("../../../docs/samples/bad-total.json");

/// A printed receipt.
pub(crate) struct Receipt {
    pub(crate) number: String,
    pub(crate) total: String,
    pub(crate) url: String,
}

/// The day, as far as it has come.
pub(crate) struct Day {
    pub(crate) group: MemoryGroup,
    /// One line for each thing that happened.
    pub(crate) story: Vec<String>,
    pub(crate) receipts: Vec<Receipt>,
    /// The canonical bytes of the first sale.
    pub(crate) invoice: String,
    /// The daily closure's canonical text.
    pub(crate) closure: String,
    /// The signed checkpoint, and the size of the tree in it.
    pub(crate) checkpoint: (String, u64),
    /// The key that signed it, in the text form of signed notes.
    pub(crate) log_key: String,
    authority: SigningKey,
    authority_id: Id,
    manifest: Manifest,
}

/// The time of day, on the day that is played.
fn at(clock: &str) -> Result<UnixMs> {
    UnixMs::parse_lenient(&format!("2026-11-20T{clock}Z")).context("a time of the demo is wrong")
}

fn once(key: &str, chosen: &str) -> Submitted {
    let hash = payload_hash(key.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    let fingerprint = Tagged::new("fiscus/demo/v1").str(chosen).finish();
    Submitted { outlet_id: Id::from(OUTLET), key: short, fingerprint }
}

fn recorded(outcome: Outcome) -> Result<Recorded> {
    match outcome {
        Outcome::Recorded(recorded) => Ok(recorded),
        other => bail!("the core was expected to make a record, but answered {other:?}"),
    }
}

/// Plays the day from its first entry to the signed checkpoint.
pub(crate) fn play() -> Result<Day> {
    let authority = SigningKey::from_bytes(&random_bytes()?);
    let id = authority_id("demo", authority.verifying_key().as_bytes());
    let mut day = Day {
        group: MemoryGroup::new(CLUSTER, authority.clone()),
        story: Vec::new(),
        receipts: Vec::new(),
        invoice: String::new(),
        closure: String::new(),
        checkpoint: (String::new(), 0),
        log_key: String::new(),
        authority,
        authority_id: Id::from(id),
        manifest: Manifest::builtin(),
    };
    day.found()?;
    day.sell()?;
    day.refuse()?;
    day.sell_offline()?;
    day.close()?;
    day.publish()?;
    Ok(day)
}

impl Day {
    /// The signing authority, with the first millisecond of its validity.
    pub(crate) fn authority(&self) -> Result<(&str, &SigningKey, UnixMs)> {
        let active = self.group.state.active_authority(Environment::Live);
        let from = active.and_then(|known| known.valid_from).context("no authority is active")?;
        Ok((&self.authority_id, &self.authority, from))
    }

    fn tell(&mut self, clock: &str, line: &str) {
        self.story.push(format!("{}  {line}", &clock[..5]));
    }

    fn system(&mut self, clock: &str, command: SystemCommand) -> Result<Outcome> {
        self.group.commit(at(clock)?, GroupCommand::System(command))
    }

    fn fact(&mut self, clock: &str, fact: &Fact) -> Result<()> {
        let command =
            DirectoryFact { kind: fact.kind(), id: fact.id(), version: 1, bytes: fact.encode() };
        recorded(self.group.commit(at(clock)?, GroupCommand::DirectoryFact(command))?).map(drop)
    }

    /// Key, tax table, outlet, till, shift.
    fn found(&mut self) -> Result<()> {
        let id = self.authority_id.clone();
        let proof = self.authority.sign(&authority_proof_hash(CLUSTER, 1, 1, &id)).to_bytes();
        let prepare = PrepareAuthority {
            name: Id::from("demo"),
            public_key: self.authority.verifying_key().to_bytes(),
            environment: Environment::Live,
            proofs: vec![(1, proof)],
        };
        recorded(self.system("07:00:00", SystemCommand::PrepareAuthority(prepare))?)?;
        let activate = ActivateAuthority { authority_id: id.clone() };
        recorded(self.system("07:00:01", SystemCommand::ActivateAuthority(activate))?)?;
        self.tell("07:00", &format!("authority {id} prepared, proved and activated"));

        self.fact("07:00:02", &Fact::Manifest(self.manifest.clone()))?;
        let outlet = OutletFact {
            outlet_id: Id::from(OUTLET),
            merchant_nif: Id::from("A1234567B"),
            prefix: Id::from("KIN"),
            code: Id::from("GOMBE"),
            group: 1,
            status: OutletStatus::Active,
            environment: Environment::Live,
            signing_mode: SigningMode::Cluster,
        };
        self.fact("07:00:03", &Fact::Outlet(outlet))?;
        let till = TerminalFact {
            outlet_id: Id::from(OUTLET),
            terminal_id: Id::from(TILL),
            blocked: false,
        };
        self.fact("07:00:04", &Fact::Terminal(till))?;
        self.tell(
            "07:00",
            &format!("tax manifest {}, outlet {OUTLET}, {TILL}", self.manifest.version()),
        );

        let shift = OpenShift {
            submitted: once("shift-open", SHIFT),
            terminal_id: Id::from(TILL),
            shift_id: Id::from(SHIFT),
            cashier_id: Id::from(CASHIER),
        };
        recorded(self.group.commit(at("08:00:00")?, GroupCommand::OpenShift(shift))?)?;
        self.tell("08:00", &format!("shift opened at {TILL} by {CASHIER}"));
        Ok(())
    }

    /// Every kind of sale, and a retry.
    fn sell(&mut self) -> Result<()> {
        let sales = [
            ("08:15:00", "sale", SALE),
            ("09:00:00", "sale, prices with tax", INCLUSIVE),
            ("09:30:00", "sale in dollars", USD),
            ("10:00:00", "export", EXPORT),
            ("10:15:00", "sale to an embassy", EMBASSY),
            ("10:30:00", "credit note for KIN-GOMBE-1", CREDIT_NOTE),
        ];
        for (clock, what, text) in sales {
            let record = recorded(self.seal(clock, what, text)?)?;
            self.print_receipt(clock, what, record.leaf_index)?;
        }
        let Outcome::AlreadyRecorded { position } = self.seal("10:31:00", "sale", SALE)? else {
            bail!("a retry was not recognised");
        };
        self.tell(
            "10:31",
            &format!(
                "the first sale is sent again: answered with record {position}, no new number"
            ),
        );
        self.invoice = self.read(SALE)?.invoice.canonical_text().to_owned();

        let payment = RecordPayment {
            outlet_id: Id::from(OUTLET),
            provider: Id::from("mpesa"),
            reference: Id::from("MP261120.0815.C77"),
            status: PaymentStatus::Confirmed,
            amount: Amount::from_minor(11_020_000).context("an amount of the demo is too large")?,
            currency: Currency::CDF,
            fiscal_number: Some(Id::from("KIN-GOMBE-1")),
        };
        recorded(self.group.commit(at("10:40:00")?, GroupCommand::RecordPayment(payment))?)?;
        self.tell("10:40", "M-Pesa confirms the payment of KIN-GOMBE-1");
        Ok(())
    }

    /// What must be refused is, and no number is lost.
    fn refuse(&mut self) -> Result<()> {
        let Outcome::Refused(refusal) = self.seal("11:00:00", "second credit", CREDIT_NOTE)? else {
            bail!("a sale was credited twice");
        };
        self.tell(
            "11:00",
            &format!("the same credit again under a new key: refused, {}", refusal.code()),
        );
        match self.read(BAD_TOTAL) {
            Ok(_) => bail!("a wrong total was accepted"),
            Err(problem) => {
                let line = format!(
                    "a wrong total: refused, {} at {}",
                    problem.code.as_str(),
                    problem.pointer
                );
                self.tell("11:01", &line);
                Ok(())
            }
        }
    }

    fn read<'t>(&self, text: &'t str) -> Result<Parsed<'t>, Problem> {
        parse_lenient(text.as_bytes(), &self.manifest, self.group.state.time)
    }

    fn seal(&mut self, clock: &str, key: &str, text: &str) -> Result<Outcome> {
        let parsed = self.read(text)?;
        let seal = Seal {
            submitted: Submitted { fingerprint: parsed.fingerprint, ..once(key, key) },
            terminal_id: Id::from(TILL),
            device_id: None,
            payload: parsed.invoice.canonical_bytes().to_vec(),
        };
        self.group.commit(at(clock)?, GroupCommand::Seal(seal))
    }

    /// The receipt of an online seal: the record's public parts and the authority's signature.
    fn print_receipt(&mut self, clock: &str, what: &str, leaf: u64) -> Result<()> {
        let (record, signature) = self.group.record(leaf)?;
        let payload = QrPayload::new(QrFields::of_online_seal(HOST, &record, *signature))?;
        self.keep_receipt(clock, what, &payload);
        Ok(())
    }

    fn keep_receipt(&mut self, clock: &str, what: &str, payload: &QrPayload) {
        let fields = payload.fields();
        let line = format!(
            "{:<13} {what:<28} {:>14} {}  {}",
            fields.fiscal_number,
            fields.total,
            fields.currency,
            payload.auth_code()
        );
        self.tell(clock, &line);
        self.receipts.push(Receipt {
            number: fields.fiscal_number.clone(),
            total: fields.total.clone(),
            url: payload.to_url(),
        });
    }

    /// A till gets numbers, seals two invoices without any network, and gives the rest back.
    fn sell_offline(&mut self) -> Result<()> {
        let till = SigningKey::from_bytes(&random_bytes()?);
        let grant = GrantBlock {
            submitted: once("grant", CREDENTIAL),
            credential_id: Id::from(CREDENTIAL),
            terminal_id: Id::from(OFFLINE_TILL),
            terminal_key: till.verifying_key().to_bytes(),
            numbers: LENT_NUMBERS,
            validity_ms: LENT_FOR_MS,
        };
        recorded(self.group.commit(at("12:00:00")?, GroupCommand::GrantBlock(grant))?)?;
        let credential = self.sign_credential()?;
        let (first, last) = (credential.terms().first, credential.terms().last);
        self.tell(
            "12:00",
            &format!("numbers {first} to {last} are lent to {OFFLINE_TILL}, which goes offline"),
        );

        let mut previous = credential.terms().block_entry_hash;
        let mut seals = Vec::new();
        for (place, clock, text) in [(1, "12:10:00", SALE), (2, "12:20:00", INCLUSIVE)] {
            let (seal, entry_hash) =
                self.seal_offline(&till, &credential, place, clock, text, previous)?;
            previous = entry_hash;
            seals.push(seal);
        }
        let (second, first) = (seals.pop(), seals.pop());
        let second = self.reconcile("14:00:00", second)?;
        let first = self.reconcile("14:00:01", first)?;
        if second != Outcome::Waiting || !matches!(first, Outcome::Recorded(_)) {
            bail!("offline seals were not put in order: {second:?}, {first:?}");
        }
        self.tell(
            "14:00",
            "back online, the later seal first: it waits; then the earlier: both are recorded",
        );
        let close = CloseBlock {
            outlet_id: Id::from(OUTLET),
            credential_id: Id::from(CREDENTIAL),
            reason: CloseReason::Returned,
        };
        recorded(self.group.commit(at("14:05:00")?, GroupCommand::CloseBlock(close))?)?;
        self.tell(
            "14:05",
            &format!("block returned: number {last} was never used and is recorded as missing"),
        );
        Ok(())
    }

    /// The leave that the authority signs once the grant is committed.
    fn sign_credential(&self) -> Result<Credential> {
        let terms = self.group.block(CREDENTIAL)?.credential_terms(CREDENTIAL, SERIES);
        let signature = self.authority.sign(&terms.signed_hash()).to_bytes();
        Ok(Credential::new(terms, signature)?)
    }

    /// What the till does alone: the same formulas, its own chain, its own key.
    fn seal_offline(
        &mut self,
        till: &SigningKey,
        credential: &Credential,
        place: u64,
        clock: &str,
        text: &str,
        prev_hash: Hash32,
    ) -> Result<(OfflineSeal, Hash32)> {
        let text = text.replace(TILL, OFFLINE_TILL);
        let canonical = self.read(&text)?.invoice.canonical_bytes().to_vec();
        let invoice = parse_strict(&canonical, &self.manifest)?;
        let number = format!("{SERIES}-{}", credential.terms().first + place - 1);
        let mut seal = OfflineSeal {
            credential_id: Id::from(CREDENTIAL),
            place,
            timestamp: at(clock)?,
            blind: random_bytes()?,
            prev_hash,
            signature: [0; 64],
            invoice: canonical.clone(),
        };
        let entry_hash = seal.entry_hash(OUTLET, &number, &invoice);
        seal.signature = till.sign(&entry_hash).to_bytes();
        let payload = QrPayload::new(QrFields {
            host: HOST.to_owned(),
            fiscal_number: number,
            timestamp: seal.timestamp,
            kind: invoice.invoice_type().as_str().to_owned(),
            total: invoice.totals().total.to_string(),
            currency: invoice.totals().currency.as_str().to_owned(),
            authority_id: CREDENTIAL.to_owned(),
            hidden_hash: hidden_hash(
                OUTLET,
                place,
                &invoice.payload_hash(),
                &seal.blind,
                &prev_hash,
            ),
            signature: seal.signature,
            credential: Some(credential.clone()),
        })?;
        self.keep_receipt(clock, "sale, sealed offline", &payload);
        Ok((seal, entry_hash))
    }

    fn reconcile(&mut self, clock: &str, seal: Option<OfflineSeal>) -> Result<Outcome> {
        let seal = seal.context("the till sealed twice")?;
        let command = ReconcileOffline { outlet_id: Id::from(OUTLET), seal };
        self.group.commit(at(clock)?, GroupCommand::ReconcileOffline(command))
    }

    /// The shift and the day.
    fn close(&mut self) -> Result<()> {
        let shift = CloseShift {
            submitted: once("shift-close", SHIFT),
            terminal_id: Id::from(TILL),
            shift_id: Id::from(SHIFT),
            cashier_id: Id::from(CASHIER),
        };
        recorded(self.group.commit(at("17:55:00")?, GroupCommand::CloseShift(shift))?)?;
        let close = CloseDay { submitted: once("z", "z-1"), operator: Id::from("manager-1") };
        let record = recorded(self.group.commit(at("18:00:00")?, GroupCommand::CloseDay(close))?)?;
        let (closure, _) = self.group.record(record.leaf_index)?;
        self.closure = String::from_utf8(closure.payload.to_vec())?;
        let line =
            format!("shift closed, day closed: Z 1 is record {} of the outlet", record.position);
        self.tell("18:00", &line);
        Ok(())
    }

    /// A checkpoint is cut, decided, and only then signed.
    fn publish(&mut self) -> Result<()> {
        let cut = CheckpointCut { demand_heads: true };
        self.system("18:01:00", SystemCommand::CheckpointCut(cut))?;
        let tuple = self.group.state.cuts.last().cloned().context("nothing was cut")?;
        let decided = CheckpointDecided { tuple };
        self.system("18:01:01", SystemCommand::CheckpointDecided(decided))?;
        self.system("18:01:02", SystemCommand::Tick(Tick))?;
        let Some(CheckpointTuple { size, root, .. }) = self.group.state.decided.clone() else {
            bail!("the checkpoint was not decided");
        };
        let log = origin(CLUSTER, 1);
        let key = SigningKey::from_bytes(&random_bytes()?);
        let verifier = VerifierKey::new(&log, key.verifying_key().as_bytes())?;
        let text = Checkpoint::new(&log, size, &root)?.to_text();
        let note = Note::sign(&text, &verifier, |text| key.sign(text).to_bytes())?;
        self.log_key = verifier.to_text();
        self.checkpoint = (note.to_text(), size);
        self.tell(
            "18:01",
            &format!("checkpoint of {size} leaves cut, decided and signed by log {log}"),
        );
        Ok(())
    }
}
