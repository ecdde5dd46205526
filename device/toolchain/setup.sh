#!/bin/bash
# Builds what runs and compiles MicroPython code on this computer, no board needed.
#
#   setup.sh [DIRECTORY] [pc] [rv32] [xtensa] [fuzz]       (default: all of them)
#
#   pc      MicroPython's sources and its PC port (enough for `make demo`); about a minute
#   rv32    MicroPython for an emulated RISC-V chip: the architecture of ESP32-C3, C5, C6, H2, P4
#   xtensa  a compiler and MicroPython for windowed Xtensa: the architecture of ESP32, S2, S3
#   fuzz    clang with its fuzzer and sanitizers (`make fuzz`); nothing is built
#
# DIRECTORY is the cache, by default $SIGNWAVE_TOOLCHAIN or ~/.cache/signwave/toolchain. What is ready there is not
# built again; an interrupted build leaves nothing half-done behind. Environment: PYTHON (a Python that has pyelftools
# and ar), MPY_DIR (your own MicroPython sources, 1.24 or newer, instead of downloaded ones), DEBIAN_MIRROR.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
export TOOLCHAIN_SOURCE=$here
# shellcheck source=packages.sh
. "$here/packages.sh"

default_dir=${SIGNWAVE_TOOLCHAIN:-${XDG_CACHE_HOME:-$HOME/.cache}/signwave/toolchain}
case "${1:-}" in
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit ;;
    "" | pc | rv32 | xtensa | fuzz) dir=$default_dir ;;
    *) dir=$1; shift ;;
esac
[ $# -gt 0 ] || set -- pc rv32 xtensa fuzz
for target in "$@"; do
    case $target in
        pc | rv32 | xtensa | fuzz) ;;
        *) echo "unknown target '$target'; the targets are pc, rv32, xtensa and fuzz" >&2; exit 2 ;;
    esac
done

mkdir -p "$dir/log"
TOOLCHAIN=$(cd "$dir" && pwd)
PYTHON=${PYTHON:-python3}
case $PYTHON in  # steps run in folders of their own
    /*) ;;
    */*) PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON") ;;
esac
export TOOLCHAIN PYTHON

# Two set-ups at once would build the same thing twice; the second waits and finds it ready.
if command -v flock > /dev/null; then
    exec 9> "$TOOLCHAIN/.lock"
    flock -n 9 || { echo "waiting for another set-up in $TOOLCHAIN"; flock 9; }
fi

# What a step was made from: a change in its script, in what it reads or in the sources' place makes it anew.
fingerprint() {
    local files=("$here/steps/$1.sh")
    case $1 in
        micropython | debian) ;;
        xtensa*) mapfile -d '' -t -O 1 files < <(find "$here/xtensa" -type f -print0 | sort -z) ;;&
        *) files+=("${MPY_DIR:-$TOOLCHAIN/micropython}/py/mpconfig.h") ;;
    esac
    { cat "${files[@]}"; [ "$1" = micropython ] || echo "${MPY_DIR:-}"; } | sha256sum | cut -c1-16
}

# step NAME: runs steps/NAME.sh in an empty folder, which becomes $TOOLCHAIN/NAME when it has succeeded.
step() {
    local name=$1 work=$TOOLCHAIN/$1.part log=$TOOLCHAIN/log/$1.log start=$SECONDS mark
    mark=$(fingerprint "$name")
    if [ "$(cat "$TOOLCHAIN/$name/.stamp" 2> /dev/null)" = "$mark" ]; then
        echo "toolchain: $name is ready"
        return
    fi
    echo "toolchain: building $name ..."
    rm -rf "$work"
    mkdir -p "$work"
    if ! (cd "$work" && exec bash -eu -o pipefail "$here/steps/$name.sh") > "$log" 2>&1; then
        rm -rf "$work"
        tail -n 20 "$log" | sed 's/^/    /' >&2
        echo "toolchain: building $name failed; the whole log is $log" >&2
        exit 1
    fi
    echo "$mark" > "$work/.stamp"
    rm -rf "${TOOLCHAIN:?}/$name"
    mv "$work" "$TOOLCHAIN/$name"
    echo "toolchain: $name built in $((SECONDS - start)) s"
}

need_packages "$@"
if [ -z "${MPY_DIR:-}" ]; then
    step micropython
    export MPY_DIR_USED=$TOOLCHAIN/micropython
elif [ -f "$MPY_DIR/py/dynruntime.mk" ]; then
    MPY_DIR=$(cd "$MPY_DIR" && pwd)
    export MPY_DIR_USED=$MPY_DIR
else
    echo "MPY_DIR is '$MPY_DIR', but there is no py/dynruntime.mk in it; give the top of MicroPython's sources" >&2
    exit 1
fi
for target in "$@"; do
    [ "$target" != xtensa ] || step xtensa-gcc
    [ "$target" = fuzz ] || step "$target"
done
echo "toolchain: ready in $TOOLCHAIN"
