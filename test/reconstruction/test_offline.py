"""``img2three reconstruct``: topics, stamps, types and bytes of the output; exports; what happens to bad input."""

import numpy as np
import pytest
from ingest_samples import CALIBRATION, PERIOD, SPEED, START, write_bag

from img2three_ros.fileio.point_cloud2 import read_cloud, read_xyz
from img2three_ros.fileio.rosbag import BagReader
from img2three_ros.ingest.rig import rig_from_bag, save_rig
from img2three_ros.reconstruction.accumulate import CloudAccumulator
from img2three_ros.reconstruction.offline import reconstruct_bag
from img2three_ros.structures import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    DepthImage,
    InputError,
    OccupancyVolume,
    PointCloud,
    Reconstruction,
)

GRID = (4, 10, 12)


class FakePipeline:
    """One point 10 m ahead, one occupied and one free voxel, constant depth; refuses chosen stamps."""

    def __init__(self, refuse=()):
        self.refuse, self.resets, self.stamps = refuse, 0, []

    def reset(self):
        self.resets += 1

    def process(self, frame):
        self.stamps.append(frame.stamp)
        if frame.stamp in self.refuse:
            raise InputError("no_images", "refused")
        cloud = PointCloud(np.array([[10.0, 0.0, 1.0]], np.float32), np.array([[9, 8, 7]], np.uint8),
                           np.array([0.9], np.float32))
        state, probability = np.full(GRID, UNKNOWN, np.int8), np.full(GRID, 0.5, np.float32)
        state[2, 3, 4], state[2, 5, 6] = OCCUPIED, FREE
        probability[2, 3, 4], probability[2, 5, 6] = 0.9, 0.1
        depth = np.full((48, 64), 5.0, np.float32)
        depth[0, 0] = np.nan
        images = tuple(DepthImage(image.name, image.stamp, image.image, depth, np.where(np.isnan(depth), np.nan, 0.5),
                                  CALIBRATION, image.T_base_camera) for image in frame.images)
        volume = OccupancyVolume(state, probability, np.array([-2.4, -2.0, -0.4]), 0.4)
        return Reconstruction(frame.stamp, frame.base_frame, cloud, cloud, volume, images, frame.present,
                              frame.missing, {"all": 2.0}, ("no keyframe",))


def contents(bag):
    with BagReader(bag) as reader:
        return [(raw.topic, raw.time, raw.message_type, raw.data) for raw in reader.raw_messages()]


def read(bag):
    with BagReader(bag) as reader:
        found = {}
        for topic, time, message in reader.messages():
            found.setdefault(topic.removeprefix("/img2three/output/"), []).append((time, message))
        return found


def test_topics_stamps_and_values(tmp_path):
    done = []
    summary = reconstruct_bag(write_bag(tmp_path / "bag"), tmp_path / "out", depth=True, voxels=True,
                              pipeline=FakePipeline(), progress=lambda at, of: done.append((at, of)))
    found = read(tmp_path / "out")
    assert sorted(found) == sorted(
        ["points", "obstacle_points", "occupied_voxels", "occupancy_grid", "observed_voxels",
         *(f"{camera}/{kind}" for camera in ("front", "back") for kind in ("depth", "confidence", "camera_info"))])
    stamps = [START + index * PERIOD for index in range(3)]
    for topic, messages in found.items():
        assert [time for time, _ in messages] == stamps, topic
        assert [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for _, message in messages] == stamps
    assert found["points"][0][1].header.frame_id == "base_link"
    assert read_cloud(found["points"][0][1]).dtype.names == ("x", "y", "z", "rgb", "confidence")
    assert read_cloud(found["obstacle_points"][0][1]).dtype.names == ("x", "y", "z", "intensity")
    voxel = read_cloud(found["occupied_voxels"][0][1])
    assert np.allclose(read_xyz(found["occupied_voxels"][0][1]), [[-0.6, -0.6, 0.6]])
    assert np.isclose(voxel["occupancy"][0], 0.9)
    assert read_cloud(found["observed_voxels"][0][1])["state"].tolist() == [1, 0]
    depth = found["back/depth"][1][1]
    assert (depth.header.frame_id, depth.encoding, depth.step) == ("back_optical_frame", "32FC1", 64 * 4)
    values = depth.data.view("<f4").reshape(48, 64)
    assert np.isnan(values[0, 0]) and values[1, 1] == 5.0
    assert found["back/confidence"][0][1].encoding == "32FC1"
    assert found["back/camera_info"][0][1].k.reshape(3, 3).tolist() == CALIBRATION.intrinsics.tolist()
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert summary.frames == 3 and "3 frames" in str(summary) and "3 frames: no keyframe" in str(summary)
    rich = pytest.importorskip("rich.console")
    console = rich.Console(record=True, width=200)
    console.print(summary)
    assert console.export_text().strip() == str(summary)


def test_occupancy_grid_never_calls_unknown_free(tmp_path):
    reconstruct_bag(write_bag(tmp_path / "bag", instants=1), tmp_path / "out", pipeline=FakePipeline())
    ((_, grid),) = read(tmp_path / "out")["occupancy_grid"]
    cells = grid.data.reshape(GRID[1:])
    assert (grid.info.width, grid.info.height) == (12, 10) and np.isclose(grid.info.resolution, 0.4)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (-2.4, -2.0)
    assert cells[3, 4] > 50
    assert (cells == -1).sum() >= 12 * 10 - 2


def test_depth_stamps_are_those_of_the_images(tmp_path):
    """Cameras exposed 20 ms apart: message time = reference stamp, header = the image's own."""
    from ingest_samples import T_BASE_CAMERA, info_message, pixels, raw_image

    from img2three_ros.fileio.messages import transform_message
    from img2three_ros.fileio.rosbag import BagWriter

    with BagWriter(tmp_path / "bag") as writer:
        edges = {("base_link", f"{name}_optical_frame"): T_BASE_CAMERA[name] for name in ("front", "back")}
        writer.write("/tf_static", transform_message(edges, START), START)
        for name, offset in (("front", 0), ("back", 20_000_000)):
            stamp, frame = START + offset, f"{name}_optical_frame"
            writer.write(f"/{name}/camera_info", info_message(stamp=stamp, frame=frame), stamp)
            writer.write(f"/{name}/image_raw", raw_image(pixels(), "rgb8", stamp, frame), stamp)
    reconstruct_bag(tmp_path / "bag", tmp_path / "out", depth=True, pipeline=FakePipeline())
    ((time, message),) = read(tmp_path / "out")["back/depth"]
    assert time == START
    assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == START + 20_000_000


def test_two_runs_give_the_same_bytes(tmp_path):
    bag = write_bag(tmp_path / "bag", skip={(1, "back")})
    for name in ("one", "two"):
        reconstruct_bag(bag, tmp_path / name, depth=True, voxels=True, pipeline=FakePipeline())
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_exports_are_in_the_odometry_frame(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    summary = reconstruct_bag(write_bag(tmp_path / "bag"), tmp_path / "out", ply=tmp_path / "cloud.ply",
                              glb=tmp_path / "cloud.glb", pipeline=FakePipeline())
    vertices = np.asarray(trimesh.load(tmp_path / "cloud.ply").vertices)
    expected = [[10.0 + SPEED * 0.1 * index, 0.0, 1.0] for index in range(3)]
    assert np.allclose(vertices[np.argsort(vertices[:, 0])], expected, atol=1e-4)
    assert (tmp_path / "cloud.glb").stat().st_size > 0
    assert "odometry frame" in str(summary)


def test_without_ego_motion_only_the_last_frame_is_exported_and_that_is_said(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    summary = reconstruct_bag(write_bag(tmp_path / "bag", odometry=False), tmp_path / "out",
                              ply=tmp_path / "cloud.ply", pipeline=FakePipeline())
    assert np.allclose(trimesh.load(tmp_path / "cloud.ply").vertices, [[10.0, 0.0, 1.0]])
    assert "last frame only" in str(summary)


def test_a_refused_frame_costs_itself(tmp_path):
    pipeline = FakePipeline(refuse={START + PERIOD})
    summary = reconstruct_bag(write_bag(tmp_path / "bag"), tmp_path / "out", pipeline=pipeline)
    assert summary.frames == 2 and summary.rejected == {"no_images": 1}
    assert "1 no_images" in str(summary)
    assert len(read(tmp_path / "out")["points"]) == 2


def test_nothing_is_left_behind_when_nothing_can_be_reconstructed(tmp_path):
    with pytest.raises(InputError, match="could be reconstructed"):
        reconstruct_bag(write_bag(tmp_path / "bag", instants=1), tmp_path / "out", pipeline=FakePipeline({START}))
    with pytest.raises(InputError, match="no transform connects"):
        reconstruct_bag(write_bag(tmp_path / "bare", tf=False), tmp_path / "out", pipeline=FakePipeline())
    assert not (tmp_path / "out").exists()


def test_existing_output_is_refused_before_any_work(tmp_path):
    pipeline = FakePipeline()
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        reconstruct_bag(write_bag(tmp_path / "bag"), tmp_path / "out", pipeline=pipeline)
    assert pipeline.stamps == []


def test_outputs_that_cannot_be_written_are_named_not_a_traceback(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    bag, pipeline = write_bag(tmp_path / "bag"), FakePipeline()
    with pytest.raises(InputError, match="choose another output"):
        reconstruct_bag(bag, tmp_path / "file" / "out", pipeline=pipeline)
    with pytest.raises(InputError, match="choose another output"):
        reconstruct_bag(bag, tmp_path / "out", pipeline=pipeline, ply=tmp_path / "file" / "cloud.ply")
    with pytest.raises(InputError, match="choose another output"):
        save_rig(tmp_path / "file" / "rig.yaml", rig_from_bag(bag))


def test_wrong_endings_of_exports_are_refused_before_any_work(tmp_path):
    pipeline = FakePipeline()
    with pytest.raises(InputError, match="must end in"):
        reconstruct_bag(write_bag(tmp_path / "bag"), tmp_path / "out", pipeline=pipeline, ply=tmp_path / "cloud.xyz")
    assert pipeline.stamps == [] and not (tmp_path / "out").exists()


def test_accumulator_keeps_the_best_point_of_each_voxel():
    accumulator = CloudAccumulator(1.0)
    points = np.array([[0.2, 0.2, 0.2], [0.8, 0.8, 0.8], [1.2, 0.2, 0.2], [-0.2, 0.2, 0.2]], np.float32)
    colours = np.arange(12, dtype=np.uint8).reshape(4, 3)
    accumulator.add(PointCloud(points, colours, np.array([0.5, 0.9, 0.1, 0.2], np.float32)), np.eye(4))
    cloud, in_odom = accumulator.result()
    assert in_odom and cloud.points.tolist() == points[1:].tolist()
    assert cloud.colours.tolist() == colours[1:].tolist()


def test_accumulator_keeps_millimetres_far_from_the_origin():
    accumulator = CloudAccumulator(0.01)
    far = np.eye(4)
    far[:3, 3] = (500_000.123, 5_000_000.456, 100.0)
    cloud = PointCloud(np.array([[1.0, 2.0, 3.0]], np.float32), np.zeros((1, 3), np.uint8), np.ones(1, np.float32))
    accumulator.add(cloud, far)
    result, _ = accumulator.result()
    assert np.allclose(result.points[0] + accumulator.origin, far[:3, 3] + [1, 2, 3], atol=1e-3)


def test_the_real_pipeline_is_deterministic(tmp_path):
    from img2three_ros.config import Config, with_overrides

    config = with_overrides(Config(), {"engine": "sweep", "sweep.planes": 8, "device": "cpu"})
    bag = write_bag(tmp_path / "bag", instants=2, cameras=("front",))
    for name in ("one", "two"):
        summary = reconstruct_bag(bag, tmp_path / name, config, depth=True, voxels=True)
        assert summary.frames == 2
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_last_grid_is_written_as_an_octomap(tmp_path):
    octomap = pytest.importorskip("octomap", reason="octomap-python has wheels for Linux x86_64 only")
    path = tmp_path / "maps" / "street.bt"
    summary = reconstruct_bag(write_bag(tmp_path / "bag", instants=2), tmp_path / "out", octomap=path,
                              pipeline=FakePipeline())
    assert f"{path}: the occupancy of the last frame" in str(summary)
    tree = octomap.OcTree(1.0)
    assert tree.readBinary(str(path).encode())
    voxels = np.array([(2, 3, 4), (2, 5, 6), (0, 0, 0)])[:, ::-1]
    centres = np.array([-2.4, -2.0, -0.4]) + (voxels + 0.5) * 0.4
    assert tree.getLabels(centres).tolist() == [OCCUPIED, FREE, UNKNOWN]
    assert len(list(tree.begin_leafs())) == 2
