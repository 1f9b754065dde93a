"""The model store of this machine. Files are read and removed beside the event loop."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

import msgspec

from server.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotFound,
    ServerError,
    StorageFull,
)
from server.models.pull import Progress, Puller
from server.models.sources import DEFAULT_REGISTRIES, Registries
from server.models.store import Store
from server.models.stored import StoredModel
from toolkit import paths
from toolkit.errors import CapacityError, ConfigError, ToolkitError, UsageError
from toolkit.models.shelf import Details, Pace, Row, Table

REGISTRIES_VARIABLE = "AKASH_LLM_REGISTRIES"

# The first class that fits decides.
_ERRORS: tuple[tuple[type[ServerError], type[ToolkitError]], ...] = (
    (InvalidRequest, UsageError),
    (ModelNotFound, UsageError),
    (NotFound, UsageError),
    (ModelUnusable, ConfigError),
    (StorageFull, CapacityError),
    (ServerError, ConfigError),
)

T = TypeVar("T")


@contextmanager
def opened_store() -> Iterator[Store]:
    """The store of this machine; its errors become those of the toolkit."""
    try:
        yield Store(paths.models())
    except ServerError as error:
        kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        raise kind(error.message, hint=error.hint) from error


def parsed_registries(text: str, said_by: str) -> Registries:
    """From where models may be pulled, as a list between commas. `UsageError` for what is none."""
    try:
        return Registries.parse(filter(None, map(str.strip, text.split(","))))
    except ValueError as error:
        raise UsageError(f"{said_by}: {error}") from None


class LocalModels:
    """The `Shelf` of this machine."""

    title = "this machine"

    async def listed(self) -> Table:
        return Table(map(_row, await _in_store(lambda store: store.list())))

    async def show(self, name: str) -> Details:
        return await _in_store(lambda store: _details(store.get(name)))

    async def pull(self, name: str) -> AsyncGenerator[Progress, None]:
        text = os.environ.get(REGISTRIES_VARIABLE, "").strip() or ",".join(DEFAULT_REGISTRIES)
        registries = parsed_registries(text, REGISTRIES_VARIABLE)
        with opened_store() as store:
            async with aclosing(Puller(store, registries).pull(name)) as steps:
                async for step in steps:
                    yield step

    async def delete(self, name: str) -> None:
        await _in_store(lambda store: store.remove(name))


async def listed() -> Table:
    """The models of this machine, newest first."""
    return await LocalModels().listed()


async def show(name: str) -> Details:
    """All about a model of this machine."""
    return await LocalModels().show(name)


async def pull(name: str, *, progress: Callable[[Pace], None] | None = None) -> Row:
    """Get a model, and wait for it; one that is there is brought up to date.

    `progress` gets a `Pace`, which prints as a line, when the file under way changes.
    Cancelled, it keeps what came, and goes on from there when it is asked again.
    """
    pace, shelf = Pace(), LocalModels()
    async with aclosing(shelf.pull(name)) as steps:
        async for step in steps:
            is_new = (step.status, step.digest) != (pace.step.status, pace.step.digest)
            pace.see(step)
            if progress is not None and (is_new or step.completed == step.total > 0):
                progress(pace)
    return (await shelf.show(name)).row


async def delete(name: str) -> None:
    """Remove a model of this machine, with the files that no other model uses."""
    await LocalModels().delete(name)


async def _in_store(work: Callable[[Store], T]) -> T:
    def run() -> T:
        with opened_store() as store:
            return work(store)

    return await asyncio.to_thread(run)


def _row(model: StoredModel) -> Row:
    details = model.details
    return Row(
        name=model.name.display(),
        size_bytes=model.size,
        parameters=details.parameter_size,
        quantization=details.quantization_level,
        capabilities=model.capabilities,
        problem=model.problem or "",
    )


def _details(model: StoredModel) -> Details:
    return Details(
        row=_row(model),
        digest=model.digest,
        family=model.details.family,
        context_tokens=model.details.context_length,
        template=model.template_text,
        system=model.system or "",
        license=model.license_text,
        options=msgspec.to_builtins(model.parameters),
        info=model.model_info(),
    )
