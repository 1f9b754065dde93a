"""`akash-llm chat`: one answer, or a conversation, in the terminal.

What a model writes is cleaned before it is printed: it could steer the terminal.
"""

import asyncio
import json
import sys
from contextlib import aclosing
from typing import Any

import click
import msgspec

from toolkit.cli.target import Target, target_options
from toolkit.client import ChatStats, Endpoint, Message
from toolkit.errors import EndpointError, ToolkitError, UsageError
from toolkit.safetext import cleaned

FAREWELLS = ("/bye", "/exit", "/quit")


@click.command()
@target_options
@click.option("--once", metavar="PROMPT", help="Ask this, print the answer and end.")
@click.option("--system", metavar="TEXT", help="A system prompt instead of the model's own.")
@click.option("--temperature", type=click.FloatRange(0, 5), help="How much chance.")
@click.option("--max-tokens", type=click.IntRange(1), help="The longest answer.")
@click.option("--seed", type=int, help="The same answer again.")
@click.option("--json", "as_json", is_flag=True, help="The answer as one JSON object.")
def chat(
    target: Target,
    once: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Chat with the endpoint NAME (or the only one there is).

    In a terminal it is a conversation: Ctrl+C stops a reply, /bye ends. Otherwise the
    prompt is --once, or what comes on standard input.
    """
    given = {"temperature": temperature, "num_predict": max_tokens, "seed": seed}
    options = {name: value for name, value in given.items() if value is not None}
    if once is None and sys.stdin.isatty() and not as_json:
        _converse(target, system, options)
        return
    prompt = _given_prompt(once)
    asyncio.run(_once(target, prompt, system, options, as_json=as_json))


def _given_prompt(once: str | None) -> str:
    """The prompt of a single answer; `UsageError` where there is none."""
    hint = "Give it with --once, or on standard input."
    if once is None and sys.stdin.isatty():
        raise UsageError("--json answers one prompt, and there is none.", hint=hint)
    prompt = once if once is not None else sys.stdin.read()
    if not prompt.strip():
        raise UsageError("The prompt is empty.", hint=hint)
    return prompt


async def _once(
    target: Target, prompt: str, system: str | None, options: dict[str, Any], *, as_json: bool
) -> None:
    async with await target.opened() as endpoint:
        asked = [Message("user", prompt)]
        text, stats = await _reply(endpoint, asked, system, options, is_shown=not as_json)
        if as_json:
            facts = {"name": endpoint.name, "url": endpoint.url, "model": endpoint.model}
            click.echo(json.dumps(facts | {"text": text, "stats": msgspec.to_builtins(stats)}))
        else:
            click.echo(summary(stats))


def _converse(target: Target, system: str | None, options: dict[str, Any]) -> None:
    """Prompt, reply, prompt again. The line is read without a loop running, so that
    Ctrl+C ends it; the connections live on in the runner's loop."""
    with asyncio.Runner() as runner:
        endpoint = runner.run(target.opened())
        model = cleaned(endpoint.model or "")
        click.echo(f"{model} at {endpoint.url} - /bye ends, Ctrl+C stops a reply", err=True)
        messages: list[Message] = []
        try:
            while (prompt := _read_prompt()) is not None:
                messages.append(Message("user", prompt))
                if not _turn(runner, endpoint, messages, system, options):
                    messages.pop()
        finally:
            runner.run(endpoint.aclose())


def _turn(
    runner: asyncio.Runner,
    endpoint: Endpoint,
    messages: list[Message],
    system: str | None,
    options: dict[str, Any],
) -> bool:
    """One reply; whether the conversation goes on from it."""
    try:
        text, stats = runner.run(_reply(endpoint, messages, system, options, is_shown=True))
    except KeyboardInterrupt:
        click.echo("\n[stopped]", err=True)
        return False
    except ToolkitError as error:
        click.echo(f"error: {cleaned(str(error))}", err=True)
        return False
    messages.append(Message("assistant", text))
    click.echo(summary(stats), err=True)
    return True


def _read_prompt() -> str | None:
    """A line with something in it; None at the end."""
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo("", err=True)
            return None
        if line in FAREWELLS:
            return None
        if line:
            return line


async def _reply(
    endpoint: Endpoint,
    messages: list[Message],
    system: str | None,
    options: dict[str, Any],
    *,
    is_shown: bool,
) -> tuple[str, ChatStats]:
    """Text and figures of one reply, printed as it comes."""
    pieces: list[str] = []
    try:
        async with aclosing(endpoint.chat(messages, system=system, options=options)) as chunks:
            async for chunk in chunks:
                pieces.append(chunk.text)
                if is_shown and chunk.text:
                    click.echo(cleaned(chunk.text), nl=False)
                if chunk.stats is not None:
                    return "".join(pieces), chunk.stats
    finally:
        if is_shown and pieces:
            click.echo("")
    raise EndpointError("The answer ended without its figures.")


def summary(stats: ChatStats) -> str:
    """The figures of one reply in a line: `… tok/s, first token after … ms`."""
    parts = []
    if stats.output_tokens is not None:
        parts.append(f"{stats.output_tokens} tokens")
    if stats.tokens_per_s is not None:
        parts.append(f"{stats.tokens_per_s:.1f} tok/s")
    if stats.ttft_s is not None:
        parts.append(f"first token after {1e3 * stats.ttft_s:.0f} ms")
    if stats.context_used is not None:
        window = f" of {stats.context}" if stats.context else ""
        parts.append(f"context {stats.context_used}{window}")
    if stats.truncated_tokens:
        parts.append(f"{stats.truncated_tokens} prompt tokens cut")
    if stats.finish_reason:
        parts.append(f"ended: {cleaned(stats.finish_reason)}")
    return f"[{', '.join(parts)}]"
