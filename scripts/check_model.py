#!/usr/bin/env python3
"""Opens a model file with PyTorch itself, without running anything in it, and prints what it holds.

python3 scripts/check_model.py MODEL

Prints name, shape and type of every tensor, the description, and the totals. Ends with an error
when PyTorch refuses the file, when the top object is no plain state dict, or when mapping the file
into memory gives other numbers. Any PyTorch from 1.13 on will do.
"""
import json
import sys
import zipfile

import torch


def main(path):
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        sys.exit(f"'{path}' holds no plain state dict")
    for name, tensor in tensors.items():
        print(name, list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as records:
            if (damaged := records.testzip()) is not None:
                sys.exit(f"'{path}' has the damaged record '{damaged}'")
            for record in records.namelist():
                if record.endswith("/nst-stream.json"):
                    print(json.dumps(json.loads(records.read(record)), indent=2))
        if torch.__version__ >= "2.1":
            mapped = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            if not all(torch.equal(mapped[name], tensor) for name, tensor in tensors.items()):
                sys.exit(f"'{path}' has other numbers when mapped into memory")
    print(len(tensors), "tensors,", sum(map(torch.numel, tensors.values())), "values")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
