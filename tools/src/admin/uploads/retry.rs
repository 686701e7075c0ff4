//! `fiscus admin uploads retry`: refused invoices are sent again.

use std::process::ExitCode;

use clap::Args;
use fiscus_ledger::commands::UPLOAD_ITEMS_MAX;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::command::{Command, RecordUpload, UploadItem, UploadVerdict, command};
use fiscus_proto::ledger::{Consistency, ListUploadsRequest, UploadRow, UploadState};

use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::outlets::group_of;
use crate::admin::{Failure, READ_WAIT, Report, operate, tell};

/// Send invoices again that the tax authority has refused, once what was wrong is corrected.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR uploads retry --outlet outlet-gombe --invoice KIN-GOMBE-42
  fiscus admin --dir DIR uploads retry --outlet outlet-gombe --yes --json

Without --invoice, everything of the outlet that is rejected or failed. What was sealed never changes: where the
invoice itself is wrong, seal a credit note and a new invoice instead. That somebody asked stands in the journal.

Exit codes:
  0  asked for; the number says for how many
  1  the ledger refuses it
  2  wrong usage, not agreed to, or the cluster cannot be reached
  3  it was sent and nobody knows whether it was taken; run it again")]
pub(crate) struct Arguments {
    /// The outlet.
    #[arg(long, value_name = "ID")]
    outlet: String,
    /// Only this invoice.
    #[arg(long, value_name = "NUMBER")]
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

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let done = operate(connection, async |cluster| retry(&cluster, arguments).await);
    tell("admin uploads retry", done, arguments.json)
}

async fn retry(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let client = cluster.client().await?;
    let outlet = &arguments.outlet;
    let group = group_of(&client, outlet).await?;
    let mut refused = refused(&client, group, outlet).await?;
    if let Some(number) = &arguments.invoice {
        refused.retain(|row| row.fiscal_number == *number);
        if refused.is_empty() {
            return Err(Failure::refused(format!(
                "{number} is not among the invoices of {outlet} that are refused"
            )));
        }
    }
    let count = refused.len();
    arguments.consent.ask(&format!("{count} invoices of {outlet} are sent again."))?;
    for some in refused.chunks(UPLOAD_ITEMS_MAX) {
        let items = some.iter().map(|row| UploadItem {
            fiscal_number: row.fiscal_number.clone(),
            ..UploadItem::default()
        });
        let upload = RecordUpload {
            outlet_id: outlet.clone(),
            verdict: UploadVerdict::Again.into(),
            destination: arguments.operator.clone(),
            items: items.collect(),
            ..RecordUpload::default()
        };
        let command = Command { command: Some(command::Command::RecordUpload(upload)) };
        cluster.execute(group, &command).await?;
    }
    let text = format!("{count} invoices of {outlet} are sent again\n");
    Ok(Report { text, json: Report::ok().text("outlet", outlet).count("invoices", count as u64) })
}

/// Everything of an outlet that is refused, in the order of its journal.
async fn refused(
    client: &ClusterClient,
    group: u64,
    outlet: &str,
) -> Result<Vec<UploadRow>, Failure> {
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
    Ok(all)
}
