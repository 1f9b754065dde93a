"""From a lease to an endpoint that has answered with one token."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from toolkit import paths
from toolkit.client import Endpoint
from toolkit.deploy.akash.failures import Diary, GivenUp
from toolkit.deploy.akash.gateway import events_of
from toolkit.deploy.akash.leasing import ended
from toolkit.deploy.akash.orders import Order
from toolkit.deploy.akash.pinned import pin_of
from toolkit.deploy.akash.site import Site
from toolkit.deploy.base import Intent
from toolkit.deploy.console.deployments import Deployment
from toolkit.deploy.ready import wait_until_ready
from toolkit.errors import ConfigError, EndpointError, RequestRefused, ToolkitError
from toolkit.route import Address
from toolkit.safetext import cleaned

USUAL_SERVICES_S = 90.0
USUAL_MODEL_S = 180.0
# An ingress answers so while there is no container behind it.
_OF_THE_INGRESS = frozenset({502, 503, 504})
# A provider names it: nothing but a host, and perhaps a port, becomes part of a URL.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(
    rf"(?:127\.0\.0\.1|(?:{_LABEL}\.){{1,10}}[A-Za-z][A-Za-z0-9-]{{0,61}})(?::([0-9]{{1,5}}))?"
)


def _is_host(text: str) -> bool:
    """Whether it is a name, and perhaps a port, and nothing else."""
    found = _HOST.fullmatch(text)
    return found is not None and 0 < int(found[1] or "443") < 1 << 16


async def serve(site: Site, order: Order, intent: Intent, *, is_changed: bool = False) -> Address:
    """Wait until the containers run and the model in them has answered.

    While it `is_changed` the container before may answer, which does not know the model, or the
    ingress, which has nobody to pass a request on to: both pass. Raises `GivenUp` when the lease
    ends, when it is hopeless, or takes too long.
    """
    watch = _Watch(site, order)
    async with watch.running():
        url = await watch.address()
        pin = await pin_of(url, watch.check, site.pace.status_poll_s)
        address = Address(url, paths.key_file(intent.name), pin)
        site.report("model", "the containers run; the model is loaded", USUAL_MODEL_S)
        async with _endpoint(intent, address) as endpoint:
            try:
                await wait_until_ready(
                    endpoint,
                    watch.check,
                    is_new=True,
                    passing=_OF_THE_INGRESS | ({404} if is_changed else set()),
                    tell=lambda why: site.report("model", why),
                )
            except RequestRefused as error:
                raise GivenUp(error, is_final=True) from None
    return address


def _endpoint(intent: Intent, address: Address) -> Endpoint:
    return Endpoint.open(
        url=address.url,
        key_file=address.key_file,
        model=intent.model,
        name=intent.name,
        target=intent.target,
        pin=address.pin,
    )


class _Watch:
    """What happens to one lease while somebody waits for it."""

    def __init__(self, site: Site, order: Order) -> None:
        self._site = site
        self._order = order
        self._diary = Diary()
        self._failure: GivenUp | None = None
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def check(self) -> None:
        """Raises what has made waiting vain."""
        if self._failure is not None:
            raise self._failure

    async def address(self) -> str:
        """Where it is, once its containers run."""
        self._site.report("services", "the provider fetches the image", USUAL_SERVICES_S)
        try:
            async with asyncio.timeout(self._site.pace.services_s):
                return await self._url
        except TimeoutError:
            raise self._given_up(
                f"its containers did not run within {self._site.pace.services_s:.0f} s"
            ) from None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._follow_lease()),
            asyncio.create_task(self._follow_events()),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._url.cancel()

    async def _follow_lease(self) -> None:
        clock = asyncio.get_running_loop().time
        seen_at = clock()
        while True:
            try:
                found = await self._site.console.deployment(str(self._order.dseq))
            except ToolkitError as error:
                if clock() - seen_at >= self._site.pace.blind_s:
                    self._fail(GivenUp(error))
                    return
            else:
                seen_at = clock()
                if not self._go_on(found):
                    return
            await asyncio.sleep(self._site.pace.status_poll_s)

    def _go_on(self, found: Deployment) -> bool:
        why = ended(found, self._order)
        if why:
            self._fail(self._given_up(why))
        elif self._diary.hopeless:
            self._fail(self._given_up("it does not come up"))
        elif not self._url.done():
            self._look_for_address(found)
        return self._failure is None

    def _look_for_address(self, found: Deployment) -> None:
        for lease in found.active_leases:
            if lease.status is None or not lease.status.is_available:
                continue
            told = [uri for service in lease.status.services.values() for uri in service.uris]
            hosts = [uri for uri in told if _is_host(uri)]
            if hosts:
                self._url.set_result(f"https://{hosts[0]}")
            elif told:
                self._fail(self._given_up(f"its address is none: {cleaned(told[0])[:80]!r}"))
            else:
                error = ConfigError(
                    "the lease has no address on the web, only bare ports without TLS",
                    hint="A key does not travel there: the SDL has to expose `as: 80`.",
                )
                self._fail(GivenUp(error, is_final=True))
            return

    async def _follow_events(self) -> None:
        """Show what Kubernetes says; without a word from the provider the lease tells enough."""
        told = ""
        with contextlib.suppress(ToolkitError):
            async for event in events_of(self._site.console, self._order):
                clean = event.cleaned
                trouble = self._diary.add(clean.reason, clean.note)
                line = f"{clean.reason}: {clean.note}"
                if line != told and not self._url.done():
                    told = line
                    mark = "! " if trouble else ""
                    self._site.report("services", f"{mark}{line[:200]}")

    def _given_up(self, why: str) -> GivenUp:
        reason = f"{why} ({self._diary.why})" if self._diary.why else why
        provider = self._order.provider
        error: ToolkitError = EndpointError(
            f"{provider}: {reason}", hint="Another provider may do better: try again."
        )
        if self._diary.is_of_the_image:
            error = ConfigError(
                f"{provider}: {reason}",
                hint="Is the image public, or its password right? Its name: --image.",
            )
        return GivenUp(error, is_final=self._diary.is_of_the_image)

    def _fail(self, failure: GivenUp) -> None:
        self._failure = failure
        if not self._url.done():
            self._url.set_exception(failure)
            self._url.exception()  # seen, whether or not anybody waits for it
