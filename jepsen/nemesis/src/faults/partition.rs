//! Faults of the network.

use std::time::Duration;

use anyhow::{Context, Result};
use fiscus_dice::Dice;
use tokio::time::sleep;

use super::{Done, Faults};
use crate::network::Rule;

/// Of a hundred packets.
const LOST: u8 = 30;

impl Faults {
    pub(super) async fn partition(&self, dice: &mut Dice, length: Duration) -> Result<Done> {
        let (id, leader) = self.victim(dice).await?;
        let ids = self.lock().ids();
        let (target, rules, cut, leader) = match dice.below(4) {
            // With so many others as are not a majority.
            0 | 1 => {
                let few = (ids.len() - 1) / 2;
                let mut side: Vec<u64> = ids.iter().copied().filter(|other| *other != id).collect();
                side.truncate(few.saturating_sub(1));
                side.push(id);
                let rules = apart(&side, &ids);
                (format!("{} from the others", named(&side)), rules, side, leader)
            }
            2 => (format!("n{id} from everybody"), vec![(id, Rule::Alone)], vec![id], leader),
            // Each hears its neighbours only; of three, two do not hear each other.
            _ => {
                let mut rules = Vec::new();
                for (at, one) in ids.iter().enumerate() {
                    for (to, other) in ids.iter().enumerate() {
                        let apart = at.abs_diff(to);
                        let near = apart <= 1 || (ids.len() > 3 && apart == ids.len() - 1);
                        if !near {
                            rules.push((*one, Rule::Deaf { to: *other }));
                        }
                    }
                }
                ("a ring".to_owned(), rules, Vec::new(), false)
            }
        };
        let hit = self.impose(rules, length).await?;
        for id in cut {
            self.measure(id, |recorder, _, caught_up| recorder.seen().heals.push(caught_up));
        }
        Ok(Done { target, hit, leader, ..Done::default() })
    }

    pub(super) async fn one_way(&self, dice: &mut Dice, length: Duration) -> Result<Done> {
        let (id, leader) = self.victim(dice).await?;
        let others: Vec<u64> = self.lock().ids().into_iter().filter(|it| *it != id).collect();
        let deaf = dice.chance(50);
        let rule = |to: u64| if deaf { Rule::Deaf { to } } else { Rule::Mute { to } };
        let rules = others.into_iter().map(|other| (id, rule(other))).collect();
        let hit = self.impose(rules, length).await?;
        self.measure(id, |recorder, _, caught_up| recorder.seen().heals.push(caught_up));
        let how = if deaf { "hears no other" } else { "is heard by no other" };
        Ok(Done { target: format!("n{id} {how}"), hit, leader, ..Done::default() })
    }

    pub(super) async fn loss(&self, dice: &mut Dice, length: Duration) -> Result<Done> {
        let ids = self.lock().ids();
        let all = dice.chance(30);
        let at = usize::try_from(dice.below(ids.len() as u64))?;
        let hit = if all { ids } else { vec![*ids.get(at).context("there are nodes")?] };
        let target = format!("{LOST} % at {}", named(&hit));
        let rules = hit.into_iter().map(|id| (id, Rule::Loses { percent: LOST })).collect();
        let hit = self.impose(rules, length).await?;
        Ok(Done { target, hit, ..Done::default() })
    }

    /// When it was done, after it has ended.
    async fn impose(&self, rules: Vec<(u64, Rule)>, length: Duration) -> Result<u64> {
        let number = self.number();
        self.lock().network.impose(number, rules)?;
        let hit = self.recorder.now();
        sleep(length).await;
        self.lock().network.lift(number)?;
        Ok(hit)
    }
}

/// Nobody on one side hears anybody on the other.
fn apart(side: &[u64], all: &[u64]) -> Vec<(u64, Rule)> {
    let mut rules = Vec::new();
    for one in side {
        for other in all.iter().filter(|other| !side.contains(other)) {
            rules.push((*one, Rule::Deaf { to: *other }));
            rules.push((*one, Rule::Mute { to: *other }));
        }
    }
    rules
}

fn named(ids: &[u64]) -> String {
    ids.iter().map(|id| format!("n{id}")).collect::<Vec<_>>().join(", ")
}
