//! The checkpoints that were decided: `C5 ‖ u64 size → u8 first of its day ‖ u64 log index ‖ u64 time ‖ h32 root`.
//!
//! Invariants: there is one root for a size, ever; the rows are made of what is applied alone, so that every replica has
//! the same. They are kept for a day, and the first of each day for ever.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use fiscus_ledger::apply::Effects;
use fiscus_ledger::codec::{DecodeError, Reader, Writer};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::outcome::Event;

use crate::index::{Batch, IndexError, View};
use crate::store::read::Reading;
use crate::store::replica::StoreError;
use crate::store::versions::KEPT_MS;

/// First byte of these rows.
pub(crate) const DECIDED_TABLE: u8 = 0xC5;

/// A checkpoint that a majority agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecidedCheckpoint {
    /// The leaves of the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash32,
    /// The cut's place in the log.
    pub log_index: u64,
    /// The group time of the decision.
    pub time_ms: u64,
    first_of_day: bool,
}

impl DecidedCheckpoint {
    fn key(size: u64) -> Vec<u8> {
        let mut key = vec![DECIDED_TABLE];
        key.extend_from_slice(&size.to_be_bytes());
        key
    }

    fn row(&self) -> Vec<u8> {
        let mut row = Writer::new();
        row.bool(self.first_of_day).u64(self.log_index).u64(self.time_ms).raw(&self.root);
        row.finish()
    }

    /// Reads a row.
    pub(crate) fn read(key: &[u8], row: &[u8]) -> Result<Self, DecodeError> {
        let size = key.get(1..).and_then(|size| size.try_into().ok()).map(u64::from_be_bytes);
        let mut from = Reader::new(row);
        let checkpoint = Self {
            size: size.ok_or(DecodeError::Invalid("checkpoint key"))?,
            first_of_day: from.bool("checkpoint first of day")?,
            log_index: from.u64("checkpoint log index")?,
            time_ms: from.u64("checkpoint time")?,
            root: from.h32("checkpoint root")?,
        };
        from.finish()?;
        Ok(checkpoint)
    }
}

/// What the apply worker knows of them: those that are younger than a day, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    young: VecDeque<DecidedCheckpoint>,
}

impl Decided {
    /// Those that an index has.
    pub(crate) fn open(
        view: &dyn View,
        now_ms: u64,
    ) -> Result<Result<Self, DecodeError>, IndexError> {
        let (mut young, mut wrong) = (VecDeque::new(), None);
        let (from, to) = ([DECIDED_TABLE], [DECIDED_TABLE + 1]);
        let _end = view.scan(&from, Some(&to), &mut |key, row| {
            match DecidedCheckpoint::read(key, row) {
                // The last one stays even when it is old: what comes next is compared with it.
                Ok(known) => {
                    if young.front().is_some_and(|first| is_old(first, now_ms)) {
                        young.pop_front();
                    }
                    young.push_back(known);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    wrong = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        Ok(wrong.map_or(Ok(Self { young }), Err))
    }

    /// Files the checkpoint that an entry has decided, and forgets those that are too old.
    pub(crate) fn note(&mut self, batch: &mut Batch, effects: &Effects, time_ms: u64) {
        let tuples = effects.events.iter().filter_map(|event| match event {
            Event::CheckpointDecided(tuple) => Some(tuple),
            _ => None,
        });
        for tuple in tuples {
            let last = self.young.back();
            if last.is_some_and(|last| last.size >= tuple.size) {
                continue;
            }
            let day = |time_ms: u64| time_ms / KEPT_MS;
            let first_of_day = last.is_none_or(|last| day(last.time_ms) != day(time_ms));
            let checkpoint = DecidedCheckpoint {
                size: tuple.size,
                root: tuple.root,
                log_index: tuple.log_index,
                time_ms,
                first_of_day,
            };
            batch.put(DecidedCheckpoint::key(tuple.size), checkpoint.row());
            self.young.push_back(checkpoint);
        }
        while self.young.len() > 1 && self.young.front().is_some_and(|first| is_old(first, time_ms))
        {
            let old = self.young.pop_front().expect("there is a first one");
            if !old.first_of_day {
                batch.delete(DecidedCheckpoint::key(old.size));
            }
        }
    }
}

fn is_old(checkpoint: &DecidedCheckpoint, now_ms: u64) -> bool {
    checkpoint.time_ms.saturating_add(KEPT_MS) <= now_ms
}

impl Reading {
    /// Checkpoints of less than `below` leaves, the largest first, at most `limit`.
    pub fn decided_checkpoints(
        &self,
        below: u64,
        limit: usize,
    ) -> Result<Vec<DecidedCheckpoint>, StoreError> {
        let to = DecidedCheckpoint::key(below);
        let rows = self.noting(
            self.view().range_back(&[DECIDED_TABLE], Some(&to), limit).map_err(StoreError::from),
        )?;
        let read = rows.iter().map(|(key, row)| {
            DecidedCheckpoint::read(key, row)
                .map_err(|error| self.unreadable("checkpoint row", &error.to_string()))
        });
        read.collect()
    }
}
