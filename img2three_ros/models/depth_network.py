"""Depth of each view from a few images: matching where there is parallax, context where there is none.

encode       each image on its own (``image_encoder``; the export seam, cached for keyframes)
sweep        at 1/8: all depth hypotheses scored against any number of source views, by learned descriptors
             (``matching``), which find, and by windows of the images (``windows``), which are exact, also smoothed
             along surfaces (``semi_global``)
regularise   a 2D U-Net over scores, image context and viewing rays -> distribution over hypotheses
refine       at 1/4, twice: a few surfaces around the estimate, re-matched with windows of the images (``windows``;
             coarse to fine: Eigen et al., "Depth Map Prediction from a Single Image", NeurIPS 2014)
upsample     convex combination of neighbours (Teed and Deng, "RAFT", ECCV 2020), then bilinear to the image's size
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Residual
from .image_encoder import EncoderConfig, Features, ImageEncoder
from .matching import HypothesisMatcher, MatchGeometry, PairWarps, masked_features, pair_warps, rays_in_base
from .semi_global import Smoothness, semi_global
from .windows import match_windows, sweep_windows, usable_half

_SMOOTHNESS = Smoothness(step=0.1)


@dataclass(frozen=True)
class DepthNetworkConfig:
    """planes: hypotheses of constant ratio between min_depth and max_depth (m). widths: channels of the U-Net at
    1/8, 1/16, 1/32. candidates: hypotheses per refinement. match: channels of descriptors. groups: of correlation."""

    planes: int = 64
    min_depth: float = 1.0
    max_depth: float = 160.0
    match: int = 16
    groups: int = 4
    context: tuple[int, int, int, int] = (32, 64, 96, 128)
    widths: tuple[int, int, int] = (128, 144, 160)
    refine_width: int = 64
    candidates: int = 9
    refinements: int = 2


@dataclass(frozen=True, eq=False)
class DepthPrediction:
    """Depth of R views of H x W pixels.

    plane_logits: (R, D, H/8, W/8), distribution over ``DepthNetwork.planes``; match_logits: the same from matching
        alone, each pixel for itself.
    log_depths: log of metres, coarse to fine: (R, H/8, W/8), the same at (R, H/4, W/4), one more of that size per
        refinement, and (R, H, W).
    log_scale: (R, H, W), log of the scale of a Laplace distribution around the log depth.
    confidence: (R, H, W), logit of the probability that depth is within 25 % of the truth.
    """

    plane_logits: Tensor
    match_logits: Tensor
    log_depths: tuple[Tensor, ...]
    log_scale: Tensor
    confidence: Tensor

    @property
    def log_depth(self) -> Tensor:
        """(R, H, W), the finest."""
        return self.log_depths[-1]


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """All views of a training batch; each is a reference and may be a source of others of its group.

    intrinsics: (V, 3, 3) float32; T_base_camera: (V, 4, 4) float64; mask: (V, H, W) bool;
    sources: (V, S) int64, rows of this batch, -1 = none.
    """

    intrinsics: Tensor
    T_base_camera: Tensor
    mask: Tensor
    sources: Tensor

    def matching(self) -> MatchGeometry:
        """The same as the network takes it."""
        other = self.T_base_camera[self.sources.clamp(min=0)]
        relative = torch.linalg.inv(other) @ self.T_base_camera[:, None]
        return MatchGeometry(self.intrinsics, self.intrinsics, self.sources, relative.float(),
                             self.T_base_camera.float(), self.mask, self.mask)


class DepthNetwork(nn.Module):
    """See the module. ``encode`` each image once, then ``estimate`` the references; ``forward`` does both.

    forget: share of the views with sources that are trained without context, so that what matching can tell is not
    learned from the looks of the simulated world; set by training.
    """

    planes: Tensor
    forget: float = 0.0

    def __init__(self, config: DepthNetworkConfig = DepthNetworkConfig()) -> None:
        super().__init__()
        self.config = config
        steps = torch.linspace(math.log(config.min_depth), math.log(config.max_depth), config.planes)
        self.register_buffer("planes", steps, persistent=False)
        self.encoder = ImageEncoder(EncoderConfig(config.match, context=config.context))
        self.sweep = HypothesisMatcher(config.groups, 2)
        self.regularise = Regulariser(config)
        self.refine = nn.ModuleList(Refinement(config) for _ in range(config.refinements))
        self.upsample = nn.Conv2d(config.refine_width, 9 * 4, 1)
        self.belief = nn.Sequential(nn.SiLU(), nn.Conv2d(config.refine_width, config.refine_width, 3, padding=1),
                                    nn.SiLU(), nn.Conv2d(config.refine_width, 2, 1))

    def encode(self, images: Tensor) -> Features:
        """Features of images (V, 3, H, W), RGB in 0..1, H and W multiples of 32."""
        return self.encoder(images)

    def forward(self, images: Tensor, geometry: ViewGeometry) -> DepthPrediction:
        """Depth of all views of a batch, each matched with its sources among them."""
        features = self.encode(images)
        return self.estimate(self._forgetful(features, geometry.sources), features, geometry.matching())

    def _forgetful(self, features: Features, sources: Tensor) -> Features:
        """In training: the features without context for some of the views that have sources (V, S)."""
        if not self.training or self.forget == 0.0:
            return features
        forgotten = (torch.rand(len(sources), device=sources.device) < self.forget) & (sources >= 0).any(1)
        kept = (~forgotten).float().reshape(-1, 1, 1, 1)
        return Features(features.match, features.grey, *(context * kept for context in features.tensors()[2:]))

    def estimate(self, reference: Features, sources: Features, geometry: MatchGeometry) -> DepthPrediction:
        """Depth of the references from their own features and those of the sources."""
        step = self.planes[1] - self.planes[0]
        scores = self._sweep(reference, masked_features(sources.match, geometry.source_mask), geometry)
        warps, grey = pair_warps(geometry, 2, 2), torch.cat((sources.grey, usable_half(geometry.source_mask)), 1)
        alike = sweep_windows(reference.grey, grey, warps, torch.exp(-self.planes))
        smooth = _smoothed(alike, reference.grey)
        logits, hidden, blend = self.regularise(scores, alike, smooth, reference, view_channels(geometry))
        coarse, spread = around_mode(logits.float(), self.planes)
        pair = convex_upsample(torch.stack((coarse, spread), 1), blend, 2)
        log_depth, spread = pair[:, 0], pair[:, 1].clamp(float(step), 0.2)
        found = [coarse, log_depth]
        state, rays = _enlarged(hidden, 2), rays_in_base(geometry, 4)
        for refinement in self.refine:
            height = heights(geometry, rays, log_depth.detach().exp()[:, None])
            state, log_depth, spread = refinement(state, log_depth, spread, reference, grey, warps, height)
            found.append(log_depth)
        half = convex_upsample(log_depth[:, None], self.upsample(state), 2)
        full = _enlarged(half, 2)[:, 0]
        belief = _enlarged(self.belief(state).float(), 4)
        return DepthPrediction(logits.float(), scores[:, 0], (*found, full), (belief[:, 0] - 2.0).clamp(-6.0, 2.0),
                               belief[:, 1])

    def _sweep(self, reference: Features, sources: Tensor, geometry: MatchGeometry) -> Tensor:
        """Scores of all hypotheses (R, 2, D, H/8, W/8), by descriptors of twice that resolution (N, C + 1, h, w)."""
        depth = self.planes.exp().reshape(1, -1, 1, 1)
        height = heights(geometry, rays_in_base(geometry, 8), depth)
        descriptors = functional.avg_pool2d(reference.match, 2)
        return self.sweep(descriptors, sources, pair_warps(geometry, 8, 4), 1.0 / depth, height)


@torch.no_grad()
def _smoothed(alike: Tensor, grey: Tensor) -> Tensor:
    """(R, D, h, w) likeness 0..1 of hypotheses, aggregated along paths; grey (R, 1, 4h, 4w) tells where surfaces
    end."""
    return 1.0 - semi_global(1.0 - alike, functional.avg_pool2d(grey.float(), 4)[:, 0], _SMOOTHNESS)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def heights(geometry: MatchGeometry, rays: Tensor, depth: Tensor) -> Tensor:
    """(R, D, h, w) height in base_link, m, of depths (R or 1, D, h or 1, w or 1) along rays (R, 3, h, w)."""
    return geometry.T_base_camera[:, 2, 3].float().reshape(-1, 1, 1, 1) + rays[:, 2:3] * depth


def around_mode(logits: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (R, h, w) log depth of the two planes on either side of the most likely one, and the root mean square
    distance of the whole distribution from it."""
    probability = logits.softmax(1)
    mode = logits.detach().argmax(1, keepdim=True)
    offsets = torch.arange(-2, 3, device=logits.device).reshape(1, -1, 1, 1)
    index = (mode + offsets).clamp(0, logits.shape[1] - 1)
    near = probability.gather(1, index) + 1e-6
    mean = (near * planes[index]).sum(1) / near.sum(1)
    values = planes.reshape(1, -1, 1, 1)
    spread = (probability * (values - mean[:, None]).square()).sum(1).clamp(min=1e-6).sqrt()
    return mean, spread


def convex_upsample(values: Tensor, weights: Tensor, factor: int) -> Tensor:
    """(R, C, h * factor, w * factor) from values (R, C, h, w): each new pixel is a weighted mean of the 3 x 3 old ones
    around it; weights (R, 9 * factor^2, h, w) before the softmax."""
    count, channels, rows, columns = values.shape
    weights = weights.float().reshape(count, 1, 9, factor * factor, rows, columns).softmax(2)
    padded = functional.pad(values.float(), (1, 1, 1, 1), mode="replicate")
    around = functional.unfold(padded, 3).reshape(count, channels, 9, 1, rows, columns)
    mixed = (weights * around).sum(2).reshape(count, channels * factor * factor, rows, columns)
    return functional.pixel_shuffle(mixed, factor)


class Regulariser(nn.Module):
    """U-Net over the scores of all hypotheses, the image's context and the viewing rays."""

    def __init__(self, config: DepthNetworkConfig) -> None:
        super().__init__()
        w8, w16, w32 = config.widths
        _, c8, c16, c32 = config.context
        self.log_sharpness = nn.Parameter(torch.tensor([3.0, 2.0]).log())
        self.enter = nn.Conv2d(4 * config.planes + c8 + 6, w8, 3, padding=1)
        self.down8 = Residual(w8)
        self.to16 = nn.Conv2d(w8, w16, 3, stride=2, padding=1)
        self.join16 = nn.Conv2d(w16 + c16, w16, 1)
        self.down16 = Residual(w16)
        self.to32 = nn.Conv2d(w16, w32, 3, stride=2, padding=1)
        self.join32 = nn.Conv2d(w32 + c32, w32, 1)
        self.bottom = nn.Sequential(Residual(w32), Residual(w32))
        self.up16 = nn.Conv2d(w32, w16, 1)
        self.out16 = Residual(w16)
        self.up8 = nn.Conv2d(w16, w8, 1)
        self.out8 = nn.Sequential(Residual(w8), Residual(w8))
        self.logits = nn.Conv2d(w8, config.planes, 1)
        self.hidden = nn.Conv2d(w8, config.refine_width, 1)
        self.blend = nn.Conv2d(w8, 9 * 4, 1)

    def forward(self, scores: Tensor, alike: Tensor, smooth: Tensor, reference: Features, view: Tensor,
                ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of descriptors (R, 2, D, h, w) and of windows, as they are and smoothed (R, D, h, w) -> logits
        (R, D, h, w), hidden state (R, C, h, w), weights of the upsampling. view: (R, 6, h, w), see
        ``view_channels``."""
        known = torch.cat((scores.flatten(1, 2), alike, smooth, reference.context8, view), 1)
        x8 = self.down8(self.enter(known))
        x16 = self.down16(self.join16(torch.cat((self.to16(functional.silu(x8)), reference.context16), 1)))
        x32 = self.bottom(self.join32(torch.cat((self.to32(functional.silu(x16)), reference.context32), 1)))
        x16 = self.out16(x16 + functional.interpolate(self.up16(x32), scale_factor=2.0, mode="nearest"))
        x8 = functional.silu(self.out8(x8 + functional.interpolate(self.up8(x16), scale_factor=2.0, mode="nearest")))
        sharpness = self.log_sharpness.exp()
        logits = self.logits(x8) + scores[:, 0] + sharpness[0] * alike + sharpness[1] * smooth
        return logits, self.hidden(x8), self.blend(x8)


def view_channels(geometry: MatchGeometry) -> Tensor:
    """(R, 6, H/8, W/8): the ray's elevation and heading against the optical axis, the depth at which it meets the
    ground (log, 0 where it does not), the height of the camera, the focal length, and the mask.

    Not the heading in base_link: which way a camera looks must not matter.
    """
    rays = rays_in_base(geometry, 8)
    count = len(rays)
    elevation = rays[:, 2:3] / rays[:, :2].norm(dim=1, keepdim=True).clamp(min=1e-3)
    axis = geometry.T_base_camera[:, :3, 2].float().reshape(count, 3, 1, 1)
    turned = (axis[:, 0:1] * rays[:, 1:2] - axis[:, 1:2] * rays[:, 0:1]) / rays.norm(dim=1, keepdim=True)
    camera_height = geometry.T_base_camera[:, 2, 3].float().reshape(count, 1, 1, 1).clamp(min=0.2)
    ground = (-rays[:, 2:3] / camera_height).clamp(min=1.0 / 200.0)
    focal = (geometry.intrinsics[:, 0, 0].float() / 500.0).log().reshape(count, 1, 1, 1)
    mask = functional.avg_pool2d(geometry.mask[:, None].float(), 8)
    plain = torch.ones_like(mask)
    return torch.cat((4.0 * elevation.clamp(-1.0, 1.0), 2.0 * turned, -ground.log() / 5.0, camera_height * plain,
                      focal * plain, mask), 1)


class Refinement(nn.Module):
    """One step at 1/4: candidates around the estimate are matched again; the estimate moves among them."""

    offsets: Tensor

    def __init__(self, config: DepthNetworkConfig) -> None:
        super().__init__()
        width = config.refine_width
        self.register_buffer("offsets", torch.linspace(-1.0, 1.0, config.candidates).reshape(1, -1, 1, 1),
                             persistent=False)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(15.0)))
        self.enter = nn.Conv2d(width + config.context[0] + 2 * config.candidates + 7, width, 3, padding=1)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.choice = nn.Conv2d(width, config.candidates, 1)
        self.change = nn.Conv2d(width, 2, 1)

    def forward(self, state: Tensor, log_depth: Tensor, spread: Tensor, reference: Features, sources: Tensor,
                warps: PairWarps, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """New state (R, C, h, w), log depth (R, h, w) and spread (R, h, w) of the next candidates.

        sources: grey and usable, warps: into them (``match_windows``); height: (R, 1, h, w) of the estimate, m.
        """
        centre, reach = log_depth.detach()[:, None], 2.0 * spread.detach()[:, None]
        scores = match_windows(reference.grey, sources, warps, centre + reach * self.offsets)
        alike = functional.avg_pool2d(scores.alike, 3, stride=1, padding=1, count_include_pad=False)
        known = torch.cat((centre / 3.0, reach.log(), torch.tanh(0.5 * height), torch.tanh(0.1 * height), scores.seen,
                           scores.moved, scores.texture), 1)
        state = self.body(self.enter(torch.cat((state, reference.context4, scores.alike, alike, known), 1)))
        active = functional.silu(state)
        share = (self.choice(active).float() + self.log_sharpness.exp() * alike).softmax(1)
        offset = (share * self.offsets).sum(1)
        change = self.change(active).float()
        moved = log_depth.detach() + reach[:, 0] * (offset + 0.3 * torch.tanh(change[:, 0]))
        left = (share * (self.offsets - offset[:, None]).square()).sum(1).clamp(min=1e-4).sqrt()
        next_spread = (reach[:, 0] * left * torch.exp(torch.tanh(change[:, 1]))).clamp(0.006, 0.1)
        return state, moved, next_spread
