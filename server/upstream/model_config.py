"""What the model that another server runs is made of: its `config.json` of transformers.

The other server says where it has the model from: a folder, which is read if that server runs
on this machine, or a repository of Hugging Face, if models may come from there. Nothing is
missed if neither can be read: the facts are for people.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import msgspec

from server.errors import ServerError
from server.models.ggml import parameter_size
from server.models.hub import Hub
from server.models.model import Details
from server.models.patience import Interrupted, Patience
from server.models.shape import Shape
from server.models.transformers_config import Config, shape_of

_log = logging.getLogger("akash_llm.upstream")

CONFIG: Final = "config.json"
_MOST_BYTES: Final = 1 << 20
_MOST_HEADER_BYTES: Final = 64 << 20
_LENGTH_BYTES: Final = 8
_PATIENCE: Final = Patience(tries=1, connect_s=3.0, stall_s=5.0)


class _Tensor(msgspec.Struct):
    shape: tuple[int, ...] = ()


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`shape` as the config says it, `precision` such as "bfloat16"; bytes and number of the
    weights are 0 if they were not seen."""

    shape: Shape
    kind: str
    precision: str
    size: int = 0
    parameters: int = 0

    def details(self, plain: Details) -> Details:
        """The details with what is known."""
        return msgspec.structs.replace(
            plain,
            family=self.kind,
            families=[self.kind] if self.kind else None,
            parameter_size=parameter_size(self.parameters) if self.parameters else "",
            quantization_level=self.precision,
            embedding_length=self.shape.width,
        )

    def model_info(self) -> dict[str, Any]:
        """The fields of `/api/show` under the names that they have in a GGUF."""
        shape, kind = self.shape, self.kind or "model"
        fields = {
            "general.architecture": self.kind,
            "general.parameter_count": self.parameters,
            f"{kind}.context_length": shape.context,
            f"{kind}.embedding_length": shape.width,
            f"{kind}.block_count": len(shape.layers),
            f"{kind}.attention.head_count": shape.heads,
            f"{kind}.vocab_size": shape.vocab,
        }
        return {name: value for name, value in fields.items() if value}


async def config_of(root: str, *, is_here: bool, may_fetch: bool) -> ModelConfig | None:
    """The config of the model at `root`, None if it cannot be had. `is_here`: what runs it runs on
    this machine; `may_fetch`: Hugging Face may be asked."""
    try:
        if is_here and Path(root).is_absolute():
            return await asyncio.to_thread(_of_folder, Path(root))
        if may_fetch and root.count("/") == 1 and ".." not in root and not root.startswith("/"):
            return await _of_hub(root)
    except (ServerError, Interrupted, OSError, msgspec.DecodeError, ValueError) as error:
        _log.info("the config of %s cannot be read: %s", root, error)
    return None


def _of_folder(folder: Path) -> ModelConfig:
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{CONFIG} is no file")
    with (folder / CONFIG).open("rb") as file:
        found = _read(file.read(_MOST_BYTES))
    weights = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    return msgspec.structs.replace(
        found,
        size=sum(path.stat().st_size for path in weights),
        parameters=sum(map(_parameters, weights)),
    )


def _parameters(path: Path) -> int:
    """The numbers in a file of safetensors, as its header says."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = file.read(min(length, _MOST_HEADER_BYTES))
    tensors = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
    return sum(_count(raw) for name, raw in tensors.items() if name != "__metadata__")


def _count(raw: msgspec.Raw) -> int:
    count = 1
    for length in msgspec.json.decode(raw, type=_Tensor).shape:
        count *= length
    return count


async def _of_hub(repository: str) -> ModelConfig:
    hub = Hub(_PATIENCE)
    async with hub.web() as web:
        return _read(await web.read(hub.url(repository, CONFIG), _MOST_BYTES))


def _read(data: bytes) -> ModelConfig:
    config = Config(msgspec.json.decode(data, type=dict[str, Any]))
    kind = config.text("model_type") or config.architecture
    return ModelConfig(shape=shape_of(config), kind=kind, precision=config.precision)
