"""The models of an endpoint, by Ollama's API. Changing them takes a key of scope `admin`."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from server.models.pull import Progress
from toolkit.client import Endpoint
from toolkit.errors import CredentialsError, RequestRefused
from toolkit.models.shelf import Details, Row, Table
from toolkit.safetext import cleaned

_HINT = "Ask with a key of scope admin: akash-llm keys new NAME --scope admin"
_REFUSED = (401, 403)


class EndpointModels:
    """The `Shelf` of an endpoint, which stays open."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def title(self) -> str:
        return f"the endpoint {self._endpoint.name or self._endpoint.url}"

    async def listed(self) -> Table:
        return Table(map(_row, await self._endpoint.tags()))

    async def show(self, name: str) -> Details:
        found = await self._endpoint.show(name)
        info = _mapping(found.get("model_info"))
        rows = [row for row in await self.listed() if row.name == name]
        row = rows[0] if rows else _row(found | {"name": name})
        return Details(
            row=row,
            family=_text(_mapping(found.get("details")).get("family")),
            context_tokens=_context(info),
            template=_text(found.get("template")),
            system=_text(found.get("system")),
            license=_text(found.get("license")),
            options=_options(_text(found.get("parameters"))),
            info=info,
        )

    async def pull(self, name: str) -> AsyncGenerator[Progress, None]:
        try:
            async with aclosing(self._endpoint.pull(name)) as steps:
                async for step in steps:
                    yield Progress(
                        cleaned(_text(step.get("status"))),
                        _text(step.get("digest")),
                        _count(step.get("total")),
                        _count(step.get("completed")),
                    )
        except (RequestRefused, CredentialsError) as error:
            raise _explained(error) from error

    async def delete(self, name: str) -> None:
        try:
            await self._endpoint.delete(name)
        except (RequestRefused, CredentialsError) as error:
            raise _explained(error) from error


def _explained(error: RequestRefused | CredentialsError) -> RequestRefused | CredentialsError:
    """Where the key is what is missing, that is what is said."""
    if isinstance(error, RequestRefused) and error.status not in _REFUSED:
        return error
    return CredentialsError(f"This key may not change models: {error.message}", hint=_HINT)


def _row(model: Mapping[str, Any]) -> Row:
    details = _mapping(model.get("details"))
    given = model.get("capabilities")
    return Row(
        name=_text(model.get("name")),
        size_bytes=_count(model.get("size")),
        parameters=_text(details.get("parameter_size")),
        quantization=_text(details.get("quantization_level")),
        capabilities=tuple(map(str, given)) if isinstance(given, list) else (),
    )


def _context(info: Mapping[str, Any]) -> int:
    return max((_count(v) for k, v in info.items() if k.endswith(".context_length")), default=0)


def _options(text: str) -> dict[str, str]:
    """Options as the wire has them: one a line, a name and a value."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
