"""What a doctor makes of what it heard: findings, each with the remedy. No ROS here."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

from ..ingest.camera_rig import RigCamera
from ..ingest.motion import VehicleMotion
from ..structures import CameraCalibration, InputError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, ODOMETRY = "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry"
_SLOW, _LOSS, _OLD = 2.0, 0.1, 1.0
"""Hz below which a camera is slow; share of messages that may be lost; s that images may be old."""


class Level(Enum):
    """How bad a finding is: an ERROR keeps the reconstruction from working, or makes it wrong."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """subject: camera, topic or part of the system. text: one sentence, with the remedy."""

    level: Level
    subject: str
    text: str


@dataclass
class Heard:
    """What was heard of one camera. published: topic -> types, of its candidates. arrivals: steady s; stamps: ns;
    ages: s by the clock. repeated: images with the stamp of an earlier
    one. bad: reason -> first sentence. size: (width, height). infos: CameraInfo messages."""

    camera: RigCamera
    published: dict[str, tuple[str, ...]] = field(default_factory=dict)
    arrivals: list[float] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    repeated: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    encodings: set[str] = field(default_factory=set)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    frames: set[str] = field(default_factory=set)
    infos: int = 0
    info_problem: str = ""
    calibration: CameraCalibration | None = None

    def candidates(self) -> tuple[tuple[str, str], ...]:
        """(topic, type) on which its images may come, the preferred one first."""
        base = self.camera.image_topic.removesuffix("/compressed")
        both = ((base, IMAGE), (f"{base}/compressed", COMPRESSED))
        named = (self.camera.image_topic, COMPRESSED)
        return tuple(dict.fromkeys((*both[::-1], named) if self.camera.compressed else (*both, named)))

    def rate(self) -> float:
        """New images per second, by their stamps where these move, else by their arrival."""
        gaps = self._gaps()
        if gaps:
            return len(gaps) / (sum(gaps) / 1e9)
        if len(self.arrivals) < 2:
            return 0.0
        return (len(self.arrivals) - 1) / max(self.arrivals[-1] - self.arrivals[0], 1e-6)

    def add_stamp(self, stamp: int, clock: int) -> bool:
        """Take the stamp (ns) of an image that arrived when the clock said ``clock`` (ns, 0 = nothing). Returns False
        for one that was heard already."""
        if stamp in self.stamps[-20:]:
            self.repeated += 1
            return False
        self.stamps.append(stamp)
        if clock:
            self.ages.append((clock - stamp) / 1e9)
        return True

    def fault(self, error: InputError) -> None:
        """An image cannot be used."""
        self.counts[error.reason] += 1
        self.bad.setdefault(error.reason, str(error))

    def _gaps(self) -> list[int]:
        return [after - before for before, after in zip(self.stamps, self.stamps[1:], strict=False) if after > before]

    def loss(self) -> float:
        """Share of images that seem to be missing between the ones that came."""
        gaps = self._gaps()
        if len(gaps) < 4:
            return 0.0
        return max(0.0, 1.0 - (len(gaps) + 1) / (sum(gaps) / median(gaps) + 1.0))


def near(name: str, topics: Mapping[str, Sequence[str]], types: Iterable[str]) -> str:
    """'; did you mean ...?' with the topics of these types whose names nearly match; what there is if none does."""
    wanted = set(types)
    there = [topic for topic, kinds in topics.items() if wanted & set(kinds)]
    close = difflib.get_close_matches(name, there, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; topics of this type: {', '.join(sorted(there)[:6])}" if there else "; no topic of this type exists"


def image_findings(heard: Heard, topics: Mapping[str, Sequence[str]], seconds: float) -> list[Finding]:
    """Of the images of one camera: there, decodable, often enough, stamped."""
    name, found = heard.camera.name, []

    def say(level: Level, text: str) -> None:
        found.append(Finding(level, name, text))

    if not any(kind in heard.published.get(topic, ()) for topic, kind in heard.candidates()):
        other = [f"{topic} is published as {', '.join(kinds)}" for topic, kinds in heard.published.items() if kinds]
        called = " or ".join(dict.fromkeys(topic for topic, _ in heard.candidates()[:2]))
        say(Level.ERROR, f"nobody publishes its images on {called}"
            + ("; " + "; ".join(other) if other else near(heard.camera.image_topic, topics, (IMAGE, COMPRESSED))))
        return found
    if not heard.arrivals:
        say(Level.ERROR, f"its topic is there, but no image came within {seconds:g} s; is the driver running, and is "
            "shared memory (or the network) large enough for its images?")
        return found
    for reason, sentence in heard.bad.items():
        count = f"{heard.counts[reason]} of {len(heard.arrivals)}"
        say(Level.ERROR, f"{count} images cannot be used ({reason}): {sentence}")
    if heard.stamps and heard.rate() < _SLOW:
        say(Level.WARNING, f"only {heard.rate():.1f} images per second: little parallax between them; 5 Hz and more "
            "are better")
    if heard.loss() > _LOSS:
        say(Level.WARNING, f"{heard.loss():.0%} of its images seem to be lost on the way; use the shared-memory "
            "profile (FASTDDS_DEFAULT_PROFILES_FILE), or compressed images")
    if heard.repeated:
        say(Level.WARNING if heard.repeated < len(heard.arrivals) - 1 else Level.ERROR,
            f"{heard.repeated} of {len(heard.arrivals)} images have the stamp of an earlier one and are not used; is "
            "it published twice, or does the driver not stamp each image anew?")
    if len(heard.sizes) > 1:
        say(Level.WARNING, f"its images change their size: {', '.join(f'{w}x{h}' for w, h in sorted(heard.sizes))}")
    age = median(heard.ages) if heard.ages else 0.0
    if abs(age) > _OLD:
        way = "old when they arrive" if age > 0 else "ahead of this clock"
        say(Level.WARNING, f"its stamps are {abs(age):.2f} s {way}; synchronise the clocks (PTP); for a recording set "
            "use_sim_time and play with --clock")
    return found


def calibration_findings(heard: Heard, topics: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Of the CameraInfo of one camera: there, sound, of the size of the images."""
    name, topic = heard.camera.name, heard.camera.camera_info_topic
    if heard.info_problem:
        return [Finding(Level.ERROR, name, f"CameraInfo: {heard.info_problem}")]
    calibration = heard.calibration or heard.camera.calibration
    if calibration is None:
        return [Finding(Level.ERROR, name, f"no CameraInfo on {topic}" + (near(topic, topics, (CAMERA_INFO,))
                        if topic not in topics else "") + "; or give the calibration in a rig file")]
    if heard.calibration is None:
        return [Finding(Level.OK, name, f"no CameraInfo on {topic}: the rig file's calibration is used")]
    for width, height in sorted(heard.sizes):
        if (width, height) != (calibration.width, calibration.height):
            return [Finding(Level.ERROR, name, f"images are {width}x{height}, CameraInfo says {calibration.width}x"
                            f"{calibration.height}; publish both for the same size (binning and ROI included)")]
    return []


def place_findings(heard: Heard, motion: VehicleMotion) -> list[Finding]:
    """Whether TF, or the rig file, places one camera on the vehicle."""
    name = heard.camera.name
    frames = {heard.camera.frame_id} if heard.camera.frame_id else heard.frames
    found = []
    for frame in sorted(frames):
        try:
            motion.tree.lookup(motion.base_frame, frame, motion.tree.newest(frame))
        except InputError as error:
            if heard.camera.T_base_camera is not None:
                found.append(Finding(Level.OK, name, f"TF does not place '{frame}': the rig file does"))
                continue
            close = difflib.get_close_matches(frame, motion.tree.frames(), n=1)
            found.append(Finding(Level.ERROR, name, f"{error}" + (f"; did you mean '{close[0]}'?" if close else "")))
    return found


def clock_findings(heard: Sequence[Heard], offsets: Mapping[str, str]) -> list[Finding]:
    """Whether the cameras agree on the time. offsets: camera -> what is wrong, or ''."""
    return [Finding(Level.ERROR, one.camera.name, offsets[one.camera.name]) for one in heard
            if offsets.get(one.camera.name)]


def motion_findings(motion: VehicleMotion, topic: str, received: int, problem: str,
                    topics: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Whether ego motion is known."""
    if problem:
        return [Finding(Level.ERROR, "odometry", problem)]
    carrier = motion.tree.carrier(motion.base_frame)
    if not received and carrier is None:
        return [Finding(Level.WARNING, "odometry", f"nothing on {topic}{near(topic, topics, (ODOMETRY,))}, and TF does "
                        f"not move '{motion.base_frame}': every frame stands alone, without memory")]
    found = []
    if motion.breaks.count:
        found.append(Finding(Level.WARNING, "odometry", motion.breaks.newest))
    source = f"{topic}, {received} messages" if received else f"TF '{carrier}' -> '{motion.base_frame}'"
    return [*found, Finding(Level.OK, "odometry", source)]


def memory_findings(profile: str, segment: int | None, free: int | None, largest: int) -> list[Finding]:
    """Whether large images fit through shared memory. profile: file in use, '' = none; segment: its size, bytes, None
    = cannot be read; free: of /dev/shm, bytes; largest: of the raw images heard, bytes."""
    found = []
    if profile and segment is None:
        found.append(Finding(Level.ERROR, "shared memory", f"the profile {profile} cannot be read, or has no "
                             "segment_size"))
    elif largest > 500_000 and (segment or 0) < 2 * largest:
        now = f"{profile} gives {(segment or 0) / 2**20:.1f} MB" if profile else "no profile is set (0.5 MB)"
        found.append(Finding(Level.WARNING, "shared memory", f"images of {largest / 2**20:.1f} MB: {now}; set "
                             "FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_shared_memory.xml here and for drivers"))
    if free is not None and free < 35 * 2**20:
        found.append(Finding(Level.WARNING, "shared memory", f"/dev/shm has {free / 2**20:.0f} MB left, each process "
                             "takes 35 MB; start containers with --shm-size=1g"))
    return found or [Finding(Level.OK, "shared memory", profile or "default profile")]


def summary(heard: Heard) -> str:
    """One line of figures of a camera."""
    if not heard.arrivals:
        return "nothing heard"
    sizes = ", ".join(f"{width}x{height}" for width, height in sorted(heard.sizes)) or "no readable image"
    return (f"{heard.rate():.1f} Hz, {sizes} {'/'.join(sorted(heard.encodings))}, "
            f"{'CameraInfo' if heard.calibration else 'no CameraInfo'}, frame {', '.join(sorted(heard.frames)) or '?'}")
