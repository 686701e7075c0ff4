// What @sigstore/verify says of our checkpoints and inclusion proofs: cases in JSON on standard input, one answer each,
// accepted or not, as a JSON list on standard output. FISCUS_PEERS is the directory that it is installed in.

import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.FISCUS_PEERS, "package.json"));
const { verifyCheckpoint } = require("@sigstore/verify/dist/tlog/checkpoint.js");
const { verifyMerkleInclusion } = require("@sigstore/verify/dist/tlog/merkle.js");

// DER of an Ed25519 public key, before its 32 bytes.
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

/** A log as sigstore knows it, from a verifier key `name+id+key`. */
function log(text) {
  const [name, id, key] = text.split("+");
  const raw = Buffer.from(text.slice(name.length + id.length + 2), "base64").subarray(1);
  const publicKey = createPublicKey({ key: Buffer.concat([SPKI, raw]), format: "der", type: "spki" });
  return { name, entry: { logID: Buffer.from(id, "hex"), baseURL: name, publicKey } };
}

function accepted({ kind, key, note, leaf, index, hashes }) {
  try {
    const { name, entry } = log(key);
    const proof = {
      logIndex: String(index ?? 0),
      hashes: (hashes ?? []).map((hash) => Buffer.from(hash, "hex")),
      checkpoint: { envelope: note },
    };
    const checkpoint = verifyCheckpoint({ inclusionProof: proof }, [entry]);
    if (checkpoint.origin !== name) return false;
    if (kind === "checkpoint") return true;
    verifyMerkleInclusion({ inclusionProof: proof, canonicalizedBody: Buffer.from(leaf, "hex") }, checkpoint);
    return true;
  } catch {
    return false;
  }
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(accepted)));
