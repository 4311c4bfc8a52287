"""From residuals of several instants to a verdict on each camera: plausible, suspicious, or it cannot be judged.

The median over instants is compared with its own uncertainty (from the spread between instants) and with what the other
cameras are off: a network that is a degree off everywhere accuses nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rig_residuals import CameraResidual, Vector, collected

PLAUSIBLE, SUSPICIOUS, UNKNOWN = "plausible", "suspicious", "cannot be judged"
_COMMON = 3.0  # limits of motion from which a turn is believed that all cameras share
_OF_MEDIAN = 1.2533 * 1.4826  # standard error of a median from the median absolute deviation, of normal values


@dataclass(frozen=True)
class Limits:
    """rotation, motion: degrees; focal: share. least: instants that a judgement needs.

    A residual is suspicious above its limit, above ``deviations`` of its own uncertainty, and above twice what the
    other cameras are off (that counts up to the limit: it at most doubles it). What is so uncertain that a residual of
    twice the limit would not show is not judged.
    """

    rotation: float = 1.0
    focal: float = 0.05
    motion: float = 2.0
    least: int = 3
    deviations: float = 3.0


@dataclass(frozen=True, eq=False)
class Finding:
    """value: median over instants, (3,) degrees or (1,) share. uncertainty: standard deviation of it. instants: that
    tell. threshold: above which it is suspicious."""

    value: Vector
    uncertainty: float
    instants: int
    threshold: float = float("nan")
    verdict: str = UNKNOWN

    @property
    def size(self) -> float:
        """Its length."""
        return float(np.linalg.norm(self.value))


@dataclass(frozen=True, eq=False)
class CameraVerdict:
    """rotation, focal, motion: None = nothing seen of it. reason: in words."""

    camera: str
    verdict: str
    reason: str
    rotation: Finding | None = None
    focal: Finding | None = None
    motion: Finding | None = None


def judge(instants: Sequence[Mapping[str, CameraResidual]], cameras: Sequence[str], unknown: Mapping[str, str],
          limits: Limits) -> list[CameraVerdict]:
    """One verdict for each camera. unknown: camera -> why there is nothing to compare (no CameraInfo, no TF)."""
    own = {camera: collected(instants, camera) for camera in cameras}
    rotations = _findings({camera: [one.rotation for one in seen] for camera, seen in own.items()}, limits.rotation,
                          limits)
    focals = _findings({camera: [None if one.focal is None else np.array([one.focal]) for one in seen]
                        for camera, seen in own.items()}, limits.focal, limits)
    biases = {camera: float(np.median([one.motion_bias for one in seen])) if seen else 0.0
              for camera, seen in own.items()}
    motions = _findings({camera: [one.motion for one in seen] for camera, seen in own.items()}, limits.motion, limits,
                        biases)
    verdicts = []
    for camera in cameras:
        found = rotations.get(camera), focals.get(camera), motions.get(camera)
        if camera in unknown:
            verdicts.append(CameraVerdict(camera, UNKNOWN, unknown[camera], *found))
            continue
        partner = _only_partner(own[camera])
        verdict, reason = _verdict(*found, partner, motions.get(partner or ""), len(instants), limits)
        common = _common_turn(found[2], biases[camera], limits) if verdict == PLAUSIBLE else None
        verdicts.append(CameraVerdict(camera, SUSPICIOUS if common else verdict, common or reason, *found))
    return verdicts


def _common_turn(motion: Finding | None, bias: float, limits: Limits) -> str | None:
    """What to say of a camera that fits the others while all of them move in another direction than published: a turn
    that they share does not show in overlap. Only far above the limit, where it is no error of depth."""
    if motion is None or motion.verdict != SUSPICIOUS or motion.size < _COMMON * max(limits.motion, bias):
        return None
    return f"{turn_words(motion.value)}, by the direction in which it moves: all cameras together, for they fit"


def _findings(values: Mapping[str, Sequence[Vector | None]], limit: float, limits: Limits,
              biases: Mapping[str, float] | None = None) -> dict[str, Finding]:
    """biases: camera -> what instants may be off all alike, which their spread does not show."""
    found = {}
    for camera, given in values.items():
        seen = [value for value in given if value is not None]
        if seen:
            stacked = np.array(seen)
            median = np.median(stacked, axis=0)
            deviation = np.median(np.abs(stacked - median), axis=0)
            found[camera] = Finding(median, float(_OF_MEDIAN * np.linalg.norm(deviation) / len(seen) ** 0.5), len(seen))
    return {camera: _judged(finding, [other.size for name, other in found.items() if name != camera], limit, limits,
                            (biases or {}).get(camera, 0.0)) for camera, finding in found.items()}


def _judged(finding: Finding, others: Sequence[float], limit: float, limits: Limits, bias: float) -> Finding:
    usual = float(np.median(others)) if others else 0.0
    noise = limits.deviations * finding.uncertainty
    threshold = max(limit, noise, bias, 2.0 * min(usual, limit))
    if finding.instants < limits.least or noise > 2.0 * max(limit, bias):
        verdict = UNKNOWN
    elif finding.size > threshold:
        verdict = SUSPICIOUS
    else:
        verdict = PLAUSIBLE if finding.size <= max(limit, bias) else UNKNOWN
    return Finding(finding.value, finding.uncertainty, finding.instants, threshold, verdict)


def _only_partner(seen: Sequence[CameraResidual]) -> str | None:
    """The one other camera, if there was never more than one: the two accuse each other."""
    others = frozenset().union(*(one.others for one in seen)) if seen else frozenset()
    return next(iter(others)) if len(others) == 1 else None


def _verdict(rotation: Finding | None, focal: Finding | None, motion: Finding | None, partner: str | None,
             partners_motion: Finding | None, instants: int, limits: Limits) -> tuple[str, str]:
    accused, cleared = [], []
    if focal is not None and focal.verdict == SUSPICIOUS:
        accused.append(focal_words(focal))
    turned, reason = _turn_verdict(rotation, motion, partner, partners_motion, instants, limits)
    if turned == SUSPICIOUS:
        accused.append(reason)
    else:
        cleared.append(reason)
    if accused:
        return SUSPICIOUS, "; ".join(accused)
    if focal is not None and focal.verdict == UNKNOWN and turned == PLAUSIBLE:
        cleared.append(f"focal length not judged ({_why_unknown(focal, limits.focal, limits, instants, 100.0, ' %')})")
    return turned, "; ".join(cleared)


def _turn_verdict(rotation: Finding | None, motion: Finding | None, partner: str | None,
                  partners_motion: Finding | None, instants: int, limits: Limits) -> tuple[str, str]:
    if rotation is not None and rotation.verdict == SUSPICIOUS:
        if partner is None:
            return SUSPICIOUS, turn_words(rotation.value)
        if _fits_better(motion, partners_motion, limits):
            return PLAUSIBLE, f"off against {partner}, but its direction of motion fits and {partner}'s does not"
        if _fits_better(partners_motion, motion, limits):
            return SUSPICIOUS, (f"{turn_words(rotation.value)}, against {partner}, whose direction of motion fits "
                                "while its own does not")
        return SUSPICIOUS, (f"{turn_words(rotation.value)}, against {partner}: of two cameras the images cannot tell "
                            "which is wrong")
    if rotation is not None and rotation.verdict == PLAUSIBLE:
        return PLAUSIBLE, f"rotation within {rotation.threshold:.1f} deg"
    # Overlap measures a turn more directly: where it does not see at least half of what motion claims, that is no turn.
    denied = (rotation is not None and motion is not None and rotation.instants >= limits.least
              and float(np.linalg.norm(rotation.value - motion.value)) > 0.5 * motion.size)
    if motion is not None and motion.verdict == SUSPICIOUS and not denied:
        return SUSPICIOUS, f"{turn_words(motion.value)}, by the direction in which it moves"
    why = ("no instant could be aligned" if not instants else
           "no overlap with another camera" if rotation is None else
           _why_unknown(rotation, limits.rotation, limits, instants, 1.0, " deg"))
    fine = motion is not None and motion.threshold <= 2.0 * limits.motion and (
        rotation is None or rotation.size <= limits.rotation)
    if motion is not None and motion.verdict == PLAUSIBLE and fine:
        return PLAUSIBLE, f"direction of motion fits within {motion.threshold:.1f} deg ({why})"
    return UNKNOWN, why + (", and no motion" if motion is None else ", and its direction of motion tells no more")


def _fits_better(one: Finding | None, other: Finding | None, limits: Limits) -> bool:
    """Whether one direction of motion fits and the other clearly less."""
    return (one is not None and other is not None and one.verdict == PLAUSIBLE
            and other.size > max(limits.motion, 2.0 * one.size))


def _why_unknown(finding: Finding, limit: float, limits: Limits, instants: int, factor: float, unit: str) -> str:
    if finding.instants < limits.least:
        return f"compared in {finding.instants} of {instants} instants, {limits.least} are the least"
    if limits.deviations * finding.uncertainty > 2.0 * limit:
        return f"instants disagree: uncertain by {factor * finding.uncertainty:.1f}{unit}, more of them help"
    return (f"{factor * finding.size:.1f}{unit} off, more than {factor * limit:g}{unit}, but not clear of noise "
            f"({factor * finding.threshold:.1f}{unit})")


def turn_words(rotation: NDArray[np.float64]) -> str:
    """A rotation vector in an optical frame (x right, y down, z forward), degrees, in words."""
    x, y, z = rotation
    axis = int(np.argmax(np.abs(rotation)))
    way = (("up" if x > 0 else "down") + " (pitch)", ("right" if y > 0 else "left") + " (yaw)",
           ("clockwise" if z > 0 else "counter-clockwise") + " (roll)")[axis]
    return (f"the images see it turned {float(np.linalg.norm(rotation)):.1f} deg against TF, mostly "
            f"{'to the ' if axis == 1 else ''}{way}")


def focal_words(focal: Finding) -> str:
    """A focal residual in words."""
    off = 100.0 * float(focal.value[0])
    return f"the images say a focal length {abs(off):.1f} % {'longer' if off > 0 else 'shorter'} than CameraInfo's"
