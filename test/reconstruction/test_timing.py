"""Stages add up to the whole; parts are told beside them."""

import time

import pytest
import torch

from img2three_ros.reconstruction.timing import StageTimer


def test_stages_and_their_parts():
    timer = StageTimer(torch.device("cpu"))
    began = time.perf_counter()
    for _ in range(3):
        with timer.stage("prepare"):
            with timer.stage("copy"):
                time.sleep(0.002)
            time.sleep(0.002)
    with timer.stage("fuse"):
        pass
    whole = 1000.0 * (time.perf_counter() - began)
    assert list(timer.milliseconds) == ["prepare", "fuse"] and list(timer.parts) == ["copy"]
    assert 6.0 <= timer.parts["copy"] <= timer.milliseconds["prepare"] - 6.0
    assert sum(timer.milliseconds.values()) <= whole


def test_a_stage_that_broke_down_does_not_swallow_the_next():
    timer = StageTimer(torch.device("cpu"))
    with pytest.raises(ValueError, match="broken"), timer.stage("prepare"):
        raise ValueError("broken")
    with timer.stage("fuse"):
        pass
    assert list(timer.milliseconds) == ["prepare", "fuse"] and timer.parts == {}
