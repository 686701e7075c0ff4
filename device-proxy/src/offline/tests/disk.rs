//! A disk whose power can be cut between any two steps, and that loses and tears what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::disk::Disk;
use super::chance::Chance;

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Since the last sync.
    steps: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    New(String, usize),
    Renamed(String, String),
}

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    namings: Vec<Naming>,
    free: u64,
    /// Steps until the power goes; none when it stays.
    fuse: Option<u64>,
    fails: Option<io::ErrorKind>,
    syncs_fail: bool,
    /// A byte that is read wrong once, after so many times that it is read right.
    misread: Option<(u64, usize)>,
}

/// A disk; copies are the same disk.
#[derive(Debug, Clone)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, written) => {
            let end = at + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(written);
        }
        Change::Cut(length) => bytes.resize(*length, 0),
    }
}

fn rename(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::New(name, file) => {
            names.insert(name.clone(), *file);
        }
        Naming::Renamed(from, to) => {
            let file = names.remove(from).expect("it had a name");
            names.insert(to.clone(), file);
        }
    }
}

impl SimDisk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { free: 1 << 40, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// The power goes after so many more steps.
    pub(super) fn fuse(&self, steps: Option<u64>) {
        self.state().fuse = steps;
    }

    /// The power is cut now, and comes back: what was not synced is there, is not, or is torn.
    pub(super) fn cut(&self, chance: &mut Chance) {
        let mut state = self.state();
        state.fuse = None;
        for file in &mut state.files {
            let mut kept = file.durable.clone();
            for change in std::mem::take(&mut file.steps) {
                match (chance.below(3), change) {
                    (0, _) => {}
                    (1, Change::Write(at, bytes)) => {
                        let torn = bytes[..chance.below(bytes.len() as u64) as usize].to_vec();
                        apply(&mut kept, &Change::Write(at, torn));
                    }
                    (_, change) => apply(&mut kept, &change),
                }
            }
            file.durable.clone_from(&kept);
            file.current = kept;
        }
        let namings = std::mem::take(&mut state.namings);
        let kept = chance.below(namings.len() as u64 + 1) as usize;
        for naming in &namings[..kept] {
            rename(&mut state.durable_names, naming);
        }
        state.names = state.durable_names.clone();
    }

    pub(super) fn set_free(&self, bytes: u64) {
        self.state().free = bytes;
    }

    /// Every write fails so from now on.
    pub(super) fn fail(&self, kind: Option<io::ErrorKind>) {
        self.state().fails = kind;
    }

    /// Every sync fails so from now on, as Linux does it: what was to be synced stays readable, counts as written, and
    /// is not on the disk.
    pub(super) fn fail_syncs(&self, fail: bool) {
        self.state().syncs_fail = fail;
    }

    /// A byte is read wrong once, after so many times that it is read right.
    pub(super) fn misread(&self, reads: u64, at: usize) {
        self.state().misread = Some((reads, at));
    }

    /// Somebody takes a file away.
    pub(super) fn delete(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].current.clone()
    }

    /// Bytes change by themselves.
    pub(super) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let at = state.names[name];
        let file = &mut state.files[at];
        change(&mut file.current);
        file.durable.clone_from(&file.current);
        file.steps.clear();
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        self.step()?;
        let at = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[at])
    }

    fn change(&mut self, name: &str, change: Change) -> io::Result<()> {
        let file = self.file(name)?;
        apply(&mut file.current, &change);
        file.steps.push(change);
        Ok(())
    }
}

impl Disk for SimDisk {
    fn len(&mut self, name: &'static str) -> io::Result<Option<u64>> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return state.step().map(|()| None);
        }
        state.file(name).map(|file| Some(file.current.len() as u64))
    }

    fn read(&mut self, name: &'static str, at: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        let file = state.file(name)?;
        let at = at as usize;
        let end = at + into.len();
        let bytes = file.current.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        if let Some((left, wrong)) = &mut state.misread
            && (at..end).contains(wrong)
        {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    into[*wrong - at] ^= 0x40;
                    state.misread = None;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, name: &'static str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if !state.names.contains_key(name) {
            let new = state.files.len();
            state.files.push(File::default());
            let naming = Naming::New(name.to_owned(), new);
            rename(&mut state.names, &naming);
            state.namings.push(naming);
        }
        if let Some(kind) = state.fails {
            // A part of it is there all the same.
            state.change(name, Change::Write(at as usize, bytes[..bytes.len() / 2].to_vec()))?;
            return Err(kind.into());
        }
        state.change(name, Change::Write(at as usize, bytes.to_vec()))
    }

    fn sync(&mut self, name: &'static str) -> io::Result<()> {
        let mut state = self.state();
        let fails = state.syncs_fail;
        let file = state.file(name)?;
        let steps = std::mem::take(&mut file.steps);
        if fails {
            return Err(io::Error::other("the disk does not write"));
        }
        for change in &steps {
            apply(&mut file.durable, change);
        }
        Ok(())
    }

    fn truncate(&mut self, name: &'static str, length: u64) -> io::Result<()> {
        self.state().change(name, Change::Cut(length as usize))
    }

    fn rename(&mut self, from: &'static str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let naming = Naming::Renamed(from.to_owned(), to.to_owned());
        rename(&mut state.names, &naming);
        state.namings.push(naming);
        Ok(())
    }

    fn has(&mut self, name: &str) -> io::Result<bool> {
        let mut state = self.state();
        state.step()?;
        Ok(state.names.contains_key(name))
    }

    fn has_its_name(&mut self, name: &'static str) -> io::Result<bool> {
        Ok(self.state().names.contains_key(name))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        for naming in std::mem::take(&mut state.namings) {
            rename(&mut state.durable_names, &naming);
        }
        Ok(())
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(self.state().free)
    }
}
