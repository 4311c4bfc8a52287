"""The tri-state grid as OctoMap's binary stream: what ``octomap_msgs/Octomap`` carries and ``.bt`` files hold.

An octree of depth 16 over cells of the map's resolution; cell key = floor(coordinate / resolution) + 32768. The stream
lists inner nodes in pre-order, 2 bytes each, 2 bits per child (child = x + 2 y + 4 z), low bit first: unknown 00,
free 01 (b0 = 1), occupied 10 (b1 = 1), inner 11. Eight equal leaves are one leaf. See Hornung et al., "OctoMap: An
Efficient Probabilistic 3D Mapping Framework Based on Octrees", Autonomous Robots 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import setting
from ..structures import FREE, OCCUPIED, InputError, OccupancyVolume
from .folders import make_folder

_DEPTH, _KEY_ORIGIN = 16, 1 << 15
_ALIGNED = 1e-3
"""Limits this close to a multiple of the resolution, in cells, are one: grid limits are decimal, not exact."""
_UNKNOWN_CODE, _FREE_CODE, _OCCUPIED_CODE, _INNER_CODE = 0, 1, 2, 3
_UNITED = np.array([_INNER_CODE if sum(bits >> code & 1 for code in range(4)) != 1 else bits.bit_length() - 1
                    for bits in range(16)], np.uint8)
"""Set of the codes of eight children (bit = code) -> code of their parent."""

_CHILDREN = np.array([(child & 1, child >> 1 & 1, child >> 2) for child in range(8)], np.int32)
_SHIFTS = np.arange(0, 16, 2, dtype=np.uint16)


@dataclass(frozen=True)
class OctomapConfig:
    """Whether the grid is also published as an OctoMap."""

    publish: bool = setting(False, "offer ~/output/octomap_binary; needs octomap_msgs")


@dataclass(frozen=True)
class BinaryOctomap:
    """An OctoMap of type OcTree.

    data: the stream of inner nodes; empty if nothing is known. resolution: edge of a cell, metres. nodes: number of
    nodes, inner ones and leaves.
    """

    data: bytes
    resolution: float
    nodes: int

    @property
    def file(self) -> bytes:
        """Content of a ``.bt`` file, which octovis and OcTree::readBinary take."""
        return (f"# Octomap OcTree binary file\n# written by img2three_ros\n#\nid OcTree\nsize {self.nodes}\n"
                f"res {self.resolution:.12g}\ndata\n").encode() + self.data


def binary_octomap(volume: OccupancyVolume) -> BinaryOctomap:
    """The whole grid, in the frame of the grid.

    OctoMap's cells begin at multiples of the resolution. Where the grid's do too, resolution = voxel size and each cell
    is a voxel. Otherwise the resolution is half of it: exact where the grid begins at a multiple of that (the default
    grid does). Where it does not, a cell that touches several voxels is occupied if one of them is, and free only if
    all are; what touches the outside is never free.

    Raises InputError('octomap') for a grid beyond the 65536 cells of an OctoMap.
    """
    resolution = float(volume.voxel_size)
    if not np.allclose(volume.origin / resolution, np.rint(volume.origin / resolution), rtol=0.0, atol=_ALIGNED):
        resolution /= 2.0
    codes, first = _cells(volume, resolution)
    if (first < 0).any() or (first + codes.shape[::-1] > 2 * _KEY_ORIGIN).any():
        raise InputError("octomap", f"the grid from {volume.origin.tolist()} m with {volume.state.shape[::-1]} voxels "
                         f"of {volume.voxel_size} m does not fit an OctoMap, which reaches "
                         f"{_KEY_ORIGIN * resolution:g} m from the origin; choose limits closer to it")
    levels, corners = _levels(codes, first)
    if levels[0].max() == _UNKNOWN_CODE:
        return BinaryOctomap(b"", resolution, 0)
    words = _pre_order(levels, corners)
    pairs = words[:, None] >> _SHIFTS & 3
    return BinaryOctomap(words.tobytes(), resolution, 1 + int(np.count_nonzero(pairs)))


def write_octomap(path: Path | str, volume: OccupancyVolume) -> None:
    """Write a ``.bt`` file. Raises InputError ``output``, or ``octomap`` as ``binary_octomap``."""
    path = Path(path)
    content = binary_octomap(volume).file
    make_folder(path.parent)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error}; choose another output") from error


def _cells(volume: OccupancyVolume, resolution: float) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Codes (Z, Y, X) of all cells that touch the grid, and the key x, y, z of the first."""
    # Free < unknown < occupied: of several voxels in a cell the highest counts.
    severity = np.select([volume.state == FREE, volume.state == OCCUPIED], [0, 2], 1).astype(np.uint8)
    first = np.zeros(3, np.int64)
    for axis in range(3):
        name = 2 - axis
        low, count = float(volume.origin[name]) / resolution, severity.shape[axis]
        per_voxel = volume.voxel_size / resolution
        first[name] = int(np.floor(low + _ALIGNED))
        edges = np.arange(first[name], np.ceil(low + count * per_voxel - _ALIGNED) + 1)
        # Cell i lies between the voxels that hold its lower and its upper edge; -1 and count are outside.
        begin = np.floor((edges[:-1] - low + _ALIGNED) / per_voxel).astype(np.int64)
        end = np.ceil((edges[1:] - low - _ALIGNED) / per_voxel).astype(np.int64) - 1
        padded = np.pad(severity, [(1, 1) if other == axis else (0, 0) for other in range(3)], constant_values=1)
        severity = padded.take(begin + 1, axis)
        if not np.array_equal(begin, end):
            severity = np.maximum(severity, padded.take(end + 1, axis))
    codes = np.array([_FREE_CODE, _UNKNOWN_CODE, _OCCUPIED_CODE], np.uint8)[severity]
    return codes, first + _KEY_ORIGIN


def _levels(codes: NDArray[np.uint8], first: NDArray[np.int64]) -> tuple[list[NDArray[np.uint8]],
                                                                       list[NDArray[np.int64]]]:
    """Codes (Z, Y, X) of the nodes at depths 0..16, and the key x, y, z of the first node of each.

    Below the root every level is padded with unknown to whole families of eight, so node n of depth d has its
    children from 2 (n + corner[d]) - corner[d + 1] on.
    """
    levels, corners = [], []
    for _ in range(_DEPTH):
        before = first % 2
        after = (codes.shape[::-1] + before) % 2
        codes = np.pad(codes, list(zip(before[::-1], after[::-1], strict=True)), constant_values=_UNKNOWN_CODE)
        first = first - before
        levels.append(codes)
        corners.append(first)
        found = np.left_shift(np.uint8(1), codes)
        for axis in range(3):
            even, odd = (found[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
            found = even | odd
        codes, first = _UNITED[found], first // 2
    levels.append(codes)
    corners.append(first)
    return levels[::-1], corners[::-1]


def _pre_order(levels: list[NDArray[np.uint8]], corners: list[NDArray[np.int64]]) -> NDArray[np.uint16]:
    """Two bytes, little-endian, of each inner node, parents before children and siblings in order."""
    keys, words, parents = np.zeros((1, 3), np.int32), [], []
    for codes, corner in zip(levels[1:], corners[1:], strict=True):
        _, height, width = codes.shape
        strides = np.array((1, width, width * height), np.int32)
        first_child = (2 * keys - corner.astype(np.int32)) @ strides
        children = codes.ravel()[first_child[:, None] + _CHILDREN @ strides]
        words.append((children.astype(np.uint16) << _SHIFTS).sum(axis=1, dtype=np.uint16))
        parent, which = np.nonzero(children == _INNER_CODE)
        parents.append(parent)
        keys = 2 * keys[parent] + _CHILDREN[which]
    sizes = [np.ones(len(words[-1]), np.int64)]  # inner nodes of each subtree, deepest level first
    for level, parent in zip(words[-2::-1], parents[-2::-1], strict=True):
        sizes.append(1 + np.bincount(parent, sizes[-1], len(level)).astype(np.int64))
    stream = np.empty(sizes[-1].sum(), "<u2")
    place = np.zeros(1, np.int64)
    stream[place] = words[0]
    for level, parent, size in zip(words[1:], parents[:-1], sizes[-2::-1], strict=True):
        before = np.cumsum(size) - size  # in the level; less what is before the family
        place = place[parent] + 1 + before - before[np.searchsorted(parent, parent)]
        stream[place] = level
    return stream
