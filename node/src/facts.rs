//! Copies what sealing needs of the directory into a data group.
//!
//! Only the group's leader does it. It begins with a look at every document, then follows the changes;
//! a follower that fell behind looks at everything again. A group that is cut off from the directory
//! keeps what it has.

use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::facts::{Fact, FactKind};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::registry::Document;
use fiscus_ledger::state::rows::{Device, Terminal};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_raft::store::{DocumentChange, Replica, StoreError};
use prost::Message;
use tokio::sync::broadcast;

use crate::groups::{Groups, Hosted};

const KINDS: [FactKind; 4] =
    [FactKind::Manifest, FactKind::Outlet, FactKind::Terminal, FactKind::Device];
/// Documents read at once.
const PAGE: usize = 500;
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
            Ok(Ok(DocumentChange::Changed { kind, id })) => {
                let Some(kind) = FactKind::parse(&kind) else { continue };
                let document = directory.read()?.document(kind.as_str(), &id)?;
                if let Some(document) = document {
                    copy(hosted, kind, &id, &document).await?;
                }
            }
            Ok(Ok(DocumentChange::All) | Err(broadcast::error::RecvError::Lagged(_))) => {
                copy_all(directory, hosted).await?;
            }
            Ok(Err(broadcast::error::RecvError::Closed)) => return Ok(()),
        }
    }
}

async fn copy_all(directory: &Arc<Replica>, hosted: &Hosted) -> Result<(), Stopped> {
    for kind in KINDS {
        let mut after: Option<String> = None;
        loop {
            let page = directory.read()?.documents(kind.as_str(), after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.to_string());
            for (id, document) in &page {
                copy(hosted, kind, id, document).await?;
            }
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
