//! Disables an endpoint that failed for too long or says that it is gone: the endpoint, the notice to the
//! organisation's others and the audit log's line are one write.

use std::collections::BTreeMap;

use fiscus_proto::client::ClusterClient;
use serde_json::json;

use super::notices::{Ring, notice, with_new};
use super::store::{Written, put, write};
use crate::directory::documents::{Action, kind};
use crate::directory::webhooks::{EndpointState, Notice, WebhookEndpoint};
use crate::directory::{Directory, Versioned};
use crate::webhooks::catalogue::EventType;
use crate::webhooks::target::Target;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It answered 410.
    Gone,
    /// Every attempt failed for days.
    Failing,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// Whether it was done. When it was not, the next failure asks for it again.
pub(crate) async fn disable(
    cluster: &ClusterClient,
    directory: &Directory,
    endpoint: &Versioned<WebhookEndpoint>,
    reason: Reason,
    (now_ms, random): (u64, &str),
) -> bool {
    let mut changed = endpoint.value.clone();
    let (organisation, endpoint_id) = (changed.organisation.clone(), changed.endpoint_id.clone());
    changed.state = EndpointState::Disabled;
    changed.state_reason = reason.as_str().to_owned();
    changed.state_ms = now_ms;
    let origin = Target::origin_of(&changed.url);
    let data = json!({"endpoint_id": endpoint_id, "url": origin, "reason": reason.as_str()});
    let told = Notice {
        endpoint_id: endpoint_id.clone(),
        ..notice(EventType::EndpointDisabled, now_ms, data)
    };
    let told = with_new(Ring::Alerts, &directory.read(), &organisation, [told]);
    let action = Action {
        time_ms: now_ms,
        key_id: String::new(),
        key_name: "deliveries".to_owned(),
        action: "webhook.disable".to_owned(),
        object: "webhook".to_owned(),
        object_id: endpoint_id.clone(),
        outlet_id: String::new(),
        request_id: String::new(),
        details: BTreeMap::from([("reason".to_owned(), reason.as_str().to_owned())]),
    };
    let mut puts = vec![
        put(kind::WEBHOOK, &format!("{organisation}/{endpoint_id}"), endpoint.version, &changed),
        put(kind::ACTION, &format!("{organisation}/{now_ms:013}-{random}"), 0, &action),
    ];
    puts.extend(told.iter().map(|(id, seen, it)| put(Ring::Alerts.kind(), id, *seen, it)));
    match write(cluster, puts).await {
        Written::Taken => {
            tracing::warn!(
                organisation,
                endpoint_id,
                reason = reason.as_str(),
                "an endpoint was disabled"
            );
            true
        }
        Written::Conflict(documents) => {
            documents.iter().for_each(|document| directory.note(document));
            false
        }
        Written::Unknown => false,
    }
}
