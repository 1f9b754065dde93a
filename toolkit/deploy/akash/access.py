"""The Console that is talked to, and the key of the account there: both from the environment."""

import os

from toolkit.deploy.console.client import CONSOLE_URL, ConsoleClient
from toolkit.deploy.console.wire import PATIENCE_S
from toolkit.errors import CredentialsError

URL_VARIABLE = "AKASH_LLM_CONSOLE"
KEY_VARIABLE = "AKASH_API_KEY"


def console_client(*, needs_key: bool, patience_s: float = PATIENCE_S) -> ConsoleClient:
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
    url = os.environ.get(URL_VARIABLE, "").strip() or CONSOLE_URL
    return ConsoleClient(key, url=url, patience_s=patience_s)


def unset_variables(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the variables that are not set here, or empty."""
    return tuple(name for name in names if not os.environ.get(name))
