//! Log entries between their stored form (protobuf) and the ledger's types.
//!
//! ```text
//! client's Command ──data_command / directory_command──► the ledger's command      (at admission)
//! Commands + stamp + seed ──encode_entry──► bytes ──Raft──► decode_entry ──► Entry  (every replica)
//! ```
//!
//! Invariants: what is read was checked, so that a leader that has read a command before it proposes
//! it knows that every replica can read it; what a ledger command says, its stored form says, and the
//! other way round. Names are only limited here where the ledger would look them up without looking
//! at them; whatever it answers with a refusal of its own is left to it.
//!
//! Non-goals: business rules, and the place in the log, which is Raft's.

mod field;
mod read;
mod write;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use field::CommandError;
pub use read::{data_command, directory_command};
pub use write::{refusal_to_proto, to_proto_data, to_proto_directory};

use fiscus_ledger::apply::Entry;
use fiscus_ledger::commands::{DirectoryCommand, GroupCommand};
use fiscus_ledger::hash::Hash32;
#[cfg(feature = "planted-bugs")]
use fiscus_ledger::planted::{Bug, is_planted};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::command as proto;
use prost::Message;

/// The number of the directory's group; every other group holds data.
pub const DIRECTORY_GROUP: u64 = 0;

/// The key of `LogEntry.commands`: field 4, length-delimited.
const COMMANDS_KEY: u8 = 4 << 3 | 2;

/// An entry for the group that it was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEntry {
    /// Of a data group.
    Data(Entry<GroupCommand>),
    /// Of the directory.
    Directory(Entry<DirectoryCommand>),
}

/// Why a stored entry cannot be read. No leader proposes such an entry: a replica that meets one is
/// too old for its group, or what it holds is damaged, and must stop either way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is not a message.
    #[error(
        "entry {log_index} of group {group} is not a log entry: {source}; stop this replica and \
         rebuild it from a snapshot"
    )]
    Wire {
        /// The group.
        group: u64,
        /// The entry.
        log_index: u64,
        /// Why not.
        source: prost::DecodeError,
    },
    /// Its seed does not have 32 bytes.
    #[error(
        "entry {log_index} of group {group} has a seed of {found} bytes, not 32; stop this replica \
         and rebuild it from a snapshot"
    )]
    Seed {
        /// The group.
        group: u64,
        /// The entry.
        log_index: u64,
        /// How many it has.
        found: usize,
    },
    /// One of its commands cannot be read.
    #[error("command {place} of entry {log_index} of group {group} cannot be read: {source}")]
    Command {
        /// The group.
        group: u64,
        /// The entry.
        log_index: u64,
        /// The command's place in the entry, from 0.
        place: usize,
        /// Why not.
        source: CommandError,
    },
}

/// Reads the entry that stands at `log_index` in the log of `group`. What a command carries is copied
/// once, out of `bytes`.
pub fn decode_entry(group: u64, log_index: u64, bytes: &[u8]) -> Result<GroupEntry, EntryError> {
    let stored = proto::LogEntry::decode(bytes).map_err(|source| EntryError::Wire {
        group,
        log_index,
        source,
    })?;
    #[cfg(feature = "planted-bugs")]
    let stored = if is_planted(Bug::LocalTime) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
        proto::LogEntry { stamp_ms: stored.stamp_ms.max(now_ms), ..stored }
    } else {
        stored
    };
    let place = Place { group, log_index };
    if group == DIRECTORY_GROUP {
        place.entry(stored, directory_command).map(GroupEntry::Directory)
    } else {
        place.entry(stored, data_command).map(GroupEntry::Data)
    }
}

/// Writes an entry in its stored form, exactly as if its message had been put together first: the
/// commands are its last field, so they are written straight after the rest.
#[must_use]
pub fn encode_entry(
    apply_version: u32,
    stamp: UnixMs,
    seed: &Hash32,
    commands: &[proto::Command],
) -> Vec<u8> {
    let head = proto::LogEntry {
        apply_version,
        stamp_ms: stamp.get(),
        seed: bytes::Bytes::copy_from_slice(seed),
        commands: Vec::new(),
    };
    let body = |command: &proto::Command| {
        let length = command.encoded_len();
        1 + prost::length_delimiter_len(length) + length
    };
    let mut out = head.encode_to_vec();
    out.reserve_exact(commands.iter().map(body).sum());
    for command in commands {
        out.push(COMMANDS_KEY);
        command.encode_length_delimited(&mut out).expect("a Vec grows as it must");
    }
    out
}

struct Place {
    group: u64,
    log_index: u64,
}

impl Place {
    fn entry<C>(
        &self,
        stored: proto::LogEntry,
        read: impl Fn(proto::Command) -> Result<C, CommandError>,
    ) -> Result<Entry<C>, EntryError> {
        let Self { group, log_index } = *self;
        let found = stored.seed.len();
        let seed = Hash32::try_from(&*stored.seed).map_err(|_| EntryError::Seed {
            group,
            log_index,
            found,
        })?;
        let mut commands = Vec::with_capacity(stored.commands.len());
        for (place, command) in stored.commands.into_iter().enumerate() {
            let command = read(command).map_err(|source| EntryError::Command {
                group,
                log_index,
                place,
                source,
            })?;
            commands.push(command);
        }
        Ok(Entry {
            log_index,
            apply_version: stored.apply_version,
            stamp: UnixMs::new(stored.stamp_ms),
            seed,
            commands,
        })
    }
}
