"""The scene representation on simulated drives that no training has seen: space seen and hidden, rays, novel views.

    python benchmarks/space.py [--space-weights FILE] [--weights FILE] [--output space.md --json space.json]

The eight held-out drives of three instants; the pipeline processes all, the last one is measured against the truth of
the simulated world, beside what the learned depth alone reaches. The page says what each figure means. Speed and
memory are those of the six cameras of the first drive, each pipeline in a process of its own: they mean something on
an idle machine only (CPU seconds always). Takes some minutes on two idle cores.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from img2three_ros.config import Config, with_overrides
from img2three_ros.evaluation.ablations import machine, weights_line
from img2three_ros.evaluation.held_out import held_out
from img2three_ros.evaluation.provenance import file_digests
from img2three_ros.evaluation.space_held_out import SpaceDrive, space_drives
from img2three_ros.evaluation.space_measure import measured_space, rendered_view, solid_voxels
from img2three_ros.evaluation.space_page import space_page, space_tree, table, verdict
from img2three_ros.geometry.voxel_grid import grid_size
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.reconstruction.scene_engine import space_weights_file, weights_file
from img2three_ros.reconstruction.scene_space import SceneSpace

FRAME_SECONDS, GRID_SECONDS, VIEW_SECONDS, PEAK_GB = 3.5, 0.6, 0.5, 4.0


@dataclass(frozen=True)
class Speed:
    """Medians of one pipeline. frame, frame_cpu: seconds of a whole frame with two keyframes; stages: ms of each;
    first_view, view: seconds of the first and of any other novel view of a scene; whole_grid: seconds to ask about
    every voxel of the grid; NaN without a scene. peak: resident memory, GB. threads: of torch."""

    frame: float
    frame_cpu: float
    stages: dict[str, float]
    first_view: float
    view: float
    whole_grid: float
    peak: float
    threads: int


def measure_speed(drive: SpaceDrive, config: Config, rounds: int) -> Speed:
    """Process the drive again and again; the last frame of each round but the first counts."""
    pipeline = ReconstructionPipeline(config)
    rows: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        pipeline.reset()
        for frame in drive.frames[:-1]:
            pipeline.process(frame)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        result = pipeline.process(drive.frames[-1])
        row = {"frame": time.perf_counter() - begin, "cpu": time.process_time() - begin_cpu}
        row.update({f"stage {name}": value for name, value in result.timings_ms.items()})
        if pipeline.space is not None:
            row.update(_scene_seconds(pipeline.space, drive))
        rows.append(row)
    median = {name: statistics.median(row[name] for row in rows[1:]) for name in rows[-1]}
    return Speed(median["frame"], median["cpu"],
                 {name[6:]: value for name, value in median.items() if name.startswith("stage ")},
                 *(median.get(name, float("nan")) for name in ("first view", "view", "whole grid")),
                 _peak(), torch.get_num_threads())


def _peak() -> float:
    """Peak resident memory of this process, GB. Not ``ru_maxrss``: on Linux that starts from the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024**2


def _scene_seconds(space: SceneSpace, drive: SpaceDrive) -> dict[str, float]:
    first, *others = [_seconds(rendered_view, space, view) for view in drive.views]
    return {"first view": first, "view": statistics.median(others), "whole grid": _seconds(solid_voxels, space, drive)}


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    begin = time.perf_counter()
    work(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of ``work`` in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def speed_page(with_space: Speed, without: Speed, cameras: int) -> str:
    """Markdown."""
    stages = list(dict.fromkeys((*with_space.stages, *without.stages)))
    rows = [("whole frame, s", f"{with_space.frame:.2f}", f"{without.frame:.2f}"),
            ("whole frame, CPU s", f"{with_space.frame_cpu:.2f}", f"{without.frame_cpu:.2f}"),
            *((f"{stage}, ms", *(f"{one.stages[stage]:.0f}" if stage in one.stages else "–"
                                 for one in (with_space, without))) for stage in stages),
            ("every voxel of the grid asked, s", f"{with_space.whole_grid:.2f}", "–"),
            ("320 x 192 novel view, the first of a scene, s", f"{with_space.first_view:.2f}", "–"),
            ("320 x 192 novel view, any other, s", f"{with_space.view:.2f}", "–"),
            ("peak memory, GB", f"{with_space.peak:.2f}", f"{without.peak:.2f}")]
    decoding = max(with_space.stages.get("complete", 0.0) / 1000.0, with_space.whole_grid)
    targets = [("whole frame", with_space.frame, FRAME_SECONDS, "s"),
               ("decoding the grid (the slower of stage complete and every voxel)", decoding, GRID_SECONDS, "s"),
               ("novel view (the first of a scene)", with_space.first_view, VIEW_SECONDS, "s"),
               ("peak memory", with_space.peak, PEAK_GB, "GB")]
    lines = [verdict(name, value, f"{value:.2f} {unit} (at most {limit:g})", value <= limit)
             for name, value, limit, unit in targets]
    return "\n\n".join([f"## Speed: {cameras} cameras, {with_space.threads} threads, medians",
                        table(("", "with the scene", "depth alone"), rows),
                        "\n".join([table(("", "reached", "met"), ()), *lines])])


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space-weights", default="", help="weights of the scene network; default: the shipped ones")
    parser.add_argument("--weights", default="", help="weights of the depth network; default: the shipped ones")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--drives", type=int, default=0, help="only the first so many; 0 = all")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads and processes; 0 = all")
    parser.add_argument("--rounds", type=int, default=5, help="frames whose time is taken; 0 = no speed")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--output", type=Path, help="Markdown file to write as well")
    parser.add_argument("--json", type=Path, help="figures for the model card")
    return parser.parse_args(arguments)


def main() -> None:
    """Render, measure, print."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    config = with_overrides(Config(), {
        "engine": "scene", "device": options.device, "threads": options.threads, "scene.space": True,
        "scene.weights": options.weights, "scene.space_weights": options.space_weights,
        "prepare.pixels": options.width * options.height})
    files = [weights_file(options.weights), space_weights_file(options.space_weights)]
    chosen = held_out(options.width, options.height)
    begin = time.perf_counter()
    drives = space_drives(chosen[:options.drives or len(chosen)], grid_size(config.occupancy),
                          processes=options.threads or len(os.sched_getaffinity(0)))
    print(f"{len(drives)} drives rendered in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    figures, names = [], [drive.name for drive in drives]
    for drive in drives:
        begin = time.perf_counter()
        figures.append(measured_space(drive, config))
        print(f"{drive.name}: measured in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    tree = {"run": {"drives": names, "weights_sha256": {name: digest for file in files
                                                        for name, digest in file_digests(file).items()}},
            **space_tree(names, figures)}
    page = "\n".join([
        f"{len(drives)} held-out simulated drives of {options.width} x {options.height}, the last of "
        f"{len(drives[0].frames)} instants, on {machine()}, {torch.get_num_threads()} threads.",
        *(f"{about}: {weights_line(file)}." for about, file in zip(("Depth", "Scene"), files, strict=True)), "",
        space_page(names, figures)])
    if options.rounds:
        speeds = [_apart(measure_speed, drives[0], with_overrides(config, {"scene.space": space}), options.rounds)
                  for space in (True, False)]
        page += "\n\n" + speed_page(*speeds, cameras=len(drives[0].frames[-1].images))
        tree["speed"] = {"scene": asdict(speeds[0]),
                         "depth": {name: value for name, value in asdict(speeds[1]).items() if value == value}}
    print(page)
    if options.output:
        options.output.write_text(page + "\n", encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
