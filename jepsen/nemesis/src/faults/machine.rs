//! Faults of machines: processes, power, disks, clocks.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fiscus_check::line::Line;
use fiscus_dice::Dice;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{Done, Faults};
use crate::network::run;

/// Clocks jump by so much.
const JUMP_S: i64 = 300;
/// Or run too fast by so many of a thousand.
const DRIFT_PER_MILLE: u32 = 50;
/// Bytes that a full disk still has: fewer than a node wants to keep, or none.
const LEFT: [u64; 3] = [32 << 20, 1 << 20, 0];

impl Faults {
    pub(super) async fn kill(&self, dice: &mut Dice, length: Duration) -> Result<Done> {
        let (id, leader) = self.victim(dice).await?;
        {
            let mut cluster = self.lock();
            let node = cluster.node(id)?;
            node.held = true;
            node.kill();
        }
        let hit = self.recorder.now();
        sleep(length).await;
        self.start_again(id)?;
        Ok(Done { target: format!("n{id}"), hit, leader, ..Done::default() })
    }

    pub(super) async fn kill_all(&self, length: Duration) -> Result<Done> {
        let ids = {
            let mut cluster = self.lock();
            for node in cluster.nodes.values_mut() {
                node.held = true;
            }
            for node in cluster.nodes.values_mut() {
                node.kill();
            }
            cluster.ids()
        };
        let hit = self.recorder.now();
        sleep(length / 4).await;
        ids.into_iter().try_for_each(|id| self.start_again(id))?;
        Ok(Done { target: "all".to_owned(), hit, leader: true, ..Done::default() })
    }

    pub(super) async fn pause(&self, length: Duration) -> Result<Done> {
        let id = self.leader().await.context("nobody leads")?;
        self.lock().node(id)?.signal(Signal::STOP)?;
        let hit = self.recorder.now();
        sleep(length).await;
        self.lock().node(id)?.signal(Signal::CONT)?;
        self.measure(id, |recorder, _, caught_up| recorder.seen().heals.push(caught_up));
        Ok(Done { target: format!("n{id}"), hit, leader: true, ..Done::default() })
    }

    pub(super) async fn power(&self, dice: &mut Dice, length: Duration) -> Result<Done> {
        let (id, leader) = self.victim(dice).await?;
        self.lose_power(&[id])?;
        let hit = self.recorder.now();
        sleep(length).await;
        self.power_returns(&[id])?;
        Ok(Done { target: format!("n{id}"), hit, leader, ..Done::default() })
    }

    pub(super) async fn power_all(&self, length: Duration) -> Result<Done> {
        let ids = self.lock().ids();
        self.lose_power(&ids)?;
        let hit = self.recorder.now();
        sleep(length / 4).await;
        self.power_returns(&ids)?;
        Ok(Done { target: "all".to_owned(), hit, leader: true, ..Done::default() })
    }

    /// The disk stops first, in the middle of whatever is written; then the process is gone.
    fn lose_power(&self, ids: &[u64]) -> Result<()> {
        let mut cluster = self.lock();
        // One that has gone for good meanwhile has no power to lose.
        let ids: Vec<u64> =
            ids.iter().copied().filter(|id| cluster.nodes.contains_key(id)).collect();
        for id in &ids {
            let node = cluster.node(*id)?;
            node.held = true;
            self.disk_fails(*id);
            node.disk()?.cut_power()?;
        }
        ids.iter().try_for_each(|id| {
            cluster.node(*id)?.kill();
            Ok(())
        })
    }

    fn power_returns(&self, ids: &[u64]) -> Result<()> {
        for id in ids {
            if let Some(node) = self.lock().nodes.get_mut(id) {
                node.disk()?.start_again()?;
            }
            self.disk_works(*id);
            self.start_again(*id)?;
        }
        Ok(())
    }

    pub(super) async fn full(&self, dice: &mut Dice, length: Duration) -> Result<Done> {
        let (id, _) = self.victim(dice).await?;
        let left = LEFT[usize::try_from(dice.below(LEFT.len() as u64))?];
        // A disk without power cannot be filled, and has forgotten what filled it when the power is back.
        self.disk_fails(id);
        let filled = self.lock().node(id)?.disk()?.fill(left);
        sleep(length).await;
        let emptied = self.lock().node(id)?.disk()?.empty();
        self.disk_works(id);
        let undone = filled.is_err() || emptied.is_err();
        Ok(Done { target: format!("n{id} ({left} bytes left)"), undone, ..Done::default() })
    }

    pub(super) async fn clocks(
        &self,
        how_many: usize,
        dice: &mut Dice,
        length: Duration,
    ) -> Result<Done> {
        let (first, _) = self.victim(dice).await?;
        let mut ids: Vec<u64> = self.lock().ids();
        ids.retain(|id| *id != first);
        ids.insert(0, first);
        ids.truncate(how_many);
        if how_many > 1 {
            self.recorder.line(&Line::Caveat { majority_of_clocks: true })?;
        }
        let mut target = Vec::new();
        for id in &ids {
            let choice = dice.below(3);
            let cluster = self.lock();
            let clock = cluster.nodes.get(id).context("the node is there")?.clock()?;
            match choice {
                0 => clock.is_off_by(JUMP_S)?,
                1 => clock.is_off_by(-JUMP_S)?,
                _ => clock.drifts(DRIFT_PER_MILLE)?,
            }
            target.push(format!(
                "n{id} {}",
                ["+300 s", "-300 s", "5 % too fast"][usize::try_from(choice)?]
            ));
        }
        // A wrong clock is noticed within seconds.
        sleep(length * 2).await;
        for id in ids {
            if let Some(node) = self.lock().nodes.get(&id) {
                node.clock()?.is_right()?;
            }
        }
        Ok(Done { target: target.join(", "), ..Done::default() })
    }

    pub(super) async fn corrupt(&self, dice: &mut Dice, length: Duration) -> Result<Done> {
        let id = self.to_damage(dice)?;
        {
            let mut cluster = self.lock();
            let node = cluster.node(id)?;
            node.held = true;
            node.kill();
        }
        let place = self.lock().place(id).join("data");
        let what = damage(&place, dice)?;
        // The damage is this, and not what a power cut would leave of it.
        run("sync", &["-f", &place.display().to_string()])?;
        sleep(length / 2).await;
        self.start_again(id)?;
        Ok(Done { target: format!("n{id}: {what}"), ..Done::default() })
    }

    /// A minority is damaged: always the same nodes.
    fn to_damage(&self, dice: &mut Dice) -> Result<u64> {
        let ids = self.lock().ids();
        let most = (ids.len() - 1) / 2;
        ensure!(most > 0, "there is no minority");
        let mut damaged = self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        damaged.retain(|id| ids.contains(id));
        if damaged.len() < most {
            damaged.insert(ids[usize::try_from(dice.below(ids.len() as u64))?]);
        }
        let at = usize::try_from(dice.below(damaged.len() as u64))?;
        damaged.iter().nth(at).copied().context("one is damaged")
    }
}

/// Changes files of a dead node; in words, what.
fn damage(data: &Path, dice: &mut Dice) -> Result<String> {
    let group = data.join("groups/1");
    let older = data.with_extension("older");
    let choice = dice.below(3);
    if choice == 2 && older.exists() {
        fs::remove_dir_all(&group)?;
        copy(&older, &group)?;
        return Ok("an older copy of its state".to_owned());
    }
    if older.exists() {
        fs::remove_dir_all(&older)?;
    }
    copy(&group, &older)?;
    let mut files = Vec::new();
    list(&group, &mut files)?;
    files.retain(|file| fs::metadata(file).is_ok_and(|meta| meta.len() > 0));
    files.sort();
    ensure!(!files.is_empty(), "there are no files in {}", group.display());
    let path = &files[usize::try_from(dice.below(files.len() as u64))?];
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let name = path.strip_prefix(data)?.display();
    if choice == 0 {
        let left = dice.below(length);
        file.set_len(left)?;
        return Ok(format!("{name} is cut from {length} bytes to {left}"));
    }
    let mut flips = Vec::new();
    for _ in 0..dice.between(1, 4) {
        let at = dice.below(length);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << dice.below(8);
        file.write_all_at(&byte, at)?;
        flips.push(at.to_string());
    }
    Ok(format!("{name} is changed at {}", flips.join(", ")))
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        match path.is_dir() {
            true => list(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "copying {} failed", from.display());
    Ok(())
}
