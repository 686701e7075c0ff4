//! Applying the frames of the stream to the groups.
//!
//! Invariant: strictly, a frame that does not continue its group's log is damage; leniently, which
//! is for salvage, what does not fit is left out. Non-goal: reading files.

use std::collections::BTreeMap;

use super::LogId;
use super::frame::{ENTRY_OVERHEAD, Frame};
use super::group::{Group, Slot};

pub(super) type Groups = BTreeMap<u64, Group>;

/// Applies one frame that stands at this place.
pub(super) fn apply(
    groups: &mut Groups,
    frame: &Frame,
    place: (u32, u64, usize),
    lenient: bool,
) -> Result<(), String> {
    let Some(number) = frame.group() else {
        return Err(format!("a {} frame inside a batch", frame.kind()));
    };
    let group = groups.entry(number).or_default();
    match frame {
        Frame::Vote { counter, vote, .. } => {
            group.marks.save_vote(*counter, *vote);
            group.saved_vote = Some(*vote);
        }
        Frame::Entry { id, .. } => return entry(group, *id, place, lenient),
        Frame::Copied { id, .. } => return copied(group, *id, place, lenient),
        Frame::Truncate { after, .. } => {
            let there = |after: &LogId| group.marks.last.is_some_and(|last| last > *after);
            if after.as_ref().is_none_or(there) {
                group.truncate(*after);
            }
        }
        Frame::Purge { upto, .. } => {
            group.purge(*upto);
        }
        Frame::Committed { id, .. } => group.marks.committed = *id,
        Frame::Damage { damaged, .. } => group.marks.damaged = *damaged,
        Frame::Remove { .. } => {
            groups.remove(&number);
        }
        Frame::Header(_) | Frame::Batch { .. } | Frame::Mark { .. } => {}
    }
    Ok(())
}

pub(super) fn slot(id: LogId, (segment, offset, len): (u32, u64, usize)) -> Slot {
    Slot {
        term: id.term,
        segment,
        offset: u32::try_from(offset).expect("a segment is smaller than 4 GiB"),
        len: u32::try_from(len - ENTRY_OVERHEAD).expect("a segment is smaller than 4 GiB"),
    }
}

fn entry(
    group: &mut Group,
    id: LogId,
    place: (u32, u64, usize),
    lenient: bool,
) -> Result<(), String> {
    let next = group.marks.next_index().unwrap_or(id.index);
    if id.index < next && lenient && id.index >= group.marks.first {
        let before = id.index.checked_sub(1);
        let after = before.and_then(|index| Some(LogId { term: group.term_at(index)?, index }));
        group.truncate(after);
    } else if id.index != next {
        let what = format!("entry {} stands where {next} has to follow", id.index);
        return if lenient { Ok(()) } else { Err(what) };
    }
    group.push_placed(id, slot(id, place));
    Ok(())
}

fn copied(
    group: &mut Group,
    id: LogId,
    place: (u32, u64, usize),
    lenient: bool,
) -> Result<(), String> {
    match group.slot(id.index) {
        Some(old) if old.segment == 0 || old.term == id.term => {
            group.set_slot(id.index, slot(id, place));
            Ok(())
        }
        _ if lenient => Ok(()),
        _ => Err(format!("a copy of entry {}, which is not in the log", id.index)),
    }
}

/// The first entry of a group that was not found.
pub(super) fn missing(group: &Group) -> Option<u64> {
    group.slots().find(|(_, slot)| slot.segment == 0).map(|(index, _)| index)
}

/// Cuts a group's log before its first entry that was not found.
pub(super) fn cut_missing(group: &mut Group) {
    let Some(index) = missing(group) else { return };
    let before = index.checked_sub(1).filter(|before| *before >= group.marks.first);
    let after = before.and_then(|index| Some(LogId { term: group.term_at(index)?, index }));
    group.truncate(after.or(group.marks.purged));
    if group.marks.committed > group.marks.last {
        group.marks.committed = group.marks.last;
    }
}
