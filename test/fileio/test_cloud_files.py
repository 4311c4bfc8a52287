"""Clouds written as PLY, PCD and GLB, read back by trimesh and open3d."""

import numpy as np
import pytest

from img2three_ros.fileio.cloud_files import write_cloud
from img2three_ros.structures import InputError, PointCloud


@pytest.fixture
def cloud():
    random = np.random.default_rng(0)
    return PointCloud(random.normal(size=(500, 3)).astype(np.float32) * 20,
                      random.integers(0, 256, (500, 3)).astype(np.uint8), random.random(500).astype(np.float32))


def test_ply_round_trip(tmp_path, cloud):
    trimesh = pytest.importorskip("trimesh")
    write_cloud(tmp_path / "sub" / "cloud.ply", cloud)
    assert b"binary_little_endian" in (tmp_path / "sub" / "cloud.ply").read_bytes()[:60]
    back = trimesh.load(tmp_path / "sub" / "cloud.ply")
    assert np.allclose(back.vertices, cloud.points, atol=1e-5)
    assert np.array_equal(np.asarray(back.colors)[:, :3], cloud.colours)


def test_glb_round_trip_stands_upright(tmp_path, cloud):
    trimesh = pytest.importorskip("trimesh")
    write_cloud(tmp_path / "cloud.glb", cloud)
    scene = trimesh.load(tmp_path / "cloud.glb")
    (geometry,) = scene.geometry.values()
    assert np.allclose(geometry.vertices, cloud.points, atol=1e-5)
    assert np.array_equal(np.asarray(geometry.colors)[:, :3], cloud.colours)
    (node,) = scene.graph.nodes_geometry
    upright = scene.graph[node][0]
    assert np.allclose(upright[:3, :3] @ [0, 0, 1], [0, 1, 0])  # up is y in glTF
    assert np.isclose(np.linalg.det(upright[:3, :3]), 1.0)


def test_pcd_round_trip(tmp_path, cloud):
    open3d = pytest.importorskip("open3d")
    write_cloud(tmp_path / "cloud.pcd", cloud)
    assert b"DATA binary" in (tmp_path / "cloud.pcd").read_bytes()[:300]
    back = open3d.io.read_point_cloud(str(tmp_path / "cloud.pcd"))
    assert np.allclose(np.asarray(back.points), cloud.points, atol=1e-5)
    assert np.array_equal(np.round(np.asarray(back.colors) * 255).astype(np.uint8), cloud.colours)


def test_ply_is_read_by_open3d_too(tmp_path, cloud):
    open3d = pytest.importorskip("open3d")
    write_cloud(tmp_path / "cloud.ply", cloud)
    back = open3d.io.read_point_cloud(str(tmp_path / "cloud.ply"))
    assert np.allclose(np.asarray(back.points), cloud.points, atol=1e-5)
    assert np.array_equal(np.round(np.asarray(back.colors) * 255).astype(np.uint8), cloud.colours)


def test_wrong_endings_and_empty_clouds_are_refused(tmp_path, cloud):
    with pytest.raises(InputError, match=r"must end in .ply, .glb, .pcd"):
        write_cloud(tmp_path / "cloud.xyz", cloud)
    with pytest.raises(InputError, match="empty cloud"):
        write_cloud(tmp_path / "cloud.ply", cloud.select(np.zeros(500, bool)))
    assert not list(tmp_path.iterdir())
