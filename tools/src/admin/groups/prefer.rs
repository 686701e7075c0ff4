//! `fiscus admin groups prefer`.

use std::process::ExitCode;

use clap::Args;
use fiscus_node::steward::PLACEMENT_KIND;
use fiscus_proto::command::{Command, PutDocument, command};
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};

use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::roster::Roster;
use crate::admin::{Failure, READ_WAIT, Report, operate, tell};

/// Say in which region a group's leader should be.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR groups prefer 1 --region kinshasa
  fiscus admin --dir DIR groups prefer 1 --none

It is written into the directory. A leader elsewhere hands over to a sound voter of the region within
seconds; when there is none, the group stays where it is.

Exit codes:
  0  written, or it was so already
  1  somebody else changed it meanwhile; run it again
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(crate) struct Arguments {
    /// The group.
    group: u64,
    /// The region.
    #[arg(long, required_unless_present = "none", conflicts_with = "none")]
    region: Option<String>,
    /// Prefer none.
    #[arg(long)]
    none: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let done = operate(connection, async |cluster| prefer(&cluster, arguments).await);
    tell("admin groups prefer", done, arguments.json)
}

async fn prefer(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let group = arguments.group;
    let region = arguments.region.clone().unwrap_or_default();
    let roster = Roster::read(cluster).await?;
    roster.group(group)?;
    let request = ReadDocumentRequest {
        kind: PLACEMENT_KIND.to_owned(),
        id: group.to_string(),
        consistency: Consistency::Linearizable.into(),
    };
    let known = cluster.client().await?.read_document(request, READ_WAIT).await?.document;
    let version = known.as_ref().map_or(0, |document| document.version);
    let before = known.map_or_else(Vec::new, |document| document.bytes.to_vec());
    let sentence = if region.is_empty() {
        format!("group {group} prefers no region")
    } else {
        format!("group {group} prefers the region {region}")
    };
    let json = Report::ok().count("group", group).text("preferred_region", &region);
    if before == region.as_bytes() {
        return Ok(Report::done(&sentence, json));
    }
    let regions = roster.views.iter().filter_map(|view| view.status.as_ref().ok());
    let mut regions = regions.filter_map(|status| status.node.as_ref());
    if !region.is_empty() && !regions.any(|node| node.region == region) {
        eprintln!("No node that answers is in the region {region}: until one is, nothing moves.");
    }
    arguments.consent.ask(&format!("From now on {sentence}; its leader moves when it must."))?;
    let put = PutDocument {
        kind: PLACEMENT_KIND.to_owned(),
        id: group.to_string(),
        expected_version: version,
        bytes: region.into_bytes().into(),
    };
    let put = Command { command: Some(command::Command::PutDocument(put)) };
    cluster.execute(0, &put).await?;
    Ok(Report::done(&sentence, json))
}
