//! An outlet's journal, record after record: positions, links, numbers, sums and closures.
//!
//! What is kept grows with terminals, blocks and currencies, not with records, but for two things: ranges of
//! numbers, of which a journal without gaps has one, and what may still be credited of each invoice, about 160 bytes
//! for each of the last [`ORIGINALS_MAX`] of them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::closure::{
    Opening, Shift, check_day, check_digest, check_ends, check_perpetual, check_shift,
};
use crate::device::Devices;
use crate::failure::{Failure, Kind};
use crate::hash::{Hash, NOTHING};
use crate::invoice::Currency;
use crate::leave::Lives;
use crate::numbers::Numbers;
use crate::qr::{TYPES, split_number};
use crate::record::{Body, Facts, Sale};
use crate::tally::{Counted, Tally};
use crate::uploads::Uploads;
use crate::value::Value;

/// How many of the last invoices credit notes are checked against.
pub(crate) const ORIGINALS_MAX: usize = 1_000_000;

/// What may still be credited of an invoice.
#[derive(Debug)]
struct Original {
    is_export: bool,
    currency: Currency,
    left: Box<[(u8, i64, i64)]>,
}

/// A number: whose series, if it is not the outlet's own, and which.
type Number = (Option<Box<str>>, u64);

/// The journal so far.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) id: String,
    /// Whether it begins with the outlet's first record.
    pub(crate) complete: bool,
    pub(crate) first_position: u64,
    pub(crate) position: u64,
    pub(crate) head: Hash,
    pub(crate) first_ms: u64,
    pub(crate) time_ms: u64,
    leaf_index: Option<u64>,
    pub(crate) numbers: Numbers,
    pub(crate) devices: Devices,
    /// In the directory's own journal.
    lives: Lives,
    uploads: Uploads,
    /// The last number of each series before the first record, while nobody has said which is whose.
    before: Vec<(String, u64)>,
    /// Whether every series that there was before the first record is known.
    knows_series: bool,
    pub(crate) all: Tally,
    /// Invoices since the last closure, when it is known where that was.
    since_z: Option<(Opening, Tally)>,
    last_z: Option<u64>,
    shifts: BTreeMap<String, Shift>,
    originals: HashMap<Number, Original>,
    order: VecDeque<Number>,
    reporting_currency: String,
    pub(crate) closures: u64,
    pub(crate) unchecked_credits: u64,
    pub(crate) sandbox: bool,
}

fn chain(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Chain, "", detail)
}

impl Outlet {
    /// Of the outlet `id`, after its record at `position` with this entry hash: 0 and zeros before the first.
    pub(crate) fn after(id: &str, position: u64, head: Hash, reporting_currency: &str) -> Self {
        let complete = position == 0;
        let opening = Opening { position, head };
        Self {
            id: id.to_owned(),
            complete,
            first_position: position + 1,
            position,
            head,
            first_ms: 0,
            time_ms: 0,
            leaf_index: None,
            numbers: if complete { Numbers::from_the_start() } else { Numbers::default() },
            devices: Devices::default(),
            lives: Lives::default(),
            uploads: Uploads::new(complete),
            before: Vec::new(),
            knows_series: complete,
            all: Tally::default(),
            since_z: complete.then(|| (opening, Tally::default())),
            last_z: complete.then_some(0),
            shifts: BTreeMap::new(),
            originals: HashMap::new(),
            order: VecDeque::new(),
            reporting_currency: reporting_currency.to_owned(),
            closures: 0,
            unchecked_credits: 0,
            sandbox: false,
        }
    }

    /// The last number of each series before the first record. Where there are several, the records say which is
    /// the outlet's own and which are its devices'.
    pub(crate) fn numbers_go_on_from(&mut self, series: &[(String, u64)]) {
        self.knows_series = true;
        match series {
            [(code, last)] => self.numbers = Numbers::after(code, *last),
            several => self.before = several.to_vec(),
        }
    }

    /// Where each series stands that the records have said nothing of, and whether these are all that there are.
    pub(crate) fn untouched(&self) -> Option<&[(String, u64)]> {
        self.knows_series.then_some(&self.before)
    }

    /// Takes what is known of a series from before the first record.
    fn before(&mut self, series: &str) -> Option<u64> {
        let at = self.before.iter().position(|(code, _)| code == series)?;
        Some(self.before.swap_remove(at).1)
    }

    /// A journal whose first record is `facts`: nothing is known of what came before, unless there is nothing.
    pub(crate) fn starting_with(facts: &Facts, reporting_currency: &str) -> Self {
        let before = facts.position.saturating_sub(1);
        let head = if before == 0 { NOTHING } else { facts.previous };
        Self::after(&facts.outlet, before, head, reporting_currency)
    }

    /// Checks and adds the next record.
    pub(crate) fn add(&mut self, facts: Facts) -> Result<(), Failure> {
        let place = format!("record {}", facts.position);
        self.check_place(&facts).map_err(|failure| failure.within(&place))?;
        self.numbers.before(&facts.kind).map_err(|failure| failure.within(&place))?;
        let sequence = self.number(&facts).map_err(|failure| failure.within(&place))?;
        self.check_link(&facts).map_err(|failure| failure.within(&place))?;
        if let Some(failure) = facts.failure {
            return Err(failure.within(&place));
        }
        let added = match &facts.body {
            Some(Body::Invoice(sale)) => {
                self.uploads.sealed(facts.position);
                self.add_sale(sale, sequence)
            }
            Some(Body::Plain { text, value }) => self.add_plain(&facts, text, value),
            None => Err(chain("it cannot be read")),
        };
        added.map_err(|failure| failure.within(&place))?;
        if self.position + 1 == self.first_position {
            self.first_ms = facts.time_ms;
            self.sandbox = facts.sandbox;
        }
        (self.position, self.head, self.time_ms) = (facts.position, facts.entry, facts.time_ms);
        self.leaf_index = Some(facts.leaf_index);
        Ok(())
    }

    /// Whose it is, and where it stands.
    fn check_place(&self, facts: &Facts) -> Result<(), Failure> {
        if facts.outlet != self.id {
            return Err(chain(format!("it belongs to {:?}, not to {:?}", facts.outlet, self.id)));
        }
        let expected = self.position + 1;
        if facts.position < expected {
            let detail =
                format!("position {} comes after position {}", facts.position, self.position);
            return Err(Failure::new(Kind::Duplicate, "", detail));
        }
        if facts.position > expected {
            let detail = format!("positions {expected} to {} are not there", facts.position - 1);
            return Err(Failure::new(Kind::Gap, "", detail));
        }
        Ok(())
    }

    fn check_link(&self, facts: &Facts) -> Result<(), Failure> {
        if facts.previous != self.head {
            return Err(chain("it does not link to the record before it"));
        }
        if self.leaf_index.is_some_and(|before| facts.leaf_index <= before) {
            return Err(chain("its leaf is not after that of the record before it"));
        }
        if facts.time_ms < self.time_ms {
            return Err(chain("its time is before that of the record before it"));
        }
        Ok(())
    }

    /// The sequence of an invoice's number.
    fn number(&mut self, facts: &Facts) -> Result<u64, Failure> {
        match &facts.body {
            Some(Body::Invoice(sale)) if sale.device.is_some() => {
                let Some(seal) = &sale.device else { return Ok(0) };
                if !self.devices.has(&seal.device)
                    && let Some(last) = self.before(&seal.device)
                {
                    self.devices.goes_on_from(&seal.device, last);
                }
                self.devices.sealed(seal, self.knows_series, self.complete)?;
                Ok(seal.sequence)
            }
            Some(Body::Invoice(sale)) => {
                if self.numbers.last().is_none()
                    && let Some((series, _)) = split_number(&facts.number)
                    && let Some(last) = self.before(series)
                {
                    self.numbers = Numbers::after(series, last);
                }
                match &sale.offline {
                    Some(seal) => self.numbers.sealed_offline(
                        seal,
                        &sale.terminal,
                        facts.time_ms,
                        self.complete,
                    ),
                    None => self.numbers.sealed(&facts.number),
                }
            }
            _ => Ok(0),
        }
    }

    fn add_sale(&mut self, sale: &Sale, sequence: u64) -> Result<(), Failure> {
        match &sale.original {
            Some(original) => self.credit(&sale.counted, original)?,
            None => {
                let device = sale.device.as_ref().map(|seal| seal.device.as_str());
                self.remember((device.map(Box::from), sequence), &sale.counted);
            }
        }
        self.all.add(&sale.counted);
        if let Some((_, since)) = &mut self.since_z {
            since.add(&sale.counted);
        }
        if let Some(shift) = self.shifts.get_mut(&sale.terminal) {
            shift.tally.add(&sale.counted);
        }
        Ok(())
    }

    fn remember(&mut self, number: Number, counted: &Counted) {
        let left = counted
            .groups
            .iter()
            .map(|(group, base, tax)| (u8::try_from(*group).unwrap_or(0), *base, *tax));
        let original = Original {
            is_export: TYPES[counted.kind] == "export",
            currency: counted.currency,
            left: left.collect(),
        };
        self.originals.insert(number.clone(), original);
        self.order.push_back(number);
        if self.order.len() > ORIGINALS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.originals.remove(&oldest);
        }
    }

    /// A credit note never takes back more than its original has, in any group.
    fn credit(&mut self, counted: &Counted, number: &str) -> Result<(), Failure> {
        let wrong = |detail: &str| Err(Failure::new(Kind::Totals, "credit note", detail));
        let original = split_number(number).and_then(|(series, sequence)| {
            let own = self.numbers.prefix() == Some(series);
            let device = self.devices.has(series).then(|| Box::from(series));
            (own || device.is_some()).then_some((if own { None } else { device }, sequence))
        });
        let known = original.and_then(|original| self.originals.get_mut(&original));
        let Some(original) = known else {
            if self.complete && self.order.len() < ORIGINALS_MAX {
                return wrong("the invoice that it credits is not there");
            }
            self.unchecked_credits += 1;
            return Ok(());
        };
        if original.is_export != (TYPES[counted.kind] == "export_credit")
            || original.currency != counted.currency
        {
            return wrong("it is of another type or currency than the invoice that it credits");
        }
        for (group, base, tax) in &counted.groups {
            let left = original.left.iter_mut().find(|(known, _, _)| usize::from(*known) == *group);
            let Some(left) = left.filter(|left| *base <= left.1 && *tax <= left.2) else {
                return wrong("it takes back more than is left of the invoice that it credits");
            };
            (left.1, left.2) = (left.1 - base, left.2 - tax);
        }
        Ok(())
    }

    fn add_plain(&mut self, facts: &Facts, text: &str, value: &Value) -> Result<(), Failure> {
        match facts.kind.as_str() {
            "z_closure" => self.close_day(facts, text, value),
            "shift_open" => {
                let names = value.text("pos_terminal_id").zip(value.text("shift_id"));
                let (terminal, id) = names
                    .ok_or_else(|| Failure::new(Kind::Format, "payload", "it opens no shift"))?;
                let opening = Opening { position: facts.position, head: facts.entry };
                let shift = Shift { id: id.to_owned(), opening, tally: Tally::default() };
                self.shifts.insert(terminal.to_owned(), shift);
                Ok(())
            }
            "shift_close" => self.close_shift(text, value),
            "block_grant" => self.numbers.granted(value, facts.entry),
            "block_close" => self.numbers.closed(value),
            "numbers_missing" => self.numbers.flagged(value),
            "recovery_gap" => self.numbers.skipped(value),
            "outlet_event" if !self.id.starts_with('@') => {
                self.numbers.stated(value)?;
                self.devices.check_change(value, self.complete)
            }
            "device_event" if self.id.starts_with('@') => self.lives.goes_on(value, self.complete),
            "device_event" => self.devices.registered(value),
            "upload_event" => self.uploads.stated(value, facts.position),
            _ => Ok(()),
        }
    }

    fn close_day(&mut self, facts: &Facts, text: &str, report: &Value) -> Result<(), Failure> {
        let closing = Opening { position: self.position, head: self.head };
        check_digest(text)?;
        let opening = self.since_z.as_ref().map(|(opening, _)| *opening);
        check_ends(report, (opening, "opened_after_position"), closing)?;
        let number = report.count("z_number");
        if let Some(last) = self.last_z
            && number != Some(last + 1)
        {
            let kind = if number.is_some_and(|number| number <= last) {
                Kind::Duplicate
            } else {
                Kind::Gap
            };
            return Err(Failure::new(
                kind,
                "report",
                format!("closure {number:?} comes after closure {last}"),
            ));
        }
        if let Some((_, since)) = &self.since_z {
            check_day(report, since, &self.reporting_currency)?;
        }
        if self.complete {
            check_perpetual(report, &self.all, &self.reporting_currency)?;
            let stated = report.list("series").unwrap_or_default();
            let (own, devices) = stated.split_at(stated.len().min(1));
            if !self.numbers.are_stated_by(own) || !self.devices.are_stated_by(devices) {
                return Err(Failure::new(
                    Kind::Gap,
                    "report",
                    "it states other numbers than those of the records",
                ));
            }
        }
        self.last_z = number;
        self.closures += 1;
        self.numbers.sealed_since_z = Default::default();
        self.devices.closed();
        let next = Opening { position: facts.position, head: facts.entry };
        self.since_z = Some((next, Tally::default()));
        Ok(())
    }

    fn close_shift(&mut self, text: &str, report: &Value) -> Result<(), Failure> {
        check_digest(text)?;
        let terminal = report.text("pos_terminal_id").unwrap_or_default();
        let shift = self.shifts.remove(terminal);
        let closing = Opening { position: self.position, head: self.head };
        let opening = shift.as_ref().map(|shift| shift.opening);
        check_ends(report, (opening, "opened_at_position"), closing)?;
        match shift {
            Some(shift) => check_shift(report, &shift),
            None if self.complete => {
                Err(Failure::new(Kind::Totals, "report", "it closes a shift that was not open"))
            }
            None => Ok(()),
        }
    }
}
