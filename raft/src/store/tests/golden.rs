//! Logs as each apply version wrote them, replayed: they lead to the same state for ever, whatever a later
//! version brings.
//!
//! A log is a file of lines: `term index blank`, `term index members VOTERS` or `term index entry HEX`, and at the end
//! `state HEX`. `FISCUS_BLESS=1` writes the file of the newest version anew.

use std::fmt::Write as _;
use std::path::PathBuf;

use fiscus_ledger::hash::hex;
use fiscus_proto::peer::Membership;
use prost::Message;

use crate::disk::SimulatedDisk;
use crate::store::Replica;
use crate::store::tests::life::{self, Item, Log, apply, open, options};
use crate::wal::LogId;

fn path(version: u32) -> PathBuf {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors");
    vectors.join(format!("log-v{version}.txt"))
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn state_of(replica: &Replica) -> String {
    let reading = replica.read().expect("it is read");
    hex(&reading.group().expect("a group").state_hash())
}

fn replayed(log: &Log) -> String {
    let replica = open(&SimulatedDisk::new(), options()).expect("open");
    for (id, item) in log {
        apply(&replica, *id, item).unwrap_or_else(|error| panic!("entry {}: {error}", id.index));
    }
    state_of(&replica)
}

fn spell(log: &Log) -> String {
    let mut text = String::new();
    for (LogId { term, index }, item) in log {
        let (kind, bytes) = match item {
            Item::Blank => ("blank", String::new()),
            Item::Membership(members) => ("members", hex_of(&members.encode_to_vec())),
            Item::Normal(bytes) => ("entry", hex_of(bytes)),
        };
        writeln!(text, "{term} {index} {kind} {bytes}").expect("a string takes it");
    }
    writeln!(text, "state {}", replayed(log)).expect("a string takes it");
    text
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(text: &str) -> (Log, String) {
    let mut log = Log::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.trim_end().split(' ').collect();
        if let ["state", state] = parts[..] {
            return (log, state.to_owned());
        }
        let number = |at: usize| parts[at].parse().expect("a number");
        let item = match parts[2..] {
            ["blank"] => Item::Blank,
            ["members", members] => {
                Item::Membership(Membership::decode(&*from_hex(members)).expect("members"))
            }
            ["entry", entry] => Item::Normal(from_hex(entry).into()),
            _ => panic!("{line}"),
        };
        log.push((LogId { term: number(0), index: number(1) }, item));
    }
    panic!("the file does not say where the log leads to")
}

fn is_as_committed(version: u32, written: &Log) {
    let path = path(version);
    if std::env::var_os("FISCUS_BLESS").is_some() {
        std::fs::write(&path, spell(written)).expect("it is written");
    }
    let committed = std::fs::read_to_string(&path).expect("the file is part of the source");
    let (log, state) = read(&committed);
    assert_eq!(replayed(&log), state, "the log of version {version} leads elsewhere");
    assert_eq!(spell(written), committed, "version {version} writes another log");
}

#[test]
fn the_log_of_version_1_leads_to_the_same_state() {
    is_as_committed(1, &life::log());
}

#[cfg(feature = "next-apply-version")]
#[test]
fn the_log_of_version_2_leads_to_the_same_state() {
    is_as_committed(2, &life::log_by_version_2());
}

/// A binary that does not know a log's rules says so, and goes no further.
#[cfg(not(feature = "next-apply-version"))]
#[test]
fn a_log_of_unknown_rules_is_refused_where_they_begin() {
    let committed = std::fs::read_to_string(path(2)).expect("the file is part of the source");
    let (log, _) = read(&committed);
    let replica = open(&SimulatedDisk::new(), options()).expect("open");
    let refused = log.iter().find_map(|(id, item)| Some((id, apply(&replica, *id, item).err()?)));
    let (id, error) = refused.expect("version 2 is not known");
    assert_eq!(id.index, life::ENTRIES + 1, "{error}");
    assert!(error.to_string().contains("version 2"), "{error}");
}
