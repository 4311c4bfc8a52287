"""The cost volume: leaving out rows that nobody needs changes none that somebody needs."""

import numpy as np
import torch
from sweep_scene import GROUND, camera_pose, view, wall

from img2three_ros.geometry.plane_sweep import inverse_depth_planes
from img2three_ros.geometry.transforms import inverse
from img2three_ros.reconstruction.sweep_cost import build_pyramid, cost_volume


def test_wanted_rows_cost_the_same_as_in_the_whole_volume():
    scene = [wall(12.0), GROUND]
    poses = [np.eye(4), np.eye(4)]
    poses[1][0, 3] = 0.4
    views = [view(scene, "front", camera_pose(), pose)[0] for pose in poses]
    pyramids = [build_pyramid(one, one.mask) for one in views]
    T_source_reference = inverse(poses[1] @ views[1].T_base_camera) @ poses[0] @ views[0].T_base_camera
    planes = inverse_depth_planes(48, 1.5, 100.0)
    arguments = (pyramids[0], [(pyramids[1], T_source_reference)], planes, views[0].T_base_camera)
    whole = cost_volume(*arguments)
    wanted = torch.zeros(whole.shape[:2], dtype=torch.bool)
    for plane in range(len(planes)):
        wanted[plane, plane // 4:whole.shape[1] // 2 + plane // 6] = True
    part = cost_volume(*arguments, wanted)
    assert whole[wanted].min() < 0.3 and wanted.float().mean() < 0.8
    torch.testing.assert_close(part[wanted], whole[wanted], atol=1e-4, rtol=0.0)
    assert float(part.min()) >= 0.0 and float(part.max()) <= 1.0
