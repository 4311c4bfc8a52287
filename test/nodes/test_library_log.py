"""What runs where reaches the node's log, at its level."""

import logging

import pytest

from img2three_ros.nodes.library_log import relay
from img2three_ros.reconstruction.backed_encoder import log


class Kept:
    def __init__(self) -> None:
        self.said = []

    def info(self, message):
        self.said.append(("info", message))

    def warning(self, message):
        self.said.append(("warning", message))


@pytest.fixture
def restored():
    yield
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)


@pytest.mark.usefixtures("restored")
def test_the_runtime_speaks_through_the_latest_node():
    first, second = Kept(), Kept()
    relay(first)
    log.info("scene-encoder runs in %s", "torch")
    relay(second)
    log.warning("refused")
    assert first.said == [("info", "scene-encoder runs in torch")] and second.said == [("warning", "refused")]
