//! What two planted bugs do in the batcher, and how a process is told which bug to plant. Compiled with the feature
//! `planted-bugs` only.
//!
//! Invariant: nothing happens unless the bug was chosen. Non-goal: being right.

use std::collections::BTreeMap;

use fiscus_ledger::planted::{Bug, is_planted, plant};
use fiscus_proto::command::{Command, command};
use fiscus_raft::consensus::GroupHandle;

use crate::context::NodeContext;
use crate::signer::Signable;

/// The name of a bug, for a process that is run by itself.
const VARIABLE: &str = "FISCUS_PLANTED";

/// Plants the bug that the environment names, if it names one; what is no bug ends the process.
pub(crate) fn plant_named() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let bug = Bug::ALL.into_iter().find(|bug| bug.name() == name);
    let bug = bug.unwrap_or_else(|| panic!("{VARIABLE} names {name}, which is no bug"));
    plant(bug);
    tracing::warn!(bug = bug.name(), "a bug is planted");
}

/// The last number that a leader has given in each outlet.
#[derive(Debug, Default)]
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Gives each seal a number. When nothing is on its way the counters begin with what is applied.
    pub(crate) fn number(
        &mut self,
        mut commands: Vec<Command>,
        handle: &GroupHandle,
        idle: bool,
    ) -> Vec<Command> {
        if !is_planted(Bug::LeaderNumbers) || handle.group() == 0 {
            return commands;
        }
        if idle {
            self.0.clear();
        }
        let Ok(reading) = handle.replica().read() else { return commands };
        for command in &mut commands {
            let Some(command::Command::Seal(seal)) = &mut command.command else { continue };
            let outlet_id =
                seal.submitted.as_ref().map(|by| by.outlet_id.clone()).unwrap_or_default();
            let applied =
                reading.outlet(&outlet_id).ok().flatten().map_or(0, |row| row.series.last);
            let last = self.0.entry(outlet_id).or_insert(applied);
            *last += 1;
            seal.device_id = Some(format!("number-{last}"));
        }
        commands
    }
}

/// Signs what an entry would make.
pub(crate) fn sign_early(context: &NodeContext, handle: &GroupHandle, entry: &[u8]) {
    if !is_planted(Bug::SignBeforeCommit) {
        return;
    }
    let Ok(reading) = handle.replica().read() else { return };
    let keys = context.signer.keys();
    let key = keys.iter().find(|key| context.authority_key(&key.authority_id()).is_some());
    for hash in reading.rehearse_entry(entry) {
        let signed =
            key.map(|key| context.signer.sign(&key.public_key, &Signable::EntryHash(hash)));
        if let Some(Err(error)) = signed {
            tracing::error!(%error, "the planted bug does not sign");
        }
    }
}
