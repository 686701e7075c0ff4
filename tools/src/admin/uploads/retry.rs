//! `fiscus admin uploads retry`: refused invoices are sent again.

use std::collections::BTreeSet;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use fiscus_gateway::directory::documents::{OutletProfile, kind};
use fiscus_ledger::commands::UPLOAD_ITEMS_MAX;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::command::{Command, RecordUpload, UploadItem, UploadVerdict, command};
use fiscus_proto::ledger::{
    Consistency, ListDocumentsRequest, ListOutletsRequest, ListUploadsRequest, UploadRow,
    UploadState,
};
use futures_util::StreamExt;

use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::outlets::group_of;
use crate::admin::roster::Roster;
use crate::admin::{Failure, LIST_WAIT, READ_WAIT, Report, operate, tell};

/// Send invoices again that the tax authority has refused, once what was wrong is corrected.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR uploads retry --outlet outlet-gombe --invoice KIN-GOMBE-42
  fiscus admin --dir DIR uploads retry --outlet outlet-gombe --yes --json
  fiscus admin --dir DIR uploads retry --region kinshasa --yes

Without --invoice, everything of the outlet that is rejected or failed; with --region, everything of every outlet in
the regions of this name, whichever organisations they are of. What was sealed never changes: where the invoice itself
is wrong, seal a credit note and a new invoice instead. That somebody asked stands in the journal.

Where it breaks off, what was asked for stays asked for: run it again, and nothing is sent twice.

Exit codes:
  0  asked for; the number says for how many
  1  the ledger refuses it, or there is no such outlet or region
  2  wrong usage, not agreed to, or the cluster cannot be reached
  3  it was sent and nobody knows whether it was taken; run it again")]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only this invoice of the outlet.
    #[arg(long, value_name = "NUMBER", conflicts_with = "region")]
    invoice: Option<String>,
    /// Who asks, as the journal names it.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    operator: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Of which outlets.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The outlet.
    #[arg(long, value_name = "ID")]
    outlet: Option<String>,
    /// All outlets of a region.
    #[arg(long, value_name = "ID")]
    region: Option<String>,
}

/// What is refused of one outlet.
#[derive(Debug)]
struct Refused {
    outlet_id: String,
    group: u64,
    numbers: Vec<String>,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let done = operate(connection, async |cluster| retry(&cluster, arguments).await);
    tell("admin uploads retry", done, arguments.json)
}

async fn retry(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let client = cluster.client().await?;
    let (found, what, json) = match (&arguments.place.outlet, &arguments.place.region) {
        (Some(outlet), _) => {
            let found = of_outlet(&client, outlet, arguments.invoice.as_deref()).await?;
            (vec![found], outlet.clone(), Report::ok().text("outlet", outlet))
        }
        (None, region) => {
            let region = region.as_deref().unwrap_or_default();
            let found = of_region(cluster, &client, region).await?;
            let what = format!("{} outlets of {region}", found.len());
            (found, what, Report::ok().text("region", region))
        }
    };
    let count: usize = found.iter().map(|refused| refused.numbers.len()).sum();
    arguments.consent.ask(&format!("{count} invoices of {what} are sent again."))?;
    for refused in &found {
        ask_again(cluster, refused, &arguments.operator).await?;
    }
    let outlets = found.iter().map(|refused| {
        Object::new()
            .text("outlet", &refused.outlet_id)
            .count("invoices", refused.numbers.len() as u64)
            .finish()
    });
    let json = json.count("invoices", count as u64).json("outlets", &array(outlets));
    Ok(Report { text: format!("{count} invoices of {what} are sent again\n"), json })
}

async fn ask_again(cluster: &Cluster, refused: &Refused, operator: &str) -> Result<(), Failure> {
    for some in refused.numbers.chunks(UPLOAD_ITEMS_MAX) {
        let items = some
            .iter()
            .map(|number| UploadItem { fiscal_number: number.clone(), ..UploadItem::default() });
        let upload = RecordUpload {
            outlet_id: refused.outlet_id.clone(),
            verdict: UploadVerdict::Again.into(),
            destination: operator.to_owned(),
            items: items.collect(),
            ..RecordUpload::default()
        };
        let command = Command { command: Some(command::Command::RecordUpload(upload)) };
        cluster.execute(refused.group, &command).await?;
    }
    Ok(())
}

/// What is refused of an outlet, or one invoice of it.
async fn of_outlet(
    client: &ClusterClient,
    outlet: &str,
    invoice: Option<&str>,
) -> Result<Refused, Failure> {
    let group = group_of(client, outlet).await?;
    let mut numbers = refused(client, group, outlet).await?;
    if let Some(number) = invoice {
        numbers.retain(|known| known == number);
        if numbers.is_empty() {
            return Err(Failure::refused(format!(
                "{number} is not among the invoices of {outlet} that are refused"
            )));
        }
    }
    Ok(Refused { outlet_id: outlet.to_owned(), group, numbers })
}

/// The same of every outlet of a region that has any.
async fn of_region(
    cluster: &Cluster,
    client: &ClusterClient,
    region: &str,
) -> Result<Vec<Refused>, Failure> {
    let roster = Roster::read(cluster).await?;
    let within = outlets_in(client, region).await?;
    if within.is_empty() {
        let detail = format!("no outlet is in a region {region:?}");
        return Err(Failure::new(1, "REGION_UNKNOWN", &detail));
    }
    let mut found = Vec::new();
    for group in 1..=roster.data_groups() {
        let request = ListOutletsRequest {
            group,
            after: String::new(),
            consistency: Consistency::Linearizable.into(),
        };
        let mut rows = pin!(client.list_outlets(request, LIST_WAIT));
        while let Some(row) = rows.next().await {
            let row = row?;
            let outlet = Outlet::from_stored(&row.row)
                .with_context(|| format!("the row of outlet {}", row.outlet_id))?;
            if within.contains(&row.outlet_id) && outlet.uploads.refused > 0 {
                let numbers = refused(client, group, &row.outlet_id).await?;
                found.push(Refused { outlet_id: row.outlet_id, group, numbers });
            }
        }
    }
    Ok(found)
}

async fn outlets_in(client: &ClusterClient, region: &str) -> Result<BTreeSet<String>, Failure> {
    let request = ListDocumentsRequest {
        kind: kind::OUTLET_PROFILE.to_owned(),
        consistency: Consistency::Linearizable.into(),
        ..ListDocumentsRequest::default()
    };
    let mut within = BTreeSet::new();
    let mut documents = pin!(client.list_documents(request, LIST_WAIT));
    while let Some(document) = documents.next().await {
        let document = document?;
        let profile: OutletProfile = serde_json::from_slice(&document.bytes)
            .with_context(|| format!("the document {}/{}", document.kind, document.id))?;
        // Without a region an outlet is in none, not in one whose name is empty.
        if !region.is_empty() && profile.region == region {
            within.insert(profile.outlet_id);
        }
    }
    Ok(within)
}

/// The numbers of everything of an outlet that is refused, in the order of its journal.
async fn refused(client: &ClusterClient, group: u64, outlet: &str) -> Result<Vec<String>, Failure> {
    let mut request = ListUploadsRequest {
        group,
        outlet_id: outlet.to_owned(),
        consistency: Consistency::Linearizable.into(),
        ..ListUploadsRequest::default()
    };
    let mut all: Vec<UploadRow> = Vec::new();
    loop {
        let page = client.list_uploads(request.clone(), READ_WAIT).await?;
        let last = page.uploads.last().map(|row| row.fiscal_number.clone());
        all.extend(
            page.uploads.into_iter().filter(|row| {
                row.status.as_ref().is_some_and(|it| it.state() != UploadState::Queued)
            }),
        );
        match last.filter(|_| page.more) {
            Some(last) => request.after = last,
            None => break,
        }
    }
    all.sort_by_key(|row| row.position);
    Ok(all.into_iter().map(|row| row.fiscal_number).collect())
}
