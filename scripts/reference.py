#!/usr/bin/env python3
"""What PyTorch makes of the same weights and pictures: the numbers tests/network.rs compares with.

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install torch==2.11.0 numpy --index-url https://download.pytorch.org/whl/cpu
    /tmp/reference/bin/python scripts/reference.py models/mosaic.pt tests/data

Writes into the folder
    reference.safetensors    pictures (u8) and what each network makes of them (f32), RGB 0-255
    reference-small.pth      a network of random weights, widths 8, 16, 32 (state dict, fp16)
    reference-negative.ts    a TorchScript program: 255 - x

The network below is written from the paper and from the names in the published files, not from
ours. Pictures are padded right and bottom, by reflection, to multiples of 4, and cropped again.
With `--score MODEL PICTURE REFERENCE` it prints the PSNR of what MODEL makes of PICTURE, rounded to
8 bits, against a picture; with `--save OUT` it also writes it (both need Pillow).
"""
import argparse
import json
import pathlib
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SIZES = [(1, 64, 48), (1, 61, 47), (1, 33, 70), (1, 16, 16), (2, 40, 26), (1, 5, 9), (1, 3, 2), (1, 1, 1)]


def pad(x, left, right, top, bottom):
    """Mirrors at the border pixels, as often as it takes where a side is short."""
    if max(left, right) < x.shape[3] and max(top, bottom) < x.shape[2]:
        return F.pad(x, (left, right, top, bottom), mode="reflect")
    widths = ((0, 0), (0, 0), (top, bottom), (left, right))
    return torch.from_numpy(np.pad(x.numpy(), widths, mode="reflect"))


class Conv(nn.Module):
    """Reflection padding, then a convolution; `up` repeats pixels first."""

    def __init__(self, inputs, outputs, size, stride=1, up=1):
        super().__init__()
        self.up, self.border = up, size // 2
        self.conv2d = nn.Conv2d(inputs, outputs, size, stride)

    def forward(self, x):
        if self.up > 1:
            x = F.interpolate(x, scale_factor=self.up, mode="nearest")
        return self.conv2d(pad(x, *[self.border] * 4))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.in1 = Conv(width, width, 3), nn.InstanceNorm2d(width, affine=True)
        self.conv2, self.in2 = Conv(width, width, 3), nn.InstanceNorm2d(width, affine=True)

    def forward(self, x):
        return self.in2(self.conv2(F.relu(self.in1(self.conv1(x))))) + x


class Network(nn.Module):
    def __init__(self, widths=(32, 64, 128), blocks=5):
        super().__init__()
        a, b, c = widths
        self.conv1, self.in1 = Conv(3, a, 9), nn.InstanceNorm2d(a, affine=True)
        self.conv2, self.in2 = Conv(a, b, 3, 2), nn.InstanceNorm2d(b, affine=True)
        self.conv3, self.in3 = Conv(b, c, 3, 2), nn.InstanceNorm2d(c, affine=True)
        self.blocks = [f"res{i}" for i in range(1, blocks + 1)]
        for name in self.blocks:
            setattr(self, name, Residual(c))
        self.deconv1, self.in4 = Conv(c, b, 3, up=2), nn.InstanceNorm2d(b, affine=True)
        self.deconv2, self.in5 = Conv(b, a, 3, up=2), nn.InstanceNorm2d(a, affine=True)
        self.deconv3 = Conv(a, 3, 9)

    def forward(self, x):
        height, width = x.shape[2:]
        x = pad(x, 0, -width % 4, 0, -height % 4)
        for conv, norm in [("conv1", "in1"), ("conv2", "in2"), ("conv3", "in3")]:
            x = F.relu(norm_of(getattr(self, norm), getattr(self, conv)(x)))
        for name in self.blocks:
            block = getattr(self, name)
            y = F.relu(norm_of(block.in1, block.conv1(x)))
            x = norm_of(block.in2, block.conv2(y)) + x
        for conv, norm in [("deconv1", "in4"), ("deconv2", "in5")]:
            x = F.relu(norm_of(getattr(self, norm), getattr(self, conv)(x)))
        return self.deconv3(x)[:, :, :height, :width]


def norm_of(norm, x):
    """Python's instance norm refuses a single pixel, whose normalized value is 0."""
    if x.shape[2:].numel() == 1:
        return norm.bias.view(1, -1, 1, 1).expand(x.shape)
    return norm(x)


def load(path):
    """Only weights: nothing in the file is run. Old files carry running statistics: dropped."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {k: v.float() for k, v in state.items() if not k.endswith(("running_mean", "running_var"))}
    widths = [state[f"conv{i}.conv2d.weight"].shape[0] for i in (1, 2, 3)]
    blocks = len({k.split(".")[0] for k in state if k.startswith("res")})
    network = Network(widths, blocks).eval()
    network.load_state_dict(state, strict=True)
    return network


def picture(batch, height, width, seed):
    """Slopes, an edge and some noise: something of what photographs have."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    out = np.empty((batch, 3, height, width))
    for n in range(batch):
        for c in range(3):
            a, b, phase = rng.uniform(-0.3, 0.3, 3)
            out[n, c] = 128 + 90 * np.sin(a * x + b * y + 9 * phase) + 40 * (x * (c + 1) > y * 2 + n)
    out += rng.normal(0, 12, out.shape)
    return torch.from_numpy(out.round().clip(0, 255).astype(np.uint8))


def small(path):
    """Random weights with a fixed seed, rounded as they are saved."""
    torch.manual_seed(16)
    network = Network((8, 16, 32))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.rsplit(".", 2)[-2].startswith("in"):
                value += 0.3 * torch.randn_like(value)
        network.deconv3.conv2d.weight *= 60
        network.deconv3.conv2d.bias += 127
    torch.save({k: v.half() for k, v in network.state_dict().items()}, path)
    return load(path)


class Negative(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 255.0 - x


def write_safetensors(path, tensors, metadata):
    """https://huggingface.co/docs/safetensors: length, JSON header, data."""
    header, offset = {"__metadata__": metadata}, 0
    for name, t in tensors.items():
        size = t.numel() * t.element_size()
        kind = {torch.uint8: "U8", torch.float32: "F32"}[t.dtype]
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(t.contiguous().numpy().tobytes() for t in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make(model, folder):
    folder = pathlib.Path(folder)
    networks = {"mosaic": load(model), "small": small(folder / "reference-small.pth")}
    networks = {name: network.double() for name, network in networks.items()}
    tensors = {}
    for seed, (batch, height, width) in enumerate(SIZES):
        x = picture(batch, height, width, seed)
        key = f"{batch}x{width}x{height}"
        tensors[f"input/{key}"] = x
        for name, network in networks.items():
            # In double precision: of a few pixels, PyTorch's own rounding is as large as what tests allow.
            tensors[f"{name}/{key}"] = network(x.double()).float()
    write_safetensors(folder / "reference.safetensors", tensors, {"torch": torch.__version__})
    torch.jit.script(Negative()).save(str(folder / "reference-negative.ts"))


def score(model, content, reference, out):
    from PIL import Image

    x = torch.from_numpy(np.array(Image.open(content).convert("RGB"))).permute(2, 0, 1)[None].float()
    y = load(model)(x).clamp(0, 255).round()[0].permute(1, 2, 0).byte().numpy()
    other = np.array(Image.open(reference).convert("RGB")).astype(float)
    print(f"PSNR {10 * np.log10(255**2 / np.mean((y - other) ** 2)):.3f} dB")
    if out:
        Image.fromarray(y).save(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="the shipped mosaic.pt")
    parser.add_argument("folder", nargs="?", help="where the files go: tests/data")
    parser.add_argument("--score", nargs=3, metavar=("MODEL", "PICTURE", "REFERENCE"))
    parser.add_argument("--save", metavar="OUT")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    if arguments.score:
        score(*arguments.score, arguments.save)
    elif arguments.model and arguments.folder:
        make(arguments.model, arguments.folder)
    else:
        parser.error("MODEL and FOLDER, or --score")
