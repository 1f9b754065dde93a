"""What there is to rent, as JSON."""

import statistics
from collections import Counter
from typing import Any

from tests.support.console.fitting import has_gpu, has_rest, parts_of
from tests.support.console.orders import cap_of
from tests.support.console.states import BLOCKS_PER_HOUR, Host
from tests.support.console.world import USD, World

JSON = dict[str, Any]

_ABSENT_TEXTS = (
    "name",
    "email",
    "website",
    "lastCheckDate",
    "ipRegion",
    "ipRegionCode",
    "ipCountry",
    "ipCountryCode",
    "ipLat",
    "ipLon",
    "lastOnlineDate",
    "host",
    "organization",
    "statusPage",
    "locationRegion",
    "country",
    "city",
    "timezone",
    "locationType",
    "hostingProvider",
    "hardwareCpu",
    "hardwareCpuArch",
    "hardwareGpuVendor",
    "hardwareMemory",
    "networkProvider",
    "tier",
)
_EMPTY_LISTS = (
    "hardwareGpuModels",
    "hardwareDisk",
    "featPersistentStorageType",
    "workloadSupportChiaCapabilities",
)
_AMOUNT = {"active": 0, "available": 8, "pending": 0}


def gpu_of(host: Host) -> JSON | None:
    """The parts of the host's GPU key."""
    named = parts_of(host.gpu)
    if "model" not in named:
        return None
    return {
        "vendor": named["vendor"],
        "model": named["model"],
        "ram": named.get("ram", ""),
        "interface": named.get("interface", ""),
    }


def _by_gpu(world: World) -> dict[str, list[Host]]:
    """The hosts that have GPUs, by the key of these."""
    found: dict[str, list[Host]] = {}
    for host in world.hosts.values():
        if gpu_of(host) is not None:
            found.setdefault(host.gpu, []).append(host)
    return found


def provider(world: World, host: Host) -> JSON:
    """An item of the list. Nobody has measured uptime of what is not online."""
    gpu = gpu_of(host)
    is_online = host.address not in world.silent
    return {
        "owner": host.address,
        "hostUri": host.uri,
        "createdHeight": 1,
        "cosmosSdkVersion": "0.53",
        "akashVersion": "2.0.0",
        **dict.fromkeys(_ABSENT_TEXTS),
        **{name: [] for name in _EMPTY_LISTS},
        "deploymentCount": 0,
        "leaseCount": 0,
        "uptime1d": host.uptime,
        "uptime7d": host.uptime,
        "uptime30d": host.uptime,
        "isValidVersion": True,
        "isOnline": is_online,
        "isAudited": host.is_audited,
        "gpuModels": [gpu] if gpu else [],
        "attributes": [
            {"key": key, "value": value, "auditedBy": []} for key, value in host.attributes.items()
        ],
        "featPersistentStorage": bool(host.storage_classes),
        "networkSpeedDown": 0,
        "networkSpeedUp": 0,
        "featEndpointCustomDomain": True,
        "workloadSupportChia": False,
        "featEndpointIp": False,
    }


def provider_detail(world: World, host: Host) -> JSON:
    storage = {"ephemeral": _AMOUNT, "persistent": _AMOUNT}
    stats = {"cpu": _AMOUNT, "gpu": _AMOUNT, "memory": _AMOUNT, "storage": storage}
    return {**provider(world, host), "stats": stats, "uptime": []}


def gpu_prices(world: World) -> JSON:
    """In dollars per hour; nobody has bid with a GPU of a host that is silent."""
    models = []
    for hosts in _by_gpu(world).values():
        up = [host for host in hosts if host.address not in world.silent]
        models.append(
            {
                **(gpu_of(hosts[0]) or {}),
                "availability": _count(sum(map(_free, hosts)), sum(map(_free, up))),
                "providerAvailability": _count(len(hosts), len(up)),
                "price": _price([float(host.price * BLOCKS_PER_HOUR / USD) for host in up]),
            }
        )
    counts = [model["availability"] for model in models]
    total, free = (sum(count[which] for count in counts) for which in ("total", "available"))
    return {"availability": _count(total, free), "models": models}


def _count(total: int, available: int) -> JSON:
    return {"total": total, "available": available}


def _free(host: Host) -> int:
    return sum(host.node_gpus)


def _price(usd: list[float]) -> JSON | None:
    if not usd:
        return None
    mean = statistics.fmean(usd)
    return {
        "currency": "USD",
        "min": min(usd),
        "max": max(usd),
        "avg": mean,
        "weightedAverage": mean,
        "med": statistics.median(usd),
    }


def placement_options(world: World) -> JSON:
    """What audited hosts have free, one variant for each memory and interface; some do not say
    the interface."""
    models: dict[str, list[JSON]] = {}
    up: list[Host] = []
    for hosts in _by_gpu(world).values():
        found = [h for h in hosts if h.is_audited and h.address not in world.silent]
        gpu = gpu_of(hosts[0]) or {}
        if found:
            models.setdefault(gpu["model"], []).append(_variant(gpu, found))
            up += found
    gpus = [{"vendor": "nvidia", "models": [_model(*each) for each in models.items()]}]
    regions = Counter(host.region for host in up)
    return {
        "regions": sorted(regions),
        "regionProviderCounts": dict(regions),
        "gpus": gpus if models else [],
    }


def _variant(gpu: JSON, hosts: list[Host]) -> JSON:
    return {
        "memory": gpu["ram"] or None,
        "interface": gpu["interface"] or None,
        "providerCount": len(hosts),
        "availableUnits": sum(map(_free, hosts)),
        "maxNodeFreeUnits": max(free for host in hosts for free in (0, *host.node_gpus)),
    }


def _model(name: str, variants: list[JSON]) -> JSON:
    return {
        "name": name,
        "memory": sorted({each["memory"] for each in variants} - {None}),
        "interface": sorted({each["interface"] for each in variants} - {None}),
        "providerCount": sum(each["providerCount"] for each in variants),
        "availableUnits": sum(each["availableUnits"] for each in variants),
        "maxNodeFreeUnits": max(each["maxNodeFreeUnits"] for each in variants),
        "variants": variants,
    }


def screened(world: World, question: JSON) -> JSON:
    """The hosts that are up and have what is asked for; audited, where the auditor is asked
    for. Whether the Console's own answer depends on the price is not known; this one does."""
    return {
        "providers": [
            {
                "owner": host.address,
                "hostUri": host.uri,
                "isAudited": host.is_audited,
                "createdAt": "2026-01-01T00:00:00.000Z",
                "location": host.region,
                "organization": None,
                "incidents": [],
            }
            for host in world.hosts.values()
            if host.address not in world.silent and _could_take(host, question)
        ]
    }


def _could_take(host: Host, question: JSON) -> bool:
    requirements = question.get("requirements", {})
    signed_by = requirements.get("signedBy", {})
    if (signed_by.get("anyOf") or signed_by.get("allOf")) and not host.is_audited:
        return False
    units = [each["resource"] for each in question["resources"]]
    return (
        host.price <= cap_of(question["resources"])
        and all(has_gpu(host, unit["gpu"]) for unit in units)
        and has_rest(host, units, requirements)
    )
