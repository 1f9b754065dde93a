"""The secrets of an intent: read from this environment, sealed, and kept nowhere."""

import os
from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from toolkit.deploy.akash.access import unset_variables
from toolkit.deploy.akash.demand import REGISTRY_SECRET
from toolkit.deploy.base import Intent
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.sealing import Secrets, seal
from toolkit.errors import ConfigError, CredentialsError

REGISTRY_VARIABLE = "AKASH_LLM_REGISTRY_PASSWORD"


async def sealed_for(console: ConsoleClient, intent: Intent, sdl: str | None) -> str | UnsetType:
    """What travels in place of the secrets; unset on a Console that seals nothing.

    `sdl` is the text that is ordered, None for a change of what is there. `CredentialsError`
    for one that is not set here, `ConfigError` on a Console that cannot take them sealed.
    """
    check_secrets(intent)
    names = secret_variables(intent)
    if not await console.is_newer():
        if not names:
            return UNSET
        raise ConfigError(
            "this Console cannot take secrets sealed, and openly they are not sent",
            hint="Use a model and an image that need no secret.",
        )
    # Also without secrets: unsealed, nobody could read again what was ordered.
    values = Secrets({name: os.environ[variable] for name, variable in names.items()})
    return seal(values, await console.secrets_context(), sdl=sdl)


def check_secrets(intent: Intent) -> None:
    """`CredentialsError` for a secret whose variable is not set here."""
    missing = unset_variables(tuple(sorted(secret_variables(intent).values())))
    if missing:
        raise CredentialsError(
            f"not set in this environment: {', '.join(missing)}",
            hint="Set it where akash-llm runs; its value is sealed and kept nowhere.",
        )


def secret_variables(intent: Intent) -> Mapping[str, str]:
    """The name of each secret in the SDL, and of the variable here that holds it."""
    names = {name: name for name in intent.secrets}
    if intent.registry:
        names[REGISTRY_SECRET] = REGISTRY_VARIABLE
    return names
