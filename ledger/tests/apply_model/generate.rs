//! Random commands for a data group: mostly sensible, often repeated, sometimes wrong. What a real
//! terminal or operator would have been told, the generator reads from the model.

use std::rc::Rc;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::commands::{
    ActivateAuthority, AttachSignatures, CheckpointCut, CheckpointDecided, CloseBlock, CloseDay,
    CloseShift, DirectoryFact, GrantBlock, GroupCommand, OpenShift, PrepareAuthority,
    RaiseApplyVersion, ReconcileOffline, RecordPayment, RecoveryGap, Seal, Submitted,
    SystemCommand, Tick, authority_proof_hash,
};
use fiscus_ledger::facts::{
    DeviceFact, DeviceState, Environment, Fact, OutletFact, OutletStatus, SigningMode, TerminalFact,
};
use fiscus_ledger::invoice::{Currency, InvoiceType, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::money::Amount;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::seal::authority_id;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::CloseReason;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::rows::PaymentStatus;
use fiscus_ledger::time::UnixMs;

use crate::answer::Step;
use crate::imports::public_key;
use crate::invoice::{Defect, Line, Plan};
use crate::model::{Lent, Model};
use crate::random::Random;
use crate::store::CLUSTER;

/// 2026-11-20T08:00:00Z.
pub(crate) const OPENING: u64 = 1_795_161_600_000;
const OUTLETS: [&str; 4] = ["kin-1", "kin-2", "box-1", "ghost"];
const TERMINALS: [&str; 3] = ["t1", "t2", "t3"];
const CREDENTIALS: [&str; 4] = ["c1", "c2", "c3", "c4"];
/// The last one cannot have a series of its own.
pub(crate) const DEVICES: [&str; 3] = ["DEF-1", "DEF-2", "d3"];
const RATES: [i128; 4] = [1600, 1700, 1800, 0];

type GroupStep = Step<GroupCommand>;

/// Makes the commands of one sequence.
pub(crate) struct Generator {
    pub(crate) random: Random,
    manifests: Vec<Manifest>,
    /// What devices have sealed, imported or not.
    pub(crate) imports: Vec<GroupStep>,
    /// Whether the tax authority answers now and then.
    pub(crate) uploads: bool,
    next_key: u8,
    /// Seals that terminals have made, submitted or not.
    made: Vec<GroupStep>,
}

fn terminal_key(terminal: &str) -> SigningKey {
    SigningKey::from_bytes(&[terminal.as_bytes()[1]; 32])
}

pub(crate) fn outlet_fact(outlet: &str, group: u64) -> OutletFact {
    let sandbox = outlet.starts_with("box");
    OutletFact {
        outlet_id: outlet.into(),
        merchant_nif: "A1234567B".into(),
        prefix: if sandbox { "TST" } else { "KIN" }.into(),
        code: outlet.to_uppercase().replace('-', "").into(),
        group,
        status: OutletStatus::Active,
        environment: if sandbox { Environment::Sandbox } else { Environment::Live },
        signing_mode: SigningMode::Cluster,
    }
}

/// The published manifests: the first, two that come later with another rate, and one of no use.
pub(crate) fn manifests() -> Vec<Manifest> {
    let builtin = Manifest::builtin();
    let text = builtin.to_json();
    let later = |version: &str, from: u64, rate: &str| {
        let standard = r#""name_fr":"TVA standard, biens","rate":"0.1600""#;
        let changed = standard.replace("0.1600", rate);
        let text = text
            .replace("\"version\":\"2026-02-01\"", &format!("\"version\":\"{version}\""))
            .replace("2026-02-01T00:00:00.000Z", &UnixMs::new(OPENING + from).to_string())
            .replace(standard, &changed);
        Manifest::parse(&text).unwrap()
    };
    let hour = 3_600_000;
    let list =
        [later("v17", 90_000, "0.1700"), later("v18", hour, "0.1800"), later("v0", hour, "0.0000")];
    [vec![builtin], list.to_vec()].concat()
}

impl Generator {
    pub(crate) fn new(seed: u64, manifests: &[Manifest]) -> Self {
        let manifests = manifests.to_vec();
        let (imports, made) = (Vec::new(), Vec::new());
        Self { random: Random::new(seed), manifests, imports, uploads: false, next_key: 0, made }
    }

    pub(crate) fn manifests(&self) -> Vec<&Manifest> {
        self.manifests.iter().collect()
    }

    /// What opens a group, now and then with something left out.
    pub(crate) fn opening(&mut self, number: u64) -> Vec<GroupStep> {
        let mut steps = Vec::new();
        for environment in [Environment::Live, Environment::Sandbox] {
            let (prepare, id) = self.prepare(number, environment, 0);
            steps.push(prepare);
            let activate = ActivateAuthority { authority_id: id };
            steps.push(system(SystemCommand::ActivateAuthority(activate)));
        }
        steps.push(fact_step(Fact::Manifest(self.manifests[0].clone()), 1));
        for outlet in &OUTLETS[..3] {
            steps.push(fact_step(Fact::Outlet(outlet_fact(outlet, number)), 1));
        }
        for (outlet, device) in OUTLETS.iter().zip(&DEVICES[..2]) {
            let fact = DeviceFact {
                device_id: (*device).into(),
                outlet_id: (*outlet).into(),
                state: DeviceState::Active,
                public_key: public_key(device),
            };
            steps.push(fact_step(Fact::Device(fact), 1));
        }
        steps.retain(|_| !self.random.percent(2));
        steps
    }

    /// A later moment, or an earlier one.
    pub(crate) fn stamp(&mut self, time: u64) -> u64 {
        let hour = 3_600_000;
        match self.random.below(20) {
            0 | 1 => time - self.random.below(hour),
            2 => time + self.random.below(hour),
            3 => time + self.random.below(100 * hour),
            _ => time + self.random.below(30_000),
        }
    }

    pub(crate) fn step(&mut self, model: &Model, group: &Group) -> GroupStep {
        if self.uploads && self.random.percent(40) {
            return if self.random.percent(40) { self.seal(model) } else { self.upload(model) };
        }
        match self.random.below(100) {
            0..=26 => self.seal(model),
            27..=34 => self.import(model),
            35..=54 => self.offline(model),
            55..=60 => self.grant(),
            61..=64 => self.close_block(model),
            65..=70 => self.payment(model),
            71..=76 => self.shift(),
            77..=80 => self.close_day(),
            81..=84 => self.gap(model),
            85..=92 => self.fact(model),
            _ => self.system(model, group),
        }
    }

    pub(crate) fn outlet(&mut self) -> Id {
        let at = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3][self.random.index(12)];
        if at == 3 && self.random.percent(60) { OUTLETS[0].into() } else { OUTLETS[at].into() }
    }

    pub(crate) fn terminal(&mut self) -> Id {
        (*self.random.pick(&["t1", "t1", "t1", "t2", "t2", "t3"])).into()
    }

    fn submitted(&mut self, outlet_id: &Id) -> Submitted {
        let key = if self.next_key > 0 && self.random.percent(12) {
            u8::try_from(self.random.below(u64::from(self.next_key))).unwrap()
        } else {
            self.next_key += 1;
            self.next_key - 1
        };
        let fingerprint = if self.random.percent(6) { [255; 32] } else { [key; 32] };
        Submitted { outlet_id: outlet_id.clone(), key: [key; 16], fingerprint }
    }

    fn manifest(&mut self, model: &Model, time: u64) -> usize {
        let in_force = model.system.in_force(time);
        let at = self.manifests.iter().position(|m| in_force.is_some_and(|v| **v == *m.version()));
        if self.random.percent(3) { self.random.index(4) } else { at.unwrap_or(0) }
    }

    // long: one choice after the other, each of which depends on the ones before.
    /// An invoice for an outlet; credit notes name an invoice that the model has sealed.
    pub(crate) fn plan(
        &mut self,
        model: &Model,
        outlet: &Id,
        terminal: &Id,
        time: u64,
    ) -> (Plan, Vec<u8>) {
        let at = self.manifest(model, time);
        let (mut kind, mut currency) = (InvoiceType::Sale, "CDF");
        let mut original = None;
        match self.random.below(20) {
            0 | 1 => kind = InvoiceType::Export,
            2 => kind = InvoiceType::Advance,
            3..=8 => {
                kind = InvoiceType::CreditNote;
                original = Some("KIN-NONE-1".to_owned());
            }
            _ => {}
        }
        let inclusive = self.random.percent(25);
        if self.random.percent(15) {
            currency = "USD";
        }
        let mut group = *self.random.pick(&[0, 1, 1, 1, 1, 3]);
        if kind == InvoiceType::Export {
            group = 6;
        }
        let mut lines = self.lines(group);
        if let Some(number) = &mut original
            && let Some((credited, plan)) = self.credited(model, outlet)
        {
            *number = credited;
            if self.random.percent(90) {
                currency = plan.currency;
            }
            if plan.kind == InvoiceType::Export && self.random.percent(90) {
                kind = InvoiceType::ExportCredit;
            }
            let fits = (kind == InvoiceType::ExportCredit) == (plan.lines[0].group == 6);
            if fits {
                lines.clone_from(&plan.lines);
                if self.random.percent(50) {
                    lines.truncate(1);
                }
            }
        }
        if kind == InvoiceType::ExportCredit {
            lines.iter_mut().for_each(|line| line.group = 6);
        }
        let fact = outlet_fact(outlet, 1);
        let wrong = self.random.percent(2);
        let mut plan = Plan {
            kind,
            outlet: outlet.clone(),
            nif: if wrong { "OTHER".into() } else { fact.merchant_nif },
            terminal: terminal.clone(),
            currency,
            inclusive,
            lines,
            payments: Vec::new(),
            original,
            manifest: (self.manifests[at].version().into(), RATES[at]),
            defect: None,
        };
        for _ in 0..self.random.below(3) {
            let amount = i128::from(self.random.below(100_000));
            plan.payments.push((self.random.index(7), amount));
        }
        if self.random.percent(4) {
            let choices = [Defect::Form, Defect::Totals];
            plan.defect = Some(*self.random.pick(&choices));
        }
        let bytes = plan.bytes(&self.manifests[at], UnixMs::new(time));
        (plan, bytes)
    }

    fn lines(&mut self, group: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for at in 0..self.random.between(1, 3) {
            let quantity = i128::from(self.random.between(1, 5));
            let price = i128::from(self.random.between(1, 99_999));
            let discount = if self.random.percent(20) {
                price.min(i128::from(self.random.below(500)))
            } else {
                0
            };
            // Only the two ordinary rates stand beside each other.
            let group = if group == 1 && at == 1 { 3 } else { group };
            lines.push(Line { group, quantity, price, discount });
        }
        lines
    }

    fn credited(&mut self, model: &Model, outlet: &Id) -> Option<(String, Rc<Plan>)> {
        let shop = model.shop(outlet)?;
        let sealed: Vec<_> = shop.invoices().collect();
        if sealed.is_empty() {
            return None;
        }
        // The first ones again and again, so that credits add up.
        let end = if self.random.percent(50) { sealed.len().min(2) } else { sealed.len() };
        let (rec, plan) = sealed[self.random.index(end)];
        Some((rec.number.clone()?, (*plan).clone()))
    }

    fn seal(&mut self, model: &Model) -> GroupStep {
        let (outlet, terminal) = (self.outlet(), self.terminal());
        let submitted = self.submitted(&outlet);
        let other = self.random.percent(2);
        let payload_terminal = if other { self.terminal() } else { terminal.clone() };
        let (plan, payload) = self.plan(model, &outlet, &payload_terminal, model.system.time);
        let device_id =
            self.random.percent(15).then(|| Id::from(*self.random.pick(&["DEF-1", "DEF-2", "d9"])));
        let command = Seal { submitted, terminal_id: terminal, device_id, payload };
        Step { plan: Some(Rc::new(plan)), ..Step::plain(GroupCommand::Seal(command)) }
    }

    /// Lets a terminal seal once more, or submits what it has made, in any order.
    fn offline(&mut self, model: &Model) -> GroupStep {
        let known: Vec<&Lent> =
            model.lent.iter().filter(|lent| lent.grant_hash.is_some()).collect();
        if known.is_empty() {
            return self.grant();
        }
        let lent = *self.random.pick(&known);
        let mine = |step: &&GroupStep| credential_of(step) == &*lent.credential;
        let count = self.made.iter().filter(mine).count();
        while self.made.iter().filter(mine).count() < lent.slots.len().min(count + 2) {
            let seal = self.next_seal(model, lent);
            self.made.push(seal);
        }
        let made: Vec<GroupStep> = self.made.iter().filter(mine).cloned().collect();
        let mut step = self.random.pick(&made).clone();
        if self.random.percent(50) {
            // The one whose turn it is.
            let turn = lent.slots.iter().position(Option::is_none).unwrap_or(0);
            step = made[turn.min(made.len() - 1)].clone();
        }
        if self.random.percent(22) {
            self.spoil(model, lent, &mut step);
        }
        step
    }

    fn next_seal(&mut self, model: &Model, lent: &Lent) -> GroupStep {
        let mine = |step: &&GroupStep| credential_of(step) == &*lent.credential;
        let last = self.made.iter().rfind(mine);
        let place = last.map_or(1, |step| seal_of(step).place + 1);
        let prev_hash = last.map_or(lent.grant_hash.unwrap(), |step| step.hash);
        let before = last.map_or(lent.from, |step| seal_of(step).timestamp.get());
        let time = if self.random.percent(4) {
            lent.until + self.random.below(1_000)
        } else {
            (before + self.random.below(2_000)).min(model.system.time.max(lent.from))
        };
        self.seal_at(model, lent, place, time, prev_hash)
    }

    fn seal_at(
        &mut self,
        model: &Model,
        lent: &Lent,
        place: u64,
        time: u64,
        prev_hash: [u8; 32],
    ) -> GroupStep {
        let (plan, invoice) = self.plan(model, &lent.outlet, &lent.terminal, time);
        let seal = OfflineSeal {
            credential_id: lent.credential.clone(),
            place,
            timestamp: UnixMs::new(time),
            blind: self.random.bytes(),
            prev_hash,
            signature: [0; 64],
            invoice,
        };
        let command = ReconcileOffline { outlet_id: lent.outlet.clone(), seal };
        let step = GroupCommand::ReconcileOffline(command);
        let mut step = Step { plan: Some(Rc::new(plan)), ..Step::plain(step) };
        self.sign(model, lent, &mut step);
        step
    }

    /// Signs a seal as its terminal does. What cannot be read is signed as nothing.
    fn sign(&self, model: &Model, lent: &Lent, step: &mut GroupStep) {
        let plan = step.plan.clone().unwrap();
        let manifest = self.manifests.iter().find(|known| *known.version() == *plan.manifest.0);
        let shop = model.shop(&lent.outlet).unwrap();
        let GroupCommand::ReconcileOffline(command) = &mut step.command else { return };
        let seal = &mut command.seal;
        let first = u64::try_from(lent.first).unwrap();
        let number = shop.spelled(usize::try_from(first + seal.place).unwrap() - 1);
        if let Ok(invoice) = parse_strict(&seal.invoice, manifest.unwrap()) {
            step.hash = seal.entry_hash(&lent.outlet, &number, &invoice);
            seal.signature = terminal_key(&lent.terminal).sign(&step.hash).to_bytes();
        }
    }

    fn spoil(&mut self, model: &Model, lent: &Lent, step: &mut GroupStep) {
        let choice = self.random.below(8);
        let (other, blind) = (self.outlet(), self.random.bytes());
        let GroupCommand::ReconcileOffline(command) = &mut step.command else { return };
        match choice {
            0 => {
                command.seal.blind = blind;
                step.genuine = false;
            }
            1 => {
                command.seal.signature[7] ^= 1;
                step.genuine = false;
            }
            2 => command.seal.place += u64::try_from(lent.slots.len()).unwrap(),
            3 => command.seal.place = 0,
            4 => command.outlet_id = other,
            5 => {
                command.seal.prev_hash = blind;
                self.sign(model, lent, step);
            }
            6 => {
                command.seal.timestamp = UnixMs::new(lent.from - 1);
                self.sign(model, lent, step);
            }
            _ => {
                // Another invoice under the same number, genuine, too.
                let seal = command.seal.clone();
                let (place, time) = (seal.place, seal.timestamp.get());
                *step = self.seal_at(model, lent, place, time, seal.prev_hash);
            }
        }
    }

    fn grant(&mut self) -> GroupStep {
        let (outlet, terminal_id) = (self.outlet(), self.terminal());
        let hour = 3_600_000;
        let mut command = GrantBlock {
            submitted: self.submitted(&outlet),
            credential_id: (*self.random.pick(&CREDENTIALS)).into(),
            terminal_key: terminal_key(&terminal_id).verifying_key().to_bytes(),
            terminal_id,
            numbers: self.random.between(1, 5),
            validity_ms: self.random.between(1, 10) * hour,
        };
        match self.random.below(40) {
            0 => command.numbers = 0,
            1 => command.numbers = 501,
            2 => command.validity_ms = 72 * hour + 1,
            3 => command.terminal_key = [0; 32],
            4 => command.credential_id = "".into(),
            _ => {}
        }
        Step::plain(GroupCommand::GrantBlock(command))
    }

    fn close_block(&mut self, model: &Model) -> GroupStep {
        let mut outlet_id = self.outlet();
        let mut credential_id: Id = (*self.random.pick(&CREDENTIALS)).into();
        if !model.lent.is_empty() && self.random.percent(85) {
            let lent = self.random.pick(&model.lent);
            (outlet_id, credential_id) = (lent.outlet.clone(), lent.credential.clone());
        }
        use CloseReason::{Expired, Returned, Revoked, UsedUp};
        let reason = *self.random.pick(&[Returned, Returned, Revoked, Expired, Expired, UsedUp]);
        Step::plain(GroupCommand::CloseBlock(CloseBlock { outlet_id, credential_id, reason }))
    }

    fn payment(&mut self, model: &Model) -> GroupStep {
        let outlet_id = self.outlet();
        let mut fiscal_number = None;
        if self.random.percent(40) {
            fiscal_number = self.credited(model, &outlet_id).map(|(number, _)| Id::from(number));
        }
        if self.random.percent(5) {
            fiscal_number = Some("KIN-NONE-9".into());
        }
        let amount = if self.random.percent(5) { -1 } else { 5_000 };
        let amount = if self.random.percent(5) { 6_000 } else { amount };
        let usd = self.random.percent(5);
        Step::plain(GroupCommand::RecordPayment(RecordPayment {
            outlet_id,
            provider: if self.random.percent(3) { "" } else { "mpesa" }.into(),
            reference: (*self.random.pick(&["r1", "r2", "r3"])).into(),
            status: *self.random.pick(&PaymentStatus::ALL),
            amount: Amount::from_minor(amount).unwrap(),
            currency: Currency::parse(if usd { "USD" } else { "CDF" }).unwrap(),
            fiscal_number,
        }))
    }

    fn shift(&mut self) -> GroupStep {
        let (outlet, terminal_id) = (self.outlet(), self.terminal());
        let submitted = self.submitted(&outlet);
        let shift_id = (*self.random.pick(&["s1", "s1", "s1", "s1", "s2", ""])).into();
        let cashier_id = "ada".into();
        Step::plain(if self.random.percent(50) {
            GroupCommand::OpenShift(OpenShift { submitted, terminal_id, shift_id, cashier_id })
        } else {
            GroupCommand::CloseShift(CloseShift { submitted, terminal_id, shift_id, cashier_id })
        })
    }

    fn close_day(&mut self) -> GroupStep {
        let outlet = self.outlet();
        let submitted = self.submitted(&outlet);
        let operator = if self.random.percent(4) { "" } else { "boss" }.into();
        Step::plain(GroupCommand::CloseDay(CloseDay { submitted, operator }))
    }

    fn gap(&mut self, model: &Model) -> GroupStep {
        let held = model.shops.iter().find(|shop| shop.held);
        let outlet_id = held.map_or_else(|| self.outlet(), |shop| shop.fact.outlet_id.clone());
        let last = model.shop(&outlet_id).map_or(0, |shop| shop.numbers.len());
        let last_issued = match self.random.below(12) {
            0 => 1_000_000_000_000,
            1 => u64::try_from(last).unwrap().saturating_sub(1),
            _ => u64::try_from(last).unwrap() + self.random.below(4),
        };
        let evidence = if self.random.percent(4) { "" } else { "receipt" }.into();
        let operator = "boss".into();
        let command = RecoveryGap { outlet_id, last_issued, evidence, operator };
        Step::plain(GroupCommand::RecoveryGap(command))
    }

    fn fact(&mut self, model: &Model) -> GroupStep {
        let outlet_id = self.outlet();
        let had = model.shop(&outlet_id);
        let version = self.random.between(1, 9);
        let fact = match self.random.below(10) {
            0..=3 => {
                let mut fact = outlet_fact(&outlet_id, 1);
                use OutletStatus::{Active, Closed, Suspended};
                fact.status = *self.random.pick(&[Active, Active, Active, Suspended, Closed]);
                if self.random.percent(10) {
                    fact.signing_mode = SigningMode::Def;
                }
                if had.is_some() && self.random.percent(10) {
                    fact.code = "OTHER".into();
                }
                if self.random.percent(4) {
                    fact.group = 7;
                }
                Fact::Outlet(fact)
            }
            4 | 5 => {
                let terminal_id = (*self.random.pick(&TERMINALS)).into();
                let blocked = self.random.percent(30);
                Fact::Terminal(TerminalFact { outlet_id, terminal_id, blocked })
            }
            6 | 7 => {
                let states = [
                    DeviceState::Registered,
                    DeviceState::Active,
                    DeviceState::Active,
                    DeviceState::Revoked,
                    DeviceState::Replaced { by: "d9".into() },
                ];
                let state = self.random.pick(&states).clone();
                let device_id = *self.random.pick(&DEVICES);
                let wrong = self.random.percent(10);
                let public_key = if wrong { vec![4; 33] } else { public_key(device_id) };
                let device_id = device_id.into();
                Fact::Device(DeviceFact { device_id, outlet_id, state, public_key })
            }
            _ => Fact::Manifest(self.random.pick(&self.manifests).clone()),
        };
        let mut step = fact_step(fact, version);
        let GroupCommand::DirectoryFact(command) = &mut step.command else { return step };
        match self.random.below(30) {
            0 => command.id = "other".into(),
            1 => {
                command.bytes.push(0);
                step.fact = None;
            }
            _ => {}
        }
        step
    }

    fn system(&mut self, model: &Model, group: &Group) -> GroupStep {
        let (command, genuine) = system_command(&mut self.random, &model.system, group);
        Step { genuine, ..system(command) }
    }

    fn prepare(&mut self, group: u64, environment: Environment, key: u8) -> (GroupStep, Id) {
        let (command, id) = prepare(group, environment, key);
        (system(SystemCommand::PrepareAuthority(command)), id)
    }
}

fn seal_of(step: &GroupStep) -> &OfflineSeal {
    match &step.command {
        GroupCommand::ReconcileOffline(command) => &command.seal,
        other => panic!("{other:?} is not a seal"),
    }
}

fn credential_of(step: &GroupStep) -> &str {
    &seal_of(step).credential_id
}

fn system(command: SystemCommand) -> GroupStep {
    Step::plain(GroupCommand::System(command))
}

fn fact_step(fact: Fact, version: u64) -> GroupStep {
    let (kind, id, bytes) = (fact.kind(), fact.id(), fact.encode());
    let command = GroupCommand::DirectoryFact(DirectoryFact { kind, id, version, bytes });
    Step { fact: Some(fact), ..Step::plain(command) }
}

/// The announcement of the key `key` of an environment, and its id.
pub(crate) fn prepare(group: u64, environment: Environment, key: u8) -> (PrepareAuthority, Id) {
    let key = match environment {
        Environment::Live => SigningKey::from_bytes(&[100 + key; 32]),
        Environment::Sandbox => SigningKey::from_bytes(&[200 + key; 32]),
    };
    let public_key = key.verifying_key().to_bytes();
    let id = Id::from(authority_id("node", &public_key));
    let proofs = (1..=2)
        .map(|voter| {
            let hash = authority_proof_hash(CLUSTER, group, voter, &id);
            (voter, key.sign(&hash).to_bytes())
        })
        .collect();
    (PrepareAuthority { name: "node".into(), public_key, environment, proofs }, id)
}

/// A command that every group takes, and whether what it carries is genuine.
pub(crate) fn system_command(
    random: &mut Random,
    model: &crate::system::System,
    group: &Group,
) -> (SystemCommand, bool) {
    let mut genuine = true;
    let command = match random.below(9) {
        0 => SystemCommand::Tick(Tick),
        1 => {
            let environment = *random.pick(&[Environment::Live, Environment::Sandbox]);
            let key = u8::try_from(random.below(3)).unwrap();
            let (mut command, _) = prepare(group.number, environment, key);
            match random.below(8) {
                0 => command.name = "a.b".into(),
                1 => {
                    command.proofs[1].1[3] ^= 1;
                    genuine = false;
                }
                2 => {
                    command.proofs.swap(0, 1);
                    genuine = false;
                }
                _ => {}
            }
            SystemCommand::PrepareAuthority(command)
        }
        2 | 3 => {
            let prepared = model.prepared();
            let authority_id = match prepared.first() {
                Some(id) => id.clone(),
                None => "nobody".into(),
            };
            SystemCommand::ActivateAuthority(ActivateAuthority { authority_id })
        }
        4 | 5 => SystemCommand::CheckpointCut(CheckpointCut { demand_heads: random.percent(50) }),
        6 if !group.cuts.is_empty() => {
            let mut tuple = random.pick(&group.cuts).clone();
            if random.percent(20) {
                tuple.root[0] ^= 1;
                genuine = false;
            }
            SystemCommand::CheckpointDecided(CheckpointDecided { tuple })
        }
        7 => SystemCommand::RaiseApplyVersion(RaiseApplyVersion { to: *random.pick(&[0, 1, 3]) }),
        _ => {
            let signed = u64::try_from(model.signed).unwrap();
            let first_leaf = if random.percent(10) { signed + 1 } else { signed };
            let unsigned = model.leaves - model.signed;
            let count = random.index(unsigned + 2);
            let signatures = vec![[7; 64]; count];
            SystemCommand::AttachSignatures(AttachSignatures { first_leaf, signatures })
        }
    };
    (command, genuine)
}
