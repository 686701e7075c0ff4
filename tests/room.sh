#!/usr/bin/env bash
# Compiled code outlives a clone, and each version of a source file leaves its own behind. When the disk gets
# tight, what can be made anew goes: first what only speeds the next compilation up, then everything compiled.
# Does nothing while there is room.
set -euo pipefail

target=${CARGO_TARGET_DIR:?the folder of compiled code}
needed_gib=${FISCUS_ROOM_GIB:-20}
mkdir -p "$target"

free_gib() { df --output=avail -B1G "$target" | tail -n 1 | tr -d ' '; }

for part in debug/incremental tmp release/incremental fuzz debug/deps release; do
  (($(free_gib) < needed_gib)) || exit 0
  [[ -e $target/$part ]] || continue
  echo "room: $(free_gib) GiB free, $needed_gib wanted: removing $target/$part" >&2
  # A clone beside this one may be compiling; cargo holds this lock while it does.
  for profile in debug release; do mkdir -p "$target/$profile"; done
  flock --timeout 600 "$target/debug/.cargo-lock" rm -rf "${target:?}/$part"
done
(($(free_gib) >= 8)) || {
  echo "room: only $(free_gib) GiB free on the disk of $target; the tests need about 15: free some, or set CARGO_TARGET_DIR to another disk" >&2
  exit 1
}
