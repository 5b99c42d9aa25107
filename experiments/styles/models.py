#!/usr/bin/env python3
"""The shipped models on four photos: docs/lite.jpg. Two models in a row, the large one of a style left of the lite one;
beneath them the styles of the gallery.

    venv/bin/pip install pillow
    venv/bin/python experiments/styles/models.py --photos astronaut.png cat.png coffee.png rocket.jpg --output docs/lite.jpg
"""
import argparse
import subprocess
import tempfile
import tomllib
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent.parent
SIDE, GAP, BENEATH = 150, 4, 20


def square(photo, folder, n):
    """The middle of a photo as it is painted: 300 × 300 pixels, shown at half that size."""
    picture = Image.open(photo).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((2 * SIDE, 2 * SIDE), Image.LANCZOS)
    picture.save(folder / f"{n}.png")
    return folder / f"{n}.png"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nst", default=str(ROOT / "target/release/nst-stream"))
    parser.add_argument("--photos", type=Path, nargs=4, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    photos = [square(photo, folder, n) for n, photo in enumerate(args.photos)]
    manifest = tomllib.loads((ROOT / "models/manifest.toml").read_text())
    painting = [model for model in manifest["model"] if model["role"] == "style"]
    names = [(model["name"], None) for model in painting if len(model["style"]) == 1]
    names += [None] * (len(names) % 2)
    names += [(model["name"], style["name"]) for model in painting for style in model["style"] if "name" in style]
    width, height = len(photos) * (SIDE + GAP), SIDE + BENEATH
    sheet = Image.new("RGB", (2 * width - GAP, (len(names) + 1) // 2 * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for n, name in enumerate(names):
        if name is None:
            continue
        x, y = n % 2 * width, n // 2 * height
        model, style = name
        chosen = ["--model", model, *(["--blend", style] if style else [])]
        for photo in photos:
            out = folder / "out.png"
            subprocess.run([args.nst, "-q", *chosen, "--input", photo, "--output", out, "--overwrite"], check=True)
            sheet.paste(Image.open(out).convert("RGB").resize((SIDE, SIDE), Image.LANCZOS), (x, y))
            x += SIDE + GAP
        middle = n % 2 * width + (width - GAP) // 2
        draw.text((middle, y + SIDE + 2), f"{model}: {style}" if style else model, fill=(20, 20, 20), font=font, anchor="ma")
    sheet.save(args.output, quality=85)


if __name__ == "__main__":
    main()
