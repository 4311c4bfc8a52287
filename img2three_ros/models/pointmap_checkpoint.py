"""Whether published weights fit the pointmap network, and under which names.

Sizes are taken from the tensors and from what the file says of its network; every tensor must then fit, so that a
damaged or foreign file is told from a whole one.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..structures import InputError
from .pointmap_config import PATCH, PointmapConfig
from .pointmap_files import read_weights

_MOST_BLOCKS = 256  # of one kind, or heads of one block, that a file may claim
_SHOWN = 4  # tensors named in a message
# Depth and heads of published transformers by their width; others are counted, with 64 channels per head.
_ENCODERS = {1024: (24, 16), 768: (12, 12)}
_DECODERS = {768: (12, 12), 512: (8, 16)}
# In the files but of no use here: pretraining's mask and its image head, and a unit that nothing runs through.
_UNUSED = re.compile(r"mask_token|prediction_head\..*|.*\.scratch\.refinenet4\.resConfUnit1\..*")
_TIED = re.compile(r"(.*\.scratch\.)layer_rn\.(\d+)(\..*)")

# What our names are in the published files, applied one after the other.
_NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^encoder\.patches\.", "patch_embed.proj."),
    (r"^encoder\.blocks\.", "enc_blocks."),
    (r"^encoder\.norm\.", "enc_norm."),
    (r"^decoder\.embed\.", "decoder_embed."),
    (r"^decoder\.first\.", "dec_blocks."),
    (r"^decoder\.second\.", "dec_blocks2."),
    (r"^decoder\.norm\.", "dec_norm."),
    (r"\.attention\.project\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.cross\.(query|key|value)\.", lambda found: f".cross_attn.proj{found[1][0]}."),
    (r"\.cross\.project\.", ".cross_attn.proj."),
    (r"\.norm_other\.", ".norm_y."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
    (r"^head([12])\.descriptors\.first\.", r"downstream_head\1.head_local_features.fc1."),
    (r"^head([12])\.descriptors\.second\.", r"downstream_head\1.head_local_features.fc2."),
    (r"^head([12])\.points\.project\.(weight|bias)", r"downstream_head\1.proj.\2"),
    (r"^head([12])\.points\.", r"downstream_head\1.dpt."),
    (r"\.project\.(\d)\.", r".act_postprocess.\1.0."),
    (r"\.resample\.(\d)\.", r".act_postprocess.\1.1."),
    (r"\.unify\.(\d)\.", lambda found: f".scratch.layer{int(found[1]) + 1}_rn."),
    (r"\.fuse\.(\d)\.", lambda found: f".scratch.refinenet{int(found[1]) + 1}."),
    (r"\.skip\.first\.", ".resConfUnit1.conv1."),
    (r"\.skip\.second\.", ".resConfUnit1.conv2."),
    (r"\.refine\.first\.", ".resConfUnit2.conv1."),
    (r"\.refine\.second\.", ".resConfUnit2.conv2."),
    (r"(refinenet\d)\.out\.", r"\1.out_conv."),
    (r"\.dpt\.before\.", ".dpt.head.0."),
    (r"\.dpt\.after\.0\.", ".dpt.head.2."),
    (r"\.dpt\.after\.2\.", ".dpt.head.4."),
)


def published_name(name: str) -> str:
    """What a tensor of ``PointmapNetwork`` is called in the published files."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


@dataclass(frozen=True, eq=False)
class PublishedWeights:
    """Tensors by the name they are published under, tied ones once, and what the file says of its network."""

    path: Path
    tensors: Mapping[str, Tensor]
    options: Mapping[str, Any]

    @property
    def pretraining(self) -> bool:
        """CroCo's: no head for points, and nothing says that there should be one."""
        return not any(name.startswith(("downstream_head", "dec_blocks2.")) for name in self.tensors) \
            and "head_type" not in self.options

    def config(self, new_head: str) -> PointmapConfig:
        """Sizes of the network; new_head: kind of head for pretraining. Raises InputError('checkpoint')."""
        self._check_options()
        encoder_width = self._size("patch_embed.proj.weight", 0, 1024)
        decoder_width = self._size("decoder_embed.weight", 0, 768)
        encoder_depth, encoder_heads = self._blocks("enc", encoder_width, _ENCODERS)
        decoder_depth, decoder_heads = self._blocks("dec", decoder_width, _DECODERS)
        head = str(self.options.get("head_type", ""))
        known = {"": None, "linear": "linear", "dpt": "dpt", "catmlp+dpt": "dpt"}
        if head not in known:
            raise InputError("checkpoint", f"'{self.path}': heads of type '{head}' are not known here, but "
                             f"{', '.join(filter(None, known))}")
        linear = "downstream_head1.proj.weight" in self.tensors
        descriptors = self._size("downstream_head1.head_local_features.fc2.weight", 0, 0) // PATCH ** 2 - 1
        expected = 24 if head == "catmlp+dpt" else 0
        dense = "downstream_head1.dpt."
        try:
            return PointmapConfig(
                encoder_width, encoder_depth, encoder_heads, decoder_width, decoder_depth, decoder_heads,
                mlp_ratio=self._size("enc_blocks.0.mlp.fc1.weight", 0, 4 * encoder_width) / encoder_width,
                rotary_base=self._rotary_base(),
                head=new_head if self.pretraining else known[head] or ("linear" if linear else "dpt"),
                dense_widths=typing.cast(tuple[int, int, int, int], tuple(
                    self._size(f"{dense}act_postprocess.{number}.0.weight", 0, usual)
                    for number, usual in enumerate((96, 192, 384, 768)))),
                dense_width=self._size(f"{dense}head.0.weight", 1, 256),
                descriptor_width=descriptors if descriptors > 0 else expected,
                descriptor_hidden=self._size("downstream_head1.head_local_features.fc1.weight", 0,
                                             4 * (encoder_width + decoder_width)),
                image_side=self._image_side(),
                metric=expected > 0 or descriptors > 0)  # of the published ones, those that describe pixels: MASt3R
        except InputError as error:
            raise InputError("checkpoint", f"'{self.path}': {error}") from error

    def _size(self, name: str, axis: int, otherwise: int) -> int:
        shape = self.tensors[name].shape if name in self.tensors else ()
        return shape[axis] if axis < len(shape) and shape[axis] else otherwise

    def _blocks(self, kind: str, width: int, published: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
        """Depth and heads: as the file says, otherwise as published for the width, otherwise counted."""
        numbers = [int(match[1]) for name in self.tensors if (match := re.match(rf"{kind}_blocks\.(\d+)\.", name))]
        depth, heads = published.get(width, (max(numbers, default=0) + 1, max(1, width // 64)))
        try:
            found = (int(self.options.get(f"{kind}_depth", depth)),
                     int(self.options.get(f"{kind}_num_heads", heads)))
            if max(found) > _MOST_BLOCKS:
                raise ValueError(f"{max(found)}, {_MOST_BLOCKS} at most")
            return found
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError("checkpoint", f"'{self.path}' says of its blocks what is no number of them: "
                             f"{error}") from error

    def _image_side(self) -> int:
        given = self.options.get("img_size", 512)
        sides = given if isinstance(given, (tuple, list)) else (given,)
        whole = [side for side in sides if isinstance(side, int) and side >= PATCH]
        return max(whole, default=512) // PATCH * PATCH

    def _rotary_base(self) -> float:
        embedding = str(self.options.get("pos_embed", "RoPE100"))
        found = re.fullmatch(r"RoPE(\d+(?:\.\d+)?)", embedding)
        if not found or "enc_pos_embed" in self.tensors:
            raise InputError("checkpoint", f"'{self.path}' embeds positions by '{embedding}' or by a table; known here "
                             "are rotary embeddings (RoPE100) only")
        return float(found[1])

    def _check_options(self) -> None:
        """Raises InputError if points or confidences are meant otherwise than in all published networks."""
        for name, wanted in (("depth_mode", ("exp", -math.inf, math.inf)), ("conf_mode", ("exp", 1, math.inf)),
                             ("desc_conf_mode", ("exp", 0, math.inf))):
            given = self.options.get(name)
            if given is None:
                continue
            try:
                same = (given[0], *map(float, given[1:])) == wanted
            except (TypeError, ValueError, IndexError):
                same = False
            if not same:
                raise InputError("checkpoint", f"'{self.path}' has {name} {given}; known here is {wanted} only")


def read_published(path: Path) -> PublishedWeights:
    """Weights of a file or folder, see ``read_weights``, without tensors that serve nothing and with tied ones once.

    Raises InputError('checkpoint').
    """
    stored, options = read_weights(path)
    tensors = {name: tensor for name, tensor in stored.items()
               if not _UNUSED.fullmatch(name) and not _TIED.fullmatch(name)}
    for name, tensor in stored.items():
        if found := _TIED.fullmatch(name):
            tensors.setdefault(f"{found[1]}layer{int(found[2]) + 1}_rn{found[3]}", tensor)
    return PublishedWeights(path, tensors, options)


def fitted_tensors(published: PublishedWeights, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of the file for the names of a network of these shapes, float32; new heads of pretraining are left out.

    Raises InputError('checkpoint') that names the first tensors that do not fit.
    """
    tensors = dict(published.tensors)
    if "head_type" not in published.options and not any(name.startswith("dec_blocks2.") for name in tensors):
        tensors |= {name.replace("dec_blocks.", "dec_blocks2.", 1): tensor.clone() for name, tensor in tensors.items()
                    if name.startswith("dec_blocks.")}
    wanted = {published_name(name): name for name in shapes
              if not (published.pretraining and name.startswith("head"))}
    problems = []
    for name, own in wanted.items():
        if name not in tensors:
            problems.append(f"'{name}' is missing, {shapes[own]} expected")
        elif tuple(tensors[name].shape) != shapes[own]:
            problems.append(f"'{name}' is {tuple(tensors[name].shape)}, {shapes[own]} expected")
    problems += [f"'{name}' {tuple(tensors[name].shape)} is not part of it" for name in tensors if name not in wanted]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError("checkpoint", f"'{published.path}' is damaged or no DUSt3R, MASt3R or CroCo network: "
                         + "; ".join(problems[:_SHOWN]) + more)
    return {own: tensors[name].to(torch.float32) for name, own in wanted.items()}
