"""What is measured: which API it speaks, and what it says of itself."""

import platform
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import msgspec
import psutil

from toolkit import jsontext
from toolkit.bench.result import Subject
from toolkit.bench.wire import Wire, wire_of
from toolkit.client import Endpoint
from toolkit.errors import CredentialsError, EndpointError
from toolkit.safetext import cleaned

LONGEST_FACT = 200


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an endpoint besides what it says: where it runs, and its price."""

    engine: str = ""
    slots: int | None = None
    hardware: str = ""
    provider: str = ""
    region: str = ""
    usd_per_hour: float | None = None


async def look(endpoint: Endpoint, api: str, facts: Facts) -> tuple[Wire, Subject]:
    """The API to measure (`auto` takes Ollama's, else OpenAI's) and the subject.

    The endpoint gets its first model if none is named. Raises `EndpointError` or
    `CredentialsError` when it does not answer.
    """
    if api == "ollama" or (api == "auto" and await _speaks_ollama(endpoint)):
        return wire_of("ollama"), await _of_ollama(endpoint, facts)
    name = "openai" if api == "auto" else api
    base = "" if endpoint.url.endswith("/v1") else "/v1"
    wire = wire_of(name, base)
    # A server with both APIs says more of itself in Ollama's.
    if api != "auto" and await _speaks_ollama(endpoint):
        return wire, msgspec.structs.replace(await _of_ollama(endpoint, facts), api=name)
    return wire, await _of_openai(endpoint, name, base, facts)


def this_machine() -> str:
    """The processor, cores and memory of this machine, in one line."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    memory = psutil.virtual_memory().total / (1 << 30)
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB"


def this_client() -> str:
    """The program that measures, and what it runs on."""
    return (
        f"akash-llm {version('akash-llm')}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )


async def _speaks_ollama(endpoint: Endpoint) -> bool:
    """Whether it does. What does not answer at all, or wants another key, says so next."""
    try:
        await endpoint.version()
    except (EndpointError, CredentialsError):
        return False
    return True


async def _of_ollama(endpoint: Endpoint, facts: Facts) -> Subject:
    told_version = await endpoint.version()
    models = await endpoint.tags()
    if not endpoint.model:
        if not models:
            raise EndpointError(
                f"{endpoint.url} has no model.", hint="Add one: akash-llm models pull smollm2:135m"
            )
        endpoint.model = str(models[0].get("name", ""))
    model = _named(models, endpoint.model)
    details = model.get("details")
    told = details if isinstance(details, dict) else {}
    try:
        loaded = _named(await endpoint.ps(), endpoint.model)
    except EndpointError:
        loaded = {}
    return _subject(
        endpoint,
        facts,
        "ollama",
        server_version=told_version,
        model_digest=_text(model.get("digest")),
        quantization=_text(loaded.get("requantized") or told.get("quantization_level")),
        parameter_size=_text(told.get("parameter_size")),
        context=_count(loaded.get("context_length")),
        slots=_count(loaded.get("parallel")),
    )


async def _of_openai(endpoint: Endpoint, api: str, base: str, facts: Facts) -> Subject:
    models = await _object(endpoint, f"{base}/models")
    listed = [one for one in models.get("data") or [] if isinstance(one, dict)]
    if not endpoint.model:
        if not listed:
            raise EndpointError(f"{endpoint.url} lists no model.", hint="Name one: --model NAME.")
        endpoint.model = str(listed[0].get("id", ""))
    model = next((one for one in listed if one.get("id") == endpoint.model), {})
    told_version = ""
    with suppress(EndpointError):
        told_version = _text((await _object(endpoint, "/version")).get("version"))
    owner = _text(model.get("owned_by"))
    return _subject(
        endpoint,
        facts,
        api,
        server_version=f"{owner} {told_version}".strip(),
        context=_count(model.get("max_model_len")),
    )


def _subject(endpoint: Endpoint, facts: Facts, api: str, **told: Any) -> Subject:
    slots = told.pop("slots", None) or facts.slots
    return Subject(
        name=endpoint.name,
        url=endpoint.url,
        model=endpoint.model,
        target=endpoint.target,
        api=api,
        engine=facts.engine,
        hardware=facts.hardware,
        provider=facts.provider,
        region=facts.region,
        slots=slots,
        **told,
    )


async def _object(endpoint: Endpoint, path: str) -> dict[str, Any]:
    async with endpoint.answer("GET", path) as answer:
        body = await answer.whole()
    try:
        return jsontext.decoded(body, dict[str, Any])
    except msgspec.DecodeError as error:
        raise EndpointError(
            f"{endpoint.url} answers neither in Ollama's nor in OpenAI's API.",
            hint="Check the URL; for OpenAI's API it may end in /v1.",
        ) from error


def _named(models: list[dict[str, Any]], name: str) -> dict[str, Any]:
    wanted = {name.lower(), f"{name.lower()}:latest"}
    return next((m for m in models if str(m.get("name", "")).lower() in wanted), {})


def _text(value: object) -> str:
    return cleaned(value)[:LONGEST_FACT] if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if isinstance(value, int) and is_count else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
