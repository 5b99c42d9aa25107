#!/usr/bin/env python3
"""The optimization of Gatys et al. as PyTorch does it, timed against `nst-stream optimize`: the same VGG16
and losses (train_reference.py) with mirrored borders, `torch.optim.LBFGS(line_search_fn="strong_wolfe")`.

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install torch==2.11.0 numpy pillow
    /tmp/reference/bin/python scripts/optimize_reference.py --program target/release/nst-stream \\
        --content photo.jpg --style models/styles/mosaic.jpg --size 256 --steps 20 --rounds 3

Both run by turns. Prints seconds an evaluation of loss and gradient, which is what to compare: how many a
step takes depends on the picture. Ours are taken between two lengths of run, so that the start of the
process does not count.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from train_reference import CHAIN, MEAN, STYLE, Vgg, gram


class Mirrored(Vgg):
    """With mirrored borders in place of zeros."""

    def __call__(self, x, wanted):
        x = (x.flip(1) - MEAN).contiguous(memory_format=torch.channels_last).to(self.kind)
        found = {}
        for name in CHAIN:
            if name == "pool":
                x = F.max_pool2d(x, 2, 2)
                continue
            x = F.pad(x, (1, 1, 1, 1), mode="reflect")
            x = F.relu(F.conv2d(x, self.tensors[name + ".weight"], self.tensors[name + ".bias"]))
            if name in wanted:
                found[name] = x
            if len(found) == len(wanted):
                break
        return found


def opened(path, size):
    """A picture whose shorter side is `size`: 1 x 3 x height x width, RGB 0-255."""
    image = Image.open(path).convert("RGB")
    factor = size / min(image.size)
    image = image.resize([round(side * factor) for side in image.size], Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None].contiguous()


def optimize(vgg, photo, style, steps, weights=(5.0, 10.0, 1e-4)):
    """Seconds an evaluation, and the lowest loss."""
    with torch.no_grad():
        content = vgg(photo, ["conv2_2"])["conv2_2"]
        target = [gram(f) for f in vgg(style, STYLE).values()]
    x = photo.clone().requires_grad_(True)
    pixels = photo.shape[2] * photo.shape[3]
    optimizer = torch.optim.LBFGS([x], max_iter=steps, max_eval=100 * steps, history_size=20,
                                  tolerance_change=0, tolerance_grad=0, line_search_fn="strong_wolfe")
    values = []

    def closure():
        optimizer.zero_grad()
        features = vgg(x, STYLE)
        loss = weights[0] * F.mse_loss(features["conv2_2"], content)
        loss = loss + weights[1] * sum(F.mse_loss(gram(f), g) for f, g in zip(features.values(), target))
        tv = (x[:, :, 1:] - x[:, :, :-1]).abs().sum() + (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().sum()
        loss = loss + weights[2] * 256 * 256 / pixels * tv
        loss.backward()
        values.append(loss.item())
        return loss

    began = time.perf_counter()
    optimizer.step(closure)
    return (time.perf_counter() - began) / len(values), min(values)


def program(arguments, steps, folder):
    """Seconds, evaluations and the last loss of a run of ours."""
    began = time.perf_counter()
    run = subprocess.run([arguments.program, "optimize", "--content", arguments.content, "--style", arguments.style,
                          "--output", folder / "out.png", "--overwrite", "--device", "cpu", "--levels", "1",
                          "--size", str(arguments.size), "--steps", str(steps)],
                         check=True, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    found = re.search(r"(\d+) evaluations; loss ([\d.e+-]+)", run.stderr)
    return seconds, int(found[1]), float(found[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--content", required=True)
    parser.add_argument("--style", required=True)
    parser.add_argument("--vgg", default="models/vgg16.safetensors")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    vgg = Mirrored(arguments.vgg)
    photo, style = (opened(path, arguments.size) for path in (arguments.content, arguments.style))
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            seconds, loss = optimize(vgg, photo, style, arguments.steps)
            theirs.append(seconds)
            short, long = (program(arguments, steps, pathlib.Path(folder)) for steps in (2, arguments.steps + 2))
            ours.append((long[0] - short[0]) / (long[1] - short[1]))
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(json.dumps({"seconds_an_evaluation": ours, "pytorch": theirs, "ratio": ours / theirs,
                      "loss": long[2], "pytorch_loss": loss}, indent=1))


main()
