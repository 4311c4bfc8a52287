"""``img2three engines list | build | prune``: the cache of TensorRT engines.

torch and TensorRT are imported only inside, so that ``--help`` is instant.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..structures import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from ..runtime.engine_folder import Entry
    from ..runtime.engine_status import Machine

engines = typer.Typer(no_args_is_help=True, rich_markup_mode="rich",
                      help="TensorRT engines: build them before they are needed, see what is there, remove what is not "
                           "needed. See docs/tensorrt.md.")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML with settings to override")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="override one setting, PATH=VALUE; repeatable")]

_DAY, _MB = 86_400.0, 1e6


@engines.command("list")
def list_engines(config: ConfigFile = None, override: Overrides = None) -> None:
    """Show the engines in the cache, last used first, and which of them this machine can use.

    [bold]Example[/]

    img2three engines list --set runtime.cache_folder=/var/cache/img2three
    """
    from rich.console import Console

    from ..runtime.engine_folder import entries
    from ..runtime.engine_status import machine_here

    folder = _folder(config, override)
    with _readable(folder):
        found = entries(folder)
    if not found:
        typer.echo(f"no engines in '{folder}'")
        return
    console = Console()
    console.print(table(found, machine_here(), time.time()))
    console.print(f"{len(found)} engines, {sum(entry.size for entry in found) / _MB:.1f} MB in '{folder}'",
                  highlight=False, soft_wrap=True)


@engines.command()
def build(
    network: Annotated[str, typer.Option(help="as 'img2three export' names it, all, or an ONNX file that it "
                                         "wrote")] = "scene-encoder",
    rig: Annotated[Path | None, typer.Option(help="rig file with calibrations: an engine for each size of its cameras' "
                                             "images, all cameras of a size together")] = None,
    bag: Annotated[Path | None, typer.Option(help="recording: sizes as in its first frame; int8 is calibrated on "
                                             "it")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="instead: size of the network's images")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="images that go through together; default: the cameras of "
                                              "that size")] = None,
    precision: Annotated[str, typer.Option(help="fp32 | fp16 | int8")] = "fp16",
    compute_capability: Annotated[str | None, typer.Option(help="of another GPU, such as 8.9: TensorRT-RTX builds for "
                                                           "it without one")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="weights of the pointmap network")] = None,
    config: ConfigFile = None, override: Overrides = None,
) -> None:
    """Build the engines that a rig needs, so that the node starts at once.

    [bold]Examples[/]

    img2three engines build --rig rig.yaml

    img2three engines build --rig rig.yaml --precision int8 --bag recording/ --compute-capability 8.9
    """
    from ..nodes.config_file import configured
    from ..reconstruction.engine_build import BuildRequest, build_engines

    if precision not in ("fp32", "fp16", "int8"):
        raise InputError("parameter", f"--precision '{precision}' must be fp32, fp16 or int8")
    request = BuildRequest(network, rig, None if rig is not None or size is not None else bag, size, batch, precision,
                           compute_capability, checkpoint, bag)
    for engine in build_engines(request, configured(None, config, override), typer.echo):
        where = engine.path if engine.path is not None else "not stored"
        typer.echo(f"{'built' if engine.built else 'already there'}: {where}")


@engines.command()
def prune(
    older_than: Annotated[float | None, typer.Option(min=0.0, help="days without use")] = None,
    max_size: Annotated[float | None, typer.Option(min=0.0, help="MB that may remain; those longest unused go")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every engine")] = False,
    config: ConfigFile = None, override: Overrides = None,
) -> None:
    """Remove engines from the cache; damaged ones, and what killed builds left, always.

    [bold]Examples[/]

    img2three engines prune --older-than 30 --max-size 2000

    img2three engines prune --all
    """
    from ..runtime.engine_folder import prune as prune_folder

    folder = _folder(config, override)
    with _readable(folder):
        done = prune_folder(folder, older_than_s=None if older_than is None else older_than * _DAY,
                            max_bytes=None if max_size is None else int(max_size * _MB), everything=everything)
    for name in done.removed:
        typer.echo(f"removed: {name}")
    for name, why in done.kept:
        typer.echo(f"stays: {name}: {why}")
    typer.echo(f"{done.freed / _MB:.1f} MB freed in '{folder}'")


def table(found: list[Entry], machine: Machine, now: float) -> Table:
    """A row for each engine; now: seconds since 1970."""
    from rich.table import Table

    from ..runtime.engine_status import why_unusable

    shown = Table("network", "inputs", "precision", "for", "builder", "MB", "built", "used", "here")
    for entry in found:
        size = f"{entry.size / _MB:.1f}"
        if entry.record is None:
            shown.add_row(entry.stem, "", "", "", "", size, "", _ago(now - entry.used), f"[red]no[/]: {entry.problem}")
            continue
        key = entry.record.key
        reason = entry.problem or why_unusable(key, machine)
        target = f"{key.gpu} {key.compute_capability}" + ("" if key.driver == "any" else f", driver {key.driver}")
        inputs = ", ".join("x".join(map(str, shape)) for _, shape in key.shapes)
        shown.add_row(key.network, inputs, key.precision, target, key.builder, size, _ago(now - entry.record.built),
                      _ago(now - entry.used), f"[red]no[/]: {reason}" if reason else "[green]yes[/]")
    return shown


def _ago(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def _folder(config: Path | None, override: list[str] | None) -> Path:
    from ..nodes.config_file import configured
    from ..runtime.choose_backend import cache_folder

    return cache_folder(configured(None, config, override).runtime) / "engines"


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError("engine_cache", f"'{folder}' cannot be read: {error}") from error
