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

/// The keys as they were last heard of.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    known: RwLock<Option<Arc<Published>>>,
    /// One asks, the others wait for what it hears.
    asking: tokio::sync::Mutex<()>,
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
        let deadline = Instant::now() + wait;
        let Ok(_one) = tokio::time::timeout_at(deadline, self.asking.lock()).await else {
            return self.known().ok_or_else(|| unheard().into());
        };
        if let Some(known) = self.known_for(needed) {
            return Ok(known);
        }
        match ask(cluster, deadline).await {
            Ok(heard) => {
                let heard = Arc::new(heard);
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                *known = Some(Arc::clone(&heard));
                Ok(heard)
            }
            Err(problem) => match self.known() {
                Some(known) => {
                    tracing::warn!(code = &*problem.code, "the authorities' keys are not heard of");
                    Ok(known)
                }
                None => Err(problem),
            },
        }
    }

    fn known(&self) -> Option<Arc<Published>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known_for(&self, needed: Option<&str>) -> Option<Arc<Published>> {
        let known = self.known()?;
        let complete = needed.is_none_or(|id| known.keys.get(id).is_some());
        let age_max = if complete { AGE_MAX } else { AGE_MIN };
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
