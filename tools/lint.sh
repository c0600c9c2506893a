#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The checks that build nothing: the tree's own, C format, Python lint and types.
set -euo pipefail
cd "$(dirname "$0")/.."

for check in layers sizes docs readme links checks; do
  python3 -B "tools/check_$check.py"
done
for page in fusions python_api configuration; do
  python3 -B "tools/gen_$page.py" --check
done

# Other versions format otherwise.
if clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
  find . \( -path ./third_party -o -path ./build -o -name '.?*' \) -prune -o -name '*.[ch]' -print0 |
    xargs -0 -r clang-format --dry-run -Werror
  echo "clang-format: all C files are formatted"
else
  echo "clang-format 14 is not installed: the format of C files is NOT checked"
fi

if command -v doxygen >/dev/null; then
  mkdir -p build/docs
  doxygen doc/Doxyfile
  echo "doxygen: every public name of the C API is documented"
else
  echo "doxygen is not installed: the C API's comments are NOT checked"
fi

if [ -x .venv/bin/ruff ]; then
  .venv/bin/ruff check -q .
  .venv/bin/ruff format -q --check python tools
  echo "ruff: fine"
fi
if [ -x .venv/bin/mypy ]; then
  .venv/bin/mypy python/amct_tensorflow
fi
