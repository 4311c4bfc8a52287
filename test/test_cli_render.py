"""``img2three render`` as a user meets it: a small recording, small networks, real files."""

import sys

import cv2
import pytest
from ingest_samples import write_bag
from small_networks import depth_weights, scene_weights
from typer.testing import CliRunner

from img2three_ros import cli
from img2three_ros.fileio import video
from img2three_ros.reconstruction import pipeline
from img2three_ros.structures import InputError


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bags") / "drive", instants=3, lidar=False)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A file of settings with small networks."""
    folder = tmp_path_factory.mktemp("weights")
    path = folder / "small.yaml"
    path.write_text("engine: scene\ndevice: cpu\nthreads: 1\nprepare: {pixels: 4096}\n"
                    "runtime: {backend: torch, precision: fp32}\n"
                    f"scene: {{weights: {depth_weights(folder)}, space_weights: {scene_weights(folder)}}}\n"
                    "occupancy: {x_min: -8.0, x_max: 8.0, y_min: -6.0, y_max: 6.0}\n")
    return path


def render(*arguments):
    return CliRunner().invoke(cli.app, ["render", *map(str, arguments)])


def said(run):
    """What was printed, without the line breaks of a narrow terminal."""
    return " ".join(run.output.split())


def sizes(path):
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(read[1].shape)
    return found


def test_pictures_and_a_video_come_out_the_same_every_time(bag, settings, tmp_path):
    options = ("--orbit", "--width", 64, "--height", 48, "--seconds", 1, "--fps", 8, "--config", settings)
    runs = [render(bag, "--output", tmp_path / name, *options) for name in ("one", "two")]
    assert [run.exit_code for run in runs] == [0, 0], [run.exception for run in runs]
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert sorted(files) == sorted(["camera_back.jpg", "camera_front.jpg", "orbit.mp4",
                                    *(f"orbit_{angle:03d}.jpg" for angle in range(0, 360, 45))])
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert sizes(tmp_path / "one" / "orbit.mp4") == [(96, 64, 3)] * 8
    assert "frame 2, 0.20 s after the first" in said(runs[0]) and "8 views of 64 x 48" in said(runs[0])


def test_one_camera_and_one_frame_without_an_orbit(bag, settings, tmp_path):
    run = render(bag, "--output", tmp_path, "--config", settings, "--cameras", "back", "--frame", 1)
    assert run.exit_code == 0 and "frame 1, 0.10 s" in said(run)
    assert [path.name for path in tmp_path.iterdir()] == ["camera_back.jpg"]


@pytest.mark.parametrize(("options", "message"), [
    (("--engine", "sweep"), "engine 'sweep' holds no scene"), (("--set", "scene.space=false"), "scene.space = false"),
    (("--frame", "7"), "has 3 frames"), (("--frame", "0", "--at", "0.1"), "choose one"),
    (("--orbit", "--width", "65"), "width must be even"),
])
def test_what_cannot_be_is_said_before_anything_is_reconstructed(bag, settings, tmp_path, monkeypatch, options,
                                                                 message):
    monkeypatch.delattr(pipeline.ReconstructionPipeline, "process")
    run = render(bag, "--output", tmp_path / "out", "--config", settings, *options)
    assert isinstance(run.exception, InputError) and message in str(run.exception)
    assert run.exception.reason == "parameter" and not (tmp_path / "out").exists()


def test_without_ffmpeg_nothing_is_reconstructed_in_vain(bag, settings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(video.shutil, "which", lambda name: None)
    monkeypatch.delattr(pipeline.ReconstructionPipeline, "process")
    run = render(bag, "--output", tmp_path / "out", "--config", settings, "--orbit")
    assert isinstance(run.exception, InputError) and "pip install imageio-ffmpeg" in str(run.exception)
