"""The ego mask learns a bonnet that stays while the road moves, and nothing without evidence."""

from dataclasses import replace

import numpy as np
import torch
from sweep_scene import GROUND, camera_pose, frame, side_wall, view

from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.reconstruction.ego_mask import EgoMask
from img2three_ros.reconstruction.sweep_cost import build_pyramid

WORLD = [GROUND, side_wall(4.0), side_wall(-5.0)]
BONNET_ROW = 96


def drive(frames: int, bonnet: bool, speed: float = 1.6) -> tuple[EgoMask, torch.Tensor]:
    """A mask that saw some frames, and what it says of the last view."""
    mask, previous = EgoMask(), None
    pattern = torch.rand(3, 8, 48, generator=torch.Generator().manual_seed(2)).repeat_interleave(4, 1)
    pattern = pattern.repeat_interleave(4, 2)
    for index in range(frames):
        pose = from_xyz_rpy([speed * index, 0.0, 0.0])
        image, _ = view(WORLD, "front", camera_pose(), pose)
        if bonnet:
            image.image[:, BONNET_ROW:] = pattern
        now = frame(index, [image], pose)
        pyramid = build_pyramid(image, image.mask, 1)
        if previous is not None:
            mask.learn(now, image, pyramid, *previous)
        previous = (now, image, pyramid)
    return mask, mask.mask(image)


def test_learns_a_bonnet_and_keeps_the_road():
    _, world = drive(12, bonnet=True)
    assert (~world[BONNET_ROW + 8:]).float().mean() > 0.9
    assert world[:BONNET_ROW - 12].float().mean() > 0.98


def test_masks_nothing_where_everything_moves():
    _, world = drive(12, bonnet=False)
    assert world.float().mean() > 0.99


def test_masks_nothing_after_few_frames():
    _, world = drive(4, bonnet=True)
    assert world.all()


def test_masks_nothing_while_standing():
    _, world = drive(12, bonnet=True, speed=0.0)
    assert world.all()


def test_reset_forgets():
    mask, world = drive(12, bonnet=True)
    assert not world.all()
    mask.reset()
    image, _ = view(WORLD, "front", camera_pose(), np.eye(4))
    assert mask.mask(image).all()


def test_a_new_size_of_the_same_camera_and_new_evidence_give_a_new_mask():
    mask, world = drive(12, bonnet=True)
    image, _ = view(WORLD, "front", camera_pose(), np.eye(4))
    half = replace(image, image=image.image[:, ::2, ::2], mask=image.mask[::2, ::2])
    assert mask.mask(half).shape == half.mask.shape and torch.equal(mask.mask(image), world)
    for index in range(12):  # the bonnet is gone: what is believed follows
        poses = [from_xyz_rpy([1.6 * (index + step), 0.0, 0.0]) for step in (0, 1)]
        images = [view(WORLD, "front", camera_pose(), pose)[0] for pose in poses]
        frames = [frame(100 + index + step, [images[step]], poses[step]) for step in (0, 1)]
        pyramids = [build_pyramid(one, one.mask, 1) for one in images]
        mask.learn(frames[1], images[1], pyramids[1], frames[0], images[0], pyramids[0])
    assert (~mask.mask(image)).sum() < (~world).sum()


def test_a_keyframe_teaches_once_when_there_is_enough_evidence():
    poses = [from_xyz_rpy([1.6 * index, 0.0, 0.0]) for index in range(3)]
    images = [view(WORLD, "front", camera_pose(), pose)[0] for pose in poses]
    first, second, now = (frame(index, [image], pose)
                          for index, (image, pose) in enumerate(zip(images, poses, strict=True)))
    pyramids = {id(image): build_pyramid(image, image.mask, 1) for image in images}
    asked = []

    def pyramid(of, seen):
        asked.append(of.stamp)
        return pyramids[id(seen)]

    mask = EgoMask()
    for _ in range(60):
        mask.learn_frame(now, [first], pyramid)
    taught = asked.count(first.stamp)
    assert taught == 50
    mask.learn_frame(now, [first, second], pyramid)
    mask.learn_frame(now, [first, second], pyramid)
    assert asked.count(second.stamp) == 1
    mask.reset()
    mask.learn_frame(now, [first, second], pyramid)
    assert asked.count(second.stamp) == 2
