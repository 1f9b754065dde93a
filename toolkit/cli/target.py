"""Which endpoint a command talks to: one of ours by name, or any by address."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from toolkit.client import Endpoint
from toolkit.errors import EndpointError, UsageError


class Target(NamedTuple):
    """What the person said about the endpoint."""

    name: str | None
    url: str | None
    key_file: Path | None
    model: str | None

    async def opened(self) -> Endpoint:
        """The endpoint, with a model chosen. Raises toolkit errors."""
        endpoint = await self.reached()
        endpoint.model = endpoint.model or await _first_model(endpoint)
        return endpoint

    async def reached(self) -> Endpoint:
        """The endpoint, whose model may be left open; nothing is sent to it yet."""
        if self.url is not None and self.name is not None:
            raise UsageError("Give a name or --url, not both.")
        if self.url is not None:
            endpoint = Endpoint.open(url=self.url, key_file=self.key_file)
        else:
            from toolkit.deploy.lifecycle import connect

            if self.key_file is not None:
                raise UsageError("--key-file goes with --url; a name has its own key.")
            endpoint = await connect(self.name)
        endpoint.model = self.model or endpoint.model
        return endpoint


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """NAME, --url, --key-file and --model; the command gets them as `target`."""

    @click.argument("name", required=False)
    @click.option("--url", metavar="URL", help="Talk to this address instead of a name.")
    @click.option(
        "--key-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="With --url: the file that holds the key.",
    )
    @click.option("--model", metavar="NAME", help="Another model than the endpoint's own.")
    @functools.wraps(command)
    def wrapped(
        name: str | None, url: str | None, key_file: Path | None, model: str | None, **rest: Any
    ) -> Any:
        return command(target=Target(name, url, key_file, model), **rest)

    return wrapped


async def _first_model(endpoint: Endpoint) -> str:
    models = await endpoint.tags()
    if not models:
        raise EndpointError(
            f"{endpoint.url} has no model.", hint="Add one: akash-llm models pull smollm2:135m"
        )
    return str(models[0].get("name", ""))
