#!/usr/bin/env bash
# setup.sh build|test: installs what is missing, and nothing else.
#   build  a C compiler (for zstd, ring and mimalloc)
#   test   that, and a Python virtual environment in the cache folder with DuckDB, moto, pytest
set -euo pipefail
wanted=${1:?usage: setup.sh build|test}

install() {
  echo "installing $*" >&2
  local sudo=()
  [[ $(id -u) == 0 ]] || sudo=(sudo)
  if ! command -v apt-get >/dev/null; then
    echo "this machine lacks $*, and there is no apt-get to install it with: install it by hand" >&2
    exit 1
  fi
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >&2 ||
    { "${sudo[@]}" apt-get update -q >&2 && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >&2; }
}

command -v cargo >/dev/null || { echo "cargo is not on PATH: install Rust 1.95 or newer (rustup.rs)" >&2; exit 1; }
command -v cc >/dev/null || install build-essential
[[ $wanted == test ]] || exit 0

command -v python3 >/dev/null || install python3
cache=${XDG_CACHE_HOME:-$HOME/.cache}/thalweg
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The environment is named by what it holds, so that a change of requirements makes a new one.
venv=$cache/venv-$(sha256sum "$here/requirements.txt" | cut -c1-12)
if [[ ! -x $venv/bin/pytest ]]; then
  rm -rf "$venv"
  python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv python3-pip
  mkdir -p "$cache"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q -r "$here/requirements.txt" >&2
fi
ln -sfn "$venv" "$cache/venv"
