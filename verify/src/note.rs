//! Signed notes and the checkpoints in them (C2SP `signed-note`, `tlog-checkpoint`, `tlog-cosignature`): who signed
//! what state of which log, and how many witnesses saw it.
//!
//! ```text
//! {origin}\n{size}\n{root}\n[extensions\n]   \n   — {name} {base64 of key id ‖ signature}\n …
//! ```
//!
//! A signature by a name and key that the policy does not have is passed over, as the format asks; one that names a
//! key of the policy must be right.

use ed25519_dalek::VerifyingKey;

use crate::batch::is_signed;
use crate::encoding::{from_base64, from_hex, to_base64, to_hex};
use crate::failure::{Failure, Kind};
use crate::hash::{Hash, sha256};

const TEXT_BYTES_MAX: usize = 64 * 1024;
const LINES_MAX: usize = 100;
const LINE_BYTES_MAX: usize = 8 * 1024;

/// A checkpoint with its signatures is at most this long.
pub(crate) const NOTE_BYTES_MAX: usize = TEXT_BYTES_MAX + LINES_MAX * LINE_BYTES_MAX;

/// What a key signs, in the first byte of its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyUse {
    /// A log's own key: the text as it is.
    Log = 1,
    /// A witness's key: the text and a time.
    Witness = 4,
}

/// A name and a key, as the policy gives them: `name+id+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedKey {
    pub(crate) name: String,
    pub(crate) key_use: KeyUse,
    id: [u8; 4],
    key: VerifyingKey,
}

impl NamedKey {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let (id, key) = (from_hex::<4>(id)?, from_base64(key)?);
        let (first, raw) = key.split_first()?;
        let key_use = match first {
            1 => KeyUse::Log,
            4 => KeyUse::Witness,
            _ => return None,
        };
        let digest = sha256(&[name.as_bytes(), b"\n", &key]);
        let key = usable_key(raw.try_into().ok()?)?;
        (is_key_name(name) && digest.starts_with(&id)).then(|| Self {
            name: name.to_owned(),
            key_use,
            id,
            key,
        })
    }

    /// The key of a log.
    pub(crate) fn of_log(origin: &str, raw: &[u8; 32]) -> Option<Self> {
        let digest = sha256(&[origin.as_bytes(), b"\n", &[1], raw]);
        let key = usable_key(raw).filter(|_| is_key_name(origin))?;
        let id = *digest.first_chunk()?;
        Some(Self { name: origin.to_owned(), key_use: KeyUse::Log, id, key })
    }

    /// The text that [`Self::parse`] reads.
    pub(crate) fn to_text(&self) -> String {
        let key = [&[self.key_use as u8][..], self.key.as_bytes()].concat();
        format!("{}+{}+{}", self.name, to_hex(&self.id), to_base64(&key))
    }

    /// The public key's raw bytes, by which two keys are one.
    pub(crate) fn raw(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    fn made(&self, line: &Line<'_>) -> bool {
        line.name == self.name && line.id == self.id
    }

    /// The time of a right signature, in seconds: a log's own says none, which is 0.
    fn accepts(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, message, signature) = match self.key_use {
            KeyUse::Log => (0, text.to_owned(), signature),
            KeyUse::Witness => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                (time, format!("cosignature/v1\ntime {time}\n{text}"), signature)
            }
        };
        is_signed(&self.key, message.as_bytes(), signature.try_into().ok()?).then_some(time)
    }
}

/// An Ed25519 key that does not accept forgeries.
pub(crate) fn usable_key(raw: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(raw).ok().filter(|key| !key.is_weak())
}

/// Whether a text may name a key.
fn is_key_name(name: &str) -> bool {
    let forbidden = |c: char| c == '+' || c.is_whitespace() || c < ' ';
    !name.is_empty() && !name.contains(forbidden)
}

struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// Which log's checkpoints are believed, and how many witnesses must have seen them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted<'p> {
    pub(crate) logs: &'p [NamedKey],
    pub(crate) witnesses: &'p [NamedKey],
    pub(crate) quorum: usize,
}

/// The state of a log that its key, and enough witnesses, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// Its number of leaves.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
    /// How many of the policy's witnesses cosigned it.
    pub witnesses: usize,
    /// By when the last witness of the quorum had seen it; none when the policy asks for no witness.
    pub cosigned_ms: Option<u64>,
}

fn format(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Format, "checkpoint", detail)
}

/// Reads a checkpoint and checks who signed it.
pub(crate) fn open(note: &str, trusted: Trusted<'_>) -> Result<Checkpoint, Failure> {
    let (text, lines) = split(note)?;
    let (origin, size, root) = parse_text(text)?;
    let log: Vec<&NamedKey> = trusted.logs.iter().filter(|key| key.name == origin).collect();
    if log.is_empty() {
        let detail = format!("the policy names no log {origin:?}");
        return Err(Failure::new(Kind::Signature, "checkpoint", detail));
    }
    let mut by_log = false;
    let mut seen: Vec<(&[u8; 32], u64)> = Vec::new();
    for line in &lines {
        let known = log.iter().copied().chain(trusted.witnesses).find(|key| key.made(line));
        let Some(key) = known else { continue };
        let Some(time) = key.accepts(text, &line.signature) else {
            let detail = format!("the signature by {:?} does not match", key.name);
            return Err(Failure::new(Kind::Signature, "checkpoint", detail));
        };
        match key.key_use {
            KeyUse::Log => by_log = true,
            KeyUse::Witness if seen.iter().any(|(raw, _)| *raw == key.raw()) => {}
            KeyUse::Witness => seen.push((key.raw(), time)),
        }
    }
    if !by_log {
        let detail = format!("it is not signed by the key of {origin:?}");
        return Err(Failure::new(Kind::Signature, "checkpoint", detail));
    }
    if seen.len() < trusted.quorum {
        let detail = format!(
            "{} of the policy's witnesses cosigned it, {} must have",
            seen.len(),
            trusted.quorum
        );
        return Err(Failure::new(Kind::Quorum, "checkpoint", detail));
    }
    let mut times: Vec<u64> =
        seen.iter().map(|(_, seconds)| seconds.saturating_mul(1000)).collect();
    times.sort_unstable();
    let cosigned_ms = trusted.quorum.checked_sub(1).and_then(|last| times.get(last)).copied();
    Ok(Checkpoint { origin: origin.to_owned(), size, root, witnesses: seen.len(), cosigned_ms })
}

/// The text with its last line end, and the signature lines.
fn split(note: &str) -> Result<(&str, Vec<Line<'_>>), Failure> {
    if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(format("a control character stands in it"));
    }
    let blank =
        note.rfind("\n\n").ok_or_else(|| format("it has no blank line before its signatures"))?;
    let (text, rest) = (&note[..=blank], &note[blank + 2..]);
    if text.len() > TEXT_BYTES_MAX {
        return Err(format("its text is too long"));
    }
    let rest = rest.strip_suffix('\n').ok_or_else(|| format("its last line has no end"))?;
    let mut lines = Vec::new();
    for line in rest.split('\n') {
        if lines.len() == LINES_MAX {
            return Err(format("it has too many signatures"));
        }
        lines.push(
            parse_line(line).ok_or_else(|| format("a line after the blank one is no signature"))?,
        );
    }
    Ok((text, lines))
}

fn parse_line(line: &str) -> Option<Line<'_>> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = from_base64(encoded).filter(|_| line.len() <= LINE_BYTES_MAX)?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    (is_key_name(name) && !signature.is_empty()).then(|| Line {
        name,
        id: *id,
        signature: signature.to_vec(),
    })
}

fn parse_text(text: &str) -> Result<(&str, u64, Hash), Failure> {
    let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let mut line = || lines.next().ok_or_else(|| format("origin, size and root are not there"));
    let (origin, size, root) = (line()?, line()?, line()?);
    if !is_key_name(origin) {
        return Err(format("its origin cannot name a log"));
    }
    let size = size.parse().ok().filter(|parsed: &u64| parsed.to_string() == size);
    let size = size.ok_or_else(|| format("its size is no plain number"))?;
    let root = from_base64(root).and_then(|root| root.try_into().ok());
    let root = root.ok_or_else(|| format("its root is not 32 bytes in base64"))?;
    if lines.any(str::is_empty) {
        return Err(format("one of its extension lines is empty"));
    }
    Ok((origin, size, root))
}
