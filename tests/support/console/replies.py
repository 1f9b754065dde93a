"""The world as JSON, as the Console writes it: Go's nulls, decimals as text, lazy money."""

import datetime
import uuid
from decimal import Decimal
from typing import Any

from tests.support.console.states import (
    BLOCK_MS,
    BLOCKS_PER_HOUR,
    Bid,
    Deployment,
    Host,
    Lease,
    Purse,
)
from tests.support.console.world import BEGAN_MS, USD, USER_ID, World

JSON = dict[str, Any]
OWNER = "akash1owner"
WEB_PORT = 80
FIRST_BARE_PORT = 30000


def coin(amount: Decimal) -> JSON:
    return {"denom": "uact", "amount": f"{amount:.18f}"}


def deployment(world: World, each: Deployment) -> JSON:
    """One deployment, with what its hosts say now."""
    leases = [{**lease(each, one), "status": lease_status(world, each, one)} for one in each.leases]
    return {**_deployment(each), "leases": leases, **_recorded(world, each)}


def listed(world: World, each: Deployment, leases_of: Deployment) -> JSON:
    """One item of the list; its leases may be another's."""
    newer = {"name": each.name, "settings": None} if world.is_newer else {}
    leases = [lease(leases_of, one) for one in leases_of.leases]
    return {**_deployment(each), "leases": leases, **newer}


def _deployment(each: Deployment) -> JSON:
    return {
        "deployment": {
            "id": {"owner": OWNER, "dseq": each.dseq},
            "state": each.state,
            "hash": each.hash,
            "created_at": str(each.height),
        },
        "escrow_account": escrow(each.dseq, each.purse),
    }


def _recorded(world: World, each: Deployment) -> JSON:
    if not world.is_newer:
        return {}
    recorded = {"sdl": each.sdl_text, "manifestVersion": each.hash}
    return {"name": each.name, "consoleSettings": recorded}


def lease(each: Deployment, one: Lease) -> JSON:
    reason = {"reason": one.reason} if one.reason else {}
    return {
        "id": _lease_id(each, one),
        "state": one.state,
        "price": coin(one.price),
        "created_at": str(one.height),
        "closed_on": str(one.closed_on),
        **reason,
    }


def _lease_id(each: Deployment, one: Lease | Bid) -> JSON:
    return {
        "owner": OWNER,
        "dseq": each.dseq,
        "gseq": one.gseq,
        "oseq": 1,
        "provider": one.provider,
        "bseq": 0,
    }


def lease_status(world: World, each: Deployment, one: Lease) -> JSON | None:
    """What the host says, null when it says nothing; empty maps are null as well."""
    if one.state != "active" or one.provider in world.silent or one.manifest_at is None:
        return None
    group = next(group for group in each.groups if group.gseq == one.gseq)
    is_up = world.is_available(one)
    host = world.hosts[one.provider]
    services: JSON = {}
    ports: JSON = {}
    for service in group.services:
        name, count = service["name"], service["count"]
        web, bare = _exposed(service)
        uris = [world.ingress or f"{name}.{each.dseq}.{host.name}"] if web else None
        services[name] = _service(name, count if is_up else 0, count, uris)
        if bare:
            ports[name] = [
                {
                    "host": host.name,
                    "port": port,
                    "externalPort": FIRST_BARE_PORT + number,
                    "proto": "TCP",
                    "name": name,
                }
                for number, port in enumerate(bare)
            ]
    return {"services": services, "forwarded_ports": ports or None, "ips": None}


def _exposed(service: JSON) -> tuple[bool, list[int]]:
    """Whether the service is on the web, and its bare ports."""
    public = [each for each in service["expose"] if each["global"]]
    ports = [(each["externalPort"] or each["port"], each["port"]) for each in public]
    return WEB_PORT in dict(ports), [port for outer, port in ports if outer != WEB_PORT]


def _service(name: str, available: int, total: int, uris: list[str] | None) -> JSON:
    return {
        "name": name,
        "available": available,
        "total": total,
        "uris": uris,
        "observed_generation": 1,
        "replicas": total,
        "updated_replicas": total,
        "ready_replicas": available,
        "available_replicas": available,
    }


def escrow(xid: str, purse: Purse) -> JSON:
    """As it was when it was last settled."""
    return {
        "id": {"scope": "deployment", "xid": f"{OWNER}/{xid}"},
        "state": {
            "owner": OWNER,
            "state": purse.state,
            "transferred": [coin(purse.shown_paid)],
            "settled_at": str(purse.settled_at),
            "funds": [coin(purse.shown_funds)],
            "deposits": [],
        },
    }


def bid(world: World, each: Deployment, one: Bid) -> JSON:
    group = next(group for group in each.groups if group.gseq == one.gseq)
    offer = [_offered(world.hosts[one.provider], unit) for unit in group.resources]
    return {
        "bid": {
            "id": _lease_id(each, one),
            "state": one.state,
            "price": coin(one.price),
            "created_at": str(one.height),
            "resources_offer": offer,
        },
        "escrow_account": escrow(each.dseq, Purse(Decimal(500_000), settled_at=one.height)),
    }


def _offered(host: Host, unit: JSON) -> JSON:
    """What is asked for, but for the GPU: that is the host's own."""
    wanted = unit["resource"]
    gpu = wanted.get("gpu", {"units": {"val": "0"}})
    has_gpu = gpu["units"]["val"] != "0"
    return {
        "resources": {
            "cpu": {"units": wanted["cpu"]["units"], "attributes": []},
            "memory": {"quantity": wanted["memory"]["size"], "attributes": []},
            "gpu": {
                "units": gpu["units"],
                "attributes": [{"key": host.gpu, "value": "true"}] if has_gpu else [],
            },
            "storage": [
                {"name": one["name"], "quantity": one["size"], "attributes": []}
                for one in wanted["storage"]
            ],
            "endpoints": [],
        },
        "count": unit["count"],
    }


def balances(world: World) -> JSON:
    """Whole millionths of a dollar, or dollars."""
    open_ones = [each for each in world.deployments.values() if each.is_active]
    inside = sum((each.purse.shown_funds for each in open_ones), Decimal(0))
    amounts = {
        "balance": world.balance,
        "deployments": inside,
        "total": world.balance + inside,
    }
    if world.says_dollars:
        return {name: float(amount / USD) for name, amount in amounts.items()}
    return {name: int(amount) for name, amount in amounts.items()}


def settings(world: World, each: Deployment) -> JSON:
    began = moment(world, each.height)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, each.dseq)),
        "userId": USER_ID,
        "dseq": each.dseq,
        "sdl": None,
        "autoTopUpEnabled": world.is_newer or bool(each.auto_top_up),
        "estimatedTopUpAmount": int(each.price * BLOCKS_PER_HOUR),
        "topUpFrequencyMs": 3_600_000,
        "runtimeLimitHours": each.runtime_limit,
        "runtimeEndsAt": None if each.ends_at is None else moment(world, each.ends_at),
        "createdAt": began,
        "updatedAt": began,
    }


def moment(world: World, height: int) -> str:
    at = datetime.datetime.fromtimestamp((BEGAN_MS + height * BLOCK_MS) / 1000, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
