"""nst-stream: live neural style transfer for video.

The wheel holds the program itself; it uses the libtorch of the package torch, and GStreamer's libraries of the system.
"""

import ctypes
import importlib.metadata
import os
import pathlib
import sys

TORCH = "2.11.0"
PROGRAM = pathlib.Path(__file__).resolve().parent / "bin" / "nst-stream"
PACKAGES = (
    "libgstrtspserver-1.0-0 libturbojpeg0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav"
)


def fault():
    """What keeps the program from starting, in one line; None if nothing does."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return f"the package torch is missing: pip install torch=={TORCH}"
    if torch.split("+")[0] != TORCH:
        return f"torch {torch} is installed, and this program needs {TORCH}: pip install torch=={TORCH}"
    libraries = (
        "libgstreamer-1.0.so.0", "libgstapp-1.0.so.0", "libgstvideo-1.0.so.0", "libgstrtspserver-1.0.so.0",
        "libturbojpeg.so.0",
    )
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError:
            return f"{library} is missing: sudo apt install {PACKAGES} (Debian, Ubuntu)"
    return None


def main():
    """Becomes the program; its arguments are those of this process."""
    why = fault()
    if why:
        print(f"nst-stream: {why}", file=sys.stderr)
        return 1
    os.execv(PROGRAM, ["nst-stream", *sys.argv[1:]])
