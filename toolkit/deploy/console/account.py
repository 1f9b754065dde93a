"""The account behind the key: who it is, what it spends now, what it may hand out."""

from collections.abc import Mapping

import msgspec

from toolkit.deploy.console.amounts import Coin


class User(msgspec.Struct, frozen=True):
    """Whose key it is."""

    id: str
    username: str = ""


class FundingConfig(msgspec.Struct, frozen=True, rename="camel"):
    """How the Console pays into deployments: at the start of a lease up to
    `target_runway_hours` of its cost, from a first deposit of `default_deposit_usd`."""

    target_runway_hours: float
    default_deposit_usd: float
    balance_headroom_usd: float = 0


class Spending(msgspec.Struct, frozen=True):
    """A deployment that bills now; `price` is per block."""

    dseq: str
    price: Coin


class SpendRate(msgspec.Struct, frozen=True):
    """Everything that bills now. What is not in it costs nothing."""

    deployments: tuple[Spending, ...] = ()


class AccessToken(msgspec.Struct, frozen=True):
    """A token for a provider's gateway. Its text is a secret and not shown."""

    token: str

    def __repr__(self) -> str:
        return "AccessToken(token=(hidden))"


class SecretsContext(msgspec.Struct, frozen=True, rename="camel"):
    """What secrets are sealed with: a public key, and the claims a seal must carry."""

    kid: str
    sub: str
    jwk: Mapping[str, object]
    required_claims: tuple[str, ...] = ()


class Begun(msgspec.Struct, frozen=True, rename="camel"):
    """Something that goes on after the answer; ask for it by its id."""

    activity_id: str


class Activity(msgspec.Struct, frozen=True):
    """What became of it: pending, succeeded or failed."""

    status: str
