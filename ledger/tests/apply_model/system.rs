//! The model of what every group has: its clock, its own chain, authorities, manifests, cuts and
//! signatures.

use fiscus_ledger::commands::SystemCommand;
use fiscus_ledger::facts::Environment;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::seal::authority_id;
use fiscus_ledger::state::Id;

use crate::answer::Answer;
use crate::model::Rec;

#[derive(Debug, Clone)]
struct Known {
    id: Id,
    key: [u8; 32],
    environment: Environment,
    status: &'static str,
}

/// The model of a group beside its outlets.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) number: u64,
    pub(crate) time: u64,
    pub(crate) index: u64,
    /// How many leaves the tree has, and had before the entry.
    pub(crate) leaves: usize,
    leaves_before: usize,
    pub(crate) signed: usize,
    pub(crate) chain: Vec<Rec>,
    authorities: Vec<Known>,
    /// When each takes effect, and its version.
    pub(crate) manifests: Vec<(u64, Id)>,
    manifests_before: usize,
    /// Index and size.
    pub(crate) cuts: Vec<(u64, usize)>,
    pub(crate) decided: Option<(u64, usize)>,
    heads_end: usize,
    heads_time: u64,
}

fn latest(manifests: &[(u64, Id)], time: u64) -> Option<&Id> {
    manifests.iter().filter(|(from, _)| *from <= time).max().map(|(_, version)| version)
}

impl System {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            time: 0,
            index: 0,
            leaves: 0,
            leaves_before: 0,
            signed: 0,
            chain: Vec::new(),
            authorities: Vec::new(),
            manifests: Vec::new(),
            manifests_before: 0,
            cuts: Vec::new(),
            decided: None,
            heads_end: 0,
            heads_time: 0,
        }
    }

    pub(crate) fn begin(&mut self, stamp: u64) {
        self.time = self.time.max(stamp);
        self.index += 1;
        self.leaves_before = self.leaves;
        self.manifests_before = self.manifests.len();
    }

    /// Counts a record that takes `position` in its chain.
    pub(crate) fn recorded(&mut self, position: usize, number: String) -> Answer {
        self.leaves += 1;
        Answer::Recorded { position, leaf: self.leaves - 1, number, time: self.time }
    }

    pub(crate) fn active(&self, environment: Environment) -> Option<Id> {
        let active = |known: &&Known| known.environment == environment && known.status == "active";
        self.authorities.iter().find(active).map(|known| known.id.clone())
    }

    pub(crate) fn signer(&self) -> Option<Id> {
        self.active(Environment::Live).or_else(|| self.active(Environment::Sandbox))
    }

    pub(crate) fn prepared(&self) -> Vec<Id> {
        let prepared = self.authorities.iter().filter(|known| known.status == "prepared");
        prepared.map(|known| known.id.clone()).collect()
    }

    /// The manifest in force, of all that are published.
    pub(crate) fn in_force(&self, time: u64) -> Option<&Id> {
        latest(&self.manifests, time)
    }

    /// The manifest in force, of those that were published before the entry.
    pub(crate) fn in_force_before(&self, time: u64) -> Option<&Id> {
        latest(&self.manifests[..self.manifests_before], time)
    }

    /// A manifest by its name if it has come into force, else the one in force.
    pub(crate) fn named_before(&self, name: &Id) -> Option<&Id> {
        let known = &self.manifests[..self.manifests_before];
        let named = known.iter().find(|(from, version)| *from <= self.time && version == name);
        named.map(|(_, version)| version).or_else(|| latest(known, self.time))
    }

    pub(crate) fn write(&mut self, kind: &str, authority: Id) -> Answer {
        self.chain.push(Rec {
            leaf: self.leaves,
            kind: kind.to_owned(),
            authority,
            number: None,
            plan: None,
            time: self.time,
        });
        self.recorded(self.chain.len(), String::new())
    }

    pub(crate) fn publish(&mut self, manifest: &Manifest) -> Answer {
        let Some(signer) = self.signer() else { return Answer::Refused("NO_AUTHORITY") };
        if self.manifests.iter().any(|(_, version)| **version == *manifest.version()) {
            return Answer::Unchanged;
        }
        self.manifests.push((manifest.effective_from().get(), Id::from(manifest.version())));
        self.write("manifest_event", signer)
    }

    pub(crate) fn step(&mut self, command: &SystemCommand, genuine: bool) -> Answer {
        match command {
            SystemCommand::Tick(_) => Answer::Done,
            SystemCommand::PrepareAuthority(command) => {
                if command.name.is_empty() || command.name.contains('.') {
                    return Answer::Refused("FIELD_INVALID");
                }
                let id = Id::from(authority_id(&command.name, &command.public_key));
                let key = command.public_key;
                if self.authorities.iter().any(|known| known.id == id || known.key == key) {
                    return Answer::Refused("AUTHORITY_INVALID");
                }
                if !genuine || command.proofs.is_empty() {
                    return Answer::Refused("AUTHORITY_PROOF_INVALID");
                }
                let signer = self.signer().unwrap_or_else(|| id.clone());
                let environment = command.environment;
                self.authorities.push(Known { id, key, environment, status: "prepared" });
                self.write("authority_event", signer)
            }
            SystemCommand::ActivateAuthority(command) => self.activate(&command.authority_id),
            SystemCommand::CheckpointCut(command) => self.cut(command.demand_heads),
            SystemCommand::CheckpointDecided(command) => {
                let index = command.tuple.log_index;
                let Some(at) = self.cuts.iter().position(|cut| cut.0 == index && genuine) else {
                    return Answer::Unchanged;
                };
                self.decided = Some(self.cuts[at]);
                self.cuts = self.cuts.split_off(at + 1);
                Answer::Done
            }
            SystemCommand::AttachSignatures(command) => {
                let next = u64::try_from(self.signed).unwrap() == command.first_leaf;
                let count = command.signatures.len();
                if !next || count == 0 || self.signed + count > self.leaves_before {
                    return Answer::Unchanged;
                }
                self.signed += count;
                Answer::Done
            }
            SystemCommand::RaiseApplyVersion(_) => Answer::Refused("APPLY_VERSION_INVALID"),
        }
    }

    fn activate(&mut self, id: &Id) -> Answer {
        let wanted = |known: &Known| known.id == *id && known.status == "prepared";
        let Some(at) = self.authorities.iter().position(wanted) else {
            return Answer::Refused("AUTHORITY_NOT_PREPARED");
        };
        let environment = self.authorities[at].environment;
        let signer = self.active(environment).or_else(|| self.signer());
        for known in &mut self.authorities {
            if known.environment == environment && known.status == "active" {
                known.status = "retired";
            }
        }
        self.authorities[at].status = "active";
        self.write("authority_event", signer.unwrap_or_else(|| id.clone()))
    }

    fn cut(&mut self, demand: bool) -> Answer {
        let last = self.cuts.last().copied().or(self.decided);
        let news = self.leaves > self.heads_end;
        let wanted = news && (demand || self.time >= self.heads_time + 60_000);
        if let Some((index, size)) = last
            && (index == self.index || (size == self.leaves && !wanted))
        {
            return Answer::Unchanged;
        }
        if wanted {
            self.leaves += 1;
            self.heads_end = self.leaves;
            self.heads_time = self.time;
        }
        self.cuts.push((self.index, self.leaves));
        Answer::Done
    }
}
