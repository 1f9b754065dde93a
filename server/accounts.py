"""The keys and the books of a server, opened as its settings say.

A state that cannot be written leaves the keys of the environment and counts in memory.
"""

import logging
from dataclasses import dataclass

from server.errors import ServerError
from server.grants import Grant
from server.keychain import UNREADABLE, Keychain
from server.keystore import KeyStore, KeyWatch
from server.settings import KEYS_VARIABLE, Settings, SettingsError
from server.state import State
from server.usage import Usage, UsageFile

_log = logging.getLogger("akash_llm.keys")


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who may use a server and how much they did. `store` None: no keys can be made."""

    keys: Keychain
    store: KeyStore | None
    usage: Usage


def open_accounts(settings: Settings) -> Accounts:
    """Open them. Raises `SettingsError` where a server would be open to anybody."""
    state = _usable(State(settings.state), settings.keys)
    watch = KeyWatch(state) if state else None
    try:
        keys = Keychain(settings.keys, watch, may_open=settings.is_loopback)
    except UNREADABLE as error:
        raise SettingsError(f"cannot read the keys in {settings.state}: {error}") from None
    if not keys.has_any and not settings.is_loopback:
        raise SettingsError(
            f"refusing to listen on {settings.host} without a key: anybody could use the server. "
            f"Set {KEYS_VARIABLE}=name:scope:sha256hex, make a key with `akash-llm keys new`, "
            "or listen on 127.0.0.1"
        )
    usage = Usage(UsageFile(state) if state else None, keep_days=settings.usage_days)
    return Accounts(keys, KeyStore(state) if state else None, usage)


def _usable(state: State, fixed: tuple[Grant, ...]) -> State | None:
    """The state if it can be written. One that has keys which nobody can read is refused
    where there are no others: without them the server would be open."""
    try:
        state.prepare()
    except ServerError as error:
        if state.exists and not fixed:
            raise SettingsError(f"{error.message}: {error.hint}") from None
        _log.warning(
            "%s; keys come from %s only, and usage is kept in memory", error.message, KEYS_VARIABLE
        )
        return None
    return state
