"""Canvas, text and dots on RGB images."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import InputError
from .colours import BACKGROUND, TEXT, Image

STROKED_SIZE = 30.0
"""Font size in pixels of OpenCV's stroked letters at scale 1."""


def canvas(height: int, width: int, colour: tuple[int, int, int] = BACKGROUND) -> Image:
    """(H, W, 3) of one colour."""
    return np.full((height, width, 3), colour, dtype=np.uint8)


def write_text(image: Image, text: str, left: int, baseline: int, size: int = 15,
               colour: tuple[int, int, int] = TEXT, align: str = "left") -> None:
    """Writes one line into ``image`` in place; ``size`` is the font size in pixels, align left, centre or right.

    OpenCV 5 draws a real typeface; OpenCV 4 has only stroked letters, without characters beyond ASCII.
    """
    start = left - {"left": 0, "centre": text_width(text, size) // 2, "right": text_width(text, size)}[align]
    drawn = np.ascontiguousarray(image)
    if hasattr(cv2, "FontFace"):
        cv2.putText(drawn, text, (start, baseline), colour, cv2.FontFace("sans"), size)
    else:
        cv2.putText(drawn, _ascii(text), (start, baseline), cv2.FONT_HERSHEY_SIMPLEX, size / STROKED_SIZE, colour,
                    1, cv2.LINE_AA)
    if drawn is not image:
        image[:] = drawn


def text_width(text: str, size: int) -> int:
    """Width in pixels of what ``write_text`` draws."""
    if hasattr(cv2, "FontFace"):
        return int(cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace("sans"), size)[2])
    return int(cv2.getTextSize(_ascii(text), cv2.FONT_HERSHEY_SIMPLEX, size / STROKED_SIZE, 1)[0][0])


def _ascii(text: str) -> str:
    for fancy, plain in (("·", "|"), ("–", "-"), ("×", "x")):
        text = text.replace(fancy, plain)
    return text.encode("ascii", "replace").decode()


def fitted(image: Image, height: int, width: int) -> Image:
    """The image scaled to fit (H, W) with its aspect kept, centred on the background."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    result = canvas(height, width)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    result[top:top + small.shape[0], left:left + small.shape[1]] = small
    return result


def draw_dots(image: Image, rows: NDArray[np.integer], columns: NDArray[np.integer], colours: Image,
              size: int = 3) -> None:
    """Square dots with an edge of ``size`` pixels, later ones on top, in place; colours (N, 3)."""
    reach = range(-((size - 1) // 2), size // 2 + 1)
    for down in reach:
        for right in reach:
            row, column = rows + down, columns + right
            inside = (row >= 0) & (row < image.shape[0]) & (column >= 0) & (column < image.shape[1])
            image[row[inside], column[inside]] = colours[inside]


def dimmed(image: Image, factor: float = 0.45) -> Image:
    """A grey, darker copy, on which coloured dots stand out."""
    grey = image @ np.array((0.299, 0.587, 0.114)) * factor
    return np.repeat(grey[..., None], 3, axis=-1).round().astype(np.uint8)


def encoded(image: Image, extension: str = ".jpg", quality: int = 88) -> bytes:
    """The image as a JPEG (``.jpg``) or PNG (``.png``) file."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if extension == ".jpg" else []
    good, data = cv2.imencode(extension, np.ascontiguousarray(image[..., ::-1]), flags)
    if not good:
        raise InputError("picture", f"cannot encode a picture of shape {image.shape} as '{extension}'; "
                         "use .jpg or .png")
    return bytes(data)


def data_uri(image: Image, extension: str = ".jpg") -> str:
    """The image as a ``data:`` address for a self-contained page."""
    kind = "jpeg" if extension == ".jpg" else extension[1:]
    return f"data:image/{kind};base64,{base64.b64encode(encoded(image, extension)).decode()}"
