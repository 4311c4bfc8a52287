"""A recording to one scene by the pointmap engine: with all it knows, with less, and with nothing but images."""

import json
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from single_thread import one_thread
from street_drive import HEIGHT, WIDTH, Drive, DriveNetwork, drive
from typer.testing import CliRunner

from img2three_ros.cli import app
from img2three_ros.config import Config
from img2three_ros.geometry.cameras import scale_intrinsics
from img2three_ros.geometry.transforms import inverse
from img2three_ros.ingest.bag_frames import read_frames
from img2three_ros.ingest.rig import rig_from_bag
from img2three_ros.models import pointmap_network
from img2three_ros.reconstruction.bag_images import choose_frames, lidar_at, read_bag_images
from img2three_ros.reconstruction.from_bag_images import BagRequest, reconstruct_bag_images
from img2three_ros.reconstruction.from_images import ImageSettings
from img2three_ros.reconstruction.image_exports import export_images
from img2three_ros.reconstruction.instant import Choice
from img2three_ros.reconstruction.known_cameras import KnownCamera, pairs_of
from img2three_ros.structures import Frame, InputError

__all__ = ["one_thread"]
THREE = ["front", "front_left", "front_right"]


@contextmanager
def silent(name):
    yield lambda done, total=None: None


def reconstructed(bag, network, request=None, **settings):
    return reconstruct_bag_images(request or BagRequest(bag), Config(), network,
                                  ImageSettings(**{"side": WIDTH, "metric_network": network.config.metric, **settings}),
                                  torch.device("cpu"), silent)


def event_of(image):
    """The event of a name such as front_1."""
    camera, instant = image.path.stem.rsplit("_", 1)
    own = [event for event in drive().images if event.camera == camera]
    return own[-1 - int(instant)]


def true_pose(image):
    """T_base_camera at the last instant's reference stamp, that of the front camera."""
    reference = drive().vehicle.pose(event_of_name("front"))
    return inverse(reference) @ drive().T_world_camera(event_of(image))


def event_of_name(camera):
    return [event for event in drive().images if event.camera == camera][-1].stamp


def degrees(one, other):
    return float(np.degrees(np.arccos(np.clip((np.trace(one[:3, :3].T @ other[:3, :3]) - 1) / 2, -1, 1))))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    return drive().write(tmp_path_factory.mktemp("calibrated") / "bag")


def test_a_calibrated_recording_stands_in_base_link_in_metres(calibrated):
    network = DriveNetwork(drive(), noise=1.0)
    result = reconstructed(calibrated, network)
    assert len(result.images) == 12 and result.in_base and result.scene.metric
    assert result.world.startswith("base_link at 17000000")
    assert ("front", "back") not in network.asked and ("front", "front_left") in network.asked
    assert "from the known poses (uncertain by " in result.unit and "camera baselines" in result.unit
    assert {scale.source for scale in result.scales} == {"camera baselines", "odometry"}
    for number, image in enumerate(result.images):
        found, truth = result.scene.cameras[number], true_pose(image)
        assert degrees(found, truth) < 1.0 and np.linalg.norm(found[:3, 3] - truth[:3, 3]) < 0.15, image.path
        np.testing.assert_allclose(result.intrinsics(number), drive().intrinsics(event_of(image).camera), atol=1e-6)
        kept = result.kept[number]
        ratio = result.depth(number)[kept] / event_of(image).depth[kept]
        assert 0.9 < np.median(ratio) < 1.1
    assert 0.005 < result.misfit < 0.1
    ground = result.cloud(20_000)[0].points
    assert np.abs(ground[:, 2]).min() < 0.05 and np.percentile(ground[:, 2], 20) < 1.0


def test_lidar_is_a_source_of_the_metre_with_its_residual(tmp_path):
    bag = drive().write(tmp_path / "bag", cameras=THREE, lidar=True)
    result = reconstructed(bag, DriveNetwork(drive(), noise=1.0))
    lidar = next(scale for scale in result.scales if scale.source == "LiDAR")
    assert lidar.count > 100 and lidar.metres == pytest.approx(1.0, abs=0.1) and 0.0 < lidar.residual < 0.2
    assert "LiDAR" in result.unit and any("LiDAR: " in line for line in result.about)


def test_a_scan_of_another_instant_is_not_taken(tmp_path):
    bag = drive().write(tmp_path / "bag", cameras=THREE, lidar=True)
    frame = next(iter(read_frames(bag, Config(), THREE)))
    rig = rig_from_bag(bag, cameras=THREE)
    near, _ = lidar_at(replace(frame, stamp=frame.stamp + 30_000_000), bag, rig)
    assert near is not None and len(near) == len(lidar_at(frame, bag, rig)[0])
    assert lidar_at(replace(frame, stamp=frame.stamp - 150_000_000), bag, rig) == (None, "")
    assert lidar_at(replace(frame, stamp=frame.stamp - 50_000_000, T_odom_base=None), bag, rig) == (None, "")
    assert lidar_at(frame, drive().write(tmp_path / "without", cameras=THREE), rig) == (None, "")
    nowhere, why = lidar_at(frame, drive().write(tmp_path / "nowhere", tf=False, lidar=True), rig)
    assert nowhere is None and why.startswith("LiDAR is not used: ")


def test_a_wrong_extrinsic_pulls_but_does_not_fix(tmp_path):
    bag = drive().write(tmp_path / "bag", turned={"front_left": (0, 4.0, 0)}, cameras=["front_left", *THREE[:1]])
    result = reconstructed(bag, DriveNetwork(drive()))
    wrong = [number for number, image in enumerate(result.images) if "left" in image.path.stem]
    right = [number for number, image in enumerate(result.images) if "left" not in image.path.stem]
    found = inverse(result.scene.cameras[right[0]]) @ result.scene.cameras[wrong[0]]
    truth = inverse(true_pose(result.images[right[0]])) @ true_pose(result.images[wrong[0]])
    assert degrees(found, truth) < 0.5
    assert max(result.scene.pose_deviation[number][0] for number in (*wrong, *right)) > 1.5


def test_without_tf_the_way_of_odometry_gives_the_metre(tmp_path):
    result = reconstructed(drive().write(tmp_path / "bag", tf=False, cameras=THREE), DriveNetwork(drive()))
    assert not result.in_base and result.world.startswith("optical frame of the first image")
    assert result.scene.metric and result.unit.startswith("metres, from odometry (residual 0.")
    first = true_pose(result.images[0])
    for number, image in enumerate(result.images):
        np.testing.assert_allclose(result.scene.cameras[number], inverse(first) @ true_pose(image), atol=0.05)
    assert any("nothing places any camera" in line for line in result.about)


@pytest.mark.parametrize("metric", [False, True])
def test_nothing_but_images_still_gives_a_scene(tmp_path, metric):
    bag = drive().write(tmp_path / "bag", tf=False, info=False, odometry=False, cameras=THREE[:2])
    result = reconstructed(bag, DriveNetwork(drive(), metric=metric), BagRequest(bag, Choice(at=1.2), instants=3))
    assert {image.path.stem.rsplit("_", 1)[1] for image in result.images} == {"0", "1", "2"}
    assert result.images[0].path.stem == "front_0"
    for number, image in enumerate(result.images):
        truth = drive().intrinsics(image.path.stem.rsplit("_", 1)[0])[0, 0]
        assert result.intrinsics(number)[0, 0] == pytest.approx(truth, rel=0.02)
    told = " ".join(result.about)
    assert "no usable CameraInfo for any camera" in told and "ego motion: none usable" in told
    assert "1.20 s after the first" in told
    assert result.scene.metric == metric
    if metric:
        assert result.unit.startswith("metres, from a metric network (residual 0.0 %")
        baseline = np.linalg.norm(result.scene.cameras[0][:3, 3] - result.scene.cameras[1][:3, 3])
        mounts = drive().vehicle.T_base_camera
        assert baseline == pytest.approx(np.linalg.norm(mounts["front"][:3, 3] - mounts["front_left"][:3, 3]), abs=0.1)
    else:
        assert result.unit.startswith("arbitrary (not metric")


def test_cameras_that_share_nothing_are_left_out(tmp_path):
    bag = drive().write(tmp_path / "bag", tf=False, cameras=[*THREE, "back"])
    result = reconstructed(bag, DriveNetwork(drive(), noise=1.0), BagRequest(bag, instants=2))
    assert sorted({image.path.stem[:-2] for image in result.images}) == sorted(THREE)
    assert any(note.startswith("back_0.png: left out") for note in result.scene.notes)


def test_exports_of_a_recording_are_read_by_others(calibrated, tmp_path):
    trimesh, pycolmap = pytest.importorskip("trimesh"), pytest.importorskip("pycolmap")
    request = BagRequest(calibrated, cameras=("front", "front_left"), instants=2)
    result = reconstructed(calibrated, DriveNetwork(drive()), request)
    told = export_images(tmp_path, result, 30_000, lambda *_: None, mesh=True)
    assert "world: base_link" in told and "deg and 0.000 m off its known pose" in told
    scene = trimesh.load(tmp_path / "scene.glb")
    assert set(scene.graph.nodes_geometry) == {f"{kind}_{n}" for kind in ("surface", "camera") for n in range(4)}
    upright, name = scene.graph["surface_0"]
    surface = scene.geometry[name]
    np.testing.assert_allclose(upright[:3, :3] @ (0, 0, 1), (0, 1, 0), atol=1e-9)  # up is up
    centre = result.scene.cameras[0][:3, 3]
    towards = ((centre - surface.triangles_center) * surface.face_normals).sum(1)
    assert (towards > 0).mean() > 0.999 and len(surface.faces) > 1000
    edges = np.linalg.norm(np.diff(surface.triangles, axis=1), axis=2).max(1)
    assert (edges < 0.25 * np.linalg.norm(surface.triangles_center - centre, axis=1)).mean() > 0.97

    model = pycolmap.Reconstruction(str(tmp_path / "colmap"))
    assert model.num_images() == 4 and model.num_points3D() > 10_000
    for image in model.images.values():
        truth = true_pose(next(own for own in result.images if own.path.name == image.name))
        np.testing.assert_allclose(image.projection_center(), truth[:3, 3], atol=5e-3)
        assert (tmp_path / "images" / image.name).is_file()
    point = model.points3D[next(iter(model.points3D))]
    element = point.track.elements[0]
    seen = model.images[element.image_id]
    projected = seen.project_point(point.xyz)
    np.testing.assert_allclose(projected, seen.points2D[element.point2D_idx].xy, atol=0.05)
    picture = cv2.imread(str(tmp_path / "images/front_0.png"))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    report = json.loads((tmp_path / "reconstruction.json").read_text())
    assert report["world"].startswith("base_link") and len(report["scales"]) == 2
    assert report["images"][0]["off_known_pose"]["degrees"] < 0.01


def test_the_command_takes_a_recording(calibrated, tmp_path, monkeypatch):
    monkeypatch.setattr(pointmap_network, "load_pointmap_network", lambda path: DriveNetwork(drive()))
    (tmp_path / "trained.pth").write_bytes(b"stand-in")
    common = ["reconstruct", str(calibrated), "--engine", "pointmap", "--checkpoint", str(tmp_path / "trained.pth"),
              "--set", "threads=1"]
    result = CliRunner().invoke(app, [*common, "--output", str(tmp_path / "out"), "--frame", "4", "--instants", "2",
                                      "--cameras", "front,front_left"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "instant: frame 4" in result.output and "unit: metres, from the known poses" in result.output
    assert (tmp_path / "out/images/front_left_1.png").is_file()
    result = CliRunner().invoke(app, [*common, "--output", str(tmp_path / "out"), "--at", "100"])
    assert isinstance(result.exception, InputError) and "the last frame of the recording" in str(result.exception)


def test_a_lens_is_taken_out(tmp_path):
    bent = Drive("kitti", seconds=0.2, distortion=-0.25)
    found = read_bag_images(bent.write(tmp_path / "bag"), Config(), Choice(), 1)
    assert [image.name for image in found.images] == ["left_0", "right_0"]
    raw = cv2.imdecode(np.frombuffer(bent.images[0].jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    calibration = bent.vehicle.calibrations[bent.images[0].camera]
    image = next(own for own in found.images if own.camera == bent.images[0].camera)
    expected = cv2.undistort(np.ascontiguousarray(raw), calibration.intrinsics, np.array([-0.25, 0.075, 0, 0, 0]))
    off = np.abs(image.pixels.astype(int) - expected.astype(int))[image.usable]
    assert np.median(off) <= 2 and np.abs(image.pixels.astype(int) - raw.astype(int)).mean() > 3


def test_pairs_do_not_hang_on_the_size_of_the_networks_images():
    calibrations, mounts = drive().vehicle.calibrations, drive().vehicle.T_base_camera

    def at(scale):
        return pairs_of([KnownCamera((round(HEIGHT * scale), round(WIDTH * scale)), scale_intrinsics(
            calibrations[name].intrinsics, scale, scale), mounts[name]) for name in THREE])

    assert at(0.5) == at(1.0) == at(4.0) and {(1, 0), (2, 0)} <= set(at(1.0))


def frame(number, x=None):
    pose = None if x is None else np.array([[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    return Frame(number * 100_000_000, (), (), pose)


def stamps(chosen):
    return [one.stamp // 100_000_000 for one in chosen.frames]


def test_instants_lie_a_metre_or_half_a_second_apart():
    driving = [frame(number, 0.4 * number) for number in range(12)]
    assert stamps(choose_frames(driving, Choice(), 3)) == [11, 9, 6]
    assert stamps(choose_frames(driving, Choice(frame=7), 2)) == [7, 3]
    assert stamps(choose_frames(driving, Choice(at=0.62), 1)) == [6]
    unknown = [frame(number) for number in range(12)]
    assert stamps(choose_frames(unknown, Choice(), 3)) == [11, 5, 0]
    standing = [frame(number, 5.0) for number in range(12)]
    assert stamps(choose_frames(standing, Choice(), 3)) == [11]
    back = [frame(10, 0.0), frame(12, 2.0), frame(1, 4.0), frame(2, 4.4)]
    assert stamps(choose_frames(back, Choice(), 3)) == [2]


def test_instants_that_are_not_there_are_refused(tmp_path):
    frames = [frame(number) for number in range(3)]
    with pytest.raises(InputError, match="has 3 frames, 0 to 2"):
        choose_frames(frames, Choice(frame=3), 1)
    with pytest.raises(InputError, match=r"9 s: the last frame of the recording is 0\.2 s"):
        choose_frames(frames, Choice(at=9.0), 1)
    bag = drive().write(tmp_path / "bag", cameras=["front"], odometry=False)
    with pytest.raises(InputError, match=r"one image \(front_0\) for this instant"):
        reconstructed(bag, DriveNetwork(drive()), BagRequest(bag, Choice(frame=0)))
