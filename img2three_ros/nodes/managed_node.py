"""A lifecycle node whose transitions say what went wrong, never hang, and can be interrupted."""

from __future__ import annotations

import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ..structures import InputError

Result = TypeVar("Result")
SUCCESS, FAILURE, ERROR = (TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE,
                           TransitionCallbackReturn.ERROR)


class ManagedNode(LifecycleNode, ABC):
    """Each transition is one method without a return value.

    It raises InputError for what the user can put right: the state stays as it was (FAILURE). Anything else is an
    error: ErrorProcessing lets go of everything (``let_go``), and the node can be configured anew.
    """

    _unfinished: threading.Thread | None = None

    @abstractmethod
    def configure(self) -> None:
        """Validate, load, warm up."""

    @abstractmethod
    def activate(self) -> None:
        """Begin to work."""

    @abstractmethod
    def deactivate(self) -> None:
        """Stop working."""

    @abstractmethod
    def clean_up(self) -> None:
        """Let go of what ``configure`` took."""

    @abstractmethod
    def shut_down(self) -> None:
        """Stop whatever runs, from any state."""

    @abstractmethod
    def let_go(self) -> None:
        """After an error: end and forget everything at once, waiting for nothing."""

    @abstractmethod
    def transition_failed(self, text: str) -> None:
        """A transition did not succeed, for this reason."""

    @abstractmethod
    def transition_done(self) -> None:
        """A transition succeeded."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """unconfigured -> inactive."""
        return self._transition(self.configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """inactive -> active."""
        return self._transition(self.activate, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """active -> inactive."""
        return self._transition(self.deactivate, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """inactive -> unconfigured."""
        return self._transition(self.clean_up, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Any state -> finalized."""
        return self._transition(self.shut_down, super().on_shutdown, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """ErrorProcessing -> unconfigured."""
        try:
            self.let_go()
            self.transition_done()
        except Exception as error:
            self.transition_failed(_words(error))
            return FAILURE
        self.get_logger().warning("after the error everything was let go: the node is unconfigured, configure it anew")
        return SUCCESS

    def in_background(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``, which may take long: a signal ends the waiting at once (ExternalShutdownException),
        while the work itself cannot be interrupted."""
        outcome: dict[str, Any] = {}

        def run() -> None:
            try:
                outcome["result"] = work()
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=run, name="configure", daemon=True)
        thread.start()
        while thread.is_alive():
            if not self.context.ok():
                self._unfinished = thread
                raise ExternalShutdownException
            thread.join(0.05)
        if "error" in outcome:
            raise outcome["error"]
        result: Result = outcome["result"]
        return result

    def warn(self, text: str) -> None:
        """Log what went wrong, unless ROS is shut down: whatever touches it then fails in its own way."""
        if self.context.ok():
            self.get_logger().warning(text)

    @property
    def unfinished(self) -> bool:
        """Whether work in the background was left behind by a signal and still runs."""
        return self._unfinished is not None and self._unfinished.is_alive()

    def _transition(self, step: Callable[[], None], parent: Callable[[LifecycleState], TransitionCallbackReturn],
                    state: LifecycleState) -> TransitionCallbackReturn:
        # rclpy swallows exceptions of transition callbacks, so they are said here.
        try:
            step()
            result = parent(state)
            self.transition_done()
            return result
        except ExternalShutdownException:
            return FAILURE
        except InputError as error:
            self.get_logger().error(str(error))
            self.transition_failed(str(error))
            return FAILURE
        except Exception as error:
            if not self.context.ok():  # whatever touches ROS after a signal fails in its own way
                return FAILURE
            self.get_logger().error(f"{_words(error)}\n{traceback.format_exc()}")
            self.transition_failed(_words(error))
            return ERROR


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
