"""Start, spin and end of a node process, alike for every node of the package."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from ..config import set_thread_waiting
from ..structures import InputError
from .frugal_executor import FrugalExecutor

PATIENCE = 1.7
"""Seconds between being told to stop and the hard end of the process."""


def run_node(make_node: Callable[[], Node], args: Sequence[str] | None = None,
             spin: Callable[[Node], None] | None = None) -> int:
    """Run one node until it is told to stop. Returns the exit code: 0 after SIGINT, SIGTERM or shutdown, 1 for input
    that cannot be used (said in one line).

    make_node: called once ROS is up. spin: the main loop; default that of ``make_executor``.
    A node may have ``close() -> bool``, called before it is destroyed; False means a thread cannot be stopped; and
    ``free``, an Event that is set while nothing heavy is under way.
    """
    set_thread_waiting()
    ended = threading.Event()
    told = _heed_signals(ended)
    rclpy.init(args=None if args is None else list(args))
    node: Node | None = None
    code, stopped = 0, True
    rclpy.get_default_context().on_shutdown(lambda: _in_background(lambda: _end_hard_unless(ended)))
    try:
        if told.is_set():  # before ROS could hear of it
            raise ExternalShutdownException
        node = make_node()
        if not rclpy.ok():  # told to stop while the node was made
            raise ExternalShutdownException
        (spin or _spin)(node)
    except ExternalShutdownException:
        pass
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except Exception:
        # Whatever touches ROS after a signal has shut it down fails in its own way: that is no error.
        if rclpy.ok():
            raise
    finally:
        # A second Ctrl-C must not tear what is being put away.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if node is not None:
            stopped = _put_away(node)
            node = None
            gc.unfreeze()  # what was set apart when an engine was loaded: it has threads that must end
        ended.set()
        rclpy.try_shutdown()
    if not stopped:
        # Last resort: a reconstruction under way cannot be interrupted, and waiting for it would take seconds.
        # Everything that must be kept is already written; collecting the node frees the transport's shared memory.
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _heed_signals(ended: threading.Event) -> threading.Event:
    """Whatever the process is doing, it ends within PATIENCE s of SIGINT or SIGTERM. The event is set by both.

    ROS hears of them too, and is shut down by them, which is how nodes end. There is no KeyboardInterrupt: it would
    come anywhere, also where a thread that cannot be stopped is waited for, and nobody would know of that thread.
    """
    told = threading.Event()
    listen, ring = os.pipe()
    os.set_blocking(ring, False)
    ends = (signal.SIGINT, signal.SIGTERM)
    for number in ends:
        signal.signal(number, lambda number, frame: told.set())
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)  # rung even while the main thread does not run Python

    def watch() -> None:
        while os.read(listen, 1)[0] not in ends:
            pass
        _end_hard_unless(ended)

    _in_background(watch)
    return told


def _end_hard_unless(ended: threading.Event) -> None:
    """If the process hangs, whatever holds it, it ends all the same. The shared memory that is left behind then is
    cleared by the next process."""
    if not ended.wait(PATIENCE):
        os._exit(0)


def _in_background(watch: Callable[[], None]) -> None:
    threading.Thread(target=watch, name="last resort", daemon=True).start()


def handle_one(node: Node, seconds: float) -> None:
    """Handle at most one event within a time. Raises ExternalShutdownException once ROS is shut down."""
    if not rclpy.ok():
        raise ExternalShutdownException
    rclpy.spin_once(node, timeout_sec=seconds)


def make_executor(node: Node) -> Executor:
    """What spins a node: single-threaded, as more threads cost CPU and win nothing here (reference figures), and the
    EventsExecutor of rclpy cannot be stopped; a frugal one if the node has ``free``."""
    free = getattr(node, "free", None)
    executor = SingleThreadedExecutor() if free is None else FrugalExecutor(free)
    executor.add_node(node)
    return executor


def _spin(node: Node) -> None:
    executor = make_executor(node)
    try:
        executor.spin()
    finally:
        executor.remove_node(node)
        executor.shutdown(timeout_sec=0.5)


def _put_away(node: Node) -> bool:
    close = getattr(node, "close", None)
    stopped = True if close is None else bool(close())
    node.destroy_node()
    return stopped
