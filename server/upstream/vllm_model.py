"""One model of a vLLM: tokens go there, tokens and text come back.

Chat templates are rendered here, and calls and thoughts read here, as for every other engine:
vLLM gets finished prompts, and needs none of its own parsers.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from server.api.abilities import check_images
from server.api.conversation import conversation_of
from server.api.engines import Talker
from server.api.events import Said
from server.api.options import Resolved
from server.api.prompt import TAIL_CHARACTERS, Prompt, Window, template_of
from server.api.requests import ChatRequest, CompletionRequest
from server.api.requests import EmbedRequest as TextsToEmbed
from server.api.resolving import engine_request
from server.api.turn import chat_turn, manner_of
from server.engine.markers import place_markers
from server.engine.types import (
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    Grammar,
    ImageSegment,
    ModelInfo,
    Piece,
    PromptRead,
    PromptText,
    Request,
    Segment,
)
from server.errors import ContextExceeded, InvalidRequest, Unsupported
from server.upstream.base import Book
from server.upstream.vllm_images import ChatChunk, chat_fields
from server.upstream.vllm_stream import DONE, CompletionStream, data_of
from server.upstream.vllm_text import fits, prompt_text
from server.upstream.vllm_vectors import vectors_of
from server.upstream.vllm_wire import (
    Chunk,
    Detokenized,
    Tokenized,
    Vectors,
    sampling_fields,
    structured_outputs,
)
from server.upstream.vocabulary import Vocabulary
from server.upstream.wire import Wire


class VLLMModel(Talker):
    """See `server.engine.types.LoadedModel`; of conversations with images, and only of those, it
    makes the prompt itself: see `server.api.engines.Talker`."""

    def __init__(
        self,
        wire: Wire,
        name: str,
        info: ModelInfo,
        vocabulary: Vocabulary,
        book: Book,
        *,
        share_prefixes: bool,
    ) -> None:
        """`name` is what vLLM calls it. Unless they `share_prefixes`, what vLLM has computed for
        one key is found by requests of that key only."""
        self._info = info
        self._wire = wire
        self._name = name
        self._vocabulary = vocabulary
        self._book = book
        self._share_prefixes = share_prefixes
        self._makes_room = True
        self._tells_prompt = True

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def tokenize(
        self, segments: Sequence[Segment | ImageSegment], *, add_bos: bool
    ) -> list[int]:
        texts = [segment for segment in segments if isinstance(segment, Segment)]
        if len(texts) < len(segments):
            raise Unsupported("with vLLM images are for conversations")
        text, between = self._vocabulary.marked(texts)
        found = await self._tokens(PromptText(text, begins=False)) if text else []
        tokens = [token for token in found if token != between]
        if add_bos and self.info.add_bos:
            start = list(self.info.text_start)
            return tokens if tokens[: len(start)] == start else [*start, *tokens]
        return tokens

    async def detokenize(self, tokens: Sequence[int]) -> str:
        body = {"model": self._name, "tokens": list(tokens)}
        return (await self._wire.post("/detokenize", body, Detokenized)).prompt if tokens else ""

    def as_text(
        self, segments: Sequence[Segment | ImageSegment], *, context: int, max_tokens: int | None
    ) -> PromptText | None:
        can = (
            self.info.can_generate
            and self._tells_prompt
            and fits(segments, self.info, context, max_tokens, makes_room=self._makes_room)
        )
        return prompt_text(segments, self.info, self._vocabulary) if can else None

    async def generate(self, request: Request) -> AsyncGenerator[PromptRead | Piece | Finish]:
        if not self.info.can_generate:
            raise Unsupported("the model of this vLLM only gives embeddings")
        try:
            async with aclosing(self._complete(request)) as pieces:
                async for piece in pieces:
                    yield piece
        except ContextExceeded:
            if request.text is None:
                raise
            # vLLM makes room for a reply from 0.32 on; nothing has come of it yet.
            self._makes_room = False
            tokens = await self._tokens(request.text)
            yield PromptRead(tokens)
            known = msgspec.structs.replace(request, tokens=tokens, text=None)
            async with aclosing(self._complete(known)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _read(self, text: PromptText, first: Chunk) -> list[int]:
        """The tokens of a text, with the first chunk of its reply: a vLLM before 0.10.2 does not
        tell them there. From then on they are asked for before."""
        if told := first.choices[0].prompt_token_ids:
            return told
        self._tells_prompt = False
        return await self._tokens(text)

    async def _tokens(self, text: PromptText) -> list[int]:
        body = {"model": self._name, "prompt": text.text, "add_special_tokens": text.begins}
        return (await self._wire.post("/tokenize", body, Tokenized)).tokens

    async def _complete(self, request: Request) -> AsyncGenerator[PromptRead | Piece | Finish]:
        context = min(request.context or self.info.context, self.info.context)
        room = context - len(request.tokens)
        most = room if request.max_tokens is None else min(room, request.max_tokens)
        if most <= 0:
            yield _nothing(request)
            return
        body = self._body(request) | _prompt(request) | {"max_tokens": most}
        async with aclosing(self._stream("/v1/completions", body, request, Chunk)) as pieces:
            async for piece in pieces:
                yield piece

    async def _stream(
        self, path: str, body: dict[str, Any], request: Request, kind: type[Chunk | ChatChunk]
    ) -> AsyncGenerator[PromptRead | Piece | Finish]:
        stream = CompletionStream(request, self._vocabulary)
        async with self._wire.lines(path, body) as lines:
            async for line in lines:
                if line == DONE:
                    await self._wire.run_out(lines)
                    break
                if (data := data_of(line)) is None:
                    continue
                chunk = self._wire.decode(data, kind)
                said = chunk.as_completion() if isinstance(chunk, ChatChunk) else chunk
                if request.text is not None and stream.begins(said):
                    yield stream.told(await self._read(request.text, said))
                if piece := stream.feed(said):
                    yield piece
        finish = stream.finish()
        self._book.add(finish)
        yield finish

    def takes(self, request: ChatRequest | CompletionRequest | TextsToEmbed) -> bool:
        return isinstance(request, ChatRequest) and bool(request.images)

    async def talk(
        self, request: ChatRequest | CompletionRequest, options: Resolved, window: Window
    ) -> AsyncGenerator[Said | Finish]:
        asked = _conversation(request)
        check_images(asked, self.info)
        self._check_texts(asked)
        if options.max_tokens is not None and options.max_tokens <= 0:
            yield _nothing(Request(tokens=[]))
            return
        turn = chat_turn(asked, template_of(self.info), await self._known_prompt(asked))
        sent = engine_request(turn, window, options, asked.generation)
        body = self._body(sent) | chat_fields(asked)
        if options.max_tokens is not None:
            body["max_tokens"] = options.max_tokens
        if sent.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sent.top_logprobs}
        async with aclosing(self._stream("/v1/chat/completions", body, sent, ChatChunk)) as pieces:
            async for piece in pieces:
                match piece:
                    case Finish():
                        for event in turn.reader.finish():
                            yield event
                        yield piece
                        return
                    case Piece():
                        for event in turn.reader.feed(piece):
                            yield event

    def _check_texts(self, request: ChatRequest) -> None:
        """vLLM reads every control token as such, whoever wrote it, and it gets these texts as
        they are. Raises `InvalidRequest` for one."""
        for message in request.messages:
            for text in (message.content, message.thinking):
                if own := self._vocabulary.found_in(text):
                    raise InvalidRequest(
                        f"with images, no text may hold {own}: the model takes it for control"
                    )

    async def _known_prompt(self, request: ChatRequest) -> Prompt:
        """What is known of the prompt that vLLM makes: what the reply begins with already, and
        the text in front of that, where a template may have begun a thought."""
        beginning = conversation_of(request).beginning
        given = beginning.content if beginning else ""
        if not manner_of(self.info.tool_template or self.info.chat_template).has_thinking:
            return Prompt([], given=given)
        tokens = await self._chat_tokens(request)
        end = await self.detokenize(tokens[-TAIL_CHARACTERS:])
        return Prompt([], tail=end.removesuffix(given), given=given)

    async def load(self) -> None:
        """It is there for as long as vLLM is."""

    async def render(self, request: ChatRequest | CompletionRequest) -> str:
        raise Unsupported("vLLM does not show the prompts of conversations with images")

    async def count(self, request: ChatRequest | CompletionRequest) -> int:
        asked = _conversation(request)
        self._check_texts(asked)
        return len(await self._chat_tokens(asked))

    async def _chat_tokens(self, request: ChatRequest) -> list[int]:
        body = {"model": self._name, **chat_fields(request)}
        body.pop("tool_choice", None)
        return (await self._wire.post("/tokenize", body, Tokenized)).tokens

    async def embed_texts(self, request: TextsToEmbed) -> Embeddings:
        raise Unsupported("with vLLM texts are embedded as tokens")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        if self.info.can_generate:
            raise Unsupported(
                "the model of this vLLM gives no embeddings",
                hint="vLLM serves a model for embeddings with --runner pooling",
            )
        body = {"model": self._name, "input": list(request.inputs), "encoding_format": "base64"}
        found = await self._wire.post("/v1/embeddings", body, Vectors)
        vectors = await asyncio.to_thread(
            vectors_of, found, len(request.inputs), request.dimensions
        )
        return Embeddings(
            vectors=vectors,
            prompt_tokens=found.usage.prompt_tokens or sum(map(len, request.inputs)),
            queue_ns=0,
        )

    def _body(self, request: Request) -> dict[str, Any]:
        """What is said of every reply."""
        body: dict[str, Any] = {
            "model": self._name,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            "skip_special_tokens": not request.markers,
            "spaces_between_special_tokens": False,
            **sampling_fields(request.sampling),
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.top_logprobs is not None:
            body["logprobs"] = request.top_logprobs
        if request.grammar is not None:
            body["structured_outputs"] = structured_outputs(self._placed(request.grammar))
        if not self._share_prefixes:
            body["cache_salt"] = hashlib.sha256(request.owner.encode()).hexdigest()
        return body

    def _placed(self, grammar: Grammar) -> Grammar:
        """The grammar with the model's tokens in it. Raises `Unsupported`."""
        if grammar.given:
            raise Unsupported(
                "with vLLM a format cannot go on from what the reply begins with already",
                hint="leave out the last message of the assistant, or the format",
            )
        if not grammar.markers:
            return grammar
        text = place_markers(grammar.text, grammar.markers, self._vocabulary.token)
        return Grammar(grammar.kind, text)


def _prompt(request: Request) -> dict[str, Any]:
    """The prompt of a completion."""
    if (text := request.text) is None:
        return {"prompt": list(request.tokens)}
    return {"prompt": text.text, "add_special_tokens": text.begins}


def _conversation(request: ChatRequest | CompletionRequest) -> ChatRequest:
    """What `takes` has taken."""
    if isinstance(request, ChatRequest):
        return request
    raise Unsupported("with vLLM images are for conversations")


def _nothing(request: Request) -> Finish:
    """Of a request that has no room to say anything."""
    return Finish(
        reason=FinishReason.LENGTH,
        prompt_tokens=len(request.tokens),
        cached_tokens=0,
        output_tokens=0,
        queue_ns=0,
        prompt_ns=0,
        output_ns=0,
    )
