"""Views of a scene from outside: a camera that circles the vehicle and looks at it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..geometry.transforms import apply, from_rotation_translation, inverse
from ..models.scene_render import Picture
from ..reconstruction.scene_space import SceneSpace
from ..structures import Matrix
from .birds_eye import VEHICLE
from .colours import TEXT, Image, depth_colours

VEHICLE_CENTRE = ((VEHICLE[0] + VEHICLE[1]) / 2.0, 0.0, 0.75)
VEHICLE_HEIGHT = 1.5


@dataclass(frozen=True)
class Orbit:
    """A circle around the vehicle. radius: metres in the plane; height: above base_link; target: (x, y, z) that is
    looked at; field_of_view: horizontal, degrees."""

    radius: float = 10.0
    height: float = 6.0
    target: tuple[float, float, float] = VEHICLE_CENTRE
    field_of_view: float = 80.0

    def pose(self, angle: float) -> Matrix:
        """``T_base_camera`` (4, 4) at an angle, radians: 0 = behind the vehicle, growing to its right (anticlockwise
        from above)."""
        x, y, _ = self.target
        eye = (x - self.radius * math.cos(angle), y - self.radius * math.sin(angle), self.height)
        return looking_at(eye, self.target)

    def intrinsics(self, size: tuple[int, int]) -> Matrix:
        """Pinhole (3, 3) of pictures of ``size`` (height, width)."""
        height, width = size
        focal = 0.5 * width / math.tan(math.radians(self.field_of_view) / 2.0)
        return np.array(((focal, 0.0, (width - 1) / 2.0), (0.0, focal, (height - 1) / 2.0), (0.0, 0.0, 1.0)))


def looking_at(eye: ArrayLike, target: ArrayLike) -> Matrix:
    """``T_base_camera`` (4, 4) of a camera at ``eye`` whose optical axis meets ``target``, (3,) metres each; its x axis
    is level. Raises ValueError if one is right above the other."""
    place = np.asarray(eye, dtype=np.float64)
    forward = np.asarray(target, dtype=np.float64) - place
    right = np.cross(forward, (0.0, 0.0, 1.0))
    if np.linalg.norm(right) < 1e-6:
        raise ValueError(f"a camera at {place.tolist()} that looks straight up or down has no level axis")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    return from_rotation_translation(np.column_stack((right, np.cross(forward, right), forward)), place)


def orbit_views(space: SceneSpace, count: int, size: tuple[int, int], orbit: Orbit | None = None) -> Iterator[Image]:
    """``count`` pictures around the vehicle, see ``view_from_outside``; the one after the last would be the first."""
    for number in range(count):
        yield view_from_outside(space, 2.0 * math.pi * number / count, size, orbit)


def view_from_outside(space: SceneSpace, angle: float, size: tuple[int, int], orbit: Orbit | None = None) -> Image:
    """(2 * height, width, 3): colours above depth from a place of the orbit (see ``Orbit.pose``); ``size`` (height,
    width) is that of either. The vehicle, which no camera sees, is a box of lines."""
    orbit = orbit or Orbit()
    intrinsics, pose = orbit.intrinsics(size), orbit.pose(angle)
    found = space.render(torch.from_numpy(intrinsics).float(), torch.from_numpy(pose), size)
    shown = np.concatenate((colour_image(found), depth_image_of(found)))
    for part in (shown[:size[0]], shown[size[0]:]):
        _draw_vehicle(part, intrinsics, pose)
    return shown


def colour_image(picture: Picture) -> Image:
    """(H, W, 3) RGB of a rendered view."""
    return (picture.colours.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()


def depth_image_of(picture: Picture) -> Image:
    """(H, W, 3): rendered depth in colour; the sky is the background."""
    depth = picture.depth.cpu().numpy()
    return depth_colours(np.where(np.isfinite(depth), depth, np.nan))


def _draw_vehicle(picture: Image, intrinsics: Matrix, T_base_camera: Matrix) -> None:
    """The twelve edges of the vehicle's box, in place; nothing where part of it is behind the camera."""
    rear, front, side = VEHICLE
    corners = np.array([(x, y, z) for x in (rear, front) for y in (-side, side) for z in (0.0, VEHICLE_HEIGHT)])
    local = apply(inverse(T_base_camera), corners)
    if local[:, 2].min() < 0.1:
        return
    pixels: NDArray[np.floating] = (local @ intrinsics.T)[:, :2] / local[:, 2:]
    drawn = np.ascontiguousarray(picture)
    for one in range(8):
        for axis in (1, 2, 4):
            if not one & axis:
                start, end = (tuple(int(value) for value in np.rint(pixels[corner]).clip(-1e4, 1e4))
                              for corner in (one, one | axis))
                cv2.line(drawn, start, end, TEXT, 1, cv2.LINE_AA)
    if drawn is not picture:
        picture[:] = drawn
