"""Photographs of the exact box street of test/pointmap, and a stand-in for a trained network that knows the street.

No trained checkpoint comes with the package; everything after the network is real.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from img2three_ros.models.pointmap_network import Pointmaps

sys.path.insert(0, str(Path(__file__).parent / "pointmap"))

from pointmap_scene import predict, render

SIDE = 80
PHOTO = (100, 164)  # height, width; becomes 49 x 80, cropped to 48 x 80


class StreetNetwork:
    """Exact pointmaps of the street, each pair in a unit of its own; looks at the sizes of the images only."""

    def __init__(self, truth):
        self.truth, self.asked = truth, []
        self.config = SimpleNamespace(image_side=SIDE, metric=False)

    def to(self, device):
        return self

    def infer_pairs(self, images, pairs, *, memory_bytes, descriptors, progress):
        for image, depth in zip(images, self.truth.depth, strict=True):
            assert tuple(image.shape) == (3, *depth.shape) and float(image.abs().max()) <= 1.0
        self.asked = list(pairs)
        exact = predict(self.truth, list(pairs))
        progress(len(pairs), len(pairs))
        return [Pointmaps(exact.points1[e][None], exact.confidence1[e][None], exact.points2[e][None],
                          exact.confidence2[e][None]) for e in range(len(pairs))]


def street():
    """Three cameras at the size that the photographs are cropped to."""
    return render(size=(48, 80))


def write_photos(folder, truth, ending=".png"):
    """Photographs whose brightness falls with depth; photo_2 comes before photo_10."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for depth, number in zip(truth.depth, (1, 2, 10), strict=False):
        grey = cv2.resize((255 / (1 + depth / 10)).astype(np.uint8), PHOTO[::-1])
        paths.append(folder / f"photo_{number}{ending}")
        cv2.imwrite(str(paths[-1]), cv2.merge((grey // 2, grey, grey)))
    return paths


def photo_intrinsics(K):
    """By hand: the fitted image is the photo times 80 / 164 across and 49 / 100 down, nothing cut off at the top."""
    sx, sy = 80 / 164, 49 / 100
    return np.array([[K[0, 0] / sx, 0, (K[0, 2] + 0.5) / sx - 0.5], [0, K[1, 1] / sy, (K[1, 2] + 0.5) / sy - 0.5],
                     [0, 0, 1]])


def turned_jpeg(pixels):
    """JPEG bytes of (H, W, 3) BGR with an EXIF orientation of 6: to be shown turned clockwise by 90 degrees."""
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b"II*\0" + bytes([8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0])
    exif = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
