"""``img2three doctor``: what is missing or wrong on a vehicle, before anything is reconstructed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..structures import InputError

if TYPE_CHECKING:
    from .doctor import Doctor
    from .doctor_findings import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor(
    rig: Annotated[Path | None, typer.Option(help="rig file: cameras and topics; default: every image topic that is "
                                                  "published")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="how long to listen")] = 5.0,
    node: Annotated[str, typer.Option(help="name of the reconstruction node, to ask its status")] = "/img2three",
    use_sim_time: Annotated[bool, typer.Option("--use-sim-time", help="take the time from /clock")] = False,
) -> None:
    """Listen to a vehicle and say, camera by camera, what is missing or wrong: topics, QoS, encodings, rates, clocks,
    CameraInfo, TF, odometry, shared memory.

    Exit code: 0 = nothing that keeps it from working (warnings included), 1 = something does, 2 = it could not listen.

    [bold]Examples[/]

    img2three doctor

    img2three doctor --rig rig.yaml --seconds 10 && reconstruction_node --ros-args -p rig_file:=rig.yaml
    """
    try:
        import rclpy

        from .doctor import Doctor, worst
    except ImportError as error:
        raise InputError("ros", f"doctor needs ROS 2 ({error}): source it, or pip install "
                         "'img2three_ros[ros]'") from error
    from ..ingest.rig import load_rig

    known = load_rig(rig) if rig is not None else None
    rclpy.init(args=[])
    try:
        made = Doctor(known, node, use_sim_time)
        try:
            made.listen(seconds)
            findings = made.findings(seconds)
            print_findings(made, findings)
        finally:
            made.destroy_node()
    finally:
        rclpy.try_shutdown()
    if worst(findings).value == "error":
        raise typer.Exit(1)


def print_findings(made: Doctor, findings: list[Finding]) -> None:
    """Each camera with its figures and findings, then the rest."""
    from rich.console import Console
    from rich.markup import escape

    from .doctor_findings import summary

    console = Console(soft_wrap=True, highlight=False)
    for name, heard in made.heard.items():
        own = [finding for finding in findings if finding.subject == name]
        bad = [finding for finding in own if finding.level.value != "ok"]
        console.print(f"[bold]{escape(name)}[/]  {escape(heard.camera.image_topic)}: {escape(summary(heard))}"
                      + ("" if bad else "  [green]ok[/]"))
        _print(console, own)
    for subject in dict.fromkeys(finding.subject for finding in findings if finding.subject not in made.heard):
        console.print(f"[bold]{escape(subject)}[/]")
        _print(console, [finding for finding in findings if finding.subject == subject])


def _print(console: object, findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape

    assert isinstance(console, Console)
    for finding in findings:
        console.print(f"  [{_COLOURS[finding.level.value]}]{finding.level.value}[/]: {escape(finding.text)}")
