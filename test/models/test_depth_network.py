"""The depth network: what it promises whatever its weights are."""

import math

import pytest
import torch
from torch import Tensor

from img2three_ros.models.depth_network import (
    DepthNetwork,
    DepthNetworkConfig,
    ViewGeometry,
    around_mode,
    convex_upsample,
)

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
SMALL = DepthNetworkConfig(planes=16, context=(8, 8, 16, 16), widths=(16, 16, 16), refine_width=16, candidates=4)


def views(count: int, height: int = 64, width: int = 96) -> tuple[Tensor, ViewGeometry]:
    """Views side by side, 0.4 m apart, each matched with the next one."""
    torch.manual_seed(0)
    intrinsics = torch.tensor([[80.0, 0, width / 2], [0, 80.0, height / 2], [0, 0, 1]]).repeat(count, 1, 1)
    pose = torch.tensor([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], dtype=torch.float64)
    poses = pose.repeat(count, 1, 1)
    poses[:, 1, 3] = 0.4 * torch.arange(count)
    sources = ((torch.arange(count) + 1) % count)[:, None] if count > 1 else torch.full((1, 1), -1)
    return torch.rand(count, 3, height, width), ViewGeometry(
        intrinsics, poses, torch.ones(count, height, width, dtype=torch.bool), sources)


def awake(network: DepthNetwork) -> DepthNetwork:
    """Weights that start at zero get values, so that every path shows in the output."""
    for parameter in network.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    return network.eval()


def test_size_stays_within_what_is_promised() -> None:
    assert sum(parameter.numel() for parameter in DepthNetwork().parameters()) <= 8_000_000


def test_shapes_and_ranges_of_a_prediction() -> None:
    images, geometry = views(3)
    with torch.no_grad():
        prediction = awake(DepthNetwork(SMALL))(images, geometry)
    assert prediction.plane_logits.shape == (3, 16, 8, 12)
    assert [tuple(stage.shape[1:]) for stage in prediction.log_depths] == [(8, 12), *[(16, 24)] * 3, (64, 96)]
    assert prediction.log_scale.shape == prediction.confidence.shape == (3, 64, 96)
    for values in (prediction.log_depth, prediction.log_scale, prediction.confidence):
        assert bool(torch.isfinite(values).all())


def test_one_view_without_any_source_is_answered() -> None:
    images, geometry = views(1)
    with torch.no_grad():
        prediction = awake(DepthNetwork(SMALL))(images, geometry)
    assert bool(torch.isfinite(prediction.log_depth).all())


def test_the_vehicle_may_face_anywhere() -> None:
    """Turning base_link and all cameras together about the vertical changes nothing."""
    network, (images, geometry) = awake(DepthNetwork(SMALL)), views(2)
    angle = 0.7
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0, 3.0], [math.sin(angle), math.cos(angle), 0, -2.0],
                         [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    turned = ViewGeometry(geometry.intrinsics, turn @ geometry.T_base_camera, geometry.mask, geometry.sources)
    with torch.no_grad():
        torch.testing.assert_close(network(images, turned).log_depth, network(images, geometry).log_depth,
                                   rtol=1e-3, atol=1e-3)


def test_pixels_of_the_ego_vehicle_in_a_source_do_not_matter() -> None:
    network, (images, geometry) = awake(DepthNetwork(SMALL)), views(2)
    geometry.mask[1, :, 48:] = False
    features = network.encode(images)
    other = images.clone()
    other[1, :, :, 80:] = torch.rand_like(other[1, :, :, 80:])

    def match(all_images: Tensor) -> Tensor:
        sources = network.encode(all_images)
        swapped = type(features)(*(torch.cat((mine[:1], theirs[1:])) for mine, theirs in
                                   zip(features.tensors(), sources.tensors(), strict=True)))
        far = type(features)(*(tensor.clone() for tensor in swapped.tensors()))
        for tensor, original in zip(far.tensors(), features.tensors(), strict=True):
            tensor[1, :, :, :tensor.shape[3] // 2] = original[1, :, :, :tensor.shape[3] // 2]
        matching = geometry.matching()
        return network.estimate(features.select(slice(0, 1)), far, matching.select(slice(0, 1))).log_depth

    with torch.no_grad():
        torch.testing.assert_close(match(images), match(other), rtol=1e-4, atol=1e-4)


def test_every_parameter_learns() -> None:
    network, (images, geometry) = awake(DepthNetwork(SMALL)).train(), views(3)
    prediction = network(images, geometry)
    (sum(stage.square().mean() for stage in prediction.log_depths) + prediction.log_scale.mean()
     + prediction.confidence.square().mean() + prediction.plane_logits.square().mean()).backward()
    silent = [name for name, parameter in network.named_parameters()
              if parameter.grad is None or not bool(parameter.grad.any())]
    assert silent == []


def test_mean_around_the_mode_by_hand() -> None:
    """Two peaks: the mean stays at the higher one, the spread knows of both."""
    planes = torch.linspace(0.0, 3.0, 31)
    probability = torch.full((31,), 1e-9)
    probability[10], probability[11], probability[25] = 0.4, 0.2, 0.4
    mean, spread = around_mode(probability.log().reshape(1, 31, 1, 1), planes)
    assert float(mean) == pytest.approx((0.4 * 1.0 + 0.2 * 1.1) / 0.6, abs=1e-3)
    assert float(spread) == pytest.approx(0.9283, abs=1e-3)  # sqrt(sum of p (v - mean)^2)


def test_convex_upsampling_keeps_constants_and_follows_its_weights() -> None:
    weights = torch.randn(1, 36, 3, 4)
    flat = convex_upsample(torch.full((1, 2, 3, 4), 1.5), weights, 2)
    torch.testing.assert_close(flat, torch.full((1, 2, 6, 8), 1.5))
    only_centre = torch.full((1, 9, 4, 3, 4), -50.0)
    only_centre[:, 4] = 50.0
    values = torch.arange(12.0).reshape(1, 1, 3, 4)
    copied = convex_upsample(values, only_centre.reshape(1, 36, 3, 4), 2)
    torch.testing.assert_close(copied, values.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_context_is_forgotten_in_training_alone_and_only_where_there_are_sources() -> None:
    images, geometry = views(6)
    geometry.sources[3:] = -1
    network = awake(DepthNetwork(SMALL))
    network.forget = 1.0
    shown: list[Tensor] = []
    network.regularise.register_forward_pre_hook(lambda _, given: shown.append(given[3].context8))
    with torch.no_grad():
        network(images, geometry)
        network.train()(images, geometry)
    assert bool(shown[0].flatten(1).any(1).all())
    assert shown[1].flatten(1).any(1).tolist() == [False] * 3 + [True] * 3
