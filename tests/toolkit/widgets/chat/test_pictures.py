"""Pictures for a model: what is taken, what is refused, what is shown of them."""

import asyncio
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from toolkit.errors import UsageError
from toolkit.widgets.chat.attaching import Attaching
from toolkit.widgets.chat.bubble import question
from toolkit.widgets.chat.conversation import Conversation
from toolkit.widgets.chat.pictures import (
    MAX_PICTURE_BYTES,
    MAX_PICTURES,
    Picture,
    picture_of,
    preview,
    read_picture,
)
from toolkit.widgets.task import HomeLoop
from toolkit.widgets.typed import TEXT_GRACE_S


def image(kind: str, size: tuple[int, int] = (640, 400)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (90, 140, 220)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_formats_that_models_take_are_taken_and_shown_small(kind: str) -> None:
    picture = picture_of(image(kind), f"sky.{kind.lower()}")
    assert picture.kind == f"image/{kind.lower()}"
    assert preview(picture).startswith("data:image/jpeg;base64,") and len(preview(picture)) < 8000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg onload='alert(1)'/>", "no PNG"),
        (b"", "no PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_PICTURE_BYTES), "MB"),
    ],
)
def test_what_no_model_takes_is_refused_with_a_reason(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        picture_of(data, "file")


def test_a_path_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "sky.png"
    path.write_bytes(image("PNG"))
    assert read_picture(str(path)).name == "sky.png"
    with pytest.raises(UsageError, match="cannot be read"):
        read_picture(str(tmp_path / "none.png"))
    path.write_bytes(bytes(MAX_PICTURE_BYTES + 1))
    with pytest.raises(UsageError, match="MB"):
        read_picture(str(path))


def test_a_picture_that_cannot_be_decoded_is_named_and_not_shown() -> None:
    turn = Conversation().begin("look", "m", [Picture("<b>.png", b"\x89PNG\r\n\x1a\n junk")])
    html = question(turn)
    assert "<img" not in html and "&lt;b&gt;.png" in html


async def test_uploads_leave_the_widget_and_too_many_are_refused(tmp_path: Path) -> None:
    refused: list[str] = []
    attaching = Attaching(HomeLoop(), lambda error: refused.append(error.message))
    attaching.offer(True)
    told = {"name": "a.png", "type": "image/png", "size": 1, "last_modified": datetime.now(UTC)}
    attaching.upload.value = ({**told, "content": memoryview(image("PNG"))},)
    assert attaching.upload.value == ()
    path = tmp_path / "b.png"
    path.write_bytes(image("PNG"))
    for _ in range(MAX_PICTURES):
        attaching.path.value = str(path)
        attaching.add.click()
        await asyncio.sleep(2 * TEXT_GRACE_S)
    assert len(attaching.take()) == MAX_PICTURES and "at most" in refused[0]
    assert attaching.take() == ()


async def test_a_model_that_cannot_see_is_sent_nothing() -> None:
    attaching = Attaching(HomeLoop(), lambda _: None)
    attaching.put_back((picture_of(image("PNG"), "a.png"),))
    attaching.offer(False)
    assert attaching.take() == ()
