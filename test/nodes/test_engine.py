"""What the node loads is set apart from garbage collection, and comes back."""

import gc

import pytest

from img2three_ros.ingest.camera_rig import CameraRig
from img2three_ros.nodes.engine import load_engine
from img2three_ros.nodes.parameters import NodeConfig
from img2three_ros.structures import InputError


class Pipeline:
    """Holds on to itself, as real ones do: only garbage collection frees it."""

    def __init__(self, freed):
        self.me, self.freed = self, freed

    def __del__(self):
        self.freed.append(True)


def test_what_is_loaded_is_set_apart_until_it_is_released():
    freed, rig = [], CameraRig(())
    for count in (1, 2):
        engine = load_engine(lambda config: Pipeline(freed), NodeConfig(warm_up=False), (), rig)
        assert gc.get_freeze_count() > 0
        release = engine.release
        del engine
        gc.collect()
        assert len(freed) == count - 1
        release()
        gc.collect()
        assert len(freed) == count and gc.get_freeze_count() == 0


def test_what_cannot_be_loaded_leaves_nothing_set_apart():
    def breaks(config):
        raise InputError("parameter", "no such engine")

    with pytest.raises(InputError):
        load_engine(breaks, NodeConfig(warm_up=False), (), CameraRig(()))
    assert gc.get_freeze_count() == 0
