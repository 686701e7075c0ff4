#!/usr/bin/env bash
# Plants each bug in turn in a build that nobody delivers, lets the simulation look for it, then faults on real processes
# for those that clients can see, and writes both tables into docs/RELIABILITY.md. Fails when one is not found within the
# budget, or something is found without a bug. The second part needs root.
#
#   GATE_PARTS     simulation, processes, or both (both)
#   GATE_SEEDS     the seeds that are tried for each bug (1..101)
#   GATE_JOBS      how many at a time (2)
#   GATE_SECONDS   a run of real processes (40)
#   GATE_RUNS      runs of real processes for a bug, at most (6); without a bug there are 3
set -euo pipefail

cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
document=docs/RELIABILITY.md
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
parts="${GATE_PARTS:-both}"

# Puts a table between the two comments that name it.
write_table() {
  awk -v table="$2" -v from="<!-- $1 -->" -v to="<!-- end of $1 -->" '
    $0 == to { skip = 0 }
    !skip { print }
    $0 == from { while ((getline line < table) > 0) print line; skip = 1 }
  ' "$document" > "$work/document"
  cat "$work/document" > "$document"
}

simulation() {
  cargo build --locked --profile sim --package fiscus-sim --features planted-bugs || return
  local ended=0
  "$target/sim/fiscus-sim" --gate --seeds "${GATE_SEEDS:-1..101}" --jobs "${GATE_JOBS:-2}" \
    | tee "$work/simulation" || ended=$?
  write_table gate "$work/simulation"
  return "$ended"
}

# One run: what was found, in one line, nothing when nothing was.
run_planted() {
  local bug="$1" nemesis="$2" workload="$3" seed="$4" planted=()
  [ "$bug" = none ] || planted=(--planted "$bug")
  "$target/sim/fiscus-jepsen" "${planted[@]}" --program "$target/sim/fiscus" --nemesis "$nemesis" \
    --workload "$workload" --seconds "${GATE_SECONDS:-40}" --seed "$seed" --rate 300 --clients 16 --cold 5 \
    --gap-ms 3000 --fault-ms 3000 --snapshot-bytes 1048576 --dir "$work/run" > "$work/said" 2>&1 || true
  if [ -f "$work/run/summary.json" ]; then
    python3 -c '
import collections, json, sys
found = json.load(open(sys.argv[1]))["findings"]
kinds = collections.Counter(finding["kind"] for finding in found)
what = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
print(what + (": " + found[0]["detail"].replace("|", " ")[:120] if found else ""))' "$work/run/summary.json"
  else
    # Without a judgement nothing was found, and nothing is sound: the table stays as it is.
    tail -n 3 "$work/said" >&2
    return 1
  fi
}

processes() {
  cargo build --locked --profile sim --package fiscus-tools --package fiscus-nemesis \
    --features fiscus-node/planted-bugs || return
  local ended=0 bug nemesis workload kinds runs seed found began
  {
    echo "| planted bug | faults | found by | runs | seconds |"
    echo "|---|---|---|---|---|"
  } > "$work/processes"
  # What a bug must be found by: something else that is red finds another bug, or none.
  while read -r bug nemesis workload kinds; do
    began=$SECONDS
    runs="${GATE_RUNS:-6}"
    [ "$bug" != none ] || runs=3
    for seed in $(seq 1 "$runs"); do
      found="$(run_planted "$bug" "$nemesis" "$workload" "$seed" < /dev/null)" || return
      [[ ! "${found%%:*}" =~ $kinds ]] || break
    done
    if [ "$bug" = none ]; then
      [ -z "$found" ] || ended=1
    else
      [[ "${found%%:*}" =~ $kinds ]] || ended=1
      bug="\`$bug\`"
    fi
    echo "| $bug | $nemesis | ${found:-nothing found} | $seed | $((SECONDS - began)) |" | tee -a "$work/processes"
  done <<'END'
none power-all,kill,partition,clock,members sales,keys,blocks,reads .
answer-before-sync power-all sales,keys,reads lost|log
keys-lost-in-snapshot members,snapshot,kill sales,keys,reads states|doubled|convergence
stale-read partition sales,keys,reads reads
repetition-unsigned kill,partition sales,keys,reads altered
END
  write_table "gate of processes" "$work/processes"
  return "$ended"
}

ended=0
[ "$parts" = processes ] || simulation || ended=$?
[ "$parts" = simulation ] || processes || ended=$?
exit "$ended"
