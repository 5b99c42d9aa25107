#!/usr/bin/env python3
"""The optimization of Gatys et al. as PyTorch does it, to time `nst-stream optimize` against: the same
VGG16 and losses (train_reference.py), `torch.optim.LBFGS(line_search_fn="strong_wolfe")`.

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install torch==2.11.0 numpy --index-url https://download.pytorch.org/whl/cpu
    /tmp/reference/bin/python scripts/optimize_reference.py --vgg models/vgg16.safetensors --size 256

Prints seconds an evaluation of loss and gradient, evaluations, steps and losses as JSON. Evaluations are
what to compare: how many a step takes depends on the picture. `--program target/release/nst-stream` runs
ours by turns on the same pictures and adds the ratio; both then have borders of zeros or mirrored ones as
they are by themselves (`--mirror`: PyTorch's mirrored, too, as ours are).
"""
import argparse
import json
import pathlib
import re
import struct
import subprocess
import tempfile
import time
import zlib

import numpy as np
import torch
from torch.nn import functional as F

import train_reference
from train_reference import CHAIN, MEAN, STYLE, Vgg, gram, picture


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


def save_png(values, path):
    """A picture of 1 x 3 x height x width as PNG."""
    _, _, height, width = values.shape
    rows = values[0].permute(1, 2, 0).to(torch.uint8).numpy()
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunk = lambda kind, data: (struct.pack(">I", len(data)) + kind + data
                                + struct.pack(">I", zlib.crc32(kind + data)))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pathlib.Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
                                   + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def optimize(vgg, photo, style, steps, weights=(5.0, 10.0, 1e-4)):
    with torch.no_grad():
        content = vgg(photo, ["conv2_2"])["conv2_2"]
        target = [gram(f) for f in vgg(style, STYLE).values()]
    x = photo.clone().requires_grad_(True)
    pixels = photo.shape[2] * photo.shape[3]
    evaluations, values, times = 0, [], []

    def closure():
        nonlocal evaluations
        began = time.perf_counter()
        evaluations += 1
        optimizer.zero_grad()
        features = vgg(x, STYLE)
        loss = weights[0] * F.mse_loss(features["conv2_2"], content)
        loss = loss + weights[1] * sum(F.mse_loss(gram(f), g) for f, g in zip(features.values(), target))
        tv = (x[:, :, 1:] - x[:, :, :-1]).abs().sum() + (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().sum()
        loss = loss + weights[2] * 65536 / pixels * tv
        loss.backward()
        values.append(loss.item())
        times.append(time.perf_counter() - began)
        return loss

    # Its first step is 1 / (sum of the gradient's absolute values), too short for single precision in
    # pixels of 0-255: the first rate makes it one level, as ours is.
    closure()
    gradient = x.grad.abs()
    rate = (gradient.sum() / gradient.max()).item()
    optimizer = torch.optim.LBFGS([x], lr=1, max_iter=steps, max_eval=100 * steps, history_size=20,
                                  tolerance_change=1e-9, line_search_fn="strong_wolfe")
    del rate
    began = time.perf_counter()
    evaluations = 0
    optimizer.step(closure)
    seconds = time.perf_counter() - began
    done = optimizer.state[optimizer._params[0]]["n_iter"]
    return {"seconds": seconds, "steps": done, "evaluations": evaluations,
            "seconds_an_evaluation": seconds / evaluations, "start": values[0], "loss": min(values)}
