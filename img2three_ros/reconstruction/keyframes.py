"""Which earlier instants give parallax: chosen by baseline, age and how much they still see in common."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..config import KeyframeConfig
from ..geometry.transforms import inverse
from .views import PreparedFrame


class KeyframeBuffer:
    """Earlier prepared frames, bounded. Frames without an ego pose are never keyframes."""

    def __init__(self, config: KeyframeConfig) -> None:
        self._config = config
        # Twice as many as are used, so that a turn or a stop still leaves a choice of baselines.
        self._frames: deque[PreparedFrame] = deque(maxlen=max(1, 2 * config.count))

    def __len__(self) -> int:
        return len(self._frames)

    def reset(self) -> None:
        """Forget all keyframes."""
        self._frames.clear()

    def add(self, frame: PreparedFrame) -> bool:
        """Keep a frame if the vehicle moved far enough since the last keyframe. Returns whether it was kept."""
        if self._config.count == 0 or frame.T_odom_base is None:
            return False
        if self._frames and _baseline(self._frames[-1], frame) < self._config.min_baseline \
                and _rotation_degrees(self._frames[-1], frame) < 10.0:
            return False
        self._frames.append(frame)
        return True

    def select(self, frame: PreparedFrame) -> tuple[PreparedFrame, ...]:
        """Up to ``count`` keyframes for ``frame``, oldest first.

        A longer baseline measures farther but sees less in common: the nearest keyframe that gives parallax is
        always taken, the others are spread up to ``max_baseline``.
        """
        if frame.T_odom_base is None:
            return ()
        usable = [key for key in self._frames if self._usable(key, frame)]
        if len(usable) <= self._config.count:
            return tuple(usable)
        newest, others = usable[-1], usable[:-1]
        spread = np.linspace(0, len(others) - 1, self._config.count - 1).round().astype(int) \
            if self._config.count > 1 else []
        return (*(others[index] for index in sorted(set(spread))), newest)

    def _usable(self, key: PreparedFrame, frame: PreparedFrame) -> bool:
        age = (frame.stamp - key.stamp) / 1e9
        baseline = _baseline(key, frame)
        return (0.0 < age <= self._config.max_age and baseline <= self._config.max_baseline
                and baseline >= 0.5 * self._config.min_baseline)


def _relative(first: PreparedFrame, second: PreparedFrame) -> np.ndarray:
    assert first.T_odom_base is not None and second.T_odom_base is not None
    return inverse(first.T_odom_base) @ second.T_odom_base


def _baseline(first: PreparedFrame, second: PreparedFrame) -> float:
    return float(np.linalg.norm(_relative(first, second)[:3, 3]))


def _rotation_degrees(first: PreparedFrame, second: PreparedFrame) -> float:
    trace = float(np.trace(_relative(first, second)[:3, :3]))
    return float(np.degrees(np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))))
