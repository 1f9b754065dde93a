"""Making a model of what is there: another model, or blobs that a client sent.

What Ollama makes of a Modelfile; see `recipe` for what differs.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import msgspec

from server.errors import InvalidRequest, ModelNotFound, ModelUnusable
from server.models import locks, parameters, splits
from server.models.blobs import Draft
from server.models.extras import Extras
from server.models.files import storage_errors
from server.models.gguf import GGUFHeader, read_header
from server.models.layers import check_adapter, check_model
from server.models.manifest import (
    CONFIG_TYPE,
    Layer,
    Manifest,
    make_config,
    media_type,
    parse_digest,
)
from server.models.name import ModelName
from server.models.pull import SUCCESS, Progress, Puller, Steps, parse_name
from server.models.recipe import Recipe, check
from server.models.store import Store

_QUANTIZABLE = ("F32", "F16", "BF16")


class Quantizer(Protocol):
    """Rewrites weights in another type; the engine has one."""

    kinds: tuple[str, ...]

    async def quantize(self, source: Path, target: Path, kind: str) -> None:
        """Write `source` as `target`. Cancelling ends the work.

        Raises `ModelUnusable`, `StorageFull`, `LoadFailed`, or `ServerError`.
        """


class _Sources(msgspec.Struct, frozen=True):
    """What the model is made of: the layers of blobs, the header of the weights, and where
    these can be loaded from if they are to be rewritten."""

    blobs: list[Layer]
    header: GGUFHeader
    weights: Path
    texts: list[Layer] = []
    parameters: Mapping[str, object] = {}


class Creator:
    """Makes models in a store. `puller` gets a base that is not there."""

    def __init__(
        self, store: Store, *, puller: Puller | None = None, quantizer: Quantizer | None = None
    ) -> None:
        self._store = store
        self._puller = puller
        self._quantizer = quantizer

    async def create(self, recipe: Recipe) -> Steps:
        """Make a model; progress as Ollama tells it.

        Before the first step it raises `InvalidRequest`, `Unsupported` or `Forbidden` for a
        recipe that makes no sense or is not allowed; then also `ModelNotFound`,
        `ModelUnusable`, `StorageFull`, or what pulling raises.
        """
        name = parse_name(recipe.name)
        given, dropped = parameters.checked(recipe.parameters)
        check(recipe, self._quantizer.kinds if self._quantizer else ())
        for one in dropped:
            yield Progress(f"warning: parameter {one} is deprecated and was left out")
        if recipe.base:
            async with aclosing(self._pull_base(recipe.base)) as steps:
                async for step in steps:
                    yield step
        else:
            for _ in recipe.files:
                yield Progress("parsing GGUF")
        with storage_errors(self._store.root):
            await asyncio.to_thread(self._store.private_folder)
        async with locks.shared(self._store.writers_lock):
            sources = await asyncio.to_thread(self._sources, recipe)
            async with aclosing(self._write(name, recipe, sources, given)) as steps:
                async for step in steps:
                    yield step

    async def _pull_base(self, base: str) -> Steps:
        try:
            self._store.get(base)
        except ModelNotFound:
            if self._puller is None:
                raise
            async with aclosing(self._puller.pull(base)) as steps:
                async for step in steps:
                    if step != SUCCESS:
                        yield step

    async def _write(
        self, name: ModelName, recipe: Recipe, sources: _Sources, given: Mapping[str, object]
    ) -> Steps:
        if not recipe.quantize:
            async with aclosing(self._commit(name, recipe, sources, given, None)) as steps:
                async for step in steps:
                    yield step
            return
        kind = recipe.quantize.upper()
        yield Progress(f"quantizing {sources.header.quantization_level} model to {kind}")
        async with aclosing(self._quantized(sources, recipe.quantize.lower())) as results:
            async for draft, rewritten in results:
                async with aclosing(self._commit(name, recipe, rewritten, given, draft)) as steps:
                    async for step in steps:
                        yield step

    async def _quantized(
        self, sources: _Sources, kind: str
    ) -> AsyncGenerator[tuple[Draft, _Sources], None]:
        """The weights in another type as a draft, once; it is gone afterwards unless placed."""
        quantizer = self._quantizer
        if quantizer is None or sources.header.quantization_level not in _QUANTIZABLE:
            raise InvalidRequest(
                "quantization is only supported for F16 and F32 models",
                hint="create it from the weights as they were published",
            )
        with self._store.blobs.writer(sources.header.file_size) as writer:
            await quantizer.quantize(sources.weights, writer.path, kind)
            draft = await asyncio.to_thread(writer.rewritten)
            header = await asyncio.to_thread(read_header, writer.path, label="what was made")
            layer = Layer(media_type("model"), draft.digest, draft.size)
            others = [one for one in sources.blobs if one.kind != "model"]
            yield (
                draft,
                msgspec.structs.replace(sources, blobs=[layer, *others], header=header),
            )

    async def _commit(
        self,
        name: ModelName,
        recipe: Recipe,
        sources: _Sources,
        given: Mapping[str, object],
        draft: Draft | None,
    ) -> Steps:
        texts = _texts(recipe, sources, given)
        written = [Layer.of(kind, data) for kind, data in texts]
        layers = [*sources.blobs, *_kept(sources.texts, written), *written]
        for layer in layers:
            is_there = self._store.blobs.size(layer.digest) is not None
            how = "using existing" if is_there else "creating new"
            yield Progress(f"{how} layer {layer.digest}")
        config = make_config(sources.header, layers).to_json()
        manifest = Manifest(config=Layer.of(CONFIG_TYPE, config), layers=layers).to_json()
        yield Progress("writing manifest")
        contents = [*(data for _, data in texts), config]
        await asyncio.to_thread(self._store.commit, name, manifest, contents=contents, draft=draft)
        yield SUCCESS

    # -- sources

    def _sources(self, recipe: Recipe) -> _Sources:
        """Look at everything the model is made of. Blocks.

        Raises `ModelUnusable` for a base; for files that were sent to us, `InvalidRequest`.
        """
        base = self._of_base(recipe) if recipe.base else None
        try:
            sources = base or self._of_files(recipe)
            sources.blobs.extend(self._adapters(recipe, sources.header.architecture))
        except ModelUnusable as error:
            raise InvalidRequest(error.message, hint=error.hint) from None
        return sources

    def _adapters(self, recipe: Recipe, architecture: str) -> Iterator[Layer]:
        for digest in recipe.adapters.values():
            layer, header = self._blob(digest, "adapter")
            check_adapter(header, architecture)
            yield layer

    def _of_base(self, recipe: Recipe) -> _Sources:
        base = self._store.get(recipe.base)
        weights, header = base.check()
        layers = self._store.manifest(base.name).layers
        kinds = ("model", "projector", "adapter")
        return _Sources(
            [layer for layer in layers if layer.kind in kinds],
            header,
            weights,
            [layer for layer in layers if layer.kind not in (*kinds, "params")],
            base.parameters,
        )

    def _of_files(self, recipe: Recipe) -> _Sources:
        found = [self._blob(digest, "model") for digest in recipe.files.values()]
        weights = [(layer, header) for layer, header in found if not _is_projector(header)]
        if not weights:
            raise ModelUnusable("there are no weights of a language model among the files")
        order = splits.ordered([header for _, header in weights])
        layers = [weights[index][0] for index in order]
        whole = splits.merged([weights[index][1] for index in order])
        check_model(whole, next(iter(recipe.files)), num_files=len(layers))
        paths = [self._store.blobs.path(layer.digest) for layer in layers]
        path = self._store.link(paths) if len(paths) > 1 else paths[0]
        projectors = [
            msgspec.structs.replace(layer, media_type=media_type("projector"))
            for layer, header in found
            if _is_projector(header)
        ]
        return _Sources([*layers, *projectors], whole, path)

    def _blob(self, text: str, kind: str) -> tuple[Layer, GGUFHeader]:
        digest = parse_digest(text)
        size = self._store.blobs.size(digest)
        if size is None:
            raise InvalidRequest(
                f'blob "{digest}" does not exist', hint="send it to /api/blobs first"
            )
        header = self._store.blob_header(self._store.blobs.path(digest))
        return Layer(media_type(kind), digest, size), header


def _is_projector(header: GGUFHeader) -> bool:
    return header.architecture == "clip" or header.text("general.type") == "mmproj"


def _texts(
    recipe: Recipe, sources: _Sources, given: Mapping[str, object]
) -> list[tuple[str, bytes]]:
    """The new layers that are texts. Parameters add to those of the base."""
    extras = Extras(
        jinja=recipe.template or None,
        system=recipe.system or None,
        params={**sources.parameters, **given},
        messages=tuple(recipe.messages),
        licenses=tuple(recipe.licenses),
    )
    return list(extras.layers())


def _kept(old: Sequence[Layer], new: Sequence[Layer]) -> list[Layer]:
    """The texts of the base that are not replaced; licenses add up."""
    kinds = {layer.kind for layer in new} - {"license"}
    if any("jinja" in kind for kind in kinds):
        kinds.add("template")
    digests = {layer.digest for layer in new}
    return [layer for layer in old if layer.kind not in kinds and layer.digest not in digests]
