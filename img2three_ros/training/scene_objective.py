"""What training wants of the scene network, at points of space and along rays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from ..config import setting
from ..data.scene_sample import NO_LABEL, SceneSample
from ..losses.colour import colour, perceptual
from ..losses.consistency import between_times, coarse_to_fine
from ..losses.masked import masked_mean
from ..losses.occupancy import lovasz_hinge, occupancy_cross_entropy
from ..losses.volume import distortion, expected_depth, opacity_entropy, total_variation
from ..models.scene_decoder import PointAnswer, RenderedRays, SceneDecoder, march, shares
from ..models.scene_volume import SceneState
from .prepared_scene import States

NEAREST, FARTHEST = 0.3, 90.0
"""Distances along training rays, metres."""


@dataclass(frozen=True)
class SceneObjectiveConfig:
    """Weights of the parts of the loss; 0 leaves a part out. And how much of a sample is used for each step."""

    occupancy: float = setting(1.0, "cross-entropy of occupancy at points, seen and hidden", low=0.0)
    lovasz: float = setting(0.3, "Lovász hinge: the IoU of the occupied points", low=0.0)
    free: float = setting(0.3, "cross-entropy of free space along rays, before what they meet", low=0.0)
    label: float = setting(0.2, "cross-entropy of the class of occupied points", low=0.0)
    uncertainty: float = setting(0.05, "Laplace likelihood of the error of the occupancy probability", low=0.0)
    colour: float = setting(2.0, "squared error of rendered colour", low=0.0)
    perceptual: float = setting(0.1, "difference of rendered patches as an image encoder sees them", low=0.0)
    depth: float = setting(0.1, "log error of the expected distance along rays", low=0.0)
    opacity: float = setting(0.1, "cross-entropy of what a ray meets anything or the sky", low=0.0)
    distortion: float = setting(0.01, "spread of what a ray meets (mip-NeRF 360)", low=0.0)
    entropy: float = setting(0.005, "entropy of the opacity of rays", low=0.0)
    times: float = setting(0.1, "disagreement with what was held of the same places one instant before", low=0.0)
    coarse: float = setting(0.05, "weight along rays where cells alone, without interpolation, expect none", low=0.0)
    variation: float = setting(0.001, "total variation of the volume", low=0.0)
    refinement: float = setting(1.0, "corrected depth: log error, likelihood, confidence", low=0.0)
    overlap: float = setting(0.1, "disagreement of corrected depth with other cameras and times", low=0.0)
    occupied_weight: float = setting(1.5, "how much an occupied point counts against a free one", low=0.0)
    rays: int = setting(768, "rays per step and sample", low=1)
    samples: int = setting(48, "samples of each ray", low=2, high=1024)


Looks = Callable[[Tensor], Sequence[Tensor]]
"""Pictures (V, 3, H, W) 0..1 -> layers (V, C, h, w), as ``Backbone.looks`` gives them."""

PARTS = ("occupancy", "lovasz", "free", "label", "uncertainty", "colour", "perceptual", "depth", "opacity",
         "distortion", "entropy", "times", "coarse", "variation")
assert {field.name for field in fields(SceneObjectiveConfig)} == {*PARTS, "refinement", "overlap", "occupied_weight",
                                                                  "rays", "samples"}


def scene_objective(decoder: SceneDecoder, states: States, sample: SceneSample, light: Tensor,
                    looks: Looks, config: SceneObjectiveConfig) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The loss (a scalar) and its unweighted parts (detached) of one sample. light: see ``SceneDecoder.sky_colour``.
    looks: layers of features of pictures.

    Random numbers (which rays, where along them) are torch's.
    """
    state = states.now
    answer = decoder.query(state, sample.points)
    found = _of_points(answer, sample, config)
    found["times"] = _times(decoder, states, sample, answer)
    chosen = torch.randperm(len(sample.distance), device=sample.distance.device)[:config.rays]
    distances, edges = ray_distances(len(chosen), config.samples, sample.distance.device)
    rays = march(decoder, state, sample.origins[chosen], sample.directions[chosen], distances, edges.diff(dim=1), light)
    found |= _of_rays(rays, edges, sample, chosen)
    found["perceptual"] = _perceptual(decoder, state, sample, light, looks, config)
    found["coarse"] = _coarse(decoder, state, sample, chosen, edges[0], rays)
    found["free"] = _free(decoder, state, sample, chosen)
    found["variation"] = total_variation([_part(state.volume)])
    total = torch.stack([getattr(config, name) * found[name] for name in PARTS]).sum()
    return total, {name: found[name].detach() for name in PARTS}


def _part(volume: Tensor) -> Tensor:
    """A quarter of a volume (F, Z, Y, X), anywhere in the plane: enough for a regularisation, at a quarter of its
    price."""
    rows, columns = volume.shape[2] // 2, volume.shape[3] // 2
    row, column = (int(torch.randint(0, side + 1, ())) for side in (rows, columns))
    return volume[:, :, row:row + rows, column:column + columns].float()


def ray_distances(rays: int, samples: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(R, S) metres, ascending: one anywhere in each of S steps of equal ratio; and the steps' edges (R, S + 1)."""
    steps = torch.arange(samples + 1, device=device).expand(rays, -1)
    places = torch.rand(rays, samples, device=device) + steps[:, :-1]
    ratio = FARTHEST / NEAREST
    return NEAREST * ratio ** (places / samples), NEAREST * ratio ** (steps / samples)


def _of_points(answer: PointAnswer, sample: SceneSample, config: SceneObjectiveConfig) -> dict[str, Tensor]:
    keep = answer.inside
    error = (torch.sigmoid(answer.occupancy).detach() - sample.occupied.float()).abs()
    log_error = answer.log_uncertainty.clamp(-6.0, 1.0)
    labelled = (sample.label != NO_LABEL) & keep
    labels = functional.cross_entropy(answer.label_logits[labelled], sample.label[labelled].long()) \
        if bool(labelled.any()) else answer.label_logits.sum() * 0.0
    return {
        "occupancy": occupancy_cross_entropy(answer.occupancy, sample.occupied, keep, config.occupied_weight),
        "lovasz": lovasz_hinge(answer.occupancy, sample.occupied, keep),
        "label": labels,
        "uncertainty": masked_mean(error * torch.exp(-log_error) + log_error, keep),
    }


def _of_rays(rays: RenderedRays, edges: Tensor, sample: SceneSample, chosen: Tensor) -> dict[str, Tensor]:
    truth, meets = sample.distance[chosen], sample.distance[chosen] < FARTHEST
    everything = torch.ones_like(meets)
    # Differences of distances in the unit of the distance itself: what matters at 3 m does not at 60 m.
    relative = torch.log(edges / NEAREST) / torch.log(torch.tensor(FARTHEST / NEAREST))
    opacity = rays.opacity.clamp(1e-5, 1.0 - 1e-5)
    return {
        "colour": colour(rays.colour, sample.colour[chosen], everything),
        "depth": expected_depth(rays.weights, rays.distances, truth, meets),
        "opacity": functional.binary_cross_entropy(opacity, meets.float()),
        "distortion": distortion(rays.weights, relative),
        "entropy": opacity_entropy(rays.opacity),
    }


def _perceptual(decoder: SceneDecoder, state: SceneState, sample: SceneSample, light: Tensor, looks: Looks,
                config: SceneObjectiveConfig) -> Tensor:
    """One of the patches, rendered and as it is."""
    if not len(sample.patches) or config.perceptual == 0.0:
        return state.volume.new_zeros((), dtype=torch.float32)
    patch = sample.patches[int(torch.randint(0, len(sample.patches), ()))]
    return patch_difference(decoder, state, sample, patch, light, looks, config.samples)


def patch_difference(decoder: SceneDecoder, state: SceneState, sample: SceneSample, patch: Tensor, light: Tensor,
                     looks: Looks, samples: int) -> Tensor:
    """Perceptual distance of a patch (S, S) of the sample's rays, rendered and as it is: a scalar."""
    rays = patch.flatten()
    distances, edges = ray_distances(len(rays), samples, rays.device)
    found = march(decoder, state, sample.origins[rays], sample.directions[rays], distances, edges.diff(dim=1), light)
    pictures = [colours.reshape(1, *patch.shape, 3).permute(0, 3, 1, 2) for colours in (
        found.colour, sample.colour[rays])]
    with torch.no_grad():
        truth = looks(pictures[1])
    return perceptual(looks(pictures[0]), truth)


def _times(decoder: SceneDecoder, states: States, sample: SceneSample, answer: PointAnswer) -> Tensor:
    """The same places now and one instant before."""
    if states.before is None or states.T_before_now is None:
        return answer.occupancy.new_zeros(())
    T = states.T_before_now.to(sample.points.device, torch.float32)
    with torch.no_grad():
        earlier = decoder.query(states.before, sample.points @ T[:3, :3].T + T[:3, 3])
    return between_times(answer.occupancy, earlier.occupancy, answer.inside & earlier.inside)


def _coarse(decoder: SceneDecoder, state: SceneState, sample: SceneSample, chosen: Tensor, edges: Tensor,
            rays: RenderedRays) -> Tensor:
    """What the nearest cells expect along the rays, as a renderer's first look does, covers what the rays show."""
    points = sample.origins[chosen][:, None] + sample.directions[chosen][:, None] * rays.distances[..., None]
    cells = decoder.grid.cells(points.reshape(-1, 3))
    answer = decoder.query(state, decoder.grid.points(cells.floor() + 0.5))
    density = torch.where(answer.inside, answer.density, 0.0).reshape(rays.distances.shape)
    return coarse_to_fine(shares(density * edges.diff()), edges, rays.weights, rays.distances)


def _free(decoder: SceneDecoder, state: SceneState, sample: SceneSample, chosen: Tensor) -> Tensor:
    """Points before what rays meet are free."""
    reach = sample.distance[chosen].clamp(max=60.0)
    along = torch.rand_like(reach) * (0.95 * reach - 0.3).clamp(min=0.0)
    points = sample.origins[chosen] + sample.directions[chosen] * along[:, None]
    answer = decoder.query(state, points)
    return occupancy_cross_entropy(answer.occupancy, torch.zeros_like(answer.inside), answer.inside)
