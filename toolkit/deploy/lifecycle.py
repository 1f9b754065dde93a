"""What a notebook or a command says: plan, deploy, close, status, ledger, doctor, connect, logs.

A name that is left out is the target's, so that what is not named exists once per target.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any

from toolkit.client import Endpoint
from toolkit.deploy import doctor as doctoring
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.agreed import refusal
from toolkit.deploy.base import (
    DEFAULT_CONTEXT,
    DEFAULT_ENGINE,
    DEFAULT_MODEL,
    DEFAULT_PARALLEL,
    Intent,
    Plan,
    Progress,
    Record,
)
from toolkit.deploy.books import Diagnoses, Endpoints, Entry, History
from toolkit.deploy.keeper import Keeper
from toolkit.errors import ToolkitError, UsageError


class Deployment:
    """`await` it for an endpoint that stays, or `async with` it for one that ends."""

    def __init__(self, open_record: Callable[[], Awaitable[Record]], keeper: Keeper) -> None:
        self._open_record = open_record
        self._keeper = keeper
        self._endpoint: Endpoint | None = None
        self._name = ""

    def __await__(self) -> Generator[Any, None, Endpoint]:
        return self._open().__await__()

    async def __aenter__(self) -> Endpoint:
        record = await self._open_record()
        self._name = record.name
        try:
            self._endpoint = _client(record, self._keeper)
        except BaseException:
            await self._keeper.close(record.name)
            raise
        return self._endpoint

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._endpoint is not None:
                await self._endpoint.aclose()
        finally:
            await self._keeper.close(self._name)

    async def _open(self) -> Endpoint:
        return _client(await self._open_record(), self._keeper)


async def plan(
    model: str = DEFAULT_MODEL,
    *,
    name: str | None = None,
    target: str = "local",
    engine: str = DEFAULT_ENGINE,
    context: int = DEFAULT_CONTEXT,
    parallel: int = DEFAULT_PARALLEL,
    image: str = "",
    engine_image: str = "",
    gpus: Sequence[str] = (),
    region: str = "",
    secrets: Sequence[str] = (),
    registry: str = "",
    max_usd_per_hour: float | Decimal | None = None,
    max_usd_total: float | Decimal | None = None,
    runtime_hours: float | None = None,
    idle_minutes: float | None = None,
    keeper: Keeper | None = None,
) -> Plan:
    """What deploying `model` would do, need and cost. The name defaults to the target's.

    What each argument means, `Intent` says.
    """
    intent = Intent(
        name=name or target,
        model=model,
        target=target,
        engine=engine,
        context=context,
        parallel=parallel,
        image=image,
        engine_image=engine_image,
        gpus=tuple(gpus),
        region=region,
        secrets=tuple(secrets),
        registry=registry,
        max_usd_per_hour=_dollars(max_usd_per_hour),
        max_usd_total=_dollars(max_usd_total),
        runtime_hours=runtime_hours,
        idle_minutes=idle_minutes,
    )
    return await (keeper or Keeper()).plan(intent)


def _dollars(amount: float | Decimal | None) -> Decimal | None:
    return None if amount is None else Decimal(str(amount))


def deploy(
    planned: Plan | str = DEFAULT_MODEL,
    *,
    replace: bool = False,
    progress: Progress | None = None,
    deadline_s: float | None = None,
    keeper: Keeper | None = None,
    **intent: Any,
) -> Deployment:
    """Deploy a plan, or a model by its name (then `intent` is what `plan` takes).

    A plan is held against what applying it would do now: where that is more than it said,
    nothing is done (`UsageError`, or `BudgetError` where it could cost more).

    `await deploy(…)` gives an endpoint that keeps running; `async with deploy(…) as
    endpoint` closes it at the end, whoever opened it.
    """
    used = keeper or Keeper()
    if isinstance(planned, Plan) and intent:
        raise UsageError(f"a plan takes no {', '.join(intent)}", hint="Put it into plan(…).")

    async def open_record() -> Record:
        if isinstance(planned, Plan):
            made, found = await used.plan_again(planned)
            if found:
                raise refusal(found)
        else:
            made = await plan(planned, keeper=used, **intent)
        return await used.apply(made, replace=replace, progress=progress, deadline_s=deadline_s)

    return Deployment(open_record, used)


async def close(name: str | None = None) -> None:
    """End the endpoint of that name, or the only one there is; silent if it is gone."""
    keeper = Keeper()
    await keeper.close(name or keeper.record(None).name)


async def status(name: str | None = None) -> Endpoints:
    """All open endpoints, or the one of that name."""
    return Endpoints(await Keeper().status(name))


def ledger(name: str | None = None, *, keeper: Keeper | None = None) -> History:
    """All that was opened from here, or what had that name, with its cost; oldest first."""
    used = keeper or Keeper()
    return History(
        Entry(record, used.spend(record), tuple(used.ledger.events(record.uid)))
        for record in used.ledger.records()
        if name in (None, record.name)
    )


async def doctor(*, settle: bool = False) -> Diagnoses:
    """Where ledger and reality disagree; with `settle` it is settled, as far as it can be.

    Raises what kept the first of them from being settled, once all were tried.
    """
    keeper = Keeper()
    found = Diagnoses(await doctoring.diagnose(keeper))
    errors: list[ToolkitError] = []
    for each in found if settle else ():
        try:
            await doctoring.settle(keeper, each)
        except ToolkitError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return found


async def connect(name: str | None = None) -> Endpoint:
    """The client of an open endpoint; without a name, of the only one there is."""
    keeper = Keeper()
    return _client(keeper.record(name), keeper)


def _client(record: Record, keeper: Keeper) -> Endpoint:
    """The client of a record, which follows it and knows its price, also when it has moved."""

    def price() -> Decimal | None:
        now = keeper.ledger.find(record.name)
        spend = keeper.spend(now) if now is not None else None
        return spend.usd_per_hour if spend is not None and spend.usd_per_hour else None

    return endpoint_of(record, ledger=keeper.ledger, price=price)


def logs(
    name: str | None = None, *, follow: bool = False, tail: int = 100, service: str | None = None
) -> AsyncIterator[str]:
    """Lines that an endpoint logged, and with `follow` those to come.

    `service` is one of its parts: `server`, or `engine` where one is behind it.
    """
    return Keeper().logs(name, follow=follow, tail=tail, service=service)
