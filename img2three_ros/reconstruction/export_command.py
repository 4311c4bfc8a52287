"""``img2three export``: networks as ONNX files, for other runtimes and for building engines ahead of time.

torch is imported only inside, so that ``--help`` is instant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..structures import CameraCalibration, InputError

if TYPE_CHECKING:
    from ..runtime.parts import Part

NETWORKS = ("scene-encoder", "scene-regulariser", "scene-volume", "scene-decoder", "pointmap-encoder")
_SCENE_MULTIPLE, _POINTMAP_MULTIPLE = 32, 16
_USUAL = (384, 640)

Size = tuple[int, int]


def export(
    output: Annotated[Path, typer.Option(help="folder for the ONNX files")],
    network: Annotated[str, typer.Option(help=f"{' | '.join(NETWORKS)} | all")] = "scene-encoder",
    size: Annotated[str | None, typer.Option(metavar="WxH", help="of the images the network works on, pixels; default: "
                                             "640x384, or as the rig or bag says")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="images that go through together; default: cameras of that "
                                              "size in the rig or bag, otherwise 1, which is what the engine takes on "
                                              "a CPU")] = None,
    rig: Annotated[Path | None, typer.Option(help="rig file: one file for each size of its cameras' images")] = None,
    bag: Annotated[Path | None, typer.Option(help="recording: the same, by its first frame")] = None,
    pixels: Annotated[int, typer.Option(min=4096, help="with --rig or --bag: prepare.pixels")] = 256_000,
    weights: Annotated[str, typer.Option(help="scene.weights; default: those of the package")] = "",
    space_weights: Annotated[str, typer.Option(help="scene.space_weights; default: those of the package")] = "",
    checkpoint: Annotated[Path | None, typer.Option(help="of the pointmap network; none comes with the "
                                                    "package")] = None,
) -> None:
    """Write networks as ONNX files: static shapes, weights inside, checked against torch, described in their metadata.

    [bold]Examples[/]

    img2three export --network scene-encoder --output networks/

    img2three export --network all --rig rig.yaml --output networks/
    """
    from ..runtime.export import export_part

    sizes = sizes_of(size, rig, bag, pixels)
    for part in parts_of(network, sizes, batch, weights, space_weights, checkpoint):
        exported = export_part(part, output / f"{_file_name(part)}.onnx")
        shown = "; ".join(f"{spec.name} {'x'.join(map(str, spec.shape))}" for spec in exported.outputs)
        given = "; ".join(f"{spec.name} {'x'.join(map(str, spec.shape))}" for spec in exported.inputs)
        typer.echo(f"{exported.path}: {exported.path.stat().st_size / 1e6:.1f} MB, opset {exported.opset}, weights "
                   f"{exported.weights[:12]}, {given} ({exported.normalisation}) -> {shown}")


def parts_of(network: str, sizes: Counter[Size], batch: int | None, weights: str, space_weights: str,
             checkpoint: Path | None) -> Iterable[Part]:
    """The networks that are asked for, one after the other. Raises InputError."""
    from ..runtime import parts

    if network not in (*NETWORKS, "all"):
        raise InputError("parameter", f"--network '{network}' is not known; choose one of: {', '.join(NETWORKS)}, all")
    wanted = [name for name in NETWORKS if network in (name, "all")]
    if network == "all" and checkpoint is None:
        wanted.remove(parts.POINTMAP_ENCODER)
    if parts.SCENE_ENCODER in wanted or parts.SCENE_REGULARISER in wanted:
        from ..models.depth_weights import load_depth_network
        from .scene_engine import weights_file

        depth = load_depth_network(weights_file(weights))
        for name, make in ((parts.SCENE_ENCODER, parts.scene_encoder),
                           (parts.SCENE_REGULARISER, parts.scene_regulariser)):
            if name in wanted:
                for side, cameras in _padded(sizes, _SCENE_MULTIPLE).items():
                    yield make(depth, side, batch or cameras)
    if parts.SCENE_VOLUME in wanted or parts.SCENE_DECODER in wanted:
        from ..models.scene_weights import load_scene_network
        from .scene_engine import space_weights_file

        scene = load_scene_network(space_weights_file(space_weights))
        if parts.SCENE_VOLUME in wanted:
            yield parts.scene_volume(scene)
        if parts.SCENE_DECODER in wanted:
            yield parts.scene_decoder(scene)
    if parts.POINTMAP_ENCODER in wanted:
        from ..models.pointmap_network import load_pointmap_network

        if checkpoint is None:
            raise InputError("checkpoint", "--network pointmap-encoder needs --checkpoint: no weights of it come with "
                             "the package")
        pointmap = load_pointmap_network(checkpoint)
        for side, cameras in _padded(sizes, _POINTMAP_MULTIPLE).items():
            yield parts.pointmap_encoder(pointmap, side, batch or cameras)


def sizes_of(size: str | None, rig: Path | None, bag: Path | None, pixels: int) -> Counter[Size]:
    """(height, width) of the images that the networks get, and how many cameras have it. Raises InputError."""
    if sum(given is not None for given in (size, rig, bag)) > 1:
        raise InputError("parameter", "of --size, --rig and --bag only one can be given")
    if rig is not None:
        from ..ingest.rig_file import load_rig

        cameras = load_rig(rig).cameras
        without = [camera.name for camera in cameras if camera.calibration is None]
        if without:
            raise InputError("rig_file", f"rig file '{rig}' does not say how large the images of {', '.join(without)} "
                             "are (no calibration); give --bag or --size")
        return _network_sizes((camera.calibration for camera in cameras if camera.calibration is not None), pixels)
    if bag is not None:
        from ..ingest.bag_frames import read_frames

        frame = next(read_frames(bag), None)
        if frame is None:
            raise InputError("bag", f"'{bag}' holds no frame of which sizes could be read; give --size")
        return _network_sizes((image.calibration for image in frame.images), pixels)
    if size is None:
        return Counter([_USUAL])
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if not found or not int(found[1]) or not int(found[2]):
        raise InputError("parameter", f"--size '{size}' must be WIDTHxHEIGHT in pixels, for example 640x384")
    return Counter([(int(found[2]), int(found[1]))])


def _network_sizes(calibrations: Iterable[CameraCalibration], pixels: int) -> Counter[Size]:
    from ..geometry.image_size import network_size

    sizes = (network_size(calibration, pixels) for calibration in calibrations)
    return Counter((height, width) for width, height in sizes)


def _padded(sizes: Counter[Size], multiple: int) -> Counter[Size]:
    """Sizes rounded up to what a network takes."""
    padded: Counter[Size] = Counter()
    for (height, width), cameras in sizes.items():
        padded[-(-height // multiple) * multiple, -(-width // multiple) * multiple] += cameras
    return padded


def _file_name(part: Part) -> str:
    """Network and, where it takes images or maps of them, how many of which size."""
    shape = part.inputs[0].shape
    if len(shape) < 4 or shape[1] != 3:
        return f"{part.network}-{'x'.join(map(str, shape))}"
    return f"{part.network}-{shape[3]}x{shape[2]}-{shape[0]}"
