"""What is sized: the shape of a model and the bytes of its weights, wherever the model lies."""

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from server.errors import InvalidRequest, ModelNotFound, NotFound, ServerError
from server.models.beginnings import header_in_registry, header_on_hub
from server.models.gguf import GGUFHeader, Tensor, read_tensors
from server.models.hub import SCHEME, HubFile
from server.models.name import ModelName
from server.models.patience import Patience
from server.models.shape import Layer, Shape, read_shape
from server.models.sources import Registries
from server.models.splits import whole_header
from server.models.store import Store
from server.models.wheel import EMBEDDED
from toolkit import paths
from toolkit.errors import ConfigError, UsageError

_PATIENCE = Patience(tries=3)
ON_DISK = "it lies on this machine: deploy it by a name that a server elsewhere can pull"
_LOOKED_UP = ("token_embd.weight", "per_layer_token_embd.weight")


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A model.

    Of `weights_bytes`, `expert_bytes` belong to experts, of which a token uses some, and
    `lookup_bytes` to tables of which it reads a row. `file_bytes` is what has to be stored.
    `beside_bytes` are adapters and projectors. `precision` is what people call the type of the
    weights, `is_exact` says whether they were counted. `is_gguf` says in which form they are.
    """

    name: str
    shape: Shape
    weights_bytes: int
    file_bytes: int
    parameters: int
    precision: str
    is_gguf: bool
    expert_bytes: int = 0
    lookup_bytes: int = 0
    beside_bytes: int = 0
    is_exact: bool = True
    remarks: tuple[str, ...] = ()


async def find_gguf(text: str, registries: Registries) -> Subject:
    """The model of a path, of a name in the store of this machine or in a registry, or of
    `hf://user/repo/file.gguf`; from the network only its header is fetched.

    Raises `UsageError` for what is none, `ConfigError` for one that cannot be read.
    """
    with translated():
        if text.startswith(SCHEME):
            file = HubFile.parse(text)
            return from_header(text, await header_on_hub(file, _PATIENCE))
        here = await asyncio.to_thread(_on_this_machine, text)
        return here or await _in_registry(text, registries)


async def _in_registry(text: str, registries: Registries) -> Subject:
    name = ModelName.parse(text)
    if name.same_as(ModelName.parse(EMBEDDED)):
        raise UsageError(f"{text} is not on this machine", hint=f"akash-llm models pull {EMBEDDED}")
    header, beside_bytes = await header_in_registry(name, registries, _PATIENCE)
    return from_header(text, header, beside_bytes=beside_bytes)


def local_path(text: str) -> Path:
    """A path as people write it, whether there is something or not."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 (that one fails for ~nobody)


def _on_this_machine(text: str) -> Subject | None:
    path = local_path(text)
    if path.is_file():
        found = from_header(text, whole_header(path, read_tensors))
        return msgspec.structs.replace(found, remarks=(*found.remarks, ON_DISK))
    try:
        files = Store(paths.models()).get(text).files()
    except ModelNotFound:
        return None
    others = [*(adapter.path for adapter in files.adapters), files.projector]
    beside = sum(path.stat().st_size for path in others if path is not None)
    header = whole_header(files.weights, read_tensors)
    return from_header(text, header, beside_bytes=beside)


def from_header(name: str, header: GGUFHeader, *, beside_bytes: int = 0) -> Subject:
    """The model of a header that has its tensors; `beside_bytes` are those of adapters and of
    what shows it images."""
    shape = read_shape(header)
    remarks: tuple[str, ...] = ()
    if header.tensors and not any(layer.keys or layer.state for layer in shape.layers):
        shape, remarks = _from_tensors(shape, header.tensors)
    names = {tensor.name for tensor in header.tensors}
    return Subject(
        name=name,
        shape=shape,
        weights_bytes=_size(header.tensors) or header.file_size,
        file_bytes=header.file_size + beside_bytes,
        parameters=header.parameter_count,
        precision=header.quantization_level,
        is_gguf=True,
        expert_bytes=_size(one for one in header.tensors if "_exps." in one.name),
        # Where there is no output of its own, the table is read as a whole for it.
        lookup_bytes=_size(one for one in header.tensors if one.name in _LOOKED_UP)
        if "output.weight" in names
        else 0,
        beside_bytes=beside_bytes,
        remarks=remarks,
    )


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


def _from_tensors(shape: Shape, tensors: Iterable[Tensor]) -> tuple[Shape, tuple[str, ...]]:
    """A shape whose layers are what the tensors for keys and values show."""
    if not shape.has_memory:
        return shape, ()
    rows = {tensor.name: tensor.shape[-1] for tensor in tensors if len(tensor.shape) == 2}
    layers = tuple(
        Layer(kv_heads=1, key_length=width, value_length=rows.get(name.replace("_k.", "_v."), 0))
        for name, width in rows.items()
        if name.endswith(".attn_k.weight")
    )
    kind = shape.architecture or "without a name"
    if not layers:
        return shape, (f"nothing is known of the memory of the architecture {kind}",)
    remark = f"the architecture {kind} does not describe its layers: told from its tensors"
    return msgspec.structs.replace(shape, layers=layers), (remark,)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the model store and of registries become those of the toolkit."""
    try:
        yield
    except (InvalidRequest, NotFound) as error:
        raise UsageError(error.message, hint=error.hint) from error
    except ServerError as error:
        raise ConfigError(error.message, hint=error.hint) from error
