//! An index whose latest rows are in memory until they are made durable, many at once.
//!
//! ```text
//! write ─┐
//! write ─┼─ settle ─► layer ─┬─ freeze ─► one frozen layer ─ sink ─► the index below, one durable commit
//! write ─┘            layer ─┘
//! get: the last change of the key above, the index below
//! ```
//!
//! Writing costs no IO, and a durable commit of the index below does not stop writers: they only wait for
//! the moment of freezing. What was just written lies as it came until somebody asks for an order: a view,
//! or the freezing. Layers are sorted and never change; small ones are merged into larger ones, so that there
//! are never many. A view is the layers that there are, and a view of the index below. Nearly all reads are
//! of single rows of the present: for these the last change of every key is in one hash map, and a view of
//! the index below is kept from one sink to the next, because making one costs more than a read.
//!
//! Invariant: what is below is always a state that a whole number of writes led to.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::batch::{Batch, Change};
use super::{Durability, Index, IndexError, IndexStats, RANGE_BYTES_MAX, Row, RowVisitor, View};

/// Changes in the order of their keys, each key once.
#[derive(Debug, Default, Clone)]
struct Layer {
    changes: Vec<Change>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Layers {
    /// In the order in which they were written; newer than all layers.
    loose: Vec<Change>,
    loose_bytes: usize,
    /// Newest last.
    fresh: Vec<Arc<Layer>>,
    /// On its way into the index below; older than all fresh ones.
    frozen: Option<Arc<Layer>>,
    /// By key the last change that a layer has.
    last: HashMap<Bytes, Option<Bytes>>,
    /// What is below, unless it is just being written to: a view would keep room from being used again.
    below: Option<Arc<dyn View>>,
}

/// An index with its latest rows in memory.
#[derive(Debug)]
pub struct LayeredIndex {
    /// Before what is below, of which it holds a view.
    layers: RwLock<Layers>,
    below: Arc<dyn Index>,
    /// Held while a frozen layer is on its way, so that there is one.
    sinking: Mutex<()>,
}

/// One moment of it.
#[derive(Debug)]
struct LayeredView {
    /// Newest first.
    layers: Vec<Arc<Layer>>,
    below: Box<dyn View>,
}

impl Layer {
    /// Of changes in the order in which they were written.
    fn of(mut written: Vec<Change>) -> Self {
        // Stable, and the last word on a key wins.
        written.sort_by(|a, b| a.key.cmp(&b.key));
        let mut changes: Vec<Change> = Vec::with_capacity(written.len());
        for change in written {
            match changes.last_mut() {
                Some(last) if last.key == change.key => *last = change,
                _ => changes.push(change),
            }
        }
        let bytes = changes.iter().map(Change::bytes).sum();
        Self { changes, bytes }
    }

    /// A layer to take apart; where a view holds it as well, a copy.
    fn owned(layer: Arc<Self>) -> Self {
        Arc::try_unwrap(layer).unwrap_or_else(|shared| (*shared).clone())
    }

    /// What both say; where they differ, the newer.
    fn merge(newer: Self, older: Self) -> Self {
        let mut changes = Vec::with_capacity(newer.changes.len() + older.changes.len());
        let mut old = older.changes.into_iter().peekable();
        for new in newer.changes {
            while let Some(before) = old.next_if(|before| before.key < new.key) {
                changes.push(before);
            }
            old.next_if(|before| before.key == new.key);
            changes.push(new);
        }
        changes.extend(old);
        let bytes = changes.iter().map(Change::bytes).sum();
        Self { changes, bytes }
    }

    fn find(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        let at = self.changes.binary_search_by(|known| known.key.as_ref().cmp(key)).ok()?;
        Some(self.changes[at].value.as_ref())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> &[Change] {
        let start = self.changes.partition_point(|change| change.key.as_ref() < from);
        let end = to.map_or(self.changes.len(), |to| {
            self.changes.partition_point(|change| change.key.as_ref() < to)
        });
        self.changes.get(start..end).unwrap_or(&[])
    }
}

impl Layers {
    fn is_empty(&self) -> bool {
        self.loose.is_empty() && self.fresh.is_empty()
    }

    /// Makes a layer of what was just written.
    fn settle(&mut self) {
        if self.loose.is_empty() {
            return;
        }
        self.loose_bytes = 0;
        let mut newest = Layer::of(std::mem::take(&mut self.loose));
        // As digits are carried: a layer swallows those before it that are no larger, so their number
        // stays logarithmic and each row is merged as often.
        while let Some(before) = self.fresh.pop() {
            if before.changes.len() > newest.changes.len() {
                self.fresh.push(before);
                break;
            }
            newest = Layer::merge(newest, Layer::owned(before));
        }
        self.fresh.push(Arc::new(newest));
    }
}

impl LayeredIndex {
    /// Over an index that nobody else writes to.
    #[must_use]
    pub fn over(below: Arc<dyn Index>) -> Self {
        Self { layers: RwLock::default(), below, sinking: Mutex::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().expect("no holder panics")
    }

    fn change(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().expect("no holder panics")
    }

    /// Bytes that are only in memory.
    pub fn fresh_bytes(&self) -> usize {
        let layers = self.read();
        let sorted = layers.fresh.iter().chain(&layers.frozen).map(|layer| layer.bytes);
        layers.loose_bytes + sorted.sum::<usize>()
    }

    /// Fixes what the next [`Self::sink`] makes durable: everything written so far.
    pub fn freeze(&self) {
        let mut layers = self.change();
        layers.settle();
        let fresh = std::mem::take(&mut layers.fresh);
        let older = layers.frozen.take().into_iter().chain(fresh);
        let older = older.map(Layer::owned);
        layers.frozen = older.reduce(|older, newer| Layer::merge(newer, older)).map(Arc::new);
    }

    /// Makes what is frozen durable. Writers go on meanwhile.
    pub fn sink(&self) -> Result<(), IndexError> {
        let _one = self.sinking.lock().expect("no holder panics");
        let Some(frozen) = self.read().frozen.clone() else { return self.below.flush() };
        let mut batch = Batch::with_capacity(frozen.changes.len());
        for change in &frozen.changes {
            batch.change(change.key.clone(), change.value.clone());
        }
        self.change().below = None;
        self.below.write(&batch, Durability::Durable)?;
        let below: Arc<dyn View> = self.below.view()?.into();
        let mut layers = self.change();
        layers.below = Some(below);
        // More may have been frozen into it since; what sank is below it now, and the same.
        if layers.frozen.as_ref().is_some_and(|now| Arc::ptr_eq(now, &frozen)) {
            layers.frozen = None;
            for Change { key, value } in &frozen.changes {
                // A row that was changed again since stays; one that was only written again is the same below.
                if layers.last.get(key) == Some(value) {
                    layers.last.remove(key);
                }
            }
        }
        Ok(())
    }
}

impl Index for LayeredIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let below = {
            let layers = self.read();
            if let Some(change) = layers.last.get(key) {
                return Ok(change.as_ref().map(|value| value.to_vec()));
            }
            layers.below.clone()
        };
        match below {
            Some(view) => view.get(key),
            None => self.below.get(key),
        }
    }

    fn write(&self, batch: &Batch, how: Durability) -> Result<(), IndexError> {
        let mut layers = self.change();
        for change in batch.changes() {
            layers.last.insert(change.key.clone(), change.value.clone());
        }
        layers.loose.extend_from_slice(batch.changes());
        layers.loose_bytes += batch.len_bytes();
        drop(layers);
        match how {
            Durability::Eventual => Ok(()),
            Durability::Durable => self.flush(),
        }
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.freeze();
        self.sink()
    }

    fn view(&self) -> Result<Box<dyn View>, IndexError> {
        if !self.read().loose.is_empty() {
            self.change().settle();
        }
        // The layers are held while the view below is made: nothing sinks in between unseen. What was
        // written since they were settled is a matter for the next view.
        let layers = self.read();
        let newest_first = layers.fresh.iter().rev().chain(&layers.frozen);
        let above = newest_first.cloned().collect();
        let below = self.below.view()?;
        Ok(Box::new(LayeredView { layers: above, below }))
    }

    fn stats(&self) -> Result<IndexStats, IndexError> {
        let below = self.below.stats()?;
        // What is above may be there below as well.
        let rows = if self.read().is_empty() { below.rows } else { None };
        Ok(IndexStats { disk_bytes: below.disk_bytes, rows })
    }
}

impl View for LayeredView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        for layer in &self.layers {
            if let Some(found) = layer.find(key) {
                return Ok(found.map(|value| value.to_vec()));
            }
        }
        self.below.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        row: &mut RowVisitor<'_>,
    ) -> Result<ControlFlow<()>, IndexError> {
        let mut above: BTreeMap<&Bytes, Option<&Bytes>> = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            let changes = layer.range(from, to).iter();
            above.extend(changes.map(|change| (&change.key, change.value.as_ref())));
        }
        let mut above = above.into_iter().peekable();
        let below = self.below.scan(from, to, &mut |key, value| {
            while let Some((known, change)) = above.next_if(|(known, _)| known.as_ref() <= key) {
                let same = known.as_ref() == key;
                if let Some(changed) = change
                    && row(known, changed).is_break()
                {
                    return ControlFlow::Break(());
                }
                if same {
                    return ControlFlow::Continue(());
                }
            }
            row(key, value)
        })?;
        if below.is_break() {
            return Ok(below);
        }
        for (key, change) in above {
            if let Some(value) = change
                && row(key, value).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn range_back(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut above: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            let changes = layer.range(from, to).iter();
            above.extend(changes.map(|change| {
                (change.key.to_vec(), change.value.as_ref().map(|value| value.to_vec()))
            }));
        }
        let mut to = to.map(<[u8]>::to_vec);
        while rows.len() < limit {
            let page = self.below.range_back(from, to.as_deref(), limit)?;
            let end = page.is_empty();
            // Whatever is above stands in the place of what is below it.
            let mut merged: BTreeMap<_, _> =
                page.into_iter().map(|(key, value)| (key, Some(value))).collect();
            to = merged.first_key_value().map(|(lowest, _)| lowest.clone());
            merged.append(&mut above.split_off(to.as_deref().unwrap_or(&[])));
            for (key, value) in merged.into_iter().rev() {
                let Some(value) = value else { continue };
                bytes += key.len() + value.len();
                if rows.len() == limit || (bytes > RANGE_BYTES_MAX && !rows.is_empty()) {
                    return Ok(rows);
                }
                rows.push((key, value));
            }
            if end {
                break;
            }
        }
        Ok(rows)
    }
}
