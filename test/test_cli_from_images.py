"""``img2three reconstruct --engine pointmap`` as a user meets it: photographs in, files for other programs out."""

import json

import cv2
import numpy as np
import pytest
import torch
from single_thread import one_thread
from street_photos import SIDE, StreetNetwork, photo_intrinsics, street, turned_jpeg, write_photos
from typer.testing import CliRunner

from img2three_ros.cli import app
from img2three_ros.geometry.transforms import inverse
from img2three_ros.models import pointmap_network
from img2three_ros.models.pointmap_config import PointmapConfig
from img2three_ros.models.pointmap_network import PointmapNetwork, save_pointmap_network
from img2three_ros.structures import InputError

__all__ = ["one_thread"]


@pytest.fixture(scope="module")
def truth():
    return street()


@pytest.fixture(scope="module")
def photos(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, truth)
    return folder


@pytest.fixture
def trained(monkeypatch, truth, tmp_path):
    """A checkpoint file that is loaded as the network that knows the street."""
    monkeypatch.setattr(pointmap_network, "load_pointmap_network", lambda path: StreetNetwork(truth))
    (tmp_path / "trained.pth").write_bytes(b"stand-in")
    return tmp_path / "trained.pth"


def run(*arguments):
    return CliRunner().invoke(app, ["reconstruct", *map(str, arguments), "--set", "threads=1"])


def message(*arguments):
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


def test_photos_in_files_out(truth, photos, trained, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    out = tmp_path / "out"
    length = float(np.linalg.norm((inverse(truth.cameras[0]) @ truth.cameras[2])[:3, 3]))
    result = run(photos, "--engine", "pointmap", "--checkpoint", trained, "--output", out,
                 "--baseline", "photo_1.png", "photo_10.png", length)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "3 images, 6 pairs" in result.output and "unit: metres" in result.output
    assert "optical frame of the first image" in result.output and "residual: 0.0000" in result.output
    assert f"focal {photo_intrinsics(truth.intrinsics[0])[0, 0]:.1f} px of 164 x 100" in result.output

    frames = json.loads((out / "transforms.json").read_text())["frames"]
    assert [frame["file_path"] for frame in frames] == ["images/photo_1.png", "images/photo_2.png",
                                                        "images/photo_10.png"]
    for image, frame in enumerate(frames):
        assert (out / frame["file_path"]).read_bytes() == (photos / frame["file_path"][7:]).read_bytes()
        expected = photo_intrinsics(truth.intrinsics[image])
        np.testing.assert_allclose((frame["fl_x"], frame["fl_y"], frame["cx"] - 0.5, frame["cy"] - 0.5),
                                   expected[[0, 1, 0, 1], [0, 1, 2, 2]], rtol=3e-4)
        pose = inverse(truth.cameras[0]) @ truth.cameras[image]
        np.testing.assert_allclose(np.array(frame["transform_matrix"]) @ np.diag((1, -1, -1, 1)), pose, atol=2e-3)
        depth = np.load(out / f"depth/photo_{(1, 2, 10)[image]}.npy")
        known = np.isfinite(depth)
        np.testing.assert_allclose(depth[known], truth.depth[image][known], rtol=2e-3)
        millimetres = cv2.imread(str(out / f"depth/photo_{(1, 2, 10)[image]}.png"), cv2.IMREAD_UNCHANGED)
        near = known & (truth.depth[image] < 60)
        np.testing.assert_allclose(millimetres[near] / 1000, depth[near], atol=6e-4)
        assert not millimetres[~known].any()
        sure = np.load(out / f"confidence/photo_{(1, 2, 10)[image]}.npy")
        np.testing.assert_allclose(sure, np.where(truth.sky[image], 1.0, 8.0), rtol=1e-5)

    cloud = trimesh.load(out / "points.ply")
    known = sum(int(np.isfinite(np.load(path)).sum()) for path in (out / "depth").glob("*.npy"))
    assert len(cloud.vertices) == known
    scene = trimesh.load(out / "scene.glb")
    np.testing.assert_allclose(scene.geometry[scene.graph["cloud"][1]].vertices, cloud.vertices, atol=1e-4)
    assert len(scene.graph.nodes_geometry) == 4
    report = json.loads((out / "reconstruction.json").read_text())
    assert report["unit"] == "metre" and report["loss"] < 1e-4
    np.testing.assert_allclose(report["images"][1]["depth_intrinsics"], truth.intrinsics[1], rtol=3e-4)


def test_colmap_model_of_photos_projects_onto_itself(photos, trained, tmp_path):
    out = tmp_path / "out"
    assert run(photos, "--engine", "pointmap", "--checkpoint", trained, "--output", out).exit_code == 0
    points = np.array([line.split()[:4] for line in (out / "colmap/points3D.txt").read_text().splitlines()[1:]], float)
    world = {int(row[0]): row[1:] for row in points}
    fx, fy, cx, cy = map(float, (out / "colmap/cameras.txt").read_text().splitlines()[1].split()[4:])
    head, observed = (out / "colmap/images.txt").read_text().splitlines()[2:4]
    assert head.split()[1:8] == ["1", "0", "0", "0", "0", "0", "0"] and head.endswith(" photo_1.png")
    for u, v, point in np.array(observed.split(), float).reshape(-1, 3)[::50]:
        x, y, z = world[int(point)]
        np.testing.assert_allclose((fx * x / z + cx, fy * y / z + cy), (u, v), atol=0.02)


def test_the_unit_is_said_to_be_arbitrary(photos, trained, tmp_path):
    result = run(*sorted(photos.iterdir()), "--engine", "pointmap", "--checkpoint", trained, "--output",
                 tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert "unit: arbitrary (not metric" in result.output and "--baseline" in result.output
    assert json.loads((tmp_path / "out/reconstruction.json").read_text())["unit"] == "arbitrary"


def test_names_that_formats_cannot_hold_are_changed_and_turned_photos_are_turned(truth, trained, tmp_path):
    first, second, third = write_photos(tmp_path / "photos", truth)
    spaced = first.rename(first.with_name("a b.png"))
    (tmp_path / "other").mkdir()
    alike = second.rename(tmp_path / "other" / "a_b.png")
    turned = third.with_name("c.jpg")
    turned.write_bytes(turned_jpeg(cv2.rotate(cv2.imread(str(third)), cv2.ROTATE_90_COUNTERCLOCKWISE)))
    result = run(spaced, alike, turned, "--engine", "pointmap", "--checkpoint", trained, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert sorted(path.name for path in (tmp_path / "out/images").iterdir()) == ["0000_a_b.png", "0001_a_b.png",
                                                                                 "0002_c.jpg"]
    copy = cv2.imread(str(tmp_path / "out/images/0002_c.jpg"), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_allclose(copy.astype(int), cv2.imread(str(third)).astype(int), atol=25)


def test_a_real_network_file_goes_through(photos, tmp_path):
    """Random weights: the file is read, pairs are predicted and aligned, and the garbage is refused."""
    torch.manual_seed(3)
    config = PointmapConfig(encoder_width=32, encoder_depth=1, encoder_heads=2, decoder_width=16, decoder_depth=4,
                            decoder_heads=1, head="dpt", dense_widths=(8, 8, 8, 8), dense_width=8, image_side=SIDE)
    save_pointmap_network(tmp_path / "random.safetensors", PointmapNetwork(config))
    told = message(photos, "--engine", "pointmap", "--checkpoint", tmp_path / "random.safetensors",
                   "--output", tmp_path / "out")
    assert "0 = photo_1.png" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("checkpoint", [(), ("--checkpoint", "absent.pth")])
def test_without_a_checkpoint_one_message_says_which_work(photos, tmp_path, checkpoint):
    told = message(photos, "--engine", "pointmap", *checkpoint, "--output", tmp_path / "out")
    for wanted in ("DUSt3R_ViTLarge_BaseDecoder_512_dpt", "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric",
                   "CC BY-NC-SA 4.0", "non-commercial", "~/.cache/img2three/", "--checkpoint", *checkpoint[1:]):
        assert wanted in told
    assert "\n" not in told


def test_images_and_recordings_are_not_mistaken_for_each_other(photos, trained, tmp_path):
    out = ("--output", tmp_path / "out")
    pointmap = ("--engine", "pointmap", "--checkpoint", trained)
    assert "a folder of images; for images without calibration: --engine pointmap" in message(photos, *out)
    assert "engine sweep takes a recording" in message(photos / "photo_1.png", "--engine", "sweep", *out)
    assert "takes one recording, and 2 paths" in message(tmp_path / "a", tmp_path / "b", *out)
    assert "--checkpoint: for engine pointmap only" in message(tmp_path / "bag", "--checkpoint", trained, *out)
    assert "--voxels: not for engine pointmap" in message(photos, *pointmap, "--voxels", *out)
    assert "--at, --cameras: for recordings only" in message(photos, *pointmap, "--at", 1.0, "--cameras", "a", *out)
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("")
    assert "one recording, or images: 2 paths" in message(photos, tmp_path / "bag", *pointmap, *out)
    assert "1 image (" in message(photos / "photo_1.png", *pointmap, *out)
    assert "absent.png" in message(photos, photos / "absent.png", *pointmap, *out)
