//! The part of a group's state that one batch works on.
//!
//! Prefetch names the rows, the store hands them over, apply changes them, and the effects carry the
//! changed ones back. Some rows can only be named once others are known (the invoice that a waiting
//! offline seal credits), so naming goes in rounds until nothing is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::codec::{DecodeError, Writer};
use crate::hash::Hash32;
use crate::state::Id;
use crate::state::block::{Block, Slot, WaitingKey, WaitingSeal};
use crate::state::group::Group;
use crate::state::outlet::{Outlet, PendingHead};
use crate::state::registry::{Activation, Document, DocumentKey, NumberSpace, NumberSpaceKey};
use crate::state::rows::{
    Device, InvoiceKey, Payment, PaymentKey, SealedInvoice, Submission, SubmissionKey, Terminal,
    TerminalKey,
};
use crate::state::table::{Row, Table};
use crate::state::upload::Upload;

/// The rows that a batch reads.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    pub(crate) outlets: BTreeSet<Id>,
    pub(crate) submissions: BTreeSet<SubmissionKey>,
    pub(crate) invoices: BTreeSet<InvoiceKey>,
    pub(crate) terminals: BTreeSet<TerminalKey>,
    pub(crate) payments: BTreeSet<PaymentKey>,
    pub(crate) uploads: BTreeSet<InvoiceKey>,
    pub(crate) devices: BTreeSet<Id>,
    pub(crate) blocks: BTreeSet<Id>,
    pub(crate) waiting: BTreeSet<WaitingKey>,
    pub(crate) documents: BTreeSet<DocumentKey>,
    pub(crate) number_spaces: BTreeSet<NumberSpaceKey>,
    pub(crate) activations: BTreeSet<Hash32>,
    /// Blocks whose waiting seals may be appended.
    pub(crate) reconciled: BTreeSet<Id>,
}

/// The rows of a batch, and the group.
#[derive(Debug, Clone)]
pub struct WorkingSet {
    /// What the group holds beside its rows.
    pub group: Group,
    pub(crate) outlets: Table<Box<Outlet>>,
    pub(crate) submissions: Table<Submission>,
    pub(crate) invoices: Table<SealedInvoice>,
    pub(crate) terminals: Table<Terminal>,
    pub(crate) payments: Table<Payment>,
    pub(crate) uploads: Table<Upload>,
    pub(crate) devices: Table<Device>,
    pub(crate) blocks: Table<Block>,
    pub(crate) waiting: Table<WaitingSeal>,
    pub(crate) documents: Table<Document>,
    pub(crate) number_spaces: Table<NumberSpace>,
    pub(crate) activations: Table<Activation>,
}

/// Rows of earlier batches as they left them, so that those of busy outlets are not read and decoded for
/// every batch. Whoever keeps them lets nobody else write these rows.
#[derive(Debug, Default)]
pub struct KnownRows {
    outlets: Known<Box<Outlet>>,
    terminals: Known<Terminal>,
}

/// Rows, and keys that have none.
type Known<V> = BTreeMap<<V as Row>::Key, Option<V>>;

/// So many rows of a table are kept at hand; then they are gathered anew.
const KNOWN_MAX: usize = 20_000;

/// A stored row that cannot be read: the index is damaged and the replica must be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {table} row {key} is damaged: {source}")]
pub struct DamagedRow {
    /// The table.
    pub table: &'static str,
    /// The key.
    pub key: String,
    /// What is wrong.
    pub source: DecodeError,
}

impl WorkingSet {
    /// Loads what a batch reads. `fetch` answers a stored key with the stored row.
    pub fn load(
        group: Group,
        reads: &Reads,
        fetch: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Self, DamagedRow> {
        Self::load_with(group, reads, &mut KnownRows::default(), fetch)
    }

    /// Loads what a batch reads, and fetches only what is not at hand.
    pub fn load_with(
        group: Group,
        reads: &Reads,
        known_rows: &mut KnownRows,
        mut fetch: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Self, DamagedRow> {
        let mut set = Self {
            group,
            outlets: Table::default(),
            submissions: Table::default(),
            invoices: Table::default(),
            terminals: Table::default(),
            payments: Table::default(),
            uploads: Table::default(),
            devices: Table::default(),
            blocks: Table::default(),
            waiting: Table::default(),
            documents: Table::default(),
            number_spaces: Table::default(),
            activations: Table::default(),
        };
        take_known(&mut set.outlets, &reads.outlets, &mut known_rows.outlets);
        take_known(&mut set.terminals, &reads.terminals, &mut known_rows.terminals);
        set.fill(reads, &mut fetch)?;
        let mut more = set.follow(reads);
        while set.fill(&more, &mut fetch)? {
            more = set.follow(&more);
        }
        Ok(set)
    }

    /// Ends the batch: what the next ones will probably read is at hand for them.
    #[must_use]
    pub fn leave(self, known_rows: &mut KnownRows) -> Group {
        keep_known(self.outlets, &mut known_rows.outlets);
        keep_known(self.terminals, &mut known_rows.terminals);
        self.group
    }

    /// Fills the tables; says whether anything was new.
    fn fill(
        &mut self,
        reads: &Reads,
        fetch: &mut impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<bool, DamagedRow> {
        let mut new = false;
        new |= fill_table(&mut self.outlets, &reads.outlets, fetch)?;
        new |= fill_table(&mut self.submissions, &reads.submissions, fetch)?;
        new |= fill_table(&mut self.invoices, &reads.invoices, fetch)?;
        new |= fill_table(&mut self.terminals, &reads.terminals, fetch)?;
        new |= fill_table(&mut self.payments, &reads.payments, fetch)?;
        new |= fill_table(&mut self.uploads, &reads.uploads, fetch)?;
        new |= fill_table(&mut self.devices, &reads.devices, fetch)?;
        new |= fill_table(&mut self.blocks, &reads.blocks, fetch)?;
        new |= fill_table(&mut self.waiting, &reads.waiting, fetch)?;
        new |= fill_table(&mut self.documents, &reads.documents, fetch)?;
        new |= fill_table(&mut self.number_spaces, &reads.number_spaces, fetch)?;
        new |= fill_table(&mut self.activations, &reads.activations, fetch)?;
        Ok(new)
    }

    /// The rows that only the rows just loaded can name.
    fn follow(&self, reads: &Reads) -> Reads {
        let mut more = Reads::default();
        for id in &reads.reconciled {
            let Ok(Some(block)) = self.blocks.get(id) else { continue };
            more.outlets.insert(block.outlet_id.clone());
            more.terminals.insert((block.outlet_id.clone(), block.terminal_id.clone()));
            for place in block.waiting() {
                more.waiting.insert((id.clone(), place));
                if let Some(Slot::Waiting { original: Some(original), .. }) = block.slot(place) {
                    more.invoices.insert((block.outlet_id.clone(), original.clone()));
                }
            }
        }
        for hash in &reads.activations {
            if let Ok(Some(activation)) = self.activations.get(hash) {
                more.documents.insert(("device".into(), activation.device_id.clone()));
            }
        }
        more
    }

    /// The loaded outlets.
    pub fn outlets(&self) -> impl Iterator<Item = (&Id, &Outlet)> {
        self.outlets.present().map(|(id, outlet)| (id, &**outlet))
    }

    /// The new leaves of the heads tree: the outlets that changed.
    pub(crate) fn changed_heads(&self) -> Vec<(Id, PendingHead)> {
        let changed = self.outlets.changed();
        changed.filter_map(|(id, row)| Some((id.clone(), row?.pending_head()))).collect()
    }

    /// The changed rows as stored keys and rows, in the order of their tables and keys.
    pub(crate) fn changed_rows(&self) -> Rows {
        // A seal changes about three rows of a hundred bytes; growing the buffer would copy them all.
        let mut rows = Rows::with_capacity(64 * 1024);
        rows.push_table(&self.outlets);
        rows.push_table(&self.submissions);
        rows.push_table(&self.invoices);
        rows.push_table(&self.terminals);
        rows.push_table(&self.payments);
        rows.push_table(&self.devices);
        rows.push_table(&self.blocks);
        rows.push_table(&self.waiting);
        rows.push_table(&self.uploads);
        rows.push_table(&self.documents);
        rows.push_table(&self.number_spaces);
        rows.push_table(&self.activations);
        rows
    }
}

fn take_known<V: Row>(table: &mut Table<V>, keys: &BTreeSet<V::Key>, known: &mut Known<V>) {
    for key in keys {
        if let Some((key, row)) = known.remove_entry(key) {
            table.load(key, row);
        }
    }
}

fn keep_known<V: Row>(table: Table<V>, known: &mut Known<V>) {
    if known.len() > KNOWN_MAX {
        known.clear();
    }
    known.extend(table.into_rows());
}

fn fill_table<V: Row>(
    table: &mut Table<V>,
    keys: &BTreeSet<V::Key>,
    fetch: &mut impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Result<bool, DamagedRow> {
    let mut new = false;
    for key in keys {
        if table.knows(key) {
            continue;
        }
        new = true;
        let row = match fetch(&V::stored_key(key)) {
            None => None,
            Some(bytes) => Some(V::from_stored(&bytes).map_err(|source| DamagedRow {
                table: V::NAME,
                key: format!("{key:?}"),
                source,
            })?),
        };
        table.load(key.clone(), row);
    }
    Ok(new)
}

/// Changed rows in one buffer: `u32 length ‖ key ‖ u8 1 ‖ u32 length ‖ row`, or `… ‖ u8 0` for a
/// deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Writer,
    places: Vec<Place>,
}

/// Where in the buffer a key and its row stand.
pub type Place = (Range<usize>, Option<Range<usize>>);

impl Rows {
    fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Writer::with_capacity(bytes), places: Vec::new() }
    }

    fn push_table<V: Row>(&mut self, table: &Table<V>) {
        for (key, row) in table.changed() {
            let key = self.push_framed(|out| {
                out.u8(V::TABLE);
                V::write_key(key, out);
            });
            self.bytes.bool(row.is_some());
            let row = row.map(|row| self.push_framed(|out| row.encode(out)));
            self.places.push((key, row));
        }
    }

    fn push_framed(&mut self, fill: impl FnOnce(&mut Writer)) -> Range<usize> {
        let start = self.as_bytes().len() + size_of::<u32>();
        self.bytes.framed(fill);
        start..self.as_bytes().len()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The whole buffer.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_bytes()
    }

    /// The rows: stored key, and stored row or `None` for a deletion.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let bytes = self.as_bytes();
        self.places
            .iter()
            .map(|(key, row)| (&bytes[key.clone()], row.clone().map(|row| &bytes[row])))
    }

    /// The whole buffer, and where in it the rows stand.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, Vec<Place>) {
        (self.bytes.finish(), self.places)
    }
}
