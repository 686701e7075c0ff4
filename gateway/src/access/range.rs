//! A part of an outlet's journal, as somebody asks for it: by times, by numbers or by positions.

use axum::http::StatusCode;
use fiscus_ledger::record::Record;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::{
    Consistency, FindNumbersRequest, FindRecordsRequest, JournalRecord, OutletPosition,
    ReadRecordRequest, read_record_request::Which,
};

use super::outlet::Outlet;
use crate::http::Problem;

/// What is asked for. What is left open begins with the first record and ends with the last one that there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeAsked {
    /// Not before.
    pub from: Option<UnixMs>,
    /// Before.
    pub until: Option<UnixMs>,
    /// The first number of the main series.
    pub from_sequence: Option<u64>,
    /// The last one.
    pub to_sequence: Option<u64>,
    /// The first position.
    pub from_position: Option<u64>,
    /// The last one.
    pub to_position: Option<u64>,
}

/// Records of an outlet that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first position.
    pub from: u64,
    /// The last position.
    pub to: u64,
    /// The leaf of the first record.
    pub first_leaf: u64,
    /// The leaf of the last record; those of the others are smaller.
    pub last_leaf: u64,
    /// The group's time at the first record.
    pub from_time: UnixMs,
    /// And at the last.
    pub to_time: UnixMs,
}

impl RangeAsked {
    /// Refuses a mixture of bounds: it could be read in several ways.
    pub fn check(&self) -> Result<(), Problem> {
        let pairs = [
            (self.from.map(UnixMs::get), self.until.map(UnixMs::get), "to"),
            (self.from_sequence, self.to_sequence, "to_sequence"),
            (self.from_position, self.to_position, "to_position"),
        ];
        let given = pairs.iter().filter(|(first, last, _)| first.is_some() || last.is_some());
        if given.count() > 1 {
            let detail =
                "bound a range by times, by numbers or by positions, not by a mixture of them";
            return Err(wrong("from", detail));
        }
        // Of numbers and positions there is no 0, which the cluster reads as an open end.
        for (bound, name) in [
            (self.from_sequence, "from_sequence"),
            (self.to_sequence, "to_sequence"),
            (self.from_position, "from_position"),
            (self.to_position, "to_position"),
        ] {
            if bound == Some(0) {
                return Err(wrong(name, "numbers and positions begin with 1"));
            }
        }
        for (first, last, name) in pairs {
            if first.zip(last).is_some_and(|(first, last)| first > last) {
                return Err(wrong(name, "a range does not end before it begins"));
            }
        }
        Ok(())
    }
}

fn wrong(name: &str, detail: &str) -> Problem {
    Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "RANGE_INVALID", name, detail)
}

/// Nothing was recorded there.
fn empty() -> Problem {
    let detail = "there is no record of this outlet in this range";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "RANGE_EMPTY", detail)
}

impl Outlet {
    /// The records that a range holds now. It never holds others later.
    pub async fn range(&self, asked: &RangeAsked) -> Result<Range, Problem> {
        asked.check()?;
        let (first, last) = match asked {
            RangeAsked {
                from_sequence: None,
                to_sequence: None,
                from_position,
                to_position,
                ..
            } if from_position.is_some() || to_position.is_some() => {
                let last = self.edge(None, None, true).await?.ok_or_else(empty)?;
                let end = position(&last)?;
                let last = match *to_position {
                    Some(to) if to < end => self.record_at(to).await?.ok_or_else(empty)?,
                    _ => last,
                };
                let first = self.record_at(from_position.unwrap_or(1)).await?;
                (first.ok_or_else(empty)?, last)
            }
            RangeAsked { from_sequence: None, to_sequence: None, from, until, .. } => {
                let first = self.edge(*from, *until, false).await?.ok_or_else(empty)?;
                (first, self.edge(*from, *until, true).await?.ok_or_else(empty)?)
            }
            RangeAsked { from_sequence, to_sequence, .. } => {
                let bounds = (from_sequence.unwrap_or(1), to_sequence.unwrap_or(0));
                let first = self.numbered(bounds, false).await?.ok_or_else(empty)?;
                (first, self.numbered(bounds, true).await?.ok_or_else(empty)?)
            }
        };
        let (first, last) = (decoded(&first)?, decoded(&last)?);
        if first.position > last.position {
            return Err(empty());
        }
        Ok(Range {
            from: first.position,
            to: last.position,
            first_leaf: first.leaf_index,
            last_leaf: last.leaf_index,
            from_time: first.timestamp,
            to_time: last.timestamp,
        })
    }

    /// A record by its position.
    pub async fn record_at(&self, position: u64) -> Result<Option<JournalRecord>, Problem> {
        let outlet_id = self.id().to_owned();
        let request = ReadRecordRequest {
            group: self.entry().group(),
            which: Some(Which::Position(OutletPosition { outlet_id, position })),
            consistency: Consistency::Linearizable.into(),
        };
        Ok(self.app().cluster().read_record(request, self.time_left()).await?.record)
    }

    /// The first or the last record between two times.
    async fn edge(
        &self,
        from: Option<UnixMs>,
        until: Option<UnixMs>,
        last: bool,
    ) -> Result<Option<JournalRecord>, Problem> {
        let mut request = FindRecordsRequest {
            group: self.entry().group(),
            outlet_ids: vec![self.id().to_owned()],
            from_leaf: 0,
            below_leaf: 0,
            descending: last,
            kinds: Vec::new(),
            from_ms: from.map_or(0, UnixMs::get),
            // 0 would leave the end open.
            until_ms: until.map_or(0, |until| until.get().max(1)),
            limit: 1,
            consistency: Consistency::Linearizable.into(),
        };
        loop {
            let found =
                self.app().cluster().find_records(request.clone(), self.time_left()).await?;
            match (found.records.into_iter().next(), found.next_leaf) {
                (Some(record), _) => return Ok(Some(record)),
                (None, None) => return Ok(None),
                (None, Some(next)) if last => request.below_leaf = next,
                (None, Some(next)) => request.from_leaf = next,
            }
        }
    }

    /// The first or the last invoice between two numbers, both among them; 0 leaves the end open.
    async fn numbered(
        &self,
        (from, to): (u64, u64),
        last: bool,
    ) -> Result<Option<JournalRecord>, Problem> {
        let mut request = FindNumbersRequest {
            group: self.entry().group(),
            outlet_id: self.id().to_owned(),
            from_sequence: from,
            to_sequence: to,
            descending: last,
            limit: 1,
            below_leaf: 0,
            consistency: Consistency::Linearizable.into(),
        };
        loop {
            let found =
                self.app().cluster().find_numbers(request.clone(), self.time_left()).await?;
            match (found.records.into_iter().next(), found.next_sequence) {
                (Some(record), _) => return Ok(Some(record)),
                (None, None) => return Ok(None),
                (None, Some(next)) if last => request.to_sequence = next,
                (None, Some(next)) => request.from_sequence = next,
            }
        }
    }
}

fn decoded(record: &JournalRecord) -> Result<Record<'_>, Problem> {
    Record::decode(&record.record).map_err(|error| Problem::internal(&format!("a record: {error}")))
}

fn position(record: &JournalRecord) -> Result<u64, Problem> {
    decoded(record).map(|record| record.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_bounds_of_one_kind_in_their_order() {
        let sound = [
            RangeAsked::default(),
            RangeAsked {
                from: Some(UnixMs::new(5)),
                until: Some(UnixMs::new(5)),
                ..RangeAsked::default()
            },
            RangeAsked { to_sequence: Some(3), ..RangeAsked::default() },
        ];
        for asked in sound {
            asked.check().expect("it is sound");
        }
        let mixed = RangeAsked {
            from: Some(UnixMs::new(5)),
            to_position: Some(9),
            ..RangeAsked::default()
        };
        let turned =
            RangeAsked { from_position: Some(9), to_position: Some(8), ..RangeAsked::default() };
        let nothing = RangeAsked { to_sequence: Some(0), ..RangeAsked::default() };
        for (asked, pointer) in [(mixed, "from"), (turned, "to_position"), (nothing, "to_sequence")]
        {
            let problem = asked.check().expect_err("it is not");
            assert_eq!((&*problem.code, &*problem.errors[0].pointer), ("RANGE_INVALID", pointer));
        }
    }
}
