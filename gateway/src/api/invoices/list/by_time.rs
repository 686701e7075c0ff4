//! Invoices of many outlets in the order of their times: one stream for each part of each group, merged.
//!
//! Within a stream, leaves are in the order of their times. The merge takes the head that comes next; it stops where a
//! stream has no head and may still have records, because one of those may come first.

use std::collections::{BTreeMap, VecDeque};

use fiscus_ledger::record::Record;
use fiscus_proto::ledger::{AsOf as Moment, FindRecordsRequest, JournalRecord};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::filters::Asked;
use super::summary::{Document, InvoiceSummary};
use crate::access::{Caller, Part, Search};
use crate::http::Problem;
use crate::http::list::{AsOf, Page, cursor_invalid, read_cursor, write_cursor};

/// Rounds of calls that one page makes at most.
const ROUNDS_MAX: usize = 3;
/// Records that one call brings at most when some of them will be passed over.
const LOOKED_AT: usize = 200;
/// Groups that are asked side by side.
const ASKED_AT_ONCE: usize = 16;

/// How far the list was read.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    /// The filters' fingerprint.
    f: String,
    /// Group, part, of how many, next leaf (0 when nothing is left), leaves when the list began.
    s: Vec<[u64; 5]>,
}

/// One stream.
#[derive(Debug)]
struct Stream {
    part: Part,
    /// Descending: only leaves below it, 0 for all. Ascending: only leaves from it on.
    next: u64,
    /// Ascending: only leaves below it, 0 until the first call tells how many there are.
    pin: u64,
    ended: bool,
    heads: VecDeque<Head>,
}

/// A record that was brought and not yet taken.
#[derive(Debug)]
struct Head {
    time_ms: u64,
    leaf: u64,
    sealed: JournalRecord,
}

pub(super) async fn page(caller: &Caller, asked: &Asked) -> Result<Page<InvoiceSummary>, Problem> {
    let cursor = asked.cursor.as_deref().map(read_cursor::<Cursor>).transpose()?;
    if cursor.as_ref().is_some_and(|cursor| cursor.f != asked.fingerprint) {
        return Err(cursor_invalid());
    }
    let known = cursor.map_or_else(Vec::new, |cursor| cursor.s);
    let dealt = known.iter().map(|[group, _, of, _, _]| (*group, *of)).collect();
    let search = caller.search(&asked.filters.outlet_ids, &dealt)?;
    let mut merge = Merge::new(&search, asked, &known);
    let mut data = Vec::new();
    for _ in 0..ROUNDS_MAX {
        merge.fetch().await?;
        merge.take(&mut data)?;
        if data.len() == asked.limit || merge.is_at_end() {
            break;
        }
    }
    let next_cursor = (!merge.is_at_end())
        .then(|| write_cursor(&Cursor { f: asked.fingerprint.clone(), s: merge.places() }));
    Ok(Page { data, next_cursor, as_of: merge.moments.values().map(AsOf::from).collect() })
}

struct Merge<'a> {
    search: &'a Search,
    asked: &'a Asked,
    descending: bool,
    streams: Vec<Stream>,
    /// One for each group that was asked.
    moments: BTreeMap<u64, Moment>,
}

impl<'a> Merge<'a> {
    fn new(search: &'a Search, asked: &'a Asked, known: &[[u64; 5]]) -> Self {
        let is_first = known.is_empty();
        let streams = search.parts().map(|part| {
            let place = known
                .iter()
                .find(|[group, number, of, ..]| {
                    [*group, *number, *of] == [part.group, part.part, part.of]
                })
                .map(|[.., next, pin]| (*next, *pin));
            // What came after the list began is in no page of it.
            let ended = !is_first && place.is_none_or(|(next, pin)| next == 0 && pin == 0);
            let (next, pin) = place.unwrap_or((0, 0));
            Stream { part, next, pin, ended, heads: VecDeque::new() }
        });
        let (streams, descending) = (streams.collect(), asked.sort.is_descending());
        Self { search, asked, descending, streams, moments: BTreeMap::new() }
    }

    /// One call for each stream that has no head.
    async fn fetch(&mut self) -> Result<(), Problem> {
        let limit = match self.asked.filters.look_inside() {
            true => self.asked.limit.max(LOOKED_AT),
            false => self.asked.limit,
        };
        let (search, asked, descending) = (self.search, self.asked, self.descending);
        let mut waiting: Vec<&mut Stream> =
            self.streams.iter_mut().filter(|stream| stream.is_waiting()).collect();
        for some in waiting.chunks_mut(ASKED_AT_ONCE) {
            let calls = some.iter().map(|stream| {
                let request = stream.request(asked, descending, limit);
                search.find(stream.part, request)
            });
            let found = try_join_all(calls).await?;
            for (stream, found) in some.iter_mut().zip(found) {
                if let Some(moment) = found.as_of {
                    if stream.pin == 0 {
                        stream.pin = moment.leaves;
                    }
                    self.moments.insert(stream.part.group, moment);
                }
                stream.ended = found.next_leaf.is_none();
                stream.next = found.next_leaf.unwrap_or(0);
                for sealed in found.records {
                    stream.heads.push_back(head(sealed)?);
                }
            }
        }
        Ok(())
    }

    /// Takes what comes next until the page is full or a stream has to be asked first.
    fn take(&mut self, data: &mut Vec<InvoiceSummary>) -> Result<(), Problem> {
        while data.len() < self.asked.limit {
            if self.streams.iter().any(Stream::is_waiting) {
                return Ok(());
            }
            let heads = self.streams.iter_mut().filter(|stream| !stream.heads.is_empty());
            let key = |stream: &&mut Stream| {
                (stream.heads.front().map_or(0, |head| head.time_ms), stream.part)
            };
            let first = if self.descending { heads.max_by_key(key) } else { heads.min_by_key(key) };
            let Some(head) = first.and_then(|stream| stream.heads.pop_front()) else {
                return Ok(());
            };
            if let Some(summary) = self.summary(&head.sealed)? {
                data.push(summary);
            }
        }
        Ok(())
    }

    fn summary(&self, sealed: &JournalRecord) -> Result<Option<InvoiceSummary>, Problem> {
        let record = decode(sealed)?;
        // An outlet that the caller no longer reaches was not asked for.
        let Some(outlet) = self.search.outlet(record.outlet_id) else { return Ok(None) };
        if !self.asked.filters.match_status(outlet.dgi_status(sealed, &record)) {
            return Ok(None);
        }
        let document = Document::of(&record)?;
        if !self.asked.filters.match_document(&document) {
            return Ok(None);
        }
        InvoiceSummary::of(outlet, sealed, &record, document).map(Some)
    }

    fn is_at_end(&self) -> bool {
        self.streams.iter().all(|stream| stream.ended && stream.heads.is_empty())
    }

    /// Where each stream goes on.
    fn places(&self) -> Vec<[u64; 5]> {
        let places = self.streams.iter().map(|stream| {
            let (next, pin) = match stream.heads.front() {
                Some(head) if self.descending => (head.leaf + 1, stream.pin),
                Some(head) => (head.leaf, stream.pin),
                None if stream.ended => (0, 0),
                None => (stream.next, stream.pin),
            };
            [stream.part.group, stream.part.part, stream.part.of, next, pin]
        });
        places.collect()
    }
}

impl Stream {
    fn is_waiting(&self) -> bool {
        self.heads.is_empty() && !self.ended
    }

    fn request(&self, asked: &Asked, descending: bool, limit: usize) -> FindRecordsRequest {
        let (from_leaf, below_leaf) = match descending {
            true => (0, self.next),
            false => (self.next, self.pin),
        };
        FindRecordsRequest {
            from_leaf,
            below_leaf,
            descending,
            kinds: asked.filters.kind_names(),
            from_ms: asked.filters.from_ms,
            until_ms: asked.filters.until_ms,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            consistency: asked.consistency.into(),
            ..FindRecordsRequest::default()
        }
    }
}

fn decode(sealed: &JournalRecord) -> Result<Record<'_>, Problem> {
    Record::decode(&sealed.record).map_err(|error| Problem::internal(&format!("a record: {error}")))
}

fn head(sealed: JournalRecord) -> Result<Head, Problem> {
    let time_ms = decode(&sealed)?.timestamp.get();
    Ok(Head { time_ms, leaf: sealed.leaf, sealed })
}
