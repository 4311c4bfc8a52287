"""The demo as a user runs it: simulator, player, node and listener as separate processes over Fast DDS."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from img2three_ros.demo.judge import TruthScores, demo_simulation, score_against_truth
from img2three_ros.geometry.rays import transform_points, unproject
from img2three_ros.simulation.vehicle import SimulatedVehicle


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_drives_reports_and_judges(tmp_path):
    output = tmp_path / "demo"
    run = subprocess.run([sys.executable, "-c", "from img2three_ros.cli import main; main()", "demo", "--seconds", "2",
                          "--output", str(output)], capture_output=True, text=True, timeout=380, check=False)
    assert run.returncode == 0, run.stdout + run.stderr + (output / "node.log").read_text()
    for topic in ("points", "obstacle_points", "occupied_voxels", "occupancy_grid"):
        assert f"~/output/{topic}" in run.stdout
    assert "silent" not in run.stdout and "against exact depth" in run.stdout
    assert (output / "report.html").stat().st_size > 50_000 and (output / "demo.jpg").stat().st_size > 50_000
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["occupancy"]["free_space_violation"] <= 0.02


def exact_cloud(vehicle, stamp, scale=1.0):
    parts = []
    for camera in vehicle.camera_names:
        depth = torch.from_numpy(vehicle.render(camera, stamp).depth)[::8, ::8] * scale
        intrinsics = torch.from_numpy(vehicle.calibrations[camera].intrinsics).float()
        intrinsics[:2] /= 8.0
        points = transform_points(torch.from_numpy(vehicle.T_base_camera[camera]).float(), unproject(depth, intrinsics))
        parts.append(points[torch.isfinite(depth)].numpy())
    points = np.concatenate(parts)
    return np.column_stack((points, np.ones(len(points)))).astype(np.float32)


def test_the_judge_knows_right_from_wrong():
    vehicle = SimulatedVehicle(demo_simulation(3))
    stamp = vehicle.stamp(5)
    right = score_against_truth({stamp: exact_cloud(vehicle, stamp)}, 3)
    assert right.points > 3000 and right.delta_125 > 0.97 and right.median_error < 0.01
    wrong = score_against_truth({stamp: exact_cloud(vehicle, stamp, scale=1.5)}, 3)
    assert wrong.delta_125 < 0.4


def test_no_clouds_no_scores():
    assert score_against_truth({}, 3).points == 0
    assert "0 points" in str(TruthScores(0, float("nan"), float("nan"), float("nan")))
