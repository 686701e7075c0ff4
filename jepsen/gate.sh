#!/usr/bin/env bash
# Plants each bug in turn in a build that nobody delivers, lets the simulation look for it, and writes the table into
# docs/RELIABILITY.md. Fails when one is not found within the budget, or something is found without a bug.
#
#   GATE_SEEDS   the seeds that are tried for each bug (1..101)
#   GATE_JOBS    how many at a time (2)
set -euo pipefail

cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
document=docs/RELIABILITY.md
table="$(mktemp)"
trap 'rm -f "$table" "$table.new"' EXIT

cargo build --locked --profile sim --package fiscus-sim --features planted-bugs
"$target/sim/fiscus-sim" --gate --seeds "${GATE_SEEDS:-1..101}" --jobs "${GATE_JOBS:-2}" | tee "$table"

awk -v table="$table" '
  /^<!-- end of gate -->$/ { skip = 0 }
  !skip { print }
  /^<!-- gate -->$/ { while ((getline line < table) > 0) print line; skip = 1 }
' "$document" > "$table.new"
cat "$table.new" > "$document"
