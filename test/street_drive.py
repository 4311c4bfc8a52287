"""A short drive of the simulated vehicle as a recording, right or spoiled, and a stand-in for a trained network.

No trained checkpoint comes with the package. The stand-in finds by their pixels which images it is shown, and answers
with the true pointmaps, spoiled as networks are: a unit of its own for every pair, smooth errors of depth, the second
image placed wrongly by the more the less it overlaps the first, a focal length of its own, nothing sure of the sky or
of images that do not overlap. Everything else is real.
"""

from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from img2three_ros.fileio import messages
from img2three_ros.fileio.rosbag import BagWriter
from img2three_ros.geometry.transforms import inverse
from img2three_ros.models.pointmap_network import Pointmaps
from img2three_ros.simulation.events import ImageEvent, LidarEvent, OdometryEvent, events
from img2three_ros.simulation.recording import BASE, LIDAR_NAME, ODOM, event_messages
from img2three_ros.simulation.rig import optical_frame
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle

WIDTH, HEIGHT = 160, 96


class Drive:
    """All events of a drive, rendered once."""

    def __init__(self, rig, seconds=1.6, rate=5.0, **settings):
        config = SimulationConfig(rig=rig, width=WIDTH, height=HEIGHT, rate=rate, traffic=0.0, noise=0.0, seed=3,
                                  shadows=False, **settings)
        self.vehicle = SimulatedVehicle(config)
        self.events = list(events(self.vehicle, seconds, lidar=False, depth=True))
        self.images = [event for event in self.events if isinstance(event, ImageEvent)]

    def T_world_camera(self, event):
        return self.vehicle.pose(event.stamp) @ self.vehicle.T_base_camera[event.camera]

    def intrinsics(self, camera):
        return self.vehicle.calibrations[camera].intrinsics

    def write(self, path, turned=None, zoomed=None, tf=True, info=True, odometry=True, cameras=None, lidar=False):
        """turned: camera -> rotation vector, degrees in its optical frame, by which TF is wrong. zoomed: camera ->
        factor by which its CameraInfo's focal length is wrong. lidar: a scan with every image of the first camera."""
        kept = cameras or self.vehicle.camera_names
        with BagWriter(path) as bag:
            first = self.events[0].stamp
            if tf:
                static = {(BASE, optical_frame(name)): self._published(name, turned or {}) for name in kept}
                static[BASE, LIDAR_NAME] = self.vehicle.T_base_lidar
                bag.write("/tf_static", messages.transform_message(static, first), first)
            for event in self.events:
                if isinstance(event, OdometryEvent) and odometry:
                    bag.write("/odom", messages.odometry_message(event.stamp, ODOM, BASE, event.T_odom_base),
                              event.stamp)
                if lidar and isinstance(event, ImageEvent) and event.camera == kept[0]:
                    scan = LidarEvent(event.stamp, self.vehicle.lidar(event.stamp))
                    bag.write("/lidar/points", event_messages(scan, self.vehicle)["/lidar/points"], event.stamp)
                if isinstance(event, ImageEvent) and event.camera in kept:
                    frame, topic = optical_frame(event.camera), f"/camera/{event.camera}"
                    if info:
                        calibration = self._calibration(event.camera, zoomed or {})
                        bag.write(f"{topic}/camera_info",
                                  messages.camera_info_message(event.stamp, frame, calibration), event.stamp)
                    bag.write(f"{topic}/image_raw/compressed",
                              messages.compressed_image_message(event.stamp, frame, event.jpeg), event.stamp)
        return path

    def _published(self, name, turned):
        wrong = np.eye(4)
        wrong[:3, :3] = Rotation.from_rotvec(turned.get(name, (0, 0, 0)), degrees=True).as_matrix()
        return self.vehicle.T_base_camera[name] @ wrong

    def _calibration(self, name, zoomed):
        K = self.intrinsics(name).copy()
        K[[0, 1], [0, 1]] *= zoomed.get(name, 1.0)
        return replace(self.vehicle.calibrations[name], intrinsics=K)


@lru_cache(maxsize=2)
def drive(rig="nuscenes", **settings):
    return Drive(rig, **settings)


class DriveNetwork:
    """noise: 1 = like a good network, 0 = exact. metric: points in metres, else in a unit of each pair."""

    def __init__(self, drive, noise=0.0, metric=False, seed=0):
        self.drive, self.noise, self.seed, self.asked = drive, noise, seed, []
        self.config = SimpleNamespace(image_side=WIDTH, metric=metric)
        self.small = np.stack([self._thumbnail(cv2.imdecode(np.frombuffer(event.jpeg, np.uint8), 1)[..., ::-1])
                               for event in drive.images])

    def to(self, device):
        return self

    def infer_pairs(self, images, pairs, *, memory_bytes, descriptors, progress):
        shown = [self._found(image) for image in images]
        self.asked = [(f"{shown[i].camera}", f"{shown[j].camera}") for i, j in pairs]
        chance = np.random.default_rng((self.seed, int(shown[0].stamp) % 10**9))
        found = [self._pair(shown[i], shown[j], chance) for i, j in pairs]
        progress(len(pairs), len(pairs))
        return found

    def _pair(self, one, other, chance):
        unit = 1.0 if self.config.metric else 0.05 * float(np.exp(chance.normal(0, 0.3)))
        unit *= float(np.exp(0.05 * self.noise * chance.normal()))
        T = inverse(self.drive.T_world_camera(one)) @ self.drive.T_world_camera(other)
        overlap = self._overlap(one, other, T)
        clouds = [self._points(event, chance) for event in (one, other)]
        lost = self.noise * np.sqrt(0.25 / max(overlap, 0.02))
        T[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(lost * chance.normal(0, 0.5, 3), degrees=True).as_matrix()
        T[:3, 3] += 0.04 * lost * chance.normal(size=3)
        clouds[1] = clouds[1] @ T[:3, :3].T + T[:3, 3]
        sure = [np.where(np.isfinite(event.depth), 1.0 + 9.0 / (1.0 + event.depth / 20.0), 1.0)
                for event in (one, other)]
        if overlap < 0.02:
            sure = [np.ones_like(one) for one in sure]
        tensors = [torch.from_numpy(np.asarray(array, np.float32))[None] for array in (
            unit * clouds[0], sure[0], unit * clouds[1], sure[1])]
        return Pointmaps(*tensors)

    def _points(self, event, chance):
        K = self.drive.intrinsics(event.camera)
        zoom = 1.0 + 0.015 * self.noise * chance.normal()
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        rays = np.stack(((u - K[0, 2]) / K[0, 0] / zoom, (v - K[1, 2]) / K[1, 1] / zoom, np.ones(u.shape)), -1)
        depth = np.where(np.isfinite(event.depth), event.depth, 150.0)
        coarse = chance.normal(0, 0.04 * self.noise, (4, 6)).astype(np.float32)
        smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        fine = chance.normal(0, 0.01 * self.noise, depth.shape)
        return rays * (depth * np.exp(smooth + fine))[..., None]

    def _overlap(self, one, other, T_one_other):
        """Share of the other's pixels that the first camera has before it."""
        K, L = self.drive.intrinsics(one.camera), self.drive.intrinsics(other.camera)
        v, u = np.mgrid[4:HEIGHT:8, 4:WIDTH:8]
        depth = other.depth[4::8, 4::8]
        points = np.stack(((u - L[0, 2]) / L[0, 0], (v - L[1, 2]) / L[1, 1], np.ones(u.shape)), -1) * depth[..., None]
        points = (points @ T_one_other[:3, :3].T + T_one_other[:3, 3])[np.isfinite(depth)]
        points = points[points[:, 2] > 0.1]
        pixels = points[:, :2] / points[:, 2:] * (K[0, 0], K[1, 1]) + (K[0, 2], K[1, 2])
        inside = ((pixels >= 0) & (pixels < (WIDTH, HEIGHT))).all(1)
        return float(inside.sum() / depth.size)

    def _found(self, image):
        pixels = ((image.permute(1, 2, 0).cpu().numpy() + 1) * 127.5).astype(np.float32)
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        off = np.abs(self.small - self._thumbnail(pixels)).mean((1, 2, 3))
        return self.drive.images[int(off.argmin())]

    @staticmethod
    def _thumbnail(pixels):
        return cv2.resize(np.ascontiguousarray(pixels, dtype=np.float32), (32, 20), interpolation=cv2.INTER_AREA)
