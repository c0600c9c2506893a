#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prepares what a target of the Makefile needs; fast when it is there already.
#
#   tools/setup.sh build    C compiler, Python, .venv with the build tools
#   tools/setup.sh demo     build, TensorFlow and the package's wheel (for this machine) in .venv, the pictures
#   tools/setup.sh test     demo with the wheel of `wheel`, cmocka, clang, doxygen, test tools, .venv-tf1 where a Python 3.7 is found
#   tools/setup.sh wheel    build, and in dist/ the wheel for any Linux with glibc 2.17 or later
#   tools/setup.sh lint     .venv with ruff and mypy
#
# System packages are installed with apt-get as root or with a sudo that asks nothing;
# otherwise the one command to type is printed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TF2="tensorflow-cpu==2.21.0"
readonly OPENVINO="openvino==2026.4.1" # 180 MB beside the 1.3 GB of TensorFlow; amct calibrate is tested with it
readonly TF1="tensorflow==1.15.5 protobuf<3.21"
readonly TF_KERAS="tf_keras==2.21.0"
readonly BUILD_TOOLS="scikit-build-core>=0.10 cmake>=3.20 ninja"
readonly WHEEL_TOOLS="ziglang==0.17.1 auditwheel wheel"
readonly LINT_TOOLS="ruff mypy"
readonly TEST_TOOLS="pytest hypothesis"
readonly PICTURES=/usr/share/datasets/fashion-mnist
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '== %s\n' "$*"; }

# Prints a Python from 3.10 to 3.13 that can make virtual environments; 3.11 first.
find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3.10 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[0-3].*/bin/python; do
    if "$candidate" -c 'import sys, venv, ensurepip
sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

find_python37() {
  local candidate
  for candidate in python3.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.7*/bin/python; do
    if "$candidate" -c 'import sys, venv, ensurepip
sys.exit(sys.version_info[:2] != (3, 7))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

has_compiler() { echo "#include <stdio.h>" | gcc -x c -fsyntax-only - 2>/dev/null; }
has_cmocka() { printf '#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n#include <stdint.h>\n#include <cmocka.h>\n' | gcc -x c -fsyntax-only - 2>/dev/null; }
has_sanitizers() { echo 'int main(void) { return 0; }' | clang -x c -fsanitize=address,undefined -o /dev/null - 2>/dev/null; }

# Installs system packages, or says what to type. $1: "optional" or "needed"
install_packages() {
  local need=$1 sudo=""
  shift
  if ! command -v apt-get >/dev/null; then
    say "missing, in the names of Debian: $*"
    [ "$need" = optional ] && return 0
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then
      sudo="sudo -n"
    else
      say "some system packages are missing; type this, then run the same again:"
      printf '\n    sudo apt-get update && sudo apt-get install -y %s\n\n' "$*"
      [ "$need" = optional ] && return 0
      exit 1
    fi
  fi
  say "installing $*"
  if [ ! -e "$UPDATED" ]; then
    $sudo apt-get update -qq || [ "$need" = optional ]
    touch "$UPDATED"
  fi
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
    >"$LOG" 2>&1 || {
    tail -5 "$LOG"
    say "apt-get could not install $*"
    [ "$need" = optional ]
  }
}

# clang needs its sanitizers' runtime, which is a package of its own in most releases.
sanitizer_packages() {
  echo clang
  if apt-cache show libclang-rt-dev >/dev/null 2>&1; then echo libclang-rt-dev; fi
}

setup_system() {
  local packages=()
  has_compiler || packages+=(gcc libc6-dev)
  find_python >/dev/null || packages+=(python3 python3-venv)
  if [ "$1" = test ]; then
    has_cmocka || packages+=(libcmocka-dev)
    command -v doxygen >/dev/null || packages+=(doxygen)
    command -v pkg-config >/dev/null || packages+=(pkg-config)
    # shellcheck disable=SC2207
    has_sanitizers || packages+=($(sanitizer_packages))
  fi
  [ ${#packages[@]} = 0 ] || install_packages needed "${packages[@]}"
  if ! find_python >/dev/null; then
    say "no Python from 3.10 to 3.13 with venv was found, which TensorFlow 2.21 needs"
    exit 1
  fi
}

# Requirements into a virtual environment, once. $1: folder, $2: Python, $3...: requirements
setup_venv() {
  local folder=$1 python=$2 wanted
  shift 2
  wanted=$("$python" -VV; printf '%s\n' "$@")
  if [ ! -x "$folder/bin/python" ]; then
    say "making $folder with $("$python" -V)"
    "$python" -m venv --clear "$folder"
  fi
  if [ "$(cat "$folder/.wanted-$STAGE" 2>/dev/null)" != "$wanted" ]; then
    say "installing into $folder: $*"
    "$folder/bin/python" -m pip install -q "$@"
    printf '%s\n' "$wanted" >"$folder/.wanted-$STAGE"
  fi
}

# Keras 2, which asks for the package "tensorflow" where "tensorflow-cpu" is what there is.
setup_tf_keras() {
  if [ "$(cat .venv/.tf-keras 2>/dev/null)" != "$TF_KERAS" ]; then
    say "installing into .venv: $TF_KERAS"
    .venv/bin/python -m pip install -q --no-deps "$TF_KERAS"
    printf '%s\n' "$TF_KERAS" >.venv/.tf-keras
  fi
}

# One number for all that goes into the wheel.
source_sum() {
  find include src tf cli python third_party cmake CMakeLists.txt pyproject.toml README.md LICENSE tools/portable_cc.sh \
    -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
}

# The wheel in dist/. $1: "local", for this machine; "portable", for any Linux since 2012
setup_wheel() {
  local kind=$1 sum
  sum=$(source_sum)
  if ls dist/*.whl >/dev/null 2>&1; then
    case $kind:$(cat dist/.sources) in
      "portable:portable $sum" | "local:local $sum" | "local:portable $sum") return ;;
    esac
  fi
  say "building the wheel"
  rm -rf dist
  mkdir -p dist
  (
    PATH=$PWD/.venv/bin:$PATH
    export SKBUILD_BUILD_DIR=build/wheel-$kind
    if [ "$kind" = portable ]; then
      export CC=$PWD/tools/portable_cc.sh SKBUILD_CMAKE_DEFINE=AMCT_OLD_GLIBC=ON
    fi
    python -m pip wheel -q . --no-deps --no-build-isolation -w dist
    if [ "$kind" = portable ]; then
      auditwheel show dist/*.whl 2>/dev/null | tr '\n' ' ' | grep -q 'following platform tag: "manylinux_2_17_x86_64"' || {
        auditwheel show dist/*.whl
        say "the wheel asks for more than a bare Linux has"
        exit 1
      }
      python -m wheel tags --remove --platform-tag manylinux_2_17_x86_64.manylinux2014_x86_64 \
        dist/*.whl >/dev/null
    fi
  )
  printf '%s %s\n' "$kind" "$sum" >dist/.sources
}

# The wheel, and nothing else of this folder, into a virtual environment.
install_wheel() {
  if [ "$(cat "$1/.wheel" 2>/dev/null)" != "$(cat dist/.sources)" ]; then
    say "installing $(basename dist/*.whl) into $1"
    "$1/bin/python" -m pip install -q --force-reinstall --no-deps dist/*.whl
    cp dist/.sources "$1/.wheel"
  fi
}

setup_pictures() {
  [ -e "$PICTURES" ] || [ -n "${AMCT_FASHION_DIR:-}" ] || [ -e build/no-pictures ] && return 0
  if apt-cache show dataset-fashion-mnist >/dev/null 2>&1 || [ "$(id -u)" = 0 ]; then
    install_packages optional dataset-fashion-mnist
  fi
  [ -e "$PICTURES" ] || touch build/no-pictures # asked once; the shipped subset serves
}

setup_tf1() {
  local python37
  if python37=$(find_python37); then
    # shellcheck disable=SC2086
    setup_venv .venv-tf1 "$python37" $TF1 $TEST_TOOLS
    install_wheel .venv-tf1
  else
    say "no Python 3.7 on PATH or in ~/.pyenv: TensorFlow 1.15 is not tested"
  fi
}

main() {
  STAGE=${1:-demo}
  mkdir -p build
  LOG=$PWD/build/apt.log
  UPDATED=$PWD/build/.apt-updated
  [ -z "$(find "$UPDATED" -mmin +60 2>/dev/null)" ] || rm -f "$UPDATED"
  local tools
  case $STAGE in
    build) tools="$BUILD_TOOLS" ;;
    wheel) tools="$BUILD_TOOLS $WHEEL_TOOLS" ;;
    demo) tools="$BUILD_TOOLS $TF2" ;;
    test) tools="$BUILD_TOOLS $WHEEL_TOOLS $TF2 $OPENVINO $TEST_TOOLS $LINT_TOOLS" ;;
    lint) tools="$LINT_TOOLS" ;;
    *)
      sed -n '3,12s/^# \{0,1\}//p' "$0"
      exit 2
      ;;
  esac
  setup_system "$STAGE"
  # shellcheck disable=SC2086
  setup_venv .venv "$(find_python)" $tools
  case $STAGE in
    demo) setup_wheel local ;;
    wheel | test) setup_wheel portable ;;
  esac
  case $STAGE in demo | test)
    install_wheel .venv
    setup_pictures
    ;;
  esac
  if [ "$STAGE" = test ]; then
    setup_tf_keras
    setup_tf1
  fi
}

main "$@"
