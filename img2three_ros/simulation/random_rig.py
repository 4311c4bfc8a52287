"""Random camera rigs: one camera, stereo pairs, rings of cameras, and jittered copies of the public layouts.

All draws follow from the generator given. Angles in degrees, places in metres in base_link.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .rig import CameraMount, mounts
from .settings import SimulationConfig

_LAYOUTS = ("nuscenes", "ddad", "waymo", "kitti")
_AHEAD, _BACK = 0.45, 0.15  # shares of single cameras that look ahead and back; the rest look anywhere


def configured_rig(config: SimulationConfig) -> tuple[CameraMount, ...]:
    """The cameras ``config.rig`` names: a public layout, or 'random', which follows from the seed."""
    if config.rig == "random":
        return random_rig(np.random.default_rng((config.seed, 12)))
    return mounts(config.rig)


def random_rig(random: Generator) -> tuple[CameraMount, ...]:
    """1-8 cameras of any of the kinds below."""
    draw = random.random()
    if draw < 0.2:
        return single_rig(random)
    if draw < 0.35:
        return stereo_rig(random)
    if draw < 0.65:
        return ring_rig(random, int(random.integers(3, 9)))
    return like_public(random)


def single_rig(random: Generator) -> tuple[CameraMount, ...]:
    """One camera; many look ahead."""
    draw = random.random()
    yaw = random.normal(0.0, 8.0) if draw < _AHEAD else random.normal(180.0, 8.0) if draw < _AHEAD + _BACK \
        else random.uniform(-180.0, 180.0)
    return (_camera(random, "camera", _on_body(random, yaw), yaw, field_of_view(random)),)


def stereo_rig(random: Generator) -> tuple[CameraMount, ...]:
    """Two almost parallel cameras 0.1-1.2 m apart."""
    yaw = random.normal(0.0, 6.0) if random.random() < 0.7 else random.uniform(-180.0, 180.0)
    left = _camera(random, "left", _on_body(random, yaw), yaw, field_of_view(random))
    baseline = math.exp(random.uniform(math.log(0.1), math.log(1.2)))
    across = math.radians(yaw - 90.0)
    x, y, z = left.xyz
    right = replace(left, name="right", xyz=(x + baseline * math.cos(across), y + baseline * math.sin(across),
                                             z + random.normal(0.0, 0.01)),
                    yaw=yaw + random.normal(0.0, 0.4), pitch=left.pitch + random.normal(0.0, 0.3),
                    roll=left.roll + random.normal(0.0, 0.3))
    return left, right


def ring_rig(random: Generator, count: int) -> tuple[CameraMount, ...]:
    """``count`` cameras around the vehicle, neighbours 360 / count degrees apart or, in a part, overlapping more."""
    spread = 360.0 if random.random() < 0.7 else random.uniform(90.0, 270.0)
    first = random.normal(0.0, 10.0)
    step = spread / count
    yaws = first + step * np.arange(count) + random.normal(0.0, 3.0, count)
    wide = float(np.clip(step * random.uniform(0.95, 1.5), 40.0, 110.0))
    height, alike = random.uniform(0.8, 3.0), random.random() < 0.6
    cameras = []
    for number, yaw in enumerate(yaws):
        x, y, _ = _on_body(random, float(yaw))
        z = float(np.clip(height + random.normal(0.0, 0.1), 0.8, 3.0))
        view = wide + random.normal(0.0, 1.0) if alike else field_of_view(random)
        cameras.append(_camera(random, f"camera_{number}", (x, y, z), float(yaw), view))
    return tuple(cameras)


def like_public(random: Generator) -> tuple[CameraMount, ...]:
    """A public layout with every camera moved, turned and zoomed a little, the whole rig at another height."""
    chosen = mounts(_LAYOUTS[int(random.choice(4, p=(0.35, 0.3, 0.2, 0.15)))])
    lift, zoom = random.normal(0.0, 0.2), random.normal(1.0, 0.08)
    pair = len(chosen) == 2
    slack = 0.02 if pair else 0.12
    return tuple(replace(
        mount, xyz=(mount.xyz[0] + random.normal(0.0, slack), mount.xyz[1] + random.normal(0.0, slack),
                    max(mount.xyz[2] + lift + random.normal(0.0, 0.3 * slack), 0.8)),
        yaw=mount.yaw + random.normal(0.0, 0.3 if pair else 2.5), pitch=mount.pitch + random.normal(0.0, 1.0),
        roll=mount.roll + random.normal(0.0, 0.7),
        field_of_view=float(np.clip(mount.field_of_view * zoom, 25.0, 120.0))) for mount in chosen)


def neighbours(rig: Sequence[CameraMount], count: int, random: Generator) -> tuple[CameraMount, ...]:
    """``count`` cameras of a rig that look to neighbouring sides."""
    around = sorted(rig, key=lambda mount: mount.yaw % 360.0)
    first = int(random.integers(len(around)))
    return tuple(around[(first + step) % len(around)] for step in range(count))


def cropped(rig: Sequence[CameraMount], largest: float, random: Generator) -> tuple[CameraMount, ...]:
    """Every camera cut down to a part of its image, enlarged 1..``largest`` times: a small training image then has
    the pixel angle of a large one, on which the precision of matching depends; most come close to it. Half of the
    rigs cut the same part from all cameras. Parts that show little but sky are rare: little is learned from them."""
    zoom = max(largest, 1.0) ** math.sqrt(random.random())
    same = len(rig) == 2 or random.random() < 0.5
    place = _place(random)
    found = []
    for mount in rig:
        where = place if same else _place(random)
        low = where * (zoom - 1.0)  # upper left corner in the enlarged image, in sizes of the part
        half = math.tan(math.radians(mount.field_of_view) / 2.0) / zoom
        found.append(replace(mount, field_of_view=2.0 * math.degrees(math.atan(half)),
                             principal_point=(0.5 * zoom - float(low[0]), 0.5 * zoom - float(low[1]))))
    return tuple(found)


def _place(random: Generator) -> NDArray[np.float64]:
    """Where a part is cut out: 0..1 from left to right and from top to bottom."""
    return np.array([random.random(), random.beta(3.0, 2.0)])


def field_of_view(random: Generator) -> float:
    """Horizontal, degrees: mostly 40-95, at times down to 25 or up to 120."""
    draw = random.random()
    if draw < 0.8:
        return random.uniform(40.0, 95.0)
    return random.uniform(25.0, 40.0) if draw < 0.9 else random.uniform(95.0, 120.0)


def _on_body(random: Generator, yaw: float) -> tuple[float, float, float]:
    """A place on the outside of a car's body on the side the camera looks to."""
    angle = math.radians(yaw)
    x = 1.3 + 1.2 * math.cos(angle) + random.normal(0.0, 0.3)
    return x, 0.7 * math.sin(angle) + random.normal(0.0, 0.15), random.uniform(0.8, 3.0)


def _camera(random: Generator, name: str, xyz: tuple[float, float, float], yaw: float, view: float) -> CameraMount:
    """A camera tilted by up to 8 degrees and rolled by up to 4, its principal point near the middle."""
    pitch, roll = np.clip(random.normal(0.0, (3.0, 1.5)), (-8.0, -4.0), (8.0, 4.0))
    centre = np.clip(random.normal(0.5, 0.015, 2), 0.45, 0.55)
    return CameraMount(name, xyz, yaw, view, float(pitch), float(roll), (float(centre[0]), float(centre[1])))
