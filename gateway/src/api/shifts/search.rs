//! Finding shifts in an outlet's journal, the latest first.
//!
//! ```text
//! journal, backwards:  close of C · open of D · open of C · …
//! told:                C, closed    D, open     (known)
//! ```
//!
//! A shift is told at its end; an opening whose end was not passed on the way is that of an open shift.

use std::collections::BTreeSet;

use fiscus_proto::ledger::{AsOf, Consistency, FindRecordsRequest};
use serde::{Deserialize, Serialize};

use super::view::{Shift, Status};
use crate::access::Outlet;
use crate::http::Problem;

const KINDS: [&str; 2] = ["shift_open", "shift_close"];
/// Records that one call brings at most.
const RECORDS_MAX: u32 = 200;

/// How far a search has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place {
    /// Only records below this leaf are left; 0 at the beginning.
    below: u64,
    /// Positions of openings that are still to come and whose ends were passed. There is at most one for each
    /// terminal.
    closed: BTreeSet<u64>,
}

/// A search of one outlet.
pub(super) struct Search<'o> {
    outlet: &'o Outlet,
    consistency: Consistency,
    place: Place,
    done: bool,
    /// The moment of the last call.
    pub(super) as_of: Option<AsOf>,
}

impl<'o> Search<'o> {
    pub(super) fn new(outlet: &'o Outlet, consistency: Consistency, from: Option<Place>) -> Self {
        let place = from.unwrap_or(Place { below: 0, closed: BTreeSet::new() });
        Self { outlet, consistency, place, done: false, as_of: None }
    }

    /// Where to go on; none at the end.
    pub(super) fn place(&self) -> Option<&Place> {
        (!self.done).then_some(&self.place)
    }

    /// One call: at most so many shifts, and none does not mean that there are no more.
    pub(super) async fn step(&mut self, most: usize) -> Result<Vec<Shift>, Problem> {
        let limit = u32::try_from(most).unwrap_or(RECORDS_MAX).clamp(1, RECORDS_MAX);
        let request = FindRecordsRequest {
            below_leaf: self.place.below,
            descending: true,
            kinds: KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
            limit,
            consistency: self.consistency.into(),
            ..FindRecordsRequest::default()
        };
        let found = self.outlet.find_records(request).await?;
        let mut shifts = Vec::new();
        for record in &found.records {
            let shift = Shift::of(record)?;
            match shift.status {
                Status::Closed => {
                    self.place.closed.insert(shift.opened_at_position);
                    shifts.push(shift);
                }
                Status::Open if self.place.closed.remove(&shift.opened_at_position) => {}
                Status::Open => shifts.push(shift),
            }
        }
        match found.next_leaf {
            Some(next) => self.place.below = next,
            None => self.done = true,
        }
        self.as_of = found.as_of.or(self.as_of.take());
        Ok(shifts)
    }
}
