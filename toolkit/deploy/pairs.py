"""Two services in one SDL: our server as a gateway, and the engine that only it speaks to. Pure.

A gateway of this machine holds keys and prompts of the person. So an SDL may not say where it
sends them: it may only name the engine that stands beside it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from toolkit.deploy.base import DEFAULT_ENGINE
from toolkit.deploy.engines import ENGINES
from toolkit.deploy.engines.base import LocalEngine
from toolkit.errors import ConfigError
from toolkit.sdl.advice import repository
from toolkit.sdl.model import SDL, Service

ENGINE_VARIABLE = "AKASH_LLM_ENGINE"
UPSTREAM_VARIABLE = "AKASH_LLM_UPSTREAM"
OWN_ENGINE = DEFAULT_ENGINE  # our server alone

_BY_IMAGE: Mapping[str, LocalEngine] = {engine.image: engine for engine in ENGINES.values()}


class Services(NamedTuple):
    """The one service that is not an engine, and the engine beside it, if there is one."""

    name: str
    service: Service
    engine_name: str = ""
    engine: LocalEngine | None = None


def services_of(sdl: SDL) -> Services:
    """What the services of an SDL are to each other.

    `ConfigError` for other numbers of them, and for a gateway that is told another engine or
    another address than those of the engine beside it.
    """
    engines = {name: found for name, s in sdl.services.items() if (found := engine_of(s.image))}
    others = {name: s for name, s in sdl.services.items() if name not in engines}
    if len(engines) > 1 or len(others) != 1:
        raise ConfigError(
            f"the SDL has {len(sdl.services)} services; this machine runs one server per endpoint,"
            " and one engine behind it",
            hint="Deploy them one by one, each under its own name; an engine alone has no keys,"
            " so it comes with our server before it.",
        )
    ((name, service),) = others.items()
    if not engines:
        _check_alone(name, service)
        return Services(name, service)
    ((engine_name, engine),) = engines.items()
    _check_engine(name, service, engine)
    _check_upstream(name, service, engine_name, sdl.services[engine_name])
    return Services(name, service, engine_name, engine)


def engine_of(image: str) -> LocalEngine | None:
    """The engine whose image this is."""
    return _BY_IMAGE.get(repository(image))


def _check_alone(name: str, service: Service) -> None:
    engine = service.environment.get(ENGINE_VARIABLE) or OWN_ENGINE
    if engine != OWN_ENGINE or service.environment.get(UPSTREAM_VARIABLE):
        raise ConfigError(
            f"{name} is told to use a server that is no service of the SDL",
            hint="On this machine a gateway uses only the engine beside it: leave"
            f" {ENGINE_VARIABLE} and {UPSTREAM_VARIABLE} out, or add that service.",
        )


def _check_engine(name: str, service: Service, engine: LocalEngine) -> None:
    told = service.environment.get(ENGINE_VARIABLE, "")
    if told != engine.name:
        raise ConfigError(
            f"{ENGINE_VARIABLE} of {name} is {told[:60]!r}, and the engine beside it is"
            f" {engine.name}",
            hint=f"Write {ENGINE_VARIABLE}={engine.name}.",
        )


def _check_upstream(name: str, service: Service, engine_name: str, engine: Service) -> None:
    ports = [
        expose.external_port
        for expose in engine.expose
        if any(to.service == name for to in expose.to)
    ]
    given = service.environment.get(UPSTREAM_VARIABLE, "")
    if given.rstrip("/") not in {f"http://{engine_name}:{port}" for port in ports}:
        raise ConfigError(
            f"{UPSTREAM_VARIABLE} of {name} is {_shown(given)}, not the engine of this SDL",
            hint="On this machine a gateway sends to no other place: write"
            f" {UPSTREAM_VARIABLE}=http://{engine_name}:PORT, with a port that {engine_name}"
            f" exposes to {name}.",
        )


def _shown(address: str) -> str:
    """An address without what may be a password in it."""
    return repr(address.rpartition("@")[2][:100])
