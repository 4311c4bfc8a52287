"""The demo: simulate, drive past the live node, judge against the truth, draw and report."""

from .live_run import run_demo

__all__ = ["run_demo"]
