#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A C compiler for wheels that run on any Linux since 2012: gcc compiles, and zig links against
# glibc 2.17 (manylinux2014), whose stubs it brings. The library needs AMCT_OLD_GLIBC=ON then.
# libgcc comes from gcc: zig's own does not see AVX2, and the clones for it would never run.
case " $* " in
  *" -c "* | *" -E "* | *" --version "* | *" -v "*) exec gcc "$@" ;;
esac
exec python3 -m ziglang cc -target x86_64-linux-gnu.2.17 "$@" "$(gcc -print-libgcc-file-name)"
