"""Secrets: what the Console opens, what it refuses, and that nothing else ever shows them."""

import logging
import time
from collections.abc import Mapping

import msgspec
import pytest
from joserfc import jwe
from joserfc.jwk import RSAKey

from tests.support.console import samples
from tests.support.console.seals import REGISTRY
from tests.support.console.server import ConsoleServer
from tests.support.console.world import World
from tests.toolkit.deploy.console.test_secrets import everything_about
from toolkit.deploy.console.account import SecretsContext
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.sealing import MAX_SECRETS, MAX_VALUE_BYTES, Secrets, seal
from toolkit.deploy.console.updates import NewDeployment, Patch, ServicePatch
from toolkit.errors import CredentialsError, EndpointError, RequestRefused, UsageError

CANARY = "hf_canary51c0ffee51c0ffee"
SDL = samples.SDL.replace('["MODEL=a"]', '["MODEL=a", "HF_TOKEN=ac-secret://HF_TOKEN"]')
PRIVATE = SDL.replace(
    "    expose:\n",
    "    credentials: {host: ghcr.io, username: ac-secret://USER, password: ac-secret://WORD}\n"
    "    expose:\n",
    1,
)
TOKEN = Secrets({"HF_TOKEN": CANARY})
KEY = RSAKey.generate_key(2048)


async def sealed(
    console: ConsoleClient,
    secrets: Mapping[str, str] = TOKEN,
    *,
    sdl: str | None = SDL,
    ago_s: float = 0,
) -> str:
    context = await console.secrets_context()
    now = time.time() - ago_s if ago_s else None
    return seal(secrets, context, sdl=sdl, now=now)


async def created(console: ConsoleClient, text: str = SDL) -> str:
    """The number of a deployment that has the token."""
    order = NewDeployment(sdl=text, sealed_secrets=await sealed(console, sdl=text))
    return (await console.create(order)).dseq


def context_of(key: RSAKey, jwk: Mapping[str, object] | None = None) -> SecretsContext:
    return SecretsContext("k1", "user", {**key.as_dict(private=False), **(jwk or {})})


# What the Console gets


async def test_the_console_opens_what_goes_with_an_order(
    console: ConsoleClient, world: World
) -> None:
    dseq = await created(console)
    assert world.deployments[dseq].secrets == {"HF_TOKEN": CANARY}
    there = await console.deployment(dseq)
    assert there.console_settings is not None
    assert there.console_settings.sdl == SDL


async def test_registries_have_secrets_too(console: ConsoleClient, world: World) -> None:
    three = Secrets({"HF_TOKEN": CANARY, "USER": "me", "WORD": "w"})
    text = await sealed(console, three, sdl=PRIVATE)
    made = await console.create(NewDeployment(sdl=PRIVATE, sealed_secrets=text))
    assert world.deployments[made.dseq].secrets == dict(three)


async def test_a_change_replaces_the_secrets_that_it_gives(
    console: ConsoleClient, world: World
) -> None:
    three = Secrets({"HF_TOKEN": CANARY, "USER": "me", "WORD": "w"})
    first = await sealed(console, three, sdl=PRIVATE)
    dseq = (await console.create(NewDeployment(sdl=PRIVATE, sealed_secrets=first))).dseq
    before = (await console.deployment(dseq)).deployment.hash
    again = await sealed(console, {"WORD": "other"}, sdl=None)
    after = await console.patch(dseq, Patch(sealed_secrets=again))
    assert world.deployments[dseq].secrets == {**three, "WORD": "other"}
    assert after.deployment.hash != before
    assert after.console_settings is not None
    assert after.console_settings.sdl == PRIVATE


async def test_a_secret_that_nothing_refers_to_any_more_is_forgotten(
    console: ConsoleClient, world: World
) -> None:
    dseq = await created(console)
    await console.patch(dseq, Patch(services={"llm": ServicePatch(env={"HF_TOKEN": None})}))
    assert world.deployments[dseq].secrets == {}


async def test_secrets_are_inherited(console: ConsoleClient, world: World) -> None:
    old = await created(console)
    await console.close(old)
    empty = await sealed(console, {})
    order = NewDeployment(sdl=SDL, sealed_secrets=empty, inherit_secrets_from=old)
    new = await console.create(order)
    assert world.deployments[new.dseq].secrets == {"HF_TOKEN": CANARY}


def test_the_header_says_what_the_console_asks_for() -> None:
    text = seal(TOKEN, context_of(KEY), sdl="sdl", now=1000.9)
    opened = jwe.decrypt_compact(text, KEY, registry=REGISTRY)
    assert opened.headers() == {
        "alg": "RSA-OAEP-256",
        "enc": "A256GCM",
        "kid": "k1",
        "sub": "user",
        "exp": 1300,
        "sdlHash": "j9LPSTQoaDOZ9tPPjH3z3YDkbRBtAD6dxNdzBtfBn-4",
    }
    assert msgspec.json.decode(opened.plaintext or b"") == {"HF_TOKEN": CANARY}


def test_a_change_is_for_no_sdl_and_nothing_can_be_sealed() -> None:
    text = seal({}, context_of(KEY), sdl=None, now=1000)
    opened = jwe.decrypt_compact(text, KEY, registry=REGISTRY)
    assert "sdlHash" not in opened.headers()
    assert opened.plaintext == b"{}"


async def test_as_many_and_as_long_as_there_may_be(console: ConsoleClient, world: World) -> None:
    names = [f"S{number}" for number in range(MAX_SECRETS)]
    env = ", ".join(f'"{name}=ac-secret://{name}"' for name in names)
    text = samples.SDL.replace('"MODEL=a"', env)
    most = Secrets(dict.fromkeys(names, "x" * (MAX_VALUE_BYTES - 2)))
    order = NewDeployment(sdl=text, sealed_secrets=await sealed(console, most, sdl=text))
    assert len(world.deployments[(await console.create(order)).dseq].secrets) == MAX_SECRETS


# What the Console refuses


async def test_a_seal_for_another_sdl(console: ConsoleClient, world: World) -> None:
    text = await sealed(console, sdl=SDL + "\n")
    with pytest.raises(CredentialsError, match="different SDL"):
        await console.create(NewDeployment(sdl=SDL, sealed_secrets=text))
    assert not world.deployments


async def test_a_seal_for_another_account(console: ConsoleClient) -> None:
    context = msgspec.structs.replace(await console.secrets_context(), sub="someone")
    text = seal(TOKEN, context, sdl=SDL, now=time.time())
    with pytest.raises(CredentialsError, match="different user"):
        await console.create(NewDeployment(sdl=SDL, sealed_secrets=text))


async def test_a_seal_by_a_key_that_is_no_longer_used(console: ConsoleClient, world: World) -> None:
    old = await sealed(console)
    world.seals.retire()
    with pytest.raises(RequestRefused) as caught:
        await console.create(NewDeployment(sdl=SDL, sealed_secrets=old))
    assert caught.value.status == 409
    await created(console)


@pytest.mark.parametrize(("ago_s", "why"), [(301, "have expired"), (-700, "too far")])
async def test_a_seal_at_another_time(console: ConsoleClient, ago_s: float, why: str) -> None:
    text = await sealed(console, ago_s=ago_s)
    with pytest.raises(RequestRefused, match=why) as caught:
        await console.create(NewDeployment(sdl=SDL, sealed_secrets=text))
    assert caught.value.status == 400


@pytest.mark.parametrize("spoil", ["", "x", "a.b.c.d.e", "{}"])
async def test_what_is_no_seal(console: ConsoleClient, spoil: str) -> None:
    text = spoil or (await sealed(console))[:-4] + "AAAA"
    with pytest.raises(RequestRefused, match="failed authentication"):
        await console.create(NewDeployment(sdl=SDL, sealed_secrets=text))


@pytest.mark.parametrize(
    ("secrets", "why"),
    [({}, "no value supplied"), ({"HF_TOKEN": CANARY, "OTHER": "x"}, "nothing refers")],
)
async def test_names_and_values_that_do_not_match(
    console: ConsoleClient, world: World, secrets: dict[str, str], why: str
) -> None:
    text = await sealed(console, secrets)
    with pytest.raises(RequestRefused, match=why):
        await console.create(NewDeployment(sdl=SDL, sealed_secrets=text))
    assert not world.deployments


@pytest.mark.parametrize("value", ["ac-", "ac-other://X", "ac-secret://hf-token"])
async def test_a_value_that_begins_like_a_reference_and_is_none(
    console: ConsoleClient, value: str
) -> None:
    text = SDL.replace("ac-secret://HF_TOKEN", value)
    with pytest.raises(RequestRefused, match="is no reference"):
        await console.create(NewDeployment(sdl=text))


async def test_a_change_may_be_sealed_for_what_is_stored_only(
    console: ConsoleClient, world: World
) -> None:
    dseq = await created(console)
    for sdl in (SDL, None):
        again = await sealed(console, {"HF_TOKEN": "new"}, sdl=sdl)
        await console.patch(dseq, Patch(sealed_secrets=again))
    other = await sealed(console, sdl=samples.SDL)
    with pytest.raises(CredentialsError, match="different SDL"):
        await console.patch(dseq, Patch(sealed_secrets=other))
    assert world.deployments[dseq].secrets == {"HF_TOKEN": "new"}


# What is not sealed at all


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({f"S{number}": "x" for number in range(101)}, "there are 101"),
        ({"hf-token": CANARY}, "a name is none"),
        ({CANARY + "!": "HF_TOKEN"}, "a name is none"),
        ({"": CANARY}, "a name is none"),
        ({"A": CANARY + "x" * MAX_VALUE_BYTES}, "A is too long"),
        ({"A": CANARY + '"' * (MAX_VALUE_BYTES // 2)}, "A is too long"),
        ({"A": CANARY + "\ud800"}, "A is no text"),
    ],
)
def test_secrets_that_cannot_be(values: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        seal(values, context_of(KEY), sdl=None, now=0)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "EC"},
        {"kty": None},
        {"n": "sXch"},
        {"n": ""},
        {"n": 5},
        {"n": "!!"},
        {"n": "A" * 400_000},
        {"n": "_" * 400_000},
        {"n": str(KEY.as_dict()["n"])[:-2] + "AA"},  # even
        {"e": "AA"},
    ],
)
def test_a_key_that_is_none_is_one_clear_error(jwk: dict[str, object]) -> None:
    with pytest.raises(EndpointError, match="context for secrets cannot be used") as caught:
        seal(TOKEN, context_of(KEY, jwk), sdl=None, now=0)
    assert CANARY not in everything_about(caught.value)


def test_a_claim_that_nobody_knows_is_not_left_out() -> None:
    context = msgspec.structs.replace(context_of(KEY), required_claims=("kid", "aud"))
    with pytest.raises(EndpointError, match="a claim"):
        seal(TOKEN, context, sdl=None, now=0)


async def test_a_secret_is_nowhere_to_be_seen(
    console: ConsoleClient,
    server: ConsoleServer,
    world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    dseq = await created(console)
    text = await sealed(console)
    world.seals.retire()
    with pytest.raises(RequestRefused) as caught:
        await console.create(NewDeployment(sdl=SDL, sealed_secrets=text))
    assert server.seen
    sent = "".join(f"{seen.path}{seen.query}{seen.headers}{seen.body!r}" for seen in server.seen)
    answered = repr(await console.deployment(dseq)) + repr(world.deployments[dseq])
    assert CANARY not in sent + answered + caplog.text + everything_about(caught.value)
    assert repr(TOKEN) == "Secrets(HF_TOKEN)"
    assert CANARY not in f"{TOKEN} {TOKEN!r}"
