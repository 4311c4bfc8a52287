"""The thread that does the heavy work, so that the executor thread only stores messages."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from ..config import Config
from ..structures import Frame, InputError, Reconstruction
from .mailbox import Mailbox

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class Pipeline(Protocol):
    """What the worker needs of ``ReconstructionPipeline``."""

    def process(self, frame: Frame) -> Reconstruction:
        """Reconstruct one frame."""
        ...

    def observe(self, frame: Frame) -> None:
        """Remember an earlier frame as a keyframe, without reconstructing it."""
        ...

    def reset(self) -> None:
        """Forget the past."""
        ...

    def reconfigure(self, config: Config) -> None:
        """Take over the settings that may change while running."""
        ...


Change = Callable[[Pipeline], None]


class Observer(Protocol[Item_contra]):
    """Who is told what became of an item; called on the worker thread."""

    def assemble(self, item: Item_contra) -> Frame:
        """Decode and place the images. Raises InputError if nothing usable is left."""
        ...

    def earlier(self, item: Item_contra) -> Sequence[Frame]:
        """Frames between the last processed one and this one that may serve as keyframes, oldest first."""
        ...

    def dropped(self, item: Item_contra) -> None:
        """It was taken before a reset, and will never be assembled."""
        ...

    def deliver(self, item: Item_contra, frame: Frame, result: Reconstruction) -> None:
        """Publish."""
        ...

    def not_changed(self, error: Exception) -> None:
        """A change of the pipeline broke down: it goes on with what it has."""
        ...

    def rejected(self, item: Item_contra, error: InputError) -> None:
        """The input was at fault."""
        ...

    def failed(self, item: Item_contra, error: Exception) -> None:
        """The reconstruction was at fault."""
        ...

    def done(self, item: Item_contra) -> None:
        """The worker is free again, whatever became of the item."""
        ...


class _Nobody:
    """Takes the observer's place when the worker is left to itself."""

    def assemble(self, item: object) -> Frame:
        raise InputError("abandoned", "nobody waits for this any more")

    def earlier(self, item: object) -> Sequence[Frame]:
        return ()

    def dropped(self, item: object) -> None:
        pass

    def deliver(self, item: object, frame: Frame, result: Reconstruction) -> None:
        pass

    def not_changed(self, error: Exception) -> None:
        pass

    def rejected(self, item: object, error: InputError) -> None:
        pass

    def failed(self, item: object, error: Exception) -> None:
        pass

    def done(self, item: object) -> None:
        pass


class ReconstructionWorker(Generic[Item]):
    """Takes items from a mailbox until stopped; an exception costs one item, never the thread.

    The thread is a daemon: a reconstruction that is under way cannot be interrupted, and must not keep the process
    from ending.
    """

    def __init__(self, mailbox: Mailbox[Item], pipeline: Pipeline, observer: Observer[Item]) -> None:
        self._mailbox, self._pipeline = mailbox, pipeline
        self._observer: Observer[Item] = observer
        self._changes: list[Change] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="reconstruction", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End after the item under way. Returns False if that takes longer than ``timeout`` s."""
        self._mailbox.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Let go of the observer, so that it can be destroyed while an item is still under way."""
        self._observer = _Nobody()

    def reset(self) -> Item | None:
        """Forget the past before the next item; what waits (returned) or is under way is dropped, counted as
        ``reset``."""
        with self._lock:  # together: an item of before is never worked on after the pipeline was reset
            self._changes.append(lambda pipeline: pipeline.reset())
            return self._mailbox.clear("reset")

    def apply(self, change: Change) -> None:
        """Run ``change`` on the worker thread before the next item: the pipeline is not thread-safe."""
        with self._lock:
            self._changes.append(change)

    def _run(self) -> None:
        while not self._mailbox.closed:
            item = self._mailbox.take(timeout=1.0)
            if item is not None:
                reason = "failure"  # unless it is known better: not even a fault in telling may end the thread
                with contextlib.suppress(Exception):
                    reason = self._work(item)
                self._mailbox.finish(reason)

    def _make(self, change: Change) -> None:
        """One that breaks down costs neither the others nor the item."""
        try:
            change(self._pipeline)
        except Exception as error:
            self._observer.not_changed(error)

    def _work(self, item: Item) -> str:
        """Returns the reason why the item was rejected, or ''."""
        try:
            with self._lock:
                changes, self._changes = self._changes, []
                outdated = self._mailbox.outdated
            for change in changes:
                self._make(change)
            if outdated:
                self._observer.dropped(item)
                return "reset"
            frame = self._observer.assemble(item)
            for keyframe in self._observer.earlier(item):
                self._pipeline.observe(keyframe)
            result = self._pipeline.process(frame)
            if self._mailbox.outdated or self._mailbox.closed:
                return "reset"
            self._observer.deliver(item, frame, result)
        except InputError as error:
            self._observer.rejected(item, error)
            return error.reason
        except Exception as error:  # whatever goes wrong here, the next frame gets its chance
            self._observer.failed(item, error)
            # The state may be half updated: unknown is better than wrong.
            self.apply(lambda pipeline: pipeline.reset())
            return "failure"
        finally:
            self._observer.done(item)
        return ""
