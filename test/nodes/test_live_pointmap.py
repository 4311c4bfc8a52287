"""The live node with engine ``pointmap``: a checkpoint is asked for, and a real (small, untrained) network runs."""

import pytest
import torch

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from vehicle import REAL_NODE, Process, Ticker, Vehicle, node_command

from img2three_ros.models.pointmap_config import PointmapConfig
from img2three_ros.models.pointmap_network import PointmapNetwork, save_pointmap_network

OUTPUTS = ("points", "obstacle_points", "occupied_voxels", "observed_voxels", "occupancy_grid")
SETTINGS = ("engine:=pointmap", "cameras:=[front, left]", "device:=cpu", "threads:=1", "status.period:=0.2",
            "occupancy.voxel_size:=1.0", "prepare.pixels:=16384")


def test_without_a_checkpoint_the_node_says_which_files_work(namespace, tmp_path):
    vehicle = Vehicle(namespace, ("front", "left"))
    with Process(node_command(namespace, *SETTINGS, command=REAL_NODE), tmp_path / "node.log") as node:
        vehicle.wait(lambda: node.popen.poll() is not None, 60)
        assert node.popen.returncode != 0 and "pointmap.checkpoint" in node.text
        assert "DUSt3R_ViTLarge_BaseDecoder_512_dpt" in node.text and "CC BY-NC-SA" in node.text
        assert "Traceback" not in node.text
    vehicle.destroy_node()


def test_a_network_runs_keyframe_by_keyframe_with_the_same_outputs(namespace, tmp_path):
    torch.manual_seed(0)
    checkpoint = tmp_path / "small.safetensors"
    save_pointmap_network(checkpoint, PointmapNetwork(PointmapConfig(
        encoder_width=32, encoder_depth=1, encoder_heads=2, decoder_width=24, decoder_depth=2, decoder_heads=2,
        head="linear", image_side=96)))
    vehicle = Vehicle(namespace, ("front", "left"))
    vehicle.place_cameras()
    settings = (*SETTINGS, f"pointmap.checkpoint:={checkpoint}", "pointmap.window:=4")
    with Process(node_command(namespace, *settings, command=REAL_NODE), tmp_path / "node.log") as node:
        vehicle.wait_active(60)
        tick = Ticker(vehicle)
        vehicle.wait(lambda: all(len(vehicle.heard[topic]) >= 4 for topic in OUTPUTS), 60, every=tick, period=0.3)
        vehicle.wait(lambda: vehicle.status.get("engine") == "pointmap", 20)
        grid = vehicle.heard["occupancy_grid"][-1]
        assert 0 not in set(grid.data), "a network that learned nothing shows no free space"
        assert "Traceback" not in node.text
    vehicle.destroy_node()
