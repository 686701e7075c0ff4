//! What goes wrong, and when: decided by the seed before anything runs, so that a part of it can be left out.

use std::collections::BTreeSet;
use std::fmt;

use fiscus_dice::Dice;
use fiscus_raft::disk::RebootMode;

/// Whom a fault hits; decided when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever leads the group then.
    Leader,
    /// A machine.
    Machine(u64),
}

/// Something that goes wrong, and is well again after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed; the system keeps what it wrote.
    Kill { who: Who },
    /// The power fails.
    PowerCut { who: Who, mode: RebootMode },
    /// The power fails for all at once.
    PowerCutAll { mode: RebootMode },
    /// The power fails at a step of the disk, in the middle of whatever is written.
    PowerCutMidway { who: Who, steps: u64, mode: RebootMode },
    /// The next sync fails with an input/output error.
    SyncFails { who: Who },
    /// The disk takes long, and so do the answers of the log.
    SlowDisk { who: Who, us: u64 },
    /// The disk is full but for so many bytes.
    FullDisk { who: Who, bytes: u64 },
    /// A byte of a file is another one, after the process was killed.
    Corrupt { who: Who, file: u64, place: u64 },
    /// It hears no other node, or nobody at all, and is not heard.
    Isolate { who: Who, clients_too: bool },
    /// It hears and is not heard, or the other way round.
    OneWay { who: Who, deaf: bool },
    /// Two do not hear each other.
    CutLink { a: u64, b: u64 },
    /// Links fail again and again for moments, and lose what is on them.
    Flicker { turns: u64 },
    /// Messages take long, each its own time.
    Delay { ms: u64 },
    /// A clock is wrong.
    Clock { who: Who, ms: i64 },
    /// Leadership is given away.
    Transfer,
    /// A snapshot is made under load.
    Snapshot { who: Who },
    /// A new node joins, which takes a snapshot.
    Join,
    /// The leader is cut off, and in the moment in which a voter has voted for another one the power fails for that voter.
    /// It comes back with the old leader and without the new one: whoever has forgotten its vote follows the old one.
    ElectionCut { mode: RebootMode },
}

impl Fault {
    /// Whether it surely ends the lead of whoever has it.
    fn ends_the_lead(&self) -> bool {
        matches!(
            self,
            Self::Kill { who: Who::Leader }
                | Self::PowerCut { who: Who::Leader, .. }
                | Self::PowerCutAll { .. }
                | Self::ElectionCut { .. }
        )
    }

    /// Whether the operator is told to do it, who may not be able to.
    pub(crate) fn is_an_order(&self) -> bool {
        matches!(self, Self::Transfer | Self::Snapshot { .. } | Self::Join)
    }

    /// The name in statistics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::PowerCut { .. } => "power cut",
            Self::PowerCutAll { .. } => "power cut of all",
            Self::PowerCutMidway { .. } => "power cut midway",
            Self::SyncFails { .. } => "failing sync",
            Self::SlowDisk { .. } => "slow disk",
            Self::FullDisk { .. } => "full disk",
            Self::Corrupt { .. } => "corruption",
            Self::Isolate { .. } => "isolation",
            Self::OneWay { .. } => "one-way partition",
            Self::CutLink { .. } => "cut link",
            Self::Flicker { .. } => "loss",
            Self::Delay { .. } => "delay",
            Self::Clock { .. } => "clock jump",
            Self::Transfer => "leader transfer",
            Self::Snapshot { .. } => "snapshot",
            Self::Join => "membership change",
            Self::ElectionCut { .. } => "power cut at an election",
        }
    }
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Milliseconds after the storm began.
    pub(crate) at: u64,
    /// For how long.
    pub(crate) lasts: u64,
    pub(crate) fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms for {} ms: {:?}", self.at, self.lasts, self.fault)
    }
}

/// The plan of a seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<Planned>,
    /// The faults end here, and the storm with them.
    pub(crate) ends: u64,
}

impl Plan {
    /// What a seed decides; with `only`, all other faults are left out.
    pub(crate) fn of(seed: u64, voters: u64, only: Option<&BTreeSet<usize>>) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let ends = dice.between(6_000, 10_000);
        let mut faults = Vec::new();
        let mut at = dice.between(200, 700);
        let mut corrupted = false;
        let mut joined = false;
        while at + 500 < ends {
            let mut fault = one(&mut dice, voters);
            // What is damaged or joins needs the others to come back: once a seed.
            match fault {
                Fault::Corrupt { .. } if std::mem::replace(&mut corrupted, true) => {
                    fault = Fault::Transfer;
                }
                Fault::Join if std::mem::replace(&mut joined, true) => fault = Fault::Transfer,
                _ => {}
            }
            let lasts = dice.between(50, 1_300);
            faults.push(Planned { at, lasts, fault });
            at += dice.between(120, 1_100);
        }
        // Every seed loses a leader.
        if !faults.iter().any(|planned| planned.fault.ends_the_lead()) {
            let middle = faults.len() / 2;
            faults[middle].fault = Fault::Kill { who: Who::Leader };
        }
        let kept = |at: &usize| only.is_none_or(|only| only.contains(at));
        let faults = faults.into_iter().enumerate();
        let faults = faults.filter(|(at, _)| kept(at)).map(|(_, fault)| fault).collect();
        Self { faults, ends }
    }

    /// How many faults the seed plans.
    pub(crate) fn count(seed: u64, voters: u64) -> usize {
        Self::of(seed, voters, None).faults.len()
    }
}

fn mode(dice: &mut Dice) -> RebootMode {
    match dice.below(3) {
        0 => RebootMode::LoseUnsynced,
        1 => RebootMode::KeepUnsynced,
        _ => RebootMode::Torn,
    }
}

fn one(dice: &mut Dice, voters: u64) -> Fault {
    let who = if dice.chance(50) { Who::Leader } else { Who::Machine(dice.between(1, voters)) };
    let mode = mode(dice);
    match dice.below(114) {
        0..10 => Fault::Kill { who },
        10..20 => Fault::PowerCut { who, mode },
        20..26 => Fault::PowerCutAll { mode },
        26..34 => Fault::PowerCutMidway { who, steps: dice.between(1, 12), mode },
        34..38 => Fault::SyncFails { who },
        38..44 => Fault::SlowDisk { who, us: dice.between(1_000, 80_000) },
        44..47 => Fault::FullDisk { who, bytes: dice.between(0, 200_000) },
        47..51 => Fault::Corrupt { who, file: dice.roll(), place: dice.roll() },
        51..59 => Fault::Isolate { who, clients_too: dice.chance(50) },
        59..67 => Fault::OneWay { who, deaf: dice.chance(50) },
        67..72 => {
            let a = dice.between(1, voters);
            Fault::CutLink { a, b: a % voters + 1 }
        }
        72..77 => Fault::Flicker { turns: dice.between(3, 12) },
        77..82 => Fault::Delay { ms: dice.between(10, 150) },
        82..88 => {
            let ms = i64::try_from(dice.between(300, 300_000)).unwrap_or(0);
            Fault::Clock { who, ms: if dice.chance(50) { ms } else { -ms } }
        }
        88..93 => Fault::Transfer,
        93..104 => Fault::Snapshot { who },
        104..108 => Fault::Join,
        _ => Fault::ElectionCut { mode },
    }
}
