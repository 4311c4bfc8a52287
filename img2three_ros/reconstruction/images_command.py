"""``img2three reconstruct --engine pointmap``: the door for images without calibration, and for recordings.

torch is imported only inside, so that ``--help`` is instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import Config
from ..structures import InputError

if TYPE_CHECKING:
    import torch

    from ..models.pointmap_network import PointmapNetwork
    from .from_images import Stage

PUBLISHED = ("DUSt3R_ViTLarge_BaseDecoder_512_dpt", "DUSt3R_ViTLarge_BaseDecoder_512_linear",
             "DUSt3R_ViTLarge_BaseDecoder_224_linear", "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric")
WHICH = (f"These work: {', '.join(PUBLISHED)}, as .pth or as the Hugging Face folder of that name by naver "
         "(config.json and model.safetensors); or a file of save_pointmap_network. The published ones are under "
         "CC BY-NC-SA 4.0: for non-commercial use only (MASt3R's under further terms of its data too: read its "
         "CHECKPOINTS_NOTICE). None come with this package: download one, put it anywhere, for example in "
         "~/.cache/img2three/, and give its path: "
         "--checkpoint ~/.cache/img2three/DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth")

Checkpoint = Annotated[Path | None, typer.Option(help="engine pointmap: weights of DUSt3R or MASt3R (.pth, Hugging "
                                                 "Face folder, .safetensors); none come with the package")]
Graph = Annotated[str | None, typer.Option(help="engine pointmap: pairs of images: complete | window; default: "
                                           "complete up to 12 images")]
Window = Annotated[int | None, typer.Option(min=1, help="engine pointmap: with how many images before it each is "
                                            "paired; default 4")]
Baseline = Annotated[tuple[str, str, float] | None, typer.Option(
    metavar="A B METRES", help="engine pointmap: distance between the cameras of two images (file names, or numbers "
    "from 0): makes the result metric")]
Size = Annotated[int | None, typer.Option(help="engine pointmap: long side of the images for the network, pixels; "
                                          "default: the checkpoint's (512 or 224)")]
Mesh = Annotated[bool, typer.Option("--mesh", help="engine pointmap: scene.glb holds surfaces, not points")]
At = Annotated[float | None, typer.Option(help="engine pointmap, of a recording: the instant so many seconds after the "
                                          "first frame; default: the last")]
FrameNumber = Annotated[int | None, typer.Option("--frame", help="engine pointmap, of a recording: the instant by the "
                                                 "number of its frame, from 0")]
Instants = Annotated[int | None, typer.Option(min=1, help="engine pointmap, of a recording: how many instants, about 1 "
                                              "m apart, the chosen one included; default: for about 12 images")]
Confidence = Annotated[float | None, typer.Option(min=1.0, help="engine pointmap: confidence that a pixel needs to be "
                                                  "kept, 1 = knows nothing; default 3")]


@dataclass(frozen=True)
class ImageOptions:
    """What the command line says to engine pointmap; None or False = not said."""

    checkpoint: Path | None = None
    graph: str | None = None
    window: int | None = None
    baseline: tuple[str, str, float] | None = None
    size: int | None = None
    confidence: float | None = None
    mesh: bool = False
    at: float | None = None
    frame: int | None = None
    instants: int | None = None

    def given(self) -> list[str]:
        """Names of the options that were said."""
        return [f"--{name}" for name, value in vars(self).items() if value is not None and value is not False]


def reconstruct_command(inputs: Sequence[Path], output: Path, options: ImageOptions, config: Config, stage: Stage,
                        cameras: tuple[str, ...] | None = None, rig: Path | None = None) -> str:
    """Images, or an instant of a recording, to the folder ``output``; the summary.

    cameras, rig: of a recording. Raises InputError, see ``reconstruct_images`` and ``reconstruct_bag_images``.
    """
    recorded = [path for path in inputs if is_recording(path)]
    if recorded and len(inputs) > 1:
        raise InputError("parameter", f"engine pointmap takes one recording, or images: {len(inputs)} paths are given, "
                         f"and '{recorded[0]}' is a recording")
    of_recording = [f"--{name}" for name, value in (("at", options.at), ("frame", options.frame), (
        "instants", options.instants), ("cameras", cameras), ("rig", rig)) if value is not None]
    if of_recording and not recorded:
        raise InputError("parameter", f"{', '.join(of_recording)}: for recordings only, not for images")
    from ..fileio.image_files import find_images
    from .choose import choose_device
    from .from_bag_images import BagRequest, reconstruct_bag_images
    from .from_images import ImageSettings, reconstruct_images
    from .image_exports import export_images
    from .instant import Choice

    weights = checked_checkpoint(options.checkpoint, config)
    chosen = {"side": options.size, "graph": options.graph, "window": options.window, "baseline": options.baseline,
              "confidence": options.confidence}
    said = {name: value for name, value in chosen.items() if value is not None}
    ImageSettings(**said)  # type: ignore[arg-type]  # wrong values are told before the weights are read
    if recorded:
        request = BagRequest(recorded[0], Choice(options.frame, options.at), options.instants, cameras, rig)
    else:
        paths = find_images(inputs)
    device = choose_device(config)
    network = read_network(weights, device, stage)
    settings = ImageSettings(**{"side": network.config.image_side, "metric_network": network.config.metric,
                                **said})  # type: ignore[arg-type]
    result = (reconstruct_bag_images(request, config, network, settings, device, stage) if recorded else
              reconstruct_images(paths, network, settings, device, stage))
    with stage("writing") as progress:
        return export_images(output, result, settings.most_points, progress, options.mesh)


def checked_checkpoint(given: Path | None, config: Config) -> Path:
    """The file given, else that of the configuration. Raises InputError('checkpoint') that says which files work, if
    there is none or it is not there."""
    checkpoint = given or (Path(config.pointmap.checkpoint).expanduser() if config.pointmap.checkpoint else None)
    if checkpoint is None:
        raise InputError("checkpoint", f"engine pointmap needs a network, and no --checkpoint is given. {WHICH}")
    if not checkpoint.exists():
        raise InputError("checkpoint", f"engine pointmap: there is no '{checkpoint}'. {WHICH}")
    return checkpoint


def read_network(checkpoint: Path, device: torch.device, stage: Stage) -> PointmapNetwork:
    """The network of a checkpoint, on a device. Raises InputError('checkpoint')."""
    from ..models.pointmap_network import load_pointmap_network

    with stage("reading weights"):
        return load_pointmap_network(checkpoint).to(device)


def only_bag(inputs: Sequence[Path], engine: str, options: ImageOptions) -> Path:
    """The one recording that the other engines take. Raises InputError for images and for options of pointmap."""
    from ..fileio.image_files import looks_like_image

    remedy = "for images without calibration: --engine pointmap --checkpoint FILE"
    images = [path for path in inputs if looks_like_image(path)
              or (path.is_dir() and not is_recording(path) and any(map(looks_like_image, path.iterdir())))]
    if images:
        raise InputError("engine", f"engine {engine} takes a recording with calibrated cameras, and '{images[0]}' is "
                         f"{'a folder of images' if images[0].is_dir() else 'an image'}; {remedy}")
    if len(inputs) > 1:
        raise InputError("parameter", f"engine {engine} takes one recording, and {len(inputs)} paths are given; "
                         f"{remedy}")
    if options.given():
        raise InputError("parameter", f"{', '.join(options.given())}: for engine pointmap only, not for {engine}")
    return inputs[0]


def is_recording(path: Path) -> bool:
    """A rosbag2 file, or a folder that holds one."""
    endings = (".mcap", ".db3", ".bag")
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(inside.suffix in endings for inside in path.iterdir())
    return path.suffix in endings
