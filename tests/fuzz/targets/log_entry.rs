//! Stored log entries: none panics, and what is read writes an entry that reads the same.
#![no_main]

use fiscus_raft::entry::{
    GroupEntry, decode_entry, encode_entry, to_proto_data, to_proto_directory,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((group, bytes)) = data.split_first() else { return };
    let group = u64::from(group % 2);
    let Ok(entry) = decode_entry(group, 1, bytes) else { return };
    let again = match &entry {
        GroupEntry::Data(entry) => {
            let commands: Vec<_> = entry.commands.iter().map(to_proto_data).collect();
            encode_entry(entry.apply_version, entry.stamp, &entry.seed, &commands)
        }
        GroupEntry::Directory(entry) => {
            let commands: Vec<_> = entry.commands.iter().map(to_proto_directory).collect();
            encode_entry(entry.apply_version, entry.stamp, &entry.seed, &commands)
        }
    };
    assert_eq!(decode_entry(group, 1, &again).as_ref(), Ok(&entry));
});
