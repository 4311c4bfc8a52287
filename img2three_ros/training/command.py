"""``img2three train ...``: the command line of this room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import nested_to_paths, with_overrides
from ..fileio.yaml_files import parse_yaml, read_yaml
from ..structures import InputError
from .settings import PointmapTrainConfig, SceneTrainConfig, TrainConfig

app = typer.Typer(name="train", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
                  help="Train the networks.")

Output = Annotated[Path, typer.Option(help="folder for checkpoints, weights and metrics; an unfinished training in it "
                                      "goes on")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML with settings to override")]
Override = Annotated[list[str] | None, typer.Option("--set", help="override one setting, PATH=VALUE; repeatable")]
Init = Annotated[Path | None, typer.Option(help="start from these weights (safetensors)")]
Minutes = Annotated[float | None, typer.Option(help="stop, with a checkpoint, after this time")]


@app.callback()
def _rooms() -> None:
    """Train the networks."""


@app.command()
def depth(
    output: Output,
    config: ConfigFile = None,
    override: Override = None,
    init: Init = None,
    minutes: Minutes = None,
    bag: Annotated[list[Path] | None, typer.Option(help="train on this recording instead of the simulated world; "
                                                   "repeatable")] = None,
) -> None:
    """Train the depth network of engine [bold]scene[/], on the simulated world or on your own recordings.

    [bold]Examples[/]

    img2three train depth --config config/train_depth.yaml --output training/

    img2three train depth --output mine/ --init best.safetensors --bag drive1/ --bag drive2/

    torchrun --nproc-per-node 4 --no-python img2three train depth --output training/
    """
    from .depth_task import DepthTask
    from .loop import train
    from .sources import group_sources
    from .start import starting_network

    values = _values(config, init, minutes)
    if bag:
        values.update({"data.kind": "bags", "data.bags": [str(path) for path in bag]})
    values.update(_pair(text) for text in override or [])
    chosen: TrainConfig = with_overrides(TrainConfig(), values)
    train(DepthTask(chosen.objective), starting_network(chosen), *group_sources(chosen, output), output, chosen,
          report=lambda text: typer.echo(text))


@app.command()
def scene(
    output: Output,
    config: ConfigFile = None,
    override: Override = None,
    init: Init = None,
    minutes: Minutes = None,
    folder: Annotated[list[Path] | None, typer.Option(help="train on scenes in the layout of SEED4D / 6Img-to-3D below "
                                                      "this folder; repeatable")] = None,
) -> None:
    """Train the scene network (space around the vehicle, seen and hidden) on top of a depth network.

    [bold]Examples[/]

    img2three train scene --config config/train_scene.yaml --output training/

    img2three train scene --output mine/ --folder SEED4D/static/
    """
    from .loop import train
    from .scene_task import SceneTask
    from .sources import scene_sources
    from .start import starting_scene_network

    values = _values(config, init, minutes)
    if folder:
        values["folders"] = [str(path) for path in folder]
    values.update(_pair(text) for text in override or [])
    chosen: SceneTrainConfig = with_overrides(SceneTrainConfig(), values)
    depth_network, network = starting_scene_network(chosen)
    task = SceneTask(depth_network, network.config, chosen.objective, chosen.faults)
    train(task, network, *scene_sources(chosen), output, chosen, report=lambda text: typer.echo(text))


@app.command()
def pointmap(
    output: Output,
    config: ConfigFile = None,
    override: Override = None,
    init: Init = None,
    minutes: Minutes = None,
) -> None:
    """Train the network of engine [bold]pointmap[/] on pairs of views of the simulated world.

    [bold]Examples[/]

    img2three train pointmap --config config/train_pointmap.yaml --output training/

    img2three train pointmap --output matching/ --set network.descriptors=24 --set objective.metric=true
    """
    from .loop import train
    from .pointmap_task import PointmapTask
    from .sources import pair_sources
    from .start import starting_pointmap_network

    values = _values(config, init, minutes)
    values.update(_pair(text) for text in override or [])
    chosen: PointmapTrainConfig = with_overrides(PointmapTrainConfig(), values)
    train(PointmapTask(chosen.objective), starting_pointmap_network(chosen), *pair_sources(chosen), output, chosen,
          report=lambda text: typer.echo(text))


def read_settings(path: Path | None) -> dict[str, Any]:
    """Dotted paths and values of a YAML file. Raises InputError('parameter') if it cannot be read."""
    if path is None:
        return {}
    tree = read_yaml(path, "parameter", "config file") or {}
    if not isinstance(tree, Mapping):
        raise InputError("parameter", f"config file '{path}' must hold a mapping of settings")
    return nested_to_paths(tree)


def _values(config: Path | None, init: Path | None, minutes: float | None) -> dict[str, Any]:
    """Settings by dotted path, of the file and of the options that both trainings have."""
    values = read_settings(config)
    if init is not None:
        values["init"] = str(init)
    if minutes is not None:
        values["minutes"] = minutes
    return values


def _pair(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals:
        raise InputError("parameter", f"--set {text!r} must be PATH=VALUE, for example optimizer.learning_rate=0.0005")
    return path.strip(), parse_yaml(value, "parameter", f"--set {text!r}")
