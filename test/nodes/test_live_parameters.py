"""Parameters that change while the node runs: parameters, node and pipeline agree, also after one of them failed."""

import contextlib

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from img2three_ros.nodes.live_parameters import LiveParameters
from img2three_ros.nodes.parameters import NodeConfig


class Pipeline:
    def __init__(self):
        self.decay, self.fails = NodeConfig().occupancy.decay, False

    def reconfigure(self, config):
        if self.fails:
            raise MemoryError("no room for the grid")
        self.decay = config.occupancy.decay


class Owner:
    """A node as far as parameters go; ``later`` holds what waits for the worker, None = the pipeline is idle."""

    def __init__(self):
        self.config, self.pipeline, self.later = NodeConfig(), Pipeline(), None
        self.parameters, self._callback = {}, None

    def add_on_set_parameters_callback(self, callback):
        self._callback = callback

    def set_parameters(self, parameters):
        result = self._callback(parameters)
        if result.successful:
            self.parameters.update({parameter.name: parameter.value for parameter in parameters})
        return [result]

    def hold(self, config):
        self.config = config

    def reconfigure(self, config):
        if self.later is None:
            self.live.apply(config, self.pipeline)
        else:
            self.later.append(config)

    def work(self):
        for config in self.later:
            with contextlib.suppress(MemoryError):
                self.live.apply(config, self.pipeline)
        self.later.clear()

    def decay(self, value):
        (result,) = self.set_parameters([Parameter("occupancy.decay", value=value)])
        return result


def made(cameras=()):
    owner = Owner()
    owner.live = LiveParameters(owner)
    owner.live.cameras = cameras
    return owner


def agreed(owner):
    owner.live.take_back()
    values = {owner.config.occupancy.decay, owner.pipeline.decay, owner.parameters["occupancy.decay"]}
    assert len(values) == 1
    return values.pop()


def test_what_an_idle_pipeline_cannot_take_is_refused():
    owner = made()
    assert owner.decay(0.25).successful
    owner.pipeline.fails = True
    refused = owner.decay(0.5)
    assert isinstance(refused, SetParametersResult) and not refused.successful and "no room" in refused.reason
    assert agreed(owner) == 0.25


def test_what_the_worker_cannot_take_is_taken_back():
    owner = made()
    assert owner.decay(0.25).successful
    owner.later = []
    owner.pipeline.fails = True
    assert owner.decay(0.5).successful  # nobody knows yet
    owner.work()
    assert agreed(owner) == 0.25
    owner.pipeline.fails = False
    assert owner.decay(0.5).successful
    owner.work()
    assert agreed(owner) == 0.5


def test_a_newer_parameter_that_works_is_not_taken_back_for_an_older_one_that_did_not():
    owner = made()
    assert owner.decay(0.25).successful
    owner.later, owner.pipeline.fails = [], True
    owner.decay(0.5)
    waiting, owner.later = owner.later, []
    owner.decay(0.75)
    owner.later, newest = waiting, owner.later
    owner.work()
    owner.live.take_back()
    assert owner.config.occupancy.decay == 0.75  # it is still on its way
    owner.later, owner.pipeline.fails = newest, False
    owner.work()
    assert agreed(owner) == 0.75


def test_cameras_of_the_rig_file_are_the_ones_that_can_be_disabled():
    owner = made(cameras=("front", "left"))

    def disable(name):
        return owner.set_parameters([Parameter("disabled_cameras", value=[name])])[0]

    assert disable("left").successful and owner.config.disabled_cameras == ("left",)
    refused = disable("lfet")
    assert not refused.successful and "lfet" in refused.reason and "front, left" in refused.reason
    assert owner.config.disabled_cameras == ("left",) and owner.config.cameras == ()
