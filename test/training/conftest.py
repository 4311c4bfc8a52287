"""Training's tests compare floating-point numbers bit by bit: one thread."""

from single_thread import one_thread

__all__ = ["one_thread"]
