"""Models whose weights are split over several GGUF files.

llama.cpp is given the first file and finds the others by their names:
`<anything>-00001-of-00003.gguf`. Blobs are called by what is in them, so the store has
a folder of links with such names. Each is called by the digest of the whole set: weights
that share their first file, which may hold no more than metadata, are not taken for the same.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from server.errors import ModelUnusable
from server.models.gguf import GGUFHeader, read_header

MAX_PARTS = 1000
_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def part_name(stem: str, number: int, count: int) -> str:
    """What llama.cpp calls a part; numbers begin at 1."""
    return f"{stem}-{number:05d}-of-{count:05d}.gguf"


def stem_of(name: str) -> str | None:
    """What the names of all parts begin with; None if this is no part's name."""
    found = _NAME.fullmatch(name)
    return found["stem"] if found else None


def part_names(name: str) -> list[str]:
    """The names of all parts of which `name` is one; only itself if it is none.

    Raises `ModelUnusable` if it claims more parts than can be.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return [name]
    count = int(found["count"])
    if not 1 <= int(found["number"]) <= count <= MAX_PARTS:
        raise ModelUnusable(f"{name[:200]} claims to be a part that cannot be")
    return [part_name(found["stem"], number, count) for number in range(1, count + 1)]


def part_paths(first: Path) -> list[Path]:
    """The files of the weights that llama.cpp loads when it is given `first`."""
    return [first.with_name(name) for name in part_names(first.name)]


def num_parts(header: GGUFHeader) -> int:
    """Of how many files this one says it is a part; 1 if it is whole."""
    return header.number("split.count") or 1


def ordered(headers: Sequence[GGUFHeader]) -> list[int]:
    """The indexes of the headers in the order of the parts.

    Raises `ModelUnusable` unless they are the whole of one split model.
    """
    count = len(headers)
    if count == 1 and num_parts(headers[0]) == 1:
        return [0]
    numbers = [header.number("split.no") for header in headers]
    if any(num_parts(header) != count for header in headers) or set(numbers) != set(range(count)):
        raise ModelUnusable(
            f"its {count} files are not the parts of one model", hint="get all parts of one model"
        )
    return [numbers.index(number) for number in range(count)]


def merged(headers: Sequence[GGUFHeader]) -> GGUFHeader:
    """The header of the whole: the fields of the first part, the tensors of all.

    Raises `ModelUnusable` if there are not as many tensors as the first one says.
    """
    first = headers[0]
    whole = msgspec.structs.replace(
        first,
        tensor_count=sum(header.tensor_count for header in headers),
        parameter_count=sum(header.parameter_count for header in headers),
        file_size=sum(header.file_size for header in headers),
        tensors=tuple(tensor for header in headers for tensor in header.tensors),
    )
    if first.number("split.tensors.count") not in (None, whole.tensor_count):
        raise ModelUnusable("its parts do not fit together", hint="get all parts of one model")
    return whole


def whole_header(path: Path, read: Callable[[Path], GGUFHeader]) -> GGUFHeader:
    """The header of the weights that are loaded from `path`, whether they are split or not.

    Raises `ModelUnusable` like `read_header`.
    """
    header = read(path.resolve())  # remembered by the name of the blob
    if num_parts(header) == 1:
        return header
    parts = [read(part.resolve()) for part in part_paths(path)]
    return merged([parts[index] for index in ordered(parts)])


def read_weights(path: Path) -> GGUFHeader:
    """The same, read from the files. Blocks. Raises `ModelUnusable`."""
    return whole_header(path, read_header)


def read_whole(path: Path) -> GGUFHeader:
    """The same, with the tensors and the long arrays. Blocks. Raises `ModelUnusable`."""
    return whole_header(path, lambda part: read_header(part, whole=True))


def linked(folder: Path, blobs: Sequence[Path]) -> Path:
    """Make the links of a set of parts, in order, unless they are there; the first one.

    Raises `ModelUnusable` if they cannot be made.
    """
    joined = "\n".join(path.name for path in blobs)
    stem = f"sha256-{hashlib.sha256(joined.encode()).hexdigest()}"
    links = [folder / part_name(stem, number, len(blobs)) for number in range(1, len(blobs) + 1)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for link, blob in zip(links, blobs, strict=True):
            _link(link, os.path.relpath(blob, folder))
    except OSError as error:
        raise ModelUnusable(
            f"its parts cannot be linked together: {error.strerror}",
            hint=f"make {folder} writable",
        ) from error
    return links[0]


def _link(link: Path, target: str) -> None:
    with suppress(OSError):
        if os.readlink(link) == target:  # noqa: PTH115 (as text: it is relative)
            return
    new = link.with_name(f".{link.name}-{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def drop_broken(folder: Path) -> list[str]:
    """Remove the links of sets of which a blob is gone; the digests (hex) of these sets."""
    stems = {stem_of(link.name) for link in folder.glob("sha256-*.gguf") if not link.exists()}
    for stem in stems - {None}:
        for link in folder.glob(f"{stem}-*.gguf"):
            link.unlink(missing_ok=True)
    return [stem.removeprefix("sha256-") for stem in stems if stem is not None]
