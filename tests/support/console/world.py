"""The state machine behind the Console: a wallet, orders, bids, leases, and a clock of blocks.

Nothing happens by itself: a test moves the clock. Money is neither made nor lost; `total`
says so. What it refuses it refuses as the Console does.

Of the two generations: the newer one funds a lease with 48 h of its cost, whatever one
says; the older does so unless its settings say no, and reading settings makes them say yes.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tests.support.console import orders, references
from tests.support.console.clocks import Clocks
from tests.support.console.seals import Seals
from tests.support.console.states import (
    BLOCK_MS,
    BLOCKS_PER_HOUR,
    Deployment,
    Generation,
    Host,
    Lease,
    Purse,
    Refusal,
)
from tests.support.provider_tokens import Issuer

BEGAN_MS = 1_790_000_000_000
USER_ID = str(uuid.uuid5(uuid.NAMESPACE_OID, "user"))
USD = 1_000_000
DEFAULT_DEPOSIT_USD = 0.5
TARGET_RUNWAY_HOURS = 48
BALANCE_HEADROOM_USD = 5
LONGEST_STEP_HOURS = 48
LONGEST_LIMIT_HOURS = 8760
SCOPES = frozenset({"status", "logs", "events", "shell"})


class World(Clocks):
    """One account, its deployments, and the hosts that bid for them."""

    def __init__(
        self,
        *,
        generation: Generation = Generation.NEWER,
        balance_usd: float = 100,
        says_dollars: bool = False,
        hosts: Iterable[Host] = (),
    ) -> None:
        self.generation = generation
        self.says_dollars = says_dollars  # the unit of its balances, which nobody states
        self.balance = Decimal(str(balance_usd)) * USD
        self.hosts = {host.address: host for host in hosts}
        self.height = 1000
        self.deployments: dict[str, Deployment] = {}
        self.silent: set[str] = set()  # hosts that do not answer
        self.crashing: set[str] = set()  # hosts whose containers end again and again
        self.deaf: set[str] = set()  # hosts that never take a manifest
        self.issuer = Issuer()
        self.seals = Seals(USER_ID)
        self.activities: dict[str, str] = {}
        self.ingress = ""  # where all leases are reached, if anywhere
        self._last_dseq = 0

    @property
    def is_newer(self) -> bool:
        return self.generation is Generation.NEWER

    @property
    def now_ms(self) -> int:
        return BEGAN_MS + self.height * BLOCK_MS

    @property
    def total(self) -> Decimal:
        """All money there ever was: in the balance, in purses, and paid to hosts."""
        purses = [deployment.purse for deployment in self.deployments.values()]
        return self.balance + sum((purse.funds + purse.paid for purse in purses), Decimal(0))

    def found(self, dseq: str) -> Deployment:
        if dseq not in self.deployments:
            raise Refusal(404, "Deployment not found")
        return self.deployments[dseq]

    def create(self, order: Mapping[str, Any]) -> Deployment:
        sdl = orders.read(order["sdl"])
        secrets = references.kept(self._inherited(order), self._supplied(order, order["sdl"]), sdl)
        if self.is_newer:
            deposit = Decimal(str(DEFAULT_DEPOSIT_USD)) * USD
        elif "deposit" not in order:
            raise Refusal(400, "deposit is required")
        else:
            deposit = Decimal(str(order["deposit"])) * USD
            if deposit < Decimal(str(DEFAULT_DEPOSIT_USD)) * USD:
                raise Refusal(400, "Deposit too low")
        self._pay(deposit)
        self._last_dseq = max(self.now_ms, self._last_dseq + 1)
        manifest = orders.manifest_text(sdl)
        made = Deployment(
            dseq=str(self._last_dseq),
            sdl_text=order["sdl"],
            sdl=sdl,
            manifest=manifest,
            hash=orders.version_of(sdl, secrets),
            height=self.height,
            groups=orders.groups(sdl),
            purse=Purse(deposit),
            name=order.get("name") if self.is_newer else None,
            runtime_limit=order.get("runtimeLimitHours") if self.is_newer else None,
            secrets=secrets,
        )
        made.purse.settle(self.height)
        self.deployments[made.dseq] = made
        return made

    def _supplied(self, order: Mapping[str, Any], sdl_text: str) -> references.Secrets:
        """The older Console opens no seals."""
        seal = order.get("sealedSecrets") if self.is_newer else None
        return {} if seal is None else self.seals.opened(seal, sdl_text)

    def _inherited(self, order: Mapping[str, Any]) -> references.Secrets:
        source = order.get("inheritSecretsFrom") if self.is_newer else None
        return {} if source is None else self.found(source).secrets

    def lease(self, choices: Sequence[Mapping[str, Any]], manifest: str | None) -> Deployment:
        if not choices or len({choice["dseq"] for choice in choices}) != 1:
            raise Refusal(400, "leases of one deployment are needed")
        deployment = self.found(choices[0]["dseq"])
        if not deployment.is_active:
            raise Refusal(400, "order not open")
        if not self.is_newer and manifest != deployment.manifest:
            raise Refusal(400, "manifest is required, as it was created")
        # With a lease in place nothing is made: whatever is named, the manifest goes out again.
        if not deployment.active_leases:
            self._make_leases(deployment, choices)
        self._deliver(deployment)
        return deployment

    def _make_leases(self, deployment: Deployment, choices: Sequence[Mapping[str, Any]]) -> None:
        bids = [self._open_bid(deployment, choice) for choice in choices]
        for bid in bids:
            if bid.provider in self.silent:
                if self.is_newer:
                    raise Refusal(502, "provider cannot be reached", "provider_unreachable")
                raise Refusal(503, "Provider service is temporarily unavailable")
        for bid in deployment.bids:
            bid.state = "active" if bid in bids else "lost"
        for bid in bids:
            lease = Lease(bid.provider, bid.gseq, bid.price, self.height)
            deployment.leases.append(lease)
        if deployment.runtime_limit is not None:
            deployment.ends_at = self.height + deployment.runtime_limit * BLOCKS_PER_HOUR
        if self.is_newer or deployment.auto_top_up is not False:
            self._fund(deployment)
        deployment.purse.settle(self.height)

    def _open_bid(self, deployment: Deployment, choice: Mapping[str, Any]) -> Any:
        if choice["provider"] not in self.hosts:
            raise Refusal(404, "provider not found")
        for bid in deployment.bids:
            is_meant = (bid.provider, bid.gseq) == (choice["provider"], choice["gseq"])
            if is_meant and bid.state == "open":
                return bid
        raise Refusal(400, "bid not open")

    def _fund(self, deployment: Deployment) -> None:
        wanted = deployment.price * TARGET_RUNWAY_HOURS * BLOCKS_PER_HOUR
        amount = min(self.balance, max(wanted - deployment.purse.funds, Decimal(0)))
        self.balance -= amount
        deployment.purse.funds += amount

    def _deliver(self, deployment: Deployment) -> None:
        for lease in deployment.active_leases:
            if lease.provider in self.deaf or lease.provider in self.silent:
                if self.is_newer:
                    raise Refusal(502, "manifest was not delivered", "manifest_not_delivered")
                raise Refusal(503, "Provider service is temporarily unavailable")
            if lease.manifest_at is None:
                lease.manifest_at = self.height

    def deposit(self, dseq: str, usd: float) -> Deployment:
        deployment = self.found(dseq)
        if not deployment.is_active:
            raise Refusal(400, "deployment closed")
        amount = Decimal(str(usd)) * USD
        self._pay(amount)
        deployment.purse.funds += amount
        deployment.purse.settle(self.height)
        return deployment

    def _pay(self, amount: Decimal) -> None:
        if amount > self.balance:
            data = {
                "requiredAmountUsd": float(amount / USD),
                "availableAmountUsd": float(self.balance / USD),
            }
            if self.is_newer:
                raise Refusal(402, "Insufficient balance", "insufficient_balance", data)
            raise Refusal(402, "Insufficient balance")
        self.balance -= amount

    def update(
        self, dseq: str, sdl_text: str, supplied: references.Secrets | None = None
    ) -> Deployment:
        """Another definition on the same leases. Secrets that are not supplied stay."""
        deployment = self.found(dseq)
        if not deployment.is_active:
            raise Refusal(404, "Deployment not found")
        sdl = orders.read(sdl_text)
        old, new = ([g.resources for g in each] for each in (deployment.groups, orders.groups(sdl)))
        if old != new:
            message = "resources cannot be changed"
            raise Refusal(422, message, "deployment_resources_changed")
        deployment.secrets = references.kept(deployment.secrets, supplied or {}, sdl)
        deployment.sdl, deployment.sdl_text = sdl, sdl_text
        deployment.groups = orders.groups(sdl)
        deployment.manifest = orders.manifest_text(sdl)
        deployment.hash = orders.version_of(sdl, deployment.secrets)
        for lease in deployment.active_leases:
            lease.manifest_at = self.height
        return deployment

    def patch(self, dseq: str, patch: Mapping[str, Any]) -> Deployment:
        deployment = self.found(dseq)
        expected = patch.get("ifManifestVersion")
        if expected is not None and expected != deployment.hash:
            raise Refusal(409, "the definition has changed", "deployment_definition_changed")
        if "services" in patch or "sealedSecrets" in patch:
            text = deployment.sdl_text
            supplied = self._supplied(patch, text)
            if "services" in patch:
                text = orders.patched(text, patch["services"])
            self.update(dseq, text, supplied)
        deployment.name = patch.get("name", deployment.name)
        return deployment

    def read_settings(self, dseq: str) -> Deployment:
        """Reading them on the older Console turns funding on where there was no row."""
        deployment = self.found(dseq)
        if not self.is_newer and deployment.auto_top_up is None:
            deployment.auto_top_up = True
        return deployment

    def write_settings(self, dseq: str, auto_top_up: bool | None) -> Deployment:
        deployment = self.found(dseq)
        if self.is_newer and auto_top_up is False:
            raise Refusal(400, "automatic funding cannot be turned off", "validation_error")
        deployment.auto_top_up = True if auto_top_up is None else auto_top_up
        return deployment

    def limit_runtime(self, dseq: str, hours: int | None) -> Deployment:
        """The first limit at most 48 h, each raise by at most as much, never lower."""
        deployment = self.found(dseq)
        now = deployment.runtime_limit
        is_bad = hours is not None and (
            hours > LONGEST_LIMIT_HOURS
            or hours > (now or 0) + LONGEST_STEP_HOURS
            or (now is not None and hours < now)
        )
        if is_bad:
            raise Refusal(400, "this limit cannot be set")
        deployment.runtime_limit = hours
        started = deployment.started_at()
        has_end = hours is not None and started is not None
        deployment.ends_at = (started or 0) + (hours or 0) * BLOCKS_PER_HOUR if has_end else None
        return deployment

    def close(self, dseq: str) -> None:
        """Silent on what is closed."""
        self.end(self.found(dseq), "lease_closed_owner")

    def begin_close(self, dseq: str) -> str:
        """It is done with the next block; the id of the activity."""
        self.found(dseq)
        activity = str(uuid.uuid5(uuid.NAMESPACE_OID, f"close {dseq} {len(self.activities)}"))
        self.activities[activity] = dseq
        return activity

    def activity(self, activity: str) -> str:
        if activity not in self.activities:
            raise Refusal(404, "Activity not found")
        is_done = not self.deployments[self.activities[activity]].is_active
        return "succeeded" if is_done else "pending"

    def token(self, claims: Mapping[str, Any]) -> str:
        """A token that the gateways of all hosts accept, for a scope."""
        leases = claims["leases"]
        if leases.get("access") != "scoped" or not set(leases.get("scope", ())) <= SCOPES:
            raise Refusal(400, "these claims cannot be in a token", "validation_error")
        if claims["ttl"] <= 0:
            raise Refusal(400, "ttl has to be positive", "validation_error")
        return self.issuer.signed(leases["scope"], claims["ttl"])
