"""Videos: what is written can be read again, and what cannot be written says why."""

import subprocess

import cv2
import numpy as np
import pytest

from img2three_ros.fileio import video
from img2three_ros.fileio.video import Mp4Writer, ffmpeg_program
from img2three_ros.structures import InputError

SIZE = (48, 64)


def pictures(count=9):
    """A red bar that moves to the right over blue, 6 pixels at a time."""
    for number in range(count):
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[..., 2] = 200
        picture[:, 6 * number:6 * number + 12] = (255, 0, 0)
        yield picture


def write(path, count=9):
    with Mp4Writer(path, SIZE, 12.5) as writer:
        for picture in pictures(count):
            writer.write(picture)
    return path


def decoded(path):
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(read[1][..., ::-1].astype(int))
    return capture, found


def test_a_video_comes_back_picture_by_picture(tmp_path):
    folder = tmp_path / "at 12:30"
    folder.mkdir()
    capture, found = decoded(write(folder / "bar.mp4"))
    assert len(found) == 9 and {picture.shape for picture in found} == {(*SIZE, 3)}
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    for number, picture in enumerate(found):
        middle = picture[10:-10, 6 * number + 3:6 * number + 9]
        assert middle[..., 0].mean() > 180 and middle[..., 2].mean() < 60, number  # red, and where it belongs
    assert list(folder.iterdir()) == [folder / "bar.mp4"]


def test_browsers_can_play_it(tmp_path):
    """H.264 with 4:2:0 colours, and the index (moov) before the pictures (mdat)."""
    path = write(tmp_path / "bar.mp4")
    told = subprocess.run([ffmpeg_program(), "-i", str(path)], capture_output=True, text=True, check=False).stderr
    assert "Video: h264" in told and "yuv420p" in told
    data = path.read_bytes()
    assert data[4:8] == b"ftyp" and 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_same_pictures_give_the_same_file(tmp_path):
    assert write(tmp_path / "one.mp4").read_bytes() == write(tmp_path / "other.mp4").read_bytes()


def test_an_unfinished_video_leaves_the_one_before(tmp_path):
    path = write(tmp_path / "bar.mp4")
    before = path.read_bytes()
    with pytest.raises(KeyError, match="broken"), Mp4Writer(path, SIZE, 10.0) as writer:
        writer.write(next(pictures()))
        raise KeyError("broken")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/bar\.mp4.*No such file") as caught:
        write(tmp_path / "nowhere" / "bar.mp4", 400)
    assert caught.value.reason == "video"


def test_odd_sizes_and_other_pictures_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"63 x 48 pixels.*even"):
        Mp4Writer(tmp_path / "odd.mp4", (48, 63), 10.0)
    with pytest.raises(ValueError, match=r"\(64, 48, 3\)"), Mp4Writer(tmp_path / "bar.mp4", SIZE, 10.0) as writer:
        writer.write(np.zeros((64, 48, 3), np.uint8))


def test_without_ffmpeg_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(video.shutil, "which", lambda name: "/usr/bin/ffmpeg")
    assert ffmpeg_program() == "/usr/bin/ffmpeg"
    monkeypatch.setattr(video.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"pip install imageio-ffmpeg.*apt-get install ffmpeg") as caught:
        ffmpeg_program()
    assert caught.value.reason == "video"
