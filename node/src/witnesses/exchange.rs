//! One `add-checkpoint` of C2SP tlog-witness, as text: what is sent, and what an answer means. No IO.
//!
//! ```text
//! old {size}                            200  lines of cosignatures
//! {hash of the consistency proof}       409  the size that the witness has cosigned, or: another root at this size
//! …                                     422  the proof does not hold
//! (a blank line)                        403, 404  it does not know the log, or not its key
//! {checkpoint, a signed note}
//! ```

use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::cosignature::CosignerKey;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::note::{Note, NoteSignature};

/// How a witness names the size of what it has cosigned.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// What a witness said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It cosigns: its lines.
    Cosigned(Vec<NoteSignature>),
    /// It has cosigned a tree of this size before; the proof has to begin there.
    Elsewhere(u64),
    /// What it has seen of this log is not the beginning of what it is shown.
    Fork(String),
    /// It does not take the log's checkpoints.
    Refused(String),
    /// It fails, or says what no witness says.
    Broken(String),
}

/// The body of a request.
pub(super) fn request(old: u64, proof: &[Hash32], note: &str) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        body.push_str(&encode_standard(hash));
        body.push('\n');
    }
    body.push('\n');
    body.push_str(note);
    body
}

/// What an answer to a request from size `old` means.
pub(super) fn verdict(
    witness: &CosignerKey,
    old: u64,
    note: &Note,
    (status, content_type, body): (u16, &str, &[u8]),
) -> Verdict {
    let text = String::from_utf8_lossy(body);
    let said = || {
        let words: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        format!("status {status}: {words}")
    };
    match status {
        200 => match cosignatures(witness, note, &text) {
            lines if lines.is_empty() => {
                Verdict::Broken("its answer holds no cosignature of this checkpoint".to_owned())
            }
            lines => Verdict::Cosigned(lines),
        },
        409 => {
            let size = text.strip_suffix('\n').and_then(|size| size.parse::<u64>().ok());
            let is_size = content_type.split(';').next().unwrap_or("").trim() == SIZE_TYPE;
            match size.filter(|size| is_size && *size != old) {
                Some(size) => Verdict::Elsewhere(size),
                // A page of something between here and the witness.
                None if content_type.contains("html") => Verdict::Broken(said()),
                // It has this very size, and another root.
                None => Verdict::Fork(said()),
            }
        }
        422 => Verdict::Fork(said()),
        400 | 403 | 404 => Verdict::Refused(said()),
        _ => Verdict::Broken(said()),
    }
}

/// The lines of an answer that are the witness's over this checkpoint; others are ignored.
fn cosignatures(witness: &CosignerKey, note: &Note, lines: &str) -> Vec<NoteSignature> {
    let whole = format!("{}\n{lines}", note.text());
    let Ok(answer) = Note::parse(whole.as_bytes()) else { return Vec::new() };
    let own = answer.signatures().iter();
    own.filter(|line| witness.opens(note.text(), line).is_some()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use fiscus_ledger::cosignature::cosigned_text;
    use fiscus_ledger::note::VerifierKey;

    use super::*;

    const TEXT: &str = "c/g/1\n7\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";

    fn note() -> Note {
        let key = SigningKey::from_bytes(&[1; 32]);
        let verifier = VerifierKey::new("c/g/1", key.verifying_key().as_bytes()).expect("a key");
        Note::sign(TEXT, &verifier, |text| key.sign(text).to_bytes()).expect("a note")
    }

    fn witness() -> CosignerKey {
        let key = SigningKey::from_bytes(&[2; 32]).verifying_key();
        CosignerKey::new("w/1", key.as_bytes()).expect("a key")
    }

    /// A line as the witness would answer it.
    fn line(text: &str) -> String {
        let signature = SigningKey::from_bytes(&[2; 32]).sign(cosigned_text(text, 9).as_bytes());
        let known = witness().to_text();
        let id = known.split('+').nth(1).expect("an id").to_owned();
        let id: [u8; 4] = fiscus_ledger::hash::from_hex(&id).expect("hexadecimal");
        let bytes = [&id[..], &9_u64.to_be_bytes(), &signature.to_bytes()].concat();
        format!("— w/1 {}\n", encode_standard(&bytes))
    }

    #[test]
    fn a_request_is_the_old_size_the_proof_and_the_checkpoint() {
        assert_eq!(request(0, &[], "note\n"), "old 0\n\nnote\n");
        let hash = encode_standard(&[3; 32]);
        assert_eq!(request(5, &[[3; 32]], "note\n"), format!("old 5\n{hash}\n\nnote\n"));
    }

    #[test]
    fn an_answer_says_whether_the_log_is_believed() {
        let said = |old, status, content_type: &str, body: &str| {
            verdict(&witness(), old, &note(), (status, content_type, body.as_bytes()))
        };
        let Verdict::Cosigned(lines) = said(0, 200, "", &line(TEXT)) else {
            panic!("it is cosigned");
        };
        assert_eq!(lines.len(), 1);
        assert!(matches!(said(0, 200, "", &line("other\n")), Verdict::Broken(_)));
        assert!(matches!(said(0, 200, "", ""), Verdict::Broken(_)));
        assert_eq!(said(0, 409, SIZE_TYPE, "5\n"), Verdict::Elsewhere(5));
        assert_eq!(said(0, 409, "text/x.tlog.size; charset=utf-8", "5\n"), Verdict::Elsewhere(5));
        assert!(matches!(said(7, 409, SIZE_TYPE, "7\n"), Verdict::Fork(_)), "another root");
        assert!(matches!(said(7, 409, "text/plain", "root\n"), Verdict::Fork(_)));
        assert!(matches!(said(7, 409, "text/html; charset=utf-8", "<p>"), Verdict::Broken(_)));
        assert!(matches!(said(5, 422, "text/plain", "no"), Verdict::Fork(_)));
        for status in [400, 403, 404] {
            assert!(matches!(said(5, status, "", "no"), Verdict::Refused(_)), "{status}");
        }
        assert!(
            matches!(said(5, 500, "", "no\n\u{7}"), Verdict::Broken(what) if what == "status 500: no")
        );
    }
}
