#!/usr/bin/env bash
# Installs dist/*.whl into a fresh virtual environment of each Python named, with the processor's part of what torch depends
# on, and styles a clip; before that, what it says where torch or GStreamer is missing. By hand: it downloads 0.5 GB for each.
#
#   scripts/test_wheel.sh python3.11 python3.12
set -euo pipefail
cd -P "$(dirname "$0")/.."
say() { echo "test_wheel: $*"; }
die() { echo "test_wheel: error: $*" >&2; exit 1; }
[ $# -gt 0 ] || { echo "usage: scripts/test_wheel.sh PYTHON…" >&2; exit 2; }
wheel=$(ls -t dist/nst_stream-*.whl | head -n1)
folder=$(mktemp -d --tmpdir nst-stream-wheel.XXXXXX)
trap 'rm -rf "$folder"' EXIT
for python in "$@"; do
    began=$SECONDS
    venv=$folder/venv
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" -q install --disable-pip-version-check --no-deps "$wheel"
    said=$("$venv/bin/nst-stream" --version 2>&1) && die "it runs without torch"
    [[ $said = "nst-stream: the package torch is missing"* ]] || die "$said"
    "$venv/bin/pip" -q install --disable-pip-version-check --no-deps --no-cache-dir \
        torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
    "$venv/bin/nst-stream" --version
    (cd "$folder" && "$venv/bin/nst-stream" -q -m mosaic-lite -i "$OLDPWD/tests/data/carphone_pristine.mp4" \
        -o painted.mp4 --overwrite --duration 2)
    say "$("$python" --version): the first clip is painted $((SECONDS - began)) s after the beginning"
    "$venv/bin/pip" -q uninstall -y nst-stream
    left=$(find "$venv" -name '*nst*stream*' -print -quit)
    [ -z "$left" ] || die "removal leaves $left"
done
