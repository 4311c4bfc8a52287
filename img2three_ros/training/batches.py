"""View groups as the network and the objective take them: mirrored, relit, concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ..data.view_group import ViewGroup
from ..models.depth_network import ViewGeometry


@dataclass(frozen=True, eq=False)
class Batch:
    """Views of some groups, one after the other. images: (V, 3, H, W) float32 0..1; depth: (V, H, W) metres, NaN =
    unknown, inf = sky."""

    images: Tensor
    geometry: ViewGeometry
    depth: Tensor


def on_device(group: ViewGroup, device: torch.device) -> ViewGroup:
    """The same group with all tensors on a device."""
    return ViewGroup(**{field.name: getattr(group, field.name).to(device, non_blocking=True)
                        for field in fields(ViewGroup)})


def batch_of(groups: Sequence[ViewGroup]) -> Batch:
    """Concatenate groups of one image size; rows of sources are shifted so that they stay within their group."""
    width = max(group.sources.shape[1] for group in groups)
    sources, first = [], 0
    for group in groups:
        shifted = torch.where(group.sources >= 0, group.sources + first, -1)
        sources.append(torch.nn.functional.pad(shifted, (0, width - shifted.shape[1]), value=-1))
        first += len(group.images)

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(group, name) for group in groups])

    geometry = ViewGeometry(joined("intrinsics"), joined("T_base_camera"), joined("mask"), torch.cat(sources))
    return Batch(joined("images").float() / 255.0, geometry, joined("depth"))


def mirrored(group: ViewGroup) -> ViewGroup:
    """The group as a world mirrored left to right would look: also a possible world, with all geometry consistent.

    Images are flipped, u -> W - 1 - u, so cx -> W - 1 - cx; mirroring changes the sign of y in ``base_link`` and of
    x in the optical frames: T -> diag(1, -1, 1, 1) T diag(-1, 1, 1, 1), again a rotation and a translation.
    """
    width = group.images.shape[3]
    intrinsics = group.intrinsics.clone()
    intrinsics[:, 0, 2] = width - 1 - intrinsics[:, 0, 2]
    intrinsics[:, 0, 1] = -intrinsics[:, 0, 1]
    base, camera = (torch.diag(torch.tensor(signs, dtype=torch.float64)).to(group.T_base_camera.device)
                    for signs in ((1.0, -1.0, 1.0, 1.0), (-1.0, 1.0, 1.0, 1.0)))
    return replace(group, images=group.images.flip(3), mask=group.mask.flip(2), depth=group.depth.flip(2),
                   moving=group.moving.flip(2), intrinsics=intrinsics,
                   T_base_camera=base @ group.T_base_camera @ camera)


def relit(group: ViewGroup, seed: int, strength: float) -> ViewGroup:
    """The group in another light; strength 0 = in its own."""
    return replace(group, images=relit_images(group.images, seed, strength)) if strength > 0.0 else group


def relit_images(images: Tensor, seed: int, strength: float = 1.0) -> Tensor:
    """Images (V, 3, H, W) uint8 with random gain, gamma, colour cast, contrast and noise, each view its own, rounded
    back to uint8.

    Every operation is on one pixel alone, so truth stays true. The same seed gives the same on the same device.
    """
    views, device = len(images), images.device
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).clamp(-2.5, 2.5) * strength

    common = normal(1, 1, 1, 1)
    gain = (0.15 * (common + normal(views, 1, 1, 1)) + 0.05 * normal(views, 3, 1, 1)).exp()
    gamma = (0.12 * normal(views, 1, 1, 1)).exp()
    sigma = 0.012 * normal(views, 1, 1, 1).abs()
    levels = torch.arange(256, dtype=torch.float32).reshape(1, 1, 1, 256) / 255.0
    table = (levels.clamp(min=1e-6) ** gamma * gain).reshape(views, 3, 256).to(device)
    index = images.reshape(views, 3, -1).long()
    lit = table.gather(2, index).reshape(images.shape)
    local = torch.Generator(device).manual_seed(seed)
    grain = torch.randn((views, 1, *images.shape[2:]), generator=local, device=device)
    return ((lit + sigma.to(device) * grain) * 255.0).round_().clamp_(0.0, 255.0).to(torch.uint8)


def as_arrays(group: ViewGroup) -> dict[str, object]:
    """A group as numpy arrays by name, which travel between processes without shared memory (containers have
    little)."""
    return {field.name: getattr(group, field.name).numpy() for field in fields(ViewGroup)}


def from_arrays(arrays: dict[str, object]) -> ViewGroup:
    """The reverse of ``as_arrays``."""
    return ViewGroup(**{name: torch.from_numpy(array) for name, array in arrays.items()})
