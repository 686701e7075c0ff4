//! What clients asked and were answered, and what must follow from it.
//!
//! Invariants checked here: an acknowledged seal is in the journal exactly once, with the bytes that were
//! answered; one of which nobody knows is there at most once; a refused one is not there; every repetition is
//! answered with the same bytes; what ended before something else began has the lower number; a linearizable
//! read never misses what was acknowledged before it began, and reads and checkpoints never go back.

use std::collections::BTreeMap;

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::record::Record;

/// What became of a seal, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was answered with this record.
    Sealed(Sealed),
    /// It was refused, with this code.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

/// What a client holds of a sealed invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) leaf: u64,
    pub(crate) record: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// One invoice that a client wants sealed; all attempts carry its key.
#[derive(Debug, Clone)]
pub(crate) struct Sale {
    pub(crate) outlet: String,
    /// Milliseconds of the simulation.
    pub(crate) began: u64,
    pub(crate) ended: Option<u64>,
    pub(crate) fate: Fate,
}

/// One linearizable look at an outlet.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) outlet: String,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) last_position: u64,
    pub(crate) last_number: u64,
}

/// A checkpoint of the data group that a client was given.
#[derive(Debug, Clone)]
pub(crate) struct SeenCheckpoint {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) size: u64,
    pub(crate) root: Hash32,
}

/// Everything that clients have seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// By the mark that is in the invoice.
    pub(crate) sales: BTreeMap<String, Sale>,
    pub(crate) looks: Vec<Look>,
    pub(crate) checkpoints: Vec<SeenCheckpoint>,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) repeated: u64,
    /// What was wrong at once.
    pub(crate) wrong: Vec<String>,
}

/// An invoice in the final journal.
#[derive(Debug, Clone)]
struct Placed {
    leaf: u64,
    number: u64,
}

/// The number at the end of a fiscal number.
pub(crate) fn sequence(fiscal_number: &str) -> Option<u64> {
    fiscal_number.rsplit_once('-')?.1.parse().ok()
}

/// The mark of a sale in its canonical invoice.
pub(crate) fn mark_in(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?;
    let begin = text.find("mark:")? + 5;
    let length = text[begin..].find('"')?;
    Some(text[begin..begin + length].to_owned())
}

impl History {
    /// A client begins with a sale.
    pub(crate) fn begin(&mut self, mark: &str, outlet: &str, now: u64) {
        let sale = Sale { outlet: outlet.to_owned(), began: now, ended: None, fate: Fate::Unknown };
        self.sales.insert(mark.to_owned(), sale);
    }

    /// A client was answered with a record.
    pub(crate) fn sealed(&mut self, mark: &str, now: u64, sealed: Sealed) {
        let Some(sale) = self.sales.get_mut(mark) else { return };
        match &sale.fate {
            Fate::Sealed(before) if *before == sealed => self.repeated += 1,
            Fate::Sealed(before) => self.wrong.push(format!(
                "sale {mark} was answered with leaf {} and then with leaf {}, or with other bytes",
                before.leaf, sealed.leaf
            )),
            Fate::Refused(code) => {
                self.wrong.push(format!("sale {mark} was refused with {code}, and then sealed"));
            }
            Fate::Unknown => {
                self.acknowledged += 1;
                sale.ended = Some(now);
                sale.fate = Fate::Sealed(sealed);
            }
        }
    }

    /// A client was refused.
    pub(crate) fn refused(&mut self, mark: &str, now: u64, code: &str) {
        let Some(sale) = self.sales.get_mut(mark) else { return };
        if let Fate::Sealed(_) = sale.fate {
            self.wrong.push(format!("sale {mark} was sealed, and then refused with {code}"));
            return;
        }
        sale.ended = Some(now);
        sale.fate = Fate::Refused(code.to_owned());
    }

    /// What the final journal, leaf by leaf, says against what clients have seen.
    pub(crate) fn judge(&self, journal: &[(u64, Vec<u8>)]) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        let mut placed: BTreeMap<String, Placed> = BTreeMap::new();
        let records: BTreeMap<u64, &[u8]> =
            journal.iter().map(|(leaf, record)| (*leaf, &record[..])).collect();
        for (leaf, bytes) in &records {
            let record = match Record::decode(bytes) {
                Ok(record) => record,
                Err(error) => {
                    wrong.push(format!("leaf {leaf} is no record: {error}"));
                    continue;
                }
            };
            let Some(number) = sequence(record.fiscal_number) else { continue };
            let Some(mark) = mark_in(record.payload) else { continue };
            match self.sales.get(&mark) {
                None => wrong.push(format!("leaf {leaf} has sale {mark}, which nobody made")),
                Some(sale) if matches!(sale.fate, Fate::Refused(_)) => {
                    wrong.push(format!("sale {mark} was refused, and is leaf {leaf}"));
                }
                Some(_) => {}
            }
            if let Some(before) = placed.insert(mark.clone(), Placed { leaf: *leaf, number }) {
                wrong.push(format!("sale {mark} is leaf {} and leaf {leaf}", before.leaf));
            }
        }
        for (mark, sale) in &self.sales {
            let Fate::Sealed(sealed) = &sale.fate else { continue };
            match records.get(&sealed.leaf) {
                Some(record) if **record == sealed.record[..] => {}
                Some(_) => wrong.push(format!(
                    "sale {mark} was acknowledged as leaf {}, where something else is",
                    sealed.leaf
                )),
                None => wrong.push(format!(
                    "sale {mark} was acknowledged as leaf {}, which is not there",
                    sealed.leaf
                )),
            }
        }
        self.judge_order(&placed, &mut wrong);
        self.judge_looks(&mut wrong);
        self.judge_checkpoints(&mut wrong);
        wrong
    }

    /// What ended before something else began has the lower number. Sorted by beginning, one pass: nothing that
    /// begins later may have a number below the highest of those that had ended.
    fn judge_order(&self, placed: &BTreeMap<String, Placed>, wrong: &mut Vec<String>) {
        let mut outlets: BTreeMap<&str, Vec<(u64, u64, u64, &str)>> = BTreeMap::new();
        for (mark, sale) in &self.sales {
            let (Some(ended), Some(at)) = (sale.ended, placed.get(mark)) else { continue };
            outlets.entry(&sale.outlet).or_default().push((sale.began, ended, at.number, mark));
        }
        for (outlet, mut sales) in outlets {
            sales.sort_unstable();
            let mut ends = sales.clone();
            ends.sort_unstable_by_key(|(_, ended, ..)| *ended);
            let mut ends = ends.into_iter().peekable();
            let (mut highest, mut whose) = (0, "");
            for (began, _, number, mark) in sales {
                while let Some((_, _, number, mark)) = ends.next_if(|(_, end, ..)| *end < began) {
                    if number > highest {
                        (highest, whose) = (number, mark);
                    }
                }
                if number < highest {
                    wrong.push(format!(
                        "at {outlet}, sale {mark} began after sale {whose} had number {highest}, and has {number}"
                    ));
                }
            }
        }
    }

    fn judge_looks(&self, wrong: &mut Vec<String>) {
        let mut outlets: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
        for (mark, sale) in &self.sales {
            let (Fate::Sealed(sealed), Some(ended)) = (&sale.fate, sale.ended) else { continue };
            let Ok(record) = Record::decode(&sealed.record) else { continue };
            let seen = outlets.entry(&sale.outlet).or_default();
            seen.sales.push((ended, record.position, mark));
        }
        for look in &self.looks {
            outlets.entry(&look.outlet).or_default().looks.push(look);
        }
        for seen in outlets.into_values() {
            seen.judge(wrong);
        }
    }

    /// A later look at the log never finds a smaller checkpoint.
    fn judge_checkpoints(&self, wrong: &mut Vec<String>) {
        for later in &self.checkpoints {
            let before = |seen: &&SeenCheckpoint| seen.ended < later.began;
            let largest = self.checkpoints.iter().filter(before).map(|seen| seen.size).max();
            if let Some(size) = largest.filter(|size| *size > later.size) {
                wrong.push(format!(
                    "a client was given a checkpoint of {size} leaves, and a later one of {}",
                    later.size
                ));
            }
        }
    }
}

/// What was seen of one outlet.
#[derive(Debug, Default)]
struct Seen<'a> {
    /// Acknowledged sales: when each ended, its position, its mark.
    sales: Vec<(u64, u64, &'a str)>,
    looks: Vec<&'a Look>,
}

impl Seen<'_> {
    /// Each look is compared with the furthest of everything that had ended when it began: sorted by time, one pass.
    fn judge(mut self, wrong: &mut Vec<String>) {
        self.sales.sort_unstable();
        self.looks.sort_unstable_by_key(|look| look.began);
        let mut ends = self.looks.clone();
        ends.sort_unstable_by_key(|look| look.ended);
        let mut sales = self.sales.iter().peekable();
        let mut ends = ends.into_iter().peekable();
        let (mut sealed, mut whose) = (0, "");
        let (mut position, mut number) = (0, 0);
        for look in self.looks {
            while let Some((_, at, mark)) = sales.next_if(|(ended, ..)| *ended < look.began) {
                if *at > sealed {
                    (sealed, whose) = (*at, mark);
                }
            }
            while let Some(before) = ends.next_if(|before| before.ended < look.began) {
                position = position.max(before.last_position);
                number = number.max(before.last_number);
            }
            if sealed > look.last_position {
                wrong.push(format!(
                    "a look at {} that began at {} ms ends at position {}, and misses sale {whose}",
                    look.outlet, look.began, look.last_position
                ));
            }
            if position > look.last_position || number > look.last_number {
                wrong.push(format!(
                    "a look at {} saw position {position}, and a later one {}",
                    look.outlet, look.last_position
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
