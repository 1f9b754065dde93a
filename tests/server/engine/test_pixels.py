"""Hostile files of images become pixels or an error."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from server import limits
from server.engine.backend import RequestError
from server.engine.pixels import read_pixels
from server.image_header import FORMATS
from tests.support.tiny_vision import picture

FILES = [picture(1, form=form) for form in FORMATS]
PNG = FILES[0]


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("data", FILES, ids=FORMATS)
def test_every_format_is_read(data: bytes) -> None:
    pixels = read_pixels(data)
    assert pixels.shape == (40, 48, 3) and pixels.dtype == np.uint8
    assert 100 < pixels.mean() < 155


def test_pixels_are_rows_of_red_green_blue() -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (40, 50, 60))
    assert read_pixels(saved(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "RGBA"])
def test_every_mode_becomes_colours(mode: str) -> None:
    form = "JPEG" if mode == "CMYK" else "PNG"
    assert read_pixels(saved(Image.new(mode, (3, 2)), form)).shape == (2, 3, 3)


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (9, 8, 7, 255))
    assert read_pixels(saved(image)).tolist() == [[[255, 255, 255], [9, 8, 7]]]
    palette = Image.new("P", (1, 1))
    assert read_pixels(saved(palette, transparency=0)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_a_film_is_its_first_picture(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    assert read_pixels(data).min() > 250


@pytest.mark.parametrize("data", FILES, ids=FORMATS)
def test_a_file_that_is_cut_short_is_refused_or_read(data: bytes) -> None:
    for length in range(0, len(data) - 1, max(1, len(data) // 50)):
        try:
            assert read_pixels(data[:length]).shape == (40, 48, 3)
        except RequestError:
            continue
    with pytest.raises(RequestError):
        read_pixels(data[: len(data) // 2])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=4)), min_size=1),
)
def test_a_file_that_was_tampered_with_is_refused_or_read(
    data: bytes, changes: list[tuple[int, bytes]]
) -> None:
    changed = bytearray(data)
    for at, new in changes:
        changed[at : at + len(new)] = new
    try:
        pixels = read_pixels(bytes(changed))
    except RequestError:
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def test_what_unfolds_to_more_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_IMAGE_PIXELS", 48 * 40 - 1)
    with pytest.raises(RequestError, match="at most 1919 are read"):
        read_pixels(PNG)
    # A WebP whose canvas is small in the header that is read first, and large behind it.
    image = saved(Image.new("RGBA", (48, 40), (1, 2, 3, 128)), "WEBP")
    assert image[12:16] == b"VP8X"
    small = image[:24] + struct.pack("<HBHB", 3, 0, 3, 0) + image[30:]
    with pytest.raises(RequestError):
        read_pixels(small)


def test_text_that_unfolds_in_a_png_is_refused() -> None:
    body = b"Comment\0\0" + zlib.compress(bytes(200 << 20))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    with pytest.raises(RequestError):
        read_pixels(PNG[:33] + chunk + PNG[33:])


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"a/file.png", b"https://example.com/a.png"])
def test_nothing_else_is_opened(data: bytes) -> None:
    with pytest.raises(RequestError):
        read_pixels(data)
