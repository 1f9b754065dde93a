"""Changing what a lease runs, in place: image, command and environment of its services.

The lease, its price and its address stay; the containers begin anew. What the account has
recorded is compared before (nobody else has changed it) and after (it is what was asked).
"""

import asyncio
from contextlib import suppress

import msgspec
from msgspec import UNSET, UnsetType

from toolkit.deploy.akash.failures import GivenUp
from toolkit.deploy.akash.leasing import kept
from toolkit.deploy.akash.orders import Order, Orders
from toolkit.deploy.akash.preview import previewed
from toolkit.deploy.akash.sealed import sealed_for
from toolkit.deploy.akash.serving import serve
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.base import Intent, Plan, Record
from toolkit.deploy.console.client import ConsoleClient
from toolkit.deploy.console.deployments import Deployment
from toolkit.deploy.console.updates import Patch, ServicePatch
from toolkit.errors import ReplyLost, ToolkitError
from toolkit.sdl.diff import Effect, diff
from toolkit.sdl.dump import dump
from toolkit.sdl.model import SDL, Service
from toolkit.sdl.parse import parse

USUAL_UPDATE_S = 30.0


async def update(site: Site, order: Order, plan: Plan) -> None:
    """Carry out a plan that changes no resources; if it does not answer then, what was there
    before is put back.

    Before the lease is told, the books say so. They go on saying so while it is not known
    what it runs, as after a `ReplyLost`: `put_back` settles that.

    Raises `RequestRefused` 409 where somebody else has changed it, 422 where it would need
    another lease.
    """
    record, caps = site.opening.record, Caps.of(plan.intent)
    order = await put_back(site.console, site.orders, order, record)
    old, sdl = order.sdl, _at_the_prices_of(order.sdl, plan.sdl)
    order = site.orders.changing(order, sdl)
    try:
        await _tell(site, order, plan.intent)
    except ReplyLost:
        raise
    except ToolkitError:  # it was refused, or not even asked
        site.orders.redefined(order, old)
        raise
    try:
        address = await serve(site, order, plan.intent, is_changed=True)
        await _extended(site, order, caps)
    except BaseException as error:
        site.report("update", "it does not answer so: what was there before is put back")
        with suppress(ToolkitError):  # then the doctor does it
            await put_back(site.console, site.orders, order, record)
        if isinstance(error, GivenUp):
            raise error.error from None
        raise
    site.opening.revise(plan, url=address.url, pin=address.pin or "", order=order.name)
    site.orders.redefined(order, sdl)


async def _tell(site: Site, order: Order, intent: Intent) -> None:
    """Have the lease run what it is changing to."""
    before = await site.console.deployment(str(order.dseq))
    sdl = str(order.changing)
    services = changed_services(parse(order.sdl).sdl, parse(sdl).sdl)
    if not services:
        return
    site.report("update", f"{', '.join(services)} begins anew", USUAL_UPDATE_S)
    try:
        await _changed(site.console, intent, sdl, before, services)
    except ReplyLost as lost:
        site.report("update", "the answer was lost: the account is looked at")
        await asyncio.sleep(site.pace.settle_poll_s)
        try:
            after = await site.console.deployment(before.dseq)
        except ToolkitError:
            raise lost from None
        if after.deployment.hash == before.deployment.hash:
            raise


async def put_back(console: ConsoleClient, orders: Orders, order: Order, record: Record) -> Order:
    """See to it that the lease runs what the record says, after a change that was cut short:
    the new definition where the record was revised already, else the one before.

    Silent where no change is under way. Raises as changing does; the books go on saying then
    that it is not known what runs.
    """
    if order.changing is None:
        return order
    wanted = _at_the_prices_of(order.sdl, record.sdl)
    found = await console.deployment(str(order.dseq))
    # With secrets in it the hash is of what they stand for: then it is told in any case.
    if found.deployment.hash != previewed(wanted).hash:
        services = changed_services(parse(order.changing).sdl, parse(wanted).sdl)
        if services:
            await _changed(console, record.intent, wanted, found, services)
    return orders.redefined(order, wanted)


def _at_the_prices_of(old: str, new: str) -> str:
    return dump(with_prices_of(parse(old).sdl, parse(new).sdl))


def with_prices_of(old: SDL, new: SDL) -> SDL:
    """`new` at the prices of `old`: what a lease costs was settled when it was taken."""
    priced = {
        name: msgspec.structs.replace(placement, pricing=old.profiles.placement[name].pricing)
        if name in old.profiles.placement
        else placement
        for name, placement in new.profiles.placement.items()
    }
    profiles = msgspec.structs.replace(new.profiles, placement=priced)
    return msgspec.structs.replace(new, profiles=profiles)


def is_in_place(old: SDL, new: SDL) -> bool:
    """Whether all that differs is what a lease can be told anew: image, command, arguments and
    variables, and the prices that it has settled."""
    if diff(old, with_prices_of(old, new)).effect is Effect.NEW_LEASE:
        return False
    return all(_but_told(new.services[name], was) == was for name, was in old.services.items())


def _but_told(new: Service, old: Service) -> Service:
    told = {"image": old.image, "command": old.command, "args": old.args, "env": old.env}
    return msgspec.structs.replace(new, **told)


def changed_services(old: SDL, new: SDL) -> dict[str, ServicePatch]:
    """What to change of each service that differs."""
    changed = {}
    for name, service in new.services.items():
        patch = _patch(old.services[name], service)
        if patch != ServicePatch():
            changed[name] = patch
    return changed


def _patch(old: Service, new: Service) -> ServicePatch:
    before, after = old.environment, new.environment
    env = {name: after.get(name) for name in before | after if before.get(name) != after.get(name)}
    return ServicePatch(
        image=new.image if new.image != old.image else UNSET,
        command=new.command if new.command != old.command else UNSET,
        args=new.args if new.args != old.args else UNSET,
        env=env or UNSET,
    )


async def _changed(
    console: ConsoleClient,
    intent: Intent,
    sdl: str,
    before: Deployment,
    services: dict[str, ServicePatch],
) -> None:
    if not await console.is_newer():
        await console.replace_sdl(before.dseq, sdl)
        return
    recorded = before.console_settings
    version: str | UnsetType = recorded.manifest_version if recorded else UNSET
    patch = Patch(
        services=services,
        sealed_secrets=await sealed_for(console, intent, None),
        if_manifest_version=version or UNSET,
    )
    await console.patch(before.dseq, patch)


async def _extended(site: Site, order: Order, caps: Caps) -> None:
    """A longer runtime where the plan has one. It is never shortened: the Console does not."""
    if not await site.console.is_newer():
        return
    settings = await site.console.settings(str(order.dseq))
    if (settings.runtime_limit_hours or 0) < caps.hours:
        settings = await site.console.set_runtime_limit(str(order.dseq), caps.hours)
    kept(site, order, settings, caps.hours)
