"""A network of pairs that knows the truth: exact pointmaps of a street of boxes, spoiled as asked; and views of it."""

from types import SimpleNamespace

import numpy as np
import torch

from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy, inverse
from img2three_ros.models.pointmap_network import ImageFeatures, Pointmaps
from img2three_ros.reconstruction.views import PreparedFrame, View

HEIGHT, WIDTH, FOCAL = 48, 80, 60.0
BOXES = np.array([  # base_link axes of the street: lower and upper corner, metres; the ground is z = 0
    [[6, 4, 0], [14, 9, 5.5]], [[8, -10, 0], [18, -4, 7.5]], [[9, 1.2, 0], [13, 3, 1.3]], [[7, -2.6, 0], [10, -1, 1.5]],
    [[22, -14, 0], [28, 14, 6.5]], [[-20, 14, 0], [40, 30, 9.5]], [[-20, -30, 0], [40, -14, 8.5]],
    [[-26, -14, 0], [-20, 14, 6.5]],
], dtype=float)
SKY = 150.0


def mount(x=0.0, y=0.0, yaw=0.0, pitch=0.0):
    """``T_base_camera`` 1.5 m above the ground; yaw to the left and pitch downward, degrees."""
    return from_xyz_rpy([x, y, 1.5], [0.0, np.radians(pitch), np.radians(yaw)]) @ T_BASE_OPTICAL


def ego(x=0.0, y=0.0, yaw=0.0):
    return from_xyz_rpy([x, y, 0.0], [0.0, 0.0, np.radians(yaw)])


def cast(T_street_camera, K, size):
    """Depth (h, w), infinite = sky."""
    v, u = np.mgrid[:size[0], :size[1]].astype(float)
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(K).T @ T_street_camera[:3, :3].T
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    origin = T_street_camera[:3, 3]
    ground = -origin[2] / rays[..., 2]
    nearest = np.where(ground > 0, ground, np.inf)
    for low, high in BOXES:
        one, two = (low - origin) / rays, (high - origin) / rays
        enter, leave = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
        nearest = np.where((enter < leave) & (enter > 0) & (enter < nearest), enter, nearest)
    return np.where(nearest < 400.0, nearest, np.inf)


class Street:
    """Makes views whose pixels name them, and answers for pairs of them."""

    def __init__(self, noise=0.02, unit_spread=0.4, confidence=8.0):
        self.noise, self.unit_spread, self.confidence = noise, unit_spread, confidence
        self.truth = []  # per view: where it really is, T_street_camera, and whether it is of another street
        self.chance = np.random.default_rng(1)
        self.asked, self.encoded = [], []
        self.config = SimpleNamespace(image_side=WIDTH)

    def to(self, device):
        return self

    def view(self, name, T_base_camera, T_odom_base, moved=None, elsewhere=False, size=(HEIGHT, WIDTH)):
        """A view whose image is one grey value: its number. moved: the true ``T_base_camera`` where the known is wrong.

        elsewhere: what the network says of it fits nothing that it says of the others.
        """
        scale = size[1] / WIDTH
        K = np.array([[FOCAL * scale, 0, size[1] / 2 - 0.5], [0, FOCAL * scale, size[0] / 2 - 0.5], [0, 0, 1.0]])
        self.truth.append((T_odom_base @ (T_base_camera if moved is None else moved), elsewhere))
        image = torch.full((3, *size), len(self.truth) / 256.0)
        return View(name, 0, image, torch.from_numpy(K).float(), torch.ones(size, dtype=torch.bool), T_base_camera)

    def depth(self, view):
        """Truth (H, W) of a view at its own size."""
        return cast(self.truth[number_of(view.image * 2 - 1)][0], view.intrinsics.double().numpy(), view.size)

    def infer_pairs(self, images, pairs, *, memory_bytes, descriptors, known):
        for number in sorted({place for pair in pairs for place in pair}):
            if number not in known:
                self.encoded.append(number_of(images[number]))
                known[number] = ImageFeatures(torch.zeros(1, 15, 4), torch.zeros(1, 15, 4), 3, 5)
        return [self._pair(images[i], images[j]) for i, j in pairs]

    def _pair(self, first, second):
        numbers = number_of(first), number_of(second)
        self.asked.append(numbers)
        unit = 0.1 * np.exp(self.chance.normal(0, self.unit_spread))
        clouds, sure = [], []
        for number, image in zip(numbers, (first, second), strict=True):
            size = image.shape[1:]
            K = np.diag((FOCAL * size[1] / WIDTH, FOCAL * size[0] / HEIGHT, 1.0))
            K[:2, 2] = size[1] / 2 - 0.5, size[0] / 2 - 0.5
            pose, elsewhere = self.truth[number]
            depth = cast(pose, K, size)
            sky = ~np.isfinite(depth)
            depth = np.where(sky, SKY, depth) * (1 + self.noise * self.chance.normal(size=depth.shape))
            if elsewhere:
                depth = np.exp(self.chance.normal(2, 1.5, size=depth.shape))
            v, u = np.mgrid[:size[0], :size[1]].astype(float)
            points = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(K).T * depth[..., None]
            into = inverse(self.truth[numbers[0]][0]) @ pose
            clouds.append(torch.from_numpy(unit * (points @ into[:3, :3].T + into[:3, 3])).float()[None])
            sure.append(torch.from_numpy(np.where(sky, 1.0, self.confidence)).float()[None])
        return Pointmaps(clouds[0], sure[0], clouds[1], sure[1])


def number_of(image):
    """The view of an image (3, h, w) from -1 to 1."""
    return round(float((image.mean() + 1) / 2) * 256) - 1


def frame(stamp, views, T_odom_base, missing=()):
    return PreparedFrame(stamp, tuple(views), tuple(missing), T_odom_base)


def relative_errors(depth_view, truth):
    """Of given depths, where the truth is not sky; and the share of those pixels that is given."""
    world = np.isfinite(truth)
    given = depth_view.valid.numpy() & world
    return np.abs(depth_view.depth.numpy()[given] / truth[given] - 1.0), given.sum() / max(world.sum(), 1)
