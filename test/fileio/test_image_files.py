"""Still images: found in order, read upright, copied so that pixels and poses belong together."""

import cv2
import numpy as np
import pytest
from street_photos import turned_jpeg

from img2three_ros.fileio.image_files import copy_upright, find_images, looks_like_image, read_image
from img2three_ros.structures import InputError


@pytest.fixture
def pixels():
    """(40, 64, 3) BGR: left half blue, right half red."""
    picture = np.zeros((40, 64, 3), np.uint8)
    picture[:, :32, 0] = picture[:, 32:, 2] = 250
    return picture


def test_a_folder_gives_its_images_by_number(tmp_path, pixels):
    for name in ("shot10.png", "shot2.PNG", "shot1.jpg", ".hidden.png"):
        cv2.imwrite(str(tmp_path / name.replace("PNG", "png")), pixels)
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in find_images([tmp_path])] == ["shot1.jpg", "shot2.png", "shot10.png"]
    assert [path.name for path in find_images([tmp_path / "shot10.png", tmp_path / "shot1.jpg"])] == [
        "shot10.png", "shot1.jpg"]
    assert not looks_like_image(tmp_path / "notes.txt") and not looks_like_image(tmp_path)


def test_what_is_no_image_is_named(tmp_path, pixels):
    with pytest.raises(InputError, match="holds no image"):
        find_images([tmp_path])
    with pytest.raises(InputError, match="absent"):
        find_images([tmp_path / "absent"])
    cv2.imwrite(str(tmp_path / "one.png"), pixels)
    with pytest.raises(InputError, match="given twice"):
        find_images([tmp_path, tmp_path / "one.png"])
    for content in (b"", (tmp_path / "one.png").read_bytes()[:30]):
        (tmp_path / "half.png").write_bytes(content)
        with pytest.raises(InputError, match=rf"half\.png.*\({len(content)} bytes\)"):
            read_image(tmp_path / "half.png")


def test_exif_turns_an_image_upright(tmp_path, pixels):
    path = tmp_path / "phone.jpg"
    path.write_bytes(turned_jpeg(pixels))
    image = read_image(path)
    assert image.turned and image.pixels.shape == (64, 40, 3)
    assert image.pixels[5, 20, 2] > 200 and image.pixels[60, 20, 0] > 200  # turned clockwise: left is up now
    copy_upright(path, tmp_path / "copies" / "phone.jpg")
    copy = read_image(tmp_path / "copies" / "phone.jpg")
    assert not copy.turned
    flat = np.r_[:28, 36:64]  # JPEG blurs the edge
    np.testing.assert_allclose(copy.pixels[flat].astype(int), image.pixels[flat].astype(int), atol=12)
    with pytest.raises(InputError, match="would replace it"):
        copy_upright(path, path)
    assert path.read_bytes() == turned_jpeg(pixels)


def test_what_is_upright_is_copied_byte_for_byte(tmp_path, pixels):
    path = tmp_path / "plain.png"
    cv2.imwrite(str(path), pixels)
    image = read_image(path)
    assert not image.turned
    np.testing.assert_array_equal(image.pixels, pixels[..., ::-1])
    copy_upright(path, tmp_path / "copies" / "plain.png")
    assert (tmp_path / "copies" / "plain.png").read_bytes() == path.read_bytes()
    copy_upright(path, path)
    assert read_image(path).pixels.shape == (40, 64, 3)
