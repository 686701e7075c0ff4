//! `fiscus admin keys list` without a file: what the nodes of a cluster hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use fiscus_ledger::hash::hex;
use fiscus_ledger::payload::{Object, array};
use fiscus_proto::admin::{Key, KeysRequest};
use fiscus_proto::command::Environment;
use fiscus_proto::ledger::Consistency;

use crate::admin::cluster::Cluster;
use crate::admin::roster::{Roster, listed, numbers};
use crate::admin::{Failure, READ_WAIT, Report};

/// A key, and where it is.
struct Held {
    key: Key,
    nodes: BTreeSet<u64>,
}

pub(super) async fn list(cluster: &Cluster) -> Result<Report, Failure> {
    let roster = Roster::read(cluster).await?;
    let mut held: BTreeMap<(Option<u64>, i32, Vec<u8>), Held> = BTreeMap::new();
    for view in &roster.views {
        let (Some(node), Ok(_)) = (view.id, &view.status) else {
            eprintln!("{} does not answer", view.address);
            continue;
        };
        let keys = cluster.node(&view.address)?.keys(KeysRequest {}).await;
        let keys =
            keys.map_err(|status| Failure::of_call(&view.address, &status))?.into_inner().keys;
        for key in keys {
            let place = (key.group, key.environment, key.public_key.to_vec());
            let known = held.entry(place).or_insert(Held { key, nodes: BTreeSet::new() });
            known.nodes.insert(node);
        }
    }
    let uses = uses(cluster, &roster).await?;
    let mut text = String::from("group  purpose    environment  nodes     use       name\n");
    let mut rows = Vec::new();
    for Held { key, nodes } in held.values() {
        let group = key.group.map_or_else(|| "any".to_owned(), |group| group.to_string());
        let used = uses.get(&key.authority_id).map_or("unused", String::as_str);
        let is_log = key.authority_id.is_empty();
        let (name, used) = if is_log { (&key.name, "") } else { (&key.authority_id, used) };
        let environment = environment(key);
        let _ = writeln!(
            text,
            "{group:<5}  {:<9}  {:<11}  {:<8}  {used:<8}  {name}",
            key.purpose,
            environment.unwrap_or("both"),
            listed(nodes)
        );
        let row = Object::new()
            .text("name", &key.name)
            .text("purpose", &key.purpose)
            .optional("environment", environment)
            .json("group", &key.group.map_or_else(|| "null".to_owned(), |group| group.to_string()))
            .optional("fiscal_authority_id", (!is_log).then_some(key.authority_id.as_str()))
            .text("public_key", &hex(&key.public_key))
            .optional("use", (!is_log).then_some(used))
            .json("nodes", &numbers(nodes));
        rows.push(row.finish());
    }
    Ok(Report { text, json: Report::ok().json("keys", &array(rows)) })
}

fn environment(key: &Key) -> Option<&'static str> {
    match key.environment() {
        Environment::Live => Some("live"),
        Environment::Sandbox => Some("sandbox"),
        Environment::Unspecified => None,
    }
}

/// What each authority is for its group.
async fn uses(cluster: &Cluster, roster: &Roster) -> Result<BTreeMap<String, String>, Failure> {
    let client = cluster.client().await?;
    let mut uses = BTreeMap::new();
    for group in roster.groups().keys() {
        let known = client.read_group(*group, Consistency::Linearizable, READ_WAIT).await?;
        uses.extend(known.authorities.into_iter().map(|known| (known.id, known.status)));
    }
    Ok(uses)
}
