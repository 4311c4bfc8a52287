"""``img2three render``: pictures of a scene from the vehicle's own cameras and from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..config import Config
from ..fileio.folders import make_folder
from ..fileio.video import Mp4Writer, ffmpeg_program
from ..reconstruction.instant import Instant, check_has_scene
from ..reconstruction.scene_space import SceneSpace
from ..structures import DepthImage, InputError
from .colours import Image
from .drawing import canvas
from .orbit import colour_image, depth_image_of, orbit_views
from .pictures import GAP, depth_picture, save_picture

STILLS = 8
"""Pictures of the orbit that are kept beside the video."""


@dataclass(frozen=True)
class OrbitVideo:
    """What the video is to be. size: (height, width) of the colours, and of the depth below them; rate: pictures per
    second."""

    size: tuple[int, int] = (384, 640)
    seconds: float = 6.0
    rate: float = 15.0

    def __post_init__(self) -> None:
        height, width = self.size
        if width % 2 or not 64 <= width <= 3840 or not 48 <= height <= 2160:
            raise InputError("parameter", f"a video of {width} x {height} pixels: the width must be even and 64 to "
                             "3840, the height 48 to 2160")
        if not 1.0 <= self.rate <= 60.0 or not 0.0 < self.seconds <= 120.0:
            raise InputError("parameter", f"a video of {self.seconds:g} s with {self.rate:g} pictures per second: up "
                             "to 120 s and 1 to 60 pictures per second are possible")

    @property
    def count(self) -> int:
        """Pictures of the video."""
        return max(1, round(self.seconds * self.rate))


@dataclass(eq=False)
class RenderSummary:
    """What was written; ``str`` of it is what the command prints. view_seconds: of each view from outside."""

    output: Path
    instant: Instant
    cameras: list[Path] = field(default_factory=list)
    stills: list[Path] = field(default_factory=list)
    video: Path | None = None
    orbit: OrbitVideo | None = None
    view_seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        instant = self.instant
        lines = [f"{self.output}: frame {instant.number}, {instant.seconds:.2f} s after the first, after "
                 f"{instant.reconstructed - 1} frames before it",
                 f"{', '.join(path.name for path in self.cameras)}: image and depth, beside them what the scene shows "
                 "there"]
        if self.video is not None and self.orbit is not None:
            height, width = self.orbit.size
            lines.append(f"{self.video.name}: {self.orbit.count} views of {width} x {height}, colours above depth, "
                         f"{1000.0 * float(np.median(self.view_seconds)):.0f} ms per view")
            lines.append(f"{', '.join(path.name for path in self.stills)}: seen from behind (000), from the right "
                         "(090), and on around")
        return "\n".join([*lines, *instant.reconstruction.notes, *instant.bag.problems])

    def __rich__(self) -> object:
        """What rich prints instead of the fields; messages may hold square brackets, so it is no markup."""
        from rich.text import Text

        return Text(str(self))


def check_possible(config: Config, orbit: OrbitVideo | None) -> None:
    """Raises InputError for what would only be found after the reconstruction: no scene, or no ffmpeg for a video."""
    check_has_scene(config)
    if orbit is not None:
        ffmpeg_program()


def render_instant(instant: Instant, output: Path, orbit: OrbitVideo | None = None,
                   progress: Callable[[int, int], None] | None = None) -> RenderSummary:
    """Write pictures of an instant's scene into ``output``; progress: called with pictures done and expected.

    ``camera_NAME.jpg``: see ``beside``. With an ``orbit`` also ``orbit.mp4`` and ``orbit_DEGREES.jpg``, see
    ``view_from_outside``. Raises InputError where these cannot be written.
    """
    make_folder(output)
    summary = RenderSummary(output, instant, orbit=orbit)
    images = instant.reconstruction.depth_images
    total = len(images) + (orbit.count if orbit else 0)

    def tell(done: int) -> None:
        if progress:
            progress(done, total)

    for done, image in enumerate(images, start=1):
        summary.cameras.append(output / f"camera_{image.name.replace('/', '_')}.jpg")
        save_picture(beside(image, instant.space), summary.cameras[-1])
        tell(done)
    if orbit is not None:
        _write_orbit(summary, orbit, lambda done: tell(len(images) + done))
    return summary


def beside(image: DepthImage, space: SceneSpace) -> Image:
    """(2 * H + gap, 2 * W + gap, 3): an image and, on its right, what the scene shows from the same place; below both
    their depth."""
    size = (image.image.shape[0], image.image.shape[1])
    found = space.render(torch.from_numpy(image.calibration.intrinsics).float(), torch.from_numpy(image.T_base_camera),
                         size)
    height, width = size
    picture = canvas(2 * height + GAP, 2 * width + GAP)
    picture[:height, :width], picture[:height, width + GAP:] = image.image, colour_image(found)
    picture[height + GAP:, :width], picture[height + GAP:, width + GAP:] = depth_picture(image), depth_image_of(found)
    return picture


def _write_orbit(summary: RenderSummary, orbit: OrbitVideo, progress: Callable[[int], None]) -> None:
    height, width = orbit.size
    kept = {still * orbit.count // STILLS for still in range(STILLS)}
    summary.video = summary.output / "orbit.mp4"
    with Mp4Writer(summary.video, (2 * height, width), orbit.rate) as video:
        began = time.perf_counter()
        for number, view in enumerate(orbit_views(summary.instant.space, orbit.count, orbit.size)):
            summary.view_seconds.append(time.perf_counter() - began)
            video.write(view)
            if number in kept:
                summary.stills.append(summary.output / f"orbit_{round(360 * number / orbit.count):03d}.jpg")
                save_picture(view, summary.stills[-1])
            progress(number + 1)
            began = time.perf_counter()
