#!/usr/bin/env python3
"""How much of the faces of photos is still a face once they are painted.

    python3 -m venv v && v/bin/pip install 'opencv-python-headless<5'
    v/bin/python scripts/face_figure.py PHOTO PAINTED [PHOTO PAINTED ...]

OpenCV's detector of frontal faces (Viola and Jones 2001; its cascade comes with the package, BSD) looks for faces in
each photo, and then in the painted picture at the same place. Its votes (how many of its overlapping windows agree)
are counted there; the figure is the share of the photo's votes that is left, at most 1. A photo without faces says
nothing. Measured with a shorter side of 480 pixels.
"""

import sys

import cv2

SIZE = 480
CASCADE = "haarcascade_frontalface_default.xml"


def grey(path):
    picture = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if picture is None:
        sys.exit(f"{path}: cannot be read")
    scale = SIZE / min(picture.shape)
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def faces(cascade, picture, least):
    found, votes = cascade.detectMultiScale2(picture, scaleFactor=1.05, minNeighbors=least, minSize=(40, 40))
    return list(zip(found, votes))


def main(paths):
    if not paths or len(paths) % 2:
        sys.exit(__doc__)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
    shares = []
    for photo, painted in zip(paths[::2], paths[1::2]):
        here, there = grey(photo), grey(painted)
        if here.shape != there.shape:
            there = cv2.resize(there, here.shape[::-1], interpolation=cv2.INTER_AREA)
        # In a photo a face is what many windows agree on; in a painted picture one is a beginning.
        for place, votes in faces(cascade, here, 8):
            left = [n for where, n in faces(cascade, there, 1) if overlap(place, where) > 0.4]
            shares.append(min(max(left, default=0) / votes, 1.0))
            print(f"{painted}: a face of {votes} votes has {max(left, default=0)}")
    if not shares:
        sys.exit("no faces in these photos")
    print(f"faces {sum(shares) / len(shares):.3f}  mean of {len(shares)}, 1 is the photo's own")


if __name__ == "__main__":
    main(sys.argv[1:])
