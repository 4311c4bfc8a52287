"""What the scene adds to the fused occupancy: a network that says what it is told to, voxel by voxel."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_decoder import PlainDecoder
from torch import Tensor

from img2three_ros.config import OccupancyConfig
from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.geometry.voxel_grid import voxel_labels
from img2three_ros.models.scene_decoder import LABELS, PointAnswer, SceneDecoder
from img2three_ros.models.scene_volume import SceneState
from img2three_ros.reconstruction.completion import completed
from img2three_ros.reconstruction.scene_space import SceneSpace
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, VOXEL_LABELS, OccupancyVolume

pytestmark = pytest.mark.usefixtures("one_thread")
GRID = ContractedGrid(near=6.0, growth=4.0, side=24, levels=8, z_near=3.2)
CONFIG = OccupancyConfig(hidden_threshold=0.6, free_threshold=0.3)
SHAPE = (5, 4, 6)
"""Voxels of 0.4 m that are cells of GRID: z -1.0 .. 1.0, y 0 .. 1.6, x 2 .. 4.4; ground z = 0."""
SURE, UNSURE = 4.0, 0.0


class ToldDecoder(SceneDecoder):
    """Answers by voxel: ``logits`` (Z, Y, X) of occupancy and (Z, Y, X, 6) of labels. Remembers what it was asked."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        super().__init__(GRID, features=4, hidden=4)
        self.told, self.labels, self.asked = logits, labels, torch.zeros(SHAPE, dtype=torch.int64)

    def query(self, state: SceneState, points: Tensor) -> PointAnswer:
        x, y, z = ((points - torch.tensor([2.0, 0.0, -1.0])) / 0.4).floor().long().unbind(1)
        self.asked[z, y, x] += 1
        count = len(points)
        return PointAnswer(self.told[z, y, x], torch.zeros(count), torch.zeros(count, 3), self.labels[z, y, x],
                           torch.zeros(count), GRID.inside(GRID.cells(points)))


def volume(**states: tuple[int, float]) -> OccupancyVolume:
    """Unknown, but for voxels (z, y, x) named as z_y_x: (state, probability)."""
    state, probability = np.full(SHAPE, UNKNOWN, np.int8), np.full(SHAPE, 0.5, np.float32)
    for name, (value, chance) in states.items():
        place = tuple(int(digit) for digit in name[1:].split("_"))
        state[place], probability[place] = value, chance
    return OccupancyVolume(state, probability, np.array([2.0, 0.0, -1.0]), 0.4)


def told(probability: float | Tensor, label: str = "vehicle", sureness: float = SURE,
         occluded: Callable[[Tensor], Tensor] = lambda centres: torch.ones(centres.shape[:-1], dtype=torch.bool),
         ) -> SceneSpace:
    """A scene that gives every voxel, or each, a probability, and one class; sureness: its logit above the others'."""
    logits = torch.logit(torch.as_tensor(probability, dtype=torch.float32)).expand(SHAPE)
    labels = torch.zeros(*SHAPE, len(LABELS))
    labels[..., LABELS.index(label)] = sureness
    state = SceneState(torch.zeros(4, *GRID.shape), torch.zeros(2, *GRID.shape), torch.zeros(1, 16, 24, 24))
    return SceneSpace(ToldDecoder(logits, labels), state, occluded(GRID.centres()), torch.zeros(3), ())


def nowhere(centres: Tensor) -> Tensor:
    return torch.zeros(centres.shape[:-1], dtype=torch.bool)


def left_of_a_metre(centres: Tensor) -> Tensor:
    return centres[..., 1] > 0.8


LOW = 2
"""The first level that is not inside of the ground: centres at z = 0; those below lie a whole voxel deep."""


def test_what_was_fused_stays_and_gets_its_class() -> None:
    fused = volume(_3_1_2=(OCCUPIED, 0.93), _0_0_0=(OCCUPIED, 0.7), _3_2_2=(FREE, 0.1))
    result = completed(fused, told(0.01, "person", occluded=nowhere), CONFIG)
    np.testing.assert_array_equal(result.state, fused.state)
    np.testing.assert_array_equal(result.probability, fused.probability)
    expected = np.zeros(SHAPE, np.uint8)
    expected[3, 1, 2] = expected[0, 0, 0] = VOXEL_LABELS.index("person")  # in the ground, too
    assert result.label is not None and result.label.dtype == np.uint8
    np.testing.assert_array_equal(result.label, expected)


def test_a_voxel_out_of_sight_that_is_probably_solid_is_occupied_with_that_probability() -> None:
    result = completed(volume(), told(0.62, "structure"), CONFIG)
    assert (result.state[:LOW] == UNKNOWN).all() and (result.state[LOW:] == OCCUPIED).all()
    np.testing.assert_allclose(result.probability[LOW:], 0.62, atol=1e-6)
    np.testing.assert_array_equal(result.probability[:LOW], np.float32(0.5))
    assert (result.label[LOW:] == VOXEL_LABELS.index("structure")).all() and (result.label[:LOW] == 0).all()
    assert result.state.dtype == np.int8 and result.probability.dtype == np.float32


def test_each_voxel_gets_its_own_answer() -> None:
    generator = np.random.default_rng(3)
    said = generator.uniform(0.0, 1.0, SHAPE).astype(np.float32)
    result = completed(volume(), told(torch.from_numpy(said)), CONFIG)
    expected = said >= 0.6
    expected[:LOW] = False
    np.testing.assert_array_equal(result.state == OCCUPIED, expected)
    given_out = np.minimum(said, CONFIG.occupied_threshold)
    np.testing.assert_allclose(result.probability, np.where(expected, given_out, 0.5), atol=1e-5)


def test_what_is_not_out_of_sight_stays_unknown() -> None:
    result = completed(volume(), told(0.999, occluded=left_of_a_metre), CONFIG)
    assert (result.state[:, :2] == UNKNOWN).all() and (result.probability[:, :2] == 0.5).all()
    assert (result.label[:, :2] == 0).all()
    assert (result.state[LOW:, 2:] == OCCUPIED).all()


def test_the_inside_of_the_ground_follows_the_ground() -> None:
    """A slope: 0 m under the first columns, 0.6 m higher under the others, voxels' centres at -0.8, -0.4 .. 0.8."""
    ground = np.zeros(SHAPE[1:], np.float32)
    ground[:, 3:] = 0.6
    result = completed(replace(volume(), ground=ground), told(0.9), CONFIG)
    assert (result.state[:, :, :3] == OCCUPIED).any((1, 2)).tolist() == [False, False, True, True, True]
    assert (result.state[:, :, 3:] == OCCUPIED).any((1, 2)).tolist() == [False, False, False, True, True]


def test_free_voxels_are_neither_asked_about_nor_touched() -> None:
    fused = volume(_3_1_2=(FREE, 0.12), _4_3_5=(FREE, 0.05))
    space = told(0.99)
    result = completed(fused, space, CONFIG)
    assert (result.state[fused.state == FREE] == FREE).all() and (result.label[fused.state == FREE] == 0).all()
    np.testing.assert_array_equal(result.probability[fused.state == FREE], np.float32([0.12, 0.05]))
    asked = space.decoder.asked.numpy()
    assert asked.max() == 1 and (asked[fused.state == FREE] == 0).all() and (asked[:LOW] == 0).all()


def test_nothing_becomes_free_by_prediction_unless_asked_for() -> None:
    fused = volume(_3_1_2=(OCCUPIED, 0.9))
    empty = told(0.02, occluded=left_of_a_metre)
    assert not (completed(fused, empty, CONFIG).state == FREE).any()
    trusting = completed(fused, empty, replace(CONFIG, trust_hidden_free=True))
    expected = np.full(SHAPE, UNKNOWN)
    expected[LOW:, 2:], expected[3, 1, 2] = FREE, OCCUPIED
    np.testing.assert_array_equal(trusting.state, expected)
    np.testing.assert_allclose(trusting.probability[trusting.state == FREE], 0.02, atol=1e-6)
    assert (trusting.label[trusting.state == FREE] == 0).all()
    likely = completed(fused, told(0.31), replace(CONFIG, trust_hidden_free=True))
    assert not (likely.state == FREE).any()
    either = replace(CONFIG, trust_hidden_free=True, hidden_threshold=0.5, free_threshold=0.5)
    assert (completed(fused, told(0.5), either).state[LOW:] == OCCUPIED).all()


@pytest.mark.parametrize("probability", [0.6, 0.999999, 1.0])
def test_threshold_one_is_never(probability: float) -> None:
    """Not even where the network is so sure that its probability rounds to 1."""
    result = completed(volume(), told(probability), replace(CONFIG, hidden_threshold=1.0))
    assert (result.state == UNKNOWN).all() and (result.label == 0).all() and (result.probability == 0.5).all()


@pytest.mark.parametrize(("threshold", "occupied"), [(0.5, True), (0.74, True), (0.76, False)])
def test_the_threshold_decides(threshold: float, occupied: bool) -> None:
    result = completed(volume(), told(0.75), replace(CONFIG, hidden_threshold=threshold))
    assert (result.state[LOW:] == (OCCUPIED if occupied else UNKNOWN)).all()


@pytest.mark.parametrize("label", LABELS)
def test_labels_are_those_of_the_message(label: str) -> None:
    result = completed(volume(_4_1_2=(OCCUPIED, 0.9)), told(0.1, label), CONFIG)
    assert VOXEL_LABELS[result.label[4, 1, 2]] == label


def test_the_label_is_unknown_where_the_network_is_unsure() -> None:
    fused = volume(_4_1_2=(OCCUPIED, 0.9), _2_1_2=(OCCUPIED, 0.9))
    result = completed(fused, told(0.8, sureness=UNSURE), CONFIG)
    assert (result.label == 0).all() and (result.state[LOW:] == OCCUPIED).all()
    assert voxel_labels(result)[2, 1, 2] == VOXEL_LABELS.index("road") and voxel_labels(result)[4, 1, 2] == 0
    share_half = float(np.log(5.0))  # e^x = 5: as likely as the five others together
    assert (completed(fused, told(0.8, sureness=share_half + 0.01), CONFIG).label[LOW:] > 0).all()
    assert (completed(fused, told(0.8, sureness=share_half - 0.01), CONFIG).label == 0).all()


def test_the_fused_volume_is_not_modified() -> None:
    fused = volume(_3_1_2=(OCCUPIED, 0.9), _3_1_3=(FREE, 0.1))
    state, probability = fused.state.copy(), fused.probability.copy()
    result = completed(fused, told(0.9), replace(CONFIG, trust_hidden_free=True))
    np.testing.assert_array_equal(fused.state, state)
    np.testing.assert_array_equal(fused.probability, probability)
    assert fused.label is None and not np.shares_memory(result.state, fused.state)
    assert not np.shares_memory(result.probability, fused.probability)


def test_without_anything_to_ask_all_stays() -> None:
    result = completed(volume(), told(0.9, occluded=nowhere), CONFIG)
    assert (result.state == UNKNOWN).all() and (result.label == 0).all()


def test_beyond_the_scene_nothing_is_said() -> None:
    """A grid that reaches farther than the scene; a fused obstacle there keeps its state and has no label."""
    state = np.full((2, 1, 200), UNKNOWN, np.int8)
    state[1, 0, 199] = OCCUPIED
    far = OccupancyVolume(state, np.where(state == OCCUPIED, 0.9, 0.5).astype(np.float32), np.zeros(3), 0.4)
    scene_state = SceneState(torch.ones(4, *GRID.shape), torch.zeros(2, *GRID.shape), torch.zeros(1, 16, 24, 24))
    space = SceneSpace(PlainDecoder(GRID), scene_state, torch.ones(GRID.shape, dtype=torch.bool), torch.zeros(3), ())
    result = completed(far, space, replace(CONFIG, hidden_threshold=0.5, trust_hidden_free=True))
    reached = (np.arange(200) + 0.5) * 0.4 < GRID.reach
    assert 0 < reached.sum() < 60
    assert (result.state[1, 0] == np.where(reached, OCCUPIED, state[1, 0])).all()
    assert result.probability[1, 0, 199] == np.float32(0.9) and result.label[1, 0, 199] == 0


@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.5, 3.0, 50.0]), threshold=st.floats(0.5, 1.0),
       free_threshold=st.floats(0.0, 0.5), broken=st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_the_network_says_no_unknown_voxel_becomes_free(
        seed: int, spread: float, threshold: float, free_threshold: float, broken: bool) -> None:
    random = np.random.default_rng(seed)
    fused = replace(volume(), state=random.choice(np.int8([UNKNOWN, FREE, OCCUPIED]), SHAPE),
                    probability=random.uniform(0.0, 1.0, SHAPE).astype(np.float32),
                    ground=random.normal(0.0, 0.3, SHAPE[1:]).astype(np.float32))
    logits = random.normal(0.0, spread, SHAPE)
    if broken:
        logits[random.random(SHAPE) < 0.3] = np.nan
        logits[random.random(SHAPE) < 0.1] = -np.inf
        logits[random.random(SHAPE) < 0.1] = np.inf
    occluded = torch.from_numpy(random.random(GRID.shape) < 0.5)
    space = told(0.5, occluded=lambda _: occluded)
    space.decoder.told = torch.from_numpy(logits).float()
    space.decoder.labels = torch.from_numpy(random.normal(0.0, spread, (*SHAPE, len(LABELS)))).float()
    config = replace(CONFIG, hidden_threshold=threshold, free_threshold=free_threshold)
    result = completed(fused, space, config)
    np.testing.assert_array_equal(result.state == FREE, fused.state == FREE)
    assert (result.state[fused.state == OCCUPIED] == OCCUPIED).all()
    new = (result.state == OCCUPIED) & (fused.state == UNKNOWN)
    np.testing.assert_array_equal(result.probability[~new], fused.probability[~new])
    assert (result.probability[new] >= min(threshold, config.occupied_threshold) - 1e-6).all()
    assert (result.probability[new] <= config.occupied_threshold + 1e-6).all()
    assert (result.label[result.state != OCCUPIED] == 0).all()
    assert result.label.max() < len(VOXEL_LABELS)
    places = torch.from_numpy(result.centres(new))
    assert bool(space.hides(places).all())
    heights = result.centres(new)[:, 2] - np.broadcast_to(fused.ground, SHAPE)[new]
    assert (heights > -0.3 - 1e-5).all()
