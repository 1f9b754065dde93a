"""What there is to rent, as JSON."""

from typing import Any

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
    parts = host.gpu.split("/")
    named = dict(zip(parts[::2], parts[1::2], strict=False))
    if "model" not in named:
        return None
    return {
        "vendor": named["vendor"],
        "model": named["model"],
        "ram": named.get("ram", ""),
        "interface": named.get("interface", ""),
    }


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
        "attributes": [{"key": "region", "value": "eu-west", "auditedBy": []}],
        "featPersistentStorage": False,
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
    for host in world.hosts.values():
        gpu = gpu_of(host)
        if gpu is None:
            continue
        usd = float(host.price * BLOCKS_PER_HOUR / USD)
        bounds = dict.fromkeys(("min", "max", "avg", "weightedAverage", "med"), usd)
        price = None if host.address in world.silent else {"currency": "USD", **bounds}
        count = {"total": 8, "available": 8}
        models.append({**gpu, "availability": count, "providerAvailability": count, "price": price})
    return {"availability": {"total": 8, "available": 8}, "models": models}


def placement_options(world: World) -> JSON:
    """One variant per host; some do not say the interface."""
    models = []
    for host in world.hosts.values():
        gpu = gpu_of(host)
        if gpu is None or host.address in world.silent:
            continue
        counts = {"providerCount": 1, "availableUnits": 8, "maxNodeFreeUnits": 8}
        variant = {"memory": gpu["ram"] or None, "interface": gpu["interface"] or None, **counts}
        models.append(
            {
                "name": gpu["model"],
                "memory": [gpu["ram"]] if gpu["ram"] else [],
                "interface": [gpu["interface"]] if gpu["interface"] else [],
                **counts,
                "variants": [variant],
            }
        )
    gpus = [{"vendor": "nvidia", "models": models}] if models else []
    return {"regions": ["eu-west"], "regionProviderCounts": {"eu-west": 1}, "gpus": gpus}


def screened(world: World, question: JSON) -> JSON:
    """The hosts that are up and, where the auditor is asked for, audited."""
    signed_by = question.get("requirements", {}).get("signedBy", {})
    needs_audit = bool(signed_by.get("anyOf") or signed_by.get("allOf"))
    return {
        "providers": [
            {
                "owner": host.address,
                "hostUri": host.uri,
                "isAudited": host.is_audited,
                "createdAt": "2026-01-01T00:00:00.000Z",
                "location": None,
                "organization": None,
                "incidents": [],
            }
            for host in world.hosts.values()
            if host.address not in world.silent and (host.is_audited or not needs_audit)
        ]
    }
