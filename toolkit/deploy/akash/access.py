"""The Console that is talked to, and the key of the account there: both from the environment."""

import os
from pathlib import Path

from toolkit.deploy.console.client import CONSOLE_URL, ConsoleClient
from toolkit.deploy.console.wire import PATIENCE_S
from toolkit.errors import CredentialsError

URL_VARIABLE = "AKASH_LLM_CONSOLE"
KEY_VARIABLE = "AKASH_API_KEY"
KEY_FILE_VARIABLE = "AKASH_API_KEY_FILE"


def console_client(*, needs_key: bool, patience_s: float = PATIENCE_S) -> ConsoleClient:
    """A client of the Console, with the account's key where there is one.

    `CredentialsError` if one is needed and missing or cannot be one, `ConfigError` for an
    address that cannot be a Console's. Nothing is asked yet.
    """
    key = account_key()
    if needs_key and key is None:
        raise CredentialsError(
            "Deploying on Akash needs a key of your account at the Akash Console.",
            hint="Make one at console.akash.network, Settings, API Keys, and set it as "
            f"{KEY_VARIABLE} in the environment, or its file as {KEY_FILE_VARIABLE}.",
        )
    url = os.environ.get(URL_VARIABLE, "").strip() or CONSOLE_URL
    return ConsoleClient(key, url=url, patience_s=patience_s)


def account_key() -> str | None:
    """The account's key, from the environment or the file that it names; None without one.
    Raises `CredentialsError` for a file that cannot be read."""
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        return key
    named = os.environ.get(KEY_FILE_VARIABLE, "").strip()
    if not named:
        return None
    try:
        key = Path(named).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CredentialsError(
            f"The file that {KEY_FILE_VARIABLE} names cannot be read: {reason}.",
            hint=f"Put the key into {named}, and nothing else.",
        ) from None
    return key or None


def unset_variables(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the variables that are not set here, or empty."""
    return tuple(name for name in names if not os.environ.get(name))
