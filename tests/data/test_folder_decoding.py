"""Photos of every kind become squares of 8-bit pixels; what is not a photo says why."""

from __future__ import annotations

import io

import numpy as np
import pytest
from photos import encoded, photo
from PIL import Image, ImageOps

from unlearnbench.data.decoding import decoded


def halves(left, right, size=(32, 32)):
    """A picture of two colours side by side."""
    image = Image.new("RGB", size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def test_the_centred_square_is_resized():
    wide = Image.new("RGB", (40, 20), "red")
    wide.paste("blue", (10, 0, 30, 20))
    pixels = decoded(encoded(wide), 8, 3)
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8
    assert (pixels[:, :, 1:-1] == np.array([0, 0, 255])[:, None, None]).all()
    whole = np.asarray(wide.resize((16, 8), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(pixels, whole[:, :, 4:12])  # the same as the shorter side to 8, then a crop
    assert np.array_equal(decoded(encoded(wide.transpose(Image.Transpose.TRANSPOSE)), 8, 3), pixels.transpose(0, 2, 1))


def test_resizing_is_pillows_bicubic_with_antialiasing():
    image = photo(0, (64, 64))
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(decoded(encoded(image), 16, 3), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    corner = halves("black", "white")
    corner.paste("red", (0, 0, 8, 8))
    content = encoded(corner, "JPEG", exif=tags, quality=100, subsampling=0)
    with Image.open(io.BytesIO(content)) as image:
        upright = encoded(ImageOps.exif_transpose(image))
    assert np.abs(decoded(content, 8, 3).astype(int) - decoded(upright, 8, 3)).max() <= 8


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert (decoded(encoded(clear), 8, 3) == 255).all()
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([10, 20, 30])
    assert (decoded(encoded(palette, "GIF", transparency=0), 8, 3) == 255).all()
    assert (decoded(encoded(palette), 8, 3)[:, 0, 0] == [10, 20, 30]).all()


@pytest.mark.parametrize(("mode", "form"), [
    ("L", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("RGB", "BMP"),
    ("RGB", "TIFF"), ("RGB", "PPM"),
])  # fmt: skip
def test_every_mode_becomes_colour_or_grey(mode, form):
    content = encoded(halves("black", "white").convert(mode), form)
    colour, grey = decoded(content, 8, 3), decoded(content, 8, 1)
    assert grey.shape == (1, 8, 8)
    for pixels in (colour, grey):
        assert pixels[:, :, 0].max() < 40 and pixels[:, :, -1].min() > 215


def test_sixteen_bits_keep_their_brightness():
    grey = Image.fromarray(np.full((16, 16), 32896, np.uint16))
    assert (decoded(encoded(grey), 8, 3) == 128).all()
    assert (decoded(encoded(grey, "TIFF"), 8, 1) == 128).all()


def test_large_photos_are_read_at_a_lower_resolution_with_about_the_same_pixels():
    smooth = photo(1, (8, 6)).resize((1600, 1200), Image.Resampling.BICUBIC)
    whole = decoded(encoded(smooth), 32, 3).astype(int)
    assert np.abs(decoded(encoded(smooth, "JPEG", quality=95), 32, 3) - whole).mean() < 2


SOUND = encoded(photo(2, (60, 60)), "JPEG")


@pytest.mark.parametrize(("content", "why"), [
    (b"", "empty"),
    (b"hello", "not an image of a known format"),
    (SOUND[: len(SOUND) // 2], "truncated"),
    (encoded(photo(2, (60, 60)))[:3000], "truncated"),
    (b"\0\0\0\x20ftypheic" + bytes(40), "HEIC"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image of a known format"),
    (encoded(Image.new("1", (14000, 14000))), "decompression bomb"),
    (encoded(Image.new("1", (10000, 10000))), "decompression bomb"),
    (encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "floating-point"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_not_a_photo_says_why(content, why):
    with pytest.raises(ValueError, match=why):
        decoded(content, 8, 3)
