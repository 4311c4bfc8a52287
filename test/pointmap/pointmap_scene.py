"""A street of boxes seen by a few cameras, with exact depth, and the pointmaps that a perfect network would give."""

from dataclasses import dataclass

import numpy as np
import torch

from img2three_ros.geometry.transforms import inverse
from img2three_ros.pointmap.pairs import PairPointmaps
from img2three_ros.pointmap.view_graph import complete_pairs

SKY_DEPTH = 120.0
BOXES = np.array([  # x right, y down, z forward: lower and upper corner, metres; the ground is y = 1.5
    [[-9, -4, 6], [-4, 1.5, 14]], [[4, -6, 8], [10, 1.5, 18]], [[-3, 0.2, 9], [-1.2, 1.5, 13]],
    [[1.0, 0.0, 7], [2.6, 1.5, 10]], [[-12, -5, 20], [14, 1.5, 26]], [[-30, -8, -20], [-14, 1.5, 40]],
    [[14, -7, -20], [30, 1.5, 40]], [[-14, -5, -26], [14, 1.5, -20]],
], dtype=float)


@dataclass(frozen=True)
class Truth:
    """T_world_camera (n, 4, 4), K (n, 3, 3), depth (n, H, W) metres, sky (n, H, W) bool."""

    cameras: np.ndarray
    intrinsics: np.ndarray
    depth: np.ndarray
    sky: np.ndarray

    def points(self, image):
        """(H, W, 3) in the camera's frame."""
        height, width = self.depth[image].shape
        v, u = np.mgrid[:height, :width]
        K = self.intrinsics[image]
        rays = np.stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)), -1)
        return rays * self.depth[image][..., None]


def camera(x=0.0, z=0.0, yaw=0.0, y=0.0, pitch=0.0):
    """T_world_camera: yaw to the right and pitch downward in degrees, position in metres."""
    a, b = np.radians(yaw), np.radians(pitch)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    pose = np.eye(4)
    pose[:3, :3] = turn @ nod
    pose[:3, 3] = x, y, z
    return pose


THREE = np.stack([camera(-0.8, 0.2, -20), camera(0.0, 0.6, 0, pitch=1.0), camera(0.8, 0.1, 20, y=0.1)])


def render(cameras=THREE, size=(48, 80), focals=(60.0, 64.0, 58.0), boxes=BOXES):
    """Cast a ray through every pixel of every camera."""
    height, width = size
    v, u = np.mgrid[:height, :width]
    depths, skies, matrices = [], [], []
    for pose, focal in zip(cameras, np.resize(focals, len(cameras)), strict=True):
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        rays = np.stack(((u - K[0, 2]) / focal, (v - K[1, 2]) / focal, np.ones(u.shape)), -1) @ pose[:3, :3].T
        depth = _cast(pose[:3, 3], rays, boxes)
        skies.append(~np.isfinite(depth))
        depths.append(np.where(np.isfinite(depth), depth, SKY_DEPTH))
        matrices.append(K)
    return Truth(np.asarray(cameras), np.stack(matrices), np.stack(depths), np.stack(skies))


def _cast(origin, rays, boxes):
    """Distance along every ray (z of the ray in its camera is 1, so this is depth); infinity = sky."""
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    ground = (1.5 - origin[1]) / rays[..., 1]
    nearest = np.where(ground > 0, ground, np.inf)
    for low, high in boxes:
        one, two = (low - origin) / rays, (high - origin) / rays
        enter, leave = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
        nearest = np.where((enter < leave) & (enter > 0) & (enter < nearest), enter, nearest)
    return np.where(nearest < 400.0, nearest, np.inf)


def predict(truth, edges=None, noise=0.0, rotation=0.0, seed=0, sky_confidence=1.0, confidence=8.0):
    """Pointmaps of pairs: every pair in a unit of its own, relative noise of depth, and the second view turned wrongly.

    noise: relative standard deviation of every depth; rotation: of the second image's placement, degrees.
    """
    chance = np.random.default_rng(seed)
    edges = complete_pairs(len(truth.cameras)) if edges is None else edges
    clouds, weights = ([], []), ([], [])
    for i, j in edges:
        unit = 0.05 * np.exp(chance.normal(0, 0.4))
        for slot, image in enumerate((i, j)):
            points = truth.points(image) * (1 + noise * chance.normal(size=truth.depth[image].shape))[..., None]
            T = inverse(truth.cameras[i]) @ truth.cameras[image]
            if slot == 1 and rotation:
                T = T @ camera(yaw=chance.normal(0, rotation), pitch=chance.normal(0, rotation))
            clouds[slot].append(unit * (points @ T[:3, :3].T + T[:3, 3]))
            weights[slot].append(np.where(truth.sky[image], sky_confidence, confidence))
    return pack(edges, clouds, weights)


def pack(edges, clouds, weights):
    """Lists of numpy arrays, slot by slot, into PairPointmaps of float32."""
    stack = [torch.from_numpy(np.stack(arrays).astype(np.float32)) for arrays in (*clouds, *weights)]
    return PairPointmaps(tuple(edges), stack[0], stack[2], stack[1], stack[3])


def unpack(pairs):
    """The arrays of PairPointmaps again, to spoil some: clouds (two arrays), weights (two arrays)."""
    return ((pairs.points1.numpy().copy(), pairs.points2.numpy().copy()),
            (pairs.confidence1.numpy().copy(), pairs.confidence2.numpy().copy()))


@dataclass(frozen=True)
class Errors:
    """Against the truth: focal relative, rotation between cameras in degrees, centres and depth in metres and
    relative, after the one scale that fits best (or none where the scene says it is metric)."""

    focal: float
    rotation: float
    centre: float
    depth: float


def errors(scene, truth, images=None):
    """Largest focal, rotation and centre error, median depth error, of all images or of some."""
    images = range(len(truth.cameras)) if images is None else images
    first = images[0]
    ratio = np.concatenate([(truth.depth[i] / scene.depth[i])[~truth.sky[i]] for i in images])
    scale = 1.0 if scene.metric else float(np.median(ratio))
    rotation = centre = 0.0
    for i in images:
        ours, real = inverse(scene.cameras[first]) @ scene.cameras[i], inverse(truth.cameras[first]) @ truth.cameras[i]
        rotation = max(rotation, float(np.degrees(np.arccos(np.clip((np.trace(ours[:3, :3].T @ real[:3, :3]) - 1) / 2,
                                                                    -1, 1)))))
        centre = max(centre, float(np.linalg.norm(scale * ours[:3, 3] - real[:3, 3])))
    focal = max(abs(scene.intrinsics[i][0, 0] / truth.intrinsics[i][0, 0] - 1) for i in images)
    return Errors(float(focal), rotation, centre, float(np.median(np.abs(ratio / scale - 1)) if not scene.metric
                                                         else np.median(np.abs(1 / ratio - 1))))
