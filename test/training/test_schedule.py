"""Learning rate, groups of parameters, moving average."""

import itertools

import pytest
from torch import nn

from img2three_ros.models.depth_network import DepthNetwork
from img2three_ros.training.schedule import (
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
    update_average,
)
from img2three_ros.training.settings import OptimizerConfig

CONFIG = OptimizerConfig(learning_rate=1e-3, encoder=0.2, matching=4.0, warmup=10, floor=0.1, weight_decay=0.05)


def test_learning_rate_warms_up_and_falls_to_the_floor():
    factor = [learning_rate_factor(step, 111, CONFIG) for step in range(111)]
    assert factor[0] == pytest.approx(0.1) and factor[9] == factor[10] == pytest.approx(1.0)
    assert factor[60] == pytest.approx(0.55)
    assert factor[110] == pytest.approx(0.1)
    assert learning_rate_factor(500, 111, CONFIG) == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(factor[10:]))


def test_pretrained_encoder_learns_slower_matching_faster_and_biases_do_not_decay():
    network = DepthNetwork()
    optimizer = make_optimizer(network, CONFIG)
    set_learning_rate(optimizer, 0.5)
    seen = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    assert len(seen) == len(list(network.parameters()))
    backbone = {id(parameter) for parameter in network.encoder.backbone.parameters()}
    for name, parameter in network.named_parameters():
        group = seen[id(parameter)]
        matching = name.startswith(("encoder.describe.", "sweep.", "refine.0.log_sharpness", "refine.1.log_sharpness",
                                    "regularise.log_sharpness"))
        assert group["lr"] == pytest.approx(1e-4 if id(parameter) in backbone else 2e-3 if matching else 5e-4), name
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0), name


def test_moving_average_by_hand():
    network, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average.weight.data.fill_(0.0)
    update_average(average, network, 0, 0.999)  # decay (1 + 0) / (10 + 0)
    assert average.weight.item() == pytest.approx(0.9)
    update_average(average, network, 10**6, 0.75)
    assert average.weight.item() == pytest.approx(0.75 * 0.9 + 0.25)
