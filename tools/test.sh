#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test, after tools/setup.sh test: checks, gcc, clang with sanitizers, the installed wheel
# in TensorFlow 2 and 1.15, the demo. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."

JOBS=$(nproc)
readonly REPORTS=$PWD/build/reports
passed=0
failed=0
skipped=0

PATH="$PWD/.venv/bin:$PATH"
reference=../shared/reference/record_mobilenet_v2_1.0.txt
if [ -z "${AMCT_REFERENCE_RECORD:-}" ] && [ -e "$reference" ]; then
  AMCT_REFERENCE_RECORD=$(realpath "$reference")
  export AMCT_REFERENCE_RECORD
fi

stage() { printf '\n==== %s (%d s so far)\n' "$*" "$SECONDS"; }

# Adds a JUnit report to the totals.
count() {
  local numbers
  numbers=$(python3 -c '
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
total = dict.fromkeys(("tests", "failures", "errors", "skipped", "disabled"), 0)
for suite in root.iter("testsuite"):
    for key in total:
        total[key] += int(suite.get(key, 0))
bad = total["failures"] + total["errors"]
left = total["skipped"] + total["disabled"]
print(total["tests"] - bad - left, bad, left)' "$1")
  read -r good bad left <<<"$numbers"
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
}

c_tests() { # $1: preset
  cmake --preset "$1" >"$REPORTS/configure-$1.log" || { cat "$REPORTS/configure-$1.log"; return 1; }
  cmake --build --preset "$1" -- -j "$JOBS"
  ctest --preset "$1" -j "$JOBS" --output-junit "$REPORTS/ctest-$1.xml"
  count "$REPORTS/ctest-$1.xml"
}

conformance() { # $1: virtual environment
  "$1/bin/python" -m pytest -q -p no:cacheprovider --durations=5 \
    --junit-xml="$REPORTS/pytest$1.xml" tests/conformance
  count "$REPORTS/pytest$1.xml"
}

mkdir -p "$REPORTS"
rm -f "$REPORTS"/*.xml

stage "checks"
tools/lint.sh
stage "C, gcc, release"
c_tests release
stage "C, clang, address and undefined-behaviour sanitizers"
c_tests sanitize
stage "C, clang, thread sanitizer"
c_tests threads
stage "fuzz targets, a minute each"
tools/fuzz.sh 60

export AMCT_PROBE=$PWD/build/release/libamct_probe.so
stage "numbers against NumPy"
.venv/bin/python -m pytest -q -p no:cacheprovider --junit-xml="$REPORTS/pytest-accuracy.xml" tests/accuracy
count "$REPORTS/pytest-accuracy.xml"
stage "conformance, $(.venv/bin/python -V), TensorFlow 2"
conformance .venv
if [ -x .venv-tf1/bin/python ]; then
  stage "conformance, $(.venv-tf1/bin/python -V), TensorFlow 1.15"
  conformance .venv-tf1
else
  stage "SKIPPED: conformance with TensorFlow 1.15, since no Python 3.7 was found"
  skipped=$((skipped + 1))
fi
stage "the wheel"
.venv/bin/python -m pytest -q -p no:cacheprovider --junit-xml="$REPORTS/pytest-package.xml" tests/package
count "$REPORTS/pytest-package.xml"
stage "demo"
.venv/bin/python examples/fashion/demo.py --out out

printf '\n==== %d passed, %d failed, %d skipped in %d s\n' "$passed" "$failed" "$skipped" "$SECONDS"
