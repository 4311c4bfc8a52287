"""Parameters set while the node runs: checked together, taken over by the pipeline, and taken back if it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from ..config import settings
from ..structures import InputError
from .parameters import NodeConfig, changed, to_ros
from .worker import Pipeline


class Owner(Protocol):
    """Who has the parameters."""

    config: NodeConfig

    def add_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], SetParametersResult]) -> None:
        """As rclpy has it."""
        ...

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """As rclpy has it."""
        ...

    def hold(self, config: NodeConfig) -> None:
        """Make it ``config``."""
        ...

    def reconfigure(self, config: NodeConfig) -> None:
        """Have ``LiveParameters.apply`` called for the pipeline, at once or on the worker thread."""
        ...


class LiveParameters:
    """Parameters, ``owner.config`` and the pipeline say the same again soon after any of them failed."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.cameras: tuple[str, ...] = ()
        """The configured cameras, also where a rig file names them; empty = not configured."""
        self._in_use, self._tried, self._going_back = owner.config, owner.config, False
        # Not a post-set callback: Humble has none, and only this one may refuse.
        owner.add_on_set_parameters_callback(self._set)

    def apply(self, config: NodeConfig, pipeline: Pipeline) -> None:
        """On the thread of the pipeline. Raises what it raises; ``take_back`` undoes the rest then."""
        try:
            pipeline.reconfigure(config)
        except Exception:
            self._tried = config
            raise
        self._in_use = self._tried = config

    def take_back(self) -> None:
        """On the executor thread, often: return to what the pipeline has, if it could not take the newest."""
        config, wanted = self._in_use, self._owner.config
        if self._tried is not wanted or config is wanted:  # all well, or a newer one is on its way
            return
        values = {leaf.path: leaf.value for leaf in settings(wanted)}
        self._owner.hold(config)
        self._going_back = True
        try:
            self._owner.set_parameters([Parameter(leaf.path, value=to_ros(leaf.value)) for leaf in settings(config)
                                        if leaf.value != values[leaf.path]])
        finally:
            self._going_back = False

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        if self._going_back:
            return SetParametersResult(successful=True)
        before = self._owner.config
        try:
            config = changed(before, {parameter.name: parameter.value for parameter in parameters}, self.cameras)
            if config != before:  # else parameters of others, such as qos_overrides
                self._owner.reconfigure(config)
                self._owner.hold(config)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:
            return SetParametersResult(successful=False, reason=f"{type(error).__name__}: {error}")
        return SetParametersResult(successful=True)
