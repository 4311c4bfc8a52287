"""``img2three check-rig``: the table, the file, the exit code.

torch is imported only inside, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import Config
from ..structures import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from .check_rig import RigCheck
    from .from_images import Stage
    from .rig_verdict import Finding

CheckInstants = Annotated[int, typer.Option("--instants", min=3, help="how many instants of the recording are "
                                            "compared; the median of them is judged")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="also write every figure as JSON")]

_COLOURS = {"plausible": "green", "suspicious": "bold red", "cannot be judged": "yellow"}


def check_rig_command(bag: Path, checkpoint: Path | None, instants: int, side: int | None, file: Path | None,
                      config: Config, stage: Stage, console: Console, cameras: Sequence[str] | None = None,
                      rig: Path | None = None) -> bool:
    """Check, print the table, write the file. Whether no camera is suspicious. Raises InputError like ``check_rig``."""
    from .images_command import checked_checkpoint, is_recording, read_network

    if not is_recording(bag):
        raise InputError("parameter", f"'{bag}' is no recording (rosbag2 folder, .mcap or .db3): check-rig compares "
                         "the calibration in a recording with its images")
    weights = checked_checkpoint(checkpoint, config)
    from .check_rig import CheckRequest, check_rig
    from .choose import choose_device
    from .from_images import ImageSettings

    ImageSettings(side=512 if side is None else side)  # a wrong value is told before the weights are read
    device = choose_device(config)
    network = read_network(weights, device, stage)
    request = CheckRequest(bag, instants, None if cameras is None else tuple(cameras), rig)
    settings = ImageSettings(side=side or network.config.image_side)
    found = check_rig(request, config, network, settings, device, stage)
    show(found, console)
    if file is not None:
        write_check(file, found)
    return not found.suspicious


def show(check: RigCheck, console: Console) -> None:
    """The table, with what its limits are."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{check.bag}: calibration against images, medians of {check.instants} instants"))
    for heading in ("camera", "verdict", "rotation deg", "focal %", "motion deg", "instants"):
        table.add_column(heading, justify="right" if heading.endswith(("deg", "%", "instants")) else "left",
                         no_wrap=heading in ("camera", "verdict"))
    for one in check.verdicts:
        seen = max((finding.instants for finding in (one.rotation, one.focal, one.motion) if finding), default=0)
        focal = "-" if one.focal is None else f"{100 * one.focal.value[0]:+.1f} ± {100 * one.focal.uncertainty:.1f}"
        table.add_row(one.camera, Text(one.verdict, _COLOURS[one.verdict]), _angle(one.rotation), focal,
                      _angle(one.motion), str(seen))
    console.print(table)
    for one in check.verdicts:
        console.print(f"{one.camera}: {one.reason}", markup=False, highlight=False, soft_wrap=True)
    limits = check.limits
    console.print(f"suspicious: more than {limits.rotation:g} deg, {100 * limits.focal:g} % of the focal length or "
                  f"{limits.motion:g} deg in the direction of motion (which counts where no other camera overlaps), "
                  f"more than {limits.deviations:g} of its own deviations (±), and more than twice what the other "
                  "cameras are off." + (f" Pairs lie {100 * check.misfit:.1f} % of their distance off the scenes."
                                        if check.misfit == check.misfit else ""),
                  markup=False, highlight=False, soft_wrap=True)
    for note in check.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if check.suspicious:
        console.print(f"suspicious: {', '.join(check.suspicious)}", style="bold red", markup=False, highlight=False)
    elif all(one.verdict != "plausible" for one in check.verdicts):
        console.print("nothing could be judged", style="yellow")


def write_check(path: Path, check: RigCheck) -> None:
    """Every figure as JSON: degrees, shares, optical frames. Raises InputError('output')."""
    content = {"bag": str(check.bag), "instants": check.instants, "misfit": _number(check.misfit),
               "limits": {"rotation_deg": check.limits.rotation, "focal": check.limits.focal,
                          "motion_deg": check.limits.motion, "least_instants": check.limits.least,
                          "deviations": check.limits.deviations},
               "suspicious": list(check.suspicious), "notes": list(check.notes),
               "cameras": {one.camera: {"verdict": one.verdict, "reason": one.reason,
                                        "rotation_deg": _finding(one.rotation), "focal": _finding(one.focal),
                                        "motion_deg": _finding(one.motion)} for one in check.verdicts}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error.strerror or error}") from error


def _finding(finding: Finding | None) -> dict[str, Any] | None:
    return None if finding is None else {
        "value": finding.value.tolist(), "size": finding.size, "uncertainty": finding.uncertainty,
        "threshold": finding.threshold, "instants": finding.instants, "verdict": finding.verdict}


def _number(value: float) -> float | None:
    return value if value == value else None


def _angle(finding: Finding | None) -> str:
    """Length with its uncertainty, and the axis that most of it is about."""
    if finding is None:
        return "-"
    axis = ("pitch", "yaw", "roll")[int(abs(finding.value).argmax())]
    return f"{finding.size:.1f} ± {finding.uncertainty:.1f} {axis}"
