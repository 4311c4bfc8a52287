"""What depth is learned from: a few views of one vehicle, with the truth."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class ViewGroup:
    """Views of one vehicle over a few instants, all of one size, with what the network is told and the truth.

    images: (V, 3, H, W) uint8 RGB.
    intrinsics: (V, 3, 3) float32, pixels of these images, as the network is told (calibration errors included).
    T_base_camera: (V, 4, 4) float64, optical frame into ``base_link`` of the newest instant, as the network is told
        (calibration and odometry errors included).
    mask: (V, H, W) bool, False = ego vehicle, dirt known to the rig file, or outside the undistorted image.
    depth: (V, H, W) float32 metres along the optical axis; NaN = truth unknown, inf = sky.
    moving: (V, H, W) bool, the pixel shows something that moves relative to the street.
    sources: (V, S) int64, views each view is matched with, best first; -1 = none. Wrong or dropped ones included.
    instant: (V,) int64, 0 = the newest, 1, 2, ... = earlier keyframes.
    camera: (V,) int64, number of the camera in its rig.
    """

    images: Tensor
    intrinsics: Tensor
    T_base_camera: Tensor
    mask: Tensor
    depth: Tensor
    moving: Tensor
    sources: Tensor
    instant: Tensor
    camera: Tensor
