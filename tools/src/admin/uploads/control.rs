//! `fiscus admin uploads pause` and `resume`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use fiscus_gateway::directory::documents::kind;
use fiscus_gateway::directory::uploads::{CONTROL_ID, UploadControl};
use fiscus_proto::command::{Command, PutDocument, command};
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};

use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::outlets::group_of;
use crate::admin::{Failure, READ_WAIT, Report, operate, tell};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR uploads pause
  fiscus admin --dir DIR uploads pause --outlet outlet-gombe --yes
  fiscus admin --dir DIR uploads resume

What is sealed meanwhile waits in its order. Gateways hear of it within a second; a batch that is on its way comes to
its end. Resuming everything does not resume an outlet that was paused by itself.

Exit codes:
  0  done
  1  somebody else has changed it at the same time; run it again
  2  wrong usage, not agreed to, or the cluster cannot be reached
  3  it was sent and nobody knows whether it was taken; run it again")]
pub(crate) struct Arguments {
    /// Only this outlet.
    #[arg(long, value_name = "ID")]
    outlet: Option<String>,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    connection: &Connection,
    verb: &str,
    pauses: bool,
    arguments: &Arguments,
) -> ExitCode {
    let done = operate(connection, async |cluster| change(&cluster, pauses, arguments).await);
    tell(&format!("admin uploads {verb}"), done, arguments.json)
}

async fn change(cluster: &Cluster, pauses: bool, arguments: &Arguments) -> Result<Report, Failure> {
    let client = cluster.client().await?;
    let request = ReadDocumentRequest {
        kind: kind::UPLOAD_CONTROL.to_owned(),
        id: CONTROL_ID.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    let known = client.read_document(request, READ_WAIT).await?.document;
    let (version, mut control) = match &known {
        None => (0, UploadControl::default()),
        Some(document) => {
            let control = serde_json::from_slice(&document.bytes).context("what is paused")?;
            (document.version, control)
        }
    };
    let what = match &arguments.outlet {
        None => {
            control.paused = pauses;
            "everything".to_owned()
        }
        Some(outlet) => {
            // Only one that there is.
            group_of(&client, outlet).await?;
            if pauses {
                control.paused_outlets.insert(outlet.clone());
            } else {
                control.paused_outlets.remove(outlet);
            }
            format!("what {outlet} seals")
        }
    };
    let done = if pauses { "is not uploaded for now" } else { "is uploaded" };
    arguments.consent.ask(&format!("Then {what} {done}."))?;
    let put = PutDocument {
        kind: kind::UPLOAD_CONTROL.to_owned(),
        id: CONTROL_ID.to_owned(),
        expected_version: version,
        bytes: serde_json::to_vec(&control).context("what is paused")?.into(),
    };
    cluster.execute(0, &Command { command: Some(command::Command::PutDocument(put)) }).await?;
    let text = format!("{what} {done}\n");
    Ok(Report { text, json: Report::ok().flag("paused", pauses) })
}
