"""Fusion: depth with its uncertainty, frame by frame, into the tri-state occupancy grid around the vehicle.

Occupancy is kept as log-odds (Moravec & Elfes 1985; OctoMap, Hornung et al. 2013) in a grid that is fixed in the
world and follows the vehicle (fusion_grid.py). Each frame adds what its depth images say (fusion_evidence.py).
Unknown is never free: a voxel is free only if confident pixels over all of its footprint look through it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..config import OccupancyConfig
from ..geometry.voxel_grid import grid_size
from ..structures import FREE, OCCUPIED, UNKNOWN, OccupancyVolume
from .fusion_evidence import (
    MAX_HIT,
    Camera,
    HitSums,
    add_free,
    confident_pixels,
    footprint_image,
    project_columns,
)
from .fusion_grid import EvidenceGrid
from .views import DepthView, Geometry, PreparedFrame

LEAST, MOST = -2.5, 3.5
"""Log-odds are kept in these bounds, so that the world may change its mind within a few frames."""
HIT_VETO = 0.3
"""Surface evidence from which a voxel is not called free by the same frame."""
DECAY_PERIOD = 100_000_000
"""The configured decay is per this time, ns."""


class OccupancyFusion:
    """Evidence of all frames so far. Not thread-safe; one instance per vehicle.

    - Evidence of the past decays with time, and moves with the vehicle where ego poses are known.
      Without an ego pose a frame stands alone.
    - A surface seen now wipes an older belief that the voxel is free; free space seen now has to wear down an older
      belief that it is occupied.
    - A known camera that gave no depth this time leaves its sector unknown at once, except where another camera
      gives evidence now.
    - Belief that a voxel is free ends when it leaves the frustums of the cameras; obstacles just decay.
    """

    def __init__(self, config: OccupancyConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        self._size = grid_size(config)
        self._device = torch.device(device)
        self._grid = EvidenceGrid(self._size, self._device)
        self._cameras: dict[str, Camera] = {}
        self._stamp: int | None = None

    def reset(self) -> None:
        """Forget all evidence (time jump) and the cameras known so far."""
        self._grid.reset()
        self._cameras.clear()
        self._stamp = None

    @torch.no_grad()
    def update(self, prepared: PreparedFrame, geometry: Geometry) -> OccupancyVolume:
        """Add one frame and give the occupancy around the vehicle at its stamp.

        Frames come in the order of their stamps; an older stamp than the last one empties the grid first.
        """
        self._grid.move(prepared.T_odom_base, self._decay(prepared.stamp))
        columns = self._grid.columns()
        cell_from_base = self._grid.cell_from_base
        flat = self._grid.flat_index(columns)
        evidence = self._grid.log_odds.view(-1)
        log_odds = torch.take(evidence, flat)
        free = torch.zeros_like(log_odds)
        sums = HitSums.empty(columns, tuple(self._grid.log_odds.shape[1:]), self.config.max_range)
        live = torch.zeros_like(log_odds, dtype=torch.bool)
        present = {image.view.name: _camera(image) for image in geometry.depths}
        self._cameras.update(present)
        for name, camera in self._cameras.items():
            if name not in present:
                lost = project_columns(camera, columns, cell_from_base, margin=1.0)
                log_odds[:, lost.chosen] = log_odds[:, lost.chosen].masked_fill(lost.inside, 0.0)
        for image in geometry.depths:
            camera = present[image.view.name]
            projection = project_columns(camera, columns, cell_from_base)
            live[:, projection.chosen] |= projection.inside
            confident = confident_pixels(image, self.config.min_confidence)
            add_free(free, projection, columns, footprint_image(image, confident, self.config), self.config,
                     -_log_odds(self.config.free_threshold))
            sums.add(image, confident, camera, cell_from_base, self.config.voxel_size)
        hits, possible = (values[1:-1].view_as(log_odds) for values in (sums.hits, sums.possible))
        evidence[flat] = _updated(log_odds, free, hits, possible, live)
        return self._volume()

    def _decay(self, stamp: int) -> float:
        elapsed = 0 if self._stamp is None else stamp - self._stamp
        if elapsed < 0:
            self._grid.reset()
        self._stamp = stamp
        return self.config.decay ** max(1.0, elapsed / DECAY_PERIOD)

    def _volume(self) -> OccupancyVolume:
        log_odds, free = self._grid.lookup(_log_odds(self.config.free_threshold))
        occupied = log_odds >= _log_odds(self.config.occupied_threshold)
        state = torch.full_like(log_odds, UNKNOWN, dtype=torch.int8)
        state.masked_fill_(free, FREE).masked_fill_(occupied, OCCUPIED)
        probability = torch.sigmoid(log_odds).masked_fill_(state == UNKNOWN, 0.5)
        return OccupancyVolume(state.cpu().numpy(), probability.cpu().numpy(), np.array(self._size.low),
                               self._size.voxel_size)


def _camera(image: DepthView) -> Camera:
    return Camera(image.view.intrinsics.double().cpu().numpy(), image.view.size, image.view.T_base_camera)


def _updated(log_odds: Tensor, free: Tensor, hits: Tensor, possible: Tensor, live: Tensor) -> Tensor:
    """Log-odds (levels, C) after one frame; ``live``: in the frustum of a camera that gave depth.

    Where a surface is possible a voxel is not free; only where it is believed to be it becomes occupied.
    """
    hits = hits.clamp_(max=MAX_HIT)
    struck = torch.maximum(hits, possible) > HIT_VETO
    trusted = struck.logical_not().logical_and_(live)
    believed = torch.where(trusted, log_odds, log_odds.clamp(min=0.0))
    return believed.add_(hits).sub_(free.masked_fill_(struck, 0.0)).clamp_(LEAST, MOST)


def _log_odds(probability: float) -> float:
    probability = min(max(probability, 1e-3), 1.0 - 1e-3)
    return math.log(probability / (1.0 - probability))
