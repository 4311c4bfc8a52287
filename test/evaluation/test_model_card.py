"""The model card says what the files say."""

import json

import pytest
import torch

from img2three_ros.evaluation.model_card import CARD, digest, facts, filled, main, metrics_table
from img2three_ros.fileio.checkpoints import read_checkpoint
from img2three_ros.models.depth_network import DepthNetwork
from img2three_ros.models.depth_weights import save_depth_network
from img2three_ros.reconstruction.scene_engine import SHIPPED_WEIGHTS
from img2three_ros.structures import InputError

TRAINING = {"pretrained": True, "init": "", "optimizer.encoder": 0.0, "data.kind": "simulated",
            "data.simulated.seed": 0, "stages": ["to 10 size 64x64 groups 1 views 2"]}
ABOUT = {"steps": "1234", "hours": "5.678", "groups": "99", "training": json.dumps(TRAINING),
         "held_out": json.dumps({"abs_rel": 0.0432}), "commit": "abc", "hardware": "1 x Some GPU"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    torch.manual_seed(0)
    save_depth_network(path, DepthNetwork(), ABOUT)
    return path


def metrics(mark, name="drive", violation=0.0012):
    part = {"abs_rel": 0.054, "delta": 0.951, "coverage": 0.97}
    camera = {"all": part, "best_80": {**part, "abs_rel": 0.03}, "best_60": {**part, "abs_rel": None},
              "reliability": {"calibration_error": 0.041}}
    return {"run": {"bag": f"/data/{name}", "engine": "scene", "weights_sha256": {"mine.safetensors": mark}},
            "depth": {"front": camera, "mean": camera}, "occupancy": {"free_space_violation": violation}}


def test_the_shipped_card_is_of_the_shipped_weights():
    text = CARD.read_text(encoding="utf-8")
    if not SHIPPED_WEIGHTS.is_file():
        assert "Not trained yet." in text
        return
    assert facts(SHIPPED_WEIGHTS) in text, "run: python -m img2three_ros.evaluation.model_card"
    assert f"Weights `{digest(SHIPPED_WEIGHTS)[:16]}`." in text, "measure, then give --metrics to the command above"
    training = json.loads(read_checkpoint(SHIPPED_WEIGHTS).metadata["training"])
    assert training["data.kind"] == "simulated" and not training["data.bags"]


def test_the_card_in_docs_is_the_shipped_one():
    assert (CARD.parents[2] / "docs" / "scene_depth_model_card.md").read_text() == CARD.read_text()


def test_facts_come_from_the_file(weights):
    text = facts(weights)
    count = sum(value.numel() for value in DepthNetwork().parameters())
    for part in ("| steps | 1234 |", "| hours | 5.678 |", "1 x Some GPU", digest(weights), f"{count:,}", "frozen",
                 "ImageNet encoder", "no recordings", "abs_rel 0.0432", "64x64"):
        assert part in text


def test_recordings_a_network_learned_from_are_named(tmp_path):
    training = {**TRAINING, "data.kind": "bags", "data.bags": ["/data/one", "/data/two"], "optimizer.encoder": 0.2}
    path = tmp_path / "own.safetensors"
    save_depth_network(path, DepthNetwork(), {**ABOUT, "training": json.dumps(training)})
    assert "recordings: one, two" in facts(path) and "learning rate x 0.2" in facts(path)


def test_weights_that_do_not_say_how_they_were_trained_are_refused(tmp_path):
    save_depth_network(tmp_path / "bare.safetensors", DepthNetwork())
    with pytest.raises(InputError, match="no 'commit'"):
        facts(tmp_path / "bare.safetensors")


def test_metrics_are_rows_with_the_mean_first(weights):
    lines = metrics_table([metrics(digest(weights))], digest(weights)).splitlines()
    assert lines[2] == "| drive | .054/.951 | .030/.951 | –/.951 | 97.0 % | .041 | 0.12 % |"
    assert lines[3].startswith("| … front |") and lines[3].endswith("| .041 |  |")


def test_metrics_of_other_weights_are_refused(weights):
    with pytest.raises(InputError, match="not of"):
        metrics_table([metrics("0123")], digest(weights))
    both = metrics(digest(weights))
    both["run"]["weights_sha256"]["scene_space.safetensors"] = "4567"
    with pytest.raises(InputError, match=r"scene\.space=false"):
        metrics_table([both], digest(weights))


def test_a_card_is_filled_and_loses_stale_metrics(weights, tmp_path):
    card = tmp_path / "card.md"
    card.write_text(CARD.read_text())
    source = tmp_path / "metrics.json"
    source.write_text(json.dumps(metrics(digest(weights))))
    main([str(card), "--weights", str(weights), "--metrics", str(source)])
    text = card.read_text()
    assert facts(weights) in text and "| drive |" in text and text.count("<!--") == CARD.read_text().count("<!--")
    assert filled(text, weights) == text  # the same weights: metrics stay
    other = tmp_path / "other.safetensors"
    torch.manual_seed(1)
    save_depth_network(other, DepthNetwork(), ABOUT)
    assert "| drive |" not in filled(text, other) and "Not measured" in filled(text, other)


def test_a_text_without_the_blocks_is_no_card(weights):
    with pytest.raises(InputError, match="no block"):
        filled("# Something else", weights)
