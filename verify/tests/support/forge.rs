//! A ledger that does whatever it is told to: it seals what an honest one would, and, with the same keys, what only
//! a lying one would. Everything that is published of a ledger can be made from it.

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::hash::{Hash32, hex, payload_hash};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::note::VerifierKey;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::seal::{authority_id, entry_hash, hidden_hash};
use fiscus_ledger::time::UnixMs;
use fiscus_ledger::tree::{CompactRange, consistency_proof, inclusion_proof};
use sha2::{Digest, Sha256};

pub(crate) const CLUSTER: &str = "kinshasa";
pub(crate) const OUTLET: &str = "outlet-gombe";
pub(crate) const SERIES: &str = "KIN-GOMBE";
/// Noon of 21 November 2026, UTC.
const NOON_MS: u64 = 1_795_262_400_000;

/// A record, every part of which can be changed.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) outlet: String,
    pub(crate) position: u64,
    pub(crate) leaf: u64,
    pub(crate) kind: String,
    pub(crate) number: String,
    pub(crate) time_ms: u64,
    pub(crate) total: String,
    pub(crate) currency: String,
    pub(crate) payload: String,
    pub(crate) blind: Hash32,
    pub(crate) previous: Hash32,
    pub(crate) entry: Hash32,
    pub(crate) signature: [u8; 64],
}

/// The keys, the records of one outlet, and the leaves of its group.
#[derive(Debug, Clone)]
pub(crate) struct Forge {
    pub(crate) authority_id: String,
    pub(crate) authority: SigningKey,
    pub(crate) log: SigningKey,
    pub(crate) witnesses: Vec<(String, SigningKey)>,
    pub(crate) records: Vec<Sealed>,
    pub(crate) leaves: Vec<Hash32>,
}

/// One sale of `lines` lines.
pub(crate) fn sale(lines: usize, price: u64) -> String {
    let items: Vec<String> = (0..lines)
        .map(|line| {
            format!(
                "{{\"code\":\"A-{line}\",\"description\":\"Farine de manioc, sac n° {line}\",\"quantity\":\"{}.5\",\
                 \"unit_price\":\"{}.35\",\"tax_group\":\"TG0{}\",\"taxable_unit\":\"kg\"}}",
                line + 1,
                price + 7,
                2 + line % 2,
            )
        })
        .collect();
    let draft = format!(
        "{{\"merchant_nif\":\"A1234567B\",\"outlet_id\":\"{OUTLET}\",\"pos_terminal_id\":\"till-1\",\"cashier_id\":\"c7\",\
         \"invoice_type\":\"sale\",\"client\":{{\"name\":\"\",\"nif\":\"\",\"classification\":\"individual\"}},\
         \"items\":[{}],\"payments\":[{{\"method\":\"cash\",\"amount\":\"1.00\",\"currency\":\"CDF\",\"instrument_id\":\"\"}}]}}",
        items.join(",")
    );
    let parsed = parse_lenient(draft.as_bytes(), &Manifest::builtin(), UnixMs::new(NOON_MS));
    parsed.expect("the sample is right").invoice.canonical_text().to_owned()
}

/// The total of a canonical invoice, as it is printed.
pub(crate) fn total_of(invoice: &str) -> &str {
    let (_, rest) = invoice.split_once("\"total\":\"").expect("an invoice has a total");
    rest.split_once('"').expect("it ends").0
}

impl Forge {
    /// An outlet's first `count` sales, with leaves of other outlets between them.
    pub(crate) fn sales(count: u64, lines: usize) -> Self {
        let payloads: Vec<String> = (0..count.min(16)).map(|kind| sale(lines, kind)).collect();
        let record = |at: u64| {
            let payload = &payloads[usize::try_from(at).unwrap_or(0) % payloads.len()];
            Sealed {
                outlet: OUTLET.to_owned(),
                position: at + 1,
                leaf: 0,
                kind: "sale".to_owned(),
                number: format!("{SERIES}-{}", at + 1),
                time_ms: NOON_MS + at * 1_000,
                total: total_of(payload).to_owned(),
                currency: "CDF".to_owned(),
                payload: payload.clone(),
                blind: payload_hash(&at.to_le_bytes()),
                previous: [0; 32],
                entry: [0; 32],
                signature: [0; 64],
            }
        };
        let witness = |name: &str, seed| (name.to_owned(), SigningKey::from_bytes(&[seed; 32]));
        let authority = SigningKey::from_bytes(&[7; 32]);
        let mut forge = Self {
            authority_id: authority_id("test", authority.verifying_key().as_bytes()),
            authority,
            log: SigningKey::from_bytes(&[8; 32]),
            witnesses: vec![witness("witness.example/a", 9), witness("witness.example/b", 10)],
            records: (0..count).map(record).collect(),
            leaves: Vec::new(),
        };
        forge.seal();
        forge
    }

    /// Links, hashes and signs all records as they are, and puts them into the log.
    pub(crate) fn seal(&mut self) {
        let mut previous = [0; 32];
        for at in 0..self.records.len() {
            self.records[at].previous = previous;
            self.seal_one(at);
            previous = self.records[at].entry;
        }
        self.place();
    }

    /// Hashes and signs one record as it is.
    pub(crate) fn seal_one(&mut self, at: usize) {
        let record = &mut self.records[at];
        let payload = payload_hash(record.payload.as_bytes());
        let hidden =
            hidden_hash(&record.outlet, record.position, &payload, &record.blind, &record.previous);
        record.entry = entry_hash(
            &self.authority_id,
            &record.number,
            record.time_ms,
            &record.kind,
            &record.total,
            &record.currency,
            &hidden,
        );
        record.signature = self.authority.sign(&record.entry).to_bytes();
    }

    /// Makes the leaves anew: after every third record one of somebody else.
    pub(crate) fn place(&mut self) {
        self.leaves.clear();
        for (at, record) in (1_u64..).zip(&mut self.records) {
            record.leaf = u64::try_from(self.leaves.len()).expect("a small log");
            self.leaves.push(record.entry);
            if at % 3 == 0 {
                self.leaves.push(payload_hash(b"of another outlet"));
            }
        }
    }

    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.leaves.len()).expect("a small log")
    }

    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree { levels: Vec::new(), range: CompactRange::new() };
        for leaf in &self.leaves {
            tree.push(leaf);
        }
        tree
    }

    pub(crate) fn origin(&self) -> String {
        format!("{CLUSTER}/g/1")
    }

    /// A checkpoint of the log, signed by it and by all witnesses.
    pub(crate) fn checkpoint(&self, origin: &str, size: u64, root: &Hash32) -> String {
        let text = Checkpoint::new(origin, size, root).expect("a right origin").to_text();
        self.sign_note(origin, &text)
    }

    /// Any text, signed as a checkpoint is.
    pub(crate) fn sign_note(&self, origin: &str, text: &str) -> String {
        let key = self.log.verifying_key();
        let id = key_id(origin, 1, key.as_bytes());
        let mut note = format!("{text}\n");
        note.push_str(&line(
            origin,
            &[&id[..], &self.log.sign(text.as_bytes()).to_bytes()].concat(),
        ));
        for (name, key) in &self.witnesses {
            let time = 1_795_270_000_u64;
            let message = format!("cosignature/v1\ntime {time}\n{text}");
            let id = key_id(name, 4, key.verifying_key().as_bytes());
            let signature = key.sign(message.as_bytes()).to_bytes();
            note.push_str(&line(name, &[&id[..], &time.to_be_bytes(), &signature].concat()));
        }
        note
    }

    /// The last checkpoint.
    pub(crate) fn last(&self, tree: &Tree) -> String {
        self.checkpoint(&self.origin(), self.size(), &tree.range.root())
    }

    /// What an auditor of this ledger trusts.
    pub(crate) fn policy(&self) -> String {
        let log = VerifierKey::new(&self.origin(), self.log.verifying_key().as_bytes())
            .expect("a right key");
        let witness = |(name, key): &(String, SigningKey)| {
            let raw = key.verifying_key().to_bytes();
            let typed = base64(&[&[4], &raw[..]].concat());
            format!("\"{name}+{}+{typed}\"", hex(&key_id(name, 4, &raw)))
        };
        let witnesses: Vec<String> = self.witnesses.iter().map(witness).collect();
        format!(
            "fiscus_policy = 1\nlogs = [\"{}\"]\nwitnesses = [{}]\nquorum = {}\n\n[[authorities]]\n\
             fiscal_authority_id = \"{}\"\npublic_key = \"{}\"\nvalid_from = \"2026-02-01T00:00:00.000Z\"\n",
            log.to_text(),
            witnesses.join(", "),
            witnesses.len(),
            self.authority_id,
            base64(self.authority.verifying_key().as_bytes()),
        )
    }

    /// The export of all records, in chunks of `chunk` of them.
    pub(crate) fn export(&self, chunk: usize) -> String {
        let tree = self.tree();
        let note = self.last(&tree);
        let mut text = String::new();
        let chunks: Vec<&[Sealed]> = self.records.chunks(chunk).collect();
        for (index, records) in chunks.iter().enumerate() {
            let listed = records
                .iter()
                .map(|record| self.record_text(record, Some(&tree.inclusion(record.leaf))));
            let last = index + 1 == chunks.len();
            let line = Object::new()
                .count("chunk_index", u64::try_from(index).expect("few chunks"))
                .json("records", &array(listed))
                .optional("checkpoint", last.then_some(&note))
                .flag("last", last);
            text.push_str(&line.finish());
            text.push('\n');
        }
        text
    }

    /// A record as exports and, without its proof, ranges have it.
    pub(crate) fn record_text(&self, record: &Sealed, inclusion: Option<&[Hash32]>) -> String {
        let time = UnixMs::new(record.time_ms).to_string();
        let object = Object::new()
            .text("outlet_id", &record.outlet)
            .count("position", record.position)
            .count("leaf_index", record.leaf)
            .text("kind", &record.kind)
            .text("fiscal_authority_id", &self.authority_id)
            .text("fiscal_number", &record.number)
            .text("timestamp", &time)
            .text("total", &record.total)
            .text("currency", &record.currency)
            .text("payload", &record.payload)
            .bytes("blind", &record.blind)
            .bytes("previous_hash", &record.previous)
            .bytes("entry_hash", &record.entry)
            .bytes("signature", &record.signature);
        let Some(inclusion) = inclusion else { return object.finish() };
        let inclusion: Vec<String> = inclusion.iter().map(|hash| hex(hash)).collect();
        object.texts("inclusion", inclusion.iter().map(String::as_str)).finish()
    }
}

/// All complete nodes.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    levels: Vec<Vec<Hash32>>,
    pub(crate) range: CompactRange,
}

impl Tree {
    fn push(&mut self, leaf: &Hash32) {
        let levels = &mut self.levels;
        self.range.push_with(leaf, |level, _, hash| {
            let level = usize::try_from(level).expect("few levels");
            if levels.len() == level {
                levels.push(Vec::new());
            }
            levels[level].push(*hash);
        });
    }

    fn node(&self, level: u32, index: u64) -> Option<Hash32> {
        let nodes = self.levels.get(usize::try_from(level).ok()?)?;
        nodes.get(usize::try_from(index).ok()?).copied()
    }

    pub(crate) fn inclusion(&self, leaf: u64) -> Vec<Hash32> {
        let node = |level, index| self.node(level, index);
        inclusion_proof(self.range.size(), leaf, &node).expect("a leaf of the tree")
    }

    pub(crate) fn consistency(&self, old: u64) -> Vec<Hash32> {
        let node = |level, index| self.node(level, index);
        consistency_proof(old, self.range.size(), &node).expect("an earlier size")
    }
}

fn key_id(name: &str, kind: u8, key: &[u8; 32]) -> [u8; 4] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', kind])
        .chain_update(key)
        .finalize()
        .into();
    [digest[0], digest[1], digest[2], digest[3]]
}

fn line(name: &str, bytes: &[u8]) -> String {
    format!("— {name} {}\n", base64(bytes))
}

fn base64(bytes: &[u8]) -> String {
    fiscus_ledger::base64::encode_standard(bytes)
}
