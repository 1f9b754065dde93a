"""The engine `--engine vllm`: the models of a `vllm serve`.

It needs `--enable-tokenizer-info-endpoint` there, which tells the chat template and the control
tokens. `--enable-prompt-tokens-details` and `--enable-per-request-metrics` make counts and
durations true, `--structured-outputs-config.backend guidance` understands all formats.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from server.address import is_here
from server.engine.types import LoadedModel, ModelInfo
from server.errors import NotFound, ServerError, UpstreamFailed, UpstreamGone, UpstreamSilent
from server.models.library import Library
from server.models.model import Details
from server.models.sources import HUGGING_FACE
from server.settings import Settings
from server.upstream.base import LOOK_S, Book, UpstreamEngine
from server.upstream.fixed_library import FixedLibrary
from server.upstream.listed import ListedModel, digest_of, modelfile_of, name_of
from server.upstream.model_config import ModelConfig, config_of
from server.upstream.vllm_images import sees_images
from server.upstream.vllm_model import VLLMModel
from server.upstream.vllm_wire import (
    IGNORED_OPTIONS,
    Card,
    Cards,
    Tokenized,
    TokenizerInfo,
)
from server.upstream.vocabulary import Vocabulary

ENGINE: Final = "vLLM"
_GENERATES: Final = "/v1/completions"
# A text that is one token or two of its own in every vocabulary.
_PROBE: Final = "a"
# For a config that lies on this machine.
_CONFIG_S: Final = 0.5
_LARGEST_VOCABULARY: Final = 1 << 31
_THEIRS: Final = b"vllm"
_COMMENTS: Final = (b"# HELP vllm", b"# TYPE vllm")
_NO_TEMPLATE: Final = (
    "vLLM does not tell its chat template: it was started without --enable-tokenizer-info-endpoint"
)


def open_engine(settings: Settings) -> "VLLMEngine":
    """The engine as the settings want it."""
    return VLLMEngine(settings)


class VLLMEngine(UpstreamEngine):
    """See `UpstreamEngine`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(ENGINE, settings)
        self._share_prefixes = settings.share_prefixes
        self._library = FixedLibrary(
            "this server is a gateway to vLLM, which has the models that it was started with"
        )
        self._tokenizer: TokenizerInfo | None = None
        self._paths: frozenset[str] = frozenset()
        self._configs: dict[str, ModelConfig | None] = {}
        self._reading: set[asyncio.Task[None]] = set()
        self._is_here = is_here(settings.upstream or "")
        self._may_fetch = any(map(settings.registries.allows, HUGGING_FACE))

    @property
    def library(self) -> Library:
        return self._library

    async def metrics(self) -> bytes:
        """Ours, and vLLM's as they are."""
        ours = await super().metrics()
        try:
            text = await self._wire.read("GET", "/metrics", within_s=LOOK_S)
        except ServerError:
            return ours
        lines = text.splitlines(keepends=True)
        theirs = (line for line in lines if line.startswith((_THEIRS, *_COMMENTS)))
        return ours + b"".join(theirs)

    async def _look(self) -> Sequence[ListedModel]:
        await self._wire.read("GET", "/health", within_s=LOOK_S)
        cards = await self._wire.get("/v1/models", Cards, within_s=LOOK_S)
        if self._tokenizer is None:
            self._paths = await self._read_paths()
        # Each time: another vLLM may have come under the same names without ever being away.
        self._tokenizer = await self._read_tokenizer()
        await self._read_configs(cards)
        return [self._listed(card, self._tokenizer) for card in cards.data]

    async def _read_configs(self, cards: Cards) -> None:
        """Have read what is here; what is fetched may come later, as a change of the model."""
        for root in {_root(card) for card in cards.data} - self._configs.keys():
            self._configs[root] = None
            reading = asyncio.create_task(self._read_config(root))
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
        if self._reading:
            await asyncio.wait(self._reading, timeout=_CONFIG_S)

    def _listed(self, card: Card, tokenizer: TokenizerInfo) -> ListedModel:
        config = self._configs[_root(card)]
        generates = not self._paths or _GENERATES in self._paths
        return _listed(card, tokenizer, config, self.since_ns, generates=generates)

    async def _read_config(self, root: str) -> None:
        found = await config_of(root, is_here=self._is_here, may_fetch=self._may_fetch)
        self._configs[root] = found

    def _lost(self, problem: str) -> None:
        super()._lost(problem)
        self._tokenizer = None
        self._configs.clear()

    async def close(self) -> None:
        for reading in list(self._reading):
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await super().close()

    async def _read_tokenizer(self) -> TokenizerInfo:
        try:
            return await self._wire.get("/tokenizer_info", TokenizerInfo, within_s=LOOK_S)
        except NotFound:
            raise UpstreamFailed(_NO_TEMPLATE, hint="start it with that flag") from None

    async def _read_paths(self) -> frozenset[str]:
        """What it can be asked; nothing if it does not say."""
        try:
            found = await self._wire.get("/openapi.json", dict[str, Any], within_s=LOOK_S)
        except (UpstreamGone, UpstreamSilent):
            raise
        except ServerError:
            return frozenset()
        paths = found.get("paths")
        return frozenset(paths) if isinstance(paths, dict) else frozenset()

    async def _open(self, model: ListedModel, book: Book) -> LoadedModel:
        tokenizer = self._tokenizer or await self._read_tokenizer()
        with_own, bare = await asyncio.gather(
            self._tokens(model.upstream_name, add_special=True),
            self._tokens(model.upstream_name, add_special=False),
        )
        start, end = _around(with_own.tokens, bare.tokens)
        vocabulary = _vocabulary(tokenizer)
        info = _info(model, tokenizer, vocabulary, bare.max_model_len, start, end)
        return VLLMModel(
            self._wire,
            model.upstream_name,
            info,
            vocabulary,
            book,
            share_prefixes=self._share_prefixes,
        )

    async def _tokens(self, name: str, *, add_special: bool) -> Tokenized:
        body = {"model": name, "prompt": _PROBE, "add_special_tokens": add_special}
        return await self._wire.post("/tokenize", body, Tokenized)


def _root(card: Card) -> str:
    """Where the model lies there."""
    return card.root or card.id


def _listed(
    card: Card,
    tokenizer: TokenizerInfo,
    config: ModelConfig | None,
    since_ns: int,
    *,
    generates: bool,
) -> ListedModel:
    template, tool_template = _templates(tokenizer)
    can = {
        "completion": True,
        "insert": _vocabulary(tokenizer).gap_texts is not None,
        "vision": sees_images(template),
    }
    context = card.max_model_len or 0
    plain = Details(parent_model=card.parent or "", format="safetensors", context_length=context)
    listed = ListedModel(
        name=name_of(card.id),
        upstream_name=card.id,
        digest=digest_of(ENGINE, card.id, card.root or "", repr(tokenizer)),
        size=config.size if config else 0,
        modified_ns=since_ns,
        capabilities=tuple(name for name in can if can[name]) if generates else ("embedding",),
        details=config.details(plain) if config else plain,
        manner_template=tool_template or template,
        template_text=template or "",
        info=config.model_info() if config else {},
    )
    return listed.with_modelfile(modelfile_of(listed))


def _templates(tokenizer: TokenizerInfo) -> tuple[str | None, str | None]:
    """The chat template, and one for conversations with tools if there is one."""
    found = tokenizer.chat_template
    if not isinstance(found, dict):
        return found, None
    return found.get("default"), found.get("tool_use")


def _vocabulary(tokenizer: TokenizerInfo) -> Vocabulary:
    added = {
        int(key): text for key, text in tokenizer.added_tokens_decoder.items() if key.isdecimal()
    }
    return Vocabulary(added)


def _around(whole: Sequence[int], bare: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that are put in front of a text and behind it."""
    for at in range(len(whole) - len(bare) + 1):
        if list(whole[at : at + len(bare)]) == list(bare):
            return tuple(whole[:at]), tuple(whole[at + len(bare) :])
    return (), ()


def _info(
    model: ListedModel,
    tokenizer: TokenizerInfo,
    vocabulary: Vocabulary,
    context: int,
    start: tuple[int, ...],
    end: tuple[int, ...],
) -> ModelInfo:
    vocab_size = model.info.get(f"{model.details.family}.vocab_size", 0)
    template, tool_template = _templates(tokenizer)
    return ModelInfo(
        architecture=model.details.family,
        context=context,
        context_train=context,
        parallel=1,
        # Where nobody says it, a token beyond is refused there.
        vocab_size=vocab_size or _LARGEST_VOCABULARY,
        size_bytes=model.size,
        memory_bytes=0,
        bos=tokenizer.bos_token or "",
        eos=tokenizer.eos_token or "",
        add_bos=len(start) == 1,
        chat_template=template,
        tool_template=tool_template,
        control_tokens=vocabulary.texts,
        fim=vocabulary.gap_texts,
        can_shift=False,
        text_start=start,
        text_end=end,
        can_generate="completion" in model.capabilities,
        has_vision="vision" in model.capabilities,
        ignored_options=IGNORED_OPTIONS,
    )
