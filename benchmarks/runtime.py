"""The networks behind the seam: torch against ONNX Runtime, by turns in the same run.

    python benchmarks/runtime.py [--threads 2] [--rounds 9] [--parts] [--int8] [--frame]

Six 640 x 384 images through the image encoder: torch as it is (fp32), batched, and in bf16 where the processor computes
in it; ONNX Runtime image by image (what the engine does) and batched, with threads that sleep and that spin. --parts:
also the other networks that can be exported, to see where it pays. --int8: also the encoder in int8, its ranges
measured on images of the simulated street. --frame: a whole frame of engine ``scene`` too. Judge by CPU time on a busy
machine.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from img2three_ros.config import Config, with_overrides
from img2three_ros.models.depth_network import DepthNetwork
from img2three_ros.models.depth_weights import load_depth_network
from img2three_ros.models.scene_weights import load_scene_network
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.reconstruction.scene_engine import SHIPPED_SPACE_WEIGHTS, SHIPPED_WEIGHTS
from img2three_ros.runtime import parts
from img2three_ros.runtime.calibration import calibrated, quantise
from img2three_ros.runtime.choose_backend import torch_precision
from img2three_ros.runtime.depth_check import SceneDepthCheck
from img2three_ros.runtime.export import cached_export, relative_error
from img2three_ros.runtime.libraries import onnxruntime_library
from img2three_ros.runtime.onnxruntime_backend import OnnxRuntimeBackend, load_onnxruntime
from img2three_ros.runtime.self_test import compared, self_test
from img2three_ros.runtime.torch_backend import TorchBackend
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle
from img2three_ros.structures import Frame, InputError

CPU = torch.device("cpu")
IMAGES, SIZE = 6, (384, 640)
TARGET = 1.3

Work = Callable[[], object]


def raced(works: Mapping[str, Work], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of wall and of CPU time of each, run by turns after one turn to warm up."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            if turn:
                spent[name].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
    return {name: (statistics.median(wall for wall, _ in rows), statistics.median(cpu for _, cpu in rows))
            for name, rows in spent.items()}


def show(title: str, found: Mapping[str, tuple[float, float]], against: str) -> None:
    """A table with the speed-up over ``against``."""
    print(f"\n{title}")
    for name, (wall, cpu) in found.items():
        print(f"  {name:<36} {wall:8.1f} ms {cpu:8.1f} ms CPU   {found[against][0] / wall:5.2f} x wall "
              f"{found[against][1] / cpu:5.2f} x CPU", flush=True)


def street(count: int) -> list[Frame]:
    """Instants of six cameras, 0.1 s apart."""
    return list(SimulatedVehicle(SimulationConfig(width=SIZE[1], height=SIZE[0], seed=4)).frames(count))


def images_of(frame: Frame) -> Tensor:
    """(6, 3, H, W) RGB 0..1."""
    return torch.stack([torch.from_numpy(image.image).permute(2, 0, 1) for image in frame.images]).float() / 255.0


def spinning(backend: OnnxRuntimeBackend, path: Path, threads: int) -> OnnxRuntimeBackend:
    """The same with threads that wait by spinning."""
    runtime = onnxruntime_library()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    backend._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return backend


def encoder(network: DepthNetwork, images: Tensor, folder: Path, options: argparse.Namespace) -> None:
    """Six images through the encoder, every way there is."""
    one, six = (parts.scene_encoder(network, SIZE, batch) for batch in (1, IMAGES))
    exported, together = cached_export(one, folder), cached_export(six, folder)
    eager, ort, ort6 = (TorchBackend(one, "fp32"), load_onnxruntime(exported, "fp32", CPU),
                        load_onnxruntime(together, "fp32", CPU))
    spin = spinning(load_onnxruntime(exported, "fp32", CPU), exported.path, options.threads)
    rows = images.split(1)
    works: dict[str, Work] = {
        "torch fp32": lambda: [eager(row) for row in rows], "torch fp32, batch 6": lambda: eager(images),
        "onnxruntime fp32": lambda: [ort(row) for row in rows], "onnxruntime fp32, batch 6": lambda: ort6(images),
        "onnxruntime fp32, spinning": lambda: [spin(row) for row in rows]}
    if torch_precision("auto", CPU) == "bf16":
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)
        rough = TorchBackend(parts.scene_encoder(last, SIZE), "bf16")
        works["torch bf16"] = lambda: [rough(row) for row in rows]
    error = max(relative_error(eager(row), ort(row)) for row in rows)
    if options.int8:
        quantise(exported, ((row,) for row in images_of(street(3)[-1]).split(1)), print)
        eight = load_onnxruntime(calibrated(exported), "int8", CPU)
        works["onnxruntime int8"] = lambda: [eight(row) for row in rows]
        worst = min(compared(a, b)[0] for row in rows for a, b in zip(eager(row), eight(row), strict=True))
        try:
            change = SceneDepthCheck(network, SIZE, CPU).change(eight)
            verdict = self_test(eight, one, None)
            print(f"int8: worst cosine on the street {worst:.4f}, depth changes by {100 * change:.2f} %; self-test: "
                  f"{verdict.trouble or 'passed'}")
        except InputError as failure:
            print(f"int8: {failure}")
    found = raced(works, options.rounds)
    show(f"Encoder, {IMAGES} images {SIZE[1]} x {SIZE[0]} (largest error of onnxruntime {error:.1e} of each output's "
         "range)", found, "torch fp32")
    ratio = found["torch fp32"][1] / found["onnxruntime fp32"][1]
    print(f"  onnxruntime is {ratio:.2f} x as fast as eager torch by CPU time; wanted is {TARGET}: "
          f"{'met' if ratio >= TARGET else 'NOT MET'}")


def other_parts(network: DepthNetwork, folder: Path, rounds: int) -> None:
    """The other exported networks, each once."""
    scene = load_scene_network(SHIPPED_SPACE_WEIGHTS)
    for part in (parts.scene_regulariser(network, SIZE), parts.scene_volume(scene), parts.scene_decoder(scene)):
        eager, ort = TorchBackend(part, "fp32"), load_onnxruntime(cached_export(part, folder), "fp32", CPU)
        given = part.samples()
        works: dict[str, Work] = {"torch fp32": partial(eager, *given), "onnxruntime fp32": partial(ort, *given)}
        if torch_precision("auto", CPU) == "bf16":
            works["torch bf16"] = partial(TorchBackend(part, "bf16"), *given)
        show(f"{part.network} {part.inputs[0].shape}", raced(works, rounds), "torch fp32")


def whole_frames(rounds: int) -> None:
    """Frames of engine ``scene``, six cameras, two keyframes known."""
    frames = street(3 + rounds)
    choices = {"auto": {}, "torch fp32": {"runtime.backend": "torch", "runtime.precision": "fp32"},
               "onnxruntime, the rest fp32": {"runtime.backend": "onnxruntime", "runtime.precision": "fp32"},
               "onnxruntime, the rest auto": {"runtime.backend": "onnxruntime"}}
    pipelines = {name: ReconstructionPipeline(with_overrides(Config(), {
        "device": "cpu", "prepare.pixels": SIZE[0] * SIZE[1], **settings})) for name, settings in choices.items()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in pipelines}
    for number, frame in enumerate(frames):
        for name, pipeline in pipelines.items():
            wall, cpu = time.perf_counter(), time.process_time()
            pipeline.process(frame)
            if number >= 3:
                spent[name].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
    found = {name: (statistics.median(wall for wall, _ in rows), statistics.median(cpu for _, cpu in rows))
             for name, rows in spent.items()}
    show("A whole frame of engine scene, six cameras", found, "torch fp32")


def main() -> None:
    """Print a table per question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--frame", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = load_depth_network(SHIPPED_WEIGHTS)
    print(f"{options.threads} threads, medians of {options.rounds} by turns, torch {torch.__version__}, onnxruntime "
          f"{onnxruntime_library().__version__}, auto is {torch_precision('auto', CPU)} in torch here", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        encoder(network, images_of(street(1)[0]), Path(folder), options)
        if options.parts:
            other_parts(network, Path(folder), options.rounds)
    if options.frame:
        whole_frames(min(options.rounds, 5))


if __name__ == "__main__":
    main()
