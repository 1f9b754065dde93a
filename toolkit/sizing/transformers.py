"""Models as Hugging Face keeps them: `config.json`, and weights in safetensors files.

The config is what vLLM reads as well. The bytes of the weights are in the index that comes
with several files; of a single file its header is read, which says it tensor by tensor.
"""

import asyncio
from typing import Any, NamedTuple

import msgspec

from server.errors import NotFound
from server.models.beginnings import read_range
from server.models.hub import SCHEME, Hub
from server.models.patience import Patience, persist
from server.models.sources import HUGGING_FACE
from server.models.transformers_config import Config, shape_of
from server.models.web import Web
from toolkit.errors import ConfigError, UsageError
from toolkit.sizing.subject import ON_DISK, Subject, local_path, translated

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
_MAX_JSON = 32 << 20
_LENGTH_BYTES = 8
_PATIENCE = Patience(tries=3)
_HALF_BYTES = 2
_MOST_BYTES = 1 << 60


class Weights(NamedTuple):
    size: int
    parameters: int  # 0 if it is not said


class _Index(msgspec.Struct):
    metadata: dict[str, Any] = {}


class _Entry(msgspec.Struct):
    shape: tuple[int, ...] = ()
    data_offsets: tuple[int, int] = (0, 0)


def is_folder(text: str) -> bool:
    """Whether this is a folder that holds such a model."""
    return (local_path(text) / CONFIG).is_file()


async def find_transformers(text: str) -> Subject:
    """The model of a folder or of `hf://user/repo[@revision]`; of one that is not on this machine
    only config, index and headers are fetched.

    Raises `UsageError` for what is none, `ConfigError` for one that cannot be read.
    """
    with translated():
        if is_folder(text):
            found = await asyncio.to_thread(_from_folder, text)
            return msgspec.structs.replace(found, remarks=(*found.remarks, ON_DISK))
        return await _from_hub(_without_host(text), text)


def _without_host(text: str) -> str:
    for start in (SCHEME, *(f"{host}/" for host in HUGGING_FACE)):
        text = text.removeprefix(start)
    return text


def _from_folder(name: str) -> Subject:
    folder = local_path(name)
    config = _decoded((folder / CONFIG).read_bytes())
    if (folder / INDEX).is_file():
        return from_config(name, config, _of_index((folder / INDEX).read_bytes()))
    if not (folder / SINGLE).is_file():
        raise UsageError(
            f"{name} has no {SINGLE}", hint="convert other weights to safetensors first"
        )
    with (folder / SINGLE).open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        return from_config(name, config, _of_header(file.read(min(length, _MAX_JSON))))


async def _from_hub(text: str, name: str) -> Subject:
    repo, _, revision = text.partition("@")
    if repo.count("/") != 1 or not all(repo.split("/")) or ".." in text:
        raise UsageError(
            f"{name!r} names no model on Hugging Face", hint="it looks like hf://user/repo"
        )
    hub = Hub(_PATIENCE)
    async with hub.web() as web:

        def url(path: str) -> str:
            return hub.url(repo, path, revision or "main")

        config = _decoded(await _read(web, url(CONFIG)))
        try:
            weights = _of_index(await _read(web, url(INDEX)))
        except NotFound:
            weights = await _of_single(web, url(SINGLE))
    return from_config(name, config, weights)


async def _read(web: Web, url: str) -> bytes:
    return await persist(lambda: web.read(url, _MAX_JSON), _PATIENCE)


async def _of_single(web: Web, url: str) -> Weights:
    data = bytearray()
    end = _LENGTH_BYTES
    await persist(lambda: read_range(web.get, url, data, end), _PATIENCE)
    end += min(int.from_bytes(data, "little"), _MAX_JSON)
    await persist(lambda: read_range(web.get, url, data, end), _PATIENCE)
    return _of_header(bytes(data[_LENGTH_BYTES:]))


def _of_index(data: bytes) -> Weights:
    size = _convert(data, _Index).metadata.get("total_size", 0)
    if not isinstance(size, int | float) or not 0 < size < _MOST_BYTES:
        raise ConfigError(f"{INDEX} does not say how large the weights are")
    return Weights(int(size), 0)


def _of_header(data: bytes) -> Weights:
    raw = _convert(data, dict[str, msgspec.Raw])
    entries = [_convert(value, _Entry) for key, value in raw.items() if key != "__metadata__"]
    parameters = 0
    for entry in entries:
        product = 1
        for length in entry.shape:
            product *= length
        parameters += product
    return Weights(max((entry.data_offsets[1] for entry in entries), default=0), parameters)


def _convert(data: bytes | msgspec.Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"a description of the weights cannot be read: {error}") from error


def _decoded(data: bytes) -> Config:
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{CONFIG} cannot be read: {error}") from error
    return Config(fields)


def from_config(name: str, config: Config, weights: Weights) -> Subject:
    """The model of a config."""
    shape = shape_of(config)
    experts = 3 * shape.experts * shape.width * shape.expert_feed_forward
    in_experts = experts * sum(bool(layer.keys or layer.state) for layer in shape.layers)
    parameters = weights.parameters or weights.size // _HALF_BYTES
    share = min(in_experts / parameters, 0.98) if parameters else 0
    table = shape.vocab * shape.width
    remarks = () if any(layer.keys for layer in shape.layers) else (_UNKNOWN,)
    return Subject(
        name=_without_host(name),
        shape=shape,
        weights_bytes=weights.size,
        file_bytes=weights.size,
        parameters=parameters,
        precision=config.precision,
        is_gguf=False,
        expert_bytes=int(share * weights.size),
        lookup_bytes=0
        if config.has("tie_word_embeddings")
        else min(table * _HALF_BYTES, weights.size // 2),
        remarks=remarks,
    )


_UNKNOWN = "its config does not describe attention: the cache is not counted"
