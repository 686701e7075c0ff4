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
command -v flock >/dev/null || packages+=(util-linux)
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

stamp="$(node --version)
$(cat tests/web/package-lock.json)"
web=$cache/web
if [[ "$(cat "$web/stamp" 2>/dev/null || true)" != "$stamp" ]]; then
  echo "setup: making $web" >&2
  rm -rf "$web"
  mkdir -p "$web"
  cp tests/web/package.json tests/web/package-lock.json "$web"
  (cd "$web" && npm ci --silent --ignore-scripts --no-audit --no-fund)
  printf '%s\n' "$stamp" >"$web/stamp"
fi
