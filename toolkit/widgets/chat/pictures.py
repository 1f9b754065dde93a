"""Pictures that a person shows to a model: checked, named by digest, small as a preview."""

import base64
import hashlib
import io
from pathlib import Path

import msgspec

from toolkit.errors import UsageError
from toolkit.safetext import cleaned

# A message of a notebook's front end has at most 10 MiB, and a file grows by a third on its way
# to the model.
MAX_PICTURE_BYTES = 7 << 20
MAX_PICTURES = 8
PREVIEW_PIXELS = 160
MAX_NAME_CHARS = 80

_KINDS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


class Picture(msgspec.Struct, frozen=True):
    """The file of a picture, as the model is sent it. `name` is what it was called."""

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def kind(self) -> str:
        """Its media type, by its first bytes; empty for what is no picture."""
        if self.data[:4] == b"RIFF" and self.data[8:12] == b"WEBP":
            return "image/webp"
        return next((kind for magic, kind in _KINDS.items() if self.data.startswith(magic)), "")

    @property
    def base64(self) -> str:
        """As requests carry it."""
        return base64.b64encode(self.data).decode()

    @property
    def label(self) -> str:
        """Name and size for a person."""
        return f"{self.name} ({max(1, round(len(self.data) / 1000)):,} kB)"


def picture_of(data: bytes, name: str) -> Picture:
    """A picture that is what it should be; `UsageError` for one that no model would take."""
    name = cleaned(Path(name).name)[:MAX_NAME_CHARS] or "picture"
    if len(data) > MAX_PICTURE_BYTES:
        raise UsageError(
            f"{name} has {len(data) / 1e6:.1f} MB, and {MAX_PICTURE_BYTES / 1e6:.1f} are the most.",
            hint="Make it smaller: models look at it in about 1,000 pixels anyway.",
        )
    picture = Picture(name, data)
    if not picture.kind:
        raise UsageError(
            f"{name} is no PNG, JPEG, WebP or GIF.", hint="Convert it to one of these."
        )
    return picture


def read_picture(path: str) -> Picture:
    """The picture in a file of this machine. Raises `UsageError`."""
    file = Path(path).expanduser()
    try:
        if file.stat().st_size > MAX_PICTURE_BYTES:
            return picture_of(bytes(file.stat().st_size), file.name)
        return picture_of(file.read_bytes(), file.name)
    except OSError as error:
        raise UsageError(
            f"{cleaned(path)} cannot be read: {error.strerror}.",
            hint="Give the path of a picture on the machine of this notebook's kernel.",
        ) from None


def preview(picture: Picture) -> str:
    """A small copy as a `data:` URL, made anew so that nothing of the file itself is shown.

    Empty where the file cannot be decoded: the endpoint will say what it makes of it.
    """
    try:
        from PIL import Image

        with Image.open(io.BytesIO(picture.data), formats=["PNG", "JPEG", "WEBP", "GIF"]) as image:
            image.draft("RGB", (PREVIEW_PIXELS * 2, PREVIEW_PIXELS * 2))
            small = image.convert("RGB")
            small.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=80)
    except Exception:  # noqa: BLE001 - a decoder of pictures fails in every way there is
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
