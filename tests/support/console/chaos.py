"""Renting while everything goes wrong: steps, faults, and what has to be true after each.

One account, one home, a few names. A step is what a person or a scheduler does; it may be
cut short at any request, as by a crash. Whatever it ends with, the books and the account
are held against each other.
"""

import asyncio
import os
import re
import signal
import sqlite3
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.support.console import renting
from tests.support.console.faults import CHALLENGE, Fault, answered, lost
from tests.support.console.ingress import Ingress
from tests.support.console.server import ConsoleServer
from tests.support.console.states import Deployment, Generation
from tests.support.console.world import World
from toolkit.deploy.akash.orders import Orders, owner_of
from toolkit.deploy.base import Intent, Update
from toolkit.deploy.console.amounts import most_usd_per_hour
from toolkit.deploy.doctor import diagnose, settle
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ledger import Ledger
from toolkit.errors import ToolkitError
from toolkit.sdl.parse import parse

CREATE, LEASE = ("POST", "/v1/deployments"), ("POST", "/v1/leases")
READ, LIST = ("GET", "/v1/deployments/"), ("GET", "/v1/deployments")
CLOSE, PATCH = ("DELETE", "/v1/deployments/"), ("PATCH", "/v1/deployments/")
BIDS, SETTINGS, LIMIT = (
    ("GET", "/v1/bids"),
    ("GET", "/v2/deployment-settings/"),
    ("PATCH", "/v2/deployment-settings/"),
)
CALLS = (CREATE, LEASE, READ, LIST, CLOSE, PATCH, BIDS, SETTINGS, LIMIT)
# What stands between, or the Console itself, may answer to any of them.
STATUSES = (402, 409, 422, 429, 500, 502, 503)
CAP = Decimal(1)
# A deployment whose order was lost is given up as never made after so long.
PACE = msgspec.structs.replace(
    renting.HASTE,
    never_after_s=0.2,
    settle_s=0.02,
    first_bid_s=0.4,
    services_s=1.0,
    blind_s=0.1,
    close_tries=3,
)
MOST_ROUNDS = 30


Work = Callable[[], Coroutine[Any, Any, None]]


class Kill(NamedTuple):
    """Where a process is killed: at its request number `at`, which has its effect all the same
    (`is_done`) or not; or at that write to the ledger, before or after it is on disk."""

    at: int
    is_write: bool = False
    is_done: bool = False

    def arm_child(self) -> None:
        """In the process: it kills itself at a write."""
        if not self.is_write:
            return
        writes = count(1)
        plain = Ledger.writing

        @contextmanager
        def writing(self_: Ledger) -> Iterator[sqlite3.Connection]:
            number = next(writes)
            with plain(self_) as db:
                yield db
                if number == self.at and not self.is_done:
                    os.kill(os.getpid(), signal.SIGKILL)
            if number == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

        Ledger.writing = writing  # type: ignore[method-assign, assignment]

    def arm_server(self, server: ConsoleServer, pid: int) -> None:
        """Beside it: the server kills it at a request."""
        if self.is_write:
            return
        requests = count(1)
        reached = threading.Event()

        def before() -> bool:
            if next(requests) == self.at:
                reached.set()
                if not self.is_done:
                    os.kill(pid, signal.SIGKILL)
                    return True
            return False

        def after() -> None:
            if reached.is_set():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        server.before, server.after = before, after


class Stop(NamedTuple):
    """Where a person ends it (Ctrl-C, a kernel that shuts down): at its request number `at`,
    which has its effect all the same (`is_done`) or not. What was begun is still tidied up."""

    at: int
    is_done: bool = False

    def arm(self, server: ConsoleServer, task: asyncio.Task[Any]) -> None:
        """Have the server cancel it."""
        requests = count(1)
        loop = asyncio.get_running_loop()
        reached = threading.Event()

        def before() -> bool:
            if next(requests) == self.at:
                if not self.is_done:
                    loop.call_soon_threadsafe(task.cancel)
                    return True
                reached.set()
            return False

        def after() -> None:
            if reached.is_set():
                reached.clear()
                loop.call_soon_threadsafe(task.cancel)

        server.before, server.after = before, after


class Account(World):
    """It counts how many deployments of one endpoint were ever open at once."""

    crowd = 0

    def create(self, order: Mapping[str, Any]) -> Deployment:
        made = super().create(order)
        open_ones = [each for each in self.deployments.values() if each.is_active]
        of_it = [each for each in open_ones if _keys(each) == _keys(made)]
        self.crowd = max(self.crowd, len(of_it))
        return made


def _keys(each: Deployment) -> list[str]:
    """The digests of the keys that it lets in: one endpoint's own."""
    return re.findall(r"AKASH_LLM_KEYS=(\S+)", each.sdl_text)


def fault(call: tuple[str, str], kind: str, *, after: bool) -> Fault:
    """A fault of one call: `lost`, or a status that something answers with. Who refuses has done
    nothing; a failure may come after the effect."""
    after = after and (kind == "lost" or int(kind) >= 500)
    if kind == "lost":
        return lost(*call, after=after)
    body = CHALLENGE if kind == "429" else b'{"message":"no","code":"none"}'
    return answered(*call, int(kind), body, after=after, headers={"retry-after": "0"})


def _status_of(work: Work, kill: Kill) -> int:
    """Of the process that is to die: 0 unless something failed that should not."""
    try:
        kill.arm_child()
        asyncio.run(work())
    except ToolkitError:
        return 0
    except BaseException:  # noqa: BLE001 (the parent is told by the status)
        traceback.print_exc()
        return 1
    return 0


KINDS = ("lost", *map(str, STATUSES))


class Chaos:
    """The account and what is done with it. Use as a context manager."""

    def __init__(self, folder: Path, generation: Generation = Generation.NEWER) -> None:
        prices = (1000, 1100, 1200, 1300)
        self.world = Account(
            hosts=renting.hosts(*prices), generation=generation, balance_usd=10_000
        )
        self.server = ConsoleServer(self.world, blocks_per_look=1)
        self.ingress = Ingress(self.world, folder)
        self.began = self.world.total
        self.pace = PACE
        self.gpu = ""
        self.total: Decimal | None = None  # what an endpoint may cost in all
        self.deadline_s = 20.0
        self.most_at_once = 2  # while one replaces the other
        self.requests = 0  # of the last step
        self.watch: Callable[[Update], None] = lambda update: None
        self.outcomes: Counter[str] = Counter()

    def __enter__(self) -> "Chaos":
        self.server.__enter__()
        self.ingress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.ingress.__exit__(*error)
        self.server.__exit__(*error)

    @property
    def keeper(self) -> Keeper:
        """As a new program has it: nothing is kept but what is on disk."""
        return renting.keeper(self.server, pace=self.pace)

    @property
    def orders(self) -> Orders:
        """The books."""
        return renting.orders(self.keeper)

    # -- steps ----------------------------------------------------------------------

    def deploy(
        self, name: str, *, image: int = 1, cpu: int = 2, kill: "Kill | Stop | None" = None
    ) -> None:
        """Deploy, adopt, update or replace, as it comes."""
        plan = renting.plan(self.intent(name, image, cpu), cpu=cpu, gpu=self.gpu)

        async def work() -> None:
            await self.keeper.apply(
                plan, replace=True, progress=self.watch, deadline_s=self.deadline_s
            )

        self._step("deploy", work, kill)

    def close(self, name: str, *, kill: "Kill | Stop | None" = None) -> None:
        async def work() -> None:
            await self.keeper.close(name, deadline_s=20)

        self._step("close", work, kill)

    def doctor(self, *, kill: "Kill | Stop | None" = None) -> None:
        async def work() -> None:
            keeper = self.keeper
            for diagnosis in await diagnose(keeper, look_again_s=0.001):
                with suppress(ToolkitError):
                    await settle(keeper, diagnosis)

        self._step("doctor", work, kill)

    def what_runs(self, name: str = "one") -> set[str]:
        """The image of an endpoint: at the account, and by each of the books."""
        record = self.keeper.record(name)
        images = {record.intent.image, parse(record.sdl).sdl.services["llm"].image}
        for order in self.orders.open_of(record.uid):
            assert order.dseq is not None
            there = self.world.deployments[order.dseq]
            found = (there.sdl, parse(order.sdl).sdl, parse(order.changing or order.sdl).sdl)
            images |= {sdl.services["llm"].image for sdl in found}
        return images

    def intent(self, name: str, image: int, cpu: int) -> Intent:
        """Another `cpu` is another number of requests at once, so that it is another intent."""
        tag = f"example.org/akash-llm-server:{image}"
        return renting.intent(
            name=name, image=tag, parallel=cpu, max_usd_per_hour=CAP, max_usd_total=self.total
        )

    def _step(self, what: str, work: Work, kill: "Kill | Stop | None") -> None:
        if isinstance(kill, Kill):
            outcome = "killed" if self._in_a_process(work, kill) else "done"
        else:
            outcome = self._here(work, kill)
        self.outcomes[f"{what}: {outcome}"] += 1
        self.check()

    def _here(self, work: Work, stop: "Stop | None") -> str:
        async def stopped() -> None:
            task = asyncio.current_task()
            if stop is not None and task is not None:
                stop.arm(self.server, task)
            await work()

        before = len(self.server.seen)
        try:
            asyncio.run(stopped())
        except ToolkitError as error:
            return type(error).__name__
        except asyncio.CancelledError:
            return "stopped"
        finally:
            self.server.before = self.server.after = None
            self.requests = len(self.server.seen) - before
        return "done"

    def _in_a_process(self, work: Work, kill: "Kill") -> bool:
        """Do it in a process of its own that dies where it shall; whether it did."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the child uses no other thread
            pid = os.fork()
        if pid == 0:
            os._exit(_status_of(work, kill))
        kill.arm_server(self.server, pid)
        try:
            _, status = os.waitpid(pid, 0)
        finally:
            self.server.before = self.server.after = None
        assert status in (0, signal.SIGKILL), "it failed with what is no ToolkitError"
        return os.WIFSIGNALED(status)

    # -- what has to be true --------------------------------------------------------

    def check(self) -> None:
        """Every open deployment is in the books, none above the cap, and none twice."""
        assert self.world.crowd <= self.most_at_once
        orders = self.orders
        open_ones = [each for each in self.world.deployments.values() if each.is_active]
        for each in open_ones:
            self._check_known(each)
        for each in self.world.deployments.values():
            for lease in each.leases:
                assert most_usd_per_hour(lease.price) <= CAP
        for order in orders.all():
            if order.state == "closed" and order.dseq is not None:
                there = self.world.deployments[order.dseq]
                assert not there.is_active, f"{order.name} is open"
                assert order.spent == there.purse.paid, order.name
        assert self.world.total == self.began

    def _check_known(self, each: Deployment) -> None:
        if each.name is None:
            return  # an older Console: by its hash, once its order is looked for
        order = self.orders.find(each.name)
        assert order is not None and order.is_open, f"nobody knows {each.name}"
        assert owner_of(each.name) is not None

    def settle(self) -> None:
        """All faults are over, and everything is closed; the doctor has as long as it takes."""
        self.pace = PACE
        self.server.script.clear()
        self.world.silent.clear()
        self.world.deaf.clear()
        self.ingress.is_loading = self.ingress.is_down = False
        for _ in range(MOST_ROUNDS):
            open_ones = self.keeper.ledger.open_records()
            for record in open_ones:
                self.close(record.name)
            self.doctor()
            if not self.keeper.ledger.open_records():
                break
        assert self.keeper.ledger.open_records() == []
        orphans = [each.name for each in self.world.deployments.values() if each.is_active]
        assert orphans == []
        spent = sum((order.spent or 0 for order in self.orders.all()), Decimal(0))
        paid = sum((each.purse.paid for each in self.world.deployments.values()), Decimal(0))
        assert spent == paid
        assert asyncio.run(diagnose(self.keeper, look_again_s=0.001)) == []
