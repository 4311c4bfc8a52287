"""Two images without any calibration to a 3D point for every pixel of both, in the camera frame of the first.

encode   each image on its own: a vision transformer; once per image, however many pairs it is part of
decode   a pair: two transformers that read each other, then a head for either image
         -> points, confidence, and in MASt3R descriptors for matching

Wang et al., "DUSt3R: Geometric 3D Vision Made Easy" (CVPR 2024); Leroy et al., "Grounding Image Matching in 3D with
MASt3R" (ECCV 2024). Written from descriptions of the method; published weights load (``load_pointmap_network``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..structures import InputError
from .pointmap_checkpoint import fitted_tensors, read_published
from .pointmap_config import PATCH, PointmapConfig
from .pointmap_files import has_metadata
from .pointmap_heads import PixelHead
from .pointmap_pairs import image_batches, pair_batches, prepared_bytes
from .pointmap_transformer import Decoder, Encoder
from .weights_file import load_network, save_network

_CONFIG = "pointmap_network"
MEMORY_BYTES = 2 << 30
_CPU_BATCH_BYTES = 128 << 20  # on a CPU more at once only costs: large tensors are mapped anew each time (measured)


class ImageFeatures(NamedTuple):
    """Of B images of 16 rows x 16 columns pixels: tokens (B, rows * columns, encoder_width), and embedded for the
    decoder (B, rows * columns, decoder_width)."""

    tokens: Tensor
    embedded: Tensor
    rows: int
    columns: int


class Pointmaps(NamedTuple):
    """Of B pairs of images; all points in the optical frame of image 1 (x right, y down, z forward).

    points1 (B, H1, W1, 3) of the pixels of image 1, points2_in_1 (B, H2, W2, 3) of those of image 2; their unit is
    free and differs from pair to pair (DUSt3R) or metres (MASt3R). confidence1, confidence2: (B, H, W), 1 and above.
    descriptors1, descriptors2: (B, H, W, D) unit vectors, descriptor_confidence1 and 2 (B, H, W) above 0; None for
    networks without them.
    """

    points1: Tensor
    confidence1: Tensor
    points2_in_1: Tensor
    confidence2: Tensor
    descriptors1: Tensor | None = None
    descriptors2: Tensor | None = None
    descriptor_confidence1: Tensor | None = None
    descriptor_confidence2: Tensor | None = None


class PointmapNetwork(nn.Module):
    """``forward`` is the exportable graph; ``infer_pairs`` does many pairs at the least cost."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.head1, self.head2 = PixelHead(config), PixelHead(config)

    def forward(self, image1: Tensor, image2: Tensor) -> Pointmaps:
        """Images (B, 3, H, W), RGB from -1 to 1, sides divisible by 16, upright as taken (portrait is not turned).

        The two may differ in size. Raises InputError('bad_size').
        """
        if image1.shape == image2.shape:
            both = self.encode(torch.cat((image1, image2)))
            (tokens1, tokens2), (embedded1, embedded2) = both.tokens.chunk(2), both.embedded.chunk(2)
            return self.decode(both._replace(tokens=tokens1, embedded=embedded1),
                               both._replace(tokens=tokens2, embedded=embedded2))
        return self.decode(self.encode(image1), self.encode(image2))

    def encode(self, images: Tensor) -> ImageFeatures:
        """Images (B, 3, H, W) as in ``forward``, each on its own. Raises InputError('bad_size')."""
        if images.ndim != 4:
            raise InputError("bad_size", f"pointmap images have shape {tuple(images.shape)}; wanted is (B, 3, H, W)")
        rows, columns = _token_size(images[0])
        tokens = self.encoder(images)
        return ImageFeatures(tokens, self.decoder.embed(tokens), rows, columns)

    def decode(self, features1: ImageFeatures, features2: ImageFeatures) -> Pointmaps:
        """Pairs (1, 2) of the images of two ``encode``, B each. Raises InputError('bad_size') if B differs."""
        if len(features1.tokens) != len(features2.tokens):
            raise InputError("bad_size", f"{len(features1.tokens)} first and {len(features2.tokens)} second images "
                             "make no pairs")
        prepared1 = self.head1.prepare(features1.tokens, features1.rows, features1.columns)
        prepared2 = self.head2.prepare(features2.tokens, features2.rows, features2.columns)
        return self._decode(features1, features2, prepared1, prepared2)

    def _decode(self, features1: ImageFeatures, features2: ImageFeatures, prepared1: Tensor,
                prepared2: Tensor) -> Pointmaps:
        size1, size2 = ((features.rows, features.columns) for features in (features1, features2))
        levels1, levels2 = self.decoder(features1.embedded, features2.embedded, size1, size2)
        first = self.head1(features1.tokens, prepared1, levels1, *size1)
        second = self.head2(features2.tokens, prepared2, levels2, *size2)
        return Pointmaps(first.points, first.confidence, second.points, second.confidence,
                         first.descriptors, second.descriptors,
                         first.descriptor_confidence, second.descriptor_confidence)

    @torch.no_grad()
    def infer_pairs(self, images: Sequence[Tensor] | Tensor, pairs: Sequence[tuple[int, int]], *,
                    memory_bytes: int = MEMORY_BYTES, descriptors: bool = True,
                    progress: Callable[[int, int], None] | None = None,
                    known: MutableMapping[int, ImageFeatures] | None = None) -> list[Pointmaps]:
        """Pointmaps of ordered pairs (first, second) of N images (3, H, W), which may differ in size; B is 1 in each.

        Each image is encoded once, whatever depends on one image alone is computed once, both orders of a pair are
        decoded together, and as many pairs at once as memory_bytes allows and the device likes. The bound is on
        working memory: weights, images, features and results come on top. descriptors: False drops them, which are most
        of what a result of MASt3R holds. progress: told (pairs done, pairs) as they come. known: image -> features
        of an earlier call, which are used; those that are found are added. Raises InputError('bad_size'),
        InputError('parameter') for images that there are not.
        """
        used = sorted({image for pair in pairs for image in pair})
        if used and not 0 <= used[0] <= used[-1] < len(images):
            raise InputError("parameter", f"pairs name images {used[0]} to {used[-1]}, but there are {len(images)}")
        on_cpu = bool(used) and images[used[0]].device.type == "cpu"
        at_once = _CPU_BATCH_BYTES if on_cpu else memory_bytes
        features: MutableMapping[int, ImageFeatures] = {} if known is None else known
        features.update(self._encode_all({image: images[image] for image in used if image not in features},
                                         min(memory_bytes, at_once)))
        sizes = {image: (features[image].rows, features[image].columns) for image in used}
        keep = sum(prepared_bytes(self.config, size) for size in sizes.values())
        if keep <= memory_bytes // 2:
            known1: dict[int, Tensor] | None = {}
            known2: dict[int, Tensor] | None = {}
            memory_bytes -= keep
        else:
            known1 = known2 = None
        results: dict[int, Pointmaps] = {}
        for batch in pair_batches(self.config, pairs, sizes, min(memory_bytes, at_once)):
            first, second = ([pairs[position][place] for position in batch] for place in (0, 1))
            maps = self._decode(_joined(features, first), _joined(features, second),
                                _prepared(self.head1, features, first, known1),
                                _prepared(self.head2, features, second, known2))
            if not descriptors:
                maps = Pointmaps(*maps[:4])
            for number, position in enumerate(batch):
                results[position] = Pointmaps(*(None if part is None else part[number:number + 1] for part in maps))
            if progress is not None:
                progress(len(results), len(pairs))
        return [results[position] for position in range(len(pairs))]

    def _encode_all(self, images: Mapping[int, Tensor], memory_bytes: int) -> dict[int, ImageFeatures]:
        """Features of each image, B = 1."""
        sizes = {name: _token_size(image) for name, image in images.items()}
        features = {}
        for batch in image_batches(self.config, sizes, memory_bytes):
            several = self.encode(torch.stack([images[name] for name in batch]))
            for number, name in enumerate(batch):
                features[name] = several._replace(tokens=several.tokens[number:number + 1],
                                                  embedded=several.embedded[number:number + 1])
        return features


def load_pointmap_network(path: Path | str, *, new_head: str = "linear") -> PointmapNetwork:
    """A network of published or own weights: float32, on the CPU, for inference.

    path: a ``.pth`` of DUSt3R, MASt3R or CroCo v2, a Hugging Face folder (config.json, model.safetensors), a
    ``.safetensors`` of either, or a file of ``save_pointmap_network``. Nothing in a file is run. CroCo's pretraining
    has one decoder and no heads: the second is its copy, the heads (kind new_head) are new; train before use.
    Raises InputError('checkpoint') for a missing, damaged or foreign file, with what does not fit.
    """
    path = Path(path)
    if has_metadata(path, _CONFIG):
        return load_network(path, PointmapConfig, PointmapNetwork, _CONFIG, "pointmap network")
    published = read_published(path)
    config = published.config(new_head)
    with torch.device("meta"):  # no memory and no time for values that are replaced anyway
        network = PointmapNetwork(config)
    if published.pretraining:
        network.head1, network.head2 = PixelHead(config), PixelHead(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(fitted_tensors(published, shapes), strict=False, assign=True)
    return network.eval().requires_grad_(False)


def save_pointmap_network(path: Path, network: PointmapNetwork, metadata: Mapping[str, str] | None = None, *,
                          half: bool = True) -> None:
    """Write the network as one file; metadata: text to keep with it. half: float16, for shipping.

    Raises InputError('checkpoint'), see ``write_checkpoint``.
    """
    save_network(path, network, network.config, _CONFIG, metadata, half)


def _token_size(image: Tensor) -> tuple[int, int]:
    """Rows and columns of tokens of an image (3, H, W)."""
    if image.ndim != 3 or image.shape[0] != 3 or not all(side and side % PATCH == 0 for side in image.shape[1:]):
        raise InputError("bad_size", f"a pointmap image has shape {tuple(image.shape)}; wanted is (3, H, W) with H "
                         f"and W divisible by {PATCH}")
    return image.shape[1] // PATCH, image.shape[2] // PATCH


def _joined(features: Mapping[int, ImageFeatures], images: Sequence[int]) -> ImageFeatures:
    """The features of several images of one size as one batch."""
    chosen = [features[image] for image in images]
    return chosen[0]._replace(tokens=torch.cat([own.tokens for own in chosen]),
                              embedded=torch.cat([own.embedded for own in chosen]))


def _prepared(head: PixelHead, features: Mapping[int, ImageFeatures], images: Sequence[int],
              known: dict[int, Tensor] | None) -> Tensor:
    """What the head prepares of several images, as one batch; known: of earlier calls, filled; None: kept nowhere."""
    known = {} if known is None else known
    for image in images:
        if image not in known:
            own = features[image]
            known[image] = head.prepare(own.tokens, own.rows, own.columns)
    return torch.cat([known[image] for image in images])
