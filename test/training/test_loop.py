"""The loop: it learns, goes on exactly where it stopped, and several processes do what one would do."""

import csv
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import TinyGroups, TinyNetwork, tiny_config
from torch import Tensor

from img2three_ros.models.depth_network import DepthNetwork
from img2three_ros.models.depth_weights import load_depth_network
from img2three_ros.structures import InputError
from img2three_ros.training.depth_task import DepthTask
from img2three_ros.training.loop import BEST, CHECKPOINT, LAST, TrainingSummary, train
from img2three_ros.training.objective import ObjectiveConfig
from img2three_ros.training.settings import TrainConfig
from img2three_ros.training.start import starting_network

TASK = DepthTask(ObjectiveConfig())


def run(folder: Path, config: TrainConfig | None = None, report=lambda _: None, noise: float = 0.0,
        **source) -> TrainingSummary:
    groups = TinyGroups(**source)
    return train(TASK, TinyNetwork(noise), groups, groups, folder, config or tiny_config(), report)


def trained(folder: Path) -> dict[str, dict[str, Tensor]]:
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    return {name: content[name] for name in ("network", "average")}


def equal(first: Path, second: Path) -> bool:
    one, other = trained(first), trained(second)
    return all(torch.equal(one[part][name], other[part][name]) for part in one for name in one[part])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_twenty_steps_of_the_real_network_learn_a_fixed_group(tmp_path):
    config = tiny_config(stages=["to 20 size 64x96 groups 1 views 2"], pretrained=False, log_every=1,
                         data__light=0.0, data__mirror=False, optimizer__learning_rate=0.001,
                         validation__size="64x96", validation__every=20)
    groups = TinyGroups(fixed=True)
    train(TASK, starting_network(config), groups, groups, tmp_path, config, lambda _: None)
    total = [float(row["total"]) for row in rows(tmp_path) if row["total"]]
    assert len(total) == 20
    assert sum(total[-3:]) / 3 < 0.7 * total[0]
    shipped = load_depth_network(tmp_path / BEST)
    assert isinstance(shipped, DepthNetwork) and (tmp_path / BEST).stat().st_size < 20e6
    again = starting_network(tiny_config(init=str(tmp_path / LAST)))
    for name, value in again.named_parameters():
        assert value.requires_grad and torch.equal(value, shipped.state_dict()[name]), name


def test_an_interrupted_training_ends_bit_for_bit_like_one_that_was_not(tmp_path):
    whole = run(tmp_path / "whole")
    assert (whole.steps, whole.stopped) == (12, "")

    def terminate_at_step_4(text: str) -> None:
        if text.startswith("step 4/"):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopped = run(tmp_path / "parts", report=terminate_at_step_4)
    assert (stopped.steps, stopped.stopped) == (4, "SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is before
    assert not equal(tmp_path / "whole", tmp_path / "parts")
    said: list[str] = []
    finished = run(tmp_path / "parts", report=said.append)
    assert finished.steps == 12 and "at step 4" in said[0]
    assert equal(tmp_path / "whole", tmp_path / "parts")
    assert finished.best == whole.best < float("inf")
    assert [row["total"] for row in rows(tmp_path / "parts")] == [row["total"] for row in rows(tmp_path / "whole")]


def test_seed_decides_everything(tmp_path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        run(tmp_path / name, tiny_config(seed=seed, stages=["to 3 size 32x64 groups 2 views 2"]))
    assert equal(tmp_path / "one", tmp_path / "same")
    assert not equal(tmp_path / "one", tmp_path / "other")


def test_micro_batches_add_up_to_the_batch(tmp_path):
    """Loss and gradient are means over micro-batches: equal truth in both makes them equal to one batch."""
    changes = {"data__light": 0.0, "data__mirror": False, "stages": ["to 3 size 32x64 groups 2 views 2"]}
    run(tmp_path / "one", tiny_config(**changes), fixed=True)
    run(tmp_path / "two", tiny_config(**changes, micro_batches=2), fixed=True)
    one, two = (trained(tmp_path / name)["network"] for name in ("one", "two"))
    for name in one:
        assert two[name].numpy() == pytest.approx(one[name].numpy(), abs=2e-4), name


PROCESS = """
import sys; sys.path.insert(0, sys.argv[1])
import torch; torch.set_num_threads(1)
from pathlib import Path
from tiny_training import TinyGroups, TinyNetwork, tiny_config
from img2three_ros.training.depth_task import DepthTask
from img2three_ros.training.loop import train
from img2three_ros.training.objective import ObjectiveConfig
train(DepthTask(ObjectiveConfig()), TinyNetwork(0.05), TinyGroups(), TinyGroups(), Path(sys.argv[2]),
      tiny_config(micro_batches=2), lambda text: None)
"""


def test_two_processes_do_what_one_does_in_two_micro_batches(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parent), str(tmp_path / "two")]
    group = [subprocess.Popen(command, env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                                            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
             for rank in range(2)]
    run(tmp_path / "one", tiny_config(micro_batches=2), noise=0.05)
    try:
        assert [process.wait(timeout=120) for process in group] == [0, 0]
    finally:
        for process in group:
            process.kill()
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    for name, value in one["average"].items():
        assert two["average"][name].numpy() == pytest.approx(value.numpy(), abs=1e-5), name
    assert [row["step"] for row in rows(tmp_path / "two")] == [row["step"] for row in rows(tmp_path / "one")]


def test_a_step_without_finite_gradient_is_left_out(tmp_path):
    network = TinyNetwork()
    with torch.no_grad():
        network.outputs.weight[0, 0] = torch.nan
    said: list[str] = []
    train(TASK, network, TinyGroups(), TinyGroups(), tmp_path,
          tiny_config(stages=["to 2 size 32x64 groups 1 views 1"], validation__groups=0), said.append)
    assert sum("not finite" in text for text in said) == 2
    kept = trained(tmp_path)["network"]
    assert kept["body.0.weight"].equal(TinyNetwork().body[0].weight)


def test_time_limit_stops_with_a_checkpoint(tmp_path):
    summary = run(tmp_path, tiny_config(minutes=1e-6))
    assert summary.steps == 1 and "minutes" in summary.stopped and (tmp_path / CHECKPOINT).is_file()


def test_a_damaged_or_foreign_checkpoint_is_named(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=f"cannot go on from .*{CHECKPOINT}"):
        run(tmp_path)


@pytest.mark.parametrize(("changes", "message"), [
    ({"stages": ["to 5 size 32x64"]}, "must read like"),
    ({"stages": ["to 5 size 30x64 groups 1 views 1"]}, "multiples of 32"),
    ({"stages": ["to 5 size 32x64 groups 1 views 1", "to 5 size 64x64 groups 1 views 1"]}, "must rise"),
    ({"stages": ["to 5 size 32x64 groups 3 views 1"], "micro_batches": 2}, "multiple of the 2 micro-batches"),
])
def test_settings_that_make_no_sense_are_refused_before_training(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, tiny_config(**changes))
