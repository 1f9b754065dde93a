"""The engine `--engine vllm`: the models of a `vllm serve`.

It needs `--enable-tokenizer-info-endpoint` there, which tells the chat template and the control
tokens. `--enable-prompt-tokens-details` and `--enable-per-request-metrics` make counts and
durations true, `--structured-outputs-config.backend guidance` understands all formats.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from server.engine.types import LoadedModel, ModelInfo
from server.errors import InvalidRequest, NotFound, UpstreamFailed
from server.models.library import Library
from server.models.model import Details
from server.settings import Settings
from server.upstream.base import LOOK_S, Book, UpstreamEngine
from server.upstream.fixed_library import FixedLibrary
from server.upstream.listed import ListedModel, digest_of, modelfile_of, name_of
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
        # Asked for once after each time that it was away.
        self._tokenizer: TokenizerInfo | None = None
        self._paths: frozenset[str] = frozenset()

    @property
    def library(self) -> Library:
        return self._library

    async def metrics(self) -> bytes:
        """Ours, and vLLM's as they are."""
        ours = await super().metrics()
        try:
            text = await self._wire.read("GET", "/metrics", within_s=LOOK_S)
        except (UpstreamFailed, InvalidRequest, NotFound):
            return ours
        lines = text.splitlines(keepends=True)
        theirs = (line for line in lines if line.startswith((_THEIRS, *_COMMENTS)))
        return ours + b"".join(theirs)

    async def _look(self) -> Sequence[ListedModel]:
        await self._wire.read("GET", "/health", within_s=LOOK_S)
        cards = await self._wire.get("/v1/models", Cards, within_s=LOOK_S)
        if self._tokenizer is None:
            self._tokenizer = await self._read_tokenizer()
            self._paths = await self._read_paths()
        generates = not self._paths or _GENERATES in self._paths
        return [_listed(card, self._tokenizer, generates=generates) for card in cards.data]

    def _lost(self, problem: str) -> None:
        super()._lost(problem)
        self._tokenizer = None

    async def _read_tokenizer(self) -> TokenizerInfo:
        try:
            return await self._wire.get("/tokenizer_info", TokenizerInfo, within_s=LOOK_S)
        except NotFound:
            raise UpstreamFailed(_NO_TEMPLATE, hint="start it with that flag") from None

    async def _read_paths(self) -> frozenset[str]:
        """What it can be asked; nothing if it does not say."""
        try:
            found = await self._wire.get("/openapi.json", dict[str, Any], within_s=LOOK_S)
        except (UpstreamFailed, InvalidRequest, NotFound):
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


def _listed(card: Card, tokenizer: TokenizerInfo, *, generates: bool) -> ListedModel:
    template, tool_template = _templates(tokenizer)
    vocabulary = _vocabulary(tokenizer)
    can = ("completion", *(("insert",) if vocabulary.gap_texts else ()))
    context = card.max_model_len or 0
    listed = ListedModel(
        name=name_of(card.id),
        upstream_name=card.id,
        digest=digest_of(ENGINE, card.id, card.root or ""),
        capabilities=can if generates else ("embedding",),
        details=Details(
            parent_model=card.parent or "", format="safetensors", context_length=context
        ),
        manner_template=tool_template or template,
        template_text=template or "",
        info={"general.context_length": context} if context else {},
    )
    return listed.with_modelfile(modelfile_of(listed))


def _templates(tokenizer: TokenizerInfo) -> tuple[str | None, str | None]:
    """The chat template, and one for conversations with tools if there is one."""
    found = tokenizer.chat_template
    if not isinstance(found, list):
        return found, None
    by_name = {each.name: each.template for each in found}
    return by_name.get("default"), by_name.get("tool_use")


def _vocabulary(tokenizer: TokenizerInfo) -> Vocabulary:
    added = {
        int(key): text for key, text in tokenizer.added_tokens_decoder.items() if key.isdigit()
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
    template, tool_template = _templates(tokenizer)
    return ModelInfo(
        architecture="",
        context=context,
        context_train=context,
        parallel=1,
        # It does not say; a token beyond is refused there.
        vocab_size=1 << 31,
        size_bytes=0,
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
        ignored_options=IGNORED_OPTIONS,
    )
