//! A file system in memory that forgets what was not synced.
//!
//! ```text
//!  write, set_len ──► live content ── sync_data ──► durable content
//!  create, rename, link, remove ──► live names ── sync_dir ──► durable names
//!                         power fails at step N
//!                                 ▼
//!  reboot(seed, mode): durable + any part of what was not synced, by 512-byte sector
//! ```
//!
//! Invariants: every change and every sync is one numbered step; the same calls, seed and mode give
//! the same bytes; hard links share content; syncing a file does not make its name durable. A failed
//! sync drops the writes it should have made durable, as kernels do: later syncs of the same file
//! succeed without them. Non-goals: permissions, symbolic links, time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, OpenHow, Space};

const SECTOR: u64 = 512;
const ROOT: u64 = 1;
/// Room that a disk without a limit claims to have.
const UNLIMITED: u64 = 1 << 50;

/// What a power cut leaves of the bytes and names that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebootMode {
    /// Nothing.
    LoseUnsynced,
    /// Everything, as after a killed process.
    KeepUnsynced,
    /// By seed: of each write all, nothing, a prefix or any sectors; of the names any subset.
    Torn,
}

/// A simulated file system; clones share it.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    steps: u64,
    power_fails_at: Option<u64>,
    sync_fails_at: Option<u64>,
    off: bool,
    capacity: Option<u64>,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    live: Names,
    durable: Names,
    name_ops: Vec<NameOp>,
}

type Names = BTreeMap<(u64, String), u64>;

/// One change of names: what each name points to afterwards.
#[derive(Debug, Clone)]
struct NameOp {
    changes: Vec<((u64, String), Option<u64>)>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    dir: bool,
    /// Shared for as long as they are equal: most files are never written again.
    live: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

#[derive(Debug)]
struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    writable: bool,
}

/// A small deterministic generator (splitmix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        let inodes = BTreeMap::from([(ROOT, Inode { dir: true, ..Inode::default() })]);
        Self::holding(State {
            steps: 0,
            power_fails_at: None,
            sync_fails_at: None,
            off: false,
            capacity: None,
            next_inode: ROOT + 1,
            inodes,
            live: Names::new(),
            durable: Names::new(),
            name_ops: Vec::new(),
        })
    }

    fn holding(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Power fails at this step, counted from 1: that call and all later ones fail. A write at
    /// which the power fails may be there in part.
    pub fn fail_power_at(&self, step: u64) {
        self.state().power_fails_at = Some(step);
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// The first sync at or after this step fails with an input/output error.
    pub fn fail_sync_at(&self, step: u64) {
        self.state().sync_fails_at = Some(step);
    }

    /// From now on files may grow by this many bytes; `None` lifts the limit.
    pub fn limit_free(&self, bytes: Option<u64>) {
        let mut state = self.state();
        state.capacity = bytes.map(|bytes| state.used() + bytes);
    }

    /// Inverts the bits of one byte of a file, on the platter and in memory.
    pub fn flip(&self, path: &Path, offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let number = state.find(path)?;
        let inode = state.inode_mut(number)?;
        let at = usize::try_from(offset).map_err(|_| eof())?;
        *Arc::make_mut(&mut inode.live).get_mut(at).ok_or_else(eof)? ^= 0xff;
        if let Some(byte) = Arc::make_mut(&mut inode.durable).get_mut(at) {
            *byte ^= 0xff;
        }
        Ok(())
    }

    /// The disk as it is found when the power is back. This one stays off.
    pub fn reboot(&self, seed: u64, mode: RebootMode) -> Self {
        let mut state = self.state();
        state.off = true;
        let mut dice = Dice(seed);
        let mut names = state.durable.clone();
        for op in &state.name_ops {
            if mode.keeps(&mut dice) {
                op.apply(&mut names);
            }
        }
        let mut inodes = BTreeMap::new();
        // What has no name any more is not found again.
        let named: BTreeSet<u64> = names.values().copied().chain([ROOT]).collect();
        for (number, inode) in state.inodes.iter().filter(|(number, _)| named.contains(number)) {
            let content = inode.after_power_cut(mode, &mut dice);
            inodes.insert(
                *number,
                Inode { dir: inode.dir, live: content.clone(), durable: content, unsynced: vec![] },
            );
        }
        Self::holding(State {
            steps: 0,
            power_fails_at: None,
            sync_fails_at: None,
            off: false,
            capacity: None,
            next_inode: state.next_inode,
            inodes,
            live: names.clone(),
            durable: names,
            name_ops: Vec::new(),
        })
    }
}

impl RebootMode {
    fn keeps(self, dice: &mut Dice) -> bool {
        match self {
            Self::LoseUnsynced => false,
            Self::KeepUnsynced => true,
            Self::Torn => dice.coin(),
        }
    }
}

impl NameOp {
    fn apply(&self, names: &mut Names) {
        for (name, target) in &self.changes {
            match target {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
    }
}

impl Inode {
    fn after_power_cut(&self, mode: RebootMode, dice: &mut Dice) -> Arc<Vec<u8>> {
        let mut shared = self.durable.clone();
        if self.unsynced.is_empty() || mode == RebootMode::LoseUnsynced {
            return shared;
        }
        let content = Arc::make_mut(&mut shared);
        for change in &self.unsynced {
            match mode {
                RebootMode::LoseUnsynced => {}
                RebootMode::KeepUnsynced => change.apply(content),
                RebootMode::Torn => change.apply_torn(content, dice),
            }
        }
        shared
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(content, *offset, data),
            Self::SetLen(len) => content.resize(to_index(*len), 0),
        }
    }

    fn apply_torn(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { offset, data } = self else {
            if dice.coin() {
                self.apply(content);
            }
            return;
        };
        let pieces = sectors(*offset, data);
        match dice.roll() % 4 {
            0 => {}
            1 => self.apply(content),
            2 => {
                let kept = to_index(dice.roll() % (pieces.len() as u64 + 1));
                for (at, piece) in &pieces[..kept] {
                    put(content, *at, piece);
                }
            }
            _ => {
                for (at, piece) in pieces {
                    if dice.coin() {
                        put(content, at, piece);
                    }
                }
            }
        }
    }
}

/// Splits a write where sectors meet.
fn sectors(offset: u64, data: &[u8]) -> Vec<(u64, &[u8])> {
    let mut pieces = Vec::new();
    let (mut at, mut rest) = (offset, data);
    while !rest.is_empty() {
        let room = to_index(SECTOR - at % SECTOR).min(rest.len());
        let (piece, behind) = rest.split_at(room);
        pieces.push((at, piece));
        at += room as u64;
        rest = behind;
    }
    pieces
}

fn put(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = to_index(offset);
    let end = start + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(data);
}

fn to_index(value: u64) -> usize {
    usize::try_from(value).expect("a simulated file fits in memory")
}

fn eof() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the file")
}

fn no_power() -> io::Error {
    io::Error::other("the power has failed")
}

fn kind(kind: io::ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, path.display().to_string())
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.off { Err(no_power()) } else { Ok(()) }
    }

    /// Takes one step; afterwards the power may be off, which the caller has to ask for.
    fn step(&mut self) -> io::Result<()> {
        self.check_power()?;
        self.steps += 1;
        if self.power_fails_at.is_some_and(|at| self.steps >= at) {
            self.off = true;
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        let mut linked: Vec<u64> = self.live.values().copied().collect();
        linked.sort_unstable();
        linked.dedup();
        linked.iter().map(|inode| self.inodes[inode].live.len() as u64).sum()
    }

    fn check_growth(&self, inode: u64, len: u64) -> io::Result<()> {
        let now = self.inodes[&inode].live.len() as u64;
        let grows = len.saturating_sub(now);
        match self.capacity {
            Some(capacity) if grows > 0 && self.used() + grows > capacity => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the device"))
            }
            _ => Ok(()),
        }
    }

    fn inode_mut(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn add_inode(&mut self, dir: bool) -> u64 {
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, Inode { dir, ..Inode::default() });
        number
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let name = name.to_string_lossy().into_owned();
            at = *self.live.get(&(at, name)).ok_or_else(|| kind(io::ErrorKind::NotFound, path))?;
        }
        Ok(at)
    }

    /// The directory a path is in, and its name there.
    fn place(&self, path: &Path) -> io::Result<(u64, String)> {
        let parent = path.parent().ok_or_else(|| kind(io::ErrorKind::InvalidInput, path))?;
        let name = path.file_name().ok_or_else(|| kind(io::ErrorKind::InvalidInput, path))?;
        Ok((self.find(parent)?, name.to_string_lossy().into_owned()))
    }

    /// Changes names as one step. When the power fails at it, the change may still be found.
    fn change_names(&mut self, changes: Vec<((u64, String), Option<u64>)>) -> io::Result<()> {
        self.step()?;
        let op = NameOp { changes };
        op.apply(&mut self.live);
        self.name_ops.push(op);
        self.check_power()
    }

    fn remove_tree(&mut self, dir: u64) -> io::Result<()> {
        let children: Vec<(String, u64)> = self
            .live
            .range((dir, String::new())..(dir + 1, String::new()))
            .map(|((_, name), inode)| (name.clone(), *inode))
            .collect();
        for (name, inode) in children {
            if self.inodes[&inode].dir {
                self.remove_tree(inode)?;
            }
            self.change_names(vec![((dir, name), None)])?;
        }
        Ok(())
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.check_power()?;
        let inode = match (how, state.find(path)) {
            (OpenHow::Create, Ok(_)) => return Err(kind(io::ErrorKind::AlreadyExists, path)),
            (OpenHow::Create, Err(_)) => {
                let place = state.place(path)?;
                let inode = state.add_inode(false);
                state.change_names(vec![(place, Some(inode))])?;
                inode
            }
            (_, found) => found?,
        };
        if state.inodes[&inode].dir {
            return Err(kind(io::ErrorKind::IsADirectory, path));
        }
        let writable = how != OpenHow::Read;
        Ok(Box::new(SimulatedFile { state: Arc::clone(&self.state), inode, writable }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let mut at = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let place = (at, name.to_string_lossy().into_owned());
            at = match state.live.get(&place) {
                Some(inode) => *inode,
                None => {
                    let inode = state.add_inode(true);
                    state.change_names(vec![(place, Some(inode))])?;
                    inode
                }
            };
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        let dir = state.find(path)?;
        if !state.inodes[&dir].dir {
            return Err(kind(io::ErrorKind::NotADirectory, path));
        }
        let range = (dir, String::new())..(dir + 1, String::new());
        Ok(state.live.range(range).map(|((_, name), _)| name.clone()).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.check_power()?;
        Ok(state.find(path).is_ok())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let inode = state.find(path)?;
        if state.inodes[&inode].dir {
            return Err(kind(io::ErrorKind::IsADirectory, path));
        }
        let place = state.place(path)?;
        state.change_names(vec![(place, None)])
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let dir = state.find(path)?;
        state.remove_tree(dir)?;
        let place = state.place(path)?;
        state.change_names(vec![(place, None)])
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let inode = state.find(from)?;
        let (old, new) = (state.place(from)?, state.place(to)?);
        if old == new {
            return state.step().and_then(|()| state.check_power());
        }
        state.change_names(vec![(old, None), (new, Some(inode))])
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let inode = state.find(from)?;
        if state.find(to).is_ok() {
            return Err(kind(io::ErrorKind::AlreadyExists, to));
        }
        let place = state.place(to)?;
        state.change_names(vec![(place, Some(inode))])
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let dir = state.find(path)?;
        state.step()?;
        state.check_power()?;
        if state.sync_fails_at.is_some_and(|at| state.steps >= at) {
            state.sync_fails_at = None;
            return Err(io::Error::other("input/output error"));
        }
        let ops = std::mem::take(&mut state.name_ops);
        for op in ops {
            if op.changes.iter().any(|((parent, _), _)| *parent == dir) {
                op.apply(&mut state.durable);
            } else {
                state.name_ops.push(op);
            }
        }
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let state = self.state();
        state.check_power()?;
        state.find(path)?;
        let total = state.capacity.unwrap_or(UNLIMITED);
        Ok(Space { free: total.saturating_sub(state.used()), total })
    }
}

impl SimulatedFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change, len: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut state = self.state();
        state.check_power()?;
        state.check_growth(self.inode, len)?;
        state.step()?;
        let inode = state.inode_mut(self.inode)?;
        change.apply(Arc::make_mut(&mut inode.live));
        inode.unsynced.push(change);
        state.check_power()
    }
}

impl DiskFile for SimulatedFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state();
        state.check_power()?;
        let start = to_index(offset);
        let content = &state.inodes[&self.inode].live;
        let bytes = content.get(start..start + buf.len()).ok_or_else(eof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let len = offset + data.len() as u64;
        self.change(Change::Write { offset, data: data.to_vec() }, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.check_power()?;
        let fails = state.sync_fails_at.is_some_and(|at| state.steps >= at);
        if fails {
            state.sync_fails_at = None;
        }
        let inode = state.inode_mut(self.inode)?;
        let changes = std::mem::take(&mut inode.unsynced);
        if fails {
            return Err(io::Error::other("input/output error"));
        }
        for change in changes {
            change.apply(Arc::make_mut(&mut inode.durable));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len), len)
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.inodes[&self.inode].live.len() as u64)
    }
}

#[cfg(test)]
mod tests;
