"""Matching of views at depth hypotheses: where a hypothesis lies in a source view, and how well it looks alike there.

Group-wise correlation (Guo et al., "Group-wise Correlation Stereo Network", CVPR 2019) with geometric metadata per
hypothesis (Sayed et al., "SimpleRecon", ECCV 2022): the network is told how far a depth step moves the projection,
whether the source sees it, and how high above the ground the hypothesis lies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

_BEHIND = 1e-3


@dataclass(frozen=True, eq=False)
class MatchGeometry:
    """R reference views, N source views, up to S sources per reference.

    intrinsics: (R, 3, 3) float32, pixels of the reference images (H x W).
    source_intrinsics: (N, 3, 3) float32, pixels of the source images (all sources of one size).
    sources: (R, S) int64, row of the source features; -1 = none.
    T_source_reference: (R, S, 4, 4) float32; anything where there is no source.
    T_base_camera: (R, 4, 4) float32, optical frame of the reference into base_link (z up, ground near z = 0).
    mask: (R, H, W) bool and source_mask: (N, h, w) bool, False = ego vehicle or outside the undistorted image.
    """

    intrinsics: Tensor
    source_intrinsics: Tensor
    sources: Tensor
    T_source_reference: Tensor
    T_base_camera: Tensor
    mask: Tensor
    source_mask: Tensor

    def select(self, rows: slice) -> MatchGeometry:
        """The geometry of some of the references."""
        return replace(self, intrinsics=self.intrinsics[rows], sources=self.sources[rows], mask=self.mask[rows],
                       T_source_reference=self.T_source_reference[rows], T_base_camera=self.T_base_camera[rows])


@dataclass(frozen=True, eq=False)
class PairWarps:
    """Where reference pixels lie in the source views, at one scale, for every pair of reference and source slot.

    infinity: (R, S, 3, h, w) homogeneous source pixels at infinite depth; parallax: (R, S, 3) added per 1/m.
    present: (R, S) bool; source_rows: (R, S) int64, 0 where not present; source_size: (h, w) of the source features.
    """

    infinity: Tensor
    parallax: Tensor
    present: Tensor
    source_rows: Tensor
    source_size: tuple[int, int]

    def pixels(self, slot: int, inverse_depth: Tensor) -> tuple[Tensor, Tensor]:
        """Source pixels (R, D, h, w, 2) of inverse depths (R, D, h, w) or broadcastable, and whether in front."""
        base, step = self.infinity[:, slot, :, None], self.parallax[:, slot, :, None, None, None]
        z = base[:, 2] + step[:, 2] * inverse_depth
        scale = 1.0 / z.clamp(min=_BEHIND)
        x = (base[:, 0] + step[:, 0] * inverse_depth) * scale
        y = (base[:, 1] + step[:, 1] * inverse_depth) * scale
        return torch.stack((x, y), -1), (z > _BEHIND) & self.present[:, slot, None, None, None]

    def every_second(self) -> PairWarps:
        """The same for every second reference pixel of every second row."""
        return replace(self, infinity=self.infinity[..., 1::2, 1::2])


def pair_warps(geometry: MatchGeometry, stride: int, source_stride: int) -> PairWarps:
    """Warps of reference features at 1/stride of the images' size to source features at 1/source_stride (a feature is
    the centre of its block of pixels)."""
    height, width = geometry.mask.shape[-2] // stride, geometry.mask.shape[-1] // stride
    rows = geometry.sources.clamp(min=0)
    source = (_shrink(source_stride).to(rows.device) @ geometry.source_intrinsics.double())[rows]
    reference = _shrink(stride).to(rows.device) @ geometry.intrinsics.double()
    pose = geometry.T_source_reference.double()
    turn = source @ pose[..., :3, :3] @ torch.linalg.inv(reference)[:, None]
    step = (source @ pose[..., :3, 3:]).squeeze(-1)
    pixels = _homogeneous_pixels(height, width, turn.device)
    infinity = (turn.float() @ pixels).unflatten(-1, (height, width))
    size = geometry.source_mask.shape[-2] // source_stride, geometry.source_mask.shape[-1] // source_stride
    return PairWarps(infinity, step.float(), geometry.sources >= 0, rows, size)


def _shrink(stride: int) -> Tensor:
    """(3, 3) float64, pixels of the image -> pixels at 1/stride."""
    shift = 0.5 / stride - 0.5
    return torch.tensor([[1.0 / stride, 0.0, shift], [0.0, 1.0 / stride, shift], [0.0, 0.0, 1.0]], dtype=torch.float64)


def rays_in_base(geometry: MatchGeometry, stride: int) -> Tensor:
    """(R, 3, h, w) direction of each feature's ray in base_link, per metre of depth."""
    height, width = geometry.mask.shape[-2] // stride, geometry.mask.shape[-1] // stride
    pixels = _homogeneous_pixels(height, width, geometry.intrinsics.device).clone()
    pixels[:2] = pixels[:2] * stride + (stride - 1) / 2.0
    camera = torch.linalg.inv(geometry.intrinsics.double()).float() @ pixels
    return (geometry.T_base_camera[:, :3, :3].float() @ camera).unflatten(-1, (height, width))


def _homogeneous_pixels(height: int, width: int, device: torch.device) -> Tensor:
    v, u = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack((u, v, torch.ones_like(u))).reshape(3, -1).float()


def masked_features(features: Tensor, mask: Tensor) -> Tensor:
    """(N, C + 1, h, w): features (N, C, h, w), 0 where the image shows the ego vehicle, and their mask (N, H, W)."""
    share = functional.avg_pool2d(mask[:, None].float(), mask.shape[-1] // features.shape[-1])
    return torch.cat((features.float() * share, share), 1)


class HypothesisMatcher(nn.Module):
    """Scores depth hypotheses of each reference pixel by all its sources.

    Every source is judged on its own (correlation, visibility, parallax) and says how much it is to be trusted;
    the sum over sources takes any number of them, none included. The trusted mean of the correlations goes straight
    into the first output, times a learned sharpness: so the descriptors learn to match from the first step on.
    """

    def __init__(self, groups: int, out: int, hidden: int = 16) -> None:
        super().__init__()
        self.groups = groups
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.judge = nn.Sequential(nn.Conv2d(groups + 2, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 9, 1))
        self.merge = nn.Sequential(nn.Conv2d(8 + 1 + 2, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, out, 1))

    def forward(self, reference: Tensor, sources: Tensor, warps: PairWarps, inverse_depth: Tensor,
                height: Tensor) -> Tensor:
        """(R, out, D, h, w) for reference features (R, C, h, w) and masked source features (N, C + 1, h', w').

        inverse_depth: (R or 1, D, h or 1, w or 1) in 1/m; height: (R, D, h, w) metres of each hypothesis in base_link.
        """
        count, _, rows, columns = reference.shape
        planes = inverse_depth.shape[1]
        total = reference.new_zeros(count, 8, planes * rows, columns)
        likeness = reference.new_zeros(count, 1, planes * rows, columns)
        trust = reference.new_full((count, 1, planes * rows, columns), 1e-3)
        for slot in range(warps.present.shape[1]):
            if not torch.jit.is_tracing() and not bool(warps.present[:, slot].any()):
                continue
            alike, seen, moved = self._correlate(reference, sources, warps, slot, inverse_depth)
            said, trusted = self.judge(torch.cat((4.0 * alike, seen, moved), 1)).float().split((8, 1), 1)
            weight = seen * torch.sigmoid(trusted)
            total = torch.addcmul(total, weight, said)
            likeness = torch.addcmul(likeness, weight, alike.sum(1, keepdim=True))
            trust = trust + weight
        stacked = torch.cat((total / trust, trust.clamp(max=4.0),
                             torch.tanh(0.5 * height).reshape(count, 1, planes * rows, columns),
                             torch.tanh(0.1 * height).reshape(count, 1, planes * rows, columns)), 1)
        first, others = self.merge(stacked).float().split((1, self.merge[-1].out_channels - 1), 1)
        first = first + self.sharpness * likeness / trust
        return torch.cat((first, others), 1).unflatten(2, (planes, rows))

    def _correlate(self, reference: Tensor, sources: Tensor, warps: PairWarps, slot: int,
                   inverse_depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Correlation (R, groups, D*h, w) where seen, visibility and movement (R, 1, D*h, w)."""
        count, channels, rows, columns = reference.shape
        planes = inverse_depth.shape[1]
        pixels, front = warps.pixels(slot, inverse_depth)
        height, width = warps.source_size
        to_grid = pixels.new_tensor((2.0 / width, 2.0 / height))
        grid = ((pixels + 0.5) * to_grid - 1.0).clamp(-3.0, 3.0)
        sampled = functional.grid_sample(sources[warps.source_rows[:, slot]],
                                         grid.reshape(count, planes * rows, columns, 2), align_corners=False)
        described, visible = sampled.split((channels, 1), 1)
        seen = visible * front.reshape(count, 1, planes * rows, columns)
        alike = _group_products(described.reshape(count, channels, planes, rows, columns), reference, self.groups)
        alike = alike.reshape(count, self.groups, planes * rows, columns)
        moved = _movement(pixels.detach()).reshape(count, 1, planes * rows, columns)
        return alike * seen, seen, moved


def _group_products(sampled: Tensor, reference: Tensor, groups: int) -> Tensor:
    """(R, G, D, h, w) scalar products of descriptors (R, C, D, h, w) and (R, C, h, w) over each group of channels.

    Channel c belongs to group c % G: sums of whole slices, which need neither a product of full size nor a copy.
    """
    pairs = zip(sampled.unflatten(1, (-1, groups)).unbind(1), reference.unflatten(1, (-1, groups)).unbind(1),
                strict=True)
    first, second = next(pairs)
    total = first * second[:, :, None]
    for first, second in pairs:
        total = torch.addcmul(total, first, second[:, :, None])
    return total


def _movement(pixels: Tensor) -> Tensor:
    """(R, D, h, w) log of the feature pixels a step to the next hypothesis moves the projection, within bounds."""
    step = (pixels[:, 1:] - pixels[:, :-1]).norm(dim=-1)
    return torch.cat((step, step[:, -1:]), 1).clamp(1e-3, 20.0).log()
