"""One request goes wrong, at every step and in every way.

Each row says what comes of it, and is held to the same promises (see `Chaos.check`): nobody
orders twice, nothing is rented above the cap, the books have all that is open, and in the
end, with the doctor's help, ledger and account are equal to the cent.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import stamina

from tests.support.console.chaos import (
    BIDS,
    CLOSE,
    CREATE,
    LEASE,
    LIMIT,
    LIST,
    PACE,
    PATCH,
    READ,
    SETTINGS,
    Chaos,
    fault,
)
from tests.support.console.faults import CHALLENGE, Canned, Fault, answered
from tests.support.console.states import Generation
from toolkit.deploy.akash.orders import OrderState
from toolkit.deploy.base import State, Update
from toolkit.sdl.parse import parse

FUNDING = ("GET", "/v1/deployment-funding-config")
PROVIDERS = ("GET", "/v1/providers")
FUNDING_OFF = ("POST", "/v2/deployment-settings")
PUT = ("PUT", "/v1/deployments/")
Call = tuple[str, str]

SURE = msgspec.structs.replace(PACE, never_after_s=720.0)  # so soon nothing was "never made"

# `+`: after it had its effect. What only looks is repeated after what passes.
LOOK = {
    "lost": "done",
    "402": "FundsMissing",
    "409": "RequestRefused",
    "422": "RequestRefused",
    "429": "done",
    "500": "done",
    "502": "done",
    "503": "done",
}
LOOK_AGAIN = {"lost": "done", "409": "RequestRefused", "500": "done", "503": "done"}
# An order is sent once. Where nothing was done for now it is sent again: a 429 surely did nothing.
ORDER = {
    "lost": "ReplyLost",
    "lost+": "done",
    "402": "done",
    "409": "done",
    "422": "RequestRefused",
    "429": "done",
    "500": "ReplyLost",
    "500+": "done",
    "503": "ReplyLost",
    "503+": "done",
}
# A lease that may exist is looked for; if there is none, another order goes elsewhere.
RENT = {
    "lost": "done",
    "lost+": "done",
    "402": "FundsMissing",
    "409": "RequestRefused",
    "422": "done",
    "429": "done",
    "500": "done",
    "500+": "done",
    "502+": "done",
    "503": "done",
}
# Without the answer that funding is off, nothing is rented from an older Console.
TURN_OFF = {
    "lost": "ReplyLost",
    "lost+": "ReplyLost",
    "402": "FundsMissing",
    "409": "RequestRefused",
    "422": "RequestRefused",
    "429": "done",
    "500": "ReplyLost",
    "503+": "ReplyLost",
}
# While it waits for a lease to come up, it looks again whatever came.
WATCH = dict.fromkeys(("lost", "402", "409", "429", "500"), "done")
END = {
    "lost": "done",
    "lost+": "done",
    "402": "FundsMissing",
    "409": "done",
    "422": "RequestRefused",
    "429": "done",
    "500": "done",
    "500+": "done",
    "502+": "done",
    "503": "done",
}
# Of a change, too, an answer that was lost is settled by looking.
CHANGE = {
    "lost": "ReplyLost",
    "lost+": "done",
    "402": "FundsMissing",
    "409": "RequestRefused",
    "422": "RequestRefused",
    "429": "done",
    "500": "ReplyLost",
    "500+": "done",
    "503": "ReplyLost",
    "503+": "done",
}


@pytest.fixture
def chaos(chaos: Chaos) -> Chaos:
    chaos.pace = SURE
    return chaos


@pytest.fixture
def older(older: Chaos) -> Chaos:
    older.pace = SURE
    return older


def rows(*tables: tuple[Call, Mapping[str, str]]) -> list[object]:
    """Each kind of each table by its name."""
    return [
        pytest.param(call, kind, outcome, id=f"{' '.join(call)} {kind}")
        for call, table in tables
        for kind, outcome in table.items()
    ]


def made(call: Call, kind: str) -> Fault:
    return fault(call, kind.removesuffix("+"), after=kind.endswith("+"))


def passing(call: Call) -> Fault:
    """Nothing goes wrong: it uses up the first such request."""
    return Fault(method=call[0], path=call[1])


def is_kept(chaos: Chaos) -> bool:
    """Whether there is what the last step says: an endpoint, or nothing that is open."""
    active = [each for each in chaos.world.deployments.values() if each.is_active]
    records = chaos.keeper.ledger.open_records()
    if [record.state for record in records] == [State.READY]:
        return len(active) == 1 and bool(active[0].active_leases)
    return not active and all(record.state is State.CLOSING for record in records)


# -- a deploy -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "outcome"),
    rows(
        (FUNDING, LOOK_AGAIN),
        (CREATE, ORDER),
        (SETTINGS, LOOK_AGAIN),
        (BIDS, LOOK),
        (PROVIDERS, LOOK_AGAIN),
        (LEASE, RENT),
        (READ, WATCH),
    ),
)
def test_a_deploy(chaos: Chaos, call: Call, kind: str, outcome: str) -> None:
    chaos.most_at_once = 1
    chaos.server.script.add(made(call, kind))
    chaos.deploy("one")
    assert chaos.outcomes == {f"deploy: {outcome}": 1}
    assert chaos.server.script.is_done and is_kept(chaos)
    chaos.settle()


@pytest.mark.parametrize(
    ("call", "kind", "outcome"),
    rows((LEASE, RENT), (FUNDING_OFF, TURN_OFF)),
)
def test_a_deploy_from_an_older_console(older: Chaos, call: Call, kind: str, outcome: str) -> None:
    older.most_at_once = 1
    older.server.script.add(made(call, kind))
    older.deploy("one")
    assert older.outcomes == {f"deploy: {outcome}": 1}
    assert older.server.script.is_done and is_kept(older)
    assert not any(each.auto_top_up for each in older.world.deployments.values())
    older.settle()


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("lost", "ReplyLost"),
        ("lost+", "done"),
        ("402", "done"),
        ("409", "done"),
        ("422", "RequestRefused"),
        ("429", "done"),
        ("500+", "done"),
        ("503", "ReplyLost"),
    ],
)
def test_an_order_with_its_deposit_at_an_older_console(
    older: Chaos, kind: str, outcome: str
) -> None:
    """The first is refused for want of a deposit; the second is the one that counts. There are
    no names: it is found by its manifest, among others of the account."""
    older.deploy("two")
    older.most_at_once = 1
    older.server.script.add(passing(CREATE), made(CREATE, kind))
    older.deploy("one")
    assert older.outcomes == {"deploy: done": 1 + (outcome == "done")} | (
        {} if outcome == "done" else {f"deploy: {outcome}": 1}
    )
    assert older.server.script.is_done
    older.settle()


@pytest.mark.parametrize(
    ("code", "after", "provider", "orders"),
    [
        ("provider_unreachable", False, "akash1b", 1),
        ("provider_unreachable", True, "akash1a", 1),  # it is there all the same
        ("manifest_not_delivered", True, "akash1a", 1),  # the same again only sends that
    ],
)
def test_what_the_console_knows_of_a_lease(
    chaos: Chaos, code: str, after: bool, provider: str, orders: int
) -> None:
    body = f'{{"message":"no","code":"{code}"}}'.encode()
    chaos.server.script.add(answered(*LEASE, 502, body, after=after))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1}
    (each,) = chaos.world.deployments.values()
    assert [lease.provider for lease in each.leases] == [provider]
    assert len(chaos.world.deployments) == orders
    chaos.settle()


@pytest.mark.parametrize(
    ("status", "code", "headers", "outcome"),
    [
        (402, "balance_top_up_pending", {"retry-after": "0"}, "done"),
        (402, "insufficient_balance", {}, "FundsMissing"),
        (403, "fair_use_policy_required", {}, "CredentialsError"),
        (409, "wallet_provisioning", {"retry-after": "0"}, "done"),
        (400, "bad_request", {}, "RequestRefused"),
    ],
)
def test_what_the_console_says_of_an_order(
    chaos: Chaos, status: int, code: str, headers: dict[str, str], outcome: str
) -> None:
    body = f'{{"message":"no","code":"{code}"}}'.encode()
    chaos.server.script.add(answered(*CREATE, status, body, headers=headers))
    chaos.deploy("one")
    assert chaos.outcomes == {f"deploy: {outcome}": 1}
    assert len(chaos.world.deployments) == (outcome == "done")
    chaos.settle()


AFTER = [
    {},
    {"retry-after": "0"},
    {"retry-after": "soon"},
    {"retry-after": "-7"},
    {"retry-after": "99999999999999999999"},
    {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"},
    {"retry-after": "Wed, 21 Oct 2215 07:28:00 GMT"},
]


@pytest.mark.parametrize("headers", AFTER, ids=lambda headers: headers.get("retry-after", "none"))
@pytest.mark.parametrize("call", [CREATE, LEASE], ids=["order", "lease"])
def test_who_is_too_busy_has_done_nothing(
    chaos: Chaos, call: Call, headers: dict[str, str]
) -> None:
    """However oddly the edge says when to come again, and whatever its page looks like."""
    chaos.most_at_once = 1
    chaos.server.script.add(*[answered(*call, 429, CHALLENGE, headers=headers)] * 2)
    if call is LEASE:  # it is waited for less often in tests
        chaos.server.script.take(*call)
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1} and chaos.server.script.is_done
    assert chaos.server.count(*call) == (3 if call is CREATE else 2)
    assert len(chaos.world.deployments) == 1
    chaos.settle()


@pytest.mark.parametrize("call", [CREATE, LEASE], ids=["order", "lease"])
def test_who_is_too_busy_for_longer_than_there_is_time_ends_it(chaos: Chaos, call: Call) -> None:
    fault = answered(*call, 429, CHALLENGE, headers={"retry-after": "3600"})
    chaos.server.script.add(fault)
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: RequestRefused": 1} and is_kept(chaos)
    assert chaos.server.count(*call) == 1
    assert [order.is_open for order in chaos.orders.all()] == [False]
    chaos.settle()


@pytest.mark.parametrize("call", [FUNDING, SETTINGS, BIDS, PROVIDERS, READ], ids="{0[1]}".format)
@pytest.mark.parametrize("phase", ["order", "lease"])
def test_a_look_that_keeps_failing(chaos: Chaos, phase: str, call: Call) -> None:
    """From some phase on, until it is given up: another one comes, or a closed end."""
    chaos.most_at_once = 1
    begun: list[str] = []

    def watch(update: Update) -> None:
        if update.phase == phase and not begun:
            begun.append(phase)
            chaos.server.script.add(*[answered(*call, 503, CHALLENGE)] * 999)
        elif update.phase in ("close", "again"):
            chaos.server.script.clear()

    chaos.watch = watch
    chaos.deploy("one")
    chaos.server.script.clear()
    chaos.doctor()
    assert is_kept(chaos)
    chaos.settle()


def test_a_look_that_fails_after_a_close_is_no_end_of_it(chaos: Chaos) -> None:
    chaos.deploy("one")
    chaos.server.script.add(*[answered(*READ, 500)] * 3)  # more than are asked again at once
    chaos.close("one")
    assert chaos.outcomes["close: done"] == 1 and chaos.server.script.is_done
    chaos.settle()


@pytest.mark.parametrize("kind", ["lost+", "500+"])
def test_an_order_whose_answer_and_list_are_lost_is_not_sent_again(chaos: Chaos, kind: str) -> None:
    chaos.most_at_once = 1
    chaos.server.script.add(made(CREATE, kind), *[made(LIST, "500")] * 999)
    chaos.deploy("one")
    assert "deploy: done" not in chaos.outcomes and len(chaos.world.deployments) == 1
    chaos.server.script.clear()
    chaos.deploy("one")
    assert chaos.outcomes["deploy: done"] == 1
    assert sum(each.is_active for each in chaos.world.deployments.values()) == 1
    chaos.settle()


NULLS = (
    b'{"data":{"deployment":{"id":{"dseq":"1","owner":null},"state":"active","hash":null,'
    b'"created_at":null},"leases":null,"escrow_account":null,"name":null,"consoleSettings":null}}'
)
HALF = (
    b'{"data":{"deployment":{"id":{"dseq":"1"},"state":"active"},"leases":[{"id":{"dseq":"1",'
    b'"provider":"akash1a","gseq":null},"state":"active","price":{"denom":"uact","amount":"1"},'
    b'"closed_on":null,"reason":null,"status":{"services":{"llm":null},"forwarded_ports":'
    b'{"llm":null},"ips":null}}],"escrow_account":{"state":null}}}'
)


@pytest.mark.parametrize(
    ("call", "body"),
    [(READ, HALF), (BIDS, b'{"data":[]}'), (PROVIDERS, b"[]")],
)
def test_nulls(chaos: Chaos, call: Call, body: bytes) -> None:
    chaos.server.script.add(answered(*call, 200, body))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1} and chaos.server.script.is_done
    chaos.settle()


def test_a_lease_that_the_console_shows_as_none_at_all_is_left_for_another(chaos: Chaos) -> None:
    chaos.server.script.add(answered(*READ, 200, NULLS))
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: done": 1}
    assert [each.is_active for each in chaos.world.deployments.values()] == [False, True]
    chaos.settle()


# -- the runtime limit --------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks_before", "limit", "ends_at"),
    [
        (0, "null", "null"),  # it forgot it
        (0, "3", "null"),  # longer than was agreed on
        (1, "null", "null"),
        (1, "2", "null"),  # rented, and no end is told
        (1, "3", '"2030-01-01T00:00:00Z"'),
    ],
)
def test_a_limit_that_the_console_does_not_confirm(
    chaos: Chaos, looks_before: int, limit: str, ends_at: str
) -> None:
    text = f'{{"data":{{"dseq":"1","runtimeLimitHours":{limit},"runtimeEndsAt":{ends_at}}}}}'
    chaos.server.script.add(
        *(passing(SETTINGS) for _ in range(looks_before)), answered(*SETTINGS, 200, text.encode())
    )
    chaos.deploy("one")
    assert chaos.outcomes == {"deploy: BudgetError": 1} and is_kept(chaos)
    (each,) = chaos.world.deployments.values()
    assert len(each.leases) == looks_before
    chaos.settle()


def test_funding_that_an_older_console_does_not_turn_off(older: Chaos) -> None:
    body = b'{"data":{"dseq":"1","autoTopUpEnabled":true}}'
    older.server.script.add(answered(*FUNDING_OFF, 200, body))
    older.deploy("one")
    assert older.outcomes == {"deploy: BudgetError": 1} and is_kept(older)
    assert not any(each.leases for each in older.world.deployments.values())
    older.settle()


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("lost", "ReplyLost"),
        ("409", "RequestRefused"),
        ("500+", "ReplyLost"),
        ("402", "FundsMissing"),
    ],
)
def test_a_longer_limit_that_is_refused(chaos: Chaos, kind: str, outcome: str) -> None:
    """The first lease cost something: what is left is for one hour at the cap, and for two at
    the price that was found."""

    def bill(update: Update) -> None:
        chaos.world.advance(20 if update.phase == "close" else 0)

    chaos.world.deaf.add("akash1a")
    chaos.watch = bill
    chaos.server.script.add(made(LIMIT, kind))
    chaos.deploy("one")
    assert chaos.outcomes == {f"deploy: {outcome}": 1}
    assert chaos.server.script.is_done and is_kept(chaos)
    chaos.settle()


# -- a close ------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "kind", "outcome"), rows((CLOSE, END)))
@pytest.mark.parametrize("generation", list(Generation))
def test_a_close(
    tmp_path: Path, generation: Generation, call: Call, kind: str, outcome: str
) -> None:
    with stamina.set_testing(True, attempts=2), Chaos(tmp_path, generation) as chaos:
        chaos.deploy("one")
        chaos.world.advance(17)
        chaos.server.script.add(made(call, kind))
        chaos.close("one")
        assert chaos.outcomes[f"close: {outcome}"] == 1 and chaos.server.script.is_done
        (each,) = chaos.world.deployments.values()
        assert each.is_active is (outcome != "done")
        chaos.settle()


@pytest.mark.parametrize(
    "answer",
    [
        Canned(400, b'{"message":"Deployment escrow cannot be settled yet","code":"bad_request"}'),
        Canned(200, b'{"data":{"success":true}}'),  # and it is not true
        Canned(200, b'{"data":{"success":false}}'),
        Canned(404, b'{"message":"Deployment not found","code":"not_found"}'),
        Canned(202, b"{}"),
    ],
    ids=["later", "untrue", "unsuccessful", "unknown", "empty"],
)
def test_a_close_that_the_console_puts_off(chaos: Chaos, answer: Canned) -> None:
    chaos.deploy("one")
    method, path = CLOSE
    chaos.server.script.add(Fault(method=method, path=path, answer=answer))
    chaos.close("one")
    assert chaos.outcomes["close: done"] == 1 and is_kept(chaos)
    (order,) = chaos.orders.all()
    (each,) = chaos.world.deployments.values()
    assert order.state is OrderState.CLOSED and order.spent == each.purse.paid > 0
    chaos.settle()


def test_a_close_that_never_comes_stays_open_in_the_books(chaos: Chaos) -> None:
    chaos.deploy("one")
    chaos.server.script.add(*(made(CLOSE, "503") for _ in range(3)))
    chaos.close("one")
    assert chaos.outcomes["close: EndpointError"] == 1
    (order,) = chaos.orders.all()
    assert order.is_open
    chaos.settle()


# -- changes ------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "kind", "outcome"), rows((PATCH, CHANGE)))
def test_an_update(chaos: Chaos, call: Call, kind: str, outcome: str) -> None:
    chaos.deploy("one")
    chaos.server.script.add(made(call, kind))
    _check_update(chaos, outcome)


@pytest.mark.parametrize(
    ("call", "kind", "outcome"),
    rows((PUT, {"lost": "ReplyLost", "lost+": "done", "422": "RequestRefused", "503+": "done"})),
)
def test_an_update_at_an_older_console(older: Chaos, call: Call, kind: str, outcome: str) -> None:
    older.deploy("one")
    older.server.script.add(made(call, kind))
    _check_update(older, outcome)


def _check_update(chaos: Chaos, outcome: str) -> None:
    """What runs is what the books say, whether that is the new or the old."""
    chaos.deploy("one", image=2)
    assert chaos.outcomes[f"deploy: {outcome}"] == 1 + (outcome == "done")
    assert chaos.server.script.is_done and is_kept(chaos)
    (each,), (order,) = chaos.world.deployments.values(), chaos.orders.all()
    (record,) = chaos.keeper.ledger.open_records()
    image = f"example.org/akash-llm-server:{2 if outcome == 'done' else 1}"
    assert each.sdl.services["llm"].image == record.intent.image == image
    assert parse(order.sdl).sdl.services["llm"].image == image
    chaos.settle()


@pytest.mark.parametrize(
    ("call", "kind", "outcome"),
    rows(
        (CREATE, {"lost": "ReplyLost", "lost+": "done", "402": "done", "422": "RequestRefused"}),
        (BIDS, LOOK_AGAIN),
        (LEASE, {"lost": "done", "lost+": "done", "402": "FundsMissing", "422": "done"}),
        (CLOSE, {"lost": "done", "lost+": "done", "402": "FundsMissing"}),
    ),
)
def test_a_replacement(chaos: Chaos, call: Call, kind: str, outcome: str) -> None:
    """Whatever comes, an endpoint is there, and one only when the doctor has been."""
    chaos.deploy("one")
    (old,) = chaos.world.deployments
    chaos.server.script.add(made(call, kind))
    chaos.deploy("one", cpu=4)
    assert chaos.outcomes[f"deploy: {outcome}"] == 1 + (outcome == "done")
    assert chaos.server.script.is_done
    (record,) = chaos.keeper.ledger.open_records()
    assert record.state is State.READY
    chaos.doctor()
    active = [dseq for dseq, each in chaos.world.deployments.items() if each.is_active]
    assert len(active) == 1 and (active == [old]) is (record.intent.parallel == 2)
    chaos.settle()
