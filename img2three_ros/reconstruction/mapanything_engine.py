"""The ``mapanything`` engine: MapAnything, a network that takes all views at once with what is known of the cameras.

An adapter: the network comes with its own package (``pip install git+https://github.com/facebookresearch/map-anything``)
and its own weights (``facebook/map-anything-apache`` is under Apache-2.0, ``facebook/map-anything`` for non-commercial
use only), and is imported only when it is chosen. What was run and what was not: docs/pointmap_engines.md.

Keetha et al., "MapAnything: Universal Feed-Forward Metric 3D Reconstruction" (3DV 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import MapAnythingConfig
from ..geometry.rays import pixel_rays
from ..geometry.transforms import inverse
from ..structures import InputError
from .pointmap_depth import Estimate, depth_view, expected_error
from .pointmap_placement import USELESS, ways_doubt
from .pointmap_window import Member, choose_window, member, network_size
from .sources import parallax_notes
from .views import Geometry, PreparedFrame, View

PATCH = 14
_LEARNED_METRE = 0.25
"""Doubt of a metre that nothing but the look of things tells: too much for free space (see docs)."""
_SCALE_IN_DOUBT = 0.1
_LEAST_WAY = 0.1
"""Metres between cameras from which the known distances say how long a metre is."""
_NEIGHBOURS = 3

Prediction = dict[str, Tensor]


class MultiViewNetwork(Protocol):
    """What of ``mapanything.models.MapAnything`` is used."""

    encoder: Any

    def infer(self, views: list[dict[str, Any]], *, memory_efficient_inference: bool, use_amp: bool, apply_mask: bool,
              mask_edges: bool) -> list[Prediction]:
        """One prediction for each view: ``depth_z`` (1, h, w, 1), ``conf`` (1, h, w), ``camera_poses`` (1, 4, 4)."""
        ...


def read_model(config: MapAnythingConfig) -> MultiViewNetwork:
    """The network of ``config.model``, on the CPU. Raises InputError('package' | 'checkpoint')."""
    try:
        from mapanything.models import MapAnything
    except ImportError as error:
        raise InputError("package", f"engine mapanything needs the package mapanything, which cannot be imported "
                         f"({error}): pip install git+https://github.com/facebookresearch/map-anything. Its weights "
                         "facebook/map-anything-apache (Apache-2.0) are then fetched from Hugging Face, or give a "
                         "folder as mapanything.model") from error
    name = str(Path(config.model).expanduser()) if config.model.startswith("~") else config.model
    try:
        network: MultiViewNetwork = MapAnything.from_pretrained(name).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError("checkpoint", f"engine mapanything: mapanything.model = '{config.model}' cannot be read "
                         f"({error}): give the name of a model on Hugging Face (facebook/map-anything-apache is under "
                         "Apache-2.0) or a folder with its config.json and model.safetensors") from error
    return network


class MapAnythingEngine:
    """All views to metric depth in one pass, see ``reconstruct``. Remembers nothing. Not thread-safe."""

    def __init__(self, config: MapAnythingConfig, device: torch.device, network: MultiViewNetwork) -> None:
        self.config, self.device = config, device
        self.network = network.to(device) if isinstance(network, torch.nn.Module) else network
        self.mean, self.deviation = _normalisation(network.encoder.data_norm_type, device)

    def reset(self) -> None:
        """Nothing is remembered."""

    @torch.no_grad()
    def reconstruct(self, frame: PreparedFrame, keyframes: Sequence[PreparedFrame]) -> Geometry:
        """Depth and confidence of every view of ``frame``; keyframes with ego poses, oldest first.

        Where known ways between cameras tell the metre, the network is held to it; where none do its own is doubted.
        """
        views, pairs = choose_window(frame, keyframes, _NEIGHBOURS, self.config.window)
        size = common_size([view for _, view in views], self.config.size)
        members = [member(frame, of, view, size) for of, view in views]
        predictions = self.network.infer([self._input(one) for one in members], memory_efficient_inference=False,
                                         use_amp=self.device.type == "cuda", apply_mask=True, mask_edges=True)
        if len(predictions) != len(members):
            raise InputError("engine", f"MapAnything answered with {len(predictions)} views for {len(members)}")
        blind = [view.name for number, view in enumerate(frame.views) if all(number not in pair for pair in pairs)]
        notes = list(parallax_notes(frame, keyframes, blind))
        doubt = metre_doubt(members, predictions) if self.config.poses else None
        if doubt is None:
            notes.append("no known distance between cameras tells how long a metre is: the network guesses it")
        elif doubt > USELESS:
            notes.append("no depth: the network contradicts the known distances between the cameras altogether")
        elif doubt > _SCALE_IN_DOUBT:
            notes.append(f"the metre is in doubt by {100 * doubt:.0f} %: the network and the known distances between "
                         "the cameras fit badly")
        supposed = _LEARNED_METRE if doubt is None else doubt
        found = [self._estimate(one, prediction, max(supposed, _LEARNED_METRE) if one.view.name in blind else supposed)
                 if supposed <= USELESS else None
                 for one, prediction in zip(members[:len(frame.views)], predictions, strict=False)]
        return Geometry(tuple(depth_view(one.view, own, self.config.max_depth, self.config.min_confidence)
                              for one, own in zip(members, found, strict=False)), tuple(notes))

    def _input(self, one: Member) -> dict[str, Any]:
        """A view as ``infer`` takes it: normalised image (1, 3, h, w), K, and camera into world in optical axes."""
        assert one.camera.intrinsics is not None and one.camera.T_world_camera is not None
        image = ((one.image + 1.0) / 2.0 - self.mean) / self.deviation
        given: dict[str, Any] = {
            "img": image[None], "data_norm_type": [self.network.encoder.data_norm_type],
            "intrinsics": torch.from_numpy(one.camera.intrinsics).float()[None].to(self.device)}
        if self.config.poses:
            given["camera_poses"] = torch.from_numpy(one.camera.T_world_camera).float()[None].to(self.device)
            given["is_metric_scale"] = torch.ones(1, dtype=torch.bool, device=self.device)
        return given

    def _estimate(self, one: Member, prediction: Prediction, doubt: float) -> Estimate:
        assert one.camera.intrinsics is not None
        depth = prediction["depth_z"].to(self.device).float().reshape(one.camera.size)
        confidence = prediction["conf"].to(self.device).float().reshape(one.camera.size)
        known = torch.isfinite(depth) & (depth > 0) & one.mask
        if "mask" in prediction:
            known &= prediction["mask"].to(self.device).reshape(one.camera.size).bool()
        depth = torch.where(known, depth, torch.full_like(depth, float("nan")))
        rays = pixel_rays(torch.from_numpy(one.camera.intrinsics).float().to(self.device), *one.camera.size)
        error = (expected_error(confidence, depth * rays.norm(dim=-1)).square() + doubt ** 2).sqrt()
        return Estimate(depth, error)


def common_size(views: Sequence[View], side: int) -> tuple[int, int]:
    """(height, width) for all views, which the network wants to be of one size: the mean of their aspect ratios."""
    aspect = float(np.exp(np.mean([np.log(view.size[1] / view.size[0]) for view in views])))
    return network_size((1000, round(1000 * aspect)), side, PATCH)


def metre_doubt(members: Sequence[Member], predictions: Sequence[Prediction]) -> float | None:
    """Relative deviation of the metre: ways from the first camera to the others as predicted against the known ones.

    None where the cameras lie too close together to tell; infinite where the two have nothing in common.
    """
    told, given = [], []
    reference = predictions[0]["camera_poses"][0].double().cpu().numpy()
    for one, prediction in zip(members[1:], predictions[1:], strict=True):
        assert one.camera.T_world_camera is not None and members[0].camera.T_world_camera is not None
        told.append((inverse(reference) @ prediction["camera_poses"][0].double().cpu().numpy())[:3, 3])
        given.append((inverse(members[0].camera.T_world_camera) @ one.camera.T_world_camera)[:3, 3])
    if not given or float(np.linalg.norm(given, axis=1).max()) < _LEAST_WAY:
        return None
    return ways_doubt(np.array(told), np.array(given))


def _normalisation(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3, 1, 1) of the colours, by the name that the network's encoder gives."""
    from uniception.models.encoders.image_normalizations import IMAGE_NORMALIZATION_DICT

    if name not in IMAGE_NORMALIZATION_DICT:
        raise InputError("package", f"mapanything normalises images by '{name}', which uniception does not know")
    chosen = IMAGE_NORMALIZATION_DICT[name]
    mean, deviation = (torch.as_tensor(values).float().reshape(3, 1, 1).to(device) for values in (chosen.mean,
                                                                                                  chosen.std))
    return mean, deviation
