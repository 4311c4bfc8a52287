"""What tests of the runtime share."""

from single_thread import one_thread

__all__ = ["one_thread"]
