//! A snapshot that comes in from another replica, with the power cut at every step of it.

use std::collections::BTreeMap;

use fiscus_proto::peer::{FileWanted, SnapshotManifest};

use super::crash::snapshot;
use super::life::{DIR, ENTRIES, applied, last, log, open, options, replay};
use super::picture::{Claims, Found, Steady, names, recovers, reopen, told};
use crate::disk::{Disk, RebootMode, SimulatedDisk};
use crate::store::{Incoming, IncomingError, Replica, SnapshotDir};

/// A snapshot as its sender has it.
#[derive(Debug, Clone)]
pub(super) struct Shipment {
    manifest: SnapshotManifest,
    files: BTreeMap<String, Vec<u8>>,
}

impl Shipment {
    /// Snapshots of the entries 5 and 9, from one sender.
    pub(super) fn two(steady: &Steady) -> [Self; 2] {
        let disk = SimulatedDisk::new();
        let sender = open(&disk, options()).expect("open");
        [5, 9].map(|index| {
            replay(&sender, &steady.log, index).expect("apply");
            snapshot(&sender, &steady.log, &mut Claims::default()).expect("snapshot");
            let made = sender.newest_snapshot().expect("look").expect("it was made");
            Self::of(&disk, &made)
        })
    }

    fn of(disk: &SimulatedDisk, made: &SnapshotDir) -> Self {
        let read = |name: &str, bytes: u64| {
            let bytes = usize::try_from(bytes).expect("small");
            made.read(disk, name, 0, bytes).expect("read")
        };
        let files = made.manifest.files.iter();
        let files = files.map(|file| (file.name.clone(), read(&file.name, file.bytes)));
        Self { files: files.collect(), manifest: made.manifest.clone() }
    }

    /// Damages the first file of a run, and lets the manifest say that it is so.
    pub(super) fn harm(&mut self, run: &str, at: usize) {
        let name = self.files.keys().find(|name| name.starts_with(run)).expect("a run").clone();
        let content = self.files.get_mut(&name).expect("it is there");
        content[at] ^= 0xff;
        let hash = blake3::hash(content).as_bytes().to_vec().into();
        let file = self.manifest.files.iter_mut().find(|file| file.name == name);
        file.expect("the manifest names it").hash = hash;
    }

    /// Sends all that is missing, and has it checked.
    pub(super) fn receive(&self, to: &Replica) -> Result<SnapshotDir, IncomingError> {
        let (incoming, wanted) = to.receive(self.manifest.clone())?;
        for file in &wanted {
            self.send(&incoming, file, usize::MAX >> 1).expect("it fits");
        }
        incoming.finish()
    }

    fn send(&self, incoming: &Incoming, wanted: &FileWanted, bytes: usize) -> Found<()> {
        let content = &self.files[&wanted.name];
        let from = usize::try_from(wanted.from).expect("small");
        let mut at = wanted.from;
        for part in content[from..(from + bytes).min(content.len())].chunks(9_000) {
            incoming.write(&wanted.name, at, part).map_err(told)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Lets a replica have the snapshot, and says which files travelled.
    fn deliver(&self, to: &Replica, claims: &mut Claims) -> Found<Vec<FileWanted>> {
        let (incoming, wanted) = to.receive(self.manifest.clone()).map_err(told)?;
        for file in &wanted {
            self.send(&incoming, file, usize::MAX >> 1)?;
        }
        let received = incoming.finish().map_err(told)?;
        claims.snapshot = received.log_id().map_or(0, |id| id.index);
        let name = to.prepare_install(&received).map_err(told)?;
        to.install(&name, &received).map_err(told)?;
        to.installed().map_err(told)?;
        claims.note(to);
        if claims.durable < claims.snapshot {
            return Err("an installed snapshot is durable".to_owned());
        }
        Ok(wanted)
    }
}

/// A life that two snapshots come into, the second with an interruption, until something fails.
fn live(
    disk: &SimulatedDisk,
    steady: &Steady,
    [early, late]: &[Shipment; 2],
    claims: &mut Claims,
) -> Found<()> {
    let replica = open(disk, options()).map_err(told)?;
    replay(&replica, &steady.log, 3).map_err(told)?;
    replica.flush(last(&steady.log)).map_err(told)?;
    claims.note(&replica);
    early.deliver(&replica, claims)?;
    replay(&replica, &steady.log, 7).map_err(told)?;
    replica.flush(last(&steady.log)).map_err(told)?;
    claims.note(&replica);
    let (incoming, wanted) = replica.receive(late.manifest.clone()).map_err(told)?;
    for (file, bytes) in wanted.iter().zip([usize::MAX >> 1, 700]) {
        late.send(&incoming, file, bytes)?;
    }
    drop(incoming);
    late.deliver(&replica, claims)?;
    replay(&replica, &steady.log, ENTRIES).map_err(told)?;
    snapshot(&replica, &steady.log, claims)
}

#[test]
fn a_power_cut_at_any_step_of_an_install_leaves_one_of_the_two_states() {
    let steady = Steady::of(log());
    let shipments = Shipment::two(&steady);
    let whole = SimulatedDisk::new();
    live(&whole, &steady, &shipments, &mut Claims::default()).expect("live");
    for step in 1..=whole.steps() + 1 {
        let disk = SimulatedDisk::new();
        disk.fail_power_at(step);
        let mut claims = Claims::default();
        let _failed = live(&disk, &steady, &shipments, &mut claims);
        let modes = [RebootMode::LoseUnsynced, RebootMode::KeepUnsynced, RebootMode::Torn];
        for (seed, mode) in (step..).zip(modes) {
            let left = disk.reboot(seed, mode);
            let recovered = if seed % 2 == 0 {
                receives_again(&left, &steady, &shipments[1], claims)
            } else {
                recovers(&left, &steady, claims)
            };
            recovered.unwrap_or_else(|what| panic!("step {step}, seed {seed}, {mode:?}: {what}"));
        }
    }
}

/// The sender begins once more after the crash, as Raft lets it.
fn receives_again(
    disk: &SimulatedDisk,
    steady: &Steady,
    late: &Shipment,
    mut claims: Claims,
) -> Found<()> {
    let replica = reopen(disk, steady, claims, options())?;
    if applied(&replica) < 9 {
        if late.deliver(&replica, &mut claims).is_err() {
            // A part that was torn is found out when all of it is there, and asked for again.
            late.deliver(&replica, &mut claims).map_err(|what| format!("again: {what}"))?;
        }
        if applied(&replica) != 9 {
            return Err("the snapshot is not in use".to_owned());
        }
        steady.agrees(&replica, "after the install")?;
    }
    steady.finishes(&replica)?;
    drop(replica);
    recovers(&disk.reboot(1, RebootMode::LoseUnsynced), steady, claims)
}

#[test]
fn only_what_is_missing_travels() {
    let steady = Steady::of(log());
    let [early, late] = Shipment::two(&steady);
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    let first = early.deliver(&replica, &mut Claims::default()).expect("deliver");
    assert_eq!(first.len(), early.files.len(), "an empty replica has nothing of it");
    let second = late.deliver(&replica, &mut Claims::default()).expect("deliver");
    let travelled: Vec<&str> = second.iter().map(|file| &*file.name).collect();
    let own = late.files.keys().filter(|name| !travelled.contains(&name.as_str()));
    let own: Vec<_> = own.filter(|name| early.files.contains_key(*name)).collect();
    assert!(own.len() > 1, "sealed files stay: {travelled:?}");
    assert_eq!(names(&disk, "incoming").expect("list"), Vec::<String>::new());
    steady.finishes(&replica).expect("the same end");
}

#[test]
fn what_does_not_fit_is_refused() {
    let steady = Steady::of(log());
    let [_, late] = Shipment::two(&steady);
    let replica = open(&SimulatedDisk::new(), options()).expect("open");
    type Harm = fn(&mut SnapshotManifest);
    let offers: [(&str, Harm); 6] = [
        ("another cluster", |manifest| manifest.cluster.push('x')),
        ("another group", |manifest| manifest.group += 1),
        ("no entry", |manifest| manifest.log_id = None),
        ("a name that leads elsewhere", |manifest| manifest.files[0].name = "../CURRENT".into()),
        ("a hash that is none", |manifest| manifest.files[0].hash = vec![1; 31].into()),
        ("files out of order", |manifest| manifest.files.reverse()),
    ];
    for (what, harm) in offers {
        let mut manifest = late.manifest.clone();
        harm(&mut manifest);
        let refused = replica.receive(manifest).expect_err(what);
        assert!(matches!(refused, IncomingError::Refused(_)), "{what}: {refused}");
    }
    let (incoming, wanted) = replica.receive(late.manifest.clone()).expect("receive");
    let name = &wanted[0].name;
    let past = late.files[name].len() as u64;
    let parts = [("state-1/x", 0), (name.as_str(), past), (name.as_str(), 1)];
    for (name, offset) in parts {
        let refused = incoming.write(name, offset, &[0]).expect_err(name);
        assert!(matches!(refused, IncomingError::OutOfPlace(_)), "{name} {offset}: {refused}");
    }
    incoming.finish().expect_err("files are missing");
}

/// A manifest that names another state than its rows make is found out before anything changes.
#[test]
fn a_snapshot_of_another_state_is_never_in_use() {
    let steady = Steady::of(log());
    let [_, mut late] = Shipment::two(&steady);
    late.manifest.state_hash = vec![7; 32].into();
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    replay(&replica, &steady.log, 4).expect("apply");
    let refused = late.deliver(&replica, &mut Claims::default()).expect_err("another state");
    assert!(refused.contains("state is not the one"), "{refused}");
    assert_eq!(applied(&replica), 4);
    steady.finishes(&replica).expect("the old state goes on");
}

/// A newer offer does not let what an older one has brought travel again.
#[test]
fn what_an_older_offer_has_brought_does_not_travel_again() {
    let steady = Steady::of(log());
    let [early, late] = Shipment::two(&steady);
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    let (incoming, wanted) = replica.receive(early.manifest.clone()).expect("receive");
    for file in &wanted {
        early.send(&incoming, file, usize::MAX >> 1).expect("send");
    }
    drop(incoming);
    let (_, wanted) = replica.receive(late.manifest.clone()).expect("receive");
    let same = |file: &&fiscus_proto::peer::SnapshotFile| early.manifest.files.contains(file);
    let same: Vec<&str> =
        late.manifest.files.iter().filter(same).map(|file| file.name.as_str()).collect();
    assert!(!same.is_empty(), "the two snapshots have no file in common");
    for file in &wanted {
        assert!(!same.contains(&file.name.as_str()), "{} travels again", file.name);
    }
    let left = disk.list(&std::path::Path::new(DIR).join("incoming")).expect("list");
    assert_eq!(left.len(), 1, "only the newest offer is kept");
    late.deliver(&replica, &mut Claims::default()).expect("deliver");
    steady.agrees(&replica, "delivered").expect("the same");
}

/// A snapshot that is being sent stays, however many are made meanwhile.
#[test]
fn a_snapshot_stays_while_it_is_read() {
    let steady = Steady::of(log());
    let disk = SimulatedDisk::new();
    let replica = open(&disk, options()).expect("open");
    let made = |index| {
        replay(&replica, &steady.log, index).expect("apply");
        snapshot(&replica, &steady.log, &mut Claims::default()).expect("snapshot");
        replica.newest_snapshot().expect("look").expect("it was made")
    };
    let read = made(3);
    let path = read.path.clone();
    for index in 4..8 {
        made(index);
    }
    assert!(disk.exists(&path).expect("look"), "it was removed while somebody read it");
    drop(read);
    made(8);
    assert!(!disk.exists(&path).expect("look"), "it is kept for nobody");
}
