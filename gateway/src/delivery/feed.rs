//! The events of all groups, as destinations need them: the newest are in memory and shared by all of them, older
//! ones are read page by page on demand. What this takes in memory is bounded, however far a destination is behind.
//!
//! ```text
//! node ── feed ──► tail of a group (a ring) ──► who is up to date
//!      ── feed, from a leaf on ──► pages (the last used are kept) ──► who is behind
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reference::leading_text;
use fiscus_proto::client::{ClusterClient, ReadError};
use fiscus_proto::ledger::{Consistency, FeedItem, JournalRecord};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::kept::Place;
use crate::directory::Directory;
use crate::webhooks::event::Event;

/// Leaves of a page.
const PAGE: u64 = 256;
/// A page is there within this time, or asked for again later.
const PAGE_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);
/// An outlet that the directory has not told of for so long, though it is heard of, is nobody's.
const OUTLET_WAIT: Duration = Duration::from_secs(3);
const READ_WAIT: Duration = Duration::from_secs(5);
/// Outlets whose refused invoices somebody wants sent again, until the uploads take them; more are found by looking.
const ASKED_MAX: usize = 1_000;

/// What is known of the journals.
#[derive(Debug)]
pub(crate) struct Feed {
    cluster: ClusterClient,
    directory: Arc<Directory>,
    bytes_max: usize,
    cache: Mutex<Cache>,
    /// Counts what has come.
    came: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Cache {
    tails: BTreeMap<u64, Tail>,
    tail_bytes: usize,
    pages: BTreeMap<(u64, u64), Page>,
    page_bytes: usize,
    uses: u64,
    /// Outlets of which refused invoices are to be sent again.
    asked: BTreeSet<String>,
}

/// The newest events of a group.
#[derive(Debug)]
struct Tail {
    /// All events from this leaf on are here,
    from: u64,
    /// up to before this one, which is the next to come.
    next: u64,
    events: VecDeque<Arc<Event>>,
}

#[derive(Debug)]
struct Page {
    events: Vec<Arc<Event>>,
    /// It covers its leaves up to before this one.
    to: u64,
    bytes: usize,
    used: u64,
}

/// Events from a leaf on.
#[derive(Debug)]
pub(crate) enum Found {
    /// All of them below `next`.
    Events {
        /// In the order of their leaves.
        events: Vec<Arc<Event>>,
        /// Where to go on.
        next: u64,
    },
    /// They must be loaded.
    Missing,
}

impl Feed {
    pub(crate) fn new(cluster: ClusterClient, directory: Arc<Directory>, bytes_max: usize) -> Self {
        Self { cluster, directory, bytes_max, cache: Mutex::default(), came: watch::Sender::new(0) }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever something has come.
    pub(crate) fn came(&self) -> watch::Receiver<u64> {
        self.came.subscribe()
    }

    /// By group, the next leaf to come; of the groups that have been heard of.
    pub(crate) fn tails(&self) -> BTreeMap<u64, u64> {
        self.cache().tails.iter().map(|(group, tail)| (*group, tail.next)).collect()
    }

    /// The outlets of which refused invoices are to be sent again, as far as that was heard since the last call.
    pub(crate) fn take_asked(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.cache().asked)
    }

    /// Bytes of events in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let cache = self.cache();
        cache.tail_bytes + cache.page_bytes
    }

    /// Events from a leaf on, at most a page of them.
    pub(crate) fn from(&self, group: u64, leaf: u64) -> Found {
        let mut cache = self.cache();
        let Some(tail) = cache.tails.get(&group) else { return Found::Missing };
        let end = tail.next.min(leaf.saturating_add(PAGE));
        if leaf >= tail.next {
            return Found::Events { events: Vec::new(), next: leaf };
        }
        if leaf >= tail.from {
            let first = tail.events.partition_point(|event| event.place.leaf < leaf);
            let events = tail.events.range(first..).take_while(|event| event.place.leaf < end);
            return Found::Events { events: events.cloned().collect(), next: end };
        }
        cache.uses += 1;
        let uses = cache.uses;
        let Some(page) = cache.pages.get_mut(&(group, leaf / PAGE)) else { return Found::Missing };
        if leaf >= page.to {
            return Found::Missing;
        }
        page.used = uses;
        let events = page.events.iter().filter(|event| event.place.leaf >= leaf);
        Found::Events { events: events.cloned().collect(), next: page.to }
    }

    /// Reads the page of a leaf.
    pub(crate) async fn load(&self, group: u64, leaf: u64) -> Result<(), ReadError> {
        let (index, end) = (leaf / PAGE, (leaf / PAGE * PAGE).saturating_add(PAGE));
        let unavailable = |detail: &str| ReadError::Unavailable { detail: detail.to_owned() };
        let next = self.cache().tails.get(&group).map(|tail| tail.next);
        let end = end.min(next.ok_or_else(|| unavailable("the group has not been heard of"))?);
        let mut items = Box::pin(self.cluster.feed(group, index * PAGE));
        let deadline = Instant::now() + PAGE_WAIT;
        let (mut events, mut to) = (Vec::new(), index * PAGE);
        while to < end {
            let item = timeout_at(deadline, items.next()).await;
            let item = item.map_err(|_| unavailable("a page did not come in time"))?;
            let item = item.ok_or_else(|| unavailable("the feed ended"))??;
            to = item.leaf + 1;
            events.extend(item.record.and_then(Event::of).map(Arc::new));
        }
        self.cache().keep_page((group, index), events, to, self.bytes_max / 2);
        Ok(())
    }

    /// One event, from memory or read for it.
    pub(crate) async fn event(&self, place: Place) -> Result<Option<Arc<Event>>, ReadError> {
        let Place { source: group, leaf } = place;
        if let Found::Events { events, next } = self.from(group, leaf)
            && next > leaf
        {
            return Ok(events.first().filter(|event| event.place.leaf == leaf).cloned());
        }
        let which = fiscus_proto::ledger::read_record_request::Which::Leaf(leaf);
        let request = fiscus_proto::ledger::ReadRecordRequest {
            group,
            which: Some(which),
            consistency: Consistency::Local.into(),
        };
        let mut request = request;
        let mut found = self.cluster.read_record(request.clone(), READ_WAIT).await?.record;
        if found.is_none() {
            request.consistency = Consistency::Linearizable.into();
            found = self.cluster.read_record(request, READ_WAIT).await?.record;
        }
        Ok(found.and_then(Event::of).map(Arc::new))
    }

    /// Follows a group from where it is now, for as long as it is polled.
    pub(crate) async fn follow(&self, group: u64) {
        let began = loop {
            match self.cluster.read_group(group, Consistency::Local, READ_WAIT).await {
                Ok(known) => break known.signed_leaves,
                Err(error) => tracing::debug!(group, %error, "a group is not heard of yet"),
            }
            sleep(PAUSE).await;
        };
        let mut next = began;
        self.begin(group, next);
        loop {
            let mut items = Box::pin(self.cluster.feed(group, next));
            while let Some(item) = items.next().await {
                match item {
                    Ok(item) => {
                        next = item.leaf + 1;
                        self.take(group, item).await;
                    }
                    Err(error) => {
                        tracing::warn!(group, %error, "a journal is not heard of");
                        break;
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// A group is heard of, from this leaf on.
    pub(super) fn begin(&self, group: u64, next: u64) {
        let tail = Tail { from: next, next, events: VecDeque::new() };
        self.cache().tails.entry(group).or_insert(tail);
        self.came.send_modify(|came| *came += 1);
    }

    async fn take(&self, group: u64, item: FeedItem) {
        let next = item.leaf + 1;
        let event = item.record.clone().and_then(Event::of).map(Arc::new);
        match &event {
            Some(event) => self.owner_known(&event.outlet_id).await,
            None => self.cache().ask(item.record.as_ref().and_then(sent_again)),
        }
        self.cache().push(group, event, next, self.bytes_max / 2);
        self.came.send_modify(|came| *came += 1);
    }

    /// Waits until it is known whose an outlet is: an event that came before its outlet would be nobody's.
    async fn owner_known(&self, outlet_id: &str) {
        let known = |tables: &crate::directory::Tables| tables.outlet(outlet_id).is_some();
        if known(&self.directory.read()) {
            return;
        }
        while !self.directory.wait_until(OUTLET_WAIT, known).await {
            if self.knows_owners() {
                return;
            }
        }
    }

    /// Whether the directory is fresh here, so that an outlet that it does not tell of is nobody's.
    pub(crate) fn knows_owners(&self) -> bool {
        self.directory.is_loaded() && self.directory.age() < OUTLET_WAIT
    }
}

/// The outlet of a record that says that somebody wants refused invoices sent again.
fn sent_again(record: &JournalRecord) -> Option<String> {
    // Nearly all records are of another kind, and no hash of them is needed here.
    let is_upload = Record::read(&record.record).is_ok_and(|read| read.kind == RecordKind::Upload);
    let read = is_upload.then(|| Record::decode(&record.record).ok()).flatten()?;
    let is_asked = leading_text(read.payload, "state").is_some_and(|state| state == "queued");
    is_asked.then(|| read.outlet_id.to_owned())
}

impl Cache {
    fn ask(&mut self, outlet_id: Option<String>) {
        if self.asked.len() < ASKED_MAX {
            self.asked.extend(outlet_id);
        }
    }

    fn push(&mut self, group: u64, event: Option<Arc<Event>>, next: u64, bytes_max: usize) {
        let Some(tail) = self.tails.get_mut(&group) else { return };
        tail.next = next;
        if let Some(event) = event {
            self.tail_bytes += event.weight();
            tail.events.push_back(event);
        }
        while self.tail_bytes > bytes_max {
            let longest = self.tails.values_mut().max_by_key(|tail| tail.events.len());
            let Some((tail, oldest)) =
                longest.and_then(|tail| tail.events.pop_front().map(|oldest| (tail, oldest)))
            else {
                return;
            };
            tail.from = oldest.place.leaf + 1;
            self.tail_bytes -= oldest.weight();
        }
    }

    fn keep_page(&mut self, key: (u64, u64), events: Vec<Arc<Event>>, to: u64, bytes_max: usize) {
        let bytes = events.iter().map(|event| event.weight()).sum::<usize>() + size_of::<Page>();
        self.uses += 1;
        let page = Page { events, to, bytes, used: self.uses };
        self.page_bytes += bytes;
        if let Some(before) = self.pages.insert(key, page) {
            self.page_bytes -= before.bytes;
        }
        while self.page_bytes > bytes_max && self.pages.len() > 1 {
            let oldest = self.pages.iter().min_by_key(|(_, page)| page.used).map(|(key, _)| *key);
            let gone = oldest.and_then(|oldest| self.pages.remove(&oldest));
            self.page_bytes -= gone.map_or(0, |page| page.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use fiscus_ledger::codec::Writer;
    use fiscus_ledger::time::UnixMs;

    use super::*;

    fn record(kind: RecordKind, payload: &str) -> JournalRecord {
        let mut record = Record {
            outlet_id: "outlet-gombe",
            position: 1,
            leaf_index: 0,
            kind,
            authority_id: "demo.29d1c0ffee15900d",
            fiscal_number: "",
            timestamp: UnixMs::new(1),
            total: "",
            currency: "",
            payload: payload.as_bytes(),
            blind: [0; 32],
            prev_hash: [0; 32],
            entry_hash: [0; 32],
            submission: None,
        };
        record.entry_hash = record.recomputed_entry_hash();
        let mut bytes = Writer::new();
        record.encode(&mut bytes);
        JournalRecord { record: bytes.finish().into(), ..JournalRecord::default() }
    }

    #[test]
    fn that_somebody_wants_refused_invoices_sent_again_is_heard_at_once() {
        let again = r#"{"state":"queued","requested_by":"operator","count":1,"invoices":[]}"#;
        for (kind, payload, asked) in [
            (RecordKind::Upload, again, true),
            (RecordKind::Upload, &again.replace("queued", "acknowledged"), false),
            (RecordKind::Payment, again, false),
            (RecordKind::Upload, "{}", false),
        ] {
            let outlet_id = sent_again(&record(kind, payload));
            assert_eq!(outlet_id.as_deref(), asked.then_some("outlet-gombe"), "{payload}");
        }
        let mut cache = Cache::default();
        (0..2 * ASKED_MAX).for_each(|at| cache.ask(Some(at.to_string())));
        assert_eq!(cache.asked.len(), ASKED_MAX);
    }
}
