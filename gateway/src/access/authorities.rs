//! The public keys of all authorities, past and present: asked for now and then, and kept.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::hex;
use fiscus_ledger::keys::{AuthorityKey, KeySet, KeyStatus};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{ClusterClient, ReadError};
use fiscus_proto::command as proto;
use fiscus_proto::ledger::{Authority, Consistency};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::http::Problem;

/// After so long they are asked for again.
const AGE_MAX: Duration = Duration::from_secs(30);
/// Whoever names an authority that is not known makes us ask again, but not more often than this.
const AGE_MIN: Duration = Duration::from_secs(1);
/// Whoever needs none that is new waits no longer for news: a group that is gone must not hold up the receipts of the
/// others.
const PATIENCE: Duration = Duration::from_millis(500);
/// A group's majority has so long to answer before any replica of it is asked.
const MAJORITY_WAIT: Duration = Duration::from_secs(1);

/// The keys as they are published.
#[derive(Debug)]
pub struct Published {
    /// By authority.
    pub keys: KeySet,
    /// `fiscal-keys.json`.
    pub json: Bytes,
    /// Changes when the file does.
    pub etag: String,
    asked: Instant,
}

impl Published {
    fn has(&self, needed: Option<&str>) -> bool {
        needed.is_none_or(|id| self.keys.get(id).is_some())
    }
}

/// The keys as they were last heard of.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    known: RwLock<Option<Arc<Published>>>,
    /// One asks, the others wait for what it hears. Holds when somebody asked in vain.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

impl Authorities {
    /// The keys; freshly asked for when `needed` is not among them. When nobody answers, what was heard before
    /// still holds: a key that was published stays published.
    pub(super) async fn published(
        &self,
        cluster: &ClusterClient,
        needed: Option<&str>,
        wait: Duration,
    ) -> Result<Arc<Published>, Problem> {
        if let Some(known) = self.known_for(needed) {
            return Ok(known);
        }
        let complete = self.known().is_some_and(|known| known.has(needed));
        let deadline = Instant::now() + if complete { wait.min(PATIENCE) } else { wait };
        let Ok(mut failed) = tokio::time::timeout_at(deadline, self.asking.lock()).await else {
            return self.known().ok_or_else(|| unheard().into());
        };
        if let Some(known) = self.known_for(needed) {
            return Ok(known);
        }
        let just_failed = failed.is_some_and(|at| at.elapsed() < AGE_MIN);
        if let Some(known) = self.known().filter(|_| just_failed) {
            return Ok(known);
        }
        match ask(cluster, deadline).await {
            Ok(heard) => {
                let heard = Arc::new(heard);
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                *known = Some(Arc::clone(&heard));
                *failed = None;
                Ok(heard)
            }
            Err(problem) => {
                *failed = Some(Instant::now());
                let known = self.known().ok_or_else(|| problem.clone())?;
                tracing::warn!(code = &*problem.code, "the authorities' keys are not heard of");
                Ok(known)
            }
        }
    }

    fn known(&self) -> Option<Arc<Published>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known_for(&self, needed: Option<&str>) -> Option<Arc<Published>> {
        let known = self.known()?;
        let age_max = if known.has(needed) { AGE_MAX } else { AGE_MIN };
        (known.asked.elapsed() < age_max).then_some(known)
    }
}

fn unheard() -> ReadError {
    ReadError::Unavailable { detail: "the authorities' keys are being asked for".to_owned() }
}

/// Asks every group; the keys of one that does not answer would be missing, so all must.
async fn ask(cluster: &ClusterClient, deadline: Instant) -> Result<Published, Problem> {
    let asked = Instant::now();
    let groups = cluster.groups();
    // Before any node has answered no group is known: that is no list without keys.
    if groups.is_empty() {
        return Err(unheard().into());
    }
    let answers = groups.into_iter().map(|group| async move {
        let left = || deadline.saturating_duration_since(Instant::now());
        let wait = left().min(MAJORITY_WAIT);
        match cluster.read_group(group, Consistency::Linearizable, wait).await {
            Err(ReadError::Unavailable { .. }) => {
                cluster.read_group(group, Consistency::Local, left()).await
            }
            answer => answer,
        }
    });
    let answers = try_join_all(answers).await?;
    let keys = merge(answers.into_iter().flat_map(|answer| answer.authorities));
    let keys = KeySet::new(keys.into_values())
        .map_err(|error| Problem::internal(&format!("the authorities' keys: {error}")))?;
    let json = Bytes::from(keys.to_json());
    let etag = format!("\"{}\"", hex(&blake3::hash(&json).as_bytes()[..16]));
    Ok(Published { keys, json, etag, asked })
}

/// One entry an authority. One that several groups know is valid whenever it is in any of them.
fn merge(authorities: impl Iterator<Item = Authority>) -> BTreeMap<String, AuthorityKey> {
    let mut keys: BTreeMap<String, AuthorityKey> = BTreeMap::new();
    for authority in authorities {
        let Some(key) = published_key(&authority) else { continue };
        match keys.entry(key.id.clone()) {
            Entry::Vacant(place) => {
                place.insert(key);
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.valid_from = known.valid_from.min(key.valid_from);
                known.valid_until = known.valid_until.zip(key.valid_until).map(|(a, b)| a.max(b));
                if key.status == KeyStatus::Active {
                    known.status = KeyStatus::Active;
                }
            }
        }
    }
    keys
}

/// What is published of an authority: nothing before it has signed anything.
fn published_key(authority: &Authority) -> Option<AuthorityKey> {
    let status = match authority.status.as_str() {
        "active" => KeyStatus::Active,
        "retired" => KeyStatus::Retired,
        _ => return None,
    };
    let key = <[u8; 32]>::try_from(&*authority.public_key).ok();
    let key = key.and_then(|key| VerifyingKey::from_bytes(&key).ok()).filter(|key| !key.is_weak());
    let Some(public_key) = key else {
        tracing::error!(id = authority.id, "an authority's key is none");
        return None;
    };
    Some(AuthorityKey {
        id: authority.id.clone(),
        public_key,
        valid_from: UnixMs::new(authority.valid_from_ms.unwrap_or(0)),
        valid_until: authority.valid_until_ms.map(UnixMs::new),
        status,
        environment: match authority.environment() {
            proto::Environment::Sandbox => Environment::Sandbox,
            _ => Environment::Live,
        },
    })
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use fiscus_proto::client::ClientConfig;

    use super::*;

    /// A cluster that nobody has reached.
    fn nobody() -> ClusterClient {
        let seeds = vec!["127.0.0.1:1".to_owned()];
        ClusterClient::new(ClientConfig::new(seeds, None)).expect("a client")
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_asked_nobody_publishes_no_empty_list() {
        let (authorities, cluster) = (Authorities::default(), nobody());
        for needed in [None, Some("demo.1")] {
            let refused = authorities.published(&cluster, needed, Duration::from_secs(5)).await;
            let refused = refused.expect_err("there is nothing to publish");
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_goes_on_and_holds_nobody_up() {
        let (authorities, cluster) = (Authorities::default(), nobody());
        let keys = KeySet::new([]).expect("a list");
        let (json, etag) = (Bytes::from_static(b"{}"), String::new());
        let heard = Arc::new(Published { keys, json, etag, asked: Instant::now() });
        *authorities.known.write().expect("nobody panicked") = Some(heard);
        tokio::time::advance(AGE_MAX).await;
        let asking = authorities.asking.lock().await;
        let began = Instant::now();
        let published = authorities.published(&cluster, None, Duration::from_secs(5)).await;
        assert!(published.is_ok() && began.elapsed() <= PATIENCE, "{:?}", began.elapsed());
        drop(asking);
        authorities.published(&cluster, None, Duration::from_secs(5)).await.expect("the old ones");
    }
}
