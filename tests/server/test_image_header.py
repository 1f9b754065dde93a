"""What an image file says of itself, and the limits on that."""

import io
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from server import limits
from server.errors import InvalidRequest, PayloadTooLarge
from server.image_header import FORMATS, ImageHeader, read_image_header
from tests.support.tiny_vision import picture

SIZE = (37, 21)


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, SIZE, 1).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("PNG", saved("PNG")),
        ("PNG", saved("PNG", "1")),
        ("JPEG", saved("JPEG")),
        ("JPEG", saved("JPEG", progressive=True, comment="a comment", dpi=(72, 72))),
        ("GIF", saved("GIF", "L")),
        ("WEBP", saved("WEBP")),
        ("WEBP", saved("WEBP", lossless=True)),
        ("WEBP", saved("WEBP", "RGBA", exif=b"Exif\0\0" + b"x" * 10)),
    ],
)
def test_every_format_says_its_size(form: str, data: bytes) -> None:
    assert read_image_header(data) == (form, *SIZE)
    for length in range(len(data)):
        try:
            assert read_image_header(data[:length]) == (form, *SIZE)
        except InvalidRequest:
            continue


def test_padding_and_markers_without_a_length_are_passed_in_a_jpeg() -> None:
    data = saved("JPEG")
    assert read_image_header(data[:2] + b"\xff\xff\xff\x01" + data[2:]) == ("JPEG", *SIZE)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "none of PNG, JPEG, WEBP, GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "none of"),
        (b"http://127.0.0.1/image.png", "none of"),
        (b"BM" + bytes(60), "none of"),
        (b"ID3" + bytes(60), "none of"),
        (b"RIFF\0\0\0\0WAVE" + bytes(60), "none of"),
        (b"RIFF\0\0\0\0WEBPVP9 " + bytes(60), "damaged WEBP"),
        (b"\xff\xd8\xff\xe0\x00\x02" + bytes(60), "damaged JPEG"),
        (b"\xff\xd8\xff\xe0\x00\x02\xff", "cut short"),
        (saved("PNG")[:20], "cut short"),
        (b"GIF89a" + struct.pack("<HH", 0, 9), "no pixels"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        read_image_header(data)


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8"]),
    st.binary(max_size=80),
)
@example(b"\xff\xd8\xff", b"\xff" * 50)
def test_any_bytes_have_a_size_or_are_refused(start: bytes, rest: bytes) -> None:
    try:
        header = read_image_header(start + rest)
    except InvalidRequest:
        return
    assert header.format in FORMATS and header.num_pixels >= 1


def png_that_says(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


def test_images_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture()
    limits.check_images([image] * limits.MAX_IMAGES)
    with pytest.raises(PayloadTooLarge, match="too many images"):
        limits.check_images([image] * (limits.MAX_IMAGES + 1))
    assert ImageHeader("PNG", 8192, 4096).num_pixels == limits.MAX_IMAGE_PIXELS
    limits.check_images([png_that_says(8192, 4096)])
    with pytest.raises(PayloadTooLarge, match="8193 × 4096 pixels"):
        limits.check_images([png_that_says(8193, 4096)])
    for size in ((200, 1), (1, 200)):
        limits.check_images([png_that_says(*size)])
    for size in ((201, 1), (1, 201)):
        with pytest.raises(InvalidRequest, match="more than 200 times as long"):
            limits.check_images([png_that_says(*size)])
    with pytest.raises(InvalidRequest, match="none of"):
        limits.check_images([image, b"https://example.com/image.png"])
    monkeypatch.setattr(limits, "MAX_IMAGES_BYTES", 2 * len(image))
    limits.check_images([image] * 2)
    with pytest.raises(PayloadTooLarge, match="bytes together"):
        limits.check_images([image] * 3)
    monkeypatch.setattr(limits, "MAX_IMAGE_BYTES", len(image) - 1)
    with pytest.raises(PayloadTooLarge, match=r"an image has \d+ bytes, at most"):
        limits.check_images([image])
