#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# installed.sh BUILD TOOLS: what `cmake --install BUILD` puts down serves a program that knows
# only find_package or pkg-config; TOOLS holds text_to_pb.
set -euo pipefail
build=$1
tools=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "installed.sh: $*" >&2
  exit 1
}

cmake --install "$build" --prefix "$work/usr" >"$work/log" || fail "$(cat "$work/log")"
"$tools/text_to_pb" <"$here/../cli/data/net.txt" >"$work/net.pb"

"$work/usr/bin/amct" version | grep -q '^amct [0-9]' || fail "amct does not run from its place"
[ -s "$work/usr/share/man/man1/amct.1" ] || fail "no manual page"

cmake -S "$here/consumer" -B "$work/found" -DCMAKE_PREFIX_PATH="$work/usr" >"$work/log" 2>&1 &&
  cmake --build "$work/found" >>"$work/log" 2>&1 || fail "find_package: $(cat "$work/log")"
"$work/found/consumer" "$work/net.pb" "$work/found.json"

folder=$(dirname "$(find "$work/usr" -name amct.pc)")
export PKG_CONFIG_PATH=$folder
# shellcheck disable=SC2046
cc -Wall -Wextra -Wpedantic -Werror -std=c11 "$here/consumer/consumer.c" -o "$work/flags" \
  $(pkg-config --cflags --libs amct) -Wl,-rpath,"$(pkg-config --variable=libdir amct)"
"$work/flags" "$work/net.pb" "$work/flags.json"
[ -e "$(pkg-config --variable=oplibrary amct)" ] || fail "amct.pc names no op library"
cmp "$work/found.json" "$work/flags.json"

if "$work/flags" "$work/none.pb" "$work/none.json" 2>"$work/log"; then fail "a missing model passed"; fi
grep -q none.pb "$work/log" || fail "the message does not name the file: $(cat "$work/log")"
[ ! -e "$work/none.json" ] || fail "something was written for a missing model"
