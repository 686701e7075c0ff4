//! The numbers of an outlet's series: which are sealed, lent to a terminal, missing, or skipped after a restore.
//! Every number is exactly one of these, and the records say when it becomes which.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;

use crate::failure::{Failure, Kind};
use crate::hash::Hash;
use crate::note::usable_key;
use crate::offline::OfflineSeal;
use crate::qr::split_number;
use crate::time;
use crate::value::Value;

/// Sets of numbers in which neighbours are one range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// Adds a range, which touches no number that is in it.
    pub(crate) fn add(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first, last);
        if let Some((before, end)) = self.0.range(..first).next_back().map(|(a, b)| (*a, *b))
            && end.checked_add(1) == Some(first)
        {
            self.0.remove(&before);
            first = before;
        }
        if let Some(end) = last.checked_add(1).and_then(|next| self.0.remove(&next)) {
            last = end;
        }
        self.0.insert(first, last);
    }

    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let Some((first, last)) = self.0.range(..=number).next_back().map(|(a, b)| (*a, *b)) else {
            return false;
        };
        if last < number {
            return false;
        }
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
        true
    }

    pub(crate) fn list(&self) -> Vec<(u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last)).collect()
    }
}

/// Numbers that a terminal may give away alone.
#[derive(Debug, Clone)]
struct Block {
    first: u64,
    last: u64,
    not_before_ms: u64,
    not_after_ms: u64,
    terminal: String,
    key: VerifyingKey,
    grant: Hash,
    /// By place: entry hash and link of what came in.
    seals: BTreeMap<u64, (Hash, Hash)>,
}

/// The series as the records make it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    prefix: Option<String>,
    /// The last number given away; none when what came before is not known.
    last: Option<u64>,
    blocks: BTreeMap<String, Block>,
    seen: Ranges,
    pub(crate) sealed_since_z: Ranges,
    open: Ranges,
    missing: Ranges,
    skipped: Ranges,
    /// A block that was closed with numbers left, which the next record must flag.
    unflagged: Option<(String, Vec<(u64, u64)>)>,
}

fn gap(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Gap, "numbers", detail)
}

fn duplicate(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Duplicate, "numbers", detail)
}

fn unreadable() -> Failure {
    Failure::new(Kind::Format, "payload", "a member is missing or is not what it must be")
}

impl Numbers {
    /// The numbers of an outlet from its first record on.
    pub(crate) fn from_the_start() -> Self {
        Self { last: Some(0), ..Self::default() }
    }

    /// The numbers after the last one of a series.
    pub(crate) fn after(prefix: &str, last: u64) -> Self {
        Self { prefix: Some(prefix.to_owned()), last: Some(last), ..Self::default() }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Numbers in closed blocks that never came back.
    pub(crate) fn missing(&self) -> Vec<(u64, u64)> {
        self.missing.list()
    }

    /// Numbers that terminals may still give away.
    pub(crate) fn open(&self) -> Vec<(u64, u64)> {
        self.open.list()
    }

    pub(crate) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Whatever the record, a closed block's missing numbers must be flagged by it.
    pub(crate) fn before(&mut self, kind: &str) -> Result<(), Failure> {
        match &self.unflagged {
            Some((credential, left)) if kind != "numbers_missing" => Err(gap(format!(
                "numbers {left:?} of block {credential:?} came back nowhere and are not flagged"
            ))),
            _ => Ok(()),
        }
    }

    fn sequence(&mut self, number: &str) -> Result<u64, Failure> {
        let parts = split_number(number);
        let (series, sequence) = parts.ok_or_else(|| {
            Failure::new(Kind::Format, "numbers", format!("{number:?} is no fiscal number"))
        })?;
        match &self.prefix {
            Some(known) if known != series => Err(Failure::new(
                Kind::Chain,
                "numbers",
                format!("{number:?} is of another series than {known:?}"),
            )),
            Some(_) => Ok(sequence),
            None => {
                self.prefix = Some(series.to_owned());
                Ok(sequence)
            }
        }
    }

    fn see(&mut self, sequence: u64) -> Result<(), Failure> {
        if self.seen.contains(sequence) {
            return Err(duplicate(format!("number {sequence} is there twice")));
        }
        self.seen.add(sequence, sequence);
        self.sealed_since_z.add(sequence, sequence);
        Ok(())
    }

    /// An invoice that the ledger sealed: the next number.
    pub(crate) fn sealed(&mut self, number: &str) -> Result<u64, Failure> {
        let sequence = self.sequence(number)?;
        match self.last {
            Some(last) if sequence <= last => {
                return Err(duplicate(format!("number {sequence} comes after {last}")));
            }
            Some(last) if sequence > last + 1 => {
                return Err(gap(format!("number {sequence} comes after {last}")));
            }
            _ => self.last = Some(sequence),
        }
        self.see(sequence)?;
        Ok(sequence)
    }

    /// An invoice that a terminal sealed alone: its place in its block, in its chain and in time.
    pub(crate) fn sealed_offline(
        &mut self,
        seal: &OfflineSeal,
        terminal: &str,
        taken_in_ms: u64,
        complete: bool,
    ) -> Result<u64, Failure> {
        let sequence = self.sequence(&seal.number)?;
        if self.last.is_some_and(|last| sequence > last) {
            return Err(gap(format!("number {sequence} was lent to nobody")));
        }
        self.see(sequence)?;
        let Some(block) = self.blocks.get_mut(&seal.credential) else {
            if complete {
                let detail = format!("credential {:?} was granted nowhere", seal.credential);
                return Err(Failure::new(Kind::Chain, "offline seal", detail));
            }
            return Ok(sequence);
        };
        block.check(seal, sequence, terminal, taken_in_ms)?;
        block.seals.insert(seal.place, (seal.entry, seal.previous));
        // It was open, or it comes late and is no longer missing.
        if !self.open.remove(sequence) {
            self.missing.remove(sequence);
        }
        Ok(sequence)
    }

    pub(crate) fn granted(&mut self, value: &Value, entry: Hash) -> Result<(), Failure> {
        let (first, last) = value.count("first").zip(value.count("last")).ok_or_else(unreadable)?;
        let moment = |name| value.text(name).and_then(time::parse);
        let key = value.hash("terminal_key").and_then(|raw| usable_key(&raw));
        let block = Block {
            first,
            last,
            not_before_ms: moment("not_before").ok_or_else(unreadable)?,
            not_after_ms: moment("not_after").ok_or_else(unreadable)?,
            terminal: value.text("pos_terminal_id").ok_or_else(unreadable)?.to_owned(),
            key: key.ok_or_else(unreadable)?,
            grant: entry,
            seals: BTreeMap::new(),
        };
        match self.last {
            _ if last < first => return Err(unreadable()),
            Some(before) if first <= before => {
                return Err(duplicate(format!("{first} is lent after {before}")));
            }
            Some(before) if first > before + 1 => {
                return Err(gap(format!("{first} is lent after {before}")));
            }
            _ => self.last = Some(last),
        }
        self.open.add(first, last);
        let id = value.text("credential_id").ok_or_else(unreadable)?;
        match self.blocks.insert(id.to_owned(), block) {
            Some(_) => Err(duplicate(format!("credential {id:?} is granted twice"))),
            None => Ok(()),
        }
    }

    pub(crate) fn closed(&mut self, value: &Value) -> Result<(), Failure> {
        let id = value.text("credential_id").ok_or_else(unreadable)?;
        let Some(block) = self.blocks.get(id) else { return Ok(()) };
        let mut left = Ranges::default();
        let places = (block.first..=block.last).zip(1..);
        for (number, _) in places.filter(|(_, place)| !block.seals.contains_key(place)) {
            left.add(number, number);
            self.open.remove(number);
        }
        let left = left.list();
        if !left.is_empty() {
            self.unflagged = Some((id.to_owned(), left));
        }
        Ok(())
    }

    pub(crate) fn flagged(&mut self, value: &Value) -> Result<(), Failure> {
        let missing = value.ranges("missing").ok_or_else(unreadable)?;
        let id = value.text("credential_id").ok_or_else(unreadable)?;
        match self.unflagged.take() {
            Some((expected, left)) if expected != id || left != missing => {
                return Err(gap(format!(
                    "{missing:?} is flagged missing in {id:?}, and {left:?} is in {expected:?}"
                )));
            }
            None if self.blocks.contains_key(id) => {
                return Err(gap(format!(
                    "{missing:?} is flagged missing in {id:?}, from which nothing is"
                )));
            }
            _ => {}
        }
        for (first, last) in missing {
            self.missing.add(first, last);
        }
        Ok(())
    }

    pub(crate) fn skipped(&mut self, value: &Value) -> Result<(), Failure> {
        let known = value.count("last_known").ok_or_else(unreadable)?;
        let issued = value.count("last_issued").ok_or_else(unreadable)?;
        let skipped = value.ranges("skipped").ok_or_else(unreadable)?;
        let expected: &[(u64, u64)] = if known < issued { &[(known + 1, issued)] } else { &[] };
        if self.last.is_some_and(|last| last != known) || issued < known || skipped != expected {
            return Err(gap(format!("a restore skips {skipped:?} after {:?}", self.last)));
        }
        for (first, last) in skipped {
            self.skipped.add(first, last);
        }
        self.last = Some(issued);
        Ok(())
    }

    /// A change of the outlet states its last number.
    pub(crate) fn stated(&mut self, value: &Value) -> Result<(), Failure> {
        let series = value.text("series").ok_or_else(unreadable)?;
        let stated = value.count("series_last").ok_or_else(unreadable)?;
        if self.prefix.get_or_insert_with(|| series.to_owned()) != series {
            return Err(Failure::new(
                Kind::Chain,
                "numbers",
                format!("{series:?} is another series"),
            ));
        }
        match *self.last.get_or_insert(stated) {
            last if last == stated => Ok(()),
            last => {
                Err(gap(format!("the outlet's last number is stated as {stated} and is {last}")))
            }
        }
    }

    /// Whether a closure's list of series is this one.
    pub(crate) fn are_stated_by(&self, stated: &[Value]) -> bool {
        let [series] = stated else { return false };
        let same = |name, ranges: &Ranges| series.ranges(name) == Some(ranges.list());
        self.prefix.as_deref().is_none_or(|prefix| series.text("series") == Some(prefix))
            && self.last.is_none_or(|last| series.count("last") == Some(last))
            && same("sealed", &self.sealed_since_z)
            && same("open", &self.open)
            && same("missing", &self.missing)
            && same("recovery_gaps", &self.skipped)
    }
}

impl Block {
    fn check(
        &self,
        seal: &OfflineSeal,
        sequence: u64,
        terminal: &str,
        taken_in_ms: u64,
    ) -> Result<(), Failure> {
        let wrong = |kind, detail: &str| Err(Failure::new(kind, "offline seal", detail));
        let in_place = seal.place.checked_sub(1).and_then(|before| self.first.checked_add(before))
            == Some(sequence);
        if !in_place || sequence > self.last || terminal != self.terminal {
            return wrong(
                Kind::Chain,
                "its number or its terminal is not the one that its credential lends to",
            );
        }
        if !(self.not_before_ms..=self.not_after_ms.min(taken_in_ms)).contains(&seal.time_ms) {
            return wrong(Kind::Chain, "its time is outside of its credential's");
        }
        let before = match seal.place {
            1 => Some(&self.grant),
            place => self.seals.get(&(place - 1)).map(|(entry, _)| entry),
        };
        let after = self.seals.get(&(seal.place + 1)).map(|(_, previous)| previous);
        if before.is_some_and(|entry| *entry != seal.previous)
            || after.is_some_and(|link| *link != seal.entry)
        {
            return wrong(
                Kind::Chain,
                "it does not link to its neighbours in the terminal's chain",
            );
        }
        if !seal.is_signed_by(&self.key) {
            return wrong(Kind::Signature, "the terminal's signature does not match");
        }
        Ok(())
    }
}
