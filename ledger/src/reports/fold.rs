//! Comes to an outlet's chain, numbers and totals from its records alone.

use std::collections::BTreeMap;

use crate::hash::{Hash32, ZERO_HASH};
use crate::invoice::{CanonicalInvoice, parse_strict};
use crate::manifest::Manifest;
use crate::problem::Problem;
use crate::record::{Record, RecordKind};
use crate::seal::split_number;
use crate::state::ranges::RangeSet;
use crate::state::tally::Tally;

/// What is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// A record is missing, repeated or out of order.
    #[error("record {found} follows record {after}")]
    Position {
        /// The last good position.
        after: u64,
        /// The position found.
        found: u64,
    },
    /// A record does not link to the one before it.
    #[error("record {position} does not link to the record before it")]
    Link {
        /// The record.
        position: u64,
    },
    /// A record's hash is not the hash of its parts.
    #[error("record {position} is not what its hash says")]
    Hash {
        /// The record.
        position: u64,
    },
    /// A fiscal number is used twice or cannot be read.
    #[error(
        "record {position} carries the fiscal number {number:?}, which is wrong or used before"
    )]
    Number {
        /// The record.
        position: u64,
        /// The number.
        number: String,
    },
    /// An invoice is not canonical or breaks the tax rules.
    #[error("the invoice in record {position}: {problem}")]
    Invoice {
        /// The record.
        position: u64,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// The record's own fields differ from its invoice.
    #[error("record {position} and its invoice state different {field}")]
    Field {
        /// The record.
        position: u64,
        /// The field.
        field: &'static str,
    },
}

/// The figures of one Z, as the records make them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZFigures {
    /// Its number.
    pub number: u64,
    /// Its record.
    pub position: u64,
    /// What it covers.
    pub tally: Tally,
    /// The numbers that it covers.
    pub sealed: RangeSet,
}

/// A fold over the records of one outlet, from the first on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The last position.
    pub position: u64,
    /// The chain's head.
    pub head: Hash32,
    /// Every number of the main series seen.
    pub numbers: RangeSet,
    /// The last number of each device's series.
    pub devices: BTreeMap<String, u64>,
    /// Totals since the last Z.
    pub since_z: Tally,
    /// Numbers since the last Z.
    pub sealed_since_z: RangeSet,
    /// Totals since the first invoice.
    pub perpetual: Tally,
    /// The Z closures, in order.
    pub closures: Vec<ZFigures>,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            position: 0,
            head: ZERO_HASH,
            numbers: RangeSet::default(),
            devices: BTreeMap::new(),
            since_z: Tally::default(),
            sealed_since_z: RangeSet::default(),
            perpetual: Tally::default(),
            closures: Vec::new(),
        }
    }
}

impl Fold {
    /// Checks and adds the next record.
    pub fn add(&mut self, record: &Record<'_>, manifests: &[&Manifest]) -> Result<(), FoldError> {
        let position = record.position;
        if position != self.position + 1 {
            return Err(FoldError::Position { after: self.position, found: position });
        }
        if record.prev_hash != self.head {
            return Err(FoldError::Link { position });
        }
        if record.recomputed_entry_hash() != record.entry_hash {
            return Err(FoldError::Hash { position });
        }
        if record.kind.invoice_type().is_some() {
            self.add_invoice(record, manifests)?;
        }
        if record.kind == RecordKind::ZClosure {
            let number = u64::try_from(self.closures.len()).unwrap_or(u64::MAX) + 1;
            self.closures.push(ZFigures {
                number,
                position,
                tally: std::mem::take(&mut self.since_z),
                sealed: std::mem::take(&mut self.sealed_since_z),
            });
        }
        self.position = position;
        self.head = record.entry_hash;
        Ok(())
    }

    fn add_invoice(
        &mut self,
        record: &Record<'_>,
        manifests: &[&Manifest],
    ) -> Result<(), FoldError> {
        let position = record.position;
        let invoice = invoice_of(record, manifests)?;
        let differs = [
            ("type", record.kind.invoice_type() != Some(invoice.invoice_type())),
            ("total", record.total != invoice.totals().total.to_string()),
            ("currency", record.currency != invoice.totals().currency.as_str()),
            ("outlet", record.outlet_id != invoice.outlet_id()),
        ];
        if let Some((field, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            return Err(FoldError::Field { position, field });
        }
        let wrong = || FoldError::Number { position, number: record.fiscal_number.to_owned() };
        let (series, number) = split_number(record.fiscal_number).ok_or_else(wrong)?;
        if matches!(record.kind, RecordKind::Def(_)) {
            let last = self.devices.entry(series.to_owned()).or_default();
            if number != *last + 1 {
                return Err(wrong());
            }
            *last = number;
        } else {
            if self.numbers.contains(number) {
                return Err(wrong());
            }
            self.numbers.insert(number);
            self.sealed_since_z.insert(number);
        }
        self.since_z.add(&invoice);
        self.perpetual.add(&invoice);
        Ok(())
    }
}

/// The invoice in a record, parsed under the manifest that it names.
pub fn invoice_of<'r>(
    record: &Record<'r>,
    manifests: &[&Manifest],
) -> Result<CanonicalInvoice<'r>, FoldError> {
    let position = record.position;
    let broken = |problem: Problem| FoldError::Invoice { position, problem: Box::new(problem) };
    let bytes = record
        .kind
        .invoice_in(record.payload)
        .ok_or(FoldError::Field { position, field: "payload" })?;
    let mut refusal = FoldError::Field { position, field: "manifest" };
    for manifest in manifests.iter().rev() {
        match parse_strict(bytes, manifest) {
            Ok(invoice) => return Ok(invoice),
            Err(problem) => {
                // Only the manifest that the invoice names can say what is wrong with it.
                let other = problem.code == crate::problem::Code::ManifestStale;
                refusal = broken(problem);
                if !other {
                    break;
                }
            }
        }
    }
    Err(refusal)
}
