"""The typed objects that pass between stages: numpy at the edges, no ROS, no torch.

Conventions (owned by ``geometry/``, see ``docs`` of each room): ``base_link`` x forward, y left, z up;
optical frames z forward, x right, y down; metres; ``T_target_source`` maps source into target;
integer pixel = pixel centre; depth = z in the optical frame, invalid = NaN; stamps = integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

UNKNOWN, FREE, OCCUPIED = -1, 0, 1
"""States of a voxel. Everything without evidence is UNKNOWN."""


VOXEL_LABELS = ("unknown", "road", "vehicle", "person", "structure", "vegetation", "other")
"""What an occupied voxel is; its label is the index. 0 = something, nobody knows what."""
UNKNOWN_LABEL, ROAD_LABEL = 0, 1


class InputError(ValueError):
    """Input that cannot be used; the message names the topic or file, the value and the remedy.

    ``reason`` is a short snake_case word, the key under which the rejection is counted.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        return type(self), (self.reason, str(self))


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """What a CameraInfo says of the pixels of one camera.

    width, height: size of the image in pixels.
    intrinsics: (3, 3) pinhole matrix K, pixels, integer pixel = pixel centre.
    distortion_model: ``plumb_bob`` (5), ``rational_polynomial`` (8) or ``equidistant`` (4 coefficients).
    distortion: (n,) coefficients in OpenCV's order; all zero (or empty) = already undistorted.
    """

    width: int
    height: int
    intrinsics: Matrix
    distortion_model: str = "plumb_bob"
    distortion: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))

    def key(self) -> tuple[object, ...]:
        """Hashable identity of the calibration, for caches of undistortion maps."""
        return (self.width, self.height, self.distortion_model,
                self.intrinsics.tobytes(), np.asarray(self.distortion).tobytes())


@dataclass(frozen=True, eq=False)
class CameraImage:
    """One camera's contribution to a frame.

    stamp: when the image was exposed, ns.
    image: (H, W, 3) uint8 RGB, as the camera gave it (distorted), or averaged down by a whole factor.
    calibration: of these pixels.
    T_base_camera: (4, 4) extrinsics: optical frame of the camera into ``base_link``.
    T_odom_base: (4, 4) ego pose at *this image's own stamp*, or None where ego motion is not known.
    mask: (H, W) bool, True where the pixel shows the world; False = ego vehicle. None = all True.
    frame_id: name of the optical frame, for outputs that belong to this camera.
    """

    name: str
    stamp: int
    image: NDArray[np.uint8]
    calibration: CameraCalibration
    T_base_camera: Matrix
    T_odom_base: Matrix | None = None
    mask: NDArray[np.bool_] | None = None
    frame_id: str = ""


@dataclass(frozen=True, eq=False)
class Frame:
    """One instant: the images that arrived in time, and which cameras were expected.

    stamp: reference stamp, ns: outputs carry it.
    T_odom_base: (4, 4) ego pose at ``stamp``, or None where ego motion is not known (no keyframes, no fusion
        over time).
    expected_cameras: names of all cameras of the rig; those without an image are ``missing``.
    segment: number of the stretch of time and motion without a break; frames of different ones share no past.
    """

    stamp: int
    images: tuple[CameraImage, ...]
    expected_cameras: tuple[str, ...]
    T_odom_base: Matrix | None = None
    base_frame: str = "base_link"
    segment: int = 0

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the contributing cameras."""
        return tuple(image.name for image in self.images)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of expected cameras without a usable image."""
        return tuple(name for name in self.expected_cameras if name not in self.present)


@dataclass(frozen=True, eq=False)
class DepthImage:
    """Depth of one camera at the engine's image size (undistorted pinhole).

    stamp: the image's own stamp, ns.
    image: (H, W, 3) uint8 RGB, undistorted, the pixels the depth belongs to.
    depth: (H, W) float32 metres along the optical axis, NaN = no depth given.
    confidence: (H, W) float32 in 0..1, NaN where depth is NaN.
    calibration: pinhole of this size, no distortion.
    T_base_camera: (4, 4) optical frame into ``base_link`` *at the frame's reference stamp* (ego motion between
        the image's stamp and the reference stamp included).
    """

    name: str
    stamp: int
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    calibration: CameraCalibration
    T_base_camera: Matrix


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Coloured points.

    points: (N, 3) float32 metres; colours: (N, 3) uint8 RGB; confidence: (N,) float32 in 0..1.
    """

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.points)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> PointCloud:
        """The points where ``keep`` (N,) bool or indices."""
        index = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        # Three times as fast as indexing.
        return PointCloud(self.points.take(index, 0), self.colours.take(index, 0), self.confidence.take(index))


@dataclass(frozen=True, eq=False)
class OccupancyVolume:
    """Tri-state occupancy around the vehicle, in ``base_link``.

    state: (Z, Y, X) int8 of UNKNOWN, FREE, OCCUPIED.
    probability: (Z, Y, X) float32 occupancy probability; 0.5 where unknown.
    origin: (3,) x, y, z of the lower corner of voxel (0, 0, 0), metres.
    voxel_size: edge, metres.
    ground: (Y, X) float32 height of the ground under each column, metres; None = the plane z = 0.
    label: (Z, Y, X) uint8 index into VOXEL_LABELS, UNKNOWN_LABEL where not occupied; None = nothing looked for classes.
    """

    state: NDArray[np.int8]
    probability: NDArray[np.float32]
    origin: NDArray[np.float64]
    voxel_size: float
    ground: NDArray[np.float32] | None = None
    label: NDArray[np.uint8] | None = None

    def centres(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(N, 3) centres x, y, z of the voxels where ``mask`` (Z, Y, X), in C order of the grid."""
        cell = np.flatnonzero(mask)
        row, x = np.divmod(cell, mask.shape[2])
        z, y = np.divmod(row, mask.shape[1])
        centres = np.empty((len(cell), 3), np.float32)
        for axis, index in enumerate((x, y, z)):
            centres[:, axis] = (index + 0.5) * self.voxel_size + self.origin[axis]
        return centres


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What one frame became: everything that is published, in ``base_link`` at ``stamp``.

    cloud: dense points; obstacles: ground removed, within height and range limits, finite only.
    depth_images: one for each contributing camera.
    cameras / missing: who contributed, who did not.
    timings_ms: stage name -> milliseconds. parts_ms: the same of what is done inside stages, for benchmarks.
    notes: plain sentences on what limits this result (no ego motion, no keyframe, ...).
    """

    stamp: int
    base_frame: str
    cloud: PointCloud
    obstacles: PointCloud
    occupancy: OccupancyVolume
    depth_images: tuple[DepthImage, ...]
    cameras: tuple[str, ...]
    missing: tuple[str, ...]
    timings_ms: Mapping[str, float]
    notes: tuple[str, ...] = ()
    parts_ms: Mapping[str, float] = field(default_factory=dict)
