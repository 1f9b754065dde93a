"""What a model takes on this machine, read from its file, with the reason for each."""

import asyncio
import math
from collections.abc import Callable

import msgspec
import psutil

from server.errors import ModelNotFound, ServerError, StorageFull
from server.models.footprint import Use, cache_bytes
from server.models.gguf import GGUFHeader
from server.models.name import InvalidModelName, ModelName
from server.models.shape import read_shape
from server.models.store import Store
from server.models.stored import StoredModel
from server.models.wheel import EMBEDDED, ensure_embedded
from toolkit import paths
from toolkit.deploy.base import Intent, Resource
from toolkit.errors import CapacityError, ConfigError, UsageError
from toolkit.units import GIB, MIB

# Programs, the vocabulary and compute buffers of a small batch.
OVERHEAD_BYTES = 300 * MIB


class Needs(msgspec.Struct, frozen=True):
    """`intent` has the model's name written out. `memory` is a size for an SDL, `gpus` how many
    of this machine's are used by an engine that asks for a number."""

    intent: Intent
    memory: str
    resources: tuple[Resource, ...]
    notices: tuple[str, ...]
    gpus: int = 1


def needs_of(intent: Intent) -> Needs:
    """Resources and notices for an intent; blocks on the disk.

    `UsageError` for a name that is none, `ConfigError` for a model that is not in the
    store or cannot be served, `CapacityError` if it cannot fit.
    """
    name = parsed_name(intent.model)
    intent = msgspec.structs.replace(intent, model=name.display())
    try:
        stored = Store(paths.models()).get(name)
        stored.check()
    except ModelNotFound:
        if not name.same_as(ModelName.parse(EMBEDDED)):
            raise _missing(intent.model) from None
        return _unseen(intent)
    except ServerError as error:
        raise ConfigError(error.message, hint=error.hint or _LISTING) from None
    return _measured(intent, stored)


async def make_available(intent: Intent, report: Callable[[str], None]) -> None:
    """Put the embedded model into the store if it is wanted and not there.

    `ConfigError` for any other model that is not there, `CapacityError` for a full disk.
    """
    name = parsed_name(intent.model)
    store = Store(paths.models())
    loop = asyncio.get_running_loop()

    def tell(line: str) -> None:
        loop.call_soon_threadsafe(report, line)

    try:
        if name.same_as(ModelName.parse(EMBEDDED)):
            await asyncio.to_thread(ensure_embedded, store, progress=tell)
        else:
            await asyncio.to_thread(store.get, name)
    except ModelNotFound:
        raise _missing(intent.model) from None
    except StorageFull as error:
        raise CapacityError(error.message, hint=error.hint) from None
    except ServerError as error:
        raise ConfigError(error.message, hint=error.hint or _LISTING) from None


def is_obtainable(model: str) -> bool:
    """Whether it is in the store, or comes with us. `UsageError` for a name that is none."""
    name = parsed_name(model)
    if name.same_as(ModelName.parse(EMBEDDED)):
        return True
    try:
        Store(paths.models()).get(name)
    except ModelNotFound:
        return False
    except ServerError:
        return True  # it is there, and whoever asks next will be told what is wrong with it
    return True


_LISTING = "See what is there: akash-llm models list"


def parsed_name(model: str) -> ModelName:
    """The name of a model, else `UsageError`."""
    try:
        return ModelName.parse(model)
    except InvalidModelName as error:
        raise UsageError(error.message, hint=error.hint) from None


def _missing(model: str) -> ConfigError:
    return ConfigError(
        f"the model {model} is not on this machine",
        hint="`akash-llm models list` shows what is, `akash-llm models pull NAME` and"
        " `akash-llm models add NAME FILE` bring more.",
    )


def _unseen(intent: Intent) -> Needs:
    resources = (
        Resource("model", intent.model, "small enough for any machine"),
        context_resource(intent),
    )
    notice = f"{intent.model} is not here yet: its package (about 100 MB) will be downloaded."
    return Needs(intent, "1Gi", resources, (notice,))


def _measured(intent: Intent, stored: StoredModel) -> Needs:
    _, header = stored.check()
    use = Use(context=intent.context, parallel=intent.parallel)
    cache = cache_bytes(read_shape(header), use)
    memory = stored.size + cache + OVERHEAD_BYTES
    total = psutil.virtual_memory().total
    if memory > total:
        raise CapacityError(
            f"{intent.model} needs about {size_text(memory)} of memory, this machine has"
            f" {size_text(total)}",
            hint="Ask for a smaller context, fewer parallel requests or a smaller model.",
        )
    resources = (
        Resource("model", f"{intent.model}, {size_text(stored.size)}", _kind(stored)),
        context_resource(intent),
        Resource(
            "memory",
            f"about {size_text(memory)}",
            f"weights {size_text(stored.size)}, cache {size_text(cache)},"
            f" programs {size_text(OVERHEAD_BYTES)}",
        ),
    )
    whole = f"{math.ceil(memory / MIB)}Mi"
    return Needs(intent, whole, resources, _notices(intent, header, memory))


def _notices(intent: Intent, header: GGUFHeader, memory: int) -> tuple[str, ...]:
    notices = []
    if header.context_length and intent.context > header.context_length:
        notices.append(
            f"{intent.model} was trained for {header.context_length} tokens; beyond that"
            " answers get worse."
        )
    if memory > psutil.virtual_memory().available:
        notices.append("More memory than is free now: close something, or it may be slow.")
    return tuple(notices)


def context_resource(intent: Intent) -> Resource:
    """The row of a plan about tokens and requests."""
    return Resource(
        "context",
        f"{intent.context} tokens for each of {intent.parallel} at once",
        "no request shares its context",
    )


def _kind(stored: StoredModel) -> str:
    details = stored.details
    return f"{details.parameter_size} parameters, {details.quantization_level}"


def size_text(size_bytes: int) -> str:
    """Bytes as a plan shows them."""
    if size_bytes >= GIB:
        return f"{size_bytes / GIB:.1f} GiB"
    return f"{max(1, round(size_bytes / MIB))} MiB"
