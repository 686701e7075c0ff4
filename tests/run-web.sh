#!/usr/bin/env bash
# Runs every tests/web/check_*.mjs in a real browser, against a demonstration that FISCUS, the binary, plays.
# FISCUS_SHOTS names a directory in which the pictures of the pages stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${FISCUS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fiscus}
: "${FISCUS:?is not set: the path of the fiscus binary}"
[[ -x $FISCUS ]] || { echo "run-web: $FISCUS is not there: build it first" >&2; exit 1; }
[[ -d $cache/web/node_modules ]] || { echo "run-web: $cache/web is not there: run tests/setup.sh" >&2; exit 1; }
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
export FISCUS FISCUS_WEB=$cache/web CHROMIUM

exec node tests/web/run.mjs
