"""One small endpoint, really rented for some minutes, asked once, and closed again.

    AKASH_API_KEY=… AKASH_LLM_LIVE_IMAGE=registry/akash-llm-server:TAG python -m tests.live.smoke

It takes no bid above 0.20 USD an hour, lets the Console end it after one hour, and closes it
itself. Every answer of the Console is written to a cassette, without keys, addresses and
names, so that what the network really says can be held against the simulated one.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from toolkit import paths
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.akash.orders import Orders
from toolkit.deploy.akash.pace import Pace
from toolkit.deploy.akash.target import ConsoleTarget
from toolkit.deploy.base import Intent, Update
from toolkit.deploy.console.catalogue import Catalogue
from toolkit.deploy.console.client import CONSOLE_URL, ConsoleClient
from toolkit.deploy.console.refusals import Answer
from toolkit.deploy.console.wire import PATIENCE_S, Call, Wire
from toolkit.deploy.doctor import diagnose
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ledger import Ledger

NAME = "smoke"
MOST_USD_PER_HOUR = Decimal("0.20")
CASSETTES = Path(__file__).parent / "cassettes"

_ADDRESS = re.compile(r"akash1[0-9a-z]{1,60}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SECRET = re.compile(r"ac\.sk\.[\w.]+|eyJ[\w-]+\.[\w-]+\.[\w-]*(\.[\w-]*)*|[0-9a-f]{64}")
_PERSONAL = frozenset({"email", "username", "userId", "token", "sealedSecrets", "n", "kid", "sub"})


class Recorder:
    """What went over the wire, scrubbed: the same address is the same stand-in all along."""

    def __init__(self) -> None:
        self.tape: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}

    def add(self, request: httpx2.Request, answer: Answer) -> None:
        self.tape.append(
            {
                "method": request.method,
                "path": self.scrubbed(request.url.raw_path.decode()),
                "body": self.scrubbed(_json(request.content)),
                "status": answer.status,
                "answer": self.scrubbed(_json(answer.body)),
            }
        )

    def scrubbed(self, value: Any) -> Any:
        """The same shape without what belongs to somebody."""
        if isinstance(value, str):
            value = _SECRET.sub("(hidden)", value)
            return _UUID.sub(self._stand_in, _ADDRESS.sub(self._stand_in, value))
        if isinstance(value, list):
            return [self.scrubbed(item) for item in value]
        if isinstance(value, Mapping):
            return {
                key: "(hidden)" if key in _PERSONAL and item else self.scrubbed(item)
                for key, item in value.items()
            }
        return value

    def _stand_in(self, found: re.Match[str]) -> str:
        kind = "akash1" if found[0].startswith("akash1") else "id"
        return self._names.setdefault(found[0], f"{kind}-{len(self._names) + 1}")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return f"({len(data)} bytes that are no JSON)"


class _RecordingWire(Wire):
    def __init__(self, url: str, key: str, recorder: Recorder, patience_s: float) -> None:
        super().__init__(url, key, patience_s=patience_s)
        self._recorder = recorder

    async def _exchange(self, call: Call, request: httpx2.Request) -> Answer:
        answer = await super()._exchange(call, request)
        self._recorder.add(request, answer)
        return answer


class RecordingClient(ConsoleClient):
    """A client whose answers are kept."""

    def __init__(self, key: str, *, url: str, patience_s: float, recorder: Recorder) -> None:
        super().__init__(key, url=url, patience_s=patience_s)
        self._wire = _RecordingWire(url, key, recorder, patience_s)
        self.market = Catalogue(self._wire)


async def smoke(
    key: str, image: str, cassette: Path, *, url: str = CONSOLE_URL, pace: Pace | None = None
) -> str:
    """Rent, ask once, close; what was answered. The cassette is written in any case."""
    recorder, ledger = Recorder(), Ledger(paths.ledger())

    def console(*, needs_key: bool, patience_s: float = PATIENCE_S) -> ConsoleClient:
        return RecordingClient(key, url=url, patience_s=patience_s, recorder=recorder)

    target = ConsoleTarget(orders=Orders(ledger), pace=pace, console=console)
    keeper = Keeper(targets={"console": target}, ledger=ledger)
    intent = Intent(
        name=NAME,
        target="console",
        image=image,
        max_usd_per_hour=MOST_USD_PER_HOUR,
        runtime_hours=1,
    )
    try:
        record = await keeper.apply(await keeper.plan(intent), progress=_say)
        async with endpoint_of(record) as endpoint:
            pieces = [p.text async for p in endpoint.generate("Hi", options={"num_predict": 8})]
        return "".join(pieces)
    finally:
        await keeper.close(NAME)
        left = await diagnose(keeper)
        cassette.parent.mkdir(parents=True, exist_ok=True)
        cassette.write_bytes(msgspec.json.format(msgspec.json.encode(recorder.tape)) + b"\n")
        if left:
            raise AssertionError(f"something is left: {left}")


def _say(update: Update) -> None:
    sys.stderr.write(f"{update}\n")


def main() -> None:
    stem = f"{datetime.now(UTC):%Y-%m-%d}"
    key, image = os.environ["AKASH_API_KEY"], os.environ["AKASH_LLM_LIVE_IMAGE"]
    answer = asyncio.run(smoke(key, image, CASSETTES / f"{stem}.json"))
    sys.stdout.write(f"{answer}\n")


if __name__ == "__main__":
    main()
