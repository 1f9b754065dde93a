"""The Console that is talked to, and the key of the account there: both from the environment."""

import os

from toolkit.deploy.console.client import CONSOLE_URL, ConsoleClient
from toolkit.errors import CredentialsError

URL_VARIABLE = "AKASH_LLM_CONSOLE"
KEY_VARIABLE = "AKASH_API_KEY"


def console_client(*, needs_key: bool) -> ConsoleClient:
    """A client of the Console, with the account's key where there is one.

    `CredentialsError` if one is needed and missing or cannot be one, `ConfigError` for an
    address that cannot be a Console's. Nothing is asked yet.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip() or None
    if needs_key and key is None:
        raise CredentialsError(
            "Deploying on Akash needs a key of your account at the Akash Console.",
            hint="Make one at console.akash.network, Settings, API Keys, and set it as "
            f"{KEY_VARIABLE} in the environment.",
        )
    return ConsoleClient(key, url=os.environ.get(URL_VARIABLE, "").strip() or CONSOLE_URL)


def unset_variables(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the variables that are not set here, or empty."""
    return tuple(name for name in names if not os.environ.get(name))
