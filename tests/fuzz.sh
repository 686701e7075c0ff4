#!/usr/bin/env bash
# Builds every fuzz target and runs each for FUZZ_SECONDS (5) seconds from its kept corpus. Fails on the
# first finding and prints where the input is. Targets can be named as arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/fuzz"

seconds=${FUZZ_SECONDS:-5}
host=x86_64-unknown-linux-gnu
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz"

# What `cargo fuzz` passes, all of it known to the stable compiler. With an explicit target the flags do
# not reach build scripts and procedural macros.
flags=(
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
  --cfg fuzzing
  -Cdebug-assertions
  -Ccodegen-units=4
)
RUSTFLAGS="${flags[*]}" cargo build --locked --quiet --release --target "$host" --bins

targets=("$@")
if ((${#targets[@]} == 0)); then
  for file in targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

found=$(mktemp -d)
for target in "${targets[@]}"; do
  # New inputs go to a directory that is thrown away; what is worth keeping is merged by hand.
  grown=$(mktemp -d)
  log=$(mktemp)
  if ! "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=2048 \
    -malloc_limit_mb=1024 -timeout=10 -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="$found/$target-" "$grown" "corpus/$target" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "fuzz $target: found an input, kept as:" >&2
    ls "$found/$target-"* >&2 || true
    exit 1
  fi
  awk -v target="$target" '/^stat::number_of_executed_units/ { runs = $2 }
       /^stat::average_exec_per_sec/ { rate = $2 } /^stat::peak_rss_mb/ { rss = $2 }
       END { printf "fuzz %-16s %9d runs  %7d/s  %4d MiB\n", target, runs, rate, rss }' "$log"
  rm -rf "$grown" "$log"
done
rmdir "$found"
