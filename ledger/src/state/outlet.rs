//! What a group knows of one outlet: its registration, its chain and its counters.

use std::collections::BTreeMap;

use crate::codec::{DecodeError, Reader, Writer};
use crate::facts::OutletFact;
use crate::hash::{Hash32, ZERO_HASH};
use crate::heads::HeadEntry;
use crate::invoice::CanonicalInvoice;
use crate::state::ranges::RangeSet;
use crate::state::table::Row;
use crate::state::tally::Tally;
use crate::state::upload::Uploads;
use crate::state::{Id, read_id};
use crate::time::UnixMs;

/// Where an outlet's next record goes. The group's own chain is one, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The position of the last record; 0 when there is none.
    pub last_position: u64,
    /// The entry hash of the last record; zeros when there is none.
    pub head: Hash32,
    /// The time of the last record.
    pub last_timestamp: UnixMs,
}

impl Chain {
    pub(crate) fn empty() -> Self {
        Self { last_position: 0, head: ZERO_HASH, last_timestamp: UnixMs::new(0) }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u64(self.last_position).raw(&self.head).u64(self.last_timestamp.get());
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            last_position: from.u64("chain position")?,
            head: from.h32("chain head")?,
            last_timestamp: UnixMs::new(from.u64("chain time")?),
        })
    }
}

/// The outlet's main run of fiscal numbers. Every number from 1 to `last` is exactly one of sealed,
/// reserved in an open block, missing in a closed block, or a recovery gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// The last number that was given away, sealed or reserved.
    pub last: u64,
    /// How many numbers are sealed.
    pub sealed: u64,
    /// Numbers lent to open blocks and not sealed yet.
    pub reserved: RangeSet,
    /// Numbers of closed blocks that never came back.
    pub missing: RangeSet,
    /// Numbers skipped after a restore.
    pub recovery_gaps: RangeSet,
}

impl Series {
    /// Whether every number is accounted for exactly once.
    #[must_use]
    pub fn is_accounted_for(&self) -> bool {
        let parts =
            [self.sealed, self.reserved.count(), self.missing.count(), self.recovery_gaps.count()];
        parts.into_iter().try_fold(0_u64, u64::checked_add) == Some(self.last)
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.last).u64(self.sealed);
        self.reserved.encode(out);
        self.missing.encode(out);
        self.recovery_gaps.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let series = Self {
            last: from.u64("series last")?,
            sealed: from.u64("series sealed")?,
            reserved: RangeSet::decode(from)?,
            missing: RangeSet::decode(from)?,
            recovery_gaps: RangeSet::decode(from)?,
        };
        if !series.is_accounted_for() {
            return Err(DecodeError::Invalid("series accounting"));
        }
        Ok(series)
    }
}

/// An outlet imports from at most this many devices in its life: each is a part of its row.
pub const DEVICE_SERIES_MAX: usize = 64;

/// The run of numbers of one real fiscal device. It has no gaps: they are imported in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSeries {
    /// The last number that was imported.
    pub last: u64,
    /// The hash of its entry in the device's journal.
    pub head: Hash32,
    /// The last number at the last Z.
    pub closed: u64,
}

impl DeviceSeries {
    /// The numbers since the last Z.
    #[must_use]
    pub fn since_z(&self) -> Option<(u64, u64)> {
        (self.closed < self.last).then_some((self.closed + 1, self.last))
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.last).raw(&self.head).u64(self.closed);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let series = Self {
            last: from.u64("device series last")?,
            head: from.h32("device series head")?,
            closed: from.u64("device series closed")?,
        };
        if series.last == 0 || series.closed > series.last {
            return Err(DecodeError::Invalid("device series"));
        }
        Ok(series)
    }
}

fn decode_device_series(from: &mut Reader<'_>) -> Result<BTreeMap<Id, DeviceSeries>, DecodeError> {
    let mut all: BTreeMap<Id, DeviceSeries> = BTreeMap::new();
    for _ in 0..from.len("device series")? {
        let id = read_id(from, "device series id")?;
        let in_order = all.last_key_value().is_none_or(|(before, _)| *before < id);
        if !in_order || all.len() == DEVICE_SERIES_MAX {
            return Err(DecodeError::Invalid("device series"));
        }
        all.insert(id, DeviceSeries::decode(from)?);
    }
    Ok(all)
}

/// What has happened since the last Z.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The position of the last Z; 0 before the first.
    pub opened_after: u64,
    /// The chain head after the last Z.
    pub opening_head: Hash32,
    /// Totals since then.
    pub tally: Tally,
    /// Numbers sealed since then.
    pub sealed: RangeSet,
    /// Versions of the manifests that taxed them, in order of first use.
    pub manifests: Vec<Id>,
}

impl Period {
    /// A period that opens after the record at `position`.
    #[must_use]
    pub fn opening_after(position: u64, head: Hash32) -> Self {
        Self {
            opened_after: position,
            opening_head: head,
            tally: Tally::default(),
            sealed: RangeSet::default(),
            manifests: Vec::new(),
        }
    }

    pub(crate) fn note_manifest(&mut self, version: &str) {
        if !self.manifests.iter().any(|known| &**known == version) {
            self.manifests.push(Id::from(version));
        }
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.opened_after).raw(&self.opening_head);
        self.tally.encode(out);
        self.sealed.encode(out);
        out.len(self.manifests.len());
        for version in &self.manifests {
            out.str(version);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut period =
            Self::opening_after(from.u64("period opening")?, from.h32("period opening head")?);
        period.tally = Tally::decode(from)?;
        period.sealed = RangeSet::decode(from)?;
        for _ in 0..from.len("period manifests")? {
            period.manifests.push(read_id(from, "period manifest")?);
        }
        Ok(period)
    }
}

/// Everything that sealing for an outlet needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlet {
    /// The registration, as the directory last stated it.
    pub fact: OutletFact,
    /// The version of that registration.
    pub fact_version: u64,
    /// Set by a restore, until the operator has shown which numbers were given away.
    pub held: bool,
    /// The journal's end.
    pub chain: Chain,
    /// The main series.
    pub series: Series,
    /// The series of its real devices, by their ids.
    pub device_series: BTreeMap<Id, DeviceSeries>,
    /// Number of the last Z.
    pub last_z: u64,
    /// Since the last Z.
    pub period: Period,
    /// Totals since the first invoice; never reset.
    pub perpetual: Tally,
    /// How far the tax authority has its invoices.
    pub uploads: Uploads,
}

impl Outlet {
    /// A newly registered outlet.
    #[must_use]
    pub fn new(fact: OutletFact, fact_version: u64) -> Self {
        Self {
            fact,
            fact_version,
            held: false,
            chain: Chain::empty(),
            series: Series::default(),
            device_series: BTreeMap::new(),
            last_z: 0,
            period: Period::opening_after(0, ZERO_HASH),
            perpetual: Tally::default(),
            uploads: Uploads::default(),
        }
    }

    /// How many invoices there are, of all series.
    #[must_use]
    pub fn invoices(&self) -> u64 {
        let devices = self.device_series.values().map(|series| series.last);
        devices.fold(self.series.sealed, u64::saturating_add)
    }

    /// How many of them the tax authority has not answered for, among them those that are to be sent again.
    #[must_use]
    pub fn upload_queue(&self) -> u64 {
        self.invoices().saturating_sub(self.uploads.settled())
    }

    /// What a fiscal number of the main series starts with, without the last dash.
    #[must_use]
    pub fn number_prefix(&self) -> String {
        format!("{}-{}", self.fact.prefix, self.fact.code)
    }

    /// A fiscal number of the main series.
    #[must_use]
    pub fn fiscal_number(&self, number: u64) -> Id {
        Id::from(format!("{}-{}-{number}", self.fact.prefix, self.fact.code))
    }

    /// Adds an invoice of any series to the counters.
    pub(crate) fn count(&mut self, invoice: &CanonicalInvoice<'_>) {
        self.period.tally.add(invoice);
        self.period.note_manifest(invoice.manifest_version());
        self.perpetual.add(invoice);
    }

    /// Opens the period after the Z that the chain's last record is.
    pub(crate) fn close_period(&mut self) {
        self.last_z += 1;
        self.period = Period::opening_after(self.chain.last_position, self.chain.head);
        for series in self.device_series.values_mut() {
            series.closed = series.last;
        }
    }

    /// The outlet's leaf in the heads tree.
    #[must_use]
    pub fn head_entry(&self) -> HeadEntry {
        self.pending_head().entry()
    }

    /// What its leaf in the heads tree is made of.
    pub(crate) fn pending_head(&self) -> PendingHead {
        let devices = self.device_series.iter();
        PendingHead {
            last_position: self.chain.last_position,
            prefix: self.fact.prefix.clone(),
            code: self.fact.code.clone(),
            last: self.series.last,
            devices: devices.map(|(id, series)| (id.clone(), series.last)).collect(),
            chain_head: self.chain.head,
            perpetual: self.perpetual.clone(),
        }
    }
}

/// An outlet's leaf in the heads tree before it is made: most outlets change many times between two
/// roots of the tree, and hashing the totals costs more than keeping them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingHead {
    last_position: u64,
    prefix: Id,
    code: Id,
    last: u64,
    devices: Vec<(Id, u64)>,
    chain_head: Hash32,
    perpetual: Tally,
}

impl PendingHead {
    pub(crate) fn entry(&self) -> HeadEntry {
        let mut series = BTreeMap::from([(format!("{}-{}", self.prefix, self.code), self.last)]);
        series.extend(self.devices.iter().map(|(id, last)| (id.to_string(), *last)));
        HeadEntry::new(self.last_position, series, self.chain_head, self.perpetual.digest())
    }
}

impl Row for Outlet {
    type Key = Id;
    const TABLE: u8 = 2;
    const NAME: &'static str = "outlet";

    fn write_key(key: &Id, out: &mut Writer) {
        out.str(key);
    }

    fn encode(&self, out: &mut Writer) {
        self.fact.encode(out);
        out.u64(self.fact_version).bool(self.held);
        self.chain.encode(out);
        self.series.encode(out);
        out.u64(self.last_z);
        self.period.encode(out);
        self.perpetual.encode(out);
        // Most outlets never have a real device: their rows do not mention any.
        let is_uploaded = self.uploads != Uploads::default();
        if !self.device_series.is_empty() || is_uploaded {
            out.len(self.device_series.len());
            for (id, series) in &self.device_series {
                out.str(id);
                series.encode(out);
            }
        }
        if is_uploaded {
            self.uploads.encode(out);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut outlet = Self {
            fact: OutletFact::decode(from)?,
            fact_version: from.u64("outlet version")?,
            held: from.bool("outlet held")?,
            chain: Chain::decode(from)?,
            series: Series::decode(from)?,
            device_series: BTreeMap::new(),
            last_z: from.u64("outlet last Z")?,
            period: Period::decode(from)?,
            perpetual: Tally::decode(from)?,
            uploads: Uploads::default(),
        };
        if !from.is_empty() {
            outlet.device_series = decode_device_series(from)?;
            if from.is_empty() && outlet.device_series.is_empty() {
                return Err(DecodeError::Invalid("device series"));
            }
        }
        if !from.is_empty() {
            outlet.uploads = Uploads::decode(from)?;
            if outlet.uploads == Uploads::default() || outlet.uploads.settled() > outlet.invoices()
            {
                return Err(DecodeError::Invalid("uploads"));
            }
        }
        Ok(outlet)
    }
}
