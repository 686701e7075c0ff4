#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: Debian packages, and, outside of the clone, a Python
# environment and what drives the browser. Does nothing when all is there. Another Python than the first in
# PATH: FISCUS_PYTHON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${FISCUS_PYTHON:-python3}
cache=${FISCUS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fiscus}

if ! command -v cargo >/dev/null; then
  echo "setup: cargo is missing; install Rust 1.95 or later" >&2
  exit 1
fi

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v git >/dev/null || packages+=(git)
command -v flock >/dev/null && command -v nsenter >/dev/null || packages+=(util-linux)
# Namespaces, what they drop, and file systems in files, for faults on real processes.
command -v ip >/dev/null || packages+=(iproute2)
command -v nft >/dev/null || packages+=(nftables)
command -v mkfs.ext4 >/dev/null || packages+=(e2fsprogs)
command -v "$python" >/dev/null || packages+=(python3)
# A wrong clock for one process, for the cluster's tests.
command -v faketime >/dev/null || packages+=(faketime)
# A PKCS#11 token in software, for the signer's tests.
command -v softhsm2-util >/dev/null || packages+=(softhsm2)
# Readers of PDF files and of QR codes, for the tests of receipts.
command -v qpdf >/dev/null || packages+=(qpdf)
command -v pdftotext >/dev/null || packages+=(poppler-utils)
command -v zbarimg >/dev/null || packages+=(zbar-tools)
# promtool, which says whether Prometheus would read the metrics.
command -v promtool >/dev/null || packages+=(prometheus)
command -v curl >/dev/null || packages+=(curl)
# Pairs of pseudo-terminals, for the device proxy's hosts.
command -v socat >/dev/null || packages+=(socat)
# A browser for the pages, and what drives it.
command -v chromium >/dev/null || packages+=(chromium)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
# Go's own transparency log, which reads ours.
[[ -d /usr/share/gocode/src/golang.org/x/mod/sumdb ]] || packages+=(golang-golang-x-mod-dev)
command -v go >/dev/null || packages+=(golang-go)
# Debian ships Python without ensurepip; a venv cannot be made then.
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

if ((${#packages[@]})); then
  echo "setup: installing ${packages[*]}" >&2
  root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "setup: run as root: apt-get install ${packages[*]}" >&2; exit 1; }
    root=(sudo)
  fi
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

mkdir -p "$cache"
exec 9>"$cache/venv.lock"
flock 9

# The stamp is written last: an interrupted set-up is done again from the start.
stamp="$("$python" -c 'import sys; print(sys.executable, sys.version)')
$(cat tests/requirements.txt)"
venv=$cache/venv
if [[ "$(cat "$venv/stamp" 2>/dev/null || true)" != "$stamp" ]]; then
  echo "setup: making $venv" >&2
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
  printf '%s\n' "$stamp" >"$venv/stamp"
fi

# The folder of a package and the one it is installed in.
install_npm() {
  local from=$1 to=$2 stamp
  stamp="$(node --version)
$(cat "$from/package-lock.json")"
  if [[ "$(cat "$to/stamp" 2>/dev/null || true)" != "$stamp" ]]; then
    echo "setup: making $to" >&2
    rm -rf "$to"
    mkdir -p "$to"
    cp "$from/package.json" "$from/package-lock.json" "$to"
    (cd "$to" && npm ci --silent --ignore-scripts --no-audit --no-fund)
    printf '%s\n' "$stamp" >"$to/stamp"
  fi
}
install_npm tests/web "$cache/web"
install_npm tests/peers "$cache/peers"

# A transparency log and a witness in Python, which ask for a later one than Debian 12 has. Without it they are left
# out, and tests/python/check_peers.py says so.
newer=
for candidate in "${FISCUS_PYTHON_NEWER:-}" python3.12 python3.13 python3.14 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python; do
  if [[ -n $candidate ]] && "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    newer=$candidate
    break
  fi
done
if [[ -n $newer ]]; then
  stamp="$("$newer" -c 'import sys; print(sys.executable, sys.version)')
$(cat tests/peers/requirements.txt)"
  aics=$cache/aics
  if [[ "$(cat "$aics/stamp" 2>/dev/null || true)" != "$stamp" ]]; then
    echo "setup: making $aics" >&2
    rm -rf "$aics"
    "$newer" -m venv "$aics"
    "$aics/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/peers/requirements.txt
    printf '%s\n' "$stamp" >"$aics/stamp"
  fi
fi

# The official verifiers of webhooks, apart from the other checks, because they ask for much.
stamp="$("$python" -c 'import sys; print(sys.executable, sys.version)')
$(cat tests/peers/webhooks.txt)"
webhooks=$cache/webhooks
if [[ "$(cat "$webhooks/stamp" 2>/dev/null || true)" != "$stamp" ]]; then
  echo "setup: making $webhooks" >&2
  rm -rf "$webhooks"
  "$python" -m venv "$webhooks"
  "$webhooks/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/peers/webhooks.txt
  printf '%s\n' "$stamp" >"$webhooks/stamp"
fi
