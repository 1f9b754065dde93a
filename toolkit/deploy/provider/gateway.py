"""The client of a provider's gateway: status, logs and events of one lease.

    gateway = Gateway(lease, token=console_token, published=chain.published)
    async for line in gateway.logs(follow=True, tail=100):
        print(line.pod, line.cleaned.text)

What comes is what the containers printed, untouched but for a bound on its length: it may
hold control characters and must not reach a terminal or a page as it is. `cleaned` gives
the form that may.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

import msgspec

from toolkit.deploy.provider import messages
from toolkit.deploy.provider.address import Address
from toolkit.deploy.provider.endings import Interrupted
from toolkit.deploy.provider.link import Link
from toolkit.deploy.provider.messages import Event, LeaseStatus, LogLine
from toolkit.deploy.provider.readers import EventReader, LogReader, Reader
from toolkit.deploy.provider.stream import Patience, Stream, Tell
from toolkit.deploy.provider.token import MARGIN_S, Scope, Tokens, TokenSource
from toolkit.deploy.provider.trust import Published
from toolkit.errors import CredentialsError, EndpointError, RequestRefused, UsageError

SCOPES = frozenset(Scope)

T = TypeVar("T")


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What names a lease at its provider. `host_uri` is of the provider's record."""

    provider: str
    host_uri: str
    dseq: int
    gseq: int = 1
    oseq: int = 1

    @property
    def path(self) -> str:
        """Where the gateway has it."""
        return f"/lease/{self.dseq}/{self.gseq}/{self.oseq}"


class Gateway:
    """One lease at its provider. Opens connections as they are needed, keeps none."""

    def __init__(
        self,
        lease: Lease,
        *,
        token: TokenSource,
        published: Published,
        margin_s: float = MARGIN_S,
        patience: Patience | None = None,
        tell: Tell | None = None,
    ) -> None:
        """`token` makes a token for the scopes it is given; `published` gives the certificates
        of a provider on the chain. A token is renewed `margin_s` before it ends. Raises
        `ConfigError` for a `host_uri` that is none."""
        self._lease = lease
        self._patience = patience or Patience()
        self._tell = tell
        tokens = Tokens(token, SCOPES, margin_s=margin_s)
        self._link = Link(Address.parse(lease.host_uri), lease.provider, tokens, published)

    async def status(self) -> LeaseStatus | None:
        """The state of the services now, None while the provider has no manifest.

        Asks once, and a second time where the token was refused: asking again is for the
        caller. Raises `CredentialsError`, and `EndpointError` where there was no answer.
        """
        path = f"{self._lease.path}/status"
        try:
            try:
                answer = await self._link.get(path)
            except CredentialsError:
                answer = await self._link.get(path)
        except Interrupted as interrupted:
            raise EndpointError(
                f"The provider's gateway does not answer ({interrupted}).",
                hint="The services may run all the same; ask again in a moment.",
            ) from interrupted
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise RequestRefused(
                f"The provider's gateway answered with status {answer.status_code}.",
                status=answer.status_code,
                hint="Its cluster may be unavailable; ask again in a moment.",
            )
        return messages.lease_status(answer.content)

    def logs(
        self, *, services: Sequence[str] = (), tail: int | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """The last `tail` lines of each pod (None: all), then new ones with `follow`.

        `services` narrows it to those of the SDL. A connection that ends is made again with
        no line lost or told twice as far as `overlap` can; while no line of any pod was told,
        it asks by `tail` again. Without `follow` the end of the connection is the end of the
        log, since the provider does not tell the two apart.
        Raises `CredentialsError` and `EndpointError`.
        """
        if tail is not None and tail < 0:
            raise UsageError("A number of lines is not negative.", hint="Give 0 or more.")
        reader = LogReader(services, tail, follow=follow)
        return self._stream("logs", reader, follow=follow)

    def events(self, *, follow: bool = False) -> AsyncGenerator[Event, None]:
        """What Kubernetes tells of the lease: pulls, back-offs, kills. Raises as `logs` does."""
        return self._stream("kubeevents", EventReader(follow=follow), follow=follow)

    async def _stream(
        self, name: str, reader: Reader[T], *, follow: bool
    ) -> AsyncGenerator[T, None]:
        stream = Stream(
            self._link,
            f"{self._lease.path}/{name}",
            follow=follow,
            patience=self._patience,
            tell=self._tell,
        )
        async with aclosing(stream.read(reader)) as told:
            async for one in told:
                yield one
