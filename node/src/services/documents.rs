//! Documents of the directory: one, or a list.
//!
//! Invariant: a page is read at one moment, so no document is torn; different pages may be of different
//! moments, and a document that is made meanwhile may be in or not. Between two pages nobody holds the
//! group.

use std::sync::Weak;

use fiscus_ledger::state::Id;
use fiscus_ledger::state::registry::Document;
use fiscus_proto::ledger::{self as wire, Consistency};
use fiscus_proto::tls::Role;
use fiscus_raft::entry::DIRECTORY_GROUP;
use fiscus_raft::store::DocumentQuery;
use futures_util::{Stream, StreamExt};
use tonic::{Request, Status};

use super::ledger::{LedgerService, READERS, as_of, failed};
use super::{require, still_open};
use crate::context::NodeContext;
use crate::groups::Hosted;

/// Documents read at once.
pub(super) const PAGE: usize = 64;
/// Kinds whose documents tell how somebody proves who they are, what they asked for, or whom they are told.
const CONFIDENTIAL: [&str; 7] = [
    "api_key",
    "idempotency",
    "webhook",
    "webhook_notices",
    "webhook_alerts",
    "delivery_log",
    "delivery_shard",
];
const CONFIDANTS: [Role; 2] = [Role::Gateway, Role::Admin];

/// Checks that whoever asks may read documents of these kinds.
pub(super) fn require_kinds<'a, T>(
    context: &NodeContext,
    request: &Request<T>,
    kinds: impl IntoIterator<Item = &'a str>,
) -> Result<(), Status> {
    require(context, request, readers(kinds))
}

/// Who may read documents of all these kinds.
fn readers<'a>(kinds: impl IntoIterator<Item = &'a str>) -> &'static [Role] {
    let confidential = kinds.into_iter().any(|kind| CONFIDENTIAL.contains(&kind));
    if confidential { &CONFIDANTS } else { &READERS }
}

pub(super) fn message(kind: &str, id: &Id, document: Document) -> wire::Document {
    wire::Document {
        kind: kind.to_owned(),
        id: id.to_string(),
        version: document.version,
        bytes: document.bytes.into(),
    }
}

impl LedgerService {
    pub(super) async fn find_document(
        &self,
        request: wire::ReadDocumentRequest,
    ) -> Result<wire::ReadDocumentResponse, Status> {
        let hosted = self.group(DIRECTORY_GROUP)?;
        let reading = self.reading(&hosted, request.consistency).await?;
        let found = reading.document(&request.kind, &request.id).map_err(|error| failed(&error))?;
        let id = Id::from(request.id);
        Ok(wire::ReadDocumentResponse {
            as_of: Some(as_of(reading.as_of())),
            document: found.map(|document| message(&request.kind, &id, document)),
        })
    }

    pub(super) async fn documents_of(
        &self,
        request: wire::ListDocumentsRequest,
    ) -> Result<impl Stream<Item = Result<wire::Document, Status>> + Send + use<>, Status> {
        let hosted = self.group(DIRECTORY_GROUP)?;
        if request.consistency != i32::from(Consistency::Local) {
            self.catch_up(&hosted).await?;
        }
        Ok(listed(std::sync::Arc::downgrade(&hosted), request))
    }
}

/// The documents that a request is about. It moves on with each page.
fn listed(
    hosted: Weak<Hosted>,
    request: wire::ListDocumentsRequest,
) -> impl Stream<Item = Result<wire::Document, Status>> + Send {
    let left = match request.limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let pages = futures_util::stream::unfold(Some((request, left)), move |state| {
        let hosted = hosted.clone();
        async move {
            let (mut request, left) = state?;
            match still_open(&hosted).and_then(|hosted| page(&hosted, &request, left)) {
                Err(status) => Some((vec![Err(status)], None)),
                Ok(page) => {
                    request.after.clone_from(&page.last()?.id);
                    let left = left - page.len();
                    let next = (left > 0).then_some((request, left));
                    Some((page.into_iter().map(Ok).collect(), next))
                }
            }
        }
    });
    pages.flat_map(futures_util::stream::iter)
}

fn page(
    hosted: &Hosted,
    request: &wire::ListDocumentsRequest,
    left: usize,
) -> Result<Vec<wire::Document>, Status> {
    let reading = hosted.handle.replica().read().map_err(|error| failed(&error))?;
    let query = DocumentQuery {
        kind: &request.kind,
        prefix: &request.prefix,
        after: (!request.after.is_empty()).then_some(&*request.after),
        descending: request.descending,
    };
    let found = reading.find_documents(query, PAGE.min(left)).map_err(|error| failed(&error))?;
    Ok(found.into_iter().map(|(id, document)| message(&request.kind, &id, document)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_in_a_shop_reads_no_hash_of_a_secret() {
        assert!(readers(["merchant", "terminal"]).contains(&Role::Proxy));
        for kinds in [
            &["api_key"][..],
            &["idempotency"],
            &["webhook"],
            &["webhook_notices"],
            &["webhook_alerts"],
            &["delivery_log"],
            &["delivery_shard"],
            &["merchant", "api_key"],
        ] {
            let readers = readers(kinds.iter().copied());
            assert_eq!(readers, [Role::Gateway, Role::Admin], "{kinds:?}");
        }
    }
}
