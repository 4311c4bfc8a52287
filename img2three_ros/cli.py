"""The doors of the command line: ``img2three demo | reconstruct | render | evaluate | simulate | train | ...``.

Heavy parts are imported inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .config import Config, set_thread_waiting
from .demo.engines_command import engines
from .nodes.doctor_command import doctor
from .pointmap.command import align
from .reconstruction.check_rig_command import CheckInstants, JsonFile
from .reconstruction.export_command import export
from .reconstruction.images_command import (
    At,
    Baseline,
    Checkpoint,
    Confidence,
    FrameNumber,
    Graph,
    ImageOptions,
    Instants,
    Mesh,
    Size,
    Window,
)
from .structures import InputError

app = typer.Typer(
    name="img2three", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    help="A few camera images of a vehicle into metric 3D: live in ROS 2, offline from a rosbag2, measured "
         "against LiDAR.",
)
console, errors = Console(), Console(stderr=True)

Bag = Annotated[Path, typer.Argument(help="rosbag2 folder or .mcap/.db3 file", metavar="BAG")]
Engine = Annotated[str | None, typer.Option("--engine", help="reconstruction engine: scene | sweep | pointmap | "
                                                   "mapanything; default: that of the configuration")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML with settings to override")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="override one setting, PATH=VALUE; repeatable")]
Rig = Annotated[Path | None, typer.Option("--rig", help="rig file: topics, extrinsics, masks (see rig-from-bag)")]
Cameras = Annotated[str | None, typer.Option(help="only these cameras, comma separated")]


def main() -> None:
    """Entry point: an InputError, or a disk that is full, is one clear line and exit code 2."""
    set_thread_waiting()
    try:
        app()
    except InputError as error:
        errors.print(f"[bold red]error[/] ({error.reason}): {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        errors.print(f"[bold red]error[/] (no_space): {escape(error.filename or 'an output file')} cannot be written: "
                     f"{error.strerror}; what is there is not complete: make room and run it again", soft_wrap=True)
        sys.exit(2)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="folder for pictures and the report")] = Path("demo"),
    seconds: Annotated[float, typer.Option(min=2.0, max=60.0, help="seconds of driving")] = 10.0,
    seed: Annotated[int, typer.Option(help="seed of the simulated street")] = 7,
    bag: Annotated[Path | None, typer.Option(help="play this recording instead of the simulated vehicle")] = None,
    rate: Annotated[float, typer.Option(min=0.05, max=10.0, help="playback rate")] = 1.0,
    config: ConfigFile = None, cameras: Cameras = None,
) -> None:
    """Drive a simulated vehicle past a live node, over ROS 2, and report what came out.

    [bold]Examples[/]

    img2three demo

    img2three demo --bag recording/ --rate 0.5 --output report

    img2three demo --config config/fast.yaml --cameras front,front_left,front_right
    """
    from .demo import run_demo
    from .nodes.config_file import core_settings

    failures = run_demo(output, seconds=seconds, seed=seed, bag=bag, rate=rate, console=console,
                        settings=core_settings(config) if config else None, cameras=_names(cameras))
    if failures:
        for failure in failures:
            errors.print(f"[bold red]failed[/]: {escape(failure)}")
        raise typer.Exit(1)


@app.command()
def reconstruct(
    inputs: Annotated[list[Path], typer.Argument(help="rosbag2 folder or .mcap/.db3 file; with --engine pointmap: a "
                                                 "folder of images, or image files", metavar="BAG | IMAGES...")],
    output: Annotated[Path, typer.Option(help="rosbag2 folder to write; with --engine pointmap: a folder")],
    engine: Annotated[str | None, typer.Option("--engine", help="reconstruction engine: scene | sweep | pointmap; "
                                               "default: that of the configuration")] = None,
    depth: Annotated[bool, typer.Option("--depth", help="also write depth, confidence and camera_info")] = False,
    voxels: Annotated[bool, typer.Option("--voxels", help="also write every observed voxel")] = False,
    ply: Annotated[Path | None, typer.Option(help="accumulated cloud as PLY")] = None,
    pcd: Annotated[Path | None, typer.Option(help="accumulated cloud as PCD")] = None,
    glb: Annotated[Path | None, typer.Option(help="accumulated cloud as GLB")] = None,
    octomap: Annotated[Path | None, typer.Option(help="occupancy of the last frame as OctoMap (.bt)")] = None,
    config: ConfigFile = None, override: Overrides = None, rig: Rig = None, cameras: Cameras = None,
    checkpoint: Checkpoint = None, graph: Graph = None, window: Window = None, baseline: Baseline = None,
    size: Size = None, confidence: Confidence = None, mesh: Mesh = False, at: At = None, frame: FrameNumber = None,
    instants: Instants = None,
) -> None:
    """Reconstruct every frame of a recording, offline and deterministic, into a new rosbag2. Or, with
    [bold]--engine pointmap[/], images without any calibration, or one instant of a recording with what it knows of its
    cameras, into one scene: cameras, focals, depth and a cloud.

    [bold]Examples[/]

    img2three reconstruct recording/ --output cloud/ --depth --voxels

    img2three reconstruct recording/ --output cloud/ --ply cloud.ply --set occupancy.voxel_size=0.2

    img2three reconstruct photos/ --engine pointmap --checkpoint DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth --output out/

    img2three reconstruct recording/ --engine pointmap --checkpoint FILE --at 12.5 --mesh --output out/
    """
    from .reconstruction.images_command import only_bag, reconstruct_command

    images = ImageOptions(checkpoint, graph, window, baseline, size, confidence, mesh, at, frame, instants)
    if engine == "pointmap":
        given = {"--depth": depth, "--voxels": voxels, "--ply": ply, "--pcd": pcd, "--glb": glb, "--octomap": octomap}
        for name in (name for name, value in given.items() if value):
            raise InputError("parameter", f"{name}: not for engine pointmap, which writes all it has to --output")
        told = reconstruct_command(inputs, output, images, _config(None, config, override), _progress, _names(cameras),
                                   rig)
        console.print(told, markup=False, highlight=False, soft_wrap=True)
        return
    settings_ = _config(engine, config, override)
    bag = only_bag(inputs, settings_.engine, images)
    from .reconstruction.offline import reconstruct_bag

    with _progress("reconstructing") as progress:
        summary = reconstruct_bag(bag, output, settings_, depth=depth, voxels=voxels, ply=ply, glb=glb, pcd=pcd,
                                  progress=progress, cameras=_names(cameras), rig=rig, octomap=octomap)
    console.print(summary)


@app.command()
def render(
    bag: Bag,
    output: Annotated[Path, typer.Option(help="folder for pictures and the video")],
    orbit: Annotated[bool, typer.Option("--orbit", help="also a video (mp4) of a camera that circles the vehicle, and "
                                        "pictures of it")] = False,
    width: Annotated[int, typer.Option(help="of the video, pixels; even")] = 640,
    height: Annotated[int, typer.Option(help="of its colours, pixels; the depth below them is as high")] = 384,
    seconds: Annotated[float, typer.Option(help="length of the video: once around")] = 6.0,
    fps: Annotated[float, typer.Option(help="pictures per second of the video")] = 15.0,
    frame: Annotated[int | None, typer.Option(help="number of the frame to show, from 0; default: the last")] = None,
    at: Annotated[float | None, typer.Option(help="show the frame so many seconds after the first instead")] = None,
    every: Annotated[int, typer.Option(help="of the frames of the two seconds before it, reconstruct every so many-th; "
                                       "the others are only remembered as keyframes")] = 1,
    engine: Engine = None, config: ConfigFile = None, override: Overrides = None, rig: Rig = None,
    cameras: Cameras = None,
) -> None:
    """Show the scene that engine [bold]scene[/] holds at one instant of a recording: from the vehicle's own cameras,
    beside their images, and from places where no camera was.

    [bold]Examples[/]

    img2three render recording/ --output renders/ --orbit

    img2three render recording/ --output renders/ --orbit --at 12.5 --width 960 --height 540
    """
    from .reconstruction.instant import Choice, instant_of
    from .visualization.render import OrbitVideo, check_possible, render_instant

    settings_ = _config(engine, config, override)
    video = OrbitVideo((height, width), seconds, fps) if orbit else None
    check_possible(settings_, video)
    with _progress("reconstructing") as progress:
        instant = instant_of(bag, settings_, Choice(frame, at, every), cameras=_names(cameras), rig=rig,
                             progress=progress)
    with _progress("rendering") as progress:
        summary = render_instant(instant, output, video, progress)
    console.print(summary)


@app.command()
def evaluate(
    bag: Bag,
    output: Annotated[Path, typer.Option(help="folder for metrics.json and report.html")],
    engine: Engine = None,
    lidar_topic: Annotated[str | None, typer.Option(help="PointCloud2 topic of the LiDAR; default: found")] = None,
    frames: Annotated[str, typer.Option(help="which instants are scored: last | all")] = "last",
    require: Annotated[Path | None, typer.Option(help="YAML with thresholds; a missed one is exit code 1")] = None,
    config: ConfigFile = None, override: Overrides = None, rig: Rig = None, cameras: Cameras = None,
) -> None:
    """Measure the reconstruction of a recording against its LiDAR.

    [bold]Examples[/]

    img2three evaluate recording/ --output report/

    img2three evaluate recording/ --output report/ --frames all --require thresholds.yaml
    """
    from .evaluation.evaluate import evaluate_bag
    from .evaluation.tables import print_result

    settings_ = _config(engine, config, override)
    with _progress("evaluating") as progress:
        result = evaluate_bag(bag, output, settings_, lidar_topic=lidar_topic, cameras=_names(cameras), rig=rig,
                              require=require, frames=frames, progress=progress)
    print_result(result, console)
    if result.failures:
        raise typer.Exit(1)


@app.command()
def ablations(
    bags: Annotated[list[Path] | None, typer.Argument(help="recordings with LiDAR", metavar="BAG...")] = None,
    output: Annotated[Path, typer.Option(help="Markdown file to write")] = Path("ablations.md"),
    seeds: Annotated[int, typer.Option(min=1, help="draws of every random error")] = 2,
    instants: Annotated[int, typer.Option(min=1, help="last instants of a recording that are used")] = 8,
    simulated: Annotated[bool, typer.Option(help="measure on held-out simulated drives too")] = True,
    without_pretrained: Annotated[Path | None, typer.Option(help="weights that started without ImageNet")] = None,
    config: ConfigFile = None, override: Overrides = None,
) -> None:
    """Measure what engine [bold]scene[/] loses without keyframes, neighbours, a camera, or with wrong geometry.

    [bold]Example[/]

    img2three ablations recording/ another/ --output docs/ablations.md
    """
    from .evaluation.ablations import Recording, check_weights, run_ablations
    from .evaluation.drives import recorded_drive
    from .evaluation.held_out import held_out, rendered

    settings_ = _config("scene", config, override)
    drives = [recorded_drive(bag, settings_, instants) for bag in bags or []]
    check_weights(settings_, without_pretrained)
    recordings = [Recording(drive.name, [drive]) for drive in drives]
    if simulated:
        recordings.append(Recording("Simulated, held out: dense truth", rendered(held_out(rigs=("nuscenes", "ddad")))))
    command = shlex.join(["img2three", *sys.argv[1:]])
    with _progress("measuring") as progress:
        page = run_ablations(recordings, output, settings_, command, seeds=seeds,
                             without_pretrained=without_pretrained, progress=progress)
    console.print(page, markup=False, highlight=False, soft_wrap=True)


@app.command()
def simulate(
    output: Annotated[Path, typer.Option(help="rosbag2 folder to write")],
    seconds: Annotated[float, typer.Option(min=0.1, help="length of the recording")] = 5.0,
    seed: Annotated[int, typer.Option(help="seed of the street; the same seed gives the same recording")] = 0,
) -> None:
    """Write a recording of a simulated vehicle: six cameras, odometry, TF, LiDAR and exact depth.

    [bold]Example[/]

    img2three simulate --seconds 3 --seed 1 --output street/
    """
    from .simulation.recording import record

    with _progress("simulating") as progress:
        summary = record(output, seconds=seconds, seed=seed, progress=progress, processes=os.cpu_count() or 1)
    console.print(summary)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train the depth network: [bold]img2three train depth --help[/]."""
    from .training.command import app as training

    training(context.args, prog_name="img2three train", standalone_mode=False)


app.command()(align)
app.command()(doctor)
app.add_typer(engines, name="engines")
app.command()(export)


@app.command()
def benchmark(
    cameras: Annotated[str, typer.Option(help="numbers of cameras to measure, comma separated")] = "1,3,6",
    backend: Annotated[str | None, typer.Option(help="runtime.backend: auto | torch | onnxruntime | tensorrt")] = None,
    bag: Annotated[Path | None, typer.Option(help="recording; default: six simulated 1936 x 1216 JPEG cameras, made "
                                             "once and kept")] = None,
    engine: Engine = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write all figures here")] = None,
    frames: Annotated[int, typer.Option(min=2, help="frames that count, for each number of cameras")] = 8,
    live: Annotated[bool, typer.Option(help="also run the node and say what it costs beside its pipeline")] = True,
    config: ConfigFile = None, override: Overrides = None,
) -> None:
    """Measure the whole way from images to messages, stage by stage, and against the common way of doing it.

    [bold]Examples[/]

    img2three benchmark --json benchmark.json

    img2three benchmark --bag recording/ --cameras 6 --backend onnxruntime --engine scene
    """
    from .demo.benchmark_command import run_benchmark_command

    chosen = [*(override or []), *([f"runtime.backend={backend}"] if backend else [])]
    run_benchmark_command(bag, cameras, _config(engine, config, chosen), json_file, frames, live, console, _progress)


@app.command("check-rig")
def check_rig(
    bag: Bag, checkpoint: Checkpoint = None, instants: CheckInstants = 7, size: Size = None, file: JsonFile = None,
    config: ConfigFile = None, override: Overrides = None, rig: Rig = None, cameras: Cameras = None,
) -> None:
    """Compare the calibration in a recording (CameraInfo, TF) with what its images say: which camera is turned or
    zoomed otherwise than published. Exit code 1 if one is.

    [bold]Examples[/]

    img2three check-rig recording/ --checkpoint DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth

    img2three check-rig recording/ --checkpoint FILE --rig corrected.yaml --instants 15 --json rig.json
    """
    from .reconstruction.check_rig_command import check_rig_command

    if not check_rig_command(bag, checkpoint, instants, size, file, _config(None, config, override), _progress, console,
                             _names(cameras), rig):
        raise typer.Exit(1)


@app.command("rig-from-bag")
def rig_from_bag_command(
    bag: Bag,
    output: Annotated[Path, typer.Option(help="rig file to write")] = Path("rig.yaml"),
) -> None:
    """Write a rig file (topics, extrinsics, calibration) from a recording's CameraInfo and /tf_static.

    [bold]Example[/]

    img2three rig-from-bag recording/ --output rig.yaml
    """
    from .ingest.rig import rig_from_bag, save_rig

    rig = rig_from_bag(bag, complain=lambda text: errors.print(f"[yellow]left out[/]: {escape(text)}", soft_wrap=True))
    save_rig(output, rig)
    console.print(f"{output}: {len(rig.cameras)} cameras ({', '.join(camera.name for camera in rig.cameras)})")


def _config(engine: str | None, path: Path | None, overrides: list[str] | None) -> Config:
    from .nodes.config_file import configured

    return configured(engine, path, overrides)


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


@contextmanager
def _progress(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar as a callback ``progress(done, total=None)``."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)
