"""What each request does to the world, and the JSON that answers it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support.console import market_replies, replies
from tests.support.console.states import Refusal
from tests.support.console.world import (
    BALANCE_HEADROOM_USD,
    DEFAULT_DEPOSIT_USD,
    TARGET_RUNWAY_HOURS,
    USER_ID,
    World,
)


class Asked(NamedTuple):
    """One request, read."""

    world: World
    parts: tuple[str, ...]
    query: Mapping[str, str]
    body: Any


def enveloped(value: Any) -> dict[str, Any]:
    return {"data": value}


def one(asked: Asked, dseq: str | None = None) -> dict[str, Any]:
    each = asked.world.found(dseq or asked.parts[0])
    return enveloped(replies.deployment(asked.world, each))


def user(asked: Asked) -> Any:
    texts = dict.fromkeys(("bio", "stripeCustomerId", "youtubeUsername", "twitterUsername"))
    return enveloped(
        {
            "id": USER_ID,
            "userId": "auth|1",
            "username": "tester",
            "email": "tester@example.org",
            "emailVerified": True,
            "subscribedToNewsletter": False,
            **texts,
        }
    )


def create(asked: Asked) -> Any:
    made = asked.world.create(asked.body["data"])
    signed = {"code": 0, "transactionHash": "AB" * 32, "rawLog": ""}
    return enveloped({"dseq": made.dseq, "manifest": made.manifest, "signTx": signed})


def list_all(asked: Asked) -> Any:
    """The older Console lists what is active, hangs the leases on the wrong items, and says
    that there is more only to who gives both skip and limit."""
    world, query = asked.world, asked.query
    state = query.get("state", "active") if world.is_newer else "active"
    search = query.get("search", "") if world.is_newer else ""
    found = [
        each
        for each in world.deployments.values()
        if each.state == state and search in f"{each.name} {each.dseq}"
    ]
    owners = found if world.is_newer else [*found[1:], *found[:1]]
    most = 100 if world.is_newer else 1000
    skip, limit = int(query.get("skip", 0)), int(query.get("limit", most))
    tells_more = world.is_newer or {"skip", "limit"} <= set(query)
    shown = list(zip(found, owners, strict=True))[skip : skip + limit]
    return enveloped(
        {
            "deployments": [replies.listed(world, *pair) for pair in shown],
            "pagination": {
                "total": None if world.is_newer else len(found),
                "skip": skip,
                "limit": limit,
                "hasMore": tells_more and skip + limit < len(found),
            },
        }
    )


def close(asked: Asked) -> Any:
    dseq = asked.parts[0]
    if asked.world.is_newer and asked.query.get("async") == "true":
        return 202, enveloped({"activityId": asked.world.begin_close(dseq)})
    asked.world.close(dseq)
    return enveloped({"success": True})


def bids(asked: Asked) -> Any:
    """An unknown deployment has none, as one that is young."""
    each = asked.world.deployments.get(asked.query.get("dseq", ""))
    return enveloped([] if each is None else [replies.bid(asked.world, each, b) for b in each.bids])


def lease(asked: Asked) -> Any:
    made = asked.world.lease(asked.body["leases"], asked.body.get("manifest"))
    return one(asked, made.dseq)


def patch(asked: Asked) -> Any:
    asked.world.patch(asked.parts[0], asked.body["data"])
    return one(asked)


def put(asked: Asked) -> Any:
    asked.world.update(asked.parts[0], asked.body["data"]["sdl"])
    return one(asked)


def deposit(asked: Asked) -> Any:
    data = asked.body["data"]
    return one(asked, asked.world.deposit(data["dseq"], data["deposit"]).dseq)


def settings(asked: Asked) -> Any:
    return enveloped(replies.settings(asked.world, asked.world.read_settings(asked.parts[0])))


def limit(asked: Asked) -> Any:
    hours = asked.body["data"]["runtimeLimitHours"]
    return enveloped(
        replies.settings(asked.world, asked.world.limit_runtime(asked.parts[0], hours))
    )


def top_up(asked: Asked) -> Any:
    data = asked.body["data"]
    each = asked.world.write_settings(data["dseq"], data.get("autoTopUpEnabled"))
    return enveloped(replies.settings(asked.world, each))


def spend_rate(asked: Asked) -> Any:
    billing = [each for each in asked.world.deployments.values() if each.active_leases]
    return enveloped(
        {"deployments": [{"dseq": b.dseq, "price": replies.coin(b.price)} for b in billing]}
    )


def funding(asked: Asked) -> Any:
    return enveloped(
        {
            "targetRunwayHours": TARGET_RUNWAY_HOURS,
            "balanceHeadroomUsd": BALANCE_HEADROOM_USD,
            "defaultDepositUsd": DEFAULT_DEPOSIT_USD,
        }
    )


def secrets(asked: Asked) -> Any:
    return enveloped(asked.world.seals.context())


def providers(asked: Asked) -> Any:
    wanted = asked.query.get("addresses", "").split(",")
    hosts = asked.world.hosts.values()
    return [
        market_replies.provider(asked.world, host)
        for host in hosts
        if wanted == [""] or host.address in wanted
    ]


def provider(asked: Asked) -> Any:
    host = asked.world.hosts.get(asked.parts[0])
    if host is None:
        raise Refusal(404, "Provider not found")
    return market_replies.provider_detail(asked.world, host)


def balances(asked: Asked) -> Any:
    return enveloped(replies.balances(asked.world))


def activity(asked: Asked) -> Any:
    return enveloped({"status": asked.world.activity(asked.parts[0])})


def token(asked: Asked) -> Any:
    return enveloped({"token": asked.world.token(asked.body["data"])})


def gpu_prices(asked: Asked) -> Any:
    return market_replies.gpu_prices(asked.world)


def placement_options(asked: Asked) -> Any:
    return market_replies.placement_options(asked.world)


def screened(asked: Asked) -> Any:
    return market_replies.screened(asked.world, asked.body)
