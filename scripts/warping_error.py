#!/usr/bin/env python3
"""The figures of `evaluate --video` beside the same measure by another program's optical flow.

    python3 scripts/warping_error.py --program target/release/nst-stream --model starry-night-lite CLIP...

Each clip is painted frame by frame; the frame before is moved along the flow of the source, and compared where
forward and backward flow agree (Ruder et al. 2016, equation 8). The flow is OpenCV's dense inverse search, preset
medium, from PyPI in a virtual environment of its own (target/bench-flow). Exit status: 0 when the warping errors,
painted, of all clips are within 10 % of each other, else 1.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import bench_flow

WITHIN = 0.10


def opencv(folder):
    import cv2
    import numpy

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def seen_along(picture, field, kernel=cv2.INTER_LANCZOS4):
        y, x = numpy.mgrid[0 : field.shape[0], 0 : field.shape[1]].astype(numpy.float32)
        return cv2.remap(picture, x + field[..., 0], y + field[..., 1], kernel, borderMode=cv2.BORDER_REPLICATE)

    def agree(field, other):
        """Pixels that both pictures show."""
        there = seen_along(other, field, cv2.INTER_LINEAR)
        apart = ((field + there) ** 2).sum(axis=-1)
        y, x = numpy.mgrid[0 : field.shape[0], 0 : field.shape[1]]
        px, py = x + field[..., 0], y + field[..., 1]
        inside = (px >= 0) & (py >= 0) & (px <= field.shape[1] - 1) & (py <= field.shape[0] - 1)
        return inside & (apart <= 0.01 * ((field**2).sum(axis=-1) + (there**2).sum(axis=-1)) + 0.5)

    sums, before = {"source": [0.0, 0], "painted": [0.0, 0]}, None
    for path in sorted((folder / "source").glob("*.png")):
        now = {kind: cv2.imread(str(folder / kind / path.name)).astype(numpy.float32) for kind in sums}
        now["grey"] = cv2.cvtColor(now["source"].astype(numpy.uint8), cv2.COLOR_BGR2GRAY)
        if before is not None:
            forward = search.calc(before["grey"], now["grey"], None)
            backward = search.calc(now["grey"], before["grey"], None)
            seen = agree(backward, forward)
            for kind, sum_of in sums.items():
                apart = (now[kind] - seen_along(before[kind], backward))[seen] / 255
                sum_of[0] += float((apart**2).sum())
                sum_of[1] += apart.size
        before = now
    print(json.dumps({kind: (total / max(count, 1)) ** 0.5 for kind, (total, count) in sums.items()}))


def main():
    if sys.argv[1:2] == ["--opencv"]:
        return opencv(pathlib.Path(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", type=pathlib.Path, default=bench_flow.ROOT / "target/release/nst-stream")
    parser.add_argument("--model", default="starry-night-lite")
    parser.add_argument("clips", type=pathlib.Path, nargs="+")
    args = parser.parse_args()
    python = bench_flow.environment()

    def program(*words):
        return subprocess.run([args.program, *words], check=True, capture_output=True, text=True).stdout

    print(f"{'clip':24} {'painted':>9} {'OpenCV':>9} {'source':>9} {'OpenCV':>9}")
    bad = False
    for clip in args.clips:
        ours = json.loads(program("evaluate", "--model", args.model, "--video", clip, "--json"))["clips"][0]
        with tempfile.TemporaryDirectory() as name:
            for kind, strength in (("source", "0"), ("painted", "1")):
                folder = pathlib.Path(name, kind)
                folder.mkdir()
                program("--model", args.model, "--input", clip, "--strength", strength, "--steady", "0", "--output", folder / "%06d.png")
            theirs = subprocess.run([python, __file__, "--opencv", name], check=True, capture_output=True, text=True)
        theirs = json.loads(theirs.stdout)
        painted = ours["warping_error"], theirs["painted"]
        source = ours["source"]["warping_error"], theirs["source"]
        apart = abs(painted[0] / painted[1] - 1) > WITHIN
        bad |= apart
        figures = " ".join(f"{value:9.4f}" for value in (*painted, *source))
        print(f"{clip.name:24} {figures}{'  differ by more than a tenth' if apart else ''}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
