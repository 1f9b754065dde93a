"""What a running deployment can be changed by. A field not given is left as it is."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType


class ServicePatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one service. In `env`, None takes a variable away."""

    image: str | UnsetType = UNSET
    command: tuple[str, ...] | UnsetType | None = UNSET
    args: tuple[str, ...] | UnsetType | None = UNSET
    env: Mapping[str, str | None] | UnsetType = UNSET


class Patch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Of a deployment. `if_manifest_version` makes it conditional: 409 if it has changed
    since. `sealed_secrets` is a compact JWE."""

    services: Mapping[str, ServicePatch] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    sealed_secrets: str | UnsetType = UNSET
    if_manifest_version: str | UnsetType = UNSET


class NewDeployment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An order. `name` must be unique in the account: it finds the deployment again when
    the answer is lost. `deposit_usd` is only for an older Console that asks for it.
    """

    sdl: str
    name: str | UnsetType = UNSET
    runtime_limit_hours: int | UnsetType = UNSET
    sealed_secrets: str | UnsetType = UNSET
    inherit_secrets_from: str | UnsetType = UNSET
    deposit_usd: float | UnsetType = msgspec.field(name="deposit", default=UNSET)

    def __repr__(self) -> str:
        return f"NewDeployment(name={self.name!r})"
