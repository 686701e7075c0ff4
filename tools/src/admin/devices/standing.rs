//! How devices stand, as an operator sees it: the same inference that the gateway makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::pin::pin;

use anyhow::{Context, anyhow};
use fiscus_gateway::directory::documents::{DeviceHealth, kind};
use fiscus_gateway::standing::{self, Configured, Standing};
use fiscus_ledger::facts::{DeviceFact, DeviceState, Fact, FactKind, OutletFact};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::Object;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{Consistency, ListDocumentsRequest, ReadOutletRequest};
use futures_util::StreamExt;

use crate::admin::cluster::Cluster;
use crate::admin::directory::{list, now_ms};
use crate::admin::{Failure, LIST_WAIT, READ_WAIT};

/// A device with everything that is known of it.
pub(crate) struct KnownDevice {
    pub(crate) fact: DeviceFact,
    pub(crate) health: Option<DeviceHealth>,
    pub(crate) standing: Option<Standing>,
}

/// The devices, by id, of one outlet or of all.
pub(crate) async fn all(
    cluster: &Cluster,
    outlet_id: Option<&str>,
) -> Result<Vec<KnownDevice>, Failure> {
    let client = cluster.client().await?;
    let devices = facts(&client, FactKind::Device).await?.into_iter();
    let devices = devices.filter_map(|fact| match fact {
        Fact::Device(fact) => Some(fact),
        _ => None,
    });
    let devices = devices.filter(|fact| outlet_id.is_none_or(|id| *fact.outlet_id == *id));
    let devices: Vec<DeviceFact> = devices.collect();
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let outlets = facts(&client, FactKind::Outlet).await?.into_iter();
    let outlets: BTreeMap<String, OutletFact> = outlets
        .filter_map(|fact| match fact {
            Fact::Outlet(fact) => Some((fact.outlet_id.to_string(), fact)),
            _ => None,
        })
        .collect();
    let healths = list::<DeviceHealth>(cluster, kind::DEVICE_HEALTH).await?.into_iter();
    let mut healths: BTreeMap<String, DeviceHealth> =
        healths.map(|known| (known.id, known.value)).collect();
    let now = UnixMs::new(now_ms()?);
    let manifests = facts(&client, FactKind::Manifest).await?.into_iter();
    let manifests = manifests.filter_map(|fact| match fact {
        Fact::Manifest(manifest) => Some(manifest),
        _ => None,
    });
    let in_force = manifests.filter(|manifest| manifest.effective_from() <= now);
    let in_force = in_force.max_by_key(Manifest::effective_from);
    let wanted: BTreeSet<&str> = devices.iter().map(|fact| &*fact.outlet_id).collect();
    let wanted = wanted.into_iter().filter_map(|id| outlets.get(id));
    let wanted = wanted.map(|outlet| (outlet.group, outlet));
    // A group may be away while the directory answers: its devices are told without their counters.
    let read = standing::by_group(wanted, READ_WAIT, |outlet| counters_of(&client, outlet)).await;
    let read = read.into_iter().collect::<Result<Vec<_>, Failure>>()?;
    let counters: BTreeMap<&str, Outlet> = read.into_iter().collect();
    let mut found = Vec::with_capacity(devices.len());
    for fact in devices {
        let outlet = outlets.get(&*fact.outlet_id);
        let health = healths.remove(&*fact.device_id);
        let configured = Configured {
            fact: &fact,
            outlet,
            counters: counters.get(&*fact.outlet_id),
            manifest_version: in_force.as_ref().map(Manifest::version),
            now,
            heard: now,
        };
        let standing = standing::of(&configured, health.as_ref());
        found.push(KnownDevice { fact, health, standing });
    }
    Ok(found)
}

async fn facts(client: &ClusterClient, kind: FactKind) -> Result<Vec<Fact>, Failure> {
    let request = ListDocumentsRequest {
        kind: kind.as_str().to_owned(),
        consistency: Consistency::Linearizable.into(),
        ..ListDocumentsRequest::default()
    };
    let mut documents = pin!(client.list_documents(request, LIST_WAIT));
    let mut found = Vec::new();
    while let Some(document) = documents.next().await {
        let document = document?;
        let fact = Fact::decode(kind, &document.bytes).map_err(|_| {
            anyhow!("the directory's document of {} {} is none", kind.as_str(), document.id)
        })?;
        found.push(fact);
    }
    Ok(found)
}

/// An outlet's counters; none of one that its group has not heard of, and nothing at all when the group does not answer.
async fn counters_of<'o>(
    client: &ClusterClient,
    outlet: &'o OutletFact,
) -> Option<Option<Result<(&'o str, Outlet), Failure>>> {
    let request = ReadOutletRequest {
        group: outlet.group,
        outlet_id: outlet.outlet_id.to_string(),
        consistency: Consistency::Local.into(),
    };
    let read = client.read_outlet(request, READ_WAIT).await.ok()?;
    if read.row.is_empty() {
        return Some(None);
    }
    let row = Outlet::from_stored(&read.row);
    let row = row.with_context(|| format!("the row of outlet {}", outlet.outlet_id));
    Some(Some(row.map(|row| (&*outlet.outlet_id, row)).map_err(Failure::from)))
}

impl KnownDevice {
    /// Whether it drifts or has warnings.
    pub(crate) fn needs_a_look(&self) -> bool {
        let looked =
            |standing: &Standing| !standing.drift.is_empty() || !standing.warnings.is_empty();
        self.standing.as_ref().is_some_and(looked)
    }

    /// The device as JSON, in the words of the API.
    pub(crate) fn json(&self) -> Result<String, Failure> {
        let by = match &self.fact.state {
            DeviceState::Replaced { by } => Some(&**by),
            _ => None,
        };
        let row = Object::new()
            .text("device_id", &self.fact.device_id)
            .text("outlet_id", &self.fact.outlet_id)
            .text("state", self.fact.state.as_str())
            .optional("replaced_by", by);
        let row = match &self.standing {
            Some(standing) => {
                row.json("standing", &serde_json::to_string(standing).context("a standing")?)
            }
            None => row,
        };
        let row = match &self.health {
            Some(health) => row.json("health", &serde_json::to_string(health).context("a health")?),
            None => row,
        };
        Ok(row.finish())
    }

    /// How it stands, for people.
    pub(crate) fn describe(&self, out: &mut String) {
        let Some(standing) = &self.standing else {
            out.push_str("stands        nowhere: it was replaced or revoked\n");
            return;
        };
        let mut line = |name: &str, text: &str| {
            writeln!(out, "{name:<12}  {text}").expect("text takes text");
        };
        line(
            "stands",
            &format!("{} ({}): {}", standing.state.as_str(), standing.lamp, standing.detail),
        );
        line("last seen", standing.last_seen.as_deref().unwrap_or("never"));
        if let Some(left) = standing.numbers_left {
            let until = standing.numbers_until.as_deref().unwrap_or("-");
            line("numbers", &format!("{left} left without the ledger, until {until}"));
        }
        line("waiting", &format!("{} seals that the ledger does not have", standing.waiting));
        if let Some(health) = &self.health {
            line("proxy", &format!("{} ({})", health.role, health.firmware_version));
            let certificate = health.certificate_expires_at.as_deref();
            line("certificate", &format!("ends {}", certificate.unwrap_or("never: none is used")));
        }
        for drift in &standing.drift {
            let text = format!(
                "{}: configured {}, reported {}",
                drift.field, drift.configured, drift.reported
            );
            line("DRIFT", &text);
        }
        for warning in &standing.warnings {
            line("WARNING", &warning.detail);
        }
    }
}
