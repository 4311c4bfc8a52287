"""Poses, points and depth as files, read back by other readers and compared with a projection done by hand."""

import json

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from img2three_ros.fileio.colmap_text import SparsePoints, write_colmap
from img2three_ros.fileio.depth_files import write_depth
from img2three_ros.fileio.posed_image import PosedImage
from img2three_ros.fileio.scene_files import frustum_corners, surface_patch, write_scene_glb
from img2three_ros.fileio.transforms_json import write_transforms
from img2three_ros.structures import InputError, PointCloud


def pose(yaw, position):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("yx", (yaw, 5), degrees=True).as_matrix()
    matrix[:3, 3] = position
    return matrix


K = np.array([[500.0, 0, 319.5], [0, 510, 239.5], [0, 0, 1]])
IMAGES = (PosedImage("one.png", (480, 640), K, pose(0, (0, 0, 0))),
          PosedImage("two.png", (480, 640), 1.1 * K - np.diag((0, 0, 0.1)), pose(-15, (1.0, -0.2, 0.3))))


@pytest.fixture
def sparse():
    """Six points, three made from each image, whose pixels follow from the projection."""
    points = np.array([(0, 0, 8), (1, 0.5, 9), (-1, -0.4, 7), (0.2, 0.3, 10), (-0.5, 0.1, 8), (0.8, -0.6, 12)], float)
    owner = np.array([0, 1, 0, 1, 1, 0])
    pixels = np.array([project(IMAGES[image], point) for image, point in zip(owner, points, strict=True)])
    return SparsePoints(points, np.arange(18, dtype=np.uint8).reshape(6, 3), owner, pixels)


def project(image, point):
    """u, v with integers at pixel centres."""
    camera = image.T_world_camera[:3, :3].T @ (point - image.T_world_camera[:3, 3])
    return (image.intrinsics @ camera)[:2] / camera[2]


def lines_of(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def test_colmap_text_projects_every_point_onto_its_pixel(tmp_path, sparse):
    write_colmap(tmp_path / "model", IMAGES, sparse)
    cameras = {int(part[0]): part for part in map(str.split, lines_of(tmp_path / "model/cameras.txt"))}
    assert cameras[1] == ["1", "PINHOLE", "640", "480", "500", "510", "320", "240"]
    points = {int(part[0]): part for part in map(str.split, lines_of(tmp_path / "model/points3D.txt"))}
    rows = lines_of(tmp_path / "model/images.txt")
    seen = 0
    for head, observed in zip(rows[::2], rows[1::2], strict=True):
        number, *values, camera, name = head.split()
        qw, qx, qy, qz, *t = map(float, values)
        rotation = Rotation.from_quat((qx, qy, qz, qw)).as_matrix()
        fx, fy, cx, cy = map(float, cameras[int(camera)][4:])
        assert name == IMAGES[int(number) - 1].name
        for index, (u, v, point) in enumerate(np.array(observed.split(), float).reshape(-1, 3)):
            x, y, z = rotation @ np.array(points[int(point)][1:4], float) + t
            np.testing.assert_allclose((fx * x / z + cx, fy * y / z + cy), (u, v), atol=2e-3)
            assert points[int(point)][8:] == [number, str(index)]
            seen += 1
    assert seen == len(points) == 6
    assert points[2][4:7] == ["3", "4", "5"]


def test_colmap_reads_its_text(tmp_path, sparse):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed: its own reader was not run")
    write_colmap(tmp_path, IMAGES, sparse)
    model = pycolmap.Reconstruction(str(tmp_path))
    assert model.num_images() == 2 and model.num_points3D() == 6
    for image in model.images.values():
        expected = IMAGES[image.image_id - 1].T_world_camera
        np.testing.assert_allclose(image.projection_center(), expected[:3, 3], atol=1e-6)
        assert image.name == IMAGES[image.image_id - 1].name
    for number, point in model.points3D.items():
        (element,) = point.track.elements
        assert element.image_id == sparse.image[number - 1] + 1
        seen = model.images[element.image_id]
        np.testing.assert_allclose(point.color, sparse.colours[number - 1])
        np.testing.assert_allclose(seen.project_point(point.xyz), seen.points2D[element.point2D_idx].xy, atol=2e-3)


def test_colmap_refuses_what_its_format_cannot_hold(tmp_path, sparse):
    spaced = (IMAGES[0], PosedImage("my photo.png", (480, 640), K, np.eye(4)))
    with pytest.raises(InputError, match=r"my photo\.png"):
        write_colmap(tmp_path / "model", spaced, sparse)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        write_colmap(tmp_path / "file" / "model", IMAGES, sparse)


def test_transforms_look_along_minus_z(tmp_path):
    write_transforms(tmp_path / "transforms.json", IMAGES, "points.ply")
    content = json.loads((tmp_path / "transforms.json").read_text())
    assert content["ply_file_path"] == "points.ply" and [f["file_path"] for f in content["frames"]] == [
        "one.png", "two.png"]
    point = np.array([0.4, -0.3, 9.0])
    for image, frame in zip(IMAGES, content["frames"], strict=True):
        x, y, z, _ = np.linalg.inv(frame["transform_matrix"]) @ (*point, 1)
        assert z < 0
        u, v = frame["fl_x"] * x / -z + frame["cx"], frame["fl_y"] * -y / -z + frame["cy"]
        np.testing.assert_allclose((u - 0.5, v - 0.5), project(image, point), atol=1e-9)
        assert (frame["w"], frame["h"]) == (640, 480)
    with pytest.raises(InputError, match="cannot be written"):
        write_transforms(tmp_path / "absent" / "transforms.json", IMAGES)


def test_glb_holds_the_cloud_and_every_frustum(tmp_path, sparse):
    trimesh = pytest.importorskip("trimesh")
    cloud = PointCloud(sparse.points.astype(np.float32), sparse.colours, np.ones(6, np.float32))
    write_scene_glb(tmp_path / "scene.glb", cloud, IMAGES, 0.5)
    scene = trimesh.load(tmp_path / "scene.glb")
    assert set(scene.graph.nodes_geometry) == {"cloud", "camera_0", "camera_1"}
    transform, name = scene.graph["cloud"]
    np.testing.assert_allclose(scene.geometry[name].vertices, sparse.points, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(scene.geometry[name].colors)[:, :3], sparse.colours)
    np.testing.assert_allclose(transform[:3, :3] @ (0, 1, 0), (0, -1, 0))  # down in the image is down in glTF
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1.0)
    for index, image in enumerate(IMAGES):
        transform, name = scene.graph[f"camera_{index}"]
        found = np.unique(np.round(np.asarray(scene.geometry[name].vertices), 4), axis=0)
        np.testing.assert_allclose(found, np.unique(np.round(frustum_corners(image, 0.5), 4), axis=0), atol=2e-4)
        assert np.linalg.norm(found - image.T_world_camera[:3, 3], axis=1).min() < 1e-3
    upper_left = frustum_corners(IMAGES[1], 0.5)[1]
    np.testing.assert_allclose(project(IMAGES[1], upper_left), (-0.5, -0.5), atol=1e-9)


def view(depth):
    """World points of a depth image (H, W) of a camera at the origin, focal length 50 pixels, and a picture."""
    v, u = np.mgrid[:depth.shape[0], :depth.shape[1]]
    rays = np.stack(((u - 20) / 50, (v - 10) / 50, np.ones(depth.shape)), -1)
    return (rays * depth[..., None]).astype(np.float32), np.stack((u, v, u + v), -1).astype(np.uint8)


def test_surfaces_are_cut_where_depth_jumps_and_nowhere_else():
    wall = np.full((20, 40), 8.0, np.float32)
    wall[5:12, 10:25] = 4.0  # something before it
    wall[0, 0] = np.nan
    points, colours = view(wall)
    patch = surface_patch(points, wall, colours)
    depth = patch.points[patch.faces][..., 2]
    np.testing.assert_array_equal(depth.min(1), depth.max(1))  # no triangle joins the two
    # Around the box 8 * 16 - 6 * 14 squares of four pixels are cut; at two of its corners half of the square lies on
    # the wall. The pixel without depth takes one triangle.
    assert len(patch.faces) == 2 * 19 * 39 - 2 * (8 * 16 - 6 * 14) + 2 - 1
    normals = np.cross(*np.moveaxis(np.diff(patch.points[patch.faces], axis=1), 1, 0))
    assert (normals[:, 2] < 0).all()  # towards the camera
    pixel = np.round(patch.points[:, :2] * 50 / patch.points[:, 2:] + (20, 10)).astype(int)
    np.testing.assert_array_equal(patch.colours[:, :2], pixel)
    coarse = surface_patch(points, wall, colours, step=2)
    assert len(coarse.points) <= len(patch.points) / 4 + 60 and len(coarse.faces) > 200


def test_a_road_seen_at_a_flat_angle_stays_whole():
    rows = np.arange(1, 41, dtype=np.float32)
    road = np.repeat((60.0 / rows)[:, None], 30, 1)  # 1.2 m below the camera: steps of up to half of the depth
    points, colours = view(road)
    patch = surface_patch(points, road, colours)
    assert len(patch.faces) >= 2 * 29 * 35
    road[20:, 15:] *= 0.5
    assert len(surface_patch(points, road, colours).faces) < len(patch.faces)


def test_glb_of_surfaces_in_a_base_frame_is_upright(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    depth = np.full((20, 40), 6.0, np.float32)
    points, colours = view(depth)
    empty = surface_patch(points, np.full_like(depth, np.nan), colours)
    write_scene_glb(tmp_path / "scene.glb", [surface_patch(points, depth, colours), empty], IMAGES, 0.5, in_base=True)
    scene = trimesh.load(tmp_path / "scene.glb")
    assert set(scene.graph.nodes_geometry) == {"surface_0", "camera_0", "camera_1"}
    upright, name = scene.graph["surface_0"]
    np.testing.assert_allclose(upright[:3, :3] @ np.eye(3), [[0, -1, 0], [0, 0, 1], [-1, 0, 0]], atol=1e-9)
    assert np.linalg.det(upright[:3, :3]) == pytest.approx(1.0)
    surface = scene.geometry[name]
    assert len(surface.faces) == 2 * 19 * 39 and len(surface.vertices) == 800
    np.testing.assert_array_equal(np.asarray(surface.visual.vertex_colors)[:, :3], colours.reshape(-1, 3))


def test_depth_in_millimetres_and_in_full(tmp_path):
    depth = np.array([[1.2344, 65.5351, 70.0], [np.nan, 0.0006, -1.0]], np.float32)
    array, picture = write_depth(tmp_path / "depth" / "a.b", depth)
    assert (array.name, picture.name) == ("a.b.npy", "a.b.png")
    np.testing.assert_array_equal(np.load(array), depth)
    stored = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, [[1234, 65535, 0], [0, 1, 0]])
