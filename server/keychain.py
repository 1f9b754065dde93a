"""The keys that a running server accepts: those it was started with, and those made since.

Every request asks here, so it costs a digest, a look into a table and, at most twice a
second, one at the file that other processes change too. What cannot be read then leaves
the keys as they were; expiry is looked at every time.
"""

import hmac
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from server import grants
from server.caller import EVERYBODY, Caller
from server.errors import ServerError
from server.grants import Grant
from server.keys import digest
from server.keystore import KeyWatch

LOOK_EVERY_S = 0.5
UNREADABLE = (OSError, sqlite3.Error, ServerError)
_log = logging.getLogger("akash_llm.keys")


class Keychain:
    """`fixed` are the keys of the environment: they win, and nothing here ends them.

    `watch` None: there are no others. Belongs to one thread. `may_open`: nobody needs a key
    as long as none was ever made, which is for loopback only.
    """

    def __init__(
        self,
        fixed: Sequence[Grant],
        watch: KeyWatch | None,
        *,
        may_open: bool,
        now: Callable[[], datetime] = grants.now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the file. Raises one of `UNREADABLE` if it cannot."""
        self.fixed = tuple(fixed)
        self._watch = watch
        self._now = now
        self._clock = clock
        self._known: dict[str, tuple[Grant, Caller]] = {}
        self._may_open = may_open
        self._is_failing = False
        self._looked = clock()
        self._learn((watch.changed() if watch else None) or ())

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a key. Once there was one it stays shut: revoking the last
        one, or losing the file, does not open a server."""
        self._look()
        return self._may_open

    @property
    def has_any(self) -> bool:
        """Whether there is a key, be it expired or revoked."""
        return bool(self._known)

    def caller(self, key: str) -> Caller | None:
        """Whose key that is; None if it is no key, or not any more."""
        self._look()
        wanted = digest(key)
        grant, caller = self._known.get(wanted, (None, EVERYBODY))
        if grant is None or not hmac.compare_digest(grant.key.sha256, wanted):
            return None
        return caller if grant.is_valid(self._now()) else None

    def close(self) -> None:
        """Let the file go."""
        if self._watch is not None:
            self._watch.close()

    def look_now(self) -> None:
        """See at once what has just been changed here."""
        self._looked = -LOOK_EVERY_S
        self._look()

    def _look(self) -> None:
        now = self._clock()
        if self._watch is None or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        try:
            found = self._watch.changed()
        except UNREADABLE as error:
            self._tell(error)
            return
        self._is_failing = False
        if found is not None:
            self._learn(found)

    def _learn(self, stored: Sequence[Grant]) -> None:
        names = {grant.key.name for grant in self.fixed}
        for twice in (grant.key.name for grant in stored if grant.key.name in names):
            _log.warning("the stored key %s is not used: the environment has that name", twice)
        self._may_open = self._may_open and not (stored or self.fixed)
        known = [*(grant for grant in stored if grant.key.name not in names), *self.fixed]
        self._known = {grant.key.sha256: (grant, Caller.of(grant)) for grant in known}

    def _tell(self, error: Exception) -> None:
        if not self._is_failing:
            _log.error("keys cannot be read and stay as they are: %s", error)
        self._is_failing = True
