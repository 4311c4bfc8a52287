"""How long a metre is in a scene of images, from the first of these that knows: a distance that the user gives; poses
of the cameras, the way that odometry measured and LiDAR; a metric network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..pointmap.clean import valid_pixels
from ..pointmap.known import Known
from ..pointmap.priors import OUTLIER
from ..pointmap.scale import (
    ScaleEstimate,
    combined_scale,
    scale_from_baselines,
    scale_from_lidar,
    scale_from_metric_pairs,
    scale_from_odometry,
)
from ..pointmap.scene import AlignedScene
from ..structures import InputError, Matrix
from .aligned_parts import AlignedPart, known_part, masks_part
from .pointmap_placement import USELESS, Trust, scale_doubt, told_ways

MEDIAN_DEPTH = 10.0
"""Units of the median depth in a world that is not metric."""

_DOUBTFUL = 0.25
_LIDAR_DOUBT = 0.02
"""Of its calibration and of what moved meanwhile, however many points there are."""
_SCALE_IN_DOUBT = 0.1
"""Relative deviation of the metre from which it is said in the notes."""


@dataclass(frozen=True, eq=False)
class Metres:
    """What may say how long a metre is.

    baseline: two images and the distance of their cameras, metres. metric_network: its pairs are in metres.
    rig: per image its pose on the vehicle at one instant, metres; None for others. ways: for every camera, per image
    its pose (4, 4) in the odometry frame, None for images of other cameras; only distances within one way are used.
    lidar: per image points (N, 3) in its optical frame, metres; None for others.
    centre: (3,) the point of the world that stays where it is when lengths change.
    """

    baseline: tuple[int, int, float] | None = None
    metric_network: bool = False
    rig: Sequence[Matrix | None] = ()
    ways: Sequence[Sequence[Matrix | None]] = ()
    lidar: Sequence[NDArray[np.floating] | None] = ()
    centre: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Scaled:
    """scene: in its final unit. unit: in words, with the source and its residual. scales: of all sources, measured in
    that unit. notes: on sources that disagree."""

    scene: AlignedScene
    unit: str
    scales: tuple[ScaleEstimate, ...] = ()
    notes: tuple[str, ...] = ()


def scaled(part: AlignedPart, metres: Metres, confidence: float, known_cameras: Known | None = None,
           masks: Mapping[int, Tensor] | None = None) -> Scaled:
    """The scene in metres if anything knows how long they are, else in its own unit. A metric scene keeps its unit,
    unless what pairs tell of the ways between cameras does not bear the known poses out: then those say no metre.

    metres: of the images of the part. confidence: that a pixel needs to count for the median depth. known_cameras,
    masks: of all images, as the alignment took them. Raises InputError('degenerate_baseline') for a baseline that gives
    no scale, InputError('no_points') for a scene without a confident pixel.
    """
    scene, masks = part.scene, masks_part(masks or {}, part.images)
    if metres.baseline is not None:
        estimate = _of_baseline(scene, metres.baseline)
        doubt = _baseline_doubt(part, estimate.metres, metres.baseline[2], masks)
        if doubt > USELESS:
            return _without_metre(scene, metres, confidence, "the baseline given is too short: what pairs tell of the "
                                  f"ways between cameras is uncertain by {100 * doubt:.0f} % of it")
        return _settled(scene, estimate, "the baseline given", metres, _doubt_notes(doubt), doubt)
    (known, notes), (lidar, doubts) = _of_poses(scene, metres), _of_lidar(part, metres, known_cameras)
    known, notes, why = (*known, *lidar), (*notes, *doubts), ""
    if scene.metric:
        doubt, why = _poses_doubt(part, known_part(known_cameras, part.images), masks)
        if not why:
            said = "; ".join(f"{one.source} {100 * (one.metres - 1):+.1f} % off" for one in known)
            unit = f"metres, from the known poses (uncertain by {100 * doubt:.1f} %){': ' + said if said else ''}"
            return Scaled(scene, unit, known, (*notes, *_doubt_notes(doubt)))
        known, notes = lidar, (*doubts, *((why,) if lidar else ()))  # the others are what the poses were made of
    if known:
        best, more = combined_scale(known) if len(known) > 1 else (known[0], ())
        return _settled(scene, best, best.source, metres, (*notes, *more))
    if metres.metric_network:
        found = scale_from_metric_pairs(scene)
        if found.residual > _DOUBTFUL:
            notes = (*notes, f"the metric network's pairs differ by {100 * found.residual:.0f} % in how long a metre "
                     "is: give a known distance (--baseline)")
        return _settled(scene, found, "a metric network", metres, (*notes, why) if why else notes)
    return _without_metre(scene, metres, confidence, why, notes)


def _without_metre(scene: AlignedScene, metres: Metres, confidence: float, why: str,
                   notes: tuple[str, ...] = ()) -> Scaled:
    own = _median_depth(scene, confidence)
    return Scaled(_stretched(scene, MEDIAN_DEPTH / own, metres.centre, metric=False),
                  f"arbitrary (not metric: the median depth is {MEDIAN_DEPTH:g}; "
                  f"{why or 'one known distance between two cameras, --baseline, makes it metres'})",
                  (), (*notes, f"not metric: {why}") if why else notes)


def _poses_doubt(part: AlignedPart, known: Known | None, masks: Mapping[int, Tensor]) -> tuple[float, str]:
    """Relative deviation of the metre of a scene that stands on known poses, and why they say none, if so."""
    known = known or Known()
    doubt = scale_doubt(part.pairs, part.scene, known.all_poses(len(part.images)), masks)
    trust = Trust(known.sigma_rotation, known.sigma_translation)
    against = sum(trust.contradiction(off) > OUTLIER for off in part.scene.pose_deviation.values())
    if 2 * against > len(part.scene.pose_deviation):
        return doubt, (f"the images contradict {against} of the {len(part.scene.pose_deviation)} known poses, which "
                       "then do not tell how long a metre is")
    if doubt > USELESS:
        return doubt, ("the known distances between cameras do not tell how long a metre is: what pairs tell of them "
                       f"is uncertain by {'all' if np.isinf(doubt) else format(100 * doubt, '.0f') + ' %'} of them")
    return doubt, ""


def _baseline_doubt(part: AlignedPart, scale: float, length: float, masks: Mapping[int, Tensor]) -> float:
    """How far pairs are off the ways between cameras in the scene, as a share of a known distance; at least."""
    told, found = told_ways(part.pairs, part.scene, list(part.scene.cameras), masks)
    return scale * float((((told - found) ** 2).sum(1) / 3.0).mean() ** 0.5) / length if len(told) else 0.0


def _doubt_notes(doubt: float) -> tuple[str, ...]:
    return () if doubt <= _SCALE_IN_DOUBT else (
        f"the metre is in doubt by {100 * doubt:.0f} %: pairs and known distances between cameras fit badly",)


def _settled(scene: AlignedScene, estimate: ScaleEstimate, source: str, metres: Metres,
             notes: tuple[str, ...] = (), doubt: float | None = None) -> Scaled:
    quality = (f"residual {100 * estimate.residual:.1f} % of {estimate.count} "
               f"{'pairs' if source == 'a metric network' else 'distances'}" if doubt is None else
               f"uncertain by {100 * doubt:.1f} % or more")
    unit = f"metres, from {source} ({quality})"
    found = replace(estimate, metres=1.0, source=source)
    return Scaled(_stretched(scene, estimate.metres, metres.centre), unit, (found,), notes)


def _of_baseline(scene: AlignedScene, baseline: tuple[int, int, float]) -> ScaleEstimate:
    poses: list[Matrix | None] = [None] * len(scene.cameras)
    one, other, length = baseline
    poses[one], poses[other] = np.eye(4), np.eye(4)
    poses[other][0, 3] = length  # type: ignore[index]  # only the distance counts
    return scale_from_baselines(scene, poses, least_baseline=1e-3)


def _of_poses(scene: AlignedScene, metres: Metres) -> tuple[tuple[ScaleEstimate, ...], tuple[str, ...]]:
    """Of the rig's baselines and of odometry, as far as each gives a scale."""
    found: list[ScaleEstimate] = []
    try:
        if metres.rig:
            found.append(scale_from_baselines(scene, metres.rig, least_baseline=0.1))
    except InputError:
        pass  # cameras on one spot say nothing, which is no fault
    ways = []
    for way in metres.ways:
        try:
            ways.append(scale_from_odometry(scene, way))
        except InputError:
            continue  # the vehicle stood, or there is one image
    if not ways:
        return tuple(found), ()
    odometry, notes = combined_scale(ways)
    spread = odometry.residual if len(ways) > 1 else ways[0].residual
    return (*found, replace(odometry, source="odometry", residual=spread)), notes


def _of_lidar(part: AlignedPart, metres: Metres, known_cameras: Known | None,
              ) -> tuple[tuple[ScaleEstimate, ...], tuple[str, ...]]:
    """Nothing where no image has enough points on confident depth. A camera that is not where it is said to be is no
    judge: its points fall on the wrong pixels."""
    known = known_part(known_cameras, part.images) or Known()
    trust = Trust(known.sigma_rotation, known.sigma_translation)
    displaced = {image for image, off in part.scene.pose_deviation.items() if trust.contradiction(off) > OUTLIER}
    points = [None if image in displaced else cloud for image, cloud in enumerate(metres.lidar)]
    try:
        found = scale_from_lidar(part.scene, points)
    except InputError:
        return (), ()
    if found.residual > _DOUBTFUL:
        return (), (f"LiDAR is not used for the scale: it and depth differ by {100 * found.residual:.0f} % from pixel "
                    "to pixel; is its place on the vehicle right, and is it a LiDAR?",)
    return (replace(found, uncertainty=max(found.uncertainty, _LIDAR_DOUBT)),), ()


def _stretched(scene: AlignedScene, scale: float, centre: NDArray[np.float64] | None,
               metric: bool = True) -> AlignedScene:
    """Lengths times ``scale`` around a point that stays."""
    if centre is None or not np.any(centre):
        return scene.rescaled(scale, metric=metric)
    there, back = np.eye(4), np.eye(4)
    there[:3, 3], back[:3, 3] = -centre, centre
    return scene.moved(there).rescaled(scale, metric=metric).moved(back)


def _median_depth(scene: AlignedScene, confidence: float) -> float:
    valid = valid_pixels(scene, confidence=confidence)
    depth = np.concatenate([own[sure] for own, sure in zip(scene.depth, valid, strict=True)])
    if not len(depth):
        raise nothing_sure(scene, confidence)
    return float(np.median(depth))


def nothing_sure(scene: AlignedScene, confidence: float) -> InputError:
    """What to say of a scene without a confident pixel."""
    most = max(float(np.nanmax(own)) for own in scene.confidence)
    return InputError("no_points", f"no pixel is confident enough: the highest confidence is {most:.1f}, wanted is "
                      f"more than {confidence:g} (--confidence). Do the images show one scene, and is the "
                      "checkpoint a trained one?")
