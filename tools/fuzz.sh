#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh [SECONDS [SEED]]: runs each fuzz target that long (60), two at a time, from this seed (1), so
# that a run can be repeated; 0 is another one each time. What it finds stays in
# build/fuzz/findings/<target>; a fixed one moves to tests/fuzz/corpus/<target>, where every build replays it.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly SECONDS_EACH=${1:-60}
readonly SEED=${2:-1}
readonly TARGETS="graph deploy qat text config cfg record arrays"
readonly OUT=$PWD/build/fuzz

run() { # $1: target
  local corpus=$OUT/corpus/$1 findings=$OUT/findings/$1
  mkdir -p "$corpus" "$findings"
  # memory beyond a small multiple of the input is a finding, and so are 10 seconds
  "$OUT/tests/fuzz/fuzz_$1" -seed="$SEED" -max_total_time="$SECONDS_EACH" -max_len=4096 -timeout=10 \
    -rss_limit_mb=2048 -malloc_limit_mb=512 -dict="tests/fuzz/fuzz_$1.dict" \
    -artifact_prefix="$findings/" -print_final_stats=1 \
    "$corpus" "tests/fuzz/corpus/$1" >"$OUT/fuzz_$1.log" 2>&1
}

report() { # $1: target, $2: exit code
  if [ "$2" -eq 0 ]; then
    printf 'fuzz_%s: %s\n' "$1" "$(grep -E '^#[0-9]+.DONE' "$OUT/fuzz_$1.log" | tr '\t' ' ')"
  else
    printf 'fuzz_%s: FAILED\n' "$1"
    grep -vE '^#[0-9]+|^"' "$OUT/fuzz_$1.log" | tail -n 60
  fi
}

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -- -j "$(nproc)"
failed=0
pending=()
finish() { # the oldest of the pending ones
  local target=${pending[0]%:*} code=0
  wait "${pending[0]#*:}" || code=$?
  report "$target" "$code"
  [ "$code" -eq 0 ] || failed=$((failed + 1))
  pending=("${pending[@]:1}")
}
for target in $TARGETS; do
  [ "${#pending[@]}" -lt 2 ] || finish
  run "$target" &
  pending+=("$target:$!")
done
while [ "${#pending[@]}" -gt 0 ]; do finish; done
exit "$((failed > 0))"
