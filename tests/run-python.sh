#!/usr/bin/env bash
# Runs every tests/python/check_*.py with the Python of tests/setup.sh; FISCUS is the binary they drive.
# A check that exits with 0 has passed. No check at all is a failure: nothing would have been tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${FISCUS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fiscus}/venv/bin/python
: "${FISCUS:?is not set: the path of the fiscus binary}"
[[ -x $FISCUS ]] || { echo "run-python: $FISCUS is not there: build it first" >&2; exit 1; }
[[ -x $python ]] || { echo "run-python: $python is not there: run tests/setup.sh" >&2; exit 1; }
export FISCUS PYTHONDONTWRITEBYTECODE=1

shopt -s nullglob
checks=(tests/python/check_*.py)
((${#checks[@]})) || { echo "run-python: there is no tests/python/check_*.py" >&2; exit 1; }

passed=0 failed=0
for check in "${checks[@]}"; do
  if "$python" "$check"; then
    passed=$((passed + 1))
    echo "test $check ... ok"
  else
    failed=$((failed + 1))
    echo "test $check ... FAILED"
  fi
done
if ((failed)); then word=FAILED; else word=ok; fi
echo "test result: $word. $passed passed; $failed failed (Python checks)"
((failed == 0))
