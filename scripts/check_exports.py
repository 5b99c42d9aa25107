#!/usr/bin/env python3
"""Exported models in PyTorch, ONNX Runtime and OpenVINO against each other and against the program.

    python3 -m venv /tmp/exports
    /tmp/exports/bin/pip install torch==2.11.0 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 \\
        safetensors==0.8.0 numpy pillow
    /tmp/exports/bin/python scripts/check_exports.py mosaic starry-night my.pt

For each model it has the program export all three formats, and at sizes that no file was made for
prints the mean and the greatest difference (levels of 0-255) and the share of equal bytes:

    TorchScript    against PyTorch's own layers with the weights of the safetensors file, where the
                   network is the published one (scripts/reference.py)
    ONNX Runtime, OpenVINO    against TorchScript, in fp32
    program        what `nst-stream --precision fp32` paints, against TorchScript: equal bytes

Sides below 5 pixels are for TorchScript alone. Ends with an error when a mean is above 1e-3
(1e-2 in pictures of at most 100 pixels), a greatest difference above 0.1, or less than 99.9 % of the bytes
of a model's pictures are equal.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import reference

SIZES = [(1, 64, 64), (1, 45, 61), (2, 37, 50), (1, 5, 5), (1, 6, 200), (1, 240, 320), (1, 4, 4), (1, 3, 9), (1, 1, 1)]
LEAST = 5
MEAN, MOST, EQUAL = 1e-3, 0.1, 0.999
# Instance norms over a few pixels amplify what runtimes round differently.
FEW_PIXELS, MEAN_OF_FEW = 100, 1e-2


class Tally:
    """Differences of one runtime over all sizes of a model."""

    def __init__(self):
        self.equal, self.values, self.faults = {}, {}, []

    def add(self, model, runtime, size, found, expected, rounded=False):
        difference = np.abs(found.astype(np.float64) - expected)
        equal = np.round(found) == np.round(expected)
        mean, most = difference.mean(), difference.max()
        print(f"{model:16} {size[0]}x3x{size[1]}x{size[2]:<5} {runtime:13} mean {mean:.1e}  max {most:.1e}  equal bytes {equal.mean():.5f}")
        bound = MEAN if size[1] * size[2] > FEW_PIXELS else MEAN_OF_FEW
        # Of rounded values one level is no great difference: there the equal bytes count.
        if found.shape != expected.shape or not rounded and (mean > bound or most > MOST):
            self.faults.append(f"{model}, {runtime}, {size}: mean {mean:.1e}, max {most:.1e}")
        self.equal[model, runtime] = self.equal.get((model, runtime), 0) + equal.sum()
        self.values[model, runtime] = self.values.get((model, runtime), 0) + equal.size

    def end(self):
        for key, values in self.values.items():
            if self.equal[key] < EQUAL * values:
                self.faults.append(f"{key[0]}, {key[1]}: {self.equal[key]} of {values} bytes are equal")
        if self.faults:
            sys.exit("\n".join(self.faults))
        print("all within bounds")


def export(program, model, folder):
    files = []
    for kind in ["onnx", "torchscript", "safetensors"]:
        files.append(folder / f"model.{kind}")
        subprocess.run([program, "models", "export", model, "--to", kind, "--output", files[-1], "--overwrite"],
                       check=True, stdout=subprocess.DEVNULL)
    return files


def published(description, weights):
    """The network of scripts/reference.py with these weights, or None where it is another one."""
    architecture = description["architecture"]
    if set(architecture) != {"kind", "widths", "residual_blocks"} or architecture["kind"] != "johnson":
        return None
    network = reference.Network(architecture["widths"], architecture["residual_blocks"])
    network.load_state_dict(load_file(weights))
    return network.eval()


def painted(program, model, pictures, folder):
    """What the program makes of them; a PNG for each."""
    results = []
    for picture in pictures:
        Image.fromarray(picture.transpose(1, 2, 0).astype(np.uint8)).save(folder / "in.png")
        subprocess.run([program, "-q", "--model", model, "--input", folder / "in.png", "--output", folder / "out.png",
                        "--overwrite", "--precision", "fp32", "--device", "cpu"], check=True)
        results.append(np.array(Image.open(folder / "out.png").convert("RGB")).transpose(2, 0, 1))
    return np.stack(results).astype(np.float32)


def check(program, model, folder, tally):
    onnx_file, script_file, weights = export(program, model, folder)
    onnx.checker.check_model(str(onnx_file), full_check=True)
    with safe_open(weights, "pt") as file:
        about = file.metadata()
    description = json.loads(about["nst-stream.json"])
    extra = {"nst-stream.json": ""}
    script = torch.jit.load(str(script_file), _extra_files=extra).eval()
    properties = {p.key: p.value for p in onnx.load(str(onnx_file)).metadata_props}
    for said in [json.loads(extra["nst-stream.json"]), json.loads(properties["nst-stream.json"])]:
        assert said == description, "the files describe themselves in different ways"
    plain = published(description, weights)
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(str(onnx_file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    several = description["architecture"].get("styles", 1)
    luminance = description["architecture"].get("luminance", False)
    shares = np.eye(1, several, dtype=np.float32)[0]
    mixed = np.linspace(1, 2, several, dtype=np.float32)
    mixed /= mixed.sum()
    name = pathlib.Path(model).stem
    for seed, size in enumerate(SIZES):
        x = reference.picture(*size, seed).numpy().astype(np.float32)
        style = mixed if several > 1 else None
        run = lambda *more: script(torch.from_numpy(x), *more).numpy()
        expected = run() if style is None else run(torch.from_numpy(style))
        if plain is not None:
            tally.add(name, "TorchScript", size, expected, plain(torch.from_numpy(x)).clamp(0, 255).numpy())
        if min(size[1:]) >= LEAST:
            feed = {"input": x} if style is None else {"input": x, "style": style}
            tally.add(name, "ONNX Runtime", size, session.run(None, feed)[0], expected)
            tally.add(name, "OpenVINO", size, compiled(feed)[0], expected)
        # Of luminance the program adds the picture's colours; of several styles it paints the first.
        if not luminance:
            first = expected if style is None else run(torch.from_numpy(shares))
            tally.add(name, "program", size, painted(program, model, x, folder), np.round(first), rounded=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of shipped models, or model files")
    parser.add_argument("--program", default="target/release/nst-stream")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__}")
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            check(arguments.program, model, pathlib.Path(folder), tally)
    tally.end()


if __name__ == "__main__":
    main()
