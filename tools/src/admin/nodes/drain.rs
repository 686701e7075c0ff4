//! `fiscus admin nodes drain`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use fiscus_proto::admin::DrainRequest;

use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::roster::{Roster, listed};
use crate::admin::{Failure, Report, operate, tell};

/// Make a node give away what it leads, before it is restarted or looked after.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR nodes drain 1
  fiscus admin --dir DIR nodes drain 1 --resume

It ends when the node leads nothing. The node goes on voting and storing. A restart forgets the drain.

Exit codes:
  0  it leads nothing, or may lead again
  1  it does not answer, or still leads: nobody else can
  2  wrong usage, not agreed to, or no node answers")]
pub(crate) struct Arguments {
    /// The node's id.
    id: u64,
    /// Let it lead again.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// A sound cluster has moved everything within this time.
const DRAIN_WAIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const TELL_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let drained = operate(connection, async |cluster| drain(&cluster, arguments).await);
    tell("admin nodes drain", drained, arguments.json)
}

async fn drain(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let (id, resume) = (arguments.id, arguments.resume);
    let roster = Roster::read(cluster).await?;
    let address = roster.answering(id)?.to_owned();
    arguments.consent.ask(&if resume {
        format!(
            "Node {id} may lead again, and groups that prefer its region move to it. Be sure that whoever \
             drained it is done."
        )
    } else {
        format!(
            "Node {id} gives away what it leads ({}) and takes no lead until it is resumed or restarted.",
            listed(&leads(&roster, id))
        )
    })?;
    let asked = cluster.node(&address)?.drain(DrainRequest { resume }).await;
    let detail = asked.map_err(|status| Failure::of_call(&address, &status))?.into_inner().detail;
    let json = Report::ok().count("node", id).flag("draining", !resume);
    if resume {
        return Ok(Report::done(&detail, json));
    }
    wait_until_it_leads_nothing(cluster, id).await?;
    Ok(Report::done(&format!("node {id} leads nothing"), json))
}

fn leads(roster: &Roster, id: u64) -> Vec<u64> {
    let led = roster.groups().iter().filter(|(_, view)| view.leader == Some(id));
    led.map(|(group, _)| *group).collect()
}

async fn wait_until_it_leads_nothing(cluster: &Cluster, id: u64) -> Result<(), Failure> {
    let until = Instant::now() + DRAIN_WAIT;
    let mut told: Option<Instant> = None;
    loop {
        let roster = Roster::read(cluster).await?;
        let leads = leads(&roster, id);
        // A group without a leader may still get this one back.
        let settled = roster.groups().values().all(|view| view.leader.is_some());
        if leads.is_empty() && settled {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Failure::unfinished(format!(
                "node {id} still leads the groups {}: no other voter can; it goes on trying",
                listed(&leads)
            )));
        }
        if told.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            eprintln!("node {id} still leads the groups {}", listed(&leads));
            told = Some(Instant::now());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
