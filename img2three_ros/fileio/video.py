"""MP4 video that plays everywhere: H.264, 4:2:0, index first. Encoded by the program ``ffmpeg``, in its own process.

OpenCV's wheels have no H.264 encoder, and browsers do not play the MPEG-4 part 2 that they do have.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..structures import InputError

_QUALITY = "20"
"""Constant rate factor of x264: 18 looks like the original, 23 is its default."""


def ffmpeg_program() -> str:
    """Path of the ffmpeg that writes videos: that of the package imageio-ffmpeg, else the system's.

    Raises InputError('video') where there is none.
    """
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # not installed, or installed without a program and with none in the system
        found = shutil.which("ffmpeg")
    if found is None:
        raise InputError("video", "a video needs ffmpeg, and there is none here: pip install imageio-ffmpeg (or "
                         "img2three_ros[video]), or apt-get install ffmpeg")
    return found


class Mp4Writer:
    """A video file as a context manager. The file has its name only once it is whole: left by an exception, there is
    none, or still the one before."""

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        """size: (height, width) of every picture, even numbers; rate: pictures per second.

        Raises InputError('video') for another size, or where there is no ffmpeg.
        """
        height, width = size
        if height % 2 or width % 2 or min(size) < 2:
            raise InputError("video", f"a video of {width} x {height} pixels cannot be written: both must be even")
        self.path, self.size = path, size
        self._unfinished = path.with_name(path.name + ".part")
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        command = [ffmpeg_program(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
                   "-s", f"{width}x{height}", "-r", f"{rate:g}", "-i", "-", "-an", "-c:v", "libx264", "-threads", "1",
                   "-crf", _QUALITY, "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4",
                   f"file:{self._unfinished}"]
        # One thread: how many there are would change the file. "file:": a name may hold a colon.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                         stderr=self._messages)

    def __enter__(self) -> Mp4Writer:
        return self

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Append a picture (H, W, 3) RGB. Raises InputError('video') if the encoder has given up."""
        if picture.shape != (*self.size, 3) or picture.dtype != np.uint8:
            raise ValueError(f"a picture is {picture.shape} {picture.dtype}, the video takes {(*self.size, 3)} uint8")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).tobytes())
        except OSError as error:
            raise self._failure() from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            if kind is not None:
                self._process.kill()
            with contextlib.suppress(OSError):  # pictures that could not be handed over: the exit status tells
                self._process.communicate()
            if kind is None and self._process.returncode:
                raise self._failure()
            if kind is None:
                self._unfinished.replace(self.path)
        finally:
            self._unfinished.unlink(missing_ok=True)
            self._messages.close()

    def _failure(self) -> InputError:
        """What the encoder said; waits for its end."""
        self._process.wait()
        self._messages.seek(0)
        said = self._messages.read().decode(errors="replace").strip().splitlines()
        return InputError("video", f"ffmpeg could not write '{self.path}': "
                          + (said[-1] if said else f"exit status {self._process.returncode}"))
