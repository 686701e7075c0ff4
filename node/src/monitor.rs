//! Reads everything that this node holds, again and again, at a bounded rate; what is damaged is mended from the peers, and a
//! replica that diverged is taken anew. Each incident is a line of `incidents.ndjson` in the data directory.
//!
//! Invariant: a replica that no majority speaks against is left alone: only an operator lifts that quarantine. Non-goal:
//! what is served meanwhile; every read compares checksums and hashes by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fiscus_ledger::time::UnixMs;
use fiscus_proto::admin::Progress;
use futures_util::StreamExt;

use crate::context::NodeContext;
use crate::groups::Groups;
use crate::incidents::{Cause, Incident};
use crate::metrics::Counter;
use crate::scrub;

/// Before the first pass, and between two.
const REST: Duration = Duration::from_secs(60);
/// An incident tells so many findings.
const FINDINGS_MAX: usize = 100;

/// What the monitor has come to.
#[derive(Debug, Default)]
pub struct Integrity {
    /// Leaves that were read and compared.
    pub leaves: Counter,
    /// Groups that were read to their end.
    pub passes: Counter,
    /// What was found to be wrong.
    pub findings: Counter,
    /// What was put right.
    pub repairs: Counter,
    /// Groups in which something is still wrong.
    wrong: Mutex<BTreeMap<u64, String>>,
}

impl Integrity {
    /// What is still wrong, for people.
    pub(crate) fn alerts(&self) -> Vec<String> {
        let wrong = self.wrong.lock().expect("no holder panics");
        wrong.iter().map(|(group, what)| format!("group {group}: {what}")).collect()
    }

    fn note(&self, group: u64, wrong: Option<String>) {
        let mut known = self.wrong.lock().expect("no holder panics");
        match wrong {
            Some(what) => drop(known.insert(group, what)),
            None => drop(known.remove(&group)),
        }
    }
}

impl Incident {
    fn new(context: &NodeContext, group: u64, cause: Cause, at_ms: u64) -> Self {
        Self {
            at: UnixMs::new(at_ms).to_string(),
            node: context.identity.node,
            group,
            why: cause.as_str(),
            findings: Vec::new(),
            findings_more: 0,
            repaired: Vec::new(),
            left: None,
        }
    }

    fn take(&mut self, progress: Progress, integrity: &Integrity) {
        if !progress.finding.is_empty() {
            integrity.findings.add(1);
            if self.findings.len() < FINDINGS_MAX {
                self.findings.push(progress.finding);
            } else {
                self.findings_more += 1;
            }
        }
        if !progress.repaired.is_empty() {
            integrity.repairs.add(1);
            self.repaired.push(progress.repaired);
        }
        if progress.finished {
            let left = progress.left.unwrap_or(0);
            self.left = (left > 0).then(|| format!("{left} findings could not be put right"));
        }
    }
}

/// Writes down what was seen of a group and cannot be put right here.
pub(crate) fn note(context: &NodeContext, group: u64, cause: Cause, what: &str) {
    let at_ms = context.clock.read().wall_ms;
    let mut incident = Incident::new(context, group, cause, at_ms);
    incident.findings.push(what.to_owned());
    incident.left = Some("people have to find out which is right".to_owned());
    context.incidents.take(cause, at_ms, &incident);
}

/// Examines every group in turn for as long as the node runs.
pub(crate) async fn run(context: Arc<NodeContext>, groups: Arc<Groups>) {
    let rate = context.config.limits.integrity_leaves_per_s;
    if rate == 0 {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(REST).await;
        for hosted in groups.all() {
            let group = hosted.handle.group();
            let status = hosted.handle.status();
            // Nothing of it may be held while it is opened anew.
            drop(hosted);
            if status.stopped.is_none() && status.recovering.is_none() {
                examine(&context, &groups, group, Some(rate), Cause::Look).await;
            }
        }
    }
}

/// Reads a group once, and puts right what is wrong.
pub(crate) async fn examine(
    context: &Arc<NodeContext>,
    groups: &Arc<Groups>,
    group: u64,
    leaves_per_s: Option<u64>,
    cause: Cause,
) {
    let integrity = &context.metrics.integrity;
    let (at_ms, why) = (context.clock.read().wall_ms, cause.as_str());
    let mut incident = Incident::new(context, group, cause, at_ms);
    let steps = scrub::start(context.clone(), groups.clone(), group, true, leaves_per_s);
    let mut steps = std::pin::pin!(steps);
    let mut read = 0;
    while let Some(step) = steps.next().await {
        match step {
            Ok(progress) => {
                if progress.step == "leaves" {
                    integrity.leaves.add(progress.done.saturating_sub(read));
                    read = progress.done;
                }
                integrity.passes.add(u64::from(progress.finished));
                incident.take(progress, integrity);
            }
            Err(status) => incident.left = Some(status.message().to_owned()),
        }
    }
    integrity.note(group, incident.left.clone());
    if incident.findings.is_empty() && incident.repaired.is_empty() {
        if let Some(left) = incident.left {
            tracing::warn!(group, why, left, "the group could not be examined");
        }
        return;
    }
    context.metrics.alerts.add(1);
    tracing::error!(
        group,
        why,
        findings = incident.findings.len(),
        left = incident.left,
        "an incident"
    );
    context.incidents.take(cause, at_ms, &incident);
}
