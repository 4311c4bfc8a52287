"""The circle around the vehicle by hand, and what a camera on it shows of a scene made by hand."""

import math

import cv2
import numpy as np
import pytest
import torch
from evaluation_scene import reconstruction
from plain_decoder import PlainDecoder

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.geometry.transforms import apply, inverse
from img2three_ros.ingest.bag_frames import BagSummary
from img2three_ros.models.scene_render import Picture
from img2three_ros.models.scene_volume import SceneState
from img2three_ros.reconstruction.instant import Instant
from img2three_ros.reconstruction.scene_space import SceneSpace
from img2three_ros.structures import InputError
from img2three_ros.visualization.colours import BACKGROUND, TEXT, depth_colours
from img2three_ros.visualization.orbit import VEHICLE_CENTRE, Orbit, looking_at, orbit_views, view_from_outside
from img2three_ros.visualization.render import OrbitVideo, beside, render_instant

GRID = ContractedGrid(near=12.0, growth=6.0, side=40, levels=12, z_near=4.8)
SIZE = (48, 64)
POST = (1.4, 5.0)
"""x, y of a red post beside the vehicle, on its left."""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def space() -> SceneSpace:
    """A post of about a metre in empty space."""
    volume = torch.zeros(4, *GRID.shape)
    centres = GRID.centres()
    there = (centres[..., :2] - torch.tensor(POST)).abs().max(-1).values < 0.7
    volume[0] = torch.where(there, 1.0, -1.0)
    state = SceneState(volume, torch.zeros(2, *GRID.shape), torch.zeros(1, 4, 40, 40))
    return SceneSpace(PlainDecoder(GRID).eval(), state, torch.ones(GRID.shape, dtype=torch.bool), torch.full((3,), 0.5),
                      ())


class Listener:
    """A scene that shows nothing and writes down from where it was asked."""

    def __init__(self) -> None:
        self.poses, self.sizes = [], []

    def render(self, intrinsics, T_base_camera, size):
        assert intrinsics.shape == (3, 3) and T_base_camera.shape == (4, 4)
        self.poses.append(T_base_camera.double().numpy())
        self.sizes.append(size)
        return Picture(torch.zeros(*size, 3), torch.full(size, torch.inf), torch.zeros(size, dtype=torch.bool))


def pixel(point, intrinsics, pose):
    local = apply(inverse(pose), np.asarray(point, dtype=np.float64))
    return (intrinsics @ local)[:2] / local[2], local[2]


def test_from_behind_by_hand():
    """3 m behind and 4 m above what it looks at: x to the right of the vehicle, z ahead and down."""
    pose = Orbit(radius=3.0, height=5.0, target=(2.0, 0.0, 1.0)).pose(0.0)
    np.testing.assert_allclose(pose, [[0.0, -0.8, 0.6, -1.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -0.6, -0.8, 5.0],
                                      [0.0, 0.0, 0.0, 1.0]], atol=1e-12)


def test_a_quarter_further_it_stands_on_the_right():
    pose = Orbit(radius=3.0, height=5.0, target=(2.0, 0.0, 1.0)).pose(math.pi / 2)
    np.testing.assert_allclose(pose[:3, 3], (2.0, -3.0, 5.0), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 0], (1.0, 0.0, 0.0), atol=1e-12)  # ahead is on the right of the picture


@pytest.mark.parametrize("angle", np.linspace(0.0, 2.0 * np.pi, 7))
def test_it_looks_at_the_vehicle_with_up_up(angle):
    orbit = Orbit()
    pose, intrinsics = orbit.pose(angle), orbit.intrinsics(SIZE)
    np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    away = pose[:3, 3] - VEHICLE_CENTRE
    assert np.hypot(away[0], away[1]) == pytest.approx(10.0) and pose[2, 3] == 6.0
    middle, depth = pixel(VEHICLE_CENTRE, intrinsics, pose)
    np.testing.assert_allclose(middle, (31.5, 23.5), atol=1e-9)
    assert depth == pytest.approx(math.hypot(10.0, 6.0 - VEHICLE_CENTRE[2]))
    above, _ = pixel(np.add(VEHICLE_CENTRE, (0.0, 0.0, 1.0)), intrinsics, pose)
    assert above[0] == pytest.approx(31.5) and above[1] < 22.5


def test_the_field_of_view_is_that_of_the_whole_width():
    intrinsics = Orbit(field_of_view=90.0).intrinsics((384, 640))
    left = np.linalg.inv(intrinsics) @ (-0.5, 191.5, 1.0)  # the left edge of the first pixel
    np.testing.assert_allclose(left, (-1.0, 0.0, 1.0), atol=1e-12)


def test_a_camera_right_above_has_no_level_axis():
    with pytest.raises(ValueError, match="straight up or down"):
        looking_at((1.0, 0.0, 9.0), (1.0, 0.0, 0.0))


def test_the_circle_closes():
    listener = Listener()
    assert len(list(orbit_views(listener, 6, SIZE))) == 6
    places = np.array([pose[:2, 3] for pose in listener.poses]) - VEHICLE_CENTRE[:2]
    angles = np.arctan2(places[:, 1], places[:, 0])
    np.testing.assert_allclose(np.diff(np.unwrap([*angles, angles[0]])), np.pi / 3, atol=1e-9)
    np.testing.assert_allclose(Orbit().pose(2.0 * np.pi), listener.poses[0], atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.5, math.pi])
def test_a_post_beside_the_vehicle_is_where_it_must_be(space, angle):
    orbit = Orbit()
    shown = view_from_outside(space, angle, SIZE)
    assert shown.shape == (96, 64, 3) and shown.dtype == np.uint8
    colours = shown[:48].astype(int)
    red = (colours[..., 0] > 200) & (colours[..., 1] < 80)
    (u, v), depth = pixel((*POST, 1.2), orbit.intrinsics(SIZE), orbit.pose(angle))
    column, row = round(u), round(v)
    assert red[row, column] and not red[row, 63 - column]  # on the vehicle's left, seen from behind or from ahead
    expected = depth_colours(np.array([depth - 1.0, depth + 0.5])).astype(int)
    found = shown[48 + row, column].astype(int)
    assert (found >= expected.min(0) - 3).all() and (found <= expected.max(0) + 3).all()
    assert tuple(shown[48, 1]) == BACKGROUND  # the sky has no depth


def test_the_vehicle_is_a_box_of_lines():
    orbit = Orbit()
    shown = view_from_outside(Listener(), 0.3, (240, 320))
    corners = [(x, y, z) for x in (-1.0, 3.7) for y in (-0.95, 0.95) for z in (0.0, 1.5)]
    for corner in corners:
        (u, v), _ = pixel(corner, orbit.intrinsics((240, 320)), orbit.pose(0.3))
        for part in (shown[:240], shown[240:]):
            around = part[round(v) - 1:round(v) + 2, round(u) - 1:round(u) + 2].reshape(-1, 3)
            assert np.abs(around.astype(int) - TEXT).max(1).min() < 40
    assert (shown[:240].max(-1) > 60).mean() < 0.03  # lines, not faces


def test_an_image_beside_what_the_scene_shows_there(space):
    image = reconstruction(("front", "left")).depth_images[1]
    picture = beside(image, space)
    assert picture.shape == (88, 136, 3)
    assert np.array_equal(picture[:40, :64], image.image)
    found = space.render(torch.from_numpy(image.calibration.intrinsics).float(), torch.from_numpy(image.T_base_camera),
                         (40, 64))
    assert np.abs(picture[:40, 72:] / 255.0 - found.colours.numpy()).max() < 0.003
    assert found.depth.isfinite().any() and tuple(picture[48, 72]) == BACKGROUND


def instant(space) -> Instant:
    return Instant(3, 1.5, reconstruction(("front", "rear/left")), space, 4, BagSummary(problems=("a [b] problem",)))


def test_pictures_and_video_of_an_instant(space, tmp_path):
    told = []
    summary = render_instant(instant(space), tmp_path / "out", OrbitVideo((48, 64), 1.5, 8.0),
                             lambda done, of: told.append((done, of)))
    degrees = ("000", "030", "090", "120", "180", "210", "270", "300")  # of 12 views, 30 degrees apart
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["camera_front.jpg", "camera_rear_left.jpg", "orbit.mp4", *(f"orbit_{angle}.jpg" for angle in degrees)])
    capture = cv2.VideoCapture(str(summary.video))
    views = []
    while (read := capture.read())[0]:
        views.append(read[1][..., ::-1].astype(int))
    assert len(views) == 12 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(8.0)
    for number in (0, 5, 11):
        exact = view_from_outside(space, 2.0 * math.pi * number / 12, (48, 64)).astype(int)
        assert views[number].shape == exact.shape and np.abs(views[number] - exact).mean() < 12.0
    assert told == [(done, 14) for done in range(1, 15)]
    text = str(summary)
    assert "frame 3, 1.50 s after the first, after 3 frames" in text and "12 views of 64 x 48" in text
    assert "ms per view" in text and "a note of the engine" in text and "a [b] problem" in text


def test_without_an_orbit_only_the_own_cameras(space, tmp_path):
    summary = render_instant(instant(space), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera_front.jpg", "camera_rear_left.jpg"]
    assert "mp4" not in str(summary) and summary.video is None


@pytest.mark.parametrize(("size", "seconds", "rate"), [((48, 65), 1.0, 5.0), ((48, 32), 1.0, 5.0), ((48, 64), 0.0, 5.0),
                                                       ((48, 64), 1.0, 0.5), ((48, 64), math.nan, 5.0)])
def test_videos_that_cannot_be(size, seconds, rate):
    with pytest.raises(InputError, match="a video of") as caught:
        OrbitVideo(size, seconds, rate)
    assert caught.value.reason == "parameter"
