//! The directory's documents of the gateway, as an operator reads and writes them.

use std::pin::pin;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use fiscus_gateway::directory::documents::{Action, kind};
use fiscus_ledger::hash::hex;
use fiscus_proto::command::{Command, PutDocument, PutDocuments, command};
use fiscus_proto::ledger::{Consistency, ListDocumentsRequest, ReadDocumentRequest};
use futures_util::StreamExt;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cluster::Cluster;
use super::{Failure, LIST_WAIT, READ_WAIT};

/// A document with the version that a change must name.
pub(super) struct Known<T> {
    pub(super) id: String,
    pub(super) version: u64,
    pub(super) value: T,
}

/// Reads one document; none when there is none.
pub(super) async fn read<T: DeserializeOwned>(
    cluster: &Cluster,
    kind: &str,
    id: &str,
) -> Result<Option<Known<T>>, Failure> {
    let request = ReadDocumentRequest {
        kind: kind.to_owned(),
        id: id.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    let answer = cluster.client().await?.read_document(request, READ_WAIT).await?;
    let Some(document) = answer.document else { return Ok(None) };
    let value = serde_json::from_slice(&document.bytes);
    let value = value.with_context(|| format!("the {kind} {id}"))?;
    Ok(Some(Known { id: document.id, version: document.version, value }))
}

/// Reads every document of a kind.
pub(super) async fn list<T: DeserializeOwned>(
    cluster: &Cluster,
    kind: &str,
) -> Result<Vec<Known<T>>, Failure> {
    let request = ListDocumentsRequest {
        kind: kind.to_owned(),
        consistency: Consistency::Linearizable.into(),
        ..ListDocumentsRequest::default()
    };
    let client = cluster.client().await?;
    let mut documents = pin!(client.list_documents(request, LIST_WAIT));
    let mut found = Vec::new();
    while let Some(document) = documents.next().await {
        let document = document?;
        let value = serde_json::from_slice(&document.bytes);
        let value = value.with_context(|| format!("the {kind} {}", document.id))?;
        found.push(Known { id: document.id, version: document.version, value });
    }
    Ok(found)
}

/// A change of one document that says in the log of actions that an operator made it.
pub(super) struct Change<'a> {
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
    /// 0 when it must not be there yet.
    pub(super) version: u64,
    /// The tenant whose log it is; empty for the platform's own.
    pub(super) organisation: &'a str,
    /// What was done, as in `api_key.revoke`.
    pub(super) action: &'a str,
}

impl Change<'_> {
    /// Writes the document and the action, both or neither.
    pub(super) async fn make(
        self,
        cluster: &Cluster,
        value: &impl Serialize,
    ) -> Result<(), Failure> {
        let random: [u8; 8] = random()?;
        let time_ms = now_ms()?;
        let action = Action {
            time_ms,
            key_id: "operator".to_owned(),
            key_name: "fiscus admin".to_owned(),
            action: self.action.to_owned(),
            object: self.kind.to_owned(),
            object_id: self.id.to_owned(),
            outlet_id: String::new(),
            request_id: String::new(),
            details: std::collections::BTreeMap::default(),
        };
        let action_id = format!("{}/{time_ms:013}-{}", self.organisation, hex(&random));
        let put = |kind: &str, id: &str, expected_version, bytes: Vec<u8>| PutDocument {
            kind: kind.to_owned(),
            id: id.to_owned(),
            expected_version,
            bytes: bytes.into(),
        };
        let value = serde_json::to_vec(value).context("a document")?;
        let action = serde_json::to_vec(&action).context("an action")?;
        let puts = vec![
            put(self.kind, self.id, self.version, value),
            put(kind::ACTION, &action_id, 0, action),
        ];
        let puts = command::Command::PutDocuments(PutDocuments { puts });
        cluster.execute(0, &Command { command: Some(puts) }).await?;
        Ok(())
    }
}

/// This machine's time.
pub(super) fn now_ms() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock")?;
    Ok(u64::try_from(now.as_millis())?)
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("there is no randomness"))?;
    Ok(bytes)
}
