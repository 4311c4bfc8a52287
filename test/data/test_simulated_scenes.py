"""Scenes from the simulated world: the truth about space fits what the views of the vehicle show."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from img2three_ros.data.group_layout import Unit
from img2three_ros.data.scene_sample import NO_LABEL, SceneSample
from img2three_ros.data.simulated import SimulatedGroups, SimulatedGroupSettings
from img2three_ros.data.simulated_scenes import LABEL_OF_CLASS, SimulatedScenes, SimulatedSceneSettings
from img2three_ros.data.view_group import ViewGroup
from img2three_ros.geometry.transforms import apply, inverse
from img2three_ros.models.scene_decoder import LABELS
from img2three_ros.simulation.categories import SemanticClass
from img2three_ros.simulation.random_rig import ring_rig
from img2three_ros.structures import InputError

SIZE = (48, 80)
EXACT = SimulatedGroupSettings(noisy_geometry=0.0, moved_base=1.0)
FEW = SimulatedSceneSettings(points=2000, rays=800, outside=2, outside_width=64)


@pytest.fixture(scope="module")
def samples() -> list[SceneSample]:
    scenes = SimulatedScenes(EXACT, FEW)
    return [scenes.scene(index, SIZE, 3) for index in range(4)]


def tensors(sample: SceneSample) -> list[Tensor]:
    own = [getattr(sample, item.name) for item in fields(SceneSample) if item.name != "group"]
    return own + [getattr(sample.group, item.name) for item in fields(ViewGroup)]


def projected(group: ViewGroup, view: int, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel (N, 2) rounded, depth (N,) and whether inside the image, by what the network is told."""
    T_camera_base = torch.linalg.inv(group.T_base_camera[view])
    local = points.double() @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
    pixels = local @ group.intrinsics[view].double().T
    place = (pixels[:, :2] / pixels[:, 2:]).round().long()
    inside = (local[:, 2] > 0.05) & (place >= 0).all(1) & (place[:, 0] < SIZE[1]) & (place[:, 1] < SIZE[0])
    return place, local[:, 2], inside


def against_surface(group: ViewGroup, view: int, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (N,) of points in a view, depth (N,) of what it shows there (0 = the vehicle), and whether inside."""
    place, depth, inside = projected(group, view, points)
    place = torch.where(inside[:, None], place, 0)
    shown = torch.nan_to_num(group.depth[view], nan=0.0, posinf=torch.inf)
    return depth, shown[place[:, 1], place[:, 0]], inside


def test_a_scene_follows_from_its_index_alone(samples) -> None:
    again = SimulatedScenes(EXACT, FEW).scene(2, SIZE, 3)
    for one, other in zip(tensors(samples[2]), tensors(again), strict=True):
        assert torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
    assert not torch.equal(samples[1].points, samples[2].points)


def test_shapes(samples) -> None:
    for sample in samples:
        assert sample.points.shape == (2000, 3) and sample.occupied.shape == sample.hidden.shape == (2000,)
        assert sample.origins.shape == sample.directions.shape == sample.colour.shape == (len(sample.own), 3)
        assert len(sample.own) == 800 + sample.patches.numel()
        assert int(sample.own.sum()) == 200 and len(sample.group.images) == 6
        assert sample.T_now_instant.shape == (2, 4, 4)
        assert torch.allclose(sample.T_now_instant[0], torch.eye(4, dtype=torch.float64), atol=1e-9)
        torch.testing.assert_close(sample.directions.norm(dim=1), torch.ones(len(sample.own)))
        assert not bool(sample.distance.isnan().any()) and bool((sample.distance > 0.0).all())


def test_patches_are_neighbouring_pixels_of_one_outside_view(samples) -> None:
    for sample in samples:
        assert sample.patches.shape[1:] == (FEW.patch, FEW.patch) and len(sample.patches) > 0
        for patch in sample.patches:
            assert not sample.own[patch].any()
            assert (sample.origins[patch] == sample.origins[patch[0, 0]]).all()
            side = sample.directions[patch]
            right = (side[:, 1:] - side[:, :-1]).norm(dim=-1)
            down = (side[1:] - side[:-1]).norm(dim=-1)
            pixel = 1.0 / (0.5 * FEW.outside_width)  # of 90 degrees, at the centre; less towards the border
            for step in (right, down):
                assert (step > 0.3 * pixel).all() and (step < 1.01 * pixel).all()
            across = torch.cross(side[0, -1] - side[0, 0], side[-1, 0] - side[0, 0], dim=0)
            assert float(across @ side[0, 0]) > 0.0  # u to the right, v downwards: a right-handed optical frame


def test_own_rays_end_where_the_views_have_their_depth(samples) -> None:
    compared = 0
    for sample in samples:
        group, solid = sample.group, sample.own & sample.distance.isfinite()
        points = (sample.origins + sample.directions * sample.distance[:, None])[solid]
        for view in range(3):
            centre = group.T_base_camera[view, :3, 3].float()
            of_view = (sample.origins[solid] - centre).norm(dim=1) < 1e-4
            place, depth, inside = projected(group, view, points[of_view])
            assert bool(inside.all())
            seen = group.depth[view][place[:, 1], place[:, 0]].double()
            torch.testing.assert_close(seen, depth, atol=1e-3, rtol=1e-4)
            compared += len(place)
    assert compared > 200


def test_hidden_is_what_no_view_shows(samples) -> None:
    for sample in samples:
        shown = torch.zeros_like(sample.hidden)
        for view in range(6):
            depth, surface, inside = against_surface(sample.group, view, sample.points)
            shown |= inside & (depth <= surface + 0.4)
        assert float((shown == sample.hidden).float().mean()) < 0.005
        assert 0.05 < float(sample.hidden.float().mean()) < 0.98


def test_free_space_before_surfaces_and_something_behind_them(samples) -> None:
    """Points a view looks through are not occupied (but for thin things between its pixels)."""
    solid = []
    for sample in samples:
        before = torch.zeros_like(sample.hidden)
        for view in range(3):
            depth, surface, inside = against_surface(sample.group, view, sample.points)
            before |= inside & (depth < 0.9 * surface - 0.3)
        solid.append(sample.occupied[before])
        assert float(sample.occupied[sample.hidden].float().mean()) > 0.1
    assert len(torch.cat(solid)) > 150 and float(torch.cat(solid).float().mean()) < 0.02


def test_what_views_show_is_occupied_wherever_on_the_street_the_vehicle_is() -> None:
    """Points 2 cm behind what stands (leaves and wires are thinner), on vehicles all over their streets."""
    groups, found = SimulatedGroups(EXACT), []
    for index in range(12):
        random = np.random.default_rng(index)
        outing = groups.outing(random, groups.world(index), Unit(ring_rig(random, 3), 1), SIZE)
        base = outing.ego.pose(0.0)
        stamp = outing.vehicle.config.start_ns + round(outing.seconds * 1e9)
        for shot in outing.shots:
            v, u = np.nonzero((shot.view.identity > 0) & (shot.view.depth < 30.0) & ~shot.view.moving)
            rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(shot.intrinsics).T
            points = apply(inverse(base) @ shot.T_world_camera, rays * (shot.view.depth[v, u, None] + 0.02))
            found.append(outing.vehicle.occupied(points, stamp, base))
    assert len(np.concatenate(found)) > 5000 and np.concatenate(found).mean() > 0.9


def test_labels_belong_to_occupied_points_and_follow_the_classes(samples) -> None:
    assert [LABELS[LABEL_OF_CLASS[kind]] for kind in (
        SemanticClass.GROUND, SemanticClass.VEHICLE, SemanticClass.PERSON, SemanticClass.BUILDING,
        SemanticClass.VEGETATION, SemanticClass.OTHER)] == list(LABELS)
    assert LABEL_OF_CLASS[SemanticClass.SKY] == LABEL_OF_CLASS[SemanticClass.UNKNOWN] == NO_LABEL
    for sample in samples:
        labelled = sample.label != NO_LABEL
        assert bool(labelled.any()) and bool(sample.occupied[labelled].all())
    assert any(bool((sample.label == 0).any()) for sample in samples)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="at least one camera"):
        SimulatedScenes().scene(0, SIZE, 0)


def test_no_view_is_matched_with_a_later_instant() -> None:
    groups = SimulatedGroupSettings(no_sources=0.0, one_source=0.0, wrong_source=0.0)
    group = SimulatedScenes(groups, SimulatedSceneSettings(points=64, rays=64, outside=1, outside_width=32)).scene(
        2, (64, 96), 3, 3).group
    found = [(int(instant), int(group.instant[source])) for instant, sources in zip(
        group.instant, group.sources, strict=True) for source in sources if source >= 0]
    assert all(other >= own for own, other in found)
    assert any(other > own for own, other in found) and any(own > 0 for own, _ in found)
