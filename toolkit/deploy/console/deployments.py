"""Deployments, their leases and their money, as the Console API tells them.

States are text because a new one must not make an answer unreadable; what matters about
them is asked by properties. Heights are the chain's block numbers, as text.
"""

from collections.abc import Mapping

import msgspec

from toolkit.deploy.console.amounts import Coin

CLOSED = "closed"
ACTIVE = "active"


class DeploymentId(msgspec.Struct, frozen=True):
    """`dseq` is drawn by the server: there is no way to choose one."""

    dseq: str
    owner: str = ""


class DeploymentHead(msgspec.Struct, frozen=True):
    """The order itself. `hash` is the SHA-256 of the manifest in base64."""

    id: DeploymentId
    state: str
    hash: str = ""
    created_at: str = ""


class LeaseId(msgspec.Struct, frozen=True):
    """A lease or bid: deployment, group, order and provider."""

    dseq: str
    provider: str
    gseq: int = 1
    oseq: int = 1
    bseq: int = 0
    owner: str = ""


class ServiceStatus(msgspec.Struct, frozen=True):
    """A service as its provider sees it: its containers run, whatever they do."""

    name: str = ""
    available: int = 0
    total: int = 0
    uris: tuple[str, ...] = ()
    ready_replicas: int = 0
    available_replicas: int = 0
    updated_replicas: int | None = None

    @property
    def is_available(self) -> bool:
        """Whether all run, and as they were told last."""
        is_told = self.updated_replicas is None or self.updated_replicas >= self.total
        return self.available >= self.total > 0 and is_told


class ForwardedPort(msgspec.Struct, frozen=True, rename="camel"):
    """A plain TCP port, reached at `host:external_port`."""

    port: int
    external_port: int
    host: str = ""
    proto: str = ""
    name: str = ""


class LeasedIP(msgspec.Struct, frozen=True, rename="pascal"):
    """A port on an address of the lease's own."""

    ip: str = msgspec.field(name="IP")
    port: int
    external_port: int
    protocol: str = ""


class LeaseStatus(msgspec.Struct, frozen=True):
    """What the provider said just now."""

    services: Mapping[str, ServiceStatus] = {}
    forwarded_ports: Mapping[str, tuple[ForwardedPort, ...]] = {}
    ips: Mapping[str, tuple[LeasedIP, ...]] = {}

    @property
    def is_available(self) -> bool:
        """Whether every service runs; a model in it may still be loading."""
        services = self.services.values()
        return bool(services) and all(service.is_available for service in services)


class Lease(msgspec.Struct, frozen=True):
    """`price` is per block. `status` is None when the provider did not answer, which does
    not mean that it is down; `reason` is why the lease ended."""

    id: LeaseId
    state: str
    price: Coin
    created_at: str = ""
    closed_on: str = "0"
    reason: str = ""
    status: LeaseStatus | None = None

    @property
    def is_active(self) -> bool:
        return self.state == ACTIVE


class EscrowState(msgspec.Struct, frozen=True):
    """The deployment's own purse, in uact. Settled only now and then: `transferred` says
    too little of a lease that runs; `settled_at` is the height it was true at."""

    state: str = ""
    funds: tuple[Coin, ...] = ()
    transferred: tuple[Coin, ...] = ()
    settled_at: str = ""


class Escrow(msgspec.Struct, frozen=True):
    state: EscrowState = EscrowState()


class ConsoleSettings(msgspec.Struct, frozen=True, rename="camel"):
    """The definition that the Console recorded, and its version for `if_manifest_version`."""

    sdl: str = ""
    manifest_version: str = ""


class Deployment(msgspec.Struct, frozen=True):
    """One deployment with all that belongs to it. In lists, leases have no `status`."""

    deployment: DeploymentHead
    leases: tuple[Lease, ...] = ()
    escrow_account: Escrow = Escrow()
    name: str | None = None
    console_settings: ConsoleSettings | None = msgspec.field(name="consoleSettings", default=None)

    @property
    def dseq(self) -> str:
        return self.deployment.id.dseq

    @property
    def is_closed(self) -> bool:
        """Only what is called closed is: anything else may still bill."""
        return self.deployment.state == CLOSED

    @property
    def active_leases(self) -> tuple[Lease, ...]:
        return tuple(lease for lease in self.leases if lease.is_active)


class Pagination(msgspec.Struct, frozen=True, rename="camel"):
    """`total` may be unknown; `has_more` says whether to go on."""

    has_more: bool = False
    total: int | None = None


class DeploymentPage(msgspec.Struct, frozen=True):
    deployments: tuple[Deployment, ...] = ()
    pagination: Pagination = Pagination()


class SignedTx(msgspec.Struct, frozen=True, rename="camel"):
    """The transaction that the Console signed; `code` 0 is success."""

    code: int = 0
    transaction_hash: str = ""
    raw_log: str = ""


class Created(msgspec.Struct, frozen=True, rename="camel"):
    """A deployment that exists from now on. The lease gets `manifest` unchanged."""

    dseq: str
    manifest: str | None = None
    sign_tx: SignedTx = SignedTx()


class Done(msgspec.Struct, frozen=True):
    success: bool = False


class Settings(msgspec.Struct, frozen=True, rename="camel"):
    """What the Console does to a deployment by itself. `runtime_ends_at` is ISO 8601 and
    there once a lease has begun; without `runtime_limit_hours` it runs until closed."""

    dseq: str
    auto_top_up_enabled: bool = False
    runtime_limit_hours: int | None = None
    runtime_ends_at: str | None = None


def regrouped(deployments: tuple[Deployment, ...]) -> tuple[Deployment, ...]:
    """The same with every lease under the deployment that its id names.

    The list of the Console attaches them in the order in which its own lookups ended.
    A lease of a deployment that is not in the list is left out.
    """
    by_dseq: dict[str, dict[LeaseId, Lease]] = {}
    for deployment in deployments:
        for lease in deployment.leases:
            by_dseq.setdefault(lease.id.dseq, {})[lease.id] = lease
    return tuple(
        msgspec.structs.replace(each, leases=tuple(by_dseq.get(each.dseq, {}).values()))
        for each in deployments
    )
