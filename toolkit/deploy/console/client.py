"""The calls of the Akash Console API that deploying needs, one method each.

There are two Consoles: an older one, and a newer one with another model of money. They
are told apart by `funding_config`, which only the newer has, before anything is asked
about settings: on the older one the mere reading of settings turns automatic funding on.

Decides nothing: polling, choosing and recovering are the business of what deploys.
"""

from collections.abc import Sequence
from datetime import datetime

from toolkit.deploy.console import calls
from toolkit.deploy.console.account import (
    AccessToken,
    Activity,
    Begun,
    FundingConfig,
    SecretsContext,
    SpendRate,
    User,
)
from toolkit.deploy.console.amounts import Balances
from toolkit.deploy.console.bids import Bid, BidEntry, Choice
from toolkit.deploy.console.calls import checked_dseq, checked_id, get
from toolkit.deploy.console.catalogue import Catalogue
from toolkit.deploy.console.decoding import Data
from toolkit.deploy.console.deployments import (
    ACTIVE,
    CLOSED,
    Created,
    Deployment,
    DeploymentPage,
    Done,
    Lease,
    Settings,
    regrouped,
)
from toolkit.deploy.console.updates import NewDeployment, Patch
from toolkit.deploy.console.wire import PATIENCE_S, Wire
from toolkit.errors import ConfigError, EndpointError, RequestRefused, UsageError

CONSOLE_URL = "https://console-api.akash.network"
PAGE_SIZE = 100
MOST_PAGES = 100


class ConsoleClient:
    """One account at one Console. Close it after use, or use it in `async with`.

    `market` is what anyone may ask.
    """

    def __init__(
        self,
        key: str | None = None,
        *,
        url: str = CONSOLE_URL,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Without a key only what is public can be asked. What may be asked again is, for
        `patience_s`."""
        self._wire = Wire(url, key, patience_s=patience_s)
        self.market = Catalogue(self._wire)
        self._is_newer: bool | None = None

    async def __aenter__(self) -> "ConsoleClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. May be repeated."""
        await self._wire.aclose()

    @property
    def has_key(self) -> bool:
        """Whether the account can be asked, or only what is public."""
        return self._wire.has_key

    @property
    def now(self) -> datetime:
        """The time of day there, in UTC; see `Wire.now`."""
        return self._wire.now

    # The account

    async def user(self) -> User:
        """Whose key it is; the cheapest proof that it works."""
        return (await self._wire.send(get("/v1/user/me"), Data[User])).data

    async def balances(self) -> Balances:
        """In a unit that `amounts.balance_usd` has to settle."""
        return (await self._wire.send(get("/v1/balances"), Data[Balances])).data

    async def funding_config(self) -> FundingConfig | None:
        """How the Console funds deployments; None on an older one, which has no such call."""
        call = get("/v1/deployment-funding-config", is_keyed=False)
        try:
            config = (await self._wire.send(call, Data[FundingConfig])).data
        except RequestRefused as error:
            if error.status != 404:
                raise
            self._is_newer = False
            return None
        self._is_newer = True
        return config

    async def is_newer(self) -> bool:
        """Whether this Console is of the newer kind. Asked once."""
        if self._is_newer is None:
            return await self.funding_config() is not None
        return self._is_newer

    async def spend_rate(self) -> SpendRate:
        """What bills now: the proof that something closed does not. Not on an older Console."""
        return (await self._wire.send(get("/v1/spend-rate"), Data[SpendRate])).data

    # Deployments

    async def create(self, order: NewDeployment) -> Created:
        """Order a deployment; costs the first deposit. Sent once."""
        return (await self._wire.send(calls.CREATE, Data[Created], body={"data": order})).data

    async def deployment(self, dseq: str) -> Deployment:
        """One deployment with what its providers say now. `RequestRefused` 404 if unknown."""
        call = get(f"/v1/deployments/{checked_dseq(dseq)}")
        return (await self._wire.send(call, Data[Deployment])).data

    async def deployments(
        self, *, state: str = ACTIVE, search: str | None = None
    ) -> tuple[Deployment, ...]:
        """All of the account in that state, every lease with its own deployment.

        An older Console lists only active ones and does not search: filter what comes.
        """
        if state not in (ACTIVE, CLOSED):
            raise UsageError(f"deployments are not listed as {state!r}", hint="active or closed")
        found: list[Deployment] = []
        for number in range(MOST_PAGES):
            page = await self._page(number * PAGE_SIZE, state, search)
            found += page.deployments
            if not page.pagination.has_more or not page.deployments:
                return regrouped(tuple(found))
        raise EndpointError(
            f"The Console's list of deployments does not end after {MOST_PAGES} pages.",
            hint="Look at console.akash.network what the account really has.",
        )

    async def _page(self, skip: int, state: str, search: str | None) -> DeploymentPage:
        params = {"state": state, "skip": str(skip), "limit": str(PAGE_SIZE)}
        if search is not None:
            params["search"] = search
        call = get("/v1/deployments")
        return (await self._wire.send(call, Data[DeploymentPage], params=params)).data

    async def patch(self, dseq: str, patch: Patch) -> Deployment:
        """Change image, command, environment or name in place. Sent once; 409 if it has
        changed meanwhile, 422 if it would need a new deployment. Not on an older Console."""
        return await self._changed("PATCH", dseq, patch)

    async def replace_sdl(self, dseq: str, sdl: str) -> Deployment:
        """Replace the whole definition in place; the only way on an older Console."""
        return await self._changed("PUT", dseq, {"sdl": sdl})

    async def _changed(self, method: str, dseq: str, data: object) -> Deployment:
        call = calls.change(method, dseq)
        return (await self._wire.send(call, Data[Deployment], body={"data": data})).data

    async def close(self, dseq: str) -> None:
        """End a deployment and its leases; silent when it is closed. `RequestRefused`
        400 means later, 404 unknown. That it is closed only its state says."""
        done = (await self._wire.send(calls.close(dseq), Data[Done])).data
        if not done.success:
            raise EndpointError(
                f"The Console has not closed deployment {dseq}.", hint="Look at its state."
            )

    async def close_later(self, dseq: str) -> str:
        """The same without waiting for the chain: the id of the activity. Newer Consoles."""
        params = {"async": "true"}
        begun = await self._wire.send(calls.close(dseq), Data[Begun], params=params)
        return begun.data.activity_id

    async def activity(self, activity_id: str) -> Activity:
        """What became of `close_later`."""
        call = get(f"/v1/activities/{checked_id(activity_id)}")
        return (await self._wire.send(call, Data[Activity])).data

    # Bids, leases, money

    async def bids(self, dseq: str) -> tuple[Bid, ...]:
        """The bids so far: none for a deployment that nobody knows, too."""
        params = {"dseq": checked_dseq(dseq)}
        entries = await self._wire.send(get("/v1/bids"), Data[tuple[BidEntry, ...]], params=params)
        return tuple(entry.bid for entry in entries.data)

    async def lease(self, choices: Sequence[Choice], manifest: str | None) -> Deployment:
        """Take bids, all groups in one call, and send the manifest. From here on it bills.

        `manifest` is what `create` gave, unchanged; None leaves it to a newer Console. Sent
        again with the same bids it only sends the manifest again; with another provider it
        silently keeps the first lease, so compare the provider of what comes back.
        """
        body: dict[str, object] = {"leases": list(choices)}
        if manifest is not None:
            body["manifest"] = manifest
        return (await self._wire.send(calls.LEASE, Data[Deployment], body=body)).data

    async def leases(self, dseq: str) -> tuple[Lease, ...]:
        """The leases of one deployment, with what their providers say now."""
        return (await self.deployment(dseq)).leases

    async def deposit(self, dseq: str, usd: float) -> Deployment:
        """Move money from the balance into the deployment. Sent once; for older Consoles."""
        call = calls.deposit(dseq)
        data = {"dseq": dseq, "deposit": usd}
        return (await self._wire.send(call, Data[Deployment], body={"data": data})).data

    # Settings

    async def settings(self, dseq: str) -> Settings:
        """What the Console does to it by itself. `ConfigError` on an older Console, where
        reading would turn automatic funding on."""
        await self._need(newer=True)
        call = get(f"/v2/deployment-settings/{checked_dseq(dseq)}")
        return (await self._wire.send(call, Data[Settings])).data

    async def set_runtime_limit(self, dseq: str, hours: int | None) -> Settings:
        """Set the total runtime in hours; None runs until closed. Never lowers."""
        await self._need(newer=True)
        call = calls.limit_runtime(dseq)
        data = {"runtimeLimitHours": hours}
        return (await self._wire.send(call, Data[Settings], body={"data": data})).data

    async def turn_funding_off(self, dseq: str) -> Settings:
        """Keep an older Console from funding it, between creating and leasing: it then
        ends when its deposit does. `ConfigError` on a newer one, which refuses that."""
        await self._need(newer=False)
        call = calls.turn_funding_off(dseq)
        data = {"dseq": dseq, "autoTopUpEnabled": False}
        return (await self._wire.send(call, Data[Settings], body={"data": data})).data

    async def _need(self, *, newer: bool) -> None:
        if await self.is_newer() is not newer:
            kind = "older" if newer else "newer"
            raise ConfigError(
                f"This is not for a Console of the {kind} kind.",
                hint="See what the Console is with akash-llm doctor.",
            )

    # Secrets

    async def access_token(self, ttl_s: int, scope: Sequence[str]) -> AccessToken:
        """A token for the providers' gateways: `status`, `logs`, `events`, `shell`."""
        data = {"ttl": ttl_s, "leases": {"access": "scoped", "scope": list(scope)}}
        call = calls.ACCESS_TOKEN
        return (await self._wire.send(call, Data[AccessToken], body={"data": data})).data

    async def secrets_context(self) -> SecretsContext:
        """What to seal secrets with. Not on an older Console."""
        return (await self._wire.send(get("/v1/sdl-secrets-context"), Data[SecretsContext])).data
