//! A second implementation of a data group, written to be obviously right: everything is a list that is
//! searched from its start, and every figure is counted anew from the records. It knows no hashes and
//! shares no code with the first; it says what each command must be answered with.

use std::rc::Rc;

use fiscus_ledger::commands::{
    CloseBlock, CloseDay, CloseShift, DirectoryFact, GrantBlock, GroupCommand, OpenShift,
    ReconcileOffline, RecordPayment, RecoveryGap, Seal, Submitted,
};
use fiscus_ledger::facts::{
    DeviceFact, DeviceState, Environment, Fact, OutletFact, OutletStatus, SigningMode, TerminalFact,
};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::invoice::InvoiceType;
use fiscus_ledger::offline::OfflineSeal;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::CloseReason;

use crate::answer::{Answer, Step};
use crate::invoice::Plan;
use crate::system::System;
use crate::uploads::Uploaded;

/// A record.
#[derive(Debug, Clone)]
pub(crate) struct Rec {
    pub(crate) leaf: usize,
    pub(crate) kind: String,
    pub(crate) authority: Id,
    pub(crate) number: Option<String>,
    pub(crate) plan: Option<Rc<Plan>>,
    pub(crate) time: u64,
}

/// What became of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Sealed,
    Reserved,
    Missing,
    Gap,
}

#[derive(Debug, Clone)]
pub(crate) struct Shop {
    pub(crate) fact: OutletFact,
    pub(crate) version: u64,
    pub(crate) held: bool,
    pub(crate) journal: Vec<Rec>,
    pub(crate) numbers: Vec<Use>,
    /// The entries that were imported of each device.
    pub(crate) devices: Vec<(Id, Vec<Hash32>)>,
    pub(crate) uploads: Uploaded,
}

impl Shop {
    pub(crate) fn spelled(&self, number: usize) -> String {
        format!("{}-{}-{number}", self.fact.prefix, self.fact.code)
    }

    pub(crate) fn invoices(&self) -> impl Iterator<Item = (&Rec, &Rc<Plan>)> {
        self.journal.iter().filter_map(|rec| Some((rec, rec.plan.as_ref()?)))
    }

    pub(crate) fn original(&self, number: &str) -> Option<&Rc<Plan>> {
        let of = |rec: &Rec| rec.number.as_deref() == Some(number);
        self.invoices().find(|(rec, _)| of(rec)).map(|(_, plan)| plan)
    }

    pub(crate) fn imported(&self, device: &Id) -> &[Hash32] {
        let known = self.devices.iter().find(|(known, _)| known == device);
        known.map_or(&[], |(_, entries)| entries)
    }

    pub(crate) fn note_import(&mut self, device: &Id, entry: Hash32) {
        match self.devices.iter_mut().find(|(known, _)| known == device) {
            Some((_, entries)) => entries.push(entry),
            None => self.devices.push((device.clone(), vec![entry])),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Till {
    pub(crate) outlet: Id,
    pub(crate) id: Id,
    version: u64,
    blocked: bool,
    /// Its id and the position after which it counts.
    pub(crate) shift: Option<(Id, usize)>,
}

/// A seal in a block: what arrived, and its position once it is in the journal.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    seal: OfflineSeal,
    hash: Hash32,
    plan: Rc<Plan>,
    position: Option<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Lent {
    pub(crate) credential: Id,
    pub(crate) outlet: Id,
    pub(crate) terminal: Id,
    pub(crate) first: usize,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) granted_at: usize,
    /// The hash of the grant's record; the terminal is told, and so is the model.
    pub(crate) grant_hash: Option<Hash32>,
    closed: Option<(CloseReason, u64)>,
    pub(crate) slots: Vec<Option<Arrived>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Paid {
    pub(crate) event: RecordPayment,
    pub(crate) position: usize,
}

/// The group.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) system: System,
    pub(crate) shops: Vec<Shop>,
    pub(crate) tills: Vec<Till>,
    pub(crate) devices: Vec<(u64, DeviceFact)>,
    pub(crate) lent: Vec<Lent>,
    pub(crate) payments: Vec<Paid>,
    /// Outlet, operation, key, fingerprint, position.
    pub(crate) submissions: Vec<(&'static str, Submitted, usize)>,
}

const REFUSED_INACTIVE: Answer = Answer::Refused("OUTLET_INACTIVE");
pub(crate) type Checked<T> = Result<T, Answer>;

pub(crate) fn refuse<T>(code: &'static str) -> Checked<T> {
    Err(Answer::Refused(code))
}

impl Model {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            system: System::new(number),
            shops: Vec::new(),
            tills: Vec::new(),
            devices: Vec::new(),
            lent: Vec::new(),
            payments: Vec::new(),
            submissions: Vec::new(),
        }
    }

    pub(crate) fn entry(&mut self, stamp: u64, steps: &[Step<GroupCommand>]) -> Vec<Answer> {
        self.system.begin(stamp);
        steps.iter().map(|step| self.step(step).unwrap_or_else(|answer| answer)).collect()
    }

    fn step(&mut self, step: &Step<GroupCommand>) -> Checked<Answer> {
        match &step.command {
            GroupCommand::System(command) => Ok(self.system.step(command, step.genuine)),
            GroupCommand::Seal(command) => self.seal(command, step.plan.as_ref().unwrap()),
            GroupCommand::RecordPayment(command) => self.pay(command),
            GroupCommand::RecordUpload(command) => self.upload(command),
            GroupCommand::OpenShift(command) => self.open_shift(command),
            GroupCommand::CloseShift(command) => self.close_shift(command),
            GroupCommand::CloseDay(command) => self.close_day(command),
            GroupCommand::GrantBlock(command) => self.grant(command),
            GroupCommand::ReconcileOffline(command) => self.reconcile(command, step),
            GroupCommand::ImportDeviceSeal(command) => self.import(command, step),
            GroupCommand::CloseBlock(command) => self.close_block(command),
            GroupCommand::DirectoryFact(command) => self.fact(command, step.fact.as_ref()),
            GroupCommand::RecoveryGap(command) => self.gap(command),
        }
    }

    pub(crate) fn shop(&self, id: &str) -> Option<&Shop> {
        self.shops.iter().find(|shop| &*shop.fact.outlet_id == id)
    }

    pub(crate) fn known(&self, id: &str) -> Checked<usize> {
        let at = self.shops.iter().position(|shop| &*shop.fact.outlet_id == id);
        at.ok_or(Answer::Refused("OUTLET_UNKNOWN"))
    }

    pub(crate) fn authority(&self, shop: usize) -> Checked<Id> {
        let environment = self.shops[shop].fact.environment;
        self.system.active(environment).ok_or(Answer::Refused("NO_AUTHORITY"))
    }

    pub(crate) fn not_submitted(&self, operation: &str, given: &Submitted) -> Checked<()> {
        let known = self.submissions.iter().find(|(of, known, _)| {
            *of == operation && known.outlet_id == given.outlet_id && known.key == given.key
        });
        match known {
            None => Ok(()),
            Some((_, known, position)) if known.fingerprint == given.fingerprint => {
                Err(Answer::Already(*position))
            }
            Some(_) => refuse("IDEMPOTENCY_CONFLICT"),
        }
    }

    fn open_for_sale(&self, shop: usize) -> Checked<()> {
        let shop = &self.shops[shop];
        if shop.fact.status != OutletStatus::Active {
            return Err(REFUSED_INACTIVE);
        }
        if shop.held {
            return refuse("OUTLET_HELD");
        }
        if shop.fact.signing_mode == SigningMode::Def {
            return refuse("SIGNING_MODE_DEF");
        }
        Ok(())
    }

    fn not_blocked(&self, outlet: &Id, terminal: &Id) -> Checked<()> {
        let blocked = |till: &&Till| till.outlet == *outlet && till.id == *terminal && till.blocked;
        if self.tills.iter().find(blocked).is_some() {
            return refuse("TERMINAL_BLOCKED");
        }
        Ok(())
    }

    fn till(&mut self, outlet: &Id, terminal: &Id) -> &mut Till {
        let at = self.tills.iter().position(|till| till.outlet == *outlet && till.id == *terminal);
        let at = at.unwrap_or_else(|| {
            let (outlet, id) = (outlet.clone(), terminal.clone());
            self.tills.push(Till { outlet, id, version: 0, blocked: false, shift: None });
            self.tills.len() - 1
        });
        &mut self.tills[at]
    }

    pub(crate) fn write(
        &mut self,
        shop: usize,
        kind: &str,
        sealed: Option<(String, Rc<Plan>)>,
    ) -> Checked<Answer> {
        let authority = self.authority(shop)?;
        let shop = &mut self.shops[shop];
        let text = sealed.as_ref().map_or(String::new(), |(number, _)| number.clone());
        let (number, plan) = sealed.unzip();
        let rec = Rec {
            leaf: self.system.leaves,
            kind: kind.to_owned(),
            authority,
            number,
            plan,
            time: self.system.time,
        };
        shop.journal.push(rec);
        Ok(self.system.recorded(shop.journal.len(), text))
    }

    pub(crate) fn submit(&mut self, operation: &'static str, given: &Submitted, shop: usize) {
        let position = self.shops[shop].journal.len();
        self.submissions.push((operation, given.clone(), position));
    }

    fn seal(&mut self, command: &Seal, plan: &Rc<Plan>) -> Checked<Answer> {
        let shop = self.known(&command.submitted.outlet_id)?;
        self.not_submitted("seal", &command.submitted)?;
        self.open_for_sale(shop)?;
        if let Some(id) = &command.device_id {
            let device = self.devices.iter().find(|(_, known)| known.device_id == *id);
            let device = device.filter(|(_, known)| known.outlet_id == command.submitted.outlet_id);
            match device.map(|(_, known)| &known.state) {
                None => return refuse("DEVICE_UNKNOWN"),
                Some(DeviceState::Registered) => return refuse("DEVICE_NOT_ACTIVE"),
                Some(DeviceState::Active) => {}
                Some(_) => return refuse("DEVICE_REVOKED"),
            }
        }
        self.authority(shop)?;
        if let Some(problem) = plan.problem(self.system.in_force_before(self.system.time)) {
            return refuse(problem);
        }
        self.same_identity(shop, plan, &command.terminal_id)?;
        self.not_blocked(&command.submitted.outlet_id, &command.terminal_id)?;
        self.fits_original(shop, plan)?;
        self.shops[shop].numbers.push(Use::Sealed);
        let number = self.shops[shop].numbers.len();
        let number = self.shops[shop].spelled(number);
        let answer = self.write(shop, plan.kind.as_str(), Some((number, plan.clone())))?;
        self.submit("seal", &command.submitted, shop);
        Ok(answer)
    }

    pub(crate) fn same_identity(&self, shop: usize, plan: &Plan, terminal: &Id) -> Checked<()> {
        let fact = &self.shops[shop].fact;
        let same = plan.outlet == fact.outlet_id && plan.nif == fact.merchant_nif;
        if same && plan.terminal == *terminal { Ok(()) } else { refuse("IDENTITY_MISMATCH") }
    }

    pub(crate) fn fits_original(&self, shop: usize, plan: &Plan) -> Checked<()> {
        let Some(number) = &plan.original else { return Ok(()) };
        let shop = &self.shops[shop];
        let Some(original) = shop.original(number) else { return refuse("ORIGINAL_NOT_FOUND") };
        let fitting: &[InvoiceType] = match plan.kind {
            InvoiceType::CreditNote => &[InvoiceType::Sale, InvoiceType::Advance],
            _ => &[InvoiceType::Export],
        };
        if !fitting.contains(&original.kind) || original.currency != plan.currency {
            return refuse("ORIGINAL_MISMATCH");
        }
        let limits = original.groups();
        for (group, wanted) in plan.groups() {
            let limit = *limits.get(&group).ok_or(Answer::Refused("CREDIT_EXCEEDS_ORIGINAL"))?;
            let mut sum = wanted;
            for (_, earlier) in shop.invoices() {
                if earlier.original.as_ref() == Some(number)
                    && let Some(taken) = earlier.groups().get(&group)
                {
                    sum = (sum.0 + taken.0, sum.1 + taken.1);
                }
            }
            if sum.0 > limit.0 || sum.1 > limit.1 {
                return refuse("CREDIT_EXCEEDS_ORIGINAL");
            }
        }
        Ok(())
    }

    fn open_shift(&mut self, command: &OpenShift) -> Checked<Answer> {
        if command.shift_id.is_empty() {
            return refuse("FIELD_INVALID");
        }
        let outlet = &command.submitted.outlet_id;
        let shop = self.known(outlet)?;
        self.not_submitted("open shift", &command.submitted)?;
        self.open_for_sale(shop)?;
        self.not_blocked(outlet, &command.terminal_id)?;
        if self.till(outlet, &command.terminal_id).shift.is_some() {
            return refuse("SHIFT_OPEN");
        }
        let answer = self.write(shop, "shift_open", None)?;
        let after = self.shops[shop].journal.len();
        self.till(outlet, &command.terminal_id).shift = Some((command.shift_id.clone(), after));
        self.submit("open shift", &command.submitted, shop);
        Ok(answer)
    }

    fn close_shift(&mut self, command: &CloseShift) -> Checked<Answer> {
        let outlet = &command.submitted.outlet_id;
        let shop = self.known(outlet)?;
        self.not_submitted("close shift", &command.submitted)?;
        let open = self.till(outlet, &command.terminal_id).shift.clone();
        if open.is_none_or(|(id, _)| id != command.shift_id) {
            return refuse("SHIFT_NOT_OPEN");
        }
        let answer = self.write(shop, "shift_close", None)?;
        self.till(outlet, &command.terminal_id).shift = None;
        self.submit("close shift", &command.submitted, shop);
        Ok(answer)
    }

    fn close_day(&mut self, command: &CloseDay) -> Checked<Answer> {
        if command.operator.is_empty() {
            return refuse("FIELD_INVALID");
        }
        let shop = self.known(&command.submitted.outlet_id)?;
        self.not_submitted("close day", &command.submitted)?;
        self.authority(shop)?;
        if self.system.in_force(self.system.time).is_none() {
            return refuse("NO_MANIFEST");
        }
        let answer = self.write(shop, "z_closure", None)?;
        self.submit("close day", &command.submitted, shop);
        Ok(answer)
    }

    fn grant(&mut self, command: &GrantBlock) -> Checked<Answer> {
        if command.credential_id.is_empty() || command.terminal_key == [0; 32] {
            return refuse("FIELD_INVALID");
        }
        let hours_72 = 72 * 60 * 60 * 1_000;
        if !(1..=500).contains(&command.numbers) || !(1..=hours_72).contains(&command.validity_ms) {
            return refuse("BLOCK_LIMIT");
        }
        let outlet = &command.submitted.outlet_id;
        let shop = self.known(outlet)?;
        self.not_submitted("grant", &command.submitted)?;
        self.open_for_sale(shop)?;
        self.not_blocked(outlet, &command.terminal_id)?;
        if self.lent.iter().any(|lent| lent.credential == command.credential_id) {
            return refuse("CREDENTIAL_EXISTS");
        }
        let answer = self.write(shop, "block_grant", None)?;
        let first = self.shops[shop].numbers.len() + 1;
        for _ in 0..command.numbers {
            self.shops[shop].numbers.push(Use::Reserved);
        }
        self.lent.push(Lent {
            credential: command.credential_id.clone(),
            outlet: outlet.clone(),
            terminal: command.terminal_id.clone(),
            first,
            from: self.system.time,
            until: self.system.time + command.validity_ms,
            granted_at: self.shops[shop].journal.len(),
            grant_hash: None,
            closed: None,
            slots: (0..command.numbers).map(|_| None).collect(),
        });
        self.submit("grant", &command.submitted, shop);
        Ok(answer)
    }

    fn lent_to(&self, credential: &Id, outlet: &Id) -> Checked<usize> {
        let at = self
            .lent
            .iter()
            .position(|lent| lent.credential == *credential && lent.outlet == *outlet);
        at.ok_or(Answer::Refused("CREDENTIAL_UNKNOWN"))
    }

    fn reconcile(
        &mut self,
        command: &ReconcileOffline,
        step: &Step<GroupCommand>,
    ) -> Checked<Answer> {
        let (seal, plan) = (&command.seal, step.plan.as_ref().unwrap());
        let lent = self.lent_to(&seal.credential_id, &command.outlet_id)?;
        let shop = self.known(&command.outlet_id)?;
        let block = &self.lent[lent];
        let place = usize::try_from(seal.place).unwrap();
        if place < 1 || place > block.slots.len() {
            return refuse("OFFLINE_OUT_OF_BLOCK");
        }
        let slot = &block.slots[place - 1];
        if let Some(known) = slot
            && (OfflineSeal { signature: seal.signature, ..known.seal.clone() }) == *seal
        {
            return Err(known.position.map_or(Answer::Waiting, Answer::Already));
        }
        if let Some(problem) = plan.problem(self.system.in_force_before(seal.timestamp.get())) {
            return refuse(problem);
        }
        if !step.genuine {
            return refuse("OFFLINE_SIGNATURE_INVALID");
        }
        let time = seal.timestamp.get();
        let given_back = matches!(
            block.closed,
            Some((CloseReason::Revoked | CloseReason::Returned, at)) if time > at
        );
        if time < block.from || time > block.until || time > self.system.time || given_back {
            return refuse("OFFLINE_OUT_OF_TIME");
        }
        self.same_identity(shop, plan, &block.terminal)?;
        if slot.is_some() {
            return refuse("OFFLINE_SLOT_CONFLICT");
        }
        let arrived =
            Arrived { seal: seal.clone(), hash: step.hash, plan: plan.clone(), position: None };
        if !self.links(lent, place, &arrived) {
            return refuse("OFFLINE_LINK_BROKEN");
        }
        if block.closed.is_none() && self.link_before(lent, place).is_none() {
            self.lent[lent].slots[place - 1] = Some(arrived);
            return Ok(Answer::Waiting);
        }
        let answer = self.take_in(lent, place, arrived)?;
        let mut next = place + 1;
        while self.take_waiting(lent, next) {
            next += 1;
        }
        let block = &self.lent[lent];
        let done = |slot: &Option<Arrived>| slot.as_ref().is_some_and(|a| a.position.is_some());
        if block.closed.is_none() && block.slots.iter().all(done) {
            self.finish(lent, CloseReason::UsedUp)?;
        }
        Ok(answer)
    }

    fn link_before(&self, lent: usize, place: usize) -> Option<Hash32> {
        if place == 1 {
            return self.lent[lent].grant_hash;
        }
        let before = self.lent[lent].slots[place - 2].as_ref()?;
        before.position.map(|_| before.hash)
    }

    fn links(&self, lent: usize, place: usize, arrived: &Arrived) -> bool {
        let before = self.link_before(lent, place);
        let after = self.lent[lent].slots.get(place).and_then(Option::as_ref);
        let after = after.filter(|after| after.position.is_some());
        before.is_none_or(|hash| hash == arrived.seal.prev_hash)
            && after.is_none_or(|after| after.seal.prev_hash == arrived.hash)
    }

    fn take_in(&mut self, lent: usize, place: usize, arrived: Arrived) -> Checked<Answer> {
        let shop = self.known(&self.lent[lent].outlet)?;
        self.authority(shop)?;
        self.fits_original(shop, &arrived.plan)?;
        let number = self.lent[lent].first + place - 1;
        self.shops[shop].numbers[number - 1] = Use::Sealed;
        let kind = format!("offline_{}", arrived.plan.kind.as_str());
        let number = self.shops[shop].spelled(number);
        let answer = self.write(shop, &kind, Some((number, arrived.plan.clone())))?;
        let position = Some(self.shops[shop].journal.len());
        self.lent[lent].slots[place - 1] = Some(Arrived { position, ..arrived });
        Ok(answer)
    }

    fn take_waiting(&mut self, lent: usize, place: usize) -> bool {
        let slot = self.lent[lent].slots.get_mut(place - 1);
        let waits = |slot: &&mut Option<Arrived>| {
            slot.as_ref().is_some_and(|arrived| arrived.position.is_none())
        };
        let Some(arrived) = slot.filter(waits).and_then(Option::take) else { return false };
        let in_force = self.system.in_force(arrived.seal.timestamp.get());
        self.links(lent, place, &arrived)
            && arrived.plan.problem(in_force).is_none()
            && self.take_in(lent, place, arrived).is_ok()
    }

    fn finish(&mut self, lent: usize, reason: CloseReason) -> Checked<Answer> {
        for place in 1..=self.lent[lent].slots.len() {
            self.take_waiting(lent, place);
        }
        let shop = self.known(&self.lent[lent].outlet)?;
        let block = &mut self.lent[lent];
        block.closed = Some((reason, self.system.time));
        let mut missing = false;
        for (at, slot) in block.slots.iter().enumerate() {
            if slot.is_none() {
                missing = true;
                self.shops[shop].numbers[block.first - 1 + at] = Use::Missing;
            }
        }
        let answer = self.write(shop, "block_close", None)?;
        if missing {
            self.write(shop, "numbers_missing", None)?;
        }
        Ok(answer)
    }

    fn close_block(&mut self, command: &CloseBlock) -> Checked<Answer> {
        let lent = self.lent_to(&command.credential_id, &command.outlet_id)?;
        let block = &self.lent[lent];
        if block.closed.is_some() {
            return refuse("BLOCK_CLOSED");
        }
        let hours_72 = 72 * 60 * 60 * 1_000;
        let expired = self.system.time > block.until + hours_72;
        match command.reason {
            CloseReason::UsedUp => return refuse("BLOCK_NOT_EXPIRED"),
            CloseReason::Expired if !expired => return refuse("BLOCK_NOT_EXPIRED"),
            _ => {}
        }
        self.finish(lent, command.reason)
    }

    fn gap(&mut self, command: &RecoveryGap) -> Checked<Answer> {
        if command.evidence.is_empty() || command.last_issued > 999_999_999_999 {
            return refuse("FIELD_INVALID");
        }
        let shop = self.known(&command.outlet_id)?;
        if !self.shops[shop].held {
            return refuse("OUTLET_NOT_HELD");
        }
        let last = usize::try_from(command.last_issued).unwrap();
        if last < self.shops[shop].numbers.len() {
            return refuse("EVIDENCE_TOO_LOW");
        }
        let answer = self.write(shop, "recovery_gap", None)?;
        self.shops[shop].numbers.resize(last, Use::Gap);
        self.shops[shop].held = false;
        Ok(answer)
    }

    fn fact(&mut self, command: &DirectoryFact, fact: Option<&Fact>) -> Checked<Answer> {
        let Some(fact) = fact.filter(|fact| fact.id() == command.id) else {
            return refuse("DOCUMENT_INVALID");
        };
        match fact {
            Fact::Outlet(fact) => self.outlet_fact(command.version, fact),
            Fact::Terminal(fact) => self.terminal_fact(command.version, fact),
            Fact::Device(fact) => self.device_fact(command.version, fact),
            Fact::Manifest(manifest) => Ok(self.system.publish(manifest)),
        }
    }

    fn outlet_fact(&mut self, version: u64, fact: &OutletFact) -> Checked<Answer> {
        if fact.group != self.system.number {
            return refuse("DOCUMENT_INVALID");
        }
        let known = self.known(&fact.outlet_id).ok();
        if let Some(known) = known {
            let (had, status) = (&self.shops[known], fact.status);
            if version <= had.version {
                return Err(Answer::Unchanged);
            }
            let signing_mode = fact.signing_mode;
            if *fact != (OutletFact { status, signing_mode, ..had.fact.clone() }) {
                return refuse("OUTLET_IDENTITY_FIXED");
            }
        }
        let environment: Environment = fact.environment;
        self.system.active(environment).ok_or(Answer::Refused("NO_AUTHORITY"))?;
        let shop = known.unwrap_or_else(|| {
            let (journal, numbers, devices) = (Vec::new(), Vec::new(), Vec::new());
            let fact = fact.clone();
            let uploads = Uploaded::default();
            self.shops.push(Shop {
                fact,
                version,
                held: false,
                journal,
                numbers,
                devices,
                uploads,
            });
            self.shops.len() - 1
        });
        self.shops[shop].fact = fact.clone();
        self.shops[shop].version = version;
        self.write(shop, "outlet_event", None)
    }

    fn terminal_fact(&mut self, version: u64, fact: &TerminalFact) -> Checked<Answer> {
        let shop = self.known(&fact.outlet_id)?;
        self.authority(shop)?;
        let till = self.till(&fact.outlet_id, &fact.terminal_id);
        if version <= till.version {
            return Err(Answer::Unchanged);
        }
        till.version = version;
        till.blocked = fact.blocked;
        self.write(shop, "terminal_event", None)
    }

    fn device_fact(&mut self, version: u64, fact: &DeviceFact) -> Checked<Answer> {
        let shop = self.known(&fact.outlet_id)?;
        self.authority(shop)?;
        let known = self.devices.iter().position(|(_, had)| had.device_id == fact.device_id);
        if let Some(known) = known {
            let (had, device) = &self.devices[known];
            if version <= *had {
                return Err(Answer::Unchanged);
            }
            if device.outlet_id != fact.outlet_id {
                return refuse("DEVICE_UNKNOWN");
            }
            self.devices.remove(known);
        }
        self.devices.push((version, fact.clone()));
        self.write(shop, "device_event", None)
    }
}
