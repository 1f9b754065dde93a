"""Options, windows and limits of a request, merged with the model's: what the engine is asked."""

from server.api.options import Resolved, parse_ollama, resolve
from server.api.prompt import Window
from server.api.requests import Generation
from server.api.turn import Turn
from server.engine.types import ModelInfo, Request, Sampling
from server.errors import InvalidRequest, ModelUnusable
from server.models.model import Model

_NO_SAMPLING = Sampling()


def options_of(model: Model, generation: Generation) -> Resolved:
    """Built-in < dialect < model < request, and no more than the caller may have.

    Raises `ModelUnusable` for what the model brings.
    """
    try:
        own, _ = parse_ollama(model.parameters)
    except InvalidRequest as error:
        raise ModelUnusable(f"{model.name.display()}: PARAMETER: {error.message}") from None
    resolved = resolve(generation.defaults, own, generation.options)
    most = generation.caller.limits.clamp_output(resolved.max_tokens)
    return resolved._replace(max_tokens=most)


def sampling(model: Model, generation: Generation) -> Sampling:
    """How the tokens will be chosen. Raises `ModelUnusable` for what the model brings."""
    return options_of(model, generation).sampling


def window_of(info: ModelInfo, options: Resolved, generation: Generation) -> Window:
    """How many tokens the prompt may have, and what may be cut to get there."""
    asked = min(options.num_ctx or info.context, info.context)
    return Window(
        context=generation.caller.limits.clamp_context(asked),
        num_keep=options.num_keep,
        may_drop=generation.truncate,
        may_cut=generation.truncate and generation.shift,
        max_tokens=options.max_tokens,
    )


def ignored(asked: Sampling, info: ModelInfo) -> tuple[str, ...]:
    """The names of options that were set and that this model's engine does not know."""
    return tuple(
        name for name in info.ignored_options if getattr(asked, name) != getattr(_NO_SAMPLING, name)
    )


def engine_request(
    turn: Turn, window: Window, options: Resolved, generation: Generation
) -> Request:
    """What the engine is asked."""
    return Request(
        tokens=turn.prompt.tokens,
        text=turn.prompt.text,
        sampling=options.sampling,
        max_tokens=options.max_tokens,
        stop=options.stop,
        grammar=turn.grammar,
        top_logprobs=generation.top_logprobs,
        num_keep=options.num_keep + turn.prompt.num_bos,
        shift=generation.shift,
        context=window.context,
        owner=generation.caller.name,
        markers=turn.markers,
        images=turn.images,
    )
