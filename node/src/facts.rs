//! Copies what sealing needs of the directory into a data group.
//!
//! Only the group's leader does it. It begins with a look at every document, then follows the changes;
//! a follower that fell behind looks at everything again. A group that is cut off from the directory
//! keeps what it has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::facts::{Fact, FactKind};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::registry::Document;
use fiscus_ledger::state::rows::{Device, Terminal};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_raft::store::{DocumentChange, Replica, StoreError};
use futures_util::{TryStreamExt, stream};
use prost::Message;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::groups::{Groups, Hosted};

const KINDS: [FactKind; 4] =
    [FactKind::Manifest, FactKind::Outlet, FactKind::Terminal, FactKind::Device];
/// Documents read at once.
const PAGE: usize = 500;
/// Facts that are offered at once: they share entries.
const TOGETHER: usize = 128;
/// Between two looks whether this node leads.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A fact is in the group within this time, or it is offered again.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// After an answer that asks for patience.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Why the copying of facts starts over.
#[derive(Debug)]
enum Stopped {
    NotLeader,
    Read(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Read(error)
    }
}

/// Follows the directory for as long as the group lives here.
pub(crate) async fn run(groups: Arc<Groups>, hosted: Arc<Hosted>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(directory) = groups.get(0).filter(|_| hosted.handle.leading().is_some()) else {
            continue;
        };
        match follow(directory.handle.replica(), &hosted).await {
            Ok(()) | Err(Stopped::NotLeader) => {}
            Err(Stopped::Read(error)) => {
                tracing::error!(group = hosted.handle.group(), %error, "facts cannot be copied");
            }
        }
    }
}

async fn follow(directory: &Arc<Replica>, hosted: &Hosted) -> Result<(), Stopped> {
    let mut changes = directory.document_changes();
    copy_all(directory, hosted).await?;
    loop {
        match tokio::time::timeout(LOOK_INTERVAL, changes.recv()).await {
            Err(_) if hosted.handle.leading().is_none() => return Err(Stopped::NotLeader),
            // It may be about to be opened anew, and is not held.
            Err(_) if directory.progress().borrow().stopped.is_some() => return Ok(()),
            Err(_) => {}
            Ok(Ok(first)) => match pending(first, &mut changes) {
                Some(changed) => copy_changed(directory, hosted, &changed).await?,
                None => copy_all(directory, hosted).await?,
            },
            Ok(Err(broadcast::error::RecvError::Lagged(_))) => copy_all(directory, hosted).await?,
            Ok(Err(broadcast::error::RecvError::Closed)) => return Ok(()),
        }
    }
}

/// The facts that changed, in their order, as far as the news is there; nothing when anything may have changed.
fn pending(
    first: DocumentChange,
    changes: &mut broadcast::Receiver<DocumentChange>,
) -> Option<Vec<(FactKind, String)>> {
    let mut changed = Vec::new();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(DocumentChange::Changed { kind, id }) => {
                changed.extend(FactKind::parse(&kind).map(|kind| (kind, id)));
            }
            Ok(DocumentChange::All) | Err(TryRecvError::Lagged(_)) => return None,
            // When it is closed, the next look says so.
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(changed),
        }
        if changed.len() == PAGE {
            return Some(changed);
        }
        next = changes.try_recv();
    }
}

async fn copy_changed(
    directory: &Arc<Replica>,
    hosted: &Hosted,
    changed: &[(FactKind, String)],
) -> Result<(), Stopped> {
    // What is of one kind is independent; a terminal comes after its outlet.
    for run in changed.chunk_by(|one, next| one.0 == next.0) {
        let ids: BTreeSet<&str> = run.iter().map(|(_, id)| id.as_str()).collect();
        let mut documents = Vec::with_capacity(ids.len());
        let reading = directory.read()?;
        for id in ids {
            let document = reading.document(run[0].0.as_str(), id)?;
            documents.extend(document.map(|document| (id, document)));
        }
        drop(reading);
        let documents = documents.iter().map(|(id, document)| (*id, document));
        copy_together(hosted, run[0].0, documents).await?;
    }
    Ok(())
}

async fn copy_together<'d>(
    hosted: &Hosted,
    kind: FactKind,
    documents: impl Iterator<Item = (&'d str, &'d Document)> + Send,
) -> Result<(), Stopped> {
    let documents = stream::iter(documents.map(Ok));
    documents
        .try_for_each_concurrent(TOGETHER, |(id, document)| copy(hosted, kind, id, document))
        .await
}

async fn copy_all(directory: &Arc<Replica>, hosted: &Hosted) -> Result<(), Stopped> {
    for kind in KINDS {
        let mut after: Option<String> = None;
        loop {
            let page = directory.read()?.documents(kind.as_str(), after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.to_string());
            let documents = page.iter().map(|(id, document)| (id.as_ref(), document));
            copy_together(hosted, kind, documents).await?;
        }
    }
    Ok(())
}

/// Submits a fact, unless the group has it or it is another group's.
async fn copy(
    hosted: &Hosted,
    kind: FactKind,
    id: &str,
    document: &Document,
) -> Result<(), Stopped> {
    let group = hosted.handle.group();
    let Ok(fact) = Fact::decode(kind, &document.bytes) else {
        tracing::error!(group, kind = kind.as_str(), id, "a directory document cannot be read");
        return Ok(());
    };
    if !is_wanted(hosted, &fact, document.version)? {
        return Ok(());
    }
    let fact = proto::DirectoryFact {
        kind: match kind {
            FactKind::Outlet => proto::FactKind::Outlet,
            FactKind::Terminal => proto::FactKind::Terminal,
            FactKind::Device => proto::FactKind::Device,
            FactKind::Manifest => proto::FactKind::Manifest,
        }
        .into(),
        id: id.to_owned(),
        version: document.version,
        bytes: document.bytes.clone().into(),
    };
    let command = Command { command: Some(command::Command::DirectoryFact(fact)) };
    let bytes = command.encoded_len();
    loop {
        let answer = match hosted.submit.submit(command.clone(), bytes) {
            // A group without a majority answers late; nobody holds on to the directory so long.
            Ok(answer) => match tokio::time::timeout(ANSWER_WAIT, answer).await {
                Ok(answer) => answer.map_err(|_| Stopped::NotLeader)?,
                Err(_) => return Err(Stopped::NotLeader),
            },
            Err(busy) => busy,
        };
        match answer {
            Answer::NotLeader(_) => return Err(Stopped::NotLeader),
            // Sealing waits for its authority; the facts wait with it.
            Answer::Refused(refusal) if refusal.code == "NO_AUTHORITY" => {}
            Answer::Busy(_) | Answer::Unknown(_) => {}
            Answer::Refused(refusal) => {
                tracing::warn!(
                    group,
                    id,
                    code = refusal.code,
                    "a fact is refused: {}",
                    refusal.detail
                );
                return Ok(());
            }
            _ => return Ok(()),
        }
        if hosted.handle.leading().is_none() {
            return Err(Stopped::NotLeader);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Whether the group lacks this version of a fact, and is the one that should have it.
fn is_wanted(hosted: &Hosted, fact: &Fact, version: u64) -> Result<bool, StoreError> {
    let reading = hosted.handle.replica().read()?;
    let group = hosted.handle.group();
    let here = |outlet_id: &fiscus_ledger::state::Id| reading.row::<Outlet>(outlet_id);
    Ok(match fact {
        Fact::Manifest(manifest) => !reading
            .group()?
            .manifests
            .iter()
            .any(|known| known.manifest.version() == manifest.version()),
        Fact::Outlet(fact) => {
            fact.group == group
                && here(&fact.outlet_id)?.is_none_or(|known| known.fact_version < version)
        }
        Fact::Terminal(fact) => {
            let key = (fact.outlet_id.clone(), fact.terminal_id.clone());
            here(&fact.outlet_id)?.is_some()
                && reading.row::<Terminal>(&key)?.is_none_or(|known| known.fact_version < version)
        }
        Fact::Device(fact) => {
            let known = reading.row::<Device>(&fact.device_id)?;
            here(&fact.outlet_id)?.is_some()
                && known.is_none_or(|known| known.fact_version < version)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(kind: FactKind, id: &str) -> DocumentChange {
        DocumentChange::Changed { kind: kind.as_str().into(), id: id.into() }
    }

    #[test]
    fn news_that_is_there_is_taken_together_and_in_its_order() {
        let (news, mut changes) = broadcast::channel(8);
        let first = changed(FactKind::Outlet, "outlet-1");
        for (kind, id) in [(FactKind::Terminal, "outlet-1/till-1"), (FactKind::Outlet, "outlet-2")]
        {
            news.send(changed(kind, id)).unwrap();
        }
        news.send(DocumentChange::Changed { kind: "merchant".into(), id: "m".into() }).unwrap();
        let found = pending(first, &mut changes).unwrap();
        let found: Vec<_> = found.iter().map(|(kind, id)| (*kind, id.as_str())).collect();
        let (outlet, terminal) = (FactKind::Outlet, FactKind::Terminal);
        assert_eq!(
            found,
            [(outlet, "outlet-1"), (terminal, "outlet-1/till-1"), (outlet, "outlet-2")]
        );
    }

    #[test]
    fn news_that_was_missed_asks_for_a_look_at_everything() {
        let (news, mut changes) = broadcast::channel(2);
        for number in 0..3 {
            news.send(changed(FactKind::Outlet, &format!("outlet-{number}"))).unwrap();
        }
        assert_eq!(pending(changed(FactKind::Outlet, "first"), &mut changes), None);
        news.send(DocumentChange::All).unwrap();
        let mut changes = news.subscribe();
        news.send(DocumentChange::All).unwrap();
        assert_eq!(pending(changed(FactKind::Outlet, "first"), &mut changes), None);
    }
}
