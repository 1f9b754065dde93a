"""What every deploy target understands: intents, plans, ledger records, endpoints.

A target (this machine, the Akash Console, a compose file) knows how to plan, open,
look at and end *one* deployment. It knows nothing about names that exist already,
about the ledger or about asking people: that is `toolkit.deploy.lifecycle`. Whatever a
target needs to find its deployment again goes into the record's `handle` before and
while it is made, so that a process that dies half way leaves nothing that the next one
cannot find.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

import msgspec

from toolkit.errors import UsageError

DEFAULT_MODEL = "smollm2:135m"
DEFAULT_CONTEXT = 2048
DEFAULT_PARALLEL = 4
DEFAULT_ENGINE = "llama-cpp"
DEFAULT_DEADLINE_S = 600.0
# What is not here brings its image and weights itself when it starts, as another engine does.
ENGINE_DEADLINE_S = 1800.0

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def check_name(name: str) -> str:
    """`name` if it can name an endpoint (and a folder), else `UsageError`."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"{name!r} cannot name an endpoint",
            hint="Use up to 63 small letters, digits, '-' and '.', such as 'my-llm'.",
        )
    return name


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What the person asked for. `name` is its identity: asked twice, opened once.

    `context` is tokens per request, `parallel` the requests decoded at once.

    Of a rented place: `image` is our server's (or gateway's) as a registry has it,
    `engine_image` that of an engine behind it. `gpus` are those that will do, as providers
    name them (`rtx4090`, `a100/80Gi/sxm`); with none, sizing says. `region` is where it may
    be. `secrets` are variables of this environment whose values are sealed on their way;
    `registry`, as `user@host`, is asked for the image with the password in the variable
    `AKASH_LLM_REGISTRY_PASSWORD`.

    Of its price: `max_usd_per_hour` holds for each bid, `runtime_hours` ends it by itself;
    `max_usd_total` and `idle_minutes` end it while somebody watches.
    """

    name: str
    model: str = DEFAULT_MODEL
    target: str = "local"
    engine: str = DEFAULT_ENGINE
    context: int = DEFAULT_CONTEXT
    parallel: int = DEFAULT_PARALLEL
    image: str = ""
    engine_image: str = ""
    gpus: tuple[str, ...] = ()
    region: str = ""
    secrets: tuple[str, ...] = ()
    registry: str = ""
    max_usd_per_hour: Decimal | None = None
    max_usd_total: Decimal | None = None
    runtime_hours: float | None = None
    idle_minutes: float | None = None

    @property
    def deadline_s(self) -> float:
        """How long opening it may take where nothing is said."""
        is_quick = self.engine == DEFAULT_ENGINE and self.target == "local"
        return DEFAULT_DEADLINE_S if is_quick else ENGINE_DEADLINE_S


class Action(StrEnum):
    """What applying the plan would do about the name."""

    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"  # in place
    REPLACE = "replace"


class Resource(msgspec.Struct, frozen=True):
    """One thing that is needed, how much of it, and why."""

    what: str
    amount: str
    reason: str


class Price(msgspec.Struct, frozen=True):
    """US dollars; a month has 730 hours."""

    usd_per_hour: Decimal
    usd_per_day: Decimal
    usd_per_month: Decimal

    @classmethod
    def of_hour(cls, usd: Decimal) -> "Price":
        """The price of something that costs `usd` an hour."""
        return cls(usd, usd * 24, usd * 730)


class Limit(msgspec.Struct, frozen=True):
    """A bound on the deployment, and whether it holds with this program gone."""

    what: str
    holds_alone: bool


class Change(msgspec.Struct, frozen=True):
    """A field in which what is asked for differs from what is there."""

    field: str
    now: str
    then: str


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Who could take it now: a provider, what it has, and how often it was up (of 1)."""

    provider: str
    name: str = ""
    region: str = ""
    gpu: str = ""
    uptime: float | None = None
    remark: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What applying would do, need and cost. Changes nothing; prints; can be saved.

    `price` is expected, None where nothing is known of it, and `worst_case_usd` the most that
    can be spent before a limit ends it, None where no limit does. `offers` are those that could
    take it now, `availability` says why they are few, or how many there are more. `missing` is
    what has to be there before it can be applied. `privacy` says who can see what. `sdl` is what
    will be deployed, holding only the digest of the key.
    """

    schema: Literal[1] = 1
    action: Action = Action.CREATE
    intent: Intent
    resources: tuple[Resource, ...]
    price: Price | None
    worst_case_usd: Decimal | None
    offers: tuple[Offer, ...] = ()
    availability: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    limits: tuple[Limit, ...]
    privacy: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    notices: tuple[str, ...] = ()
    sdl: str

    def __str__(self) -> str:
        from toolkit.deploy.table import plan_text

        return plan_text(self)

    def _repr_html_(self) -> str:
        from toolkit.deploy.table import plan_html

        return plan_html(self)

    def to_json(self) -> bytes:
        """The plan as JSON, to be kept and applied later."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    @classmethod
    def from_json(cls, data: bytes | str) -> "Plan":
        """The plan that `to_json` wrote; `UsageError` for anything else."""
        try:
            plan = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise UsageError(
                f"this is not a plan: {error}", hint="`akash-llm plan --json` writes one."
            ) from None
        check_name(plan.intent.name)
        return plan


class State(StrEnum):
    """Where a record stands. Only `CLOSED` means that nothing is left of it."""

    OPENING = "opening"
    READY = "ready"
    CLOSING = "closing"
    CLOSED = "closed"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger: one deployment, from before it exists until after its end.

    `handle` is what its target needs to find it again. `run_id` is the notebook run
    that opened it, if one did. `error` is why it ended, if not on purpose.
    """

    uid: str
    intent: Intent
    state: State
    sdl: str
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    run_id: str | None = None
    url: str | None = None
    handle: Mapping[str, str | int | float] = {}
    error: str | None = None

    @property
    def name(self) -> str:
        return self.intent.name

    @property
    def target(self) -> str:
        return self.intent.target

    @property
    def is_open(self) -> bool:
        return self.state is not State.CLOSED

    @property
    def served_model(self) -> str:
        """The model as clients name it: a folder, for one, is served by its name alone."""
        return str(self.handle.get("model", self.intent.model))


class Health(StrEnum):
    """What there is in reality of a record."""

    READY = "ready"  # answers, with our key
    NOT_READY = "not ready"  # is there, and does not answer (yet)
    IDLE = "idle"  # is there and costs, and nothing runs in it
    GONE = "gone"  # nothing is left


class Part(msgspec.Struct, frozen=True):
    """One of the processes or containers that a deployment is made of."""

    service: str
    is_running: bool
    pid: int | None = None
    log: str | None = None


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """The money of one deployment: what it costs now, what it has cost, what is set aside for it
    and not used (it comes back at the end; None where that is not known), and when a limit that
    holds by itself ends it."""

    usd_per_hour: Decimal
    spent_usd: Decimal
    unused_usd: Decimal | None = None
    ends_at: datetime | None = None


class Status(msgspec.Struct, frozen=True):
    """Reality as its target saw it; `detail` is one sentence. `parts` as far as they are
    known, `spend` where it costs something."""

    health: Health
    detail: str = ""
    parts: tuple[Part, ...] = ()
    spend: Spend | None = None


class Update(msgspec.Struct, frozen=True):
    """A change of phase while a plan is applied. `usual_s` is how long it mostly takes."""

    phase: str
    text: str
    elapsed_s: float
    usual_s: float | None = None

    def __str__(self) -> str:
        usual = f" (usually {self.usual_s:.0f} s)" if self.usual_s else ""
        return f"{self.elapsed_s:6.1f} s  {self.phase}: {self.text}{usual}"


Progress = Callable[[Update], None]


class Finding(msgspec.Struct, frozen=True):
    """A deployment of ours that is really there; `uid` is its row's, if it has one.

    `key` is what its target needs to end it, and `name` whose it is, where that is known.
    With `is_stray` the target itself knows that no row has it in use. `remedy` is what settles
    it where that is not to end it: then it is in use, and something about it is wrong.
    """

    uid: str
    what: str
    key: str = ""
    name: str = ""
    is_stray: bool = False
    remedy: str = ""


class Opening(Protocol):
    """What a target may do to the record and the person while it opens a deployment."""

    @property
    def record(self) -> Record: ...

    @property
    def former(self) -> Record | None:
        """What had that name before, if anything had."""

    @property
    def deadline_s(self) -> float:
        """Seconds left until this has to be done."""

    def note(self, *, url: str | None = None, **handle: str | int | float) -> None:
        """Write to the ledger, durably, before this returns."""

    def revise(self, plan: Plan, *, url: str | None = None, **handle: str | int | float) -> None:
        """The plan is what is there now: write that to the ledger, all at once."""

    def report(self, phase: str, text: str, usual_s: float | None = None) -> None:
        """Tell the person about a change of phase."""


class Target(Protocol):
    """A place where endpoints run. The contract every method keeps:

    `plan` changes nothing that costs. `apply` carries the record from wherever it is
    (nothing there, half made by a process that died, made and still loading) to an
    endpoint that has answered with one token, noting everything findable before it is
    made; it raises `DeadlineError`, `EndpointError` or `CapacityError`, and leaves the
    cleaning up to `close`. `close` ends everything of the record whatever its state, is
    silent when nothing is left, returns only when nothing is, and keeps logs. `status`
    looks, quickly, and never raises for a deployment that is broken or gone.
    """

    @property
    def name(self) -> str: ...

    async def plan(self, intent: Intent) -> Plan: ...

    async def apply(self, opening: Opening) -> None: ...

    async def status(self, record: Record) -> Status: ...

    async def close(self, record: Record) -> None: ...


@runtime_checkable
class SupportsChecks(Protocol):
    """A target that can tell before anything is begun that a plan cannot be applied."""

    def check(self, plan: Plan) -> None:
        """Raises what is in the way: caps, a key, money. Looks at nothing but this process."""


@runtime_checkable
class SupportsChanges(Protocol):
    """A target that can change what runs without ending it first.

    Both ways leave what was there as it was when they fail, and revise the record when they
    do not.
    """

    def action(self, record: Record, plan: Plan) -> Action:
        """Whether the plan is an `UPDATE` of what runs, or takes a `REPLACE`."""

    async def update(self, opening: Opening, plan: Plan) -> None:
        """In place: the same lease, the same address."""

    async def replace(self, opening: Opening, plan: Plan) -> None:
        """The new one first; the old one is ended when that answers."""


@runtime_checkable
class SupportsLogs(Protocol):
    """A target that can show what the deployment said."""

    def logs(
        self, record: Record, *, follow: bool, tail: int, service: str | None
    ) -> AsyncIterator[str]:
        """The last `tail` lines of each part, then with `follow` new ones until the end of it.

        Where there are several parts, each line says whose it is, unless `service` names one
        (`UsageError` if there is none of that name).
        """

    def services(self, record: Record) -> Sequence[str]:
        """What those parts are called."""


class OfferedBid(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider asks for one deployment; `remark` says why it will not do."""

    provider: str
    usd_per_hour: Decimal
    state: str
    gpu: str = ""
    remark: str = ""


@runtime_checkable
class SupportsBids(Protocol):
    """A target where providers bid."""

    async def bids(self, record: Record) -> list[OfferedBid]:
        """The bids for it so far, those that will do first, the best before all."""


@runtime_checkable
class SupportsSpend(Protocol):
    """A target where things cost something."""

    def spend(self, record: Record) -> Spend | None:
        """What the books say that it has cost; None where it was never leased."""


@runtime_checkable
class SupportsInventory(Protocol):
    """A target that can list what is there of ours, known to the ledger or not."""

    async def inventory(self) -> list[Finding]:
        """Everything there that was opened from this home."""

    async def discard(self, finding: Finding) -> None:
        """End it, or do what its remedy says; silent when that is done already."""
