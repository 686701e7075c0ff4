//! Documents of webhooks, as JSON. A field is only ever added, with a default.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delivery::kept::{DeadLetter, Replay};
use crate::delivery::policy::{Mode, Schedule};

/// A customer's endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    /// Its tenant.
    pub organisation: String,
    /// Its id, unique in the tenant.
    pub endpoint_id: String,
    /// Where messages are sent.
    pub url: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The events that it wants; all when empty.
    #[serde(default)]
    pub events: Vec<String>,
    /// Of these outlets only; of all when empty.
    #[serde(default)]
    pub outlets: Vec<String>,
    /// Of outlets in these regions only; of all when empty.
    #[serde(default)]
    pub regions: Vec<String>,
    /// The order.
    #[serde(default)]
    pub mode: Mode,
    /// How long an event is tried again.
    #[serde(default)]
    pub schedule: Schedule,
    /// Messages a second at most.
    pub per_second: u32,
    /// Whether it is served.
    #[serde(default)]
    pub state: EndpointState,
    /// Why it is not.
    #[serde(default)]
    pub state_reason: String,
    /// Since when it is so.
    #[serde(default)]
    pub state_ms: u64,
    /// At most two are in force; the last one is the newest.
    pub secrets: Vec<WebhookSecret>,
    /// By source, the first leaf whose event it gets.
    #[serde(default)]
    pub begin: BTreeMap<u64, u64>,
    /// The last replays that were asked for.
    #[serde(default)]
    pub replays: VecDeque<Replay>,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
}

impl WebhookEndpoint {
    /// Whether it wants an event of an outlet in a region.
    #[must_use]
    pub fn wants(&self, event: &str, outlet_id: &str, region: &str) -> bool {
        let listed =
            |list: &[String], word: &str| list.is_empty() || list.iter().any(|one| one == word);
        listed(&self.events, event)
            && listed(&self.outlets, outlet_id)
            && listed(&self.regions, region)
    }

    /// Leaves nothing of a deleted endpoint but that there was one.
    pub fn bury(&mut self) {
        *self = Self {
            organisation: std::mem::take(&mut self.organisation),
            endpoint_id: std::mem::take(&mut self.endpoint_id),
            url: String::new(),
            description: String::new(),
            events: Vec::new(),
            outlets: Vec::new(),
            regions: Vec::new(),
            mode: Mode::default(),
            schedule: Schedule::default(),
            per_second: self.per_second,
            state: EndpointState::Deleted,
            state_reason: String::new(),
            state_ms: self.state_ms,
            secrets: Vec::new(),
            begin: BTreeMap::new(),
            replays: VecDeque::new(),
            created_ms: self.created_ms,
        };
    }
}

/// Whether an endpoint is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It is.
    #[default]
    Active,
    /// Somebody has paused it; what happens meanwhile is sent later.
    Paused,
    /// It failed for too long, or is gone; what happened meanwhile is sent when it is resumed.
    Disabled,
    /// There is none any more.
    Deleted,
}

/// A secret of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecret {
    /// Tells the two of a rotation apart.
    pub id: String,
    /// Sealed with a key of the gateways.
    pub sealed: String,
    /// For receivers that check Ed25519.
    pub public_key: String,
    /// Since when it is known.
    #[serde(default)]
    pub created_ms: u64,
    /// It signs until then, when it is not 0.
    #[serde(default)]
    pub expires_ms: u64,
}

/// What an organisation's endpoints are told that no journal tells. The newest are in the organisation's document,
/// older ones in pages, of which the last ones are kept: `{organisation}/{page}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Notices {
    /// The number of the next one.
    pub next: u64,
    /// Those that are here, the oldest first.
    pub last: VecDeque<Notice>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Its number.
    pub number: u64,
    /// What happened, as in the catalogue.
    pub kind: String,
    /// When.
    pub time_ms: u64,
    /// The endpoint that it is about, which is not told itself.
    #[serde(default)]
    pub endpoint_id: String,
    /// The outlet that it is about; empty when it is about none.
    #[serde(default)]
    pub outlet_id: String,
    /// What is told.
    pub data: Value,
}

/// Notices of a page, and pages that are kept.
pub const PAGE_NOTICES: u64 = 32;
pub(crate) const PAGES: u64 = 16;

impl Notices {
    /// Adds one. The page before is given back when this is the first of a new one.
    pub fn push(&mut self, new: Notice) -> Option<(u64, Self)> {
        let full = self.next.is_multiple_of(PAGE_NOTICES) && !self.last.is_empty();
        let before = full.then(|| {
            let page = (self.next / PAGE_NOTICES).wrapping_sub(1) % PAGES;
            (page, Self { next: self.next, last: std::mem::take(&mut self.last) })
        });
        self.last.push_back(Notice { number: self.next, ..new });
        self.next += 1;
        before
    }
}

/// What became of a destination's last attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryLog {
    /// The last ones, the oldest first.
    #[serde(default)]
    pub attempts: VecDeque<AttemptLine>,
    /// The last events that were given up, the oldest first.
    #[serde(default)]
    pub letters: VecDeque<DeadLetter>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLine {
    /// When it was made.
    pub time_ms: u64,
    /// The message's id.
    pub message_id: String,
    /// What it told.
    pub event: String,
    /// From 1.
    pub number: u32,
    /// Bytes of the body.
    pub bytes: u32,
    /// The answer's status; 0 when there was none.
    pub status: u16,
    /// How long it took.
    pub took_ms: u32,
    /// Some of the answer's head, or what went wrong.
    pub detail: String,
}

const ATTEMPTS_MAX: usize = 100;
const LETTERS_MAX: usize = 200;

impl DeliveryLog {
    /// Adds what is new, and forgets what is old or too much.
    pub fn take(&mut self, attempts: Vec<AttemptLine>, letters: &[DeadLetter], keep_from_ms: u64) {
        self.attempts.extend(attempts);
        for letter in letters {
            self.letters.retain(|known| (known.source, known.leaf) != (letter.source, letter.leaf));
            self.letters.push_back(letter.clone());
        }
        while self.attempts.len() > ATTEMPTS_MAX
            || self.attempts.front().is_some_and(|line| line.time_ms < keep_from_ms)
        {
            self.attempts.pop_front();
        }
        while self.letters.len() > LETTERS_MAX {
            self.letters.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_endpoint_is_small_and_tells_nothing() {
        let mut endpoint: WebhookEndpoint = serde_json::from_value(serde_json::json!({
            "organisation": "org", "endpoint_id": "e", "url": "https://a.cd/s3cret", "per_second": 9,
            "description": "s3cret", "outlets": vec!["s3cret"; 200], "begin": {"1": 7},
            "secrets": [{"id": "1", "sealed": "s3cret", "public_key": "s3cret"}],
            "replays": [{"number": 1, "ranges": vec![(1, 2, 3); 16]}], "state_ms": 5,
        }))
        .expect("an endpoint");
        endpoint.bury();
        let text = serde_json::to_string(&endpoint).expect("it is JSON");
        assert!(text.len() < 400 && !text.contains("s3cret"), "{text}");
        assert_eq!((endpoint.state, endpoint.state_ms), (EndpointState::Deleted, 5));
        assert_eq!((&*endpoint.organisation, &*endpoint.endpoint_id), ("org", "e"));
    }

    #[test]
    fn a_log_is_bounded_in_number_and_in_time() {
        let line = |time_ms| AttemptLine {
            time_ms,
            message_id: "msg_e_1_1".to_owned(),
            event: "invoice.sealed".to_owned(),
            number: 1,
            bytes: 900,
            status: 200,
            took_ms: 12,
            detail: String::new(),
        };
        let letter = |leaf, reason: &str| DeadLetter {
            source: 1,
            leaf,
            sequence: None,
            attempts: 6,
            time_ms: 1,
            reason: reason.to_owned(),
        };
        let mut log = DeliveryLog::default();
        log.take(
            (0..150).map(line).collect(),
            &[letter(1, "a"), letter(2, "b"), letter(1, "c")],
            100,
        );
        assert_eq!((log.attempts.len(), log.attempts[0].time_ms), (50, 100));
        assert_eq!(
            log.letters.iter().map(|letter| letter.leaf).collect::<Vec<_>>(),
            [2, 1],
            "each event once"
        );
        log.take(
            (150..400).map(line).collect(),
            &(0..300).map(|leaf| letter(leaf, "d")).collect::<Vec<_>>(),
            0,
        );
        assert_eq!((log.attempts.len(), log.letters.len()), (ATTEMPTS_MAX, LETTERS_MAX));
    }
}
