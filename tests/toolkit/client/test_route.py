"""An endpoint that was replaced is followed: before the first byte, once, and only then."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.support.endpoint import (
    MODEL,
    Answer,
    Gate,
    Hangup,
    Hold,
    Received,
    ScriptedEndpoint,
    words,
)
from tests.toolkit.client.conftest import Certificates, pin_of, serving
from toolkit import paths
from toolkit.client import Endpoint
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Intent, State
from toolkit.deploy.ledger import Ledger
from toolkit.errors import ConfigError, CredentialsError, EndpointError, RequestRefused, UsageError
from toolkit.route import Address

KEY = "ak-canary-51c0ffee"


class Places:
    """Says where the endpoint is, and counts how often it is asked."""

    def __init__(self, *found: Address | None) -> None:
        self._found = list(found)
        self.asked = 0

    def __call__(self) -> Address | None:
        self.asked += 1
        return self._found[0] if len(self._found) == 1 else self._found.pop(0)


def at(server: ScriptedEndpoint) -> Address:
    return Address(server.url)


def following(url: str, places: Places, pin: str | None = None) -> Endpoint:
    return Endpoint.open(url=url, key=KEY, pin=pin, model=MODEL, locate=places)


async def said(endpoint: Endpoint) -> str:
    return "".join([chunk.text async for chunk in endpoint.chat("hi")])


async def test_nobody_is_asked_while_all_is_well() -> None:
    async with ScriptedEndpoint(lambda _: words("here")) as server:
        places = Places(at(server))
        async with following(server.url, places) as endpoint:
            assert await said(endpoint) == "here"
            assert await endpoint.is_ready()
        assert places.asked == 0


async def test_where_nothing_answers_the_new_address_is_asked_for(
    free_port: Callable[[], int],
) -> None:
    async with ScriptedEndpoint(lambda _: words("there"), key=KEY) as new:
        places = Places(at(new))
        async with following(f"http://127.0.0.1:{free_port()}", places) as endpoint:
            assert await said(endpoint) == "there"
            assert endpoint.url == new.url
            assert await said(endpoint) == "there"
        assert places.asked == 1
        assert len(new.generations()) == 2


@pytest.mark.parametrize("status", [401, 404, 502, 503])
async def test_what_a_stranger_says_at_the_old_address_leads_to_the_new(status: int) -> None:
    refuse = Answer(status=status, error="not here")
    async with (
        ScriptedEndpoint(lambda _: refuse) as old,
        ScriptedEndpoint(lambda _: words("there"), key=KEY) as new,
        following(old.url, Places(at(new))) as endpoint,
    ):
        assert await said(endpoint) == "there"
        assert (len(old.generations()), len(new.generations())) == (1, 1)


@pytest.mark.parametrize("status", [400, 429, 500, 504])
async def test_what_only_the_endpoint_itself_says_is_not_taken_for_a_move(status: int) -> None:
    refuse = Answer(status=status, error="no")
    async with ScriptedEndpoint(lambda _: refuse) as old, ScriptedEndpoint() as new:
        places = Places(at(new))
        async with following(old.url, places) as endpoint:
            with pytest.raises(RequestRefused):
                await said(endpoint)
        assert places.asked == 0
        assert new.received == []


async def test_short_questions_follow_too() -> None:
    async with ScriptedEndpoint(key="another") as old, ScriptedEndpoint(key=KEY) as new:
        for ask in (Endpoint.tags, Endpoint.version, Endpoint.is_ready):
            async with following(old.url, Places(at(new))) as endpoint:
                assert await ask(endpoint)
                assert endpoint.url == new.url


async def test_another_certificate_leads_to_the_new_address(certificates: Certificates) -> None:
    async with (
        ScriptedEndpoint(tls=serving(certificates.other)) as old,
        ScriptedEndpoint(lambda _: words("there"), tls=serving(certificates.other)) as new,
    ):
        places = Places(Address(new.url, pin=pin_of(certificates.other)))
        async with following(old.url, places, pin_of(certificates.own)) as endpoint:
            assert await said(endpoint) == "there"
        assert old.received == []
        assert new.received[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_new_pin_at_the_same_address_is_a_move(certificates: Certificates) -> None:
    async with ScriptedEndpoint(tls=serving(certificates.other)) as server:
        places = Places(Address(server.url, pin=pin_of(certificates.other)))
        async with following(server.url, places, pin_of(certificates.own)) as endpoint:
            assert await endpoint.tags()


@pytest.mark.parametrize("found", ["itself", "nowhere", "unknown"])
async def test_who_is_where_it_was_gives_the_first_error(found: str) -> None:
    refuse = Answer(status=503, error="the model is loading")

    def locate() -> Address | None:
        if found == "unknown":
            raise ConfigError("the ledger cannot be read")
        return at(server) if found == "itself" else None

    async with (
        ScriptedEndpoint(lambda _: refuse) as server,
        Endpoint.open(url=server.url, key=KEY, model=MODEL, locate=locate) as endpoint,
    ):
        with pytest.raises(RequestRefused, match="the model is loading"):
            await said(endpoint)
        assert len(server.generations()) == 1


async def test_the_request_is_sent_on_once_only() -> None:
    refuse = Answer(status=503, error="no")
    async with (
        ScriptedEndpoint(lambda _: refuse) as one,
        ScriptedEndpoint(lambda _: Answer(status=503, error="neither")) as two,
        ScriptedEndpoint() as three,
    ):
        places = Places(at(two), at(three))
        async with following(one.url, places) as endpoint:
            with pytest.raises(RequestRefused, match="neither"):
                await said(endpoint)
        assert (places.asked, three.received) == (1, [])


async def test_a_stream_that_has_begun_is_not_repeated() -> None:
    async with (
        ScriptedEndpoint(lambda _: Answer(["one"], finish=False)) as broken,
        ScriptedEndpoint(lambda _: Answer(["two", Hangup()])) as hung_up,
        ScriptedEndpoint() as new,
    ):
        for old in (broken, hung_up):
            places = Places(at(new))
            async with following(old.url, places) as endpoint:
                with pytest.raises(EndpointError):
                    await said(endpoint)
            assert places.asked == 0
        assert new.generations() == []


async def test_a_stream_at_the_old_address_goes_on_while_others_have_moved() -> None:
    gate = asyncio.Event()
    answers = [Answer(["old", Gate(gate), " end"]), Answer(status=503, error="full")]
    async with (
        ScriptedEndpoint(lambda _: answers.pop(0)) as old,
        ScriptedEndpoint(lambda _: words("new")) as new,
        following(old.url, Places(at(new))) as endpoint,
        aclosing(endpoint.chat("hi")) as stream,
    ):
        assert (await anext(stream)).text == "old"
        assert await said(endpoint) == "new"
        gate.set()
        assert "".join([chunk.text async for chunk in stream]) == " end"


async def test_many_that_fail_at_once_all_go_on_at_the_new_address() -> None:
    refuse = Answer(status=502, error="gone")
    async with (
        ScriptedEndpoint(lambda _: refuse) as old,
        ScriptedEndpoint(lambda _: words("new")) as new,
        following(old.url, Places(at(new))) as endpoint,
    ):
        assert await asyncio.gather(*(said(endpoint) for _ in range(8))) == ["new"] * 8
        assert len(new.generations()) == 8


async def test_the_key_does_not_follow_to_where_it_must_not_travel() -> None:
    async with ScriptedEndpoint(key="another") as old:
        places = Places(Address("http://h.example"))
        async with following(old.url, places) as endpoint:
            with pytest.raises(CredentialsError, match="plain http"):
                await endpoint.tags()


async def test_closing_the_client_closes_what_is_under_way_at_both_addresses() -> None:
    answers = [Answer(["old", Hold()]), Answer(status=503, error="full")]
    async with (
        ScriptedEndpoint(lambda _: answers.pop(0)) as old,
        ScriptedEndpoint(lambda _: Answer(["new", Hold()])) as new,
    ):
        endpoint = following(old.url, Places(at(new)))
        async with aclosing(endpoint.chat("hi")) as one, aclosing(endpoint.chat("hi")) as two:
            assert [(await anext(one)).text, (await anext(two)).text] == ["old", "new"]
        await endpoint.aclose()
        for server in (old, new):
            await server.until(lambda s: s.cancelled == 1)


# -- another model ------------------------------------------------------------------

OTHER = "another:1b"


def knowing(model: str, text: str) -> Callable[[Received], Answer]:
    """A server that has one model."""

    def answer(request: Received) -> Answer:
        is_known = request.body["model"] == model
        return words(text) if is_known else Answer(status=404, error="model not found")

    return answer


async def test_one_that_was_updated_to_another_model_is_asked_for_that() -> None:
    async with ScriptedEndpoint(knowing(OTHER, "new")) as server:
        places = Places(Address(server.url, model=OTHER))
        async with following(server.url, places) as endpoint:
            assert await asyncio.gather(*(said(endpoint) for _ in range(4))) == ["new"] * 4
            assert endpoint.model == OTHER
            assert await said(endpoint) == "new"
        assert [each.body["model"] for each in server.generations()][-1] == OTHER


async def test_one_that_was_replaced_by_another_model_is_asked_for_that() -> None:
    async with (
        ScriptedEndpoint(lambda _: Answer(status=502, error="gone")) as old,
        ScriptedEndpoint(knowing(OTHER, "new")) as new,
        following(old.url, Places(Address(new.url, model=OTHER))) as endpoint,
    ):
        assert await said(endpoint) == "new"
        assert (endpoint.url, endpoint.model) == (new.url, OTHER)


async def test_a_model_that_was_chosen_stays_chosen() -> None:
    async with ScriptedEndpoint(knowing(OTHER, "new")) as server:
        places = Places(Address(server.url, model=OTHER))
        async with following(server.url, places) as endpoint:
            endpoint.model = "mine:1b"
            with pytest.raises(RequestRefused, match="not found"):
                await said(endpoint)
            assert endpoint.model == "mine:1b"
            endpoint.model = OTHER
            assert await said(endpoint) == "new"


# -- by the ledger ------------------------------------------------------------------


def opened_in(ledger: Ledger, url: str | None, **handle: str) -> str:
    uid = ledger.open(Intent(name="mine", model=MODEL), sdl="x").uid
    if url is not None:
        ledger.note(uid, url=url, handle=handle)
    return uid


@pytest.fixture
def ledger(akash_home: Path) -> Ledger:
    """A ledger, and the key file of `mine`."""
    paths.key_file("mine").parent.mkdir(parents=True)
    paths.key_file("mine").write_text(KEY)
    return Ledger(paths.ledger())


async def test_a_replacement_is_found_by_its_name_with_its_pin_and_its_key(
    ledger: Ledger, certificates: Certificates, free_port: Callable[[], int]
) -> None:
    uid = opened_in(ledger, f"http://127.0.0.1:{free_port()}")
    old = ledger.get(uid)
    assert old is not None
    endpoint = endpoint_of(old, ledger=ledger)
    ledger.move(uid, State.CLOSING)
    ledger.move(uid, State.CLOSED)
    paths.key_file("mine").write_text("ak-the-next-key")
    tls = serving(certificates.own)
    async with ScriptedEndpoint(key="ak-the-next-key", tls=tls) as new, endpoint:
        with pytest.raises(EndpointError, match="Nothing answers"):  # nothing is open
            await endpoint.tags()
        opened_in(ledger, new.url, pin=pin_of(certificates.own))
        assert await endpoint.tags()
        assert endpoint.url == new.url


async def test_what_belongs_to_one_record_does_not_follow(
    ledger: Ledger, free_port: Callable[[], int]
) -> None:
    async with ScriptedEndpoint(key=KEY) as new:
        uid = opened_in(ledger, f"http://127.0.0.1:{free_port()}")
        old = ledger.get(uid)
        assert old is not None
        ledger.note(uid, url=new.url, handle={})
        async with endpoint_of(old) as endpoint:
            assert not await endpoint.is_ready()
        assert new.received == []


async def test_a_replacement_without_an_address_is_nowhere_yet(
    ledger: Ledger, free_port: Callable[[], int]
) -> None:
    uid = opened_in(ledger, f"http://127.0.0.1:{free_port()}")
    old = ledger.get(uid)
    assert old is not None
    ledger.move(uid, State.CLOSING)
    ledger.move(uid, State.CLOSED)
    opened_in(ledger, None)
    async with endpoint_of(old, ledger=ledger) as endpoint:
        with pytest.raises(EndpointError, match="Nothing answers"):
            await endpoint.tags()
    record = ledger.find("mine")
    assert record is not None
    with pytest.raises(UsageError, match="no address yet"):
        endpoint_of(record)
