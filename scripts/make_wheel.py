#!/usr/bin/env python3
"""Makes dist/nst_stream-VERSION-py3-none-linux_ARCH.whl of a program that is built, with the licences of its crates.

    python3 scripts/make_wheel.py target/release/nst-stream target/package/NOTICES.crates

The program's run-time path leads to the libtorch of the package torch, which stands beside it in site-packages.
"""

import base64
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent.parent
TORCH = "2.11.0"
RUN_PATH = "$ORIGIN/../../torch/lib"


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: make_wheel.py PROGRAM NOTICES")
    for tool in ("patchelf", "strip"):
        if not shutil.which(tool):
            sys.exit(f"make_wheel: no {tool}: apt-get install patchelf binutils")
    notices = pathlib.Path(sys.argv[2]).read_text()
    version = re.search(r'^version = "(.*)"', (HERE / "Cargo.toml").read_text(), re.M).group(1)
    tag = f"py3-none-linux_{platform.machine()}"
    about = f"nst_stream-{version}.dist-info"
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "nst-stream"
        shutil.copy(sys.argv[1], program)
        subprocess.run(["strip", program], check=True)
        subprocess.run(["patchelf", "--set-rpath", RUN_PATH, program], check=True)
        files = {
            "nst_stream/bin/nst-stream": program.read_bytes(),
            "nst_stream/__init__.py": (HERE / "packaging/wheel/__init__.py").read_bytes(),
            "nst_stream/__main__.py": (HERE / "packaging/wheel/__main__.py").read_bytes(),
            f"{about}/METADATA": metadata(version, licences(notices)).encode(),
            f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: nst-stream\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
            f"{about}/entry_points.txt": b"[console_scripts]\nnst-stream = nst_stream:main\n",
            f"{about}/licenses/LICENSE": (HERE / "LICENSE").read_bytes(),
            f"{about}/licenses/models/README.md": (HERE / "models/README.md").read_bytes(),
            f"{about}/licenses/NOTICES.crates": notices.encode(),
        }
    record = "".join(f"{name},sha256={digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{about}/RECORD"] = (record + f"{about}/RECORD,,\n").encode()
    (HERE / "dist").mkdir(exist_ok=True)
    wheel = HERE / "dist" / f"nst_stream-{version}-{tag}.whl"
    partial = wheel.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            mode = 0o755 if name.endswith("bin/nst-stream") else 0o644
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    os.replace(partial, wheel)
    print(f"make_wheel: {wheel.relative_to(HERE)}: {wheel.stat().st_size / 1e6:.0f} MB")


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def licences(notices):
    """The licences of all that the wheel contains: ours, those at the head of the crates' texts, that of VGG16's weights."""
    head = notices.split("====", 1)[0]
    return " AND ".join(["MIT", *sorted({*re.findall(r"\(([^()]+)\): \d+$", head, re.M), "CC-BY-4.0"} - {"MIT"})])


def metadata(version, licence):
    text = f"""Metadata-Version: 2.4
Name: nst-stream
Version: {version}
Summary: Live neural style transfer for video
License-Expression: {licence}
License-File: LICENSE
License-File: models/README.md
License-File: NOTICES.crates
Requires-Python: >=3.10
Requires-Dist: torch=={TORCH}
Classifier: Operating System :: POSIX :: Linux
Description-Content-Type: text/markdown

Repaints a video, a camera or a network feed in the style of a picture, and writes it to a file, a window or a network
feed, fast enough to watch live.

    nst-stream --model mosaic --input in.mp4 --output out.mp4

It uses the libtorch of the package torch, which PyPI brings with some gigabytes of CUDA libraries, and GStreamer of the
system: `sudo apt install libgstrtspserver-1.0-0 libturbojpeg0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav`.
"""
    return text


main()
