"""What every dialect asks for: find a model, load it, answer a chat or a completion.

A dialect translates its body into one of the requests and the events into its own
reply. Defaults, windows, truncation, capabilities and usage are decided once, here.
Nothing here knows HTTP.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TypeGuard

import msgspec

from server import limits, quota
from server.api import prompt
from server.api.abilities import check_images
from server.api.conversation import conversation_of
from server.api.engines import Engine, Talker
from server.api.events import Counted, Done, Embedded, Events, Said, Started
from server.api.lifetimes import Lifetimes
from server.api.prompt import Inputs, Prompt, Window
from server.api.reader import Reader
from server.api.requests import ChatRequest, CompletionRequest, EmbedRequest, Generation
from server.api.resolving import engine_request, ignored, options_of, window_of
from server.api.turn import Turn, chat_turn
from server.caller import SERVER, Admission, Caller, Ticket
from server.chat.renderer import Renderer
from server.engine import types as engine
from server.engine.entry import Lease, LoadedEntry, State
from server.engine.image_tokens import text_tokens
from server.engine.tally import ModelCounts
from server.engine.types import (
    Finish,
    ImageSegment,
    LoadedModel,
    ModelInfo,
    Piece,
    PromptRead,
    Segment,
)
from server.errors import Forbidden, InvalidRequest, ModelNotFound
from server.models.model import Model, ModelKey
from server.models.name import ModelName
from server.models.store import missing


class Served(msgspec.Struct, frozen=True):
    """A model in memory and what the engine says about it; `requantized` as in `Core`."""

    model: Model
    entry: LoadedEntry
    requantized: str


class Spelled(msgspec.Struct, frozen=True):
    """The tokens of a prompt, the text of each alone (half a character is U+FFFD) if they were
    asked for, and the model's window."""

    tokens: list[int]
    texts: list[str]
    context: int


class Core:
    """The models and their engine behind all dialects."""

    def __init__(self, models: Engine, renderer: Renderer, admission: Admission) -> None:
        self._models = models
        self._renderer = renderer
        self._admission = admission
        # By their names, the one that was asked for last behind the others.
        self._asked: dict[ModelKey, dict[ModelName, Model]] = {}
        self._first_names: dict[ModelKey, str] = {}
        self._lifetimes = Lifetimes()

    async def find(self, name: str, caller: Caller) -> Model:
        """The stored model of that name. Raises `ModelNotFound`, `InvalidModelName`.

        One that the caller may not use does not exist for it.
        """
        parsed = ModelName.parse(name)
        try:
            if not caller.may_use(parsed):
                raise missing(parsed)
            return await self._models.find(parsed)
        except ModelNotFound as error:
            # It may name the models there are, of which some are not for every caller.
            hint = error.hint if caller.models.is_whole else ""
            raise ModelNotFound(f"model '{name}' not found", hint=hint) from None

    async def list(self, caller: Caller) -> Sequence[Model]:
        """Every model that the caller may use, newest first."""
        return [model for model in await self._models.list() if caller.may_use(model.name)]

    async def detailed(self, model: Model) -> Model:
        """The same with all that a verbose `/api/show` tells."""
        return await self._models.detailed(model)

    def loaded(self, caller: Caller) -> Sequence[Served]:
        """Those of them that are in memory, the one that stays longest first; each by the name
        it was last asked for with, of those that the caller may use."""
        return [
            Served(model, entry, self.requantized(model))
            for entry in self._models.loaded()
            if (model := self._named(entry, caller))
        ]

    def _named(self, entry: LoadedEntry, caller: Caller) -> Model | None:
        asked = list(self._asked.get(entry.key, {}).values())
        known = [entry.model] if entry.model else []
        return next(
            (each for each in (*reversed(asked), *known) if caller.may_use(each.name)), None
        )

    def requantized(self, model: Model) -> str:
        """The type that its weights are computed in here, such as "Q8_0"; empty if it is
        the file's."""
        return self._models.requantized(model)

    def state(self, model: Model | None = None) -> State:
        """What the engine is doing with a model, or how it is altogether."""
        return self._models.state(model)

    def progress(self, model: Model) -> float:
        """The part of a model's weights that is loaded, 0 to 1."""
        return self._models.progress(model)

    def problem(self, model: Model | None = None) -> str:
        """Why the engine has failed with a model, or altogether; empty if it has not."""
        return self._models.problem(model)

    def counts(self) -> Sequence[tuple[str, ModelCounts]]:
        """What each model that was asked for has done, by the name it was first asked for
        with: its counters keep their label when it is asked for by another."""
        return [
            (self._first_names[each.key], each)
            for each in self._models.counts()
            if each.key in self._first_names
        ]

    async def engine_metrics(self) -> bytes:
        """What the engine itself tells Prometheus."""
        return await self._models.metrics()

    @property
    def memory_budget_bytes(self) -> int | None:
        """What models may take together; None if nothing bounds it."""
        return self._models.memory_budget_bytes

    async def load(self, model: Model, generation: Generation) -> None:
        """Load a model and wait for it."""
        options_of(model, generation)
        async with self._use(model, generation) as (lease, _):
            if isinstance(lease.model, Talker):
                await lease.model.load()

    async def unload(self, model: Model, caller: Caller) -> None:
        """End a model once nobody uses it; nothing if it is not loaded. Raises `Forbidden`
        for one that the server or another key counts on, unless an administrator asks."""
        if not self._lifetimes.may_set(model.key, caller):
            name = model.name.display()
            raise Forbidden(f"this key may not unload {name}: others count on it")
        await self._models.unload(model)

    async def render(self, request: ChatRequest | CompletionRequest) -> str:
        """The text of a prompt as the template makes it, without generating anything."""
        options_of(request.model, request.generation)
        async with self._use(request.model, request.generation) as (lease, _):
            if _is_taken(lease.model, request):
                return await lease.model.render(request)
            segments = await self._segments(request, lease.model.info)
            return prompt.text_of(segments)

    async def count_tokens(self, request: ChatRequest | CompletionRequest) -> int:
        """How many tokens a prompt has as the model gets it, whatever its length."""
        if isinstance(request, CompletionRequest) and isinstance(request.prompt, tuple):
            return len(request.prompt)
        async with self._use(request.model, request.generation) as (lease, ticket):
            if _is_taken(lease.model, request):
                count = await lease.model.count(request)
                # It may have been computed for that.
                ticket.settle(count, 0)
                return count
            segments = await self._segments(request, lease.model.info)
            return len(await prompt.tokenize(lease.model, segments))

    async def spell(
        self, request: ChatRequest | CompletionRequest, *, add_bos: bool, with_texts: bool
    ) -> Spelled:
        """The same with what is known of the tokens. Without `add_bos` the token that begins a
        text is there only if the text says it. Raises `PayloadTooLarge` for too many texts."""
        async with self._use(request.model, request.generation) as (lease, _):
            segments = await self._segments(request, lease.model.info)
            tokens = await prompt.tokenize(lease.model, segments, add_bos=add_bos)
            texts = await prompt.texts_of(lease.model, tokens) if with_texts else []
            return Spelled(tokens, texts, lease.model.info.context)

    async def detokenize(self, model: Model, tokens: Sequence[int], generation: Generation) -> str:
        """The text of tokens, control tokens written out. Raises `InvalidRequest`."""
        async with self._use(model, generation) as (lease, _):
            return await lease.model.detokenize(tokens)

    def run(self, request: ChatRequest | CompletionRequest) -> Events:
        """`Started`, `Delta`s and one `Done`. Closing the iterator cancels the generation
        and frees its slot. Raises `ServerError`s, before or between events."""
        if isinstance(request, ChatRequest):
            return self.run_chat(request)
        return self.run_completion(request)

    def run_chat(self, request: ChatRequest) -> Events:
        """`run` for a conversation."""

        async def make(model: LoadedModel, window: Window) -> Turn:
            before = request.before or ()
            check_images(request, model.info)
            conversation = conversation_of(request)
            template = prompt.template_of(model.info, request.model.jinja)
            made = await prompt.from_chat(
                self._renderer, template, model, conversation, window, before=before
            )
            return chat_turn(request, template, made)

        length = sum(len(message.content) for message in request.messages)
        return self._run(request, length, make)

    def run_completion(self, request: CompletionRequest) -> Events:
        """`run` for a text."""

        async def make(model: LoadedModel, window: Window) -> Turn:
            if isinstance(request.prompt, tuple):
                made = prompt.from_tokens(model, request.prompt, window)
            else:
                segments = await self._segments(request, model.info)
                made = await prompt.from_segments(model, segments, window)
            return Turn(made, Reader(), request.generation.format)

        length = _characters(request.prompt) + len(request.suffix)
        return self._run(request, length, make)

    async def run_embed(self, request: EmbedRequest) -> Events:
        """`Started` and `Embedded`. Closing the iterator cancels the work. Any model embeds;
        one text that fails fails all. Raises `ServerError`s."""
        begun_ns = time.monotonic_ns()
        limits.check_count("inputs", request.inputs, limits.MAX_EMBED_INPUTS)
        generation = request.generation
        options = options_of(request.model, generation)
        tokens = quota.estimate(sum(map(_characters, request.inputs)), 0)
        async with self._use(request.model, generation, tokens) as (lease, ticket):
            info = lease.model.info
            window = window_of(info, options, generation)
            is_taken = _is_taken(lease.model, request)
            made = (
                Inputs([])
                if is_taken
                else await prompt.from_inputs(
                    lease.model, request.inputs, window.context, may_cut=generation.truncate
                )
            )
            num_tokens = sum(len(tokens) for tokens in made.tokens)
            ticket.settle(num_tokens, 0)
            yield Started(
                prompt_tokens=num_tokens,
                truncated_tokens=made.truncated,
                context=info.context if is_taken else window.context,
                asked_context=options.num_ctx,
                quota=ticket.headers,
            )
            if _is_taken(lease.model, request):
                result = await lease.model.embed_texts(request)
                ticket.settle(result.prompt_tokens, 0)
            else:
                result = await lease.model.embed(
                    engine.EmbedRequest(inputs=made.tokens, dimensions=request.dimensions)
                )
            yield Embedded(
                vectors=result.vectors,
                prompt_tokens=result.prompt_tokens,
                truncated_tokens=made.truncated,
                total_ns=max(1, time.monotonic_ns() - begun_ns),
                load_ns=max(1, lease.load_ns + result.queue_ns),
            )

    async def _run(
        self,
        asked: ChatRequest | CompletionRequest,
        length: int,
        make: Callable[[LoadedModel, Window], Awaitable[Turn]],
    ) -> Events:
        """`length` is that of the prompt in characters, roughly."""
        begun_ns = time.monotonic_ns()
        generation = asked.generation
        options = options_of(asked.model, generation)
        tokens = quota.estimate(length, options.max_tokens)
        async with self._use(asked.model, generation, tokens) as (lease, ticket):
            info = lease.model.info
            window = window_of(info, options, generation)
            said: AsyncGenerator[Said | PromptRead | Piece | Finish]
            if is_taken := _is_taken(lease.model, asked):
                turn = Turn(Prompt([]), Reader())
                said = lease.model.talk(asked, options, window)
            else:
                turn = await make(lease.model, window)
                said = lease.model.generate(engine_request(turn, window, options, generation))
            # An engine that makes prompts itself, or their tokens, counts them later.
            is_text = turn.prompt.text is not None
            is_known = not (is_taken or is_text)
            num_prompt = len(turn.prompt.tokens) if is_known else quota.estimate(length, 0)
            ticket.settle(num_prompt, 0)
            yield Started(
                prompt_tokens=None if is_text else len(turn.prompt.tokens),
                truncated_tokens=turn.prompt.truncated,
                context=info.context if is_taken else window.context,
                asked_context=options.num_ctx,
                has_template=is_taken or bool(asked.model.jinja or info.chat_template),
                ignored=ignored(options.sampling, info),
                quota=ticket.headers,
            )
            output: list[int] = []
            num_said = 0
            async with aclosing(said) as pieces:
                async for piece in pieces:
                    match piece:
                        case Finish():
                            ticket.settle(piece.prompt_tokens, piece.output_tokens)
                            ticket.computed((piece.prompt_ns + piece.output_ns) / 1e9)
                            for event in turn.reader.finish():
                                yield event
                            yield _done(piece, turn, output, lease.load_ns, begun_ns)
                            return
                        case PromptRead():
                            turn, num_prompt = turn.read(piece), len(piece.tokens)
                            ticket.settle(num_prompt, 0)
                            yield Counted(num_prompt)
                        case Piece():
                            output += piece.tokens
                            ticket.settle(num_prompt, len(output))
                            for event in turn.reader.feed(piece):
                                yield event
                        case event:  # mostly one token
                            num_said += 1
                            ticket.settle(num_prompt, num_said)
                            yield event

    async def _segments(
        self, request: ChatRequest | CompletionRequest, info: ModelInfo
    ) -> Sequence[Segment | ImageSegment]:
        if isinstance(request, ChatRequest):
            check_images(request, info)
            template = prompt.template_of(info, request.model.jinja)
            return await prompt.chat_segments(self._renderer, template, conversation_of(request))
        text = request.prompt
        if isinstance(text, tuple):
            raise InvalidRequest("tokens are not rendered")
        if request.suffix:
            return prompt.gap_segments(info, text, request.suffix)
        return [Segment(text)]

    @asynccontextmanager
    async def _use(
        self, model: Model, generation: Generation, tokens: int = 0
    ) -> AsyncIterator[tuple[Lease, Ticket]]:
        """A model, for a request that was let in and will use about so many tokens.

        Raises `RateLimited` before anything is loaded.
        """
        with self._admission.begin(generation.caller, model.name, tokens) as ticket:
            key = model.key
            asked = self._asked.setdefault(key, {})
            asked.pop(model.name, None)
            asked[model.name] = model
            self._first_names.setdefault(key, model.name.display())
            keep_alive_s = generation.keep_alive_s
            if generation.caller is SERVER:
                self._lifetimes.keep(key)
            elif not self._lifetimes.may_set(key, generation.caller):
                keep_alive_s = None
            self._lifetimes.used(key, generation.caller)
            async with self._models.use(model, keep_alive_s=keep_alive_s) as lease:
                yield lease, ticket


def _is_taken(
    model: LoadedModel, request: ChatRequest | CompletionRequest | EmbedRequest
) -> TypeGuard[Talker]:
    """Whether the engine of this model wants the request as it is."""
    return isinstance(model, Talker) and model.takes(request)


def _characters(text: str | tuple[int, ...]) -> int:
    """The length of a text, or about that of one that comes as tokens."""
    return len(text) * (1 if isinstance(text, str) else quota.CHARACTERS_PER_TOKEN)


def _done(finish: Finish, turn: Turn, output: list[int], load_ns: int, begun_ns: int) -> Done:
    made = turn.prompt
    return Done(
        reason=finish.reason,
        stop_string=finish.stop_string,
        prompt_tokens=finish.prompt_tokens,
        cached_tokens=finish.cached_tokens,
        output_tokens=finish.output_tokens,
        thinking_tokens=turn.reader.thinking_tokens,
        truncated_tokens=made.truncated,
        shifted_tokens=finish.shifted_tokens,
        total_ns=max(1, time.monotonic_ns() - begun_ns),
        load_ns=max(1, load_ns + finish.queue_ns),
        prompt_ns=max(1, finish.prompt_ns),
        output_ns=max(1, finish.output_ns),
        tokens=[*finish.tokens] or [*text_tokens(made.tokens[made.num_bos :]), *output],
    )
