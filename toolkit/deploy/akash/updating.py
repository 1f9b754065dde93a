"""Changing what a lease runs, in place: image, command and environment of its services.

The lease, its price and its address stay; the containers begin anew. What the account has
recorded is compared before (nobody else has changed it) and after (it is what was asked).
"""

import asyncio

import msgspec
from msgspec import UNSET, UnsetType

from toolkit.deploy.akash.failures import GivenUp
from toolkit.deploy.akash.leasing import kept
from toolkit.deploy.akash.orders import Order
from toolkit.deploy.akash.preview import previewed
from toolkit.deploy.akash.sealed import sealed_for
from toolkit.deploy.akash.serving import serve
from toolkit.deploy.akash.site import Caps, Site
from toolkit.deploy.base import Intent, Plan
from toolkit.deploy.console.deployments import Deployment
from toolkit.deploy.console.updates import Patch, ServicePatch
from toolkit.errors import ReplyLost
from toolkit.sdl.diff import Effect, diff
from toolkit.sdl.dump import dump
from toolkit.sdl.model import SDL, Service
from toolkit.sdl.parse import parse

USUAL_UPDATE_S = 30.0


async def update(site: Site, order: Order, plan: Plan) -> None:
    """Carry out a plan that changes no resources; if it does not answer then, what was there
    before is put back.

    Raises `RequestRefused` 409 where somebody else has changed it, 422 where it would need
    another lease.
    """
    old, caps = order.sdl, Caps.of(plan.intent)
    sdl = dump(with_prices_of(parse(old).sdl, parse(plan.sdl).sdl))
    order = await _redefined(site, order, plan.intent, sdl)
    try:
        address = await serve(site, order, plan.intent)
        await _extended(site, order, caps)
    except BaseException as error:
        if order.sdl != old:
            site.report("update", "it does not answer so: what was there before is put back", None)
            await _redefined(site, order, site.opening.record.intent, old)
        if isinstance(error, GivenUp):
            raise error.error from None
        raise
    site.opening.revise(plan, url=address.url, pin=address.pin, order=order.name)


async def _redefined(site: Site, order: Order, intent: Intent, sdl: str) -> Order:
    """The order with another definition, at the account and in the books."""
    before = await site.console.deployment(str(order.dseq))
    services = changed_services(parse(order.sdl).sdl, parse(sdl).sdl)
    if services:
        site.report("update", f"{', '.join(services)} begins anew", USUAL_UPDATE_S)
        await _changed(site, intent, sdl, before, services)
    return site.orders.redefined(order, sdl, previewed(sdl).hash)


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
    site: Site,
    intent: Intent,
    sdl: str,
    before: Deployment,
    services: dict[str, ServicePatch],
) -> None:
    dseq = before.dseq
    try:
        if await site.console.is_newer():
            recorded = before.console_settings
            version: str | UnsetType = recorded.manifest_version if recorded else UNSET
            patch = Patch(
                services=services,
                sealed_secrets=await sealed_for(site.console, intent, None),
                if_manifest_version=version or UNSET,
            )
            await site.console.patch(dseq, patch)
        else:
            await site.console.replace_sdl(dseq, sdl)
    except ReplyLost:
        site.report("update", "the answer was lost: the account is looked at", None)
        await asyncio.sleep(site.pace.settle_poll_s)
        after = await site.console.deployment(dseq)
        if after.deployment.hash == before.deployment.hash:
            raise


async def _extended(site: Site, order: Order, caps: Caps) -> None:
    """A longer runtime where the plan has one. It is never shortened: the Console does not."""
    if not await site.console.is_newer():
        return
    settings = await site.console.settings(str(order.dseq))
    if (settings.runtime_limit_hours or 0) < caps.hours:
        settings = await site.console.set_runtime_limit(str(order.dseq), caps.hours)
    kept(site, order, settings, caps.hours)
