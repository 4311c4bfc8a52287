"""The tables of docs/performance.md from what the benchmarks wrote.

    img2three benchmark --json simulated.json
    python benchmarks/against_octomap.py --json octomap.json
    python benchmarks/performance_page.py --octomap octomap.json docs/performance.md simulated.json [MORE.json ...]

Replaces what stands between ``<!-- figures -->`` and ``<!-- end of figures -->``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
ORDER = ("decode", "undistort_resize", "copy", "ego_mask", "align", "encode", "match", "refine", "rematch", "lift",
         "reconstruct", "points", "fuse", "decode_grid", "build_messages", "publish", "other")


def table(rows: list[list[str]]) -> list[str]:
    """Markdown, the first row as the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *body, ""]


def cell(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{found['median_ms']:.1f} ({found['p95_ms']:.1f})"


def of_benchmark(found: dict[str, Any]) -> list[str]:
    runs, (before, after) = found["runs"], found["load_average"]
    weights = ", ".join(f"`{name}` {digest[:12]}" for name, digest in found["weights_sha256"].items()) or "none"
    bag = next(digest for name, digest in found["bag_sha256"].items() if not name.endswith(".yaml"))
    width, height = runs[-1]["image_size"]
    lines = [f"### {Path(found['bag']).name}, engine `{found['engine']}`", "",
             f"{found['date']}, `{found['command']}`. Device {found['device']}: {found['processor']}. Backend "
             f"{found['backend']}. Images {width} x {height}, network {'x'.join(map(str, runs[-1]['network_size']))}. "
             f"Recording sha256 {bag[:12]}; weights {weights}. " + ", ".join(
                 f"{name} {version}" for name, version in found["versions"].items()) + ". "
             f"Load average {before} before, {after} after; above the number of cores others slowed this down.", "",
             "Milliseconds, median (95th percentile):", ""]
    rows = [["stage", *(f"{len(run['cameras'])} cameras" for run in runs)]]
    rows += [[name.replace("_", " "), *(cell(run["stages"].get(name)) for run in runs)] for name in ORDER
             if any(name in run["stages"] for run in runs)]
    rows += [[f"**{title}**", *(cell(run[key]) for run in runs)]
             for title, key in (("network", "network"), ("everything else", "rest"), ("total", "total"))]
    rows += [["throughput, Hz", *(f"{run['throughput_hz']:.2f}" for run in runs)],
             ["latency at 10 Hz", *(cell(run["at_10_hz"]) for run in runs)],
             ["replaced at 10 Hz", *(f"{run['replaced']:.0%}" for run in runs)],
             ["CPU time of a frame", *(f"{run['cpu_ms']:.0f}" for run in runs)],
             ["CPU use, cores", *(f"{run['cpu']:.2f}" for run in runs)],
             ["memory, peak MB", *(f"{run['memory_mb']:.0f}" for run in runs)],
             ["GPU memory, peak MB", *("no GPU" if run["gpu_memory_mb"] is None else f"{run['gpu_memory_mb']:.0f}"
                                       for run in runs)]]
    lines += table(rows)
    rows = [["against the common way", "common", "ours", "times faster", "what"]]
    rows += [[name, f"{one['common_ms']:.1f} ms", f"{one['ours_ms']:.1f} ms", f"{one['ratio']:.1f}", one["note"]]
             for name, one in found["common_way"].items()]
    join = found["join"]
    rows.append(["join", f"{join['exact_sets']} sets", f"{join['our_sets']} sets", "",
                 f"of {join['instants']} instants of {join['cameras']} cameras: equal stamps; "
                 f"{join['exact_us']:.1f} and {join['our_us']:.1f} us CPU for each image"])
    lines += table(rows)
    lines += [f"{name.replace('_', ' ')}: **not measured**: {one['not_measured']}\n" for name, one in found.items()
              if isinstance(one, dict) and "not_measured" in one]
    if "median_ms" in found.get("cloud_of_640000", {}):
        cloud = found["cloud_of_640000"]
        lines += [f"A cloud of {cloud['points']} points from arrays to published over {found['publishing']}: median "
                  f"{cloud['median_ms']:.1f} ms, fastest {cloud['fastest_ms']:.1f} ms, CPU "
                  f"{cloud['cpu_median_ms']:.1f} ms (target {cloud['target_ms']:.0f} ms).", ""]
    if "overhead" in found.get("live_node", {}):
        live = found["live_node"]
        lines += [f"The live node, {live['cameras']} cameras at {live['rate_hz']:.0f} Hz for {live['seconds']:.0f} s: "
                  f"{live['frames']} frames; pipeline {live['pipeline_cpu_s']:.1f} s CPU, executor and Fast DDS "
                  f"{live['executor_and_dds_cpu_s']:.1f} s ({live['executor_and_dds_cores']:.3f} cores): overhead "
                  f"{live['overhead']:.1%} (target {live['target']:.0%}).", ""]
    return lines


def of_octomap(found: dict[str, Any]) -> list[str]:
    lines = ["### Occupancy fusion beside OctoMap", "",
             f"`python benchmarks/against_octomap.py`: {found['points']} points of six 640 x 400 views, voxels of 0.4 "
             f"m, one thread, CPU time of a frame, median of {found['frames']}.", ""]
    rows = [["", "ms", "times ours", "times ours, with reading the grid out"]]
    for name, milliseconds in found["cpu_ms"].items():
        ratios = [found[key].get(name) for key in ("times_faster", "times_faster_with_reading")]
        rows.append([name, f"{milliseconds:.0f}", *("" if ratio is None else f"{ratio:.1f}" for ratio in ratios)])
    lines += table(rows)
    columns = list(next(iter(found["agreement"].values())))
    lines += ["Voxels of the grid:", "", *table([["", *columns], *([name, *(str(row[key]) for key in columns)]
                                                                  for name, row in found["agreement"].items())])]
    states = list(next(iter(found["surface_voxels"].values())))
    lines += ["Voxels that hold a part of the true street, as each calls them:", "", *table(
        [["", *states], *([who, *(str(row[key]) for key in states)] for who, row in found["surface_voxels"].items())])]
    return lines


def main() -> None:
    """Rewrite the figures of a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--octomap", type=Path)
    options = parser.parse_args()
    lines = [line for path in options.results for line in of_benchmark(json.loads(path.read_text()))]
    if options.octomap:
        lines += of_octomap(json.loads(options.octomap.read_text()))
    text = options.page.read_text()
    head, rest = text.split(BEGIN, 1)
    options.page.write_text("\n".join((head + BEGIN, "", *lines)).rstrip("\n") + "\n\n" + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()
