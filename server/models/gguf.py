"""What a GGUF file says about itself: its header, read with bounds.

A model file comes from strangers, so nothing it claims is believed before it is
held against the size of the file or a limit: counts, lengths, nesting, alignment
and shapes. Vocabularies are stepped over, not built, unless asked for. Whatever is
wrong with a file, `ModelUnusable` is all that comes out.
"""

import io
import stat
import struct
from pathlib import Path

import msgspec

from server.errors import ModelUnusable
from server.models import ggml
from server.models.cursor import LENGTH, Cursor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_FIELDS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_KEY_BYTES = 1 << 12
MAX_STRINGS = 1 << 22  # in all arrays together; the largest vocabularies have 800,000
MAX_TEXT_BYTES = 1 << 26  # kept in memory, all values together
MAX_DIMENSIONS = 4
KEPT_ARRAY = 1024  # longer arrays (tokens, merges, scores) are left out unless asked for

_BOOL, _STRING, _ARRAY = 7, 8, 9
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    _BOOL: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_FIM_KEYS = (
    ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"),
    ("tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"),
    ("tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"),
)
_RANK = 4  # of llama.cpp's pooling types
_TOKENS = "tokenizer.ggml.tokens"
_TEMPLATE = "tokenizer.chat_template"

Scalar = str | int | float | bool
Value = Scalar | list[Scalar] | None


class Tensor(msgspec.Struct, frozen=True):
    """One tensor as the header announces it; `type` is a ggml type id."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        product = 1
        for length in self.shape:
            product *= length
        return product

    @property
    def type_name(self) -> str:
        """The type's name, or its id where that is newer than our table."""
        block = ggml.BLOCKS.get(self.type)
        return block.name if block else str(self.type)

    @property
    def size_bytes(self) -> int:
        """Its bytes in the file; 0 for a type that we have no size of."""
        block = ggml.BLOCKS.get(self.type)
        return -(-self.elements // block.elements) * block.size_bytes if block else 0

    @property
    def is_possible(self) -> bool:
        """Whether its rows are whole blocks and its elements can be counted in 63 bits."""
        block = ggml.BLOCKS.get(self.type)
        whole_rows = not (block and self.shape) or self.shape[0] % block.elements == 0
        return whole_rows and self.elements < 1 << 63


class GGUFHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a GGUF file.

    `metadata` has every field; an array of more than `KEPT_ARRAY` items is None there
    unless the header was read whole, and its length stands in `array_lengths`.
    `tensors` is empty unless the header was read whole or with them.
    """

    version: int
    metadata: dict[str, Value]
    array_lengths: dict[str, int]
    tensor_count: int
    parameter_count: int
    file_size: int
    has_fim: bool
    tensors: tuple[Tensor, ...] = ()

    def text(self, key: str) -> str:
        """A field that should be text; empty if it is missing or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """A field that should be a whole number; None if it is missing or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def architecture(self) -> str:
        """The kind of model, such as "llama"."""
        return self.text("general.architecture")

    def of_architecture(self, key: str) -> int | None:
        """The number at `<architecture>.<key>`."""
        return self.number(f"{self.architecture}.{key}")

    @property
    def context_length(self) -> int:
        """Tokens the model was trained for; 0 if it does not say."""
        return self.of_architecture("context_length") or 0

    @property
    def embedding_length(self) -> int:
        """Width of its embeddings; 0 if it does not say."""
        return self.of_architecture("embedding_length") or 0

    @property
    def vocab_size(self) -> int:
        """Number of tokens; 0 if the file has no vocabulary."""
        return self.array_lengths.get(_TOKENS, 0)

    @property
    def only_embeds(self) -> bool:
        """Whether it embeds texts and does not complete them: it pools its outputs, or a
        token sees those that come after it."""
        return (
            f"{self.architecture}.pooling_type" in self.metadata
            or self.metadata.get(f"{self.architecture}.attention.causal") is False
            or self.architecture == "t5encoder"
        )

    @property
    def only_ranks(self) -> bool:
        """Whether it gives a text a rank, which is neither."""
        return self.of_architecture("pooling_type") == _RANK

    @property
    def parameter_size(self) -> str:
        """The number of parameters in Ollama's form."""
        return ggml.parameter_size(self.parameter_count)

    @property
    def quantization_level(self) -> str:
        """Such as "Q4_K_M"; "unknown" if the file does not say."""
        file_type = self.number("general.file_type")
        return ggml.FILE_TYPES.get(-1 if file_type is None else file_type, "unknown")

    @property
    def chat_template(self) -> str | None:
        """The default chat template (Jinja), if there is one."""
        return self.text(_TEMPLATE) or None

    @property
    def chat_templates(self) -> dict[str, str]:
        """Every chat template by name; the default one is called "default"."""
        named = {
            key.removeprefix(f"{_TEMPLATE}."): value
            for key, value in self.metadata.items()
            if key.startswith(f"{_TEMPLATE}.") and isinstance(value, str)
        }
        return {"default": self.chat_template, **named} if self.chat_template else named


def read_header(path: Path, *, whole: bool = False, label: str = "") -> GGUFHeader:
    """Read and check the header of a file. Blocks for some milliseconds.

    `whole` also builds the long arrays and the list of tensors; `label` is what to
    call the file in messages. Raises `ModelUnusable` with the next step when the
    file is none, is damaged, or is shorter than its tensors need.
    """
    name = label or path.name
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelUnusable(f"{name} is not a file", hint="name a GGUF file")
        with path.open("rb") as file:
            return _Reader(Cursor(file, name), whole, whole).read()
    except FileNotFoundError as error:
        raise ModelUnusable(
            f"{name} does not exist", hint="check the path, or get the model again"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a path that no system call takes
        reason = getattr(error, "strerror", None) or "not a path"
        raise ModelUnusable(f"{name} cannot be read: {reason}") from error


def parse_beginning(data: bytes, size: int, name: str) -> GGUFHeader:
    """The header, with its tensors but without long arrays, in the first bytes of a file of
    `size` bytes. Raises `ModelUnusable`, and `Beyond` if the header is longer than `data`."""
    return _Reader(Cursor(io.BytesIO(data), name, size), whole=False, tensors=True).read()


def read_tensors(path: Path) -> GGUFHeader:
    """The header of a file with its tensors but without long arrays. Blocks, raises like
    `read_header`."""
    name = path.name
    try:
        with path.open("rb") as file:
            return _Reader(Cursor(file, name), whole=False, tensors=True).read()
    except OSError as error:
        raise ModelUnusable(f"{name} cannot be read: {error.strerror}") from error


class _Reader:
    """Walks once through a header. Every method either advances or raises."""

    def __init__(self, cursor: Cursor, whole: bool, tensors: bool) -> None:
        self._cursor = cursor
        self._whole = whole
        self._tensors = tensors
        self._strings_left = MAX_STRINGS
        self._text_left = MAX_TEXT_BYTES
        self._lengths: dict[str, int] = {}
        self._fim_texts = (False, False, False)

    def read(self) -> GGUFHeader:
        version = self._read_version()
        tensor_count, field_count = self._cursor.unpack("Q"), self._cursor.unpack("Q")
        if tensor_count > MAX_TENSORS or field_count > MAX_FIELDS:
            raise self._cursor.damaged(f"it claims {tensor_count} tensors and {field_count} fields")
        metadata = self._read_fields(field_count)
        tensors = [self._read_tensor() for _ in range(tensor_count)]
        if len({tensor.name for tensor in tensors}) != tensor_count:
            raise self._cursor.damaged("two tensors have the same name")
        self._check_extent(metadata, tensors)
        return GGUFHeader(
            version=version,
            metadata=metadata,
            array_lengths=self._lengths,
            tensor_count=tensor_count,
            parameter_count=sum(tensor.elements for tensor in tensors),
            file_size=self._cursor.size,
            has_fim=self._has_fim(metadata),
            tensors=tuple(tensors) if self._tensors else (),
        )

    # -- the parts of a header, in order

    def _read_version(self) -> int:
        if self._cursor.size == 0:
            raise ModelUnusable(f"{self._cursor.name} is empty", hint="download or copy it again")
        if self._cursor.size < len(MAGIC) or self._cursor.take(len(MAGIC)) != MAGIC:
            raise ModelUnusable(
                f"{self._cursor.name} is not a GGUF file",
                hint="convert other formats with llama.cpp's convert_hf_to_gguf.py",
            )
        version = self._cursor.unpack("I")
        if version not in VERSIONS:
            known = " and ".join(map(str, VERSIONS))
            raise ModelUnusable(
                f"{self._cursor.name} is GGUF version {version}; versions {known} can be read",
                hint="convert the model again with a current llama.cpp",
            )
        return version

    def _read_fields(self, count: int) -> dict[str, Value]:
        metadata: dict[str, Value] = {}
        for _ in range(count):
            key = self._read_text(MAX_KEY_BYTES)
            if key in metadata:
                raise self._cursor.damaged(f"the field {key[:80]!r} is there twice")
            metadata[key] = self._read_value(key)
        return metadata

    def _read_value(self, key: str) -> Value:
        kind = self._cursor.unpack("I")
        return self._read_array(key) if kind == _ARRAY else self._read_scalar(kind)

    def _read_scalar(self, kind: int) -> Scalar:
        if kind == _STRING:
            return self._read_text(MAX_TEXT_BYTES)
        if kind not in _SCALARS:
            raise self._cursor.damaged(f"a value has the unknown type {kind}")
        value: Scalar = struct.unpack(f"<{_SCALARS[kind]}", self._cursor.take(_width(kind)))[0]
        return _shortest(value) if _SCALARS[kind] == "f" else value

    def _read_array(self, key: str) -> Value:
        kind, count = self._cursor.unpack("I"), self._cursor.unpack("Q")
        if kind != _STRING and kind not in _SCALARS:
            raise self._cursor.damaged(f"an array holds values of type {kind}")
        self._cursor.require(count * _width(kind))
        self._lengths[key] = count
        if kind == _STRING:
            return self._read_strings(key, count)
        if count > KEPT_ARRAY and not self._whole:
            self._cursor.skip(count * _width(kind))
            return None
        self._spend_text(count * _width(kind))
        return list(
            struct.unpack(f"<{count}{_SCALARS[kind]}", self._cursor.take(count * _width(kind)))
        )

    def _read_strings(self, key: str, count: int) -> Value:
        self._strings_left -= count
        if self._strings_left < 0:
            raise self._cursor.damaged(f"its arrays hold more than {MAX_STRINGS} texts")
        start = self._cursor.position
        if count <= KEPT_ARRAY or self._whole:
            kept: Value = [self._read_text(MAX_TEXT_BYTES) for _ in range(count)]
        else:
            self._cursor.skip_texts(count)
            kept = None
        if key == _TOKENS:
            self._look_for_fim(start)
        return kept

    def _read_tensor(self) -> Tensor:
        name = self._read_text(MAX_KEY_BYTES)
        dimensions = self._cursor.unpack("I")
        if dimensions > MAX_DIMENSIONS:
            raise self._cursor.damaged(f"the tensor {name[:80]!r} has {dimensions} dimensions")
        shape = tuple(self._cursor.unpack("Q") for _ in range(dimensions))
        tensor = Tensor(name, shape, self._cursor.unpack("I"), self._cursor.unpack("Q"))
        if not tensor.is_possible:
            raise self._cursor.damaged(f"the tensor {name[:80]!r} has an impossible shape")
        return tensor

    def _check_extent(self, metadata: dict[str, Value], tensors: list[Tensor]) -> None:
        """Whether all tensors lie inside the file, where the alignment lets them."""
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self._cursor.damaged("its alignment is not a power of two")
        if any(tensor.offset % alignment for tensor in tensors):
            raise self._cursor.damaged("a tensor is not aligned")
        start = -(-self._cursor.position // alignment) * alignment
        needed = max((start + one.offset + one.size_bytes for one in tensors), default=0)
        if needed > self._cursor.size:
            raise self._cursor.cut_short(needed)

    # -- tokens for filling in the middle

    def _look_for_fim(self, start: int) -> None:
        """Note which of these tokens are in the vocabulary that was just passed."""
        end = self._cursor.position
        if end - start > MAX_TEXT_BYTES:
            return
        self._cursor.seek(start)
        vocabulary = self._cursor.take(end - start)
        prefix, suffix, middle = ggml.FIM_TOKENS
        self._fim_texts = (
            _holds(vocabulary, prefix),
            _holds(vocabulary, suffix),
            _holds(vocabulary, middle),
        )

    def _has_fim(self, metadata: dict[str, Value]) -> bool:
        named = (any(key in metadata for key in keys) for keys in _FIM_KEYS)
        return all(by_id or by_text for by_id, by_text in zip(named, self._fim_texts, strict=True))

    # -- texts

    def _read_text(self, limit: int) -> str:
        length = self._cursor.unpack("Q")
        self._cursor.require(length)
        if length > limit:
            raise self._cursor.damaged(f"a text is {length} bytes long")
        self._spend_text(length)
        return self._cursor.take(length).decode("utf-8", "replace")

    def _spend_text(self, count: int) -> None:
        self._text_left -= count
        if self._text_left < 0:
            raise self._cursor.damaged(f"its fields hold more than {MAX_TEXT_BYTES} bytes")


def _width(kind: int) -> int:
    """The least bytes of a value: for a text those of its length."""
    return LENGTH.size if kind == _STRING else struct.calcsize(f"<{_SCALARS[kind]}")


def _holds(vocabulary: bytes, texts: tuple[str, ...]) -> bool:
    """Whether one of the texts is a token: found with its length in front of it."""
    encoded = (text.encode() for text in texts)
    return any(LENGTH.pack(len(text)) + text in vocabulary for text in encoded)


def _shortest(value: Scalar) -> Scalar:
    """A 32-bit float as people write it: 1e-05, not 9.999999747378752e-06."""
    for digits in range(1, 9):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == struct.pack("<f", value):
                return short
        except OverflowError:  # rounded up beyond the largest 32-bit float
            continue
    return value
