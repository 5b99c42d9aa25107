#!/usr/bin/env python3
"""The figures of `nst-stream evaluate`, computed with numpy alone: tests/train/measures.rs compares the
program's with what this wrote.

    python3 -m venv /tmp/reference && /tmp/reference/bin/pip install numpy pillow
    /tmp/reference/bin/python scripts/measures_reference.py --style painting.jpg --photo photo.jpg painted.png
    /tmp/reference/bin/python scripts/measures_reference.py --as-they-are --json \\
        --style tests/data/measures/style.png --photo tests/data/measures/photo.png \\
        tests/data/measures/{painted,noisy,photo}.png > tests/data/measures/reference.json

Pictures are resized as `evaluate` does (photo and painted picture to 320 pixels, the style to 480; a
smaller painted picture stays as it is and the style becomes half as large again), unless --as-they-are.
Written from the definitions, not from the program's code.
"""
import argparse
import json
import math
import pathlib
import struct

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTO, STYLE = 320, 480
MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # BGR
CHAIN = ["1_1", "1_2", "pool", "2_1", "2_2", "pool", "3_1", "3_2", "3_3", "pool", "4_1"]
DIRECTIONS, PATCH, QUANTILES = 64, 7, 512


def read(path):
    """Tensors of a safetensors file, in single precision."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            kind = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
            values = np.frombuffer(data[8 + length + begin:8 + length + end], kind)
            tensors[name] = values.astype(np.float32).reshape(entry["shape"])
    return tensors


def convolution(x, weight, bias):
    """3 x 3 with mirrored borders, then ReLU; x: height x width x channels."""
    height, width, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    y = np.tile(bias, (height * width, 1))
    for i in range(3):
        for j in range(3):
            y += padded[i:i + height, j:j + width].reshape(height * width, -1) @ weight[:, :, i, j].T
    return np.maximum(y, 0).reshape(height, width, -1)


def boxes(x, side):
    """Means of squares; what is left at the right and below is left out."""
    height, width = x.shape[0] // side, x.shape[1] // side
    x = x[:height * side, :width * side]
    return x.reshape(height, side, width, side, *x.shape[2:])


def grams(rgb, vgg):
    """F F^T over the number of places, at the first layer of each block."""
    x = rgb[:, :, ::-1].astype(np.float32) - MEAN
    found = {}
    for name in CHAIN:
        if name == "pool":
            x = boxes(x, 2).max((1, 3))
            continue
        x = convolution(x, vgg[f"conv{name}.weight"], vgg[f"conv{name}.bias"])
        if name.endswith("_1"):
            f = x.reshape(-1, x.shape[2]).astype(np.float64)
            found["relu" + name] = f.T @ f / len(f)
    return found


def split_mix(state):
    """Numbers above 0 and below 1 (Steele, Lea and Flood 2014)."""
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield (((z ^ (z >> 31)) >> 11) + 0.5) / (1 << 53)


def directions():
    """Unit vectors, directions x (3 channels of rows of pixels)."""
    numbers = split_mix(0)
    normal = lambda: math.sqrt(-2 * math.log(next(numbers))) * math.cos(2 * math.pi * next(numbers))
    all_ = np.array([[normal() for _ in range(3 * PATCH * PATCH)] for _ in range(DIRECTIONS)])
    return all_ / np.linalg.norm(all_, axis=1, keepdims=True)


def patches(rgb):
    """Quantiles of the projections of all patches, for each scale."""
    found, along = [], directions()
    for factor in (1, 2, 4, 8):
        x = boxes(rgb.astype(np.float64), factor).mean((1, 3))
        if min(x.shape[:2]) < PATCH:
            break
        windows = np.lib.stride_tricks.sliding_window_view(x, (PATCH, PATCH), (0, 1))
        projected = np.sort(windows.reshape(-1, 3 * PATCH * PATCH) @ along.T, axis=0)
        places = (np.arange(QUANTILES) + 0.5) / QUANTILES * len(projected) - 0.5
        places = places.clip(0, len(projected) - 1)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, len(projected) - 1)
        part = (places - below)[:, None]
        found.append(projected[below] * (1 - part) + projected[above] * part)
    return found


def edges(rgb, side):
    x = boxes(rgb.astype(np.float64) @ [0.299, 0.587, 0.114], side).mean((1, 3))
    return np.abs(np.concatenate([np.diff(x, axis=0).ravel(), np.diff(x, axis=1).ravel()]))


def figures(painted, photo, style, vgg):
    target, untouched = grams(style, vgg), grams(photo, vgg)
    far = lambda found: {name: float(((found[name] - gram) ** 2).sum() / (gram ** 2).sum())
                         for name, gram in target.items()}
    mean = lambda distances: sum(distances.values()) / len(distances)
    layers = far(grams(painted, vgg))
    wanted = patches(style)
    sliced = lambda rgb: np.mean([np.abs(a - b).mean() for a, b in zip(patches(rgb), wanted)])
    readable = [np.corrcoef(edges(painted, side), edges(photo, side))[0, 1] for side in (4, 8, 16)]
    return {
        "style_distance": mean(layers),
        "style_distance_relative": mean(layers) / mean(far(untouched)),
        "style_layers": layers,
        "patch_distance": float(sliced(painted) / sliced(photo)),
        "readability": float(np.mean(readable)),
    }


def opened(path, size=None, exactly=None):
    image = Image.open(path).convert("RGB")
    if size:
        exactly = tuple(math.floor(side * size / min(image.size) + 0.5) for side in image.size)
    if exactly and exactly != image.size:
        # Pillow's bicubic is Catmull and Rom's, which the program takes too.
        image = image.resize(exactly, Image.Resampling.BICUBIC)
    return np.asarray(image)


def main():
    parser = argparse.ArgumentParser(description="The figures of evaluate, by numpy.")
    parser.add_argument("--style", required=True)
    parser.add_argument("--photo", required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--as-they-are", action="store_true", help="resize nothing")
    parser.add_argument("painted", nargs="+")
    options = parser.parse_args()
    vgg = read(ROOT / "models/vgg16.safetensors")
    all_ = {}
    for path in options.painted:
        if options.as_they_are:
            painted, photo, style = opened(path), opened(options.photo), opened(options.style)
        else:
            size = min(PHOTO, *Image.open(path).size)
            painted = opened(path, size)
            photo = opened(options.photo, exactly=painted.shape[1::-1])
            style = opened(options.style, size * STYLE // PHOTO)
        name = pathlib.Path(path).name
        all_[name] = figures(painted, photo, style, vgg)
        if not options.json:
            print(f"{name}: " + ", ".join(f"{key} {value:.4f}" if isinstance(value, float) else
                  " ".join(f"{layer} {d:.4f}" for layer, d in value.items())
                  for key, value in all_[name].items()))
    if options.json:
        print(json.dumps(all_, indent=1))


if __name__ == "__main__":
    main()
