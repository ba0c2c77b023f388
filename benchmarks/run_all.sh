#!/usr/bin/env bash
# Every benchmark but the GPU's, one after the other: benchmarks/run_all.sh [ROUNDS]
# What they print goes to the terminal and to benchmarks/results/log.txt. Run it on a quiet machine.
set -uo pipefail
cd "$(dirname "$0")"
rounds=${1:-5}
python=${PYTHON:-../.venv/bin/python}
mkdir -p results
failed=()

run() {
  echo "== $* ($(date +%H:%M:%S))"
  "$python" "$@" || failed+=("$*")
}

{
  run hardware.py
  run train_text.py --check
  run train_pages.py --check
  run train_text.py --rounds "$rounds"
  run train_pages.py --rounds "$rounds"
  run growth.py --rounds "$(( rounds < 3 ? rounds : 3 ))"
  for script in loss late evaluation mining encode rerank images; do
    if [ -f "$script.py" ]; then run "$script.py" --rounds "$rounds"; fi
  done
  run hardware.py profile
  run hardware.py profile --peer
  echo "== done ($(date +%H:%M:%S)); failed: ${failed[*]:-none}"
  [ ${#failed[@]} -eq 0 ]
} 2> >(tr '\r' '\n' >&2) | tee results/log.txt
