//! A record's proof as one text, C2SP `tlog-proof`: its place in the log, the way from there to the root, and the signed
//! checkpoint with that root.
//!
//! Non-goal: the entry hash, which is made of the record, or of what its receipt says.

use crate::base64::encode_standard;
use crate::hash::Hash32;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Writes a proof: `hashes` lead from leaf `index` to the root in `checkpoint`, a signed note.
#[must_use]
pub fn tlog_proof(index: u64, hashes: &[Hash32], checkpoint: &str) -> String {
    let mut text = format!("{FIRST_LINE}\nindex {index}\n");
    for hash in hashes {
        text.push_str(&encode_standard(hash));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(checkpoint);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_lines() {
        let note = "c/g/1\n3\nAAAA\n\n— c/g/1 AAAA\n";
        assert_eq!(
            tlog_proof(2, &[[0; 32], [255; 32]], note),
            "c2sp.org/tlog-proof@v1\nindex 2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
             //////////////////////////////////////////8=\n\nc/g/1\n3\nAAAA\n\n— c/g/1 AAAA\n"
        );
        assert_eq!(tlog_proof(0, &[], note), format!("{FIRST_LINE}\nindex 0\n\n{note}"));
    }
}
