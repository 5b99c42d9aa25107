#!/usr/bin/env python3
"""Adds to cargo-cyclonedx's list of crates what the packages contain besides: libtorch, what it is linked with, weights.

    python3 scripts/complete_sbom.py IN.json OUT.json

Versions come from scripts/libtorch-cpu.txt; the files' checksums from target/package/deb, which scripts/package.sh leaves.
"""

import hashlib
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
LIBRARIES = HERE / "target/package/deb/usr/lib/nst-stream"
# Name at PyPI, licence, and the libraries of it that the packages contain.
WHEELS = (
    ("torch", {"license": {"id": "BSD-3-Clause"}}, ("libtorch_cpu.so", "libc10.so")),
    ("nvidia-cuda-runtime", {"license": {"name": "NVIDIA CUDA Toolkit EULA"}}, ("libcudart.so.13",)),
    ("nvidia-cuda-cupti", {"license": {"name": "NVIDIA CUDA Toolkit EULA"}}, ("libcupti.so.13",)),
)


def sha256(path):
    return [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]


def library(name):
    return {"type": "file", "name": f"usr/lib/nst-stream/{name}", "hashes": sha256(LIBRARIES / name)}


def wheels():
    pinned = (HERE / "scripts/libtorch-cpu.txt").read_text()
    for name, licence, libraries in WHEELS:
        found = re.search(rf"^{name}==([0-9.]+)", pinned, re.M)
        if not found:
            sys.exit(f"complete_sbom: scripts/libtorch-cpu.txt does not name {name}")
        purl = f"pkg:pypi/{name}@{found[1]}"
        yield {
            "type": "library", "bom-ref": purl, "name": name, "version": found[1], "purl": purl, "licenses": [licence],
            "components": [library(file) for file in libraries],
        }


def others():
    licence = {"expression": "GPL-3.0-or-later WITH GCC-exception-3.1"}
    yield {
        "type": "library", "bom-ref": "libgomp", "name": "libgomp", "licenses": [licence],
        "description": "OpenMP of GCC, as the wheel of torch contains it", "components": [library("libgomp.so.1")],
    }
    yield {
        "type": "machine-learning-model", "bom-ref": "vgg16", "name": "vgg16",
        "author": "Karen Simonyan and Andrew Zisserman, Visual Geometry Group, University of Oxford",
        "licenses": [{"license": {"id": "CC-BY-4.0"}}], "hashes": sha256(HERE / "models/vgg16.safetensors"),
    }
    for path in sorted((HERE / "models").glob("*.pt")):
        yield {
            "type": "machine-learning-model", "bom-ref": f"model-{path.stem}", "name": path.stem,
            "author": "the nst-stream authors", "licenses": [{"license": {"id": "MIT"}}], "hashes": sha256(path),
        }


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: complete_sbom.py IN.json OUT.json")
    bom = json.loads(pathlib.Path(sys.argv[1]).read_text())
    added = [*wheels(), *others()]
    bom["components"] += added
    root = bom["metadata"]["component"]["bom-ref"]
    depends = next(entry for entry in bom["dependencies"] if entry["ref"] == root)
    depends.setdefault("dependsOn", []).extend(part["bom-ref"] for part in added)
    # Paths of the machine that it was made on say nothing to others.
    text = json.dumps(bom, indent=1).replace(f"path+file://{HERE}", "nst-stream:")
    if str(HERE) in text:
        sys.exit(f"complete_sbom: {sys.argv[1]} names {HERE}")
    pathlib.Path(sys.argv[2]).write_text(text + "\n")
    print(f"complete_sbom: {sys.argv[2]}: {len(bom['components'])} components")


main()
