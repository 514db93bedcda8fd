"""Decode one photo: any size, colour mode and orientation becomes a square of 8-bit pixels.

The convention, which docs/own-photos.md states for users: the EXIF orientation is applied; transparency lies on white;
the largest centred square is resized to size x size by Pillow's bicubic filter, which does not alias (the same as the
shorter side to `size`, then a centre crop). A large JPEG is first read at a half, a quarter or an eighth of its
resolution, but never below twice the size. Colour profiles are ignored. Of several frames or pages the first counts.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

VERSION = f"1 pillow {PIL.__version__}"
"""Changes with every change of the pixels that come out of a file."""
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""The formats that are read. Pillow knows others; some start programs, and nobody keeps photos in them."""
LARGEST = 2**29
"""The most bytes a file may have."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a photo upright, by its EXIF orientation."""
ORIENTATION = 0x0112


def decoded(content: bytes, size: int, channels: int) -> NDArray[np.uint8]:
    """Return a file's image as (channels, size, size) uint8; raise ValueError, with the reason, if it has none."""
    if not content:
        raise ValueError("empty")
    if len(content) > LARGEST:
        raise ValueError(f"has {len(content):,} bytes; at most {LARGEST:,} are read")
    try:
        return squared(Image.open(io.BytesIO(content), formats=_formats()), size, channels)
    except Exception as error:  # Pillow raises a dozen kinds; all mean that the file is not a sound image
        raise ValueError(_reason(error, content)) from error


def opened(file: Any, opening: Callable[..., Any] = Image.open) -> Image.Image:
    """Open an image as Pillow does, but of the formats and sizes that are read alone; raise ValueError for others."""
    if isinstance(file, (str, os.PathLike)):
        found = os.stat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is a pipe, a device or a folder")
        size = found.st_size
    else:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
    if size > LARGEST:
        raise ValueError(f"has {size:,} bytes; at most {LARGEST:,} are read")
    image: Image.Image = opening(file, formats=_formats())
    _check_pixels(image)
    return image


@contextmanager
def limited() -> Iterator[None]:
    """Make `Image.open` of this thread as strict as `opened`, for code of others; threads do so in turn."""
    with _LIMITED:
        before, own = Image.open, threading.get_ident()

        def strict(fp: Any, mode: Literal["r"] = "r", formats: Any = None) -> Image.Image:
            return opened(fp, before) if threading.get_ident() == own else before(fp, mode, formats)

        Image.open = strict  # type: ignore[assignment]
        try:
            yield
        finally:
            Image.open = before


_LIMITED = threading.RLock()


def _check_pixels(image: Image.Image) -> None:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ValueError(f"has {image.width:,} x {image.height:,} pixels, more than {most:,}: a decompression bomb?")


def squared(image: Image.Image, size: int, channels: int) -> NDArray[np.uint8]:
    """Return an image as (channels, size, size) uint8: upright, without transparency, cropped and resized."""
    _check_pixels(image)
    image.draft(None, (2 * size, 2 * size))
    plain = _plain(image, "RGB" if channels == 3 else "L")
    side = min(plain.size)
    left, top = (plain.width - side) / 2, (plain.height - side) / 2
    small = plain.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    pixels = np.asarray(small if turn is None else small.transpose(turn))
    return np.ascontiguousarray(pixels.reshape(size, size, channels).transpose(2, 0, 1))


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this build of Pillow has of those that are read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Return an image in 8-bit colour or grey."""
    if image.mode.startswith("I"):  # 16 bits, of which Pillow would only keep those above 255 as white
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("has more than 16 bits per channel")
        image = Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("has floating-point pixels")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _reason(error: Exception, content: bytes) -> str:
    """Say in a few words why a file cannot be decoded."""
    if isinstance(error, UnidentifiedImageError):
        if content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"heif", b"msf1"):
            return "is HEIC, which is not read; convert it to JPEG"
        return "is not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return "has too many pixels: a decompression bomb?"
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
