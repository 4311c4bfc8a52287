"""The SEED4D / 6Img-to-3D layout: files written by hand, axes and depth as they are documented."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from img2three_ros.config import with_overrides
from img2three_ros.data.seed4d_folder import Seed4dScenes, find_seed4d_scenes, posed_frames, posed_image, scaled
from img2three_ros.structures import InputError
from img2three_ros.training.settings import SceneTrainConfig
from img2three_ros.training.sources import scene_sources

WIDTH, HEIGHT, FOCAL = 64, 48, 32.0
WALL = 12.0  # metres ahead of the vehicle, across its way; the ground is flat


def opengl_pose(position: list[float], forward: list[float], up: list[float]) -> np.ndarray:
    """Camera to world, columns right, up, back, position: x down, y ahead, z right."""
    right = np.cross(forward, up)
    pose = np.eye(4)
    pose[:3] = np.stack((right, up, -np.array(forward), position), 1)
    return pose


def picture(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RGB and depth (mm) of the ground (x = 0, green) and the wall (y = WALL, red), by intersecting rays."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    local = np.stack(((u - WIDTH / 2) / FOCAL, -(v - HEIGHT / 2) / FOCAL, -np.ones_like(u)), -1)
    rays = local @ pose[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(rays[..., 0] > 1e-9, -pose[0, 3] / rays[..., 0], np.inf)
        wall = np.where(rays[..., 1] > 1e-9, (WALL - pose[1, 3]) / rays[..., 1], np.inf)
    depth = np.minimum(ground, wall)
    image = np.where((ground < wall)[..., None], (0, 200, 0), (200, 0, 0))
    image = np.where(np.isinf(depth)[..., None], (90, 90, 250), image).astype(np.uint8)
    return image, np.minimum(np.nan_to_num(depth, posinf=1e9) * 1000.0, 65535.0).round().astype(np.uint16)


def write_rig(folder: Path, poses: list[np.ndarray], per_frame: bool, images: str) -> None:
    (folder / "transforms").mkdir(parents=True)
    (folder / images).mkdir()
    known = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    frames = []
    for number, pose in enumerate(poses):
        image, depth = picture(pose)
        cv2.imwrite(str(folder / images / f"{number}_rgb.png"), image[..., ::-1])
        cv2.imwrite(str(folder / images / f"{number}_depth.png"), depth)
        frames.append({"file_path": f"../{images}/{number}_rgb.png",
                       "depth_file_path": f"../{images}/{number}_depth.png", "transform_matrix": pose.tolist(),
                       **(known if per_frame else {})})
    tree = {"camera_model": "OPENCV", "k1": 0, **({} if per_frame else known), "frames": frames}
    (folder / "transforms" / "transforms_ego.json").write_text(json.dumps(tree))


FRONT = opengl_pose([-1.5, 0.81, -0.01], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0])
LEFT = opengl_pose([-1.5, 0.5, -0.4], [0.0, 0.6, -0.8], [-1.0, 0.0, 0.0])
ABOVE = opengl_pose([-6.0, -4.0, 3.0], [0.6, 0.8, 0.0], [-0.8, 0.6, 0.0])


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("seed4d")
    scene = folder / "Town02" / "ClearNoon" / "vehicle.mini" / "spawn_point_3" / "step_0"
    write_rig(scene / "nuscenes", [FRONT, LEFT], per_frame=False, images="images")
    write_rig(scene / "sphere", [ABOVE, ABOVE], per_frame=True, images="images")
    other = folder / "Town02" / "ClearNoon" / "vehicle.mini" / "spawn_point_7" / "step_0" / "ego_vehicle"
    write_rig(other / "nuscenes_invisible", [FRONT, LEFT], per_frame=True, images="sensors")
    write_rig(other / "sphere_invisible", [ABOVE], per_frame=False, images="sensors")
    return folder


def test_both_layouts_are_found(root) -> None:
    scenes = find_seed4d_scenes(root)
    assert [scene.own.parent.parent.name for scene in scenes] == ["nuscenes", "nuscenes_invisible"]
    assert [scene.outside.parent.parent.name for scene in scenes] == ["sphere", "sphere_invisible"]


def test_axes_by_hand(root) -> None:
    """The front camera 0.81 m ahead, 1.5 m up: optical z is ahead, x to the right, y down."""
    scene = find_seed4d_scenes(root)[0]
    _, intrinsics, pose = posed_frames(scene.own)[0]
    np.testing.assert_allclose(pose[:3, 3], [0.81, 0.01, 1.5])
    np.testing.assert_allclose(pose[:3, :3], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    np.testing.assert_allclose(intrinsics, [[32, 0, 32], [0, 32, 24], [0, 0, 1]])


def test_depth_in_metres_and_far_is_far(root) -> None:
    scene = find_seed4d_scenes(root)[0]
    frame, intrinsics, pose = posed_frames(scene.own)[0]
    view = posed_image(scene.own, frame, intrinsics, pose)
    assert view.depth[24, 32] == pytest.approx(WALL - 0.81, abs=1e-3)
    assert view.image[24, 32].tolist() == [200, 0, 0] and view.image[47, 32].tolist() == [0, 200, 0]
    assert view.depth[47, 32] == pytest.approx(1.5 * FOCAL / (47 - 24), abs=2e-3)
    left = posed_image(scene.own, *posed_frames(scene.own)[1])
    assert np.isinf(left.depth[2]).any()


def test_scaling_keeps_rays(root) -> None:
    """A pixel of the small image looks where the pixels it is made of look."""
    scene = find_seed4d_scenes(root)[0]
    frame, intrinsics, pose = posed_frames(scene.own)[0]
    half = scaled(posed_image(scene.own, frame, intrinsics, pose), (24, 32))
    assert half.image.shape == (24, 32, 3) and half.depth.shape == (24, 32)
    ray = np.linalg.inv(half.intrinsics) @ [10.0, 5.0, 1.0]
    np.testing.assert_allclose(ray, np.linalg.inv(intrinsics) @ [20.5, 10.5, 1.0])


def test_samples_hold_the_world_they_show(root) -> None:
    scenes = Seed4dScenes(tuple(find_seed4d_scenes(root)), points=1200, rays=400)
    sample = scenes.group(0, (32, 64), 6)
    assert sample.group.images.shape == (2, 3, 32, 64) and sample.T_now_instant.shape == (1, 4, 4)
    x, _, z = sample.points.unbind(1)
    solid = (z < 0.0) | (x > WALL)
    edge = (z.abs() < 0.05) | ((x - WALL).abs() < 0.05)
    assert bool((solid == sample.occupied)[~edge].all()) and 0.3 < float(sample.occupied.float().mean()) < 0.5
    assert 0.05 < float(sample.hidden.float().mean()) < 0.95
    ends = (sample.origins + sample.directions * sample.distance[:, None])[sample.distance.isfinite()]
    assert bool(((ends[:, 2].abs() < 0.01) | ((ends[:, 0] - WALL).abs() < 0.01)).all())
    red = sample.colour[:, 0] > 0.7
    meets_wall = ((sample.origins + sample.directions * sample.distance[:, None])[:, 0] - WALL).abs() < 0.01
    assert float((red == meets_wall).float().mean()) > 0.97
    assert int(sample.own.sum()) == 100 and len(sample.own) == 400 + sample.patches.numel() and len(sample.patches) > 0
    again = scenes.group(0, (32, 64), 6)
    assert torch.equal(again.points, sample.points) and not torch.equal(scenes.group(2, (32, 64), 6).points,
                                                                        sample.points)


def test_training_takes_folders_and_holds_some_out(root, tmp_path) -> None:
    sources = scene_sources(with_overrides(SceneTrainConfig(), {"folders": [str(root)]}))
    assert isinstance(sources.training, Seed4dScenes) and isinstance(sources.held_out, Seed4dScenes)
    assert len(sources.training.scenes) == len(sources.held_out.scenes) == 1
    assert sources.training.scenes != sources.held_out.scenes
    one = next(root.rglob("spawn_point_3"))
    with pytest.raises(InputError, match="hold one place"):
        scene_sources(with_overrides(SceneTrainConfig(), {"folders": [str(one)]}))


def test_what_is_wrong_is_named(root, tmp_path) -> None:
    with pytest.raises(InputError, match="holds no scene"):
        find_seed4d_scenes(tmp_path)
    shutil.copytree(root, tmp_path / "copy")
    scene = find_seed4d_scenes(tmp_path / "copy")[0]
    (scene.own.parent.parent / "images" / "1_depth.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1_depth\.png' is missing or damaged"):
        Seed4dScenes((scene,)).group(0, (32, 64), 6)
    small = np.zeros((8, 8), np.uint16)
    cv2.imwrite(str(scene.own.parent.parent / "images" / "1_depth.png"), small)
    with pytest.raises(InputError, match=r"1_depth\.png' is \(8, 8\), its image \(48, 64\)"):
        Seed4dScenes((scene,)).group(0, (32, 64), 6)
    tree = json.loads(scene.own.read_text())
    del tree["frames"][1]["depth_file_path"]
    scene.own.write_text(json.dumps(tree))
    with pytest.raises(InputError, match="frame 1 has no depth_file_path"):
        posed_frames(scene.own)
    scene.own.write_text('{"frames": []}')
    with pytest.raises(InputError, match="has no frames"):
        posed_frames(scene.own)
    scene.own.write_text('{"frames": [{"file_path": "a"}]}')
    with pytest.raises(InputError, match=r"transforms_ego\.json' cannot be read: KeyError: 'fl_x'"):
        posed_frames(scene.own)
