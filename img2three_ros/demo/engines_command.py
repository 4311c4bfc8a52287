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
    precision: Annotated[str | None, typer.Option(help="fp32 | fp16 | int8; default: runtime.precision, and fp16 if "
                                                  "that is auto")] = None,
    compute_capability: Annotated[str | None, typer.Option(help="of another GPU, such as 8.9: TensorRT-RTX builds for "
                                                           "it without one")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="weights of the pointmap network")] = None,
    only_calibrate: Annotated[bool, typer.Option("--only-calibrate", help="with int8: write the calibrated network "
                                                 "(for ONNX Runtime), build no engine of it")] = False,
    config: ConfigFile = None, override: Overrides = None,
) -> None:
    """Build the engines that a rig needs, so that the node starts at once.

    [bold]Examples[/]

    img2three engines build --rig rig.yaml

    img2three engines build --rig rig.yaml --precision int8 --bag recording/ --compute-capability 8.9
    """
    from ..nodes.config_file import configured
    from ..reconstruction.engine_build import BuildRequest, build_engines

    request = BuildRequest(network, rig, bag, size, batch, precision, compute_capability, checkpoint,
                           only_calibrate)
    for engine in build_engines(request, configured(None, config, override), typer.echo):
        where = engine.path if engine.path is not None else "not stored"
        typer.echo(f"{'built' if engine.built else 'already there'}: {where}")


@engines.command()
def prune(
    older_than: Annotated[float | None, typer.Option(min=0.0, help="days without use")] = None,
    max_size: Annotated[float | None, typer.Option(min=0.0, help="MB that may remain; those longest unused go, "
                                                   "engines first")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every engine and network")] = False,
    config: ConfigFile = None, override: Overrides = None,
) -> None:
    """Remove engines and exported networks from the cache; damaged engines (by checksum), and what killed builds left,
    always. A network from which an engine was made that stays, stays with it.

    [bold]Examples[/]

    img2three engines prune --older-than 30 --max-size 2000

    img2three engines prune --all
    """
    from ..runtime.engine_folder import entries
    from ..runtime.engine_folder import prune as prune_folder
    from ..runtime.network_folder import prune_networks

    folder = _folder(config, override)
    age = None if older_than is None else older_than * _DAY
    limit = None if max_size is None else int(max_size * _MB)
    with _readable(folder):
        done = prune_folder(folder, older_than_s=age, max_bytes=limit, everything=everything)
        left = entries(folder, checksums=False)
    networks = folder.with_name("onnx")
    with _readable(networks):
        needed = [entry.record.key.onnx_sha256 for entry in left if entry.record is not None]
        room = None if limit is None else max(0, limit - sum(entry.size for entry in left))
        also = prune_networks(networks, older_than_s=age, max_bytes=room, everything=everything, needed=needed)
    for name in (*done.removed, *also.removed):
        typer.echo(f"removed: {name}")
    for name, why in (*done.kept, *also.kept):
        typer.echo(f"stays: {name}: {why}")
    typer.echo(f"{(done.freed + also.freed) / _MB:.1f} MB freed in '{folder.parent}'")


def table(found: list[Entry], machine: Machine, now: float) -> Table:
    """A row for each engine; now: seconds since 1970."""
    from rich.markup import escape
    from rich.table import Table

    from ..runtime.engine_key import ANY
    from ..runtime.engine_status import why_unusable

    shown = Table("engine", "for", "built by", "MB", "built, used", "usable here", show_lines=True)
    for entry in found:
        size, used = f"{entry.size / _MB:.1f}", _ago(now - entry.used)
        if entry.record is None:
            shown.add_row(entry.stem, "", "", size, used, f"[red]no[/]: {escape(entry.problem)}")
            continue
        key = entry.record.key
        reason = entry.problem or why_unusable(key, machine)
        inputs = ", ".join("x".join(map(str, shape)) for _, shape in key.shapes)
        target = key.compute_capability if key.gpu == ANY else f"{key.gpu}, {key.compute_capability}"
        driver = "" if key.driver == ANY else f"\ndriver {key.driver}"
        shown.add_row(f"{key.network} {key.precision}\n{inputs}", f"{escape(target)}{escape(driver)}",
                      key.builder.replace(" ", "\n"), size, f"{_ago(now - entry.record.built)}\n{used}",
                      f"[red]no[/]: {escape(reason)}" if reason else "[green]yes[/]")
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
