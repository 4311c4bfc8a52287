"""What the runtime says of its backends (which runs what and why, what was refused, engines being built) in the node's
own log."""

from __future__ import annotations

import logging
from typing import Protocol

_SOURCE = "img2three_ros.runtime"


class NodeLogger(Protocol):
    """The part of rclpy's logger that is used."""

    def info(self, message: str) -> object: ...

    def warning(self, message: str) -> object: ...


def relay(logger: NodeLogger) -> None:
    """From now on, say it through ``logger``, and no longer through another."""
    source = logging.getLogger(_SOURCE)
    source.setLevel(logging.INFO)
    source.propagate = False
    source.handlers = [_Relay(logger)]


class _Relay(logging.Handler):
    def __init__(self, logger: NodeLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # rclpy keeps one severity for each place in the code that logs: hence two calls
        if record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())
