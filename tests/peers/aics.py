"""What PyPI's aics-tlog says of our checkpoints, proofs and tiles: cases in JSON on standard input, one answer each,
accepted or not, as a JSON list on standard output. It needs a Python from 3.12 on, and knows nothing of the product.
"""

import json
import sys

from aics_tlog import (
    FileSystemTileReader,
    audit_tiles,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
)


def opened(note, key, witness=None):
    parsed, log = parse_note(note), parse_vkey(key)
    witnesses = [parse_vkey(witness)] if witness else []
    result = verify_checkpoint(parsed, log, witnesses, len(witnesses), expected_origin=log.name)
    if not result.ok:
        raise ValueError(result.error)
    return parse_checkpoint(parsed.text)


def holds(case):
    head = opened(case["note"], case["key"], case.get("witness"))
    hashes = [bytes.fromhex(text) for text in case.get("hashes", [])]
    match case["kind"]:
        case "checkpoint":
            return True
        case "inclusion":
            leaf = bytes.fromhex(case["leaf"])
            return verify_leaf_inclusion(leaf, case["index"], head.size, hashes, head.root)
        case "consistency":
            older = opened(case["older"], case["key"])
            return verify_consistency(older.size, head.size, older.root, head.root, hashes)
        case "tiles":
            audit_tiles(FileSystemTileReader(case["directory"]), head.size, head.root)
            return True
    raise KeyError(case["kind"])


def accepted(case):
    try:
        return bool(holds(case))
    except KeyError:
        raise
    except Exception:
        return False


if __name__ == "__main__":
    print(json.dumps([accepted(case) for case in json.load(sys.stdin)]))
