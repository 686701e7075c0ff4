//! Golden vectors of the group tree, the heads tree and signed notes: `tests/vectors/*.json`, which
//! programs in other languages check too. With `FISCUS_BLESS=1` the files are written anew.

mod vectors;

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::checkpoint::{self, Checkpoint};
use fiscus_ledger::codec::Writer;
use fiscus_ledger::hash::{Hash32, hex, payload_hash};
use fiscus_ledger::heads::{HeadEntry, HeadsTrie, HeadsVerdict, heads_leaf};
use fiscus_ledger::note::{KnownKeys, Note, VerifierKey};
use fiscus_ledger::tree::{
    CompactRange, LEAVES_MAX, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};

const LEAVES: u64 = 33;

enum Json {
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    fn hex(bytes: impl AsRef<[u8]>) -> Self {
        Self::Text(hex(bytes.as_ref()))
    }

    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn hashes(hashes: &[Hash32]) -> Self {
        Self::List(hashes.iter().map(Self::hex).collect())
    }

    fn write(&self, indent: usize, out: &mut String) {
        let margin = "  ".repeat(indent);
        let mut separator = "\n";
        match self {
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Text(text) => {
                let plain = text.chars().all(|c| c == '\n' || (c >= ' ' && c != '"' && c != '\\'));
                assert!(plain, "this writer only escapes newlines: {text:?}");
                out.push_str(&format!("\"{}\"", text.replace('\n', "\\n")));
            }
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::List(items) => {
                out.push('[');
                for item in items {
                    out.push_str(&format!("{separator}{margin}  "));
                    item.write(indent + 1, out);
                    separator = ",\n";
                }
                out.push_str(&format!("\n{margin}]"));
            }
            Self::Object(members) => {
                out.push('{');
                for (name, value) in members {
                    out.push_str(&format!("{separator}{margin}  \"{name}\": "));
                    value.write(indent + 1, out);
                    separator = ",\n";
                }
                out.push_str(&format!("\n{margin}}}"));
            }
        }
    }
}

/// Compares with the committed file, or writes it.
fn settle(file: &str, json: &Json) {
    let mut text = String::new();
    json.write(0, &mut text);
    text.push('\n');
    vectors::compare(file, &text);
}

fn leaf_data(index: u64) -> Hash32 {
    payload_hash(index.to_string().as_bytes())
}

/// The tree at every size, and every complete node of the largest.
struct Grown {
    roots: Vec<Hash32>,
    encodings: Vec<Vec<u8>>,
    nodes: BTreeMap<(u32, u64), Hash32>,
}

fn grow() -> Grown {
    let mut range = CompactRange::new();
    let mut grown = Grown { roots: Vec::new(), encodings: Vec::new(), nodes: BTreeMap::new() };
    for index in 0..=LEAVES {
        grown.roots.push(range.root());
        let mut writer = Writer::new();
        range.encode(&mut writer);
        grown.encodings.push(writer.finish());
        range.push_with(&leaf_data(index), |level, index, hash| {
            grown.nodes.insert((level, index), *hash);
        });
    }
    grown
}

fn at<T>(list: &[T], size: u64) -> &T {
    &list[usize::try_from(size).unwrap()]
}

fn inclusion_vectors(grown: &Grown) -> Json {
    let node = |level, index| grown.nodes.get(&(level, index)).copied();
    let selection =
        [(1, 0), (2, 1), (3, 2), (7, 0), (7, 6), (8, 5), (13, 9), (21, 20), (32, 17), (33, 32)];
    let proofs = selection.map(|(size, index)| {
        let proof = inclusion_proof(size, index, &node).unwrap();
        let root = at(&grown.roots, size);
        assert_eq!(verify_inclusion(&leaf_data(index), index, size, &proof, root), Ok(()));
        Json::Object(vec![
            ("tree_size", Json::Number(size)),
            ("leaf_index", Json::Number(index)),
            ("leaf_data_hex", Json::hex(leaf_data(index))),
            ("sibling_hashes_from_leaf_to_root_hex", Json::hashes(&proof)),
            ("root_hex", Json::hex(root)),
        ])
    });
    Json::List(proofs.into())
}

fn consistency_vectors(grown: &Grown) -> Json {
    let node = |level, index| grown.nodes.get(&(level, index)).copied();
    let selection =
        [(0, 5), (5, 5), (1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (8, 33), (13, 21), (32, 33)];
    let proofs = selection.map(|(old, new)| {
        let proof = consistency_proof(old, new, &node).unwrap();
        let (old_root, new_root) = (at(&grown.roots, old), at(&grown.roots, new));
        assert_eq!(verify_consistency(old, old_root, new, new_root, &proof), Ok(()));
        Json::Object(vec![
            ("old_tree_size", Json::Number(old)),
            ("old_root_hex", Json::hex(old_root)),
            ("new_tree_size", Json::Number(new)),
            ("new_root_hex", Json::hex(new_root)),
            ("proof_hashes_hex", Json::hashes(&proof)),
        ])
    });
    Json::List(proofs.into())
}

fn outlets() -> Vec<(String, HeadEntry)> {
    (0..8_u64)
        .map(|number| {
            let series =
                (0..number % 4).map(|series| (format!("S{series}"), number * 100 + series));
            let position = if number == 7 { u64::MAX } else { number * 1000 };
            let chain_head = payload_hash(format!("chain head {number}").as_bytes());
            let perpetual = payload_hash(format!("perpetual {number}").as_bytes());
            let entry = HeadEntry::new(position, series.collect(), chain_head, perpetual);
            (format!("KIN-GOMBE-{number:03}"), entry)
        })
        .collect()
}

fn outlet_vector(outlet_id: &str, entry: &HeadEntry, root_with_those_before: &Hash32) -> Json {
    let series = entry.series().iter().map(|(code, last)| {
        Json::Object(vec![("code", Json::text(code)), ("last_number", Json::Number(*last))])
    });
    Json::Object(vec![
        ("outlet_id", Json::text(outlet_id)),
        ("last_position", Json::Number(entry.last_position())),
        ("series", Json::List(series.collect())),
        ("chain_head_hex", Json::hex(entry.chain_head())),
        ("perpetual_digest_hex", Json::hex(entry.perpetual_digest())),
        ("root_of_this_and_all_outlets_before_hex", Json::hex(root_with_those_before)),
    ])
}

fn heads_vectors() -> Json {
    let mut trie = HeadsTrie::new();
    let empty_root = trie.root();
    let proof = |trie: &HeadsTrie, outlet_id: &str| {
        let (root, proof) = (trie.root(), trie.prove(outlet_id));
        let verdict = match proof.verify(&root, outlet_id).unwrap() {
            HeadsVerdict::Present(entry) => {
                assert_eq!(Some(entry), trie.get(outlet_id));
                "present"
            }
            HeadsVerdict::Absent => "absent",
        };
        Json::Object(vec![
            ("outlet_id", Json::text(outlet_id)),
            ("verdict", Json::text(verdict)),
            ("proof_hex", Json::hex(proof.encode())),
            ("root_hex", Json::hex(root)),
        ])
    };
    let mut proofs = vec![proof(&trie, "KIN-GOMBE-000")];
    let mut rows = Vec::new();
    for (outlet_id, entry) in outlets() {
        trie.set(&outlet_id, entry.clone());
        rows.push(outlet_vector(&outlet_id, &entry, &trie.root()));
        proofs.push(proof(&trie, &outlet_id));
    }
    // Absent outlets, some ending at another entry and some at an inner node.
    proofs.extend((100..108).map(|number| proof(&trie, &format!("KIN-GOMBE-{number}"))));
    let leaf = heads_leaf("fiscus.example", 3, 4242, &trie.root());
    let leaf = Json::Object(vec![
        ("cluster", Json::text("fiscus.example")),
        ("group", Json::Number(3)),
        ("leaf_index", Json::Number(4242)),
        ("heads_root_hex", Json::hex(trie.root())),
        ("leaf_data_hex", Json::hex(leaf)),
    ]);
    Json::Object(vec![
        ("empty_root_hex", Json::hex(empty_root)),
        ("outlets", Json::List(rows)),
        ("proofs", Json::List(proofs)),
        ("heads_leaf", leaf),
    ])
}

#[test]
fn tree_vectors() {
    let grown = grow();
    let trees = (0..=LEAVES).map(|size| {
        Json::Object(vec![
            ("tree_size", Json::Number(size)),
            ("root_hex", Json::hex(at(&grown.roots, size))),
            ("stored_compact_range_hex", Json::hex(at(&grown.encodings, size))),
        ])
    });
    let json = Json::Object(vec![
        ("leaf_data_rule", Json::text("leaf data i = BLAKE3 of the decimal text of i, in ASCII")),
        ("trees", Json::List(trees.collect())),
        ("inclusion_proofs", inclusion_vectors(&grown)),
        ("consistency_proofs", consistency_vectors(&grown)),
        ("heads", heads_vectors()),
    ]);
    settle("tree.json", &json);
}

fn key_vector(seed: u8, name: &str) -> (SigningKey, VerifierKey, Json) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let verifier = VerifierKey::new(name, signing.verifying_key().as_bytes()).unwrap();
    let json = Json::Object(vec![
        ("key_name", Json::text(name)),
        ("ed25519_seed_hex", Json::hex([seed; 32])),
        ("ed25519_public_key_hex", Json::hex(verifier.public_key())),
        ("key_id_hex", Json::hex(verifier.id())),
        ("verifier_key", Json::Text(verifier.to_text())),
    ]);
    (signing, verifier, json)
}

#[test]
fn note_vectors() {
    let origin = checkpoint::origin("fiscus.example", 3);
    let (log, log_key, log_json) = key_vector(1, &origin);
    let (witness, witness_key, witness_json) = key_vector(2, "witness.example");
    let known = KnownKeys::new([log_key.clone(), witness_key.clone()]).unwrap();
    let roots = grow().roots;
    let one_extension = vec!["extension – one".to_owned()];
    let rows = [
        (0, *at(&roots, 0), vec![]),
        (LEAVES, *at(&roots, LEAVES), vec![]),
        (LEAVES_MAX, [0xfe; 32], one_extension),
    ];
    let checkpoints = rows.map(|(size, root, extensions)| {
        let checkpoint =
            Checkpoint::with_extensions(&origin, size, &root, extensions.clone()).unwrap();
        let text = checkpoint.to_text();
        let mut note = Note::sign(&text, &log_key, |bytes| log.sign(bytes).to_bytes()).unwrap();
        let once = note.to_text();
        note.add_signature(&witness_key, |bytes| witness.sign(bytes).to_bytes()).unwrap();
        let twice = note.to_text();
        for signed in [&once, &twice] {
            assert_eq!(checkpoint::open(signed.as_bytes(), &origin, &known).unwrap(), checkpoint);
        }
        let extensions = extensions.iter().map(|line| Json::text(line)).collect();
        Json::Object(vec![
            ("origin", Json::text(&origin)),
            ("tree_size", Json::Number(size)),
            ("root_hex", Json::hex(root)),
            ("extension_lines", Json::List(extensions)),
            ("checkpoint_text", Json::Text(text)),
            ("note_signed_by_log_key", Json::Text(once)),
            ("note_signed_by_log_key_and_other_key", Json::Text(twice)),
        ])
    });
    let json = Json::Object(vec![
        ("log_key", log_json),
        ("other_key", witness_json),
        ("checkpoints", Json::List(checkpoints.into())),
    ]);
    settle("note.json", &json);
}
