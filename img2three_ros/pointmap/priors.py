"""What is known beforehand of cameras: intrinsics, exact or nearly, and poses, which may be wrong by a little.

Known poses never fix a camera. They pull it, with a stated standard deviation and robustly, so that a camera whose
published pose is wrong is left where the images want it; and the pairs keep their own similarities in any case. Hard
poses are what breaks clouds apart when pairs disagree with the calibration by a fraction of a degree.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .residuals import Block, Layout, State
from .similarity import rotation_log

OUTLIER = 3.0
"""Standard deviations at which a prior loses half of its pull."""


@dataclass(frozen=True, eq=False)
class PosePrior:
    """Poses that are believed: T_world_camera of the images in ``image`` (m,), (m, 4, 4), metres, around their mean.

    sigma_rotation: radians; sigma_translation: metres.
    """

    image: Tensor
    pose: Tensor
    sigma_rotation: float
    sigma_translation: float

    def deviations(self, state: State) -> Tensor:
        """(m, 6) rotation and translation of every camera against its prior, in standard deviations."""
        camera = state.camera[self.image]
        rotation = rotation_log(self.pose[:, :3, :3].transpose(1, 2) @ camera[:, :3, :3])
        offset = torch.exp(-state.log_unit) * camera[:, :3, 3] - self.pose[:, :3, 3]
        offset = (camera[:, :3, :3].transpose(1, 2) @ offset.unsqueeze(2)).squeeze(2)
        return torch.cat((rotation / self.sigma_rotation, offset / self.sigma_translation), 1)

    def cost(self, state: State) -> Tensor:
        """() negative log likelihood, Cauchy-like: grows as the square of small deviations, as the log of large."""
        square = self.deviations(state).square().sum(1)
        return 0.5 * OUTLIER ** 2 * torch.log1p(square / OUTLIER ** 2).sum()

    def pull(self, state: State) -> Tensor:
        """(m,) share of its pull that every prior has left, 0..1; below a half: the images contradict it."""
        return 1.0 / (1.0 + self.deviations(state).square().sum(1) / OUTLIER ** 2)

    def blocks(self, state: State) -> list[Block]:
        """Normal equations of every camera's prior over its pose and the log unit."""
        layout = Layout(len(state.camera), len(state.edge))
        deviation, pull = self.deviations(state), self.pull(state)
        per_metre = torch.exp(-state.log_unit)
        eye = torch.eye(3, dtype=deviation.dtype, device=deviation.device)
        blocks = []
        for row, image in enumerate(self.image.tolist()):
            camera = state.camera[image]
            jacobian = deviation.new_zeros(6, 7)
            jacobian[:3, :3] = eye / self.sigma_rotation
            jacobian[3:, 3:6] = eye * per_metre / self.sigma_translation
            jacobian[3:, 6] = -(camera[:3, :3].T @ camera[:3, 3]) * per_metre / self.sigma_translation
            index = torch.cat((6 * image + torch.arange(6), torch.tensor([layout.size - 1]))).to(deviation.device)
            weighted = pull[row] * jacobian.T
            blocks.append(Block(index, weighted @ jacobian, weighted @ deviation[row]))
        return blocks


@dataclass(frozen=True, eq=False)
class FocalPrior:
    """Focals that are believed: log_focal (n,) of fx, sigma (n,) relative; infinite = not known, 0 = exact."""

    log_focal: Tensor
    sigma: Tensor

    def cost(self, state: State) -> Tensor:
        """() negative log likelihood of the focals that are neither exact nor unknown."""
        return 0.5 * self._deviation(state).square().sum()

    def blocks(self, state: State) -> list[Block]:
        """Normal equations, one scalar per image with an inexact prior."""
        layout = Layout(len(state.camera), len(state.edge))
        deviation = self._deviation(state)
        return [Block(torch.tensor([6 * layout.images + image], device=deviation.device),
                      (1.0 / self.sigma[image].square()).reshape(1, 1),
                      (deviation[image] / self.sigma[image]).reshape(1))
                for image in torch.nonzero(self._counts()).flatten().tolist()]

    @property
    def exact(self) -> Tensor:
        """(n,) bool."""
        return self.sigma == 0

    def _counts(self) -> Tensor:
        return (self.sigma > 0) & torch.isfinite(self.sigma)

    def _deviation(self, state: State) -> Tensor:
        off = state.intrinsics[:, 0].log() - self.log_focal
        return torch.where(self._counts(), off / self.sigma.clamp(min=1e-12), torch.zeros_like(off))
