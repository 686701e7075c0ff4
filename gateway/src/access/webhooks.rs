//! Endpoints of the caller's organisation. They get what the whole organisation's outlets do, so a key that is limited
//! to a part of it makes and sees none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::hash::hex;
use fiscus_ledger::record::Record;
use fiscus_proto::ledger::read_record_request::Which;
use fiscus_proto::ledger::{Consistency, ReadRecordRequest};

use super::caller::Caller;
use super::registry::{Made, Once, check_room};
use super::scopes::Scope;
use crate::delivery::Deliveries;
use crate::delivery::destination::Outcome;
use crate::delivery::kept::{
    ALERTS, DESTINATIONS_MAX, Kept, NOTICES, Place, RANGES_MAX, Replay, is_journal,
};
use crate::delivery::leases::shard_of;
use crate::delivery::notices::{self, Ring};
use crate::directory::Versioned;
use crate::directory::documents::kind;
use crate::directory::webhooks::{
    AttemptLine, DeliveryLog, EndpointState, WebhookEndpoint, WebhookSecret,
};
use crate::http::{Fields, Precondition, Problem};
use crate::webhooks::catalogue::EventType;
use crate::webhooks::signature::{SECRET_BYTES, Secret};
use crate::webhooks::target::Target;

/// An organisation has at most so many endpoints.
const ENDPOINTS_MAX: usize = 50;
/// So many replays wait at most.
const REPLAYS_MAX: usize = 8;
/// The group whose journal tells of devices.
const DIRECTORY: u64 = 0;
const GROUP_WAIT: Duration = Duration::from_secs(3);

type Known = Arc<Versioned<WebhookEndpoint>>;

/// What is to be sent once more.
#[derive(Debug, Clone)]
pub enum Again {
    /// One event.
    One(Place),
    /// What happened from one time to before another.
    Between(u64, u64),
    /// Every dead letter that is kept.
    Failed,
}

/// How far an endpoint is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// As it was written last, within some seconds.
    pub kept: Kept,
    /// Events and other leaves that are not settled.
    pub lag_events: u64,
}

fn document_id(endpoint: &WebhookEndpoint) -> String {
    format!("{}/{}", endpoint.organisation, endpoint.endpoint_id)
}

fn unknown(endpoint_id: &str) -> Problem {
    Problem::not_found("WEBHOOK_UNKNOWN", format!("there is no endpoint {endpoint_id:?}"))
}

/// A secret that only the key's holder can make, and makes again with the same request.
fn secret_of(endpoint_id: &str, seed: &blake3::Hash, once: &Once) -> Secret {
    let mut hasher = blake3::Hasher::new_keyed(seed.as_bytes());
    let id = once.made_id(endpoint_id);
    hasher.update(b"fiscus/webhook-secret/v1").update(id.as_bytes());
    let mut bytes = [0; SECRET_BYTES];
    hasher.finalize_xof().fill(&mut bytes);
    Secret::new(bytes)
}

/// Leaves as ranges: those that follow one another are one.
fn runs(mut leaves: Vec<(u64, u64)>) -> Vec<(u64, u64, u64)> {
    leaves.sort_unstable();
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for (source, leaf) in leaves {
        match runs.last_mut() {
            Some(last) if (last.0, last.2) == (source, leaf) => last.2 = leaf.saturating_add(1),
            _ => runs.push((source, leaf, leaf.saturating_add(1))),
        }
    }
    runs
}

impl Caller {
    fn deliveries(&self) -> Result<&Arc<Deliveries>, Problem> {
        self.app().deliveries().ok_or_else(|| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "WEBHOOKS_OFF",
                "this gateway serves no webhooks; its operator sets them up with a section [webhooks]",
            )
        })
    }

    /// An endpoint of the caller's organisation.
    pub fn webhook(&self, endpoint_id: &str) -> Result<Known, Problem> {
        self.may_all(Scope::WebhooksWrite)?;
        let tables = self.app().directory().read();
        let id = format!("{}/{endpoint_id}", self.organisation());
        let found =
            tables.webhooks.get(&id).filter(|known| known.value.state != EndpointState::Deleted);
        found
            .filter(|_| !self.organisation().is_empty())
            .cloned()
            .ok_or_else(|| unknown(endpoint_id))
    }

    /// The endpoints of the caller's organisation by id.
    pub fn webhooks(&self) -> Result<Vec<(String, Known)>, Problem> {
        self.may_all(Scope::WebhooksWrite)?;
        let tables = self.app().directory().read();
        let own = tables.webhooks.values().filter(|known| {
            known.value.organisation == self.organisation()
                && known.value.state != EndpointState::Deleted
        });
        Ok(own.map(|known| (known.value.endpoint_id.clone(), Arc::clone(known))).collect())
    }

    /// Whether plain HTTP may be an endpoint's.
    pub fn plain_http(&self) -> Result<bool, Problem> {
        Ok(self.deliveries()?.adapter().plain_http)
    }

    /// Why an endpoint cannot be at an address, if so. Names are resolved when something is sent.
    pub fn may_reach(&self, address: IpAddr) -> Result<(), String> {
        let deliveries = self.deliveries().map_err(|problem| problem.code.into_owned())?;
        deliveries.adapter().poster.guard().check(address).map_err(|closed| closed.to_string())
    }

    /// Makes an endpoint; what happens from now on is sent to it. Its id, secret and begin are set here.
    pub async fn make_webhook(
        &self,
        new: WebhookEndpoint,
        once: &Once,
    ) -> Result<(Made, Secret), Problem> {
        self.may_all(Scope::WebhooksWrite)?;
        if self.organisation().is_empty() {
            return Err(Problem::forbidden(
                "endpoints are made with a key of an organisation".to_owned(),
            ));
        }
        if let Some(made) = self.made_before(once).await? {
            return self.webhook_made(Made::before(made), once).await;
        }
        check_room(self.webhooks()?.len(), ENDPOINTS_MAX, "endpoints")?;
        check_room(self.all_webhooks(), DESTINATIONS_MAX, "endpoints of all organisations")?;
        // Endpoints are shared out by their ids, so nobody is to choose them; a repetition finds which one was made.
        let endpoint_id = hex(&self.app().random::<12>());
        let secret = secret_of(&endpoint_id, self.seed(), once);
        let mut endpoint = WebhookEndpoint {
            organisation: self.organisation().to_owned(),
            endpoint_id: endpoint_id.clone(),
            created_ms: self.now().get(),
            begin: self.positions().await?,
            ..new
        };
        endpoint.secrets = vec![self.sealed(&endpoint, &secret)?];
        let change = self.change(self.organisation(), "webhook.create", "webhook", &endpoint_id);
        let change = change
            .detail("url", &Target::origin_of(&endpoint.url))
            .put(&document_id(&endpoint), 0, &endpoint)
            .once(once);
        let exists =
            || super::tenants::exists("VERSION_CONFLICT", "this endpoint is there already");
        let made = change.make(exists).await?;
        self.webhook_made(made, once).await
    }

    /// What was made, maybe by a copy of this request, with the secret that the request makes for it.
    async fn webhook_made(&self, made: Made, once: &Once) -> Result<(Made, Secret), Problem> {
        if !made.new {
            self.learn(kind::WEBHOOK, &format!("{}/{}", self.organisation(), made.id)).await?;
        }
        let secret = secret_of(&made.id, self.seed(), once);
        Ok((made, secret))
    }

    fn all_webhooks(&self) -> usize {
        let tables = self.app().directory().read();
        let there = tables.webhooks.values();
        there.filter(|known| known.value.state != EndpointState::Deleted).count()
    }

    /// By source, the next leaf to come.
    async fn positions(&self) -> Result<BTreeMap<u64, u64>, Problem> {
        let mut begin = BTreeMap::new();
        for source in self.app().cluster().groups().into_iter().chain([NOTICES, ALERTS]) {
            begin.insert(source, self.next_leaf(source).await?);
        }
        Ok(begin)
    }

    /// The next leaf of a source to come; 0 of one that there is not.
    async fn next_leaf(&self, source: u64) -> Result<u64, Problem> {
        if let Some(ring) = Ring::of_source(source) {
            let tables = self.app().directory().read();
            let notices = ring.table(&tables).get(self.organisation());
            return Ok(notices.map_or(0, |known| known.value.next));
        }
        let cluster = self.app().cluster();
        if !cluster.groups().contains(&source) {
            return Ok(0);
        }
        let wait = self.context().time_left().min(GROUP_WAIT);
        let known = cluster.read_group(source, Consistency::Linearizable, wait).await?;
        Ok(known.as_of.map_or(0, |as_of| as_of.leaves))
    }

    fn sealed(
        &self,
        endpoint: &WebhookEndpoint,
        secret: &Secret,
    ) -> Result<WebhookSecret, Problem> {
        let vault = &self.deliveries()?.adapter().vault;
        Ok(WebhookSecret {
            id: hex(&self.app().random::<4>()),
            sealed: vault.seal(&document_id(endpoint), secret.bytes(), self.app().random()),
            public_key: secret.public_text(),
            created_ms: self.now().get(),
            expires_ms: 0,
        })
    }

    /// Changes an endpoint from the version that the client saw.
    pub async fn change_webhook(
        &self,
        endpoint_id: &str,
        action: &'static str,
        precondition: &Precondition,
        edit: impl Fn(&mut WebhookEndpoint),
    ) -> Result<(), Problem> {
        let known = self.webhook(endpoint_id)?;
        precondition.check(&known.version.to_string())?;
        let mut endpoint = known.value.clone();
        edit(&mut endpoint);
        if endpoint == known.value {
            return Ok(());
        }
        let change = self.change(self.organisation(), action, "webhook", endpoint_id);
        change.put(&document_id(&endpoint), known.version, &endpoint).commit().await.map(|_| ())
    }

    /// Pauses or resumes an endpoint, or deletes it with its secrets.
    pub async fn set_webhook_state(
        &self,
        endpoint_id: &str,
        state: EndpointState,
    ) -> Result<(), Problem> {
        let action = match state {
            EndpointState::Active => "webhook.resume",
            EndpointState::Deleted => "webhook.delete",
            EndpointState::Paused | EndpointState::Disabled => "webhook.pause",
        };
        let now_ms = self.now().get();
        let edit = |endpoint: &mut WebhookEndpoint| {
            if endpoint.state == state {
                return;
            }
            endpoint.state = state;
            endpoint.state_reason = String::new();
            endpoint.state_ms = now_ms;
            if state == EndpointState::Deleted {
                endpoint.bury();
            }
        };
        self.change_webhook(endpoint_id, action, &Precondition::default(), edit).await
    }

    /// Gives an endpoint a second secret; the one before signs as well for a while.
    pub async fn rotate_webhook(
        &self,
        endpoint_id: &str,
        overlap_ms: u64,
        once: &Once,
    ) -> Result<(Made, Secret), Problem> {
        let known = self.webhook(endpoint_id)?;
        let secret = secret_of(endpoint_id, self.seed(), once);
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::WEBHOOK, &document_id(&known.value)).await?;
            return Ok((Made::before(made), secret));
        }
        let mut endpoint = known.value.clone();
        let now_ms = self.now().get();
        // A secret that has signed for the time of an overlap is not kept on by another rotation.
        endpoint.secrets.retain(|known| known.expires_ms == 0);
        endpoint.secrets.iter_mut().for_each(|known| known.expires_ms = now_ms + overlap_ms.max(1));
        endpoint.secrets.push(self.sealed(&endpoint, &secret)?);
        let change = self.change(self.organisation(), "webhook.rotate", "webhook", endpoint_id);
        let made = change
            .put(&document_id(&endpoint), known.version, &endpoint)
            .once(once)
            .commit()
            .await?;
        if !made.new {
            self.learn(kind::WEBHOOK, &document_id(&endpoint)).await?;
        }
        Ok((made, secret))
    }

    /// Sends a test message now, once.
    pub async fn test_webhook(
        &self,
        endpoint_id: &str,
        event: EventType,
        once: &Once,
    ) -> Result<(Outcome, AttemptLine), Problem> {
        let known = self.webhook(endpoint_id)?;
        let id = format!("msg_{endpoint_id}_t_{}", once.made_id(endpoint_id));
        let deliveries = self.deliveries()?;
        let tested = deliveries.adapter().test(&known.value, &id, event, self.now().get()).await;
        let log_id = format!("webhook/{}", document_id(&known.value));
        deliveries.note(&log_id, tested.1.clone()).await;
        Ok(tested)
    }

    /// What became of the last attempts, and what was given up.
    pub async fn webhook_log(&self, endpoint_id: &str) -> Result<DeliveryLog, Problem> {
        let known = self.webhook(endpoint_id)?;
        let id = format!("webhook/{}", document_id(&known.value));
        let Some(found) = self.document(kind::DELIVERY_LOG, &id).await? else {
            return Ok(DeliveryLog::default());
        };
        serde_json::from_slice(&found.bytes)
            .map_err(|error| Problem::internal(&format!("{id}: {error}")))
    }

    /// How far an endpoint is.
    pub fn webhook_progress(&self, endpoint_id: &str) -> Result<Progress, Problem> {
        let known = self.webhook(endpoint_id)?;
        let tails = self.deliveries()?.tails();
        let id = format!("webhook/{}", document_id(&known.value));
        let tables = self.app().directory().read();
        let shard = tables.delivery_shards.get(&shard_of(&id).to_string());
        let kept =
            shard.and_then(|shard| shard.value.destinations.get(&id)).cloned().unwrap_or_default();
        let behind = tails.iter().map(|(group, next)| {
            let begin = known.value.begin.get(group);
            next.saturating_sub(kept.scanned.get(group).or(begin).copied().unwrap_or(0))
        });
        // Where a quiet destination is, is written now and then only; it is not behind for that.
        let behind = if kept.is_live { 0 } else { behind.sum() };
        let lag_events = behind + kept.pending.len() as u64;
        Ok(Progress { kept, lag_events })
    }

    /// Asks for events to be sent once more; the number of the request.
    pub async fn replay_webhook(
        &self,
        endpoint_id: &str,
        again: Again,
        once: &Once,
    ) -> Result<Made, Problem> {
        let known = self.webhook(endpoint_id)?;
        if let Some(made) = self.made_before(once).await? {
            return Ok(Made::before(made));
        }
        if let Again::One(place) = &again
            && place.leaf >= self.next_leaf(place.source).await?
        {
            let mut fields = Fields::default();
            fields.refuse("/message_id", "FIELD_INVALID", "must name a message that there is");
            fields.finish()?;
        }
        let ranges = match again {
            Again::One(place) => vec![(place.source, place.leaf, place.leaf.saturating_add(1))],
            Again::Failed => {
                let log = self.webhook_log(endpoint_id).await?;
                runs(log.letters.iter().map(|letter| (letter.source, letter.leaf)).collect())
            }
            Again::Between(from_ms, until_ms) => {
                self.leaves_between(&known, from_ms, until_ms).await?
            }
        };
        // A dead letter may be of a group that there is no more.
        let groups = self.app().cluster().groups();
        let there = |range: &(u64, u64, u64)| !is_journal(range.0) || groups.contains(&range.0);
        let ranges: Vec<_> = ranges.into_iter().filter(there).collect();
        let mut endpoint = known.value.clone();
        let done = self.webhook_progress(endpoint_id)?.kept.replayed;
        endpoint.replays.retain(|replay: &Replay| replay.number > done);
        if endpoint.replays.len() >= REPLAYS_MAX {
            let detail = "as many replays wait as may; send the request again when one is done";
            return Err(Problem::new(StatusCode::CONFLICT, "WEBHOOK_REPLAYS_FULL", detail));
        }
        let last = known.value.replays.iter().map(|replay| replay.number).max().unwrap_or(0);
        let first = last.max(done) + 1;
        let mut parts: Vec<Vec<_>> = ranges.chunks(RANGES_MAX).map(<[_]>::to_vec).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let replays = (first..).zip(parts).map(|(number, ranges)| Replay { number, ranges });
        endpoint.replays.extend(replays);
        let change = self.change(self.organisation(), "webhook.replay", "webhook", endpoint_id);
        change.put(&document_id(&endpoint), known.version, &endpoint).once(once).commit().await
    }

    /// The leaves between two times, of the groups that the endpoint's outlets are in and of the directory, whose journal
    /// tells of devices. Whose each is, whoever sends it finds out.
    async fn leaves_between(
        &self,
        endpoint: &Known,
        from_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<(u64, u64, u64)>, Problem> {
        let wanted = &endpoint.value.outlets;
        let outlets = self.outlets().into_iter();
        let outlets =
            outlets.filter(|it| wanted.is_empty() || wanted.iter().any(|id| id == it.id()));
        let groups: BTreeSet<u64> =
            outlets.map(|outlet| outlet.entry().group()).chain([DIRECTORY]).collect();
        let mut ranges = Vec::new();
        for group in groups {
            let end = self.next_leaf(group).await?;
            let first = self.first_leaf_at(group, from_ms, 0, end).await?;
            let last = self.first_leaf_at(group, until_ms, first, end).await?;
            if first < last {
                ranges.push((group, first, last));
            }
        }
        let tables = self.app().directory().read();
        for ring in Ring::ALL {
            let notices = notices::Kept::from(ring, &tables, self.organisation(), 0);
            let then =
                notices.iter().filter(|notice| (from_ms..until_ms).contains(&notice.time_ms));
            ranges.extend(runs(then.map(|notice| (ring.source(), notice.number)).collect()));
        }
        Ok(ranges)
    }

    /// The first of a group's leaves in a range that is not before a time; its end when there is none. A group's time
    /// never goes back.
    async fn first_leaf_at(
        &self,
        group: u64,
        time_ms: u64,
        from: u64,
        end: u64,
    ) -> Result<u64, Problem> {
        let (mut low, mut high) = (from, end);
        while low < high {
            let middle = low + (high - low) / 2;
            let request = ReadRecordRequest {
                group,
                which: Some(Which::Leaf(middle)),
                consistency: Consistency::Local.into(),
            };
            let wait = self.context().time_left();
            let found = self.app().cluster().read_record(request, wait).await?.record;
            let read = found.as_ref().and_then(|found| Record::decode(&found.record).ok());
            // What is not here yet has just been written.
            if read.is_some_and(|record| record.timestamp.get() < time_ms) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
