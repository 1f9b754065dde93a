"""Where an SDL refers to secrets, and what stands there in truth."""

import re
from collections.abc import Iterator

import msgspec

from tests.support.console.states import Refusal
from toolkit.sdl import SDL
from toolkit.sdl.model import Service

RESERVED = "ac-"
REFERENCE = re.compile(r"ac-secret://([A-Za-z_][A-Za-z0-9_]{0,63})")
MOST_SECRETS = 100
LONGEST_VALUE = 16 * 1024

Secrets = dict[str, str]


def kept(stored: Secrets, supplied: Secrets, sdl: SDL) -> Secrets:
    """What a deployment has after `supplied` came: each name that the SDL refers to, which
    has to have a value, and no other."""
    wanted = set(references(sdl))
    if unwanted := sorted(supplied.keys() - wanted):
        raise Refusal(400, f"Invalid SDL: nothing refers to the secret {unwanted[0]}")
    values = {name: each for name, each in (stored | supplied).items() if name in wanted}
    if missing := sorted(wanted - values.keys()):
        raise Refusal(400, f'Invalid SDL: no value supplied for "ac-secret://{missing[0]}"')
    if len(values) > MOST_SECRETS:
        raise Refusal(400, f"A deployment has at most {MOST_SECRETS} secrets")
    if any(len(msgspec.json.encode(each)) - 2 > LONGEST_VALUE for each in values.values()):
        raise Refusal(400, f"A secret has at most {LONGEST_VALUE} bytes")
    return values


def references(sdl: SDL) -> Iterator[str]:
    """The names that an SDL refers to. Anything else that begins like a reference is refused."""
    for name, service in sdl.services.items():
        for value in _slots(service):
            found = REFERENCE.fullmatch(value)
            if found:
                yield found[1]
            elif value.startswith(RESERVED):
                message = (
                    f"Invalid SDL: a value in {name} begins with {RESERVED} and is no reference"
                )
                raise Refusal(400, message)


def resolved(sdl: SDL, secrets: Secrets) -> SDL:
    """The SDL with the secrets in their places, as a provider gets it."""
    services = {name: _filled(service, secrets) for name, service in sdl.services.items()}
    return msgspec.structs.replace(sdl, services=services)


def _slots(service: Service) -> Iterator[str]:
    yield from (value for _, _, value in (item.partition("=") for item in service.env or ()))
    if service.credentials is not None:
        yield from (service.credentials.username, service.credentials.password)


def _filled(service: Service, secrets: Secrets) -> Service:
    def value(text: str) -> str:
        found = REFERENCE.fullmatch(text)
        return secrets[found[1]] if found else text

    pairs = [item.partition("=") for item in service.env or ()]
    env = tuple(f"{name}{sign}{value(text)}" for name, sign, text in pairs)
    credentials = service.credentials
    if credentials is not None:
        names = {"username": credentials.username, "password": credentials.password}
        filled = {field: value(text) for field, text in names.items()}
        credentials = msgspec.structs.replace(credentials, **filled)
    return msgspec.structs.replace(service, env=env or None, credentials=credentials)
