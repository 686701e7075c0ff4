//! Says what is left of a group whose state cannot be opened, for whoever has to decide what to do.
//!
//! Invariant: nothing is changed, and nothing that cannot be read is an error: it is said.

use std::io;
use std::path::Path;

use crate::disk::{Disk, OpenHow};
use crate::store::state::read_current;
use crate::store::walk::PieceWalk;

/// A journal longer than this is not read again at every attempt: only its length is said.
const WALK_BYTES_MAX: u64 = 256 << 20;
const READ_BYTES: usize = 1 << 20;

/// What a directory of a run holds.
#[derive(Debug, Default)]
struct Run {
    bytes: u64,
    entries: u64,
    flaw: Option<String>,
}

/// What is left in a group's directory, in one sentence.
pub(crate) fn remains(disk: &dyn Disk, dir: &Path) -> String {
    let state = match read_current(disk, dir) {
        Ok(Some(name)) => name,
        Ok(None) => return "no state was in use".to_owned(),
        Err(error) => return format!("which state was in use is not known ({error})"),
    };
    let runs = ["journal", "leaves", "signatures"].map(|run| {
        let path = dir.join(&state).join(run);
        let said = look_at(disk, &path, run).unwrap_or_else(|error| Run {
            flaw: Some(format!("cannot be read: {error}")),
            ..Run::default()
        });
        said.tell(run)
    });
    let snapshots = disk.list(&dir.join("snapshots")).unwrap_or_default();
    format!("{state}: {}; {} snapshots", runs.join(", "), snapshots.len())
}

impl Run {
    fn tell(&self, run: &str) -> String {
        let what = match run {
            "journal" => "records",
            run => run,
        };
        let (entries, bytes) = (self.entries, self.bytes);
        match &self.flaw {
            None if entries == 0 && bytes > 0 => format!("{bytes} bytes of {what}, not examined"),
            None => format!("{entries} whole {what} ({bytes} bytes)"),
            Some(flaw) => format!("{entries} whole {what} of {bytes} bytes, then {flaw}"),
        }
    }
}

fn look_at(disk: &dyn Disk, path: &Path, run: &str) -> io::Result<Run> {
    let mut found = Run::default();
    let names = disk.list(path)?;
    for name in &names {
        found.bytes += disk.open(&path.join(name), OpenHow::Read)?.size()?;
    }
    if found.bytes > WALK_BYTES_MAX {
        return Ok(found);
    }
    for name in &names {
        let Some(mut walk) = PieceWalk::of(&format!("{run}/{name}")) else { continue };
        let sound = walk_file(disk, &path.join(name), &mut walk)?;
        found.entries += walk.entries();
        if let Err(byte) = sound {
            found.flaw = Some(format!("{run}/{name} is damaged at byte {byte}"));
            break;
        }
    }
    Ok(found)
}

/// The first byte that is wrong, if there is one.
fn walk_file(disk: &dyn Disk, path: &Path, walk: &mut PieceWalk) -> io::Result<Result<(), u64>> {
    let file = disk.open(path, OpenHow::Read)?;
    let size = file.size()?;
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < size {
        let part = usize::try_from(size - at).unwrap_or(READ_BYTES).min(READ_BYTES);
        file.read_exact_at(&mut buffer[..part], at)?;
        if let Err(flaw) = walk.feed(&buffer[..part]) {
            return Ok(Err(flaw.byte));
        }
        at += part as u64;
    }
    Ok(walk.finish().map_err(|flaw| flaw.byte))
}
