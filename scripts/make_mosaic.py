#!/usr/bin/env python3
"""Draws models/styles/mosaic.jpg, the style picture of the model `mosaic`: a dove over the sea before
the sun, laid in glass. No photograph or painting is in it.

    python3 -m venv /tmp/mosaic && /tmp/mosaic/bin/pip install numpy scipy pillow
    /tmp/mosaic/bin/python scripts/make_mosaic.py models/styles/mosaic.jpg

The cartoon is a map of regions. Pieces are laid as in A. Hausner, "Simulating Decorative Mosaics"
(2001): a Voronoi diagram whose metric is a square, turned along the nearest contour and as large as
its distance from it, moved towards its centres. So rows follow the contours, pieces are small beside
them and large on plain surfaces, and none lies across a contour.
"""
import argparse

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

SIDE = 768
NEIGHBOURS = 12
OTHER_REGION = 1e3  # farther than any piece: none lies in two regions

# Colours of each region: a piece takes one of them, and varies it.
PALETTE = {
    "sky": ["6f9fd0", "7fb0dc", "5f8fc6", "8fbbe0"],
    "night": ["1d3f92", "24489f", "183578", "2e56ad"],
    "dusk": ["3f6fb8", "4a7cc4", "3766ae", "5788c8"],
    "sun": ["f0c24a", "f5d06a", "e6b038", "f8dc8c"],
    "ring": ["d98a24", "cf7a1c", "e29a34"],
    "ray": ["b5302a", "c43c30", "a02622", "cc4a38"],
    "glow": ["f2dfb4", "eed6a2", "f6e8c8", "e8caa0"],
    "body": ["f3ead6", "ece0c8", "f8f2e4", "e4d8c2"],
    "wing": ["c9c6c2", "b8b6b6", "d6d2cc", "aaa9ac"],
    "feather": ["8e9096", "7d8088", "9c9da2"],
    "tip": ["565a66", "4a4e5a", "646874"],
    "beak": ["d06a2a"],
    "eye": ["1e1c22"],
    "leaf": ["5c7f3e", "4d7034", "6d8f4a"],
    "hill": ["dca988", "e6b896", "d09a78", "eac4a6"],
    "slope": ["b97a58", "c68866", "a96a4a"],
    "shade": ["8a4f3c", "7a4434", "96583f"],
    "sea": ["1c5a86", "246894", "174e78", "2f76a2"],
    "wave": ["3f93ae", "4fa4ba", "3585a2"],
    "foam": ["dfe8e6", "cfdcdc", "eef2ee"],
    "poppy": ["a81e22", "bc2a2a", "921820"],
    "heart": ["2a1a20"],
}
NAMES = list(PALETTE)


def colour(text):
    return np.array([int(text[n:n + 2], 16) for n in (0, 2, 4)], float)


def curve(*points, steps=24):
    """A closed smooth line through points (Catmull-Rom)."""
    p = np.array(points, float)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    line = []
    for n in range(len(p)):
        a, b, c, d = (p[(n + k) % len(p)] for k in (-1, 0, 1, 2))
        line.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t ** 2
                           + (3 * b - a - 3 * c + d) * t ** 3))
    return np.concatenate(line)


def cartoon(side):
    """The region of each pixel. Coordinates are those of a picture of 768 pixels."""
    image = Image.new("L", (side, side), NAMES.index("dusk"))
    draw = ImageDraw.Draw(image)
    scale = side / SIDE

    def fill(name, line):
        draw.polygon([tuple(point) for point in np.asarray(line) * scale], fill=NAMES.index(name))

    def disc(name, x, y, radius):
        draw.ellipse([(x - radius) * scale, (y - radius) * scale, (x + radius) * scale,
                      (y + radius) * scale], fill=NAMES.index(name))

    # Sky: bands around the sun.
    sun = (548, 236)
    for name, radius in [("night", 900), ("dusk", 452), ("night", 396), ("dusk", 340), ("sky", 286)]:
        disc(name, *sun, radius)
    for n in range(16):
        angle = 2 * np.pi * n / 16
        reach = 252 if n % 2 == 0 else 210
        at = lambda turn, length: (sun[0] + length * np.cos(angle + turn),
                                   sun[1] + length * np.sin(angle + turn))
        fill("ray" if n % 2 == 0 else "ring", [at(-0.13, 128), at(0, reach), at(0.13, 128)])
    disc("glow", *sun, 146)
    disc("ring", *sun, 112)
    disc("sun", *sun, 94)
    # Hills.
    fill("slope", curve((-120, 610), (40, 508), (190, 492), (330, 560), (470, 640), (470, 900), (-120, 900)))
    fill("hill", curve((-140, 660), (60, 556), (210, 566), (330, 622), (400, 700), (300, 900), (-140, 900)))
    fill("slope", curve((900, 560), (740, 520), (640, 556), (560, 620), (600, 900), (900, 900)))
    fill("hill", curve((900, 600), (780, 572), (690, 600), (620, 660), (660, 900), (900, 900)))
    # The sea, and its waves.
    fill("sea", [(-10, 646), (780, 646), (780, 780), (-10, 780)])
    for n, (name, top) in enumerate([("wave", 652), ("foam", 676), ("sea", 688), ("wave", 712), ("foam", 734),
                                     ("sea", 744)]):
        x = np.linspace(-10, 780, 120)
        y = top + 9 * np.sin(x / 46 + 1.7 * (n // 3)) + 4 * np.sin(x / 21 + n // 3)
        fill(name, np.concatenate([np.stack([x, y], 1), [[780, 790], [-10, 790]]]))
    # The dove: far wing, tail, body, near wing in rows of feathers.
    fill("tip", curve((318, 322), (352, 190), (420, 70), (446, 66), (452, 150), (432, 250), (400, 344)))
    fill("feather", curve((322, 322), (350, 216), (404, 112), (420, 150), (414, 236), (392, 340)))
    fill("wing", curve((326, 322), (346, 246), (386, 172), (394, 232), (382, 330)))
    for line, name in [(((158, 416), (64, 396), (18, 424), (60, 452), (160, 456)), "feather"),
                       (((160, 432), (60, 440), (22, 478), (76, 490), (170, 474)), "tip"),
                       (((176, 440), (92, 482), (66, 524), (118, 522), (196, 478)), "feather")]:
        fill(name, curve(*line))
    fill("body", curve((150, 436), (230, 362), (330, 316), (408, 300), (452, 262), (496, 252), (524, 276),
                       (522, 312), (496, 350), (448, 410), (370, 462), (270, 486), (190, 474)))
    fill("beak", [(520, 282), (558, 300), (521, 306)])
    disc("eye", 497, 282, 7)
    near = [("tip", 1.0), ("feather", 0.8), ("wing", 0.62), ("body", 0.42)]
    root = np.array([330, 392])
    wing = curve((400, 362), (370, 250), (296, 120), (190, 40), (112, 30), (132, 96), (160, 190), (196, 296), (258, 396),
                 (330, 430))
    for name, part in near:
        fill(name, root + (wing - root) * np.array([part, part]))
    # A branch in its beak, and poppies on the shore.
    for n, (x, y, turn) in enumerate([(566, 318, 0.5), (588, 338, 1.2), (582, 306, -0.2), (610, 358, 0.7), (612, 328, 0.1)]):
        along = np.array([np.cos(turn), np.sin(turn)])
        across = np.array([-along[1], along[0]])
        middle = np.array([x, y])
        fill("leaf", curve(middle - 20 * along, middle + 8 * across, middle + 22 * along, middle - 8 * across))
    for x, y, radius in [(92, 622, 33), (188, 640, 27), (692, 640, 31), (256, 606, 20), (748, 606, 22), (28, 590, 20)]:
        fill("leaf", curve((x - 5, y), (x + 4, y + 40), (x - 2, 790), (x - 10, 790), (x - 12, y + 40)))
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        wavy = radius * (1 + 0.13 * np.cos(5 * angles))
        fill("poppy", np.stack([x + wavy * np.cos(angles), y + 0.85 * wavy * np.sin(angles)], 1))
        disc("heart", x, y, radius * 0.3)
    return np.asarray(image)


def contours(regions):
    """For each pixel, how far the nearest contour is, and its direction as an angle."""
    edge = np.zeros(regions.shape, bool)
    edge[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    edge[1:] |= regions[1:] != regions[:-1]
    distance = distance_transform_edt(~edge)
    smooth = gaussian_filter(distance, regions.shape[0] / 160)
    down, right = np.gradient(smooth)
    # Directions are the same turned by 90 degrees, so they are averaged four times as far.
    angle = np.arctan2(down, right)
    turn = np.exp(4j * angle) * (np.hypot(down, right) + 1e-3)
    wide = regions.shape[0] / 130
    turn = gaussian_filter(turn.real, wide) + 1j * gaussian_filter(turn.imag, wide)
    return distance, np.angle(turn) / 4


def nearest(pixels, regions, sites):
    """The nearest and second nearest piece of each pixel, and both distances."""
    places, angles, sizes, owners = sites
    k = min(NEIGHBOURS, len(places))
    _, found = cKDTree(places).query(pixels, k=k, workers=-1)
    offset = pixels[:, None] - places[found]
    cos, sin = np.cos(angles[found]), np.sin(angles[found])
    u = np.abs(offset[..., 0] * cos + offset[..., 1] * sin)
    v = np.abs(-offset[..., 0] * sin + offset[..., 1] * cos)
    # Between a square and a circle: corners of real pieces are blunt.
    far = (u ** 5 + v ** 5) ** 0.2 / sizes[found] + OTHER_REGION * (owners[found] != regions[:, None])
    order = np.argsort(far, 1)[:, :2]
    pick = lambda values: np.take_along_axis(values, order, 1)
    return pick(found), pick(far)


def lay(regions, distance, angle, random, rounds):
    """Places, angles, sizes and regions of the pieces; coordinates are those of the map's pixels."""
    side = regions.shape[0]
    unit = side / SIDE
    # Half a piece's width: small beside a contour, large on plain surfaces.
    size = unit * np.clip(4.1 + 0.21 * distance / unit, 4.1, 13.5)
    chance = 1 / (2.15 * size) ** 2
    picked = random.random(regions.shape) < chance
    places = np.argwhere(picked)[:, ::-1].astype(float) + random.uniform(-0.5, 0.5, (picked.sum(), 2))
    yy, xx = np.mgrid[0:side, 0:side]
    pixels, flat = np.stack([xx.ravel(), yy.ravel()], 1).astype(float), regions.ravel()

    def sites(places):
        x, y = np.clip(places.round().astype(int), 0, side - 1).T
        return places, angle[y, x], size[y, x], regions[y, x]

    for _ in range(rounds):
        found, far = nearest(pixels, flat, sites(places))
        inside = far[:, 0] < OTHER_REGION
        owner, inner = found[inside, 0], pixels[inside]
        count = np.bincount(owner, minlength=len(places))
        middle = np.stack([np.bincount(owner, inner[:, n], len(places)) for n in (0, 1)], 1)
        keep = count > 0.2 * unit ** 2
        places = middle[keep] / count[keep][:, None]
    # What no piece reaches, in corners, gets pieces of its own.
    found, far = nearest(pixels, flat, sites(places))
    bare = np.flatnonzero(far[:, 0] >= OTHER_REGION)
    extra = []
    for n in random.permutation(bare):
        if all(abs(pixels[n] - other).max() > 5 * unit for other in extra):
            extra.append(pixels[n])
    return sites(np.concatenate([places, np.array(extra).reshape(-1, 2)]))


def draw(side, rounds, seed):
    random = np.random.default_rng(seed)
    small = cartoon(side)
    distance, angle = contours(small)
    places, angles, sizes, owners = lay(small, distance, angle, random, rounds)
    # Painted at twice the size, then halved.
    large = 2 * side
    regions = cartoon(large)
    yy, xx = np.mgrid[0:large, 0:large]
    pixels = np.stack([xx.ravel(), yy.ravel()], 1) / 2 - 0.25
    found, far = nearest(pixels, regions.ravel(), (places, angles, sizes, owners))
    piece = found[:, 0].reshape(large, large)
    gap = (np.minimum(far[:, 1], 4) - far[:, 0]).reshape(large, large) * sizes[piece]
    # Joints between regions: where the second nearest piece is another region's, the contour itself.
    edge = np.zeros(piece.shape, bool)
    edge[:, 1:] |= piece[:, 1:] != piece[:, :-1]
    edge[1:] |= piece[1:] != piece[:-1]
    gap = np.minimum(gap, distance_transform_edt(~edge) * side / large * 1.1)

    shades = {n: np.array([colour(c) for c in PALETTE[name]]) for n, name in enumerate(NAMES)}
    colours = np.empty((len(places), 3))
    for n, owner in enumerate(owners):
        base = shades[owner][random.integers(len(shades[owner]))]
        colours[n] = base * random.normal(1, 0.07) + random.normal(0, 5, 3)
    tilt = random.normal(0, 1, (len(places), 2))
    image = colours[piece]
    local = (pixels.reshape(large, large, 2) - places[piece]) / sizes[piece][..., None]
    image *= (1 + 0.075 * (local * tilt[piece]).sum(-1))[..., None]  # each piece lies a little askew
    image += gaussian_filter(random.normal(0, 1, piece.shape), 2.5)[..., None] * 30  # streaks in the glass
    light = np.clip((local * [-0.6, -0.8]).sum(-1), -1, 1)
    bevel = np.clip(gap / 2.6, 0, 1)
    image += ((1 - bevel) * light * 46)[..., None]
    joint = np.clip((gap - 0.75) / 0.7, 0, 1)[..., None]
    mortar = np.array([62., 54, 52]) + gaussian_filter(random.normal(0, 1, piece.shape), 1)[..., None] * 30
    image = image * joint + mortar * (1 - joint)
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    return picture.resize((side, side), Image.LANCZOS)


def main():
    parser = argparse.ArgumentParser(description="Draws the style picture of the model mosaic.")
    parser.add_argument("output")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--rounds", type=int, default=22, help="how often pieces move to their centres")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    draw(options.side, options.rounds, options.seed).save(options.output, quality=93)


if __name__ == "__main__":
    main()
