#!/usr/bin/env bash
# The network on this GPU, checked and timed against PyTorch: one command, the whole table.
#
#   benches/gpu/run.sh [--write BENCHMARKS.md] [what compare.py --help lists]
#
# Needs Linux on x86-64, a Python with PyTorch 2.11 for CUDA, numpy, Pillow and safetensors (PYTHON=python3), and
# the program, whose own kernels it switches on by itself; neither Rust nor GStreamer when it was built without media, as on another machine by
#
#   cargo build --release --no-default-features --target-dir target/no-media
#   strip -o nst-stream-gpu target/no-media/release/nst-stream
#
# and handed over by PROGRAM=./nst-stream-gpu (default: target/release/nst-stream). It runs on the libtorch of
# that PyTorch.
set -euo pipefail
cd -P "$(dirname "$0")/../.."

python=${PYTHON:-python3}
program=${PROGRAM:-target/release/nst-stream}
die() { echo "run.sh: error: $*" >&2; exit 1; }

[ -x "$program" ] || die "'$program' is missing: PROGRAM= names the program, \`make build\` makes it"
found=$("$python" -c 'import torch; print(torch.__version__, torch.__path__[0])') ||
    die "'$python' has no PyTorch: PYTHON= names one that has"
case $found in
    2.11.*) ;;
    *) die "PyTorch ${found%% *}: the program is built for 2.11" ;;
esac
# Where the program was built on another machine, its own run-time path leads nowhere.
export LD_LIBRARY_PATH=${found#* }/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
"$program" --version >/dev/null || die "'$program' does not start: on a machine without GStreamer it must be built without media"
exec "$python" benches/gpu/compare.py --program "$program" "$@"
