#!/usr/bin/env python3
"""Optical flow on this CPU: the program's against OpenCV's dense inverse search, in one run.

    python3 scripts/bench_flow.py FOLDER [--threads 2]

FOLDER holds pairs with ground truth as Middlebury's are laid out (other-data/NAME/frame10.png and frame11.png,
other-gt-flow/NAME/flow10.flo). Errors are mean end-point errors in pixels; times are the best of fifteen, grey
pictures in memory to a field of the picture's size, averaged over the pairs. OpenCV comes from PyPI into a virtual
environment of its own (target/bench-flow).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import venv

PACKAGES = ["opencv-python-headless==5.0.0.93", "numpy"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
TRIES = 15


def opencv(folder, threads):
    import cv2
    import numpy

    cv2.setNumThreads(threads)
    names = sorted(path.name for path in (folder / "other-gt-flow").iterdir())
    presets = {"medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST}
    for preset, number in presets.items():
        search = cv2.DISOpticalFlow_create(number)
        errors, times = [], []
        for name in names:
            first, second = (
                cv2.imread(str(folder / "other-data" / name / f"frame{n}.png"), cv2.IMREAD_GRAYSCALE) for n in (10, 11)
            )
            data = (folder / "other-gt-flow" / name / "flow10.flo").read_bytes()
            width, height = numpy.frombuffer(data[4:12], "<i4")
            truth = numpy.frombuffer(data[12:], "<f4").reshape(height, width, 2)
            best = float("inf")
            for _ in range(TRIES):
                since = time.perf_counter()
                field = search.calc(first, second, None)
                best = min(best, time.perf_counter() - since)
            known = (abs(truth) < 1e9).all(axis=-1)
            errors.append(float(numpy.sqrt(((field - truth) ** 2).sum(axis=-1))[known].mean()))
            times.append(best * 1e3)
        mean = {"error": sum(errors) / len(errors), "ms": sum(times) / len(times)}
        print(json.dumps({"preset": preset, "errors": errors} | mean))


def environment():
    """Python with OpenCV, in a virtual environment that is made once."""
    home = ROOT / "target/bench-flow"
    python = home / "bin/python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--opencv", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = args.folder.resolve()
    if args.opencv:
        return opencv(folder, args.threads)

    python = environment()
    bench = ["cargo", "bench", "--quiet", "--bench", "flow", "--", "--pairs", folder, "--json", "--threads"]
    ours = subprocess.run([*bench, str(args.threads)], cwd=ROOT, check=True, capture_output=True, text=True)
    theirs = [python, __file__, folder, "--opencv", "--threads", str(args.threads)]
    theirs = subprocess.run(theirs, check=True, capture_output=True, text=True)
    figures = {}
    for line in (ours.stdout + theirs.stdout).splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            figures[row["preset"]] = row
    print(f"{'':24}{'error':>8}{'ms':>8}")
    for mine, other in (("accurate", "medium"), ("live", "fast")):
        for name, row in ((f"nst-stream {mine}", figures[mine]), (f"OpenCV {other}", figures[other])):
            print(f"{name:24}{row['error']:8.3f}{row['ms']:8.1f}")
        print(f"{'':24}{'':8}{figures[mine]['ms'] / figures[other]['ms']:8.2f} of its time")


if __name__ == "__main__":
    sys.exit(main())
