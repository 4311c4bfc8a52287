"""The figures of the scene representation as one Markdown page and one tree for a model card."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .image_metrics import PictureScores
from .results import json_ready
from .space_measure import DEPTH, LOOKED_UP, POINTS, PUBLISHED, SCENE, SpaceFigures, pooled
from .space_metrics import RAY_THRESHOLDS, RayCounts, VoxelCounts
from .tables import short

VISIBLE_IOU, HIDDEN_IOU, HIDDEN_GAIN = 0.60, 0.35, 0.10
PSNR, SSIM, PSNR_GAIN = 19.0, 0.70, 2.0

VISIBLE, HIDDEN, HIDDEN_ABOVE = "visible", "hidden", "hidden, above the ground"

ABOUT = """\
* A voxel is **solid** if its centre lies in something solid, the ground and the inside of houses included: a surface
  that cuts a voxel before its centre leaves it empty. An answer that leaves a voxel unknown does not call it solid.
* **visible**: a camera at one of the drive's instants shows the centre, up to one voxel behind the surface it shows
  there. **hidden**: all other voxels, most of them in the ground or in houses. **above the ground**: the centre is more
  than 0.4 m above the true ground: the figures that the solid ground does not flatter. **in a picture**: hidden, but in
  the picture of a camera at the last instant, behind something.
* *depth alone, fused*: the pipeline with `scene.space: false`. *all below its ground solid*: the same, and everything
  below the ground it estimates: what knowing the ground is worth. *scene*: the representation asked at every centre.
  *published*: what the pipeline gives out, the fused evidence and predictions where that knows nothing.
* **Rays** of a LiDAR (32 rings, 1 degree) from where it is now and after about 8 and 16 m more, up to the first solid
  voxel; right if the distance is wrong by less than 1, 2 or 4 m. RayIoU of SparseOcc (Liu et al., 2024) without
  classes; a ray that should leave the grid and does not counts against the answer.
* **Novel views**: 320 x 192, 90 degrees, four from a half sphere around the vehicle and one from where it will drive.
  *coloured points*: the cloud of the depth alone, nearest first, its holes filled with the nearest colour or with the
  mean, whichever is nearer to the truth. *fitted*: after the best factor on each channel. LPIPS is not measured: its
  network is not available offline."""


def space_page(names: Sequence[str], figures: Sequence[SpaceFigures]) -> str:
    """All tables of drives ``names`` and their ``figures``, and whether the targets are met."""
    total = pooled(figures)
    parts = [ABOUT, "## Targets", _targets(total), "## Voxels, all drives together", *_voxel_tables(total),
             "## Rays, all drives together", _rays_table(total), "## Novel views, mean of all", _pictures_table(total),
             "## Drive by drive", *_drive_tables(names, figures)]
    return "\n\n".join(parts)


def space_tree(names: Sequence[str], figures: Sequence[SpaceFigures]) -> dict[str, Any]:
    """The same as plain JSON types: of all drives together, and of each under ``drives``."""
    drives = {name: _tree(one) for name, one in zip(names, figures, strict=True)}
    return {**_tree(pooled(figures)), "drives": drives}


def verdict(name: str, value: float, text: str, met: bool) -> str:
    """A line of the targets."""
    return f"| {name} | {text} | {'yes' if met else 'no' if value == value else 'not measured'} |"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *rows))


def _iou(figures: SpaceFigures, answer: str, region: str) -> float:
    return figures.voxels.get(answer, {}).get(region, VoxelCounts()).iou


def _targets(total: SpaceFigures) -> str:
    gain = _iou(total, SCENE, HIDDEN) - _iou(total, DEPTH, HIDDEN)
    gain_above = _iou(total, SCENE, HIDDEN_ABOVE) - _iou(total, DEPTH, HIDDEN_ABOVE)
    points, scene = total.picture(POINTS), total.picture(LOOKED_UP)
    rows: list[tuple[str, float, float, Callable[[float], str]]] = [
        ("visible: IoU of the scene", _iou(total, SCENE, VISIBLE), VISIBLE_IOU, lambda value: short(value, 3)),
        ("visible: IoU as published", _iou(total, PUBLISHED, VISIBLE), VISIBLE_IOU, lambda value: short(value, 3)),
        ("hidden: IoU of the scene", _iou(total, SCENE, HIDDEN), HIDDEN_IOU, lambda value: short(value, 3)),
        ("… above the ground", _iou(total, SCENE, HIDDEN_ABOVE), HIDDEN_IOU, lambda value: short(value, 3)),
        ("hidden: more than depth alone", gain, HIDDEN_GAIN, lambda value: short(value, 3)),
        ("… above the ground", gain_above, HIDDEN_GAIN, lambda value: short(value, 3)),
        ("novel views: PSNR", scene.psnr, PSNR, lambda value: f"{value:.1f} dB"),
        ("novel views: SSIM", scene.ssim, SSIM, lambda value: short(value, 3)),
        ("novel views: more than coloured points", scene.psnr - points.psnr, PSNR_GAIN,
         lambda value: f"{value:.1f} dB")]
    lines = [verdict(name, value, f"{as_text(value)} (at least {_target(target)})", value >= target)
             for name, value, target, as_text in rows]
    return "\n".join([table(("", "reached", "met"), ()), *lines])


def _target(value: float) -> str:
    return short(value, 2) if value < 1.0 else f"{value:g}"


def _voxel_tables(total: SpaceFigures) -> list[str]:
    regions = list(dict.fromkeys(region for regions in total.voxels.values() for region in regions))
    found = []
    for region in regions:
        rows = [(answer, short(counts[region].iou), short(counts[region].precision), short(counts[region].recall))
                for answer, counts in total.voxels.items()]
        solid = next(iter(total.voxels.values()))[region]
        about = f"**{region}** ({solid.right + solid.missed:,} solid voxels)"
        found.append(table((about, "IoU", "precision", "recall"), rows))
    return found


def _rays_table(total: SpaceFigures) -> str:
    head = ("", *(f"RayIoU, {limit:g} m" for limit in RAY_THRESHOLDS), "mean", "rays that meet something", "as told")
    return table(head, [(answer, *(short(counts.iou(limit)) for limit in RAY_THRESHOLDS), short(counts.mean),
                         f"{counts.truth:,}", f"{counts.told:,}") for answer, counts in total.rays.items()])


def _pictures_table(total: SpaceFigures) -> str:
    rows = []
    for kind in total.pictures:
        mean = total.picture(kind)
        rows.append((kind, f"{mean.psnr:.2f}", f"{mean.psnr_fitted:.2f}", short(mean.ssim)))
    return table(("", "PSNR, dB", "… fitted", "SSIM"), rows)


def _drive_tables(names: Sequence[str], figures: Sequence[SpaceFigures]) -> list[str]:
    """One table of IoU for each region, one of rays, one of pictures: a row for each drive."""
    found = []
    first = figures[0]
    for region in next(iter(first.voxels.values()), {}):
        rows = [(name, *(_iou_precision_recall(counts[region]) for counts in one.voxels.values()))
                for name, one in zip(names, figures, strict=True)]
        found.append(table((f"**{region}**: IoU (precision, recall)", *first.voxels), rows))
    found.append(table(("**rays**: mean RayIoU", *first.rays), [
        (name, *(short(counts.mean) for counts in one.rays.values()))
        for name, one in zip(names, figures, strict=True)]))
    found.append(table(("**novel views**: PSNR, SSIM", *first.pictures), [
        (name, *(_psnr_ssim(one.picture(kind)) for kind in one.pictures))
        for name, one in zip(names, figures, strict=True)]))
    return found


def _iou_precision_recall(counts: VoxelCounts) -> str:
    return f"{short(counts.iou)} ({short(counts.precision, 2)}, {short(counts.recall, 2)})"


def _psnr_ssim(scores: PictureScores) -> str:
    return f"{scores.psnr:.1f}, {short(scores.ssim, 2)}"


def _tree(figures: SpaceFigures) -> dict[str, Any]:
    tree: dict[str, Any] = json_ready({
        "voxels": {answer: {region: _voxel_tree(counts) for region, counts in regions.items()}
                   for answer, regions in figures.voxels.items()},
        "rays": {answer: _ray_tree(counts) for answer, counts in figures.rays.items()},
        "pictures": {kind: figures.picture(kind) for kind in figures.pictures}})
    return tree


def _voxel_tree(counts: VoxelCounts) -> dict[str, Any]:
    return {"iou": counts.iou, "precision": counts.precision, "recall": counts.recall, "right": counts.right,
            "wrong": counts.wrong, "missed": counts.missed}


def _ray_tree(counts: RayCounts) -> dict[str, Any]:
    return {**{f"iou_{limit:g}m": counts.iou(limit) for limit in RAY_THRESHOLDS}, "mean": counts.mean,
            "rays": counts.truth, "told": counts.told}
