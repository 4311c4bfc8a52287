"""Refinement: the depth of a view, corrected by what other views found of the same surfaces.

Every pixel's surface point is projected into other views. There the depth found by them is compared with the point's
own: nearer, and the point is occluded or too far away; farther, and it stands in space that the other view sees
through; and so are the colours. A small recurrent network (the idea of RAFT, Teed and Deng, ECCV 2020) turns these
contradictions into a correction of depth, scale and confidence, and looks again.

It is not shown what the image looks like: with features of the image it learned the looks of the simulated world, and
depth of real images became worse. For the same reason it corrects nothing where no witness sees anything, and the less
the surer the depth is already: what matched well is more exact than what others can say of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from .lifting import LiftedView

_SAID = 8
_STEP = 0.1
_NEAREST = 0.05


@dataclass(frozen=True, eq=False)
class Witness:
    """Another view. view: what it found (its features are not needed); intrinsics: (3, 3) of the pixels of ``view``;
    T_witness_view: (4, 4), from the optical frame of the view that is refined into the witness's."""

    view: LiftedView
    intrinsics: Tensor
    T_witness_view: Tensor


@dataclass(frozen=True, eq=False)
class Correction:
    """What is added to the log depth, to the log of its scale, and to the logit of the confidence, each (h, w)."""

    log_depth: Tensor
    log_scale: Tensor
    confidence: Tensor

    def applied(self, view: LiftedView) -> LiftedView:
        """The view with corrected depth."""
        return replace(view, log_depth=view.log_depth + self.log_depth, log_scale=view.log_scale + self.log_scale,
                       confidence=torch.sigmoid(confidence_logit(view) + self.confidence))


def confidence_logit(view: LiftedView) -> Tensor:
    """(h, w)."""
    return torch.logit(view.confidence.clamp(1e-3, 1.0 - 1e-3))


class DepthRefinement(nn.Module):
    """See the module. width: channels of the recurrent state; steps: looks."""

    def __init__(self, width: int = 32, steps: int = 2) -> None:
        super().__init__()
        self.steps = steps
        self.hear = nn.Sequential(nn.Conv2d(_SAID, 16, 1), nn.SiLU(), nn.Conv2d(16, 16, 1))
        self.begin = nn.Conv2d(3, width, 3, padding=1)
        self.gates = nn.Conv2d(width + 32 + 4, 2 * width, 3, padding=1)
        self.candidate = nn.Conv2d(width + 32 + 4, width, 3, padding=1)
        self.answer = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 3, 1))
        for parameter in self.answer[-1].parameters():  # type: ignore[union-attr]
            nn.init.zeros_(parameter)

    def forward(self, view: LiftedView, intrinsics: Tensor, witnesses: Sequence[Witness]) -> list[Correction]:
        """The correction after each look, all relative to ``view``; an empty list if no witness sees anything of it.

        intrinsics: (3, 3) of the pixels of ``view``.
        """
        rays = view_rays(view, intrinsics)
        points = rays * view.log_depth.exp()
        witnesses = [witness for witness in witnesses if bool(seen_by(points, witness).seen.any())]
        if not witnesses:
            return []
        total = torch.zeros(3, *view.log_depth.shape, device=view.log_depth.device)
        state = torch.tanh(self.begin(_measures(view, *total)[None, :3]))
        open_to = 1.0 - view.confidence
        found = []
        for _ in range(self.steps):
            said, counts = self._heard(view, total[0].detach(), rays, witnesses)
            known = _measures(view, *total.detach())
            told = torch.cat((_pooled(said, counts), known))[None]
            both = torch.cat((state, told), 1)
            forget, update = torch.sigmoid(self.gates(both)).chunk(2, 1)
            candidate = torch.tanh(self.candidate(torch.cat((forget * state, told), 1)))
            state = state + update * (candidate - state)
            step = self.answer(state)[0].float() * total.new_tensor((_STEP, 1.0, 1.0))[:, None, None]
            total = total + step * open_to * functional.avg_pool2d(counts.amax(0), 5, stride=1, padding=2)
            found.append(Correction(*total))
        return found

    def _heard(self, view: LiftedView, correction: Tensor, rays: Tensor, witnesses: Sequence[Witness],
               ) -> tuple[Tensor, Tensor]:
        """What witnesses say (W, 16, h, w), and where they say anything (W, 1, h, w)."""
        points = rays * (view.log_depth + correction).exp()
        said = torch.stack([account(view.colours, points, rays, witness) for witness in witnesses])
        return self.hear(said), said[:, :1]


@dataclass(frozen=True, eq=False)
class Place:
    """Where points (3, h, w) of a view lie in a witness.

    local: (3, h, w) metres in its optical frame. seen: (h, w) bool, in its picture and not masked there. log_depth:
    (h, w) of the point in it. found: (6, h, w) what the witness has there: log depth, confidence, log scale, colours.
    """

    local: Tensor
    seen: Tensor
    log_depth: Tensor
    found: Tensor


def seen_by(points: Tensor, witness: Witness) -> Place:
    """Points (3, h, w) of the view's optical frame in a witness."""
    shape = points.shape[1:]
    T = witness.T_witness_view.to(points.device, points.dtype)
    local = (T[:3, :3] @ points.flatten(1) + T[:3, 3:]).reshape(3, *shape)
    ahead = local[2] > _NEAREST
    safe = torch.where(ahead, local[2], 1.0)
    pixels = (witness.intrinsics.to(points.device) @ (local / safe).detach().flatten(1))[:2].reshape(2, *shape)
    height, width = witness.view.log_depth.shape
    scale = points.new_tensor((2.0 / width, 2.0 / height))[:, None, None]
    where = ((pixels + 0.5) * scale - 1.0).permute(1, 2, 0)[None]
    of = witness.view
    maps = torch.cat((torch.stack((of.log_depth, of.confidence, of.log_scale)), of.colours, of.mask[None].float()))
    nearest = functional.grid_sample(maps[None].float(), where, mode="nearest", align_corners=False)[0]
    seen = ahead & (where[0].abs() < 1.0).all(-1) & (nearest[6] > 0.5) & nearest.isfinite().all(0)
    return Place(local, seen, safe.log(), nearest[:6])


def account(colours: Tensor, points: Tensor, rays: Tensor, witness: Witness) -> Tensor:
    """(8, h, w) of points (3, h, w) on rays (3, h, w; z = 1) of a view with ``colours`` (3, h, w).

    0 the witness sees the place, else all is 0. 1, 2 log of its depth over the point's, coarse and fine. 3 its
    confidence, 4 its log scale, 5 difference of the colours, 6 how the depth in the witness follows the depth along
    the ray, 7 cosine of the angle between both rays.
    """
    place = seen_by(points, witness)
    T = witness.T_witness_view.to(points.device, points.dtype)
    turned = (T[:3, :3] @ rays.flatten(1)).reshape(rays.shape)
    ratio = place.found[0] - place.log_depth
    follows = points[2] * turned[2] / place.log_depth.exp()
    angle = (turned * place.local).sum(0) / (turned.norm(dim=0) * place.local.norm(dim=0)).clamp(min=1e-6)
    said = torch.stack((torch.ones_like(ratio), torch.tanh(3.0 * ratio), torch.tanh(20.0 * ratio), place.found[1],
                        0.3 * (place.found[2] + 3.0), 4.0 * (place.found[3:] - colours).abs().mean(0),
                        follows.clamp(-2.0, 2.0), angle))
    return torch.where(place.seen, said, 0.0)


def _pooled(said: Tensor, counts: Tensor) -> Tensor:
    """(2 C, h, w): mean and maximum over the witnesses that say anything (W, C, h, w), 0 where none does."""
    total = (said * counts).sum(0) / counts.sum(0).clamp(min=1.0)
    highest = torch.where(counts > 0.0, said, -torch.inf).amax(0)
    return torch.cat((total, torch.where(highest.isfinite(), highest, 0.0)))


def _measures(view: LiftedView, depth: Tensor, scale: Tensor, confidence: Tensor) -> Tensor:
    """(4, h, w): the depth's place in its range, scale, confidence, and the correction so far."""
    return torch.stack((0.5 * (view.log_depth + depth - 2.5), 0.3 * (view.log_scale + scale + 3.0),
                        0.3 * (confidence_logit(view) + confidence), depth / _STEP))


def view_rays(view: LiftedView, intrinsics: Tensor) -> Tensor:
    """(3, h, w) directions of the pixels of a view, z = 1. intrinsics: (3, 3) of its pixels."""
    height, width = view.log_depth.shape
    device = intrinsics.device
    v, u = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    pixels = torch.stack((u, v, torch.ones_like(u))).reshape(3, -1).float()
    return (torch.linalg.inv(intrinsics.double()).float() @ pixels).reshape(3, height, width)
