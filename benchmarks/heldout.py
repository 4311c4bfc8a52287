"""Engine ``scene`` beside ``sweep`` on simulated drives that no training has seen, with the truth of every pixel.

    python benchmarks/heldout.py [--weights FILE] [--width 640 --height 384] [--output heldout.md --json heldout.json]

Eight drives of three instants: other scenes, rigs, speeds and light than each other; the last instant of each is
measured as ``img2three evaluate`` measures, but depth against every pixel at 3-60 m, not only where LiDAR hits. It is
depth that is measured, without the scene's corrections (``benchmarks/space.py`` measures the scene).
Takes four minutes on two cores.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import json
import sys
import time
from pathlib import Path

from img2three_ros.config import Config, with_overrides
from img2three_ros.evaluation.ablations import machine, weights_line
from img2three_ros.evaluation.comparison import comparison_table, drives_table, measure_engine, metrics_tree
from img2three_ros.evaluation.held_out import held_out, rendered
from img2three_ros.reconstruction.scene_engine import weights_file

TARGET_ABS_REL, TARGET_CALIBRATION = 0.05, 0.05


def main() -> None:
    """Render, measure both engines, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="", help="safetensors file; default: the shipped weights")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--drives", type=int, default=0, help="only the first so many; 0 = all")
    parser.add_argument("--instants", type=int, default=3, help="instants of a drive; the last is measured")
    parser.add_argument("--standing", action="store_true", help="the vehicle stands in all drives")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = all")
    parser.add_argument("--output", type=Path, help="Markdown file to write as well")
    parser.add_argument("--json", type=Path, help="metrics of engine scene, for the model card")
    options = parser.parse_args()
    shared = {"device": options.device, "threads": options.threads, "prepare.pixels": options.width * options.height}
    configs = [with_overrides(Config(), {**shared, "engine": "scene", "scene.weights": options.weights,
                                         "scene.space": False}),
               with_overrides(Config(), {**shared, "engine": "sweep"})]
    about = weights_line(weights_file(options.weights))
    begin = time.perf_counter()
    chosen = held_out(options.width, options.height, standing=options.standing)
    drives = rendered(chosen[:options.drives or len(chosen)], options.instants)
    print(f"{len(drives)} drives rendered in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    results = []
    for config in configs:
        begin = time.perf_counter()
        results.append(measure_engine(drives, config))
        print(f"{config.engine}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    depth = results[0].total.depth()
    page = "\n".join([
        f"{len(drives)} held-out simulated drives of {options.width} x {options.height}, the last of "
        f"{options.instants} instants, on {machine()}.", f"Weights: {about}.", "",
        comparison_table(*results), "", drives_table(drives, results), "",
        f"Targets: AbsRel {depth.overall.all.abs_rel:.3f} (at most {TARGET_ABS_REL:g}), calibration error "
        f"{depth.reliability.calibration_error:.3f} (at most {TARGET_CALIBRATION:g})."])
    print(page)
    if options.output:
        options.output.write_text(page + "\n", encoding="utf-8")
    if options.json:
        name = f"{len(drives)} simulated drives, held out"
        options.json.write_text(json.dumps(metrics_tree(name, results[0], configs[0]), indent=2) + "\n",
                                encoding="utf-8")


if __name__ == "__main__":
    main()
