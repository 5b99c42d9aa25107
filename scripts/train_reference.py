#!/usr/bin/env python3
"""Training as PyTorch does it: the losses tests/train.rs compares with, and the step benches/train.rs
is timed against.

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install torch==2.11.0 numpy --index-url https://download.pytorch.org/whl/cpu
    /tmp/reference/bin/python scripts/train_reference.py --vgg models/vgg16.safetensors \\
        --losses tests/data/train-reference.safetensors

`--bench johnson|lite|optimize` prints the seconds of the quickest step and peak memory as JSON, at PyTorch's best: channels last, no
gradients for the loss network's weights, photos' features no deeper than needed, and with
`--precision bf16` autocast for the network and a bf16 loss network.

Written from the papers and the published examples, not from our own code.
"""
import argparse
import json
import pathlib
import resource
import struct
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import reference

CHAIN = ["conv1_1", "conv1_2", "pool", "conv2_1", "conv2_2", "pool", "conv3_1", "conv3_2", "conv3_3",
         "pool", "conv4_1", "conv4_2", "conv4_3"]
STYLE = ["conv1_2", "conv2_2", "conv3_3", "conv4_3"]
MEAN = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)


def read(path):
    """Tensors of a safetensors file, in single precision."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            kind = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
            values = np.frombuffer(data[8 + length + begin:8 + length + end], kind)
            tensors[name] = torch.from_numpy(values.astype(np.float32).reshape(entry["shape"]))
    return tensors


class Vgg:
    """The Caffe release: takes RGB 0-255, turns it to BGR minus the mean."""

    def __init__(self, path, kind=torch.float32):
        self.kind = kind
        place = lambda v: v.to(kind, memory_format=torch.channels_last) if v.dim() == 4 else v.to(kind)
        self.tensors = {name: place(value) for name, value in read(path).items()}

    def __call__(self, x, wanted):
        x = (x.flip(1) - MEAN).contiguous(memory_format=torch.channels_last).to(self.kind)
        found = {}
        for name in CHAIN:
            if name == "pool":
                x = F.max_pool2d(x, 2, 2)
                continue
            x = F.relu(F.conv2d(x, self.tensors[name + ".weight"], self.tensors[name + ".bias"], padding=1))
            if name in wanted:
                found[name] = x
            if len(found) == len(wanted):
                return found
        return found


def gram(features):
    batch, channels, height, width = features.shape
    f = features.float().reshape(batch, channels, height * width)
    return f @ f.transpose(1, 2) / (channels * height * width)


def picture(batch, height, width, seed):
    """Waves and noise, RGB 0-255."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * random.uniform(0.1, 1) + y * random.uniform(0.1, 1) + n) for n in range(3 * batch)]
    values = 127 + 90 * np.array(waves).reshape(batch, 3, height, width)
    values = values + random.normal(0, 20, values.shape)
    return torch.from_numpy(values.clip(0, 255).round().astype(np.float32))


def losses(vgg, out):
    """Terms and the gradient at the output, for a batch that is not square."""
    photo, painted, style = picture(2, 40, 56, 1), picture(2, 40, 56, 2), picture(1, 48, 64, 3)
    tensors = {"photo": photo, "painted": painted, "style": style}
    target = {name: gram(f) for name, f in vgg(style, STYLE).items()}

    def case(name, content, weights, layer_weights, form, tv_of):
        y = painted.clone().requires_grad_(True)
        features, photo_features = vgg(y, set(STYLE) | {content}), vgg(photo, {content})
        c = weights[0] * F.mse_loss(features[content], photo_features[content])
        s = 0
        for layer, weight in zip(STYLE, layer_weights):
            difference = gram(features[layer]) - target[layer]
            if form == "paper":
                # The paper's Gram matrix is larger by the number of channels, N.
                n = difference.shape[1]
                s = s + weight * ((difference * n) ** 2).sum(dim=(1, 2)).mean() / (4 * n ** 2)
            else:
                s = s + weight * (difference ** 2).mean()
        down, right = y[:, :, 1:] - y[:, :, :-1], y[:, :, :, 1:] - y[:, :, :, :-1]
        tv = weights[2] * tv_of(down, right) / y.shape[0]
        (c + weights[1] * s + tv).backward()
        tensors[name + ".terms"] = torch.tensor([c.item(), (weights[1] * s).item(), tv.item()])
        tensors[name + ".gradient"] = y.grad

    absolute = lambda a, b: a.abs().sum() + b.abs().sum()
    squared = lambda a, b: ((a ** 2).sum() + (b ** 2).sum()) / 2
    case("mean", "conv2_2", (5.0, 10.0, 10.0), (1, 1, 1, 1), "mean", absolute)
    case("paper", "conv3_3", (2.0, 1e-3, 0.5), (0.25, 1, 2, 0.5), "paper", squared)
    data, head = b"", {}
    for name, value in tensors.items():
        raw = value.detach().numpy().astype(np.float32).tobytes()
        head[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(out).write_bytes(struct.pack("<Q", len(text)) + text + data)


class Lite(nn.Module):
    """The small network: halves at once, doubles at last."""

    def __init__(self, widths=(16, 48), blocks=4):
        super().__init__()
        a, b = widths
        self.inner = nn.Sequential(
            reference.Conv(3, a, 5, 2), nn.InstanceNorm2d(a, affine=True), nn.ReLU(),
            reference.Conv(a, b, 3, 2), nn.InstanceNorm2d(b, affine=True), nn.ReLU(),
            *[reference.Residual(b) for _ in range(blocks)],
            reference.Conv(b, a, 3, up=2), nn.InstanceNorm2d(a, affine=True), nn.ReLU(),
            reference.Conv(a, 3, 5, up=2))

    def forward(self, x):
        return self.inner(x)


def bench(path, what, batch, size, steps, precision, threads):
    torch.set_num_threads(threads)
    half = precision == "bf16"
    vgg = Vgg(path, torch.bfloat16 if half else torch.float32)
    photo = picture(batch, size, size, 1).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        target = [gram(f) for f in vgg(picture(1, 384, 384, 2), STYLE).values()]

    def loss_of(y, content):
        features = vgg(y, STYLE)
        loss = 5 * F.mse_loss(features["conv2_2"].float(), content.float())
        loss = loss + 10 * sum(F.mse_loss(gram(f), g.expand(batch, -1, -1))
                               for f, g in zip(features.values(), target))
        return loss + 1e-4 * ((y[:, :, 1:] - y[:, :, :-1]).abs().sum()
                              + (y[:, :, :, 1:] - y[:, :, :, :-1]).abs().sum()) / batch

    def content_of(x):
        with torch.no_grad():
            return vgg(x, ["conv2_2"])["conv2_2"]

    if what == "optimize":
        painted, content = photo.clone().requires_grad_(True), content_of(photo)

        def step():
            painted.grad = None
            loss_of(painted, content).backward()
    else:
        network = reference.Network() if what == "johnson" else Lite()
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)

        def step():
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                y = network(photo / 255)
            loss = loss_of(y.float() * 64 + 127.5, content_of(photo))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    step()
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": min(times), "peak_bytes": peak}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vgg", required=True)
    parser.add_argument("--losses")
    parser.add_argument("--bench", choices=["johnson", "lite", "optimize"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    args = parser.parse_args()
    if args.losses:
        losses(Vgg(args.vgg), args.losses)
    if args.bench:
        bench(args.vgg, args.bench, args.batch, args.size, args.steps, args.precision, args.threads)


if __name__ == "__main__":
    main()
