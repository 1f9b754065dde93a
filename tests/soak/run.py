"""A server under mixed load: clients that leave, runners that are killed, then a long steady
part in which memory must not grow."""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import httpx2
import psutil

from tests.soak.mixture import Ask, Mixture
from tests.support.serving import Serving

NUM_CLIENTS = 12
# Of the whole time: kills, then warm-up without them, then the part that is measured.
CHAOS_SHARE, WARM_UP_SHARE = 0.3, 0.3
SAMPLE_S = 0.5
MOST_GROWTH = 0.02
SETTLE_S = 30.0
# How long a process may take to end, on a machine that is busy.
DYING_S = 5.0
# A request may wait behind four endless ones, and other work may take the cores meanwhile.
PATIENCE_S = 300.0


@dataclass
class Tally:
    """What happened. `wrong` are answers that should not have been, as texts; `served_s` is
    when the youngest request began that was answered to its end."""

    answers: Counter[str] = field(default_factory=Counter)
    served_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def was_killed_between(self, begun: float, ended: float) -> bool:
        """Whether a runner died while a request was under way. One that came just behind the
        signal may have reached what was dying."""
        return any(begun - DYING_S <= at <= ended for at in self.kills)

    @property
    def growth(self) -> float:
        """How much more memory the last third of the samples shows than the first."""
        sizes = [size for _, size in self.memory]
        third = max(1, len(sizes) // 3)
        return median(sizes[-third:]) / median(sizes[:third]) - 1


async def soak(
    server: Serving,
    keys: tuple[str, ...],
    *,
    seconds: float,
    seed: int,
    say: Callable[[str], None],
) -> Tally:
    """Load a server for so long. Raises AssertionError if slots are left taken at the end."""
    tally = Tally()
    begun = time.monotonic()
    over = asyncio.Event()
    async with server.async_client(headers={"authorization": f"Bearer {keys[0]}"}) as client:
        clients = [
            asyncio.create_task(_client(server, Mixture(seed + n, keys), tally, over))
            for n in range(NUM_CLIENTS)
        ]
        await _kill_runners(server, tally, random.Random(seed), begun + CHAOS_SHARE * seconds)
        say(f"{len(tally.kills)} runners killed; {dict(tally.answers)}")
        await asyncio.sleep(WARM_UP_SHARE * seconds)
        while time.monotonic() < begun + seconds:
            tally.memory.append((time.monotonic() - begun, _memory(server)))
            await asyncio.sleep(SAMPLE_S)
        over.set()
        await asyncio.gather(*clients)
        await _all_slots_free(client)
    return tally


async def _client(server: Serving, mixture: Mixture, tally: Tally, over: asyncio.Event) -> None:
    async with server.async_client() as client:
        client.timeout = httpx2.Timeout(PATIENCE_S)
        while not over.is_set():
            ask, begun = mixture.next(), time.monotonic()
            try:
                outcome, problem = await _answer(client, ask)
            except httpx2.HTTPError as error:
                outcome, problem = "connection", f"{type(error).__name__}: {error}"
            tally.answers[outcome] += 1
            if outcome == "done":
                tally.served_s = max(tally.served_s, begun)
            if problem and not (
                outcome == "crashed" and tally.was_killed_between(begun, time.monotonic())
            ):
                tally.wrong.append(f"{ask.path} {outcome}: {problem}")


async def _answer(client: httpx2.AsyncClient, ask: Ask) -> tuple[str, str]:
    """What came back in a word, and what was wrong with it."""
    async with client.stream("POST", ask.path, json=ask.body, headers=ask.headers) as response:
        if response.status_code != 200:
            text = (await response.aread()).decode()
            if response.status_code == 500 and "runner" in text:
                return "crashed", text
            expected = response.status_code == ask.status and "error" in json.loads(text)
            return "refused", "" if expected else f"{response.status_code} {text}"
        if ask.status != 200:
            return "taken", f"{ask.body} should not have been"
        last: dict[str, object] = {}
        number = 0
        async for line in response.aiter_lines():
            if ask.leaves_after is not None and number >= ask.leaves_after:
                return "left", ""
            last = json.loads(line)
            number += 1
    if "error" in last:
        is_crash = "runner" in str(last["error"])
        return ("crashed" if is_crash else "failed"), str(last["error"])
    if last.get("done") is not True:
        return "cut", f"the last line is {last}"
    return "done", ""


async def _kill_runners(server: Serving, tally: Tally, choose: random.Random, until: float) -> None:
    """End a runner now and then, as a crash and as the kernel would.

    Only one that has served: a model whose runners die before they do has failed, and is left
    alone for a while.
    """
    while (now := time.monotonic()) < until:
        await asyncio.sleep(min(until - now, choose.uniform(2.0, 12.0)))
        if tally.kills and tally.served_s < tally.kills[-1]:
            continue
        for runner in _runners(server):
            tally.kills.append(time.monotonic())
            runner.send_signal(choose.choice([signal.SIGKILL, signal.SIGABRT]))


def _runners(server: Serving) -> list[psutil.Process]:
    """The processes that compute; those that render templates are no runners."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if _is_runner(child)]


def _is_runner(process: psutil.Process) -> bool:
    try:
        return "server.engine.runner" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _memory(server: Serving) -> int:
    root = psutil.Process(server.process.pid)
    return sum(p.memory_info().rss for p in (root, *root.children(recursive=True)))


async def _all_slots_free(client: httpx2.AsyncClient) -> None:
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        models = (await client.get("/api/ps")).json()["models"]
        if models and not any(m["num_running"] or m["num_waiting"] for m in models):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"slots are still taken: {models}")
