//! Records of many outlets of one caller, wherever they live.
//!
//! A call to a group names its outlets, and not too many; so the outlets of a group are dealt into parts by a hash of
//! their ids, which stays the same from page to page when outlets come and go.

use std::collections::BTreeMap;

use fiscus_proto::ledger::{FindRecordsRequest, FindRecordsResponse};

use super::app::App;
use super::caller::Caller;
use super::outlet::Outlet;
use crate::http::list::cursor_invalid;
use crate::http::{Problem, RequestContext};

/// What the parts of a group are made for,
const OUTLETS_OF_PART: usize = 500;
/// and what a call may name: chance and new outlets have room.
const OUTLETS_OF_PART_MAX: usize = 1_000;

/// Some of the outlets of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The group.
    pub group: u64,
    /// Which part of it,
    pub part: u64,
    /// of how many.
    pub of: u64,
}

/// The outlets that a search looks at; the caller reaches them all.
#[derive(Debug)]
pub struct Search {
    app: App,
    context: RequestContext,
    outlets: BTreeMap<String, Outlet>,
    parts: BTreeMap<Part, Vec<String>>,
}

impl Caller {
    /// A search of some of the caller's outlets, or of all. `dealt` says into how many parts the groups were dealt
    /// when the search began.
    pub fn search(
        &self,
        outlet_ids: &[String],
        dealt: &BTreeMap<u64, u64>,
    ) -> Result<Search, Problem> {
        let outlets = match outlet_ids {
            [] => self.outlets(),
            ids => ids.iter().map(|id| self.reach_outlet(id)).collect::<Result<Vec<_>, _>>()?,
        };
        let mut groups: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for outlet in &outlets {
            groups.entry(outlet.entry().group()).or_default().push(outlet.id().to_owned());
        }
        let mut parts: BTreeMap<Part, Vec<String>> = BTreeMap::new();
        for (group, mut ids) in groups {
            ids.sort_unstable();
            ids.dedup();
            let of = dealt.get(&group).copied();
            let of = of.unwrap_or(ids.len().div_ceil(OUTLETS_OF_PART) as u64).max(1);
            for id in ids {
                let part = place(&id) % of;
                parts.entry(Part { group, part, of }).or_default().push(id);
            }
        }
        // A cursor of long ago, or one that somebody made up, deals too many outlets into one part.
        if parts.values().any(|ids| ids.len() > OUTLETS_OF_PART_MAX) {
            return Err(cursor_invalid());
        }
        let outlets = outlets.into_iter().map(|outlet| (outlet.id().to_owned(), outlet)).collect();
        let (app, context) = (self.app().clone(), self.context().clone());
        Ok(Search { app, context, outlets, parts })
    }
}

/// A number that is the same for an id everywhere and always.
fn place(outlet_id: &str) -> u64 {
    let hash = blake3::hash(outlet_id.as_bytes());
    let bytes = std::array::from_fn(|at| hash.as_bytes()[at]);
    u64::from_le_bytes(bytes)
}

impl Search {
    /// What is to be asked, in their order.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.parts.keys().copied()
    }

    /// An outlet of the search.
    #[must_use]
    pub fn outlet(&self, outlet_id: &str) -> Option<&Outlet> {
        self.outlets.get(outlet_id)
    }

    /// Records of one part; the group and the outlets are set here.
    pub async fn find(
        &self,
        part: Part,
        request: FindRecordsRequest,
    ) -> Result<FindRecordsResponse, Problem> {
        let outlet_ids = self.parts.get(&part).cloned().unwrap_or_default();
        let request = FindRecordsRequest { group: part.group, outlet_ids, ..request };
        let wait = self.context.time_left();
        Ok(self.app.cluster().find_records(request, wait).await?)
    }
}
