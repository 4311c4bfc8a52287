"""The OctoMap stream against the real OctoMap library, voxel by voxel."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from img2three_ros.config import OccupancyConfig
from img2three_ros.fileio.octomap import binary_octomap, write_octomap
from img2three_ros.geometry.voxel_grid import all_centres, grid_size
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, InputError, OccupancyVolume

octomap = pytest.importorskip("octomap", reason="octomap-python has wheels for Linux x86_64 only")


def grid(state, origin=(0.0, 0.0, 0.0), voxel_size=0.5):
    state = np.asarray(state, np.int8)
    return OccupancyVolume(state, np.full(state.shape, 0.5, np.float32), np.array(origin, np.float64), voxel_size)


def decoded(volume):
    """The tree as the library reads it from the bytes."""
    tree = octomap.OcTree(1.0)
    assert tree.readBinary(binary_octomap(volume).file)
    return tree


def states_in(tree, points):
    """(N,) state at each point (N, 3), of the library."""
    nodes = (found(tree, point) for point in np.asarray(points, np.float64))
    return np.array([UNKNOWN if node is None else OCCUPIED if tree.isNodeOccupied(node) else FREE for node in nodes])


def found(tree, point):
    node = tree.search(point)
    try:
        tree.isNodeOccupied(node)
    except octomap.NullPointerException:
        return None
    return node


def cell_centres(low, high, resolution):
    """(N, 3) centres of all cells of an aligned box, metres."""
    axes = [(np.arange(first, last) + 0.5) * resolution for first, last in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def leaves(tree):
    return sum(1 for _ in tree.begin_leafs())


sides = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def grids(draw):
    """Tri-state grids with large equal parts and single voxels, anywhere, aligned to the voxel size."""
    shape, random = draw(sides), np.random.default_rng(draw(st.integers(0, 2**32)))
    coarse = random.integers(-1, 2, [-(-side // 4) for side in shape])
    state = coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2)[:shape[0], :shape[1], :shape[2]]
    noise = random.random(shape) < draw(st.sampled_from((0.0, 0.1, 1.0)))
    state = np.where(noise, random.integers(-1, 2, shape), state)
    voxel_size = draw(st.sampled_from((0.05, 0.2, 0.4, 1.0)))
    first = np.array(draw(st.tuples(*[st.integers(-40, 40)] * 3)))
    return grid(state, first * voxel_size, voxel_size)


@given(grids())
@example(grid(np.full((8, 8, 8), UNKNOWN)))
@example(grid(np.full((8, 8, 8), FREE)))
@example(grid(np.full((1, 1, 1), OCCUPIED), (-32768.0, 32767.0, 0.0), 1.0))
@settings(max_examples=150, deadline=None)
def test_library_reads_every_voxel_as_it_was(volume):
    tree = decoded(volume)
    assert tree.getResolution() == pytest.approx(volume.voxel_size)
    np.testing.assert_array_equal(states_in(tree, all_centres(volume)), volume.state.ravel())
    first = np.rint(volume.origin / volume.voxel_size).astype(int)
    around = cell_centres(first - 1, first + volume.state.shape[::-1] + 1, volume.voxel_size)
    inside = ((around > volume.origin) & (around < volume.origin + np.array(volume.state.shape[::-1])
                                          * volume.voxel_size)).all(axis=1)
    reachable = (np.abs(around) < 32768 * volume.voxel_size).all(axis=1)
    assert (states_in(tree, around[~inside & reachable]) == UNKNOWN).all()


@given(grids())
@settings(max_examples=50, deadline=None)
def test_library_writes_the_same_bytes_and_finds_nothing_to_prune(volume):
    known = (volume.state != UNKNOWN).any()
    tree = decoded(volume)
    if known:
        content = tree.writeBinary()
        assert content[content.index(b"data\n") + 5:] == binary_octomap(volume).data
        assert tree.size() == binary_octomap(volume).nodes
    else:
        assert binary_octomap(volume).data == b"" and tree.size() == 0


def test_known_stream_of_one_occupied_voxel():
    # Key 32768 is child 7 of the root and child 0 of all below it; its siblings are unknown.
    data = binary_octomap(grid([[[OCCUPIED]]])).data
    assert data == b"\x00\xc0" + 14 * b"\x03\x00" + b"\x02\x00"


def test_equal_voxels_are_one_leaf():
    assert leaves(decoded(grid(np.full((8, 8, 8), FREE)))) == 1
    volume = grid(np.full((8, 8, 8), FREE))
    volume.state[0, 0, 0] = OCCUPIED
    assert leaves(decoded(volume)) == 7 + 7 + 8  # of 4, 2 and 1 voxels


def test_default_grid_is_exact_at_half_its_voxels():
    size = grid_size(OccupancyConfig())
    assert size.low[2] % size.voxel_size > 0.1  # or this says nothing
    random = np.random.default_rng(0)
    volume = grid(random.integers(-1, 2, (16, 12, 10)), size.low, size.voxel_size)
    tree = decoded(volume)
    assert tree.getResolution() == pytest.approx(0.2)
    np.testing.assert_array_equal(states_in(tree, all_centres(volume)), volume.state.ravel())
    quarter = np.array(((-1, -1, -1), (1, 1, 1), (-1, 1, 1), (1, -1, -1))) * volume.voxel_size / 4
    for shift in quarter:
        np.testing.assert_array_equal(states_in(tree, all_centres(volume) + shift), volume.state.ravel())


@given(grids(), st.tuples(*[st.floats(0.0, 1.0)] * 3))
@settings(max_examples=60, deadline=None)
def test_elsewhere_cells_are_free_only_if_all_they_touch_is(volume, shift):
    moved = grid(volume.state, volume.origin + np.array(shift) * volume.voxel_size, volume.voxel_size)
    tree = decoded(moved)
    # Points well inside every voxel: what is not free there is not free in the map, what is occupied is occupied.
    offsets = np.random.default_rng(1).uniform(-0.49, 0.49, (6, 3)) * moved.voxel_size
    for offset in offsets:
        found_states = states_in(tree, all_centres(moved) + offset)
        assert (found_states[volume.state.ravel() == OCCUPIED] == OCCUPIED).all()
        assert (found_states[volume.state.ravel() == UNKNOWN] != FREE).all()
    resolution = tree.getResolution()
    occupied = all_centres(moved)[volume.state.ravel() == OCCUPIED]
    for leaf in tree.begin_leafs():
        if tree.isNodeOccupied(leaf):
            half = leaf.getSize() / 2
            gaps = np.abs(occupied - np.array(leaf.getCoordinate())).max(axis=1)
            assert gaps.min() < half + moved.voxel_size / 2 + 0.01 * resolution  # it touches an occupied voxel


def test_grid_beyond_the_map_is_refused():
    with pytest.raises(InputError, match="does not fit an OctoMap") as caught:
        binary_octomap(grid(np.zeros((1, 1, 2)), (32767.0, 0.0, 0.0), 1.0))
    assert caught.value.reason == "octomap"


def test_file_is_read_by_name(tmp_path):
    path = tmp_path / "maps" / "street.bt"
    volume = grid([[[FREE, OCCUPIED, UNKNOWN]]])
    write_octomap(path, volume)
    tree = octomap.OcTree(1.0)
    assert tree.readBinary(str(path).encode())
    assert states_in(tree, all_centres(volume)).tolist() == [FREE, OCCUPIED, UNKNOWN]


def test_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "street.bt").mkdir()
    with pytest.raises(InputError, match=r"street\.bt"):
        write_octomap(tmp_path / "street.bt", grid([[[FREE]]]))
