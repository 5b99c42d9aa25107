#!/usr/bin/env python3
"""Twenty pictures that any-lite never saw, and a photo in the style of each: docs/styles.jpg.

    venv/bin/pip install pillow
    venv/bin/python experiments/styles/gallery.py --paintings FOLDER --photo PHOTO --output docs/styles.jpg

Twelve are paintings of unseen.txt, which are not part of this repository and are named beneath; eight are drawn here or
lie in experiments/photos and models/styles, and are shown in the corner.
"""
import argparse
import math
import random
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

ROOT = Path(__file__).resolve().parent.parent.parent
SIDE = 232
PAINTINGS = {
    "khnopff-0001.jpg": "Khnopff, An Angel",
    "denis-0001.jpg": "Denis, Ulysses with Calypso",
    "leyendecker-0001.jpg": "Leyendecker, poster",
    "hokusai-0002.jpg": "Hokusai, canal",
    "greco-0002.jpg": "El Greco, View of Toledo",
    "pissarro-0016.jpg": "Pissarro, orchard",
    "renoir-0008.jpg": "Renoir, Fruits",
    "cook-0001.jpg": "Cook, Leaves of Grass",
    "lear-0003.jpg": "Lear, ink drawing",
    "potter-0024.jpg": "Potter, watercolour",
    "alejo-0001.jpg": "Master Alejo, Saints",
    "vallotton-0001.jpg": "Vallotton, woodcut",
}


def bricks():
    picture = Image.new("RGB", (480, 480), (205, 196, 180))
    draw, dice = ImageDraw.Draw(picture), random.Random(1)
    for row in range(16):
        for column in range(-1, 8):
            x, y = column * 64 + row % 2 * 32, row * 30
            tone = dice.randint(-25, 25)
            draw.rectangle((x + 3, y + 3, x + 60, y + 26), fill=(160 + tone, 72 + tone // 2, 52 + tone // 3))
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def wood():
    picture = Image.new("RGB", (480, 480))
    for y in range(480):
        for x in range(480):
            bent = x + 26 * math.sin(y / 90) + 9 * math.sin(y / 23 + x / 60)
            ring = math.sin(bent / 7) * 0.5 + math.sin(bent / 2.3) * 0.2
            picture.putpixel((x, y), tuple(round(v + 34 * ring) for v in (150, 98, 52)))
    return picture


def weave():
    picture = Image.new("RGB", (480, 480))
    for y in range(480):
        for x in range(480):
            over = (x // 16 + y // 16) % 2
            light = math.sin((x % 16 if over else y % 16) / 16 * math.pi)
            color = (44, 92, 150) if over else (226, 214, 180)
            picture.putpixel((x, y), tuple(round(v * (0.45 + 0.55 * light)) for v in color))
    return picture


def bubbles():
    picture = Image.new("RGB", (480, 480), (16, 60, 78))
    draw, dice = ImageDraw.Draw(picture), random.Random(4)
    for _ in range(420):
        x, y, r = dice.randrange(480), dice.randrange(480), dice.choice((5, 8, 12, 20, 32))
        tone = dice.randint(0, 60)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(40 + tone, 130 + tone, 150 + tone), outline=(220, 240, 240), width=2)
    return picture


def child():
    """As a child draws with wax crayons: a house, a sun, a tree, two people."""
    picture = Image.new("RGB", (480, 480), (250, 248, 240))
    draw, dice = ImageDraw.Draw(picture), random.Random(7)

    def line(points, color, width=7):
        for _ in range(2):
            shaken = [(x + dice.gauss(0, 2), y + dice.gauss(0, 2)) for x, y in points]
            draw.line(shaken, fill=color, width=width, joint="curve")

    def scribble(box, color):
        left, top, right, bottom = box
        for y in range(top, bottom, 9):
            line([(left, y), (right, y + 7)], color, 5)

    scribble((0, 395, 480, 480), (60, 160, 60))
    scribble((90, 230, 250, 390), (220, 60, 50))
    line([(90, 230), (250, 230), (250, 390), (90, 390), (90, 230)], (60, 40, 30))
    line([(75, 232), (170, 150), (265, 232)], (120, 60, 30), 10)
    scribble((150, 310, 190, 390), (90, 60, 40))
    scribble((105, 255, 140, 290), (80, 150, 230))
    for turn in range(12):
        angle = turn * math.pi / 6
        line([(400 + 44 * math.cos(angle), 80 + 44 * math.sin(angle)), (400 + 78 * math.cos(angle), 80 + 78 * math.sin(angle))], (250, 190, 30))
    scribble((370, 52, 430, 108), (250, 200, 40))
    line([(360, 395), (360, 270)], (120, 80, 40), 16)
    scribble((315, 190, 405, 280), (50, 150, 60))
    for x, color in ((290, (40, 80, 200)), (440, (200, 60, 160))):
        draw.ellipse((x - 14, 300, x + 14, 328), outline=(60, 40, 30), width=5)
        line([(x, 328), (x, 370), (x - 16, 400)], color)
        line([(x, 370), (x + 16, 400)], color)
        line([(x - 22, 350), (x + 22, 342)], color)
    scribble((0, 5, 300, 60), (110, 170, 240))
    return picture


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nst", default=str(ROOT / "target/release/nst-stream"))
    parser.add_argument("--model", default="any-lite")
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    photo = Image.open(args.photo).convert("RGB")
    scale = 448 / min(photo.size)
    photo = photo.resize([round(side * scale) for side in photo.size], Image.LANCZOS)
    photo.save(folder / "photo.png")
    styles = [(args.paintings / name, text, False) for name, text in PAINTINGS.items()]
    for text, draw in (("bricks", bricks), ("wood", wood), ("a weave", weave), ("bubbles", bubbles), ("a child's drawing", child)):
        draw().save(folder / f"{draw.__name__}.png")
        styles.append((folder / f"{draw.__name__}.png", text, True))
    shown = {"models/styles/mosaic.jpg": "a mosaic", "experiments/photos/coffee.jpg": "a photo of coffee",
             "experiments/photos/astronaut.jpg": "a photo of a face"}
    styles += [(ROOT / path, text, True) for path, text in shown.items()]
    height = round(SIDE * photo.height / photo.width)
    columns, beneath = 5, 22
    rows = math.ceil(len(styles) / columns)
    sheet = Image.new("RGB", (columns * (SIDE + 6) - 6, rows * (height + beneath)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for n, (style, text, inset) in enumerate(styles):
        out = folder / "out.png"
        subprocess.run([args.nst, "-q", "--model", args.model, "--style", style, "--input", folder / "photo.png",
                        "--output", out, "--overwrite"], check=True)
        painted = Image.open(out).convert("RGB").resize((SIDE, height), Image.LANCZOS)
        if inset:
            small = Image.open(style).convert("RGB")
            small.thumbnail((64, 64))
            painted.paste(small, (SIDE - small.width, height - small.height))
        x, y = n % columns * (SIDE + 6), n // columns * (height + beneath)
        sheet.paste(painted, (x, y))
        draw.text((x + 2, y + height + 3), text, fill=(40, 40, 40), font=font)
    sheet.save(args.output, quality=85)


if __name__ == "__main__":
    main()
