"""Every test of this room computes with one thread."""

from single_thread import one_thread

__all__ = ["one_thread"]
