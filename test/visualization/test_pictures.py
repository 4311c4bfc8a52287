"""Pictures: what is where, and in which colour."""

import numpy as np
import pytest
from evaluation_scene import depth_image, reconstruction, wall_points

from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, InputError, OccupancyVolume
from img2three_ros.visualization.birds_eye import birds_eye, column_states, states_at
from img2three_ros.visualization.colours import (
    BACKGROUND,
    FREE_COLOUR,
    UNKNOWN_COLOUR,
    VIOLATION_COLOUR,
    confidence_colours,
    depth_colours,
    error_colours,
)
from img2three_ros.visualization.drawing import draw_dots, encoded, fitted, text_width, write_text
from img2three_ros.visualization.pictures import (
    by_direction,
    confidence_picture,
    depth_picture,
    error_picture,
    picture_of,
    save_picture,
)


def empty(shape=(8, 20, 40), origin=(-8.0, -4.0, -0.8), size=0.4):
    state = np.full(shape, UNKNOWN, np.int8)
    return OccupancyVolume(state, np.full(shape, 0.5, np.float32), np.array(origin), size)


def share_of(image, colour):
    return (np.abs(image.astype(int) - np.array(colour)).max(axis=-1) <= 2).mean()


def test_near_is_red_far_is_blue_and_nothing_is_background():
    near, far, nothing = depth_colours(np.array([2.5, 79.0, np.nan]))
    assert near[0] > 150 and near[2] < 60
    assert far[2] > 120 and far[0] < 100
    assert tuple(nothing) == BACKGROUND


def test_depth_out_of_range_is_clamped_and_zero_is_no_trouble():
    colours = depth_colours(np.array([0.0, 0.1, 2.0, 80.0, 1e6, np.inf]))
    assert np.array_equal(colours[0], colours[2]) and np.array_equal(colours[3], colours[4])


def test_error_runs_from_green_to_red_and_missing_is_white():
    good, bad, worse, missing = error_colours(np.array([0.0, 0.5, 9.0, np.nan])).astype(int)
    assert good[1] > good[0] and bad[0] > 200 > bad[1]
    assert np.array_equal(bad, worse) and missing.tolist() == [255, 255, 255]


def test_confidence_brightens():
    assert np.all(np.diff(confidence_colours(np.linspace(0, 1, 5)).astype(int).sum(axis=1)) > 0)


def test_columns_prefer_occupied_over_free_over_unknown():
    volume = empty()
    volume.state[4, 2, 3], volume.state[5, 2, 3] = FREE, OCCUPIED
    volume.state[4, 6, 7] = FREE
    volume.state[0, 9, 9] = OCCUPIED  # below the ground
    state, height = column_states(volume)
    assert (state[2, 3], state[6, 7], state[9, 9]) == (OCCUPIED, FREE, UNKNOWN)
    assert height[2, 3] == pytest.approx(5.5 * 0.4 - 0.8) and np.isnan(height[6, 7])


def test_heights_are_above_the_ground_not_above_zero():
    volume = empty()
    volume.state[3, 2, 3] = OCCUPIED  # z = 0.6
    ground = np.full((20, 40), 0.5, np.float32)
    raised = OccupancyVolume(volume.state, volume.probability, volume.origin, volume.voxel_size, ground)
    assert column_states(volume)[0][2, 3] == OCCUPIED and column_states(raised)[0][2, 3] == UNKNOWN


def test_forward_is_up_and_left_is_left():
    volume = empty()
    volume.state[4, 18:, 36:] = OCCUPIED  # far ahead (large x), far left (large y)
    volume.state[4, :2, :4] = FREE  # behind, right
    image = birds_eye(volume, size=400)
    assert image.shape == (400, 200, 3)
    corner = image[:30, :15].astype(int).mean(axis=(0, 1))
    assert corner[0] > 150 > corner[2]
    assert share_of(image[-30:, -15:], FREE_COLOUR) > 0.9
    assert share_of(image[:30, -15:], UNKNOWN_COLOUR) > 0.9


def test_lidar_in_free_space_is_red_and_elsewhere_white():
    volume = empty()
    volume.state[4, :, 30:] = FREE
    points = np.array([[6.0, 0.1, 1.0], [6.0, 2.1, 2.0], [6.0, 1.1, 3.5], [100.0, 0, 1.0]])
    image = birds_eye(volume, size=400, lidar=points)
    assert (image == VIOLATION_COLOUR).all(axis=-1).sum() == 1
    assert states_at(volume, points).tolist() == [FREE, UNKNOWN, UNKNOWN, UNKNOWN]
    assert (image[:100] == 255).all(axis=-1).sum() == 1


def test_dots_at_the_edge_are_cut_not_wrapped():
    image = np.zeros((10, 10, 3), np.uint8)
    draw_dots(image, np.array([0, 9]), np.array([0, 9]), np.full((2, 3), 255, np.uint8), size=3)
    assert (image[..., 0] > 0).sum() == 8 and image[0, 9, 0] == 0


def test_cameras_are_ordered_from_left_to_right_as_one_sees_them():
    names = {"front_left": 55, "front": 0, "front_right": -55, "back_left": 110, "back": 180, "back_right": -110}
    images = [depth_image(name, np.deg2rad(yaw)) for name, yaw in reversed(names.items())]
    ahead, behind = by_direction(images)
    assert [image.name for image in ahead] == ["front_left", "front", "front_right"]
    assert [image.name for image in behind] == ["back_left", "back", "back_right"]


def test_missing_depth_shows_the_dark_photograph():
    image = depth_image("front")
    for picture in (depth_picture(image), confidence_picture(image)):
        top = picture[:8].astype(int)
        assert np.ptp(top, axis=-1).max() == 0 and top.max() < 90
        assert np.ptp(picture[20].astype(int), axis=-1).min() > 0


def test_unsure_depth_fades_when_asked():
    image = depth_image("front")
    sure, unsure = (np.unravel_index(pick(image.confidence), image.depth.shape)
                    for pick in (np.nanargmax, np.nanargmin))
    plain, faded = depth_picture(image).astype(int), depth_picture(image, 0.5).astype(int)
    assert np.array_equal(plain[sure], faded[sure]) and np.abs(plain[unsure] - faded[unsure]).max() > 50


def test_error_dots_lie_on_their_pixels():
    image = depth_image("front", depth=10.0)
    picture = error_picture(image, np.array([20, 2]), np.array([30, 50]), np.array([20.0, 10.0]))
    assert picture[20, 30].tolist() == error_colours(np.array(0.5)).tolist()
    assert picture[2, 50].tolist() == [255, 255, 255]


@pytest.mark.parametrize("cameras", [0, 1, 2, 3, 6, 12])
@pytest.mark.parametrize("lidar", [True, False])
def test_one_picture_of_any_rig(cameras, lidar):
    shown = reconstruction(tuple(f"camera_{number}" for number in range(cameras)))
    picture = picture_of(shown, lidar=wall_points() if lidar else None, title="drive", width=1200)
    assert picture.shape[1] == 1200 and picture.dtype == np.uint8
    assert share_of(picture, FREE_COLOUR) > 0.01 and share_of(picture[:40], BACKGROUND) < 1.0


def test_pictures_are_written_as_their_ending_says(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    save_picture(picture, tmp_path / "new" / "a.png")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert encoded(picture).startswith(b"\xff\xd8")
    with pytest.raises(InputError, match=r"must end in \.png or \.jpg"):
        save_picture(picture, tmp_path / "a.webp")


def test_fitting_keeps_the_aspect():
    result = fitted(np.full((10, 40, 3), 255, np.uint8), 100, 100)
    assert result.shape == (100, 100, 3)
    assert (result[..., 0] == 255).any(axis=1).sum() == 25


@pytest.mark.parametrize("stroked", [False, True])
def test_text_is_drawn_with_either_opencv(monkeypatch, stroked):
    if stroked:
        monkeypatch.delattr("cv2.FontFace", raising=False)
    for align, where in (("left", slice(100, 200)), ("right", slice(0, 101)), ("centre", slice(50, 150))):
        image = np.zeros((40, 200, 3), np.uint8)
        write_text(image[:, :], "six – cameras · 3 m", 100, 25, 12, align=align)
        assert image[:, where].any() and text_width("six", 12) > 8
