"""``img2three align``: pointmaps of image pairs from a file, aligned, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..structures import InputError

PairsFile = Annotated[Path, typer.Argument(help="pairs: edges, pred1_pts3d, pred1_conf, pred2_pts3d_in_other_view, "
                                           "pred2_conf (.npz)", metavar="INPUT.npz")]


def align(
    pairs: PairsFile,
    output: Annotated[Path, typer.Option(help="file to write (.npz): c2w, K, depth, pw, loss, seconds, ...")],
    known_intrinsics: Annotated[bool, typer.Option("--known-intrinsics", help="take gt_K of the input as "
                                                   "exact")] = False,
    known_poses: Annotated[bool, typer.Option("--known-poses", help="take gt_c2w of the input as priors: they give "
                                              "the frame and the scale, and pull; they do not fix")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: those of torch")] = None,
    device: Annotated[str, typer.Option(help="where to compute: cpu | cuda")] = "cpu",
) -> None:
    """Join pointmaps of image pairs (DUSt3R, MASt3R, ...) into one scene with cameras, focals and depth.

    [bold]Examples[/]

    img2three align pairs.npz --output scene.npz

    img2three align pairs.npz --output scene.npz --known-intrinsics --known-poses --threads 1
    """
    import torch

    from .alignment import align as align_pairs
    from .archive import read_pairs, write_scene
    from .known import Known

    if threads is not None:
        torch.set_num_threads(threads)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("parameter", f"--device {device}: torch sees no CUDA device here")
    if device != "cpu" and not device.startswith("cuda"):
        raise InputError("parameter", f"--device {device!r} must be cpu or cuda")
    given = read_pairs(pairs, device)
    for wanted, held, flag, name in ((known_intrinsics, given.intrinsics, "--known-intrinsics", "gt_K"),
                                     (known_poses, given.cameras, "--known-poses", "gt_c2w")):
        if wanted and held is None:
            raise InputError("file", f"{flag} wants {name} in '{pairs}', which does not hold it")
    known = Known(intrinsics=list(given.intrinsics) if known_intrinsics and given.intrinsics is not None else None,
                  poses=list(given.cameras) if known_poses and given.cameras is not None else None)
    scene = align_pairs(given.pairs, known)
    write_scene(output, scene)
    unit = "metres" if scene.metric else "unknown unit (not metric)"
    focals = ", ".join(f"{K[0, 0]:.1f}" for K in scene.intrinsics)
    typer.echo(f"{output}: {len(scene.cameras)} images, {len(given.pairs.edges)} pairs, loss {scene.loss:.6f}, "
               f"{scene.seconds:.2f} s, {scene.iterations} steps, world in {unit}, focals {focals} px")
    for note in scene.notes:
        typer.echo(f"note: {note}")
    for image, (degrees, metres) in scene.pose_deviation.items():
        typer.echo(f"image {image}: {degrees:.2f} deg and {metres:.3f} {'m' if scene.metric else 'units'} from its "
                   "known pose")
