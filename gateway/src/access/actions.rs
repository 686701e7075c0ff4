//! The audit log of actions: who did what, as the changes themselves wrote it.

use std::pin::pin;

use fiscus_proto::ledger::{Consistency, ListDocumentsRequest};
use futures_util::StreamExt;

use super::caller::Caller;
use super::registry::DIRECTORY;
use super::scopes::Scope;
use crate::directory::documents::{Action, kind};
use crate::http::Problem;
use crate::http::list::AsOf;

/// A page looks at so many actions at most: there may be fewer in it than asked for, and more to come.
const SCANNED_MAX: u32 = 2_000;

/// What is asked for. Empty text leaves a thing open.
#[derive(Debug, Clone, Default)]
pub struct ActionQuery {
    /// The tenant, where the platform's operator asks.
    pub organization: Option<String>,
    /// Not before, Unix milliseconds.
    pub from_ms: u64,
    /// Before; no end when it is 0.
    pub until_ms: u64,
    /// Whose key.
    pub key_id: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// To what kind of thing.
    pub object: Option<String>,
    /// To which.
    pub object_id: Option<String>,
    /// At which outlet.
    pub outlet_id: Option<String>,
    /// Where the page before ended.
    pub after: Option<String>,
    /// How many.
    pub limit: usize,
}

/// A page of actions, the newest first.
#[derive(Debug)]
pub struct ActionPage {
    /// Each with the last part of its document's id.
    pub actions: Vec<(String, Action)>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
    /// As of what.
    pub as_of: AsOf,
}

impl Caller {
    /// Who did what in the tenant; to a key that is limited, at the outlets that it reaches.
    pub async fn actions(
        &self,
        query: &ActionQuery,
        consistency: Consistency,
    ) -> Result<ActionPage, Problem> {
        self.may(Scope::AuditRead)?;
        let organisation = self.tenant(query.organization.as_deref())?;
        if let Some(outlet_id) = &query.outlet_id
            && !self.is_platform()
        {
            self.outlet(outlet_id)?;
        }
        let client = self.app().cluster();
        let wait = self.context().time_left();
        let group = client.read_group(DIRECTORY, consistency, wait).await?;
        let prefix = format!("{organisation}/");
        let request = ListDocumentsRequest {
            kind: kind::ACTION.to_owned(),
            after: start(&prefix, query),
            consistency: consistency.into(),
            prefix: prefix.clone(),
            limit: SCANNED_MAX,
            descending: true,
        };
        let mut documents = pin!(client.list_documents(request, self.context().time_left()));
        let (mut actions, mut scanned, mut next) = (Vec::new(), 0, None);
        while let Some(document) = documents.next().await {
            let document = document?;
            scanned += 1;
            let place = document.id.strip_prefix(&prefix).unwrap_or_default().to_owned();
            let Ok(action) = serde_json::from_slice::<Action>(&document.bytes) else {
                tracing::error!(id = document.id, "an action cannot be read");
                continue;
            };
            if action.time_ms < query.from_ms {
                break;
            }
            if self.sees(&action) && fits(&action, query) {
                actions.push((place.clone(), action));
            }
            if actions.len() == query.limit || scanned == SCANNED_MAX {
                next = Some(place);
                break;
            }
        }
        let as_of = AsOf::from(&group.as_of.unwrap_or_default());
        Ok(ActionPage { actions, next, as_of })
    }

    fn sees(&self, action: &Action) -> bool {
        !self.is_limited()
            || (!action.outlet_id.is_empty() && self.reach_outlet(&action.outlet_id).is_ok())
    }
}

/// The list goes on after this id, from the newest to the oldest.
fn start(prefix: &str, query: &ActionQuery) -> String {
    match (&query.after, query.until_ms) {
        (Some(place), _) => format!("{prefix}{place}"),
        // Every id of an earlier millisecond comes after this one. Lists are in the order of lengths first, and all
        // ids of actions are equally long.
        (None, until) if until > 0 => format!("{prefix}{until:013}-{:016}", 0),
        (None, _) => String::new(),
    }
}

fn fits(action: &Action, query: &ActionQuery) -> bool {
    let is = |asked: &Option<String>, known: &str| asked.as_deref().is_none_or(|a| a == known);
    is(&query.key_id, &action.key_id)
        && is(&query.action, &action.action)
        && is(&query.object, &action.object)
        && is(&query.object_id, &action.object_id)
        && is(&query.outlet_id, &action.outlet_id)
        && (query.until_ms == 0 || action.time_ms < query.until_ms)
}
