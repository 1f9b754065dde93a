"""Group specifications, manifest and hash, byte for byte as the network's TypeScript tools.

The hash goes on chain when a deployment is made, and the provider computes it again from
the manifest it is sent, so both must come from one implementation. Works on documents
that have no invalid problem.
"""

import hashlib
import json
from typing import Any

from toolkit.sdl.groups import Units, endpoint_numbers, endpoints, resource_ids, unit_resources
from toolkit.sdl.model import SDL, Expose, ExposeTo, HTTPOptions, Params, Service

JSON = dict[str, Any]

_DEFAULT_HTTP = {
    "maxBodySize": 1048576,
    "nextCases": ["error", "timeout"],
    "nextTimeout": 0,
    "nextTries": 3,
    "readTimeout": 60000,
    "sendTimeout": 60000,
}


def manifest(sdl: SDL, units: Units = Units.PROFILE) -> list[JSON]:
    """What the provider is sent: one group per placement."""
    ids = resource_ids(sdl, units)
    numbers = endpoint_numbers(sdl)
    groups: dict[str, list[JSON]] = {}
    for service_name, placement, allocation in sorted(sdl.allocations(), key=lambda each: each[0]):
        service = sdl.services[service_name]
        resources = unit_resources(
            ids[placement, service_name],
            sdl.profiles.compute[allocation.profile],
            endpoints(service, numbers),
        )
        groups.setdefault(placement, []).append(
            _service(service_name, service, allocation.count, resources, numbers)
        )
    return [{"name": name, "services": groups[name]} for name in sorted(groups)]


def canonical(value: object) -> bytes:
    """The JSON text that is hashed: keys sorted, no spaces, and `<`, `>`, `&` escaped."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode()


def manifest_hash(sdl: SDL, units: Units = Units.PROFILE) -> str:
    """The manifest's version, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(manifest(sdl, units))).hexdigest()


def _service(
    name: str, service: Service, count: int, resources: JSON, numbers: dict[str, int]
) -> JSON:
    params = {} if service.params is None else {"params": _params(service.params)}
    return {
        "name": name,
        "image": service.image,
        "command": list(service.command or ()) or None,
        "args": list(service.args or ()) or None,
        "env": list(service.env or ()) or None,
        "resources": resources,
        "count": count,
        "expose": _exposes(service, numbers),
        "credentials": _credentials(service),
        **params,
    }


def _credentials(service: Service) -> JSON | None:
    given = service.credentials
    if given is None:
        return None
    return {
        "host": given.host,
        "email": given.email,
        "username": given.username,
        "password": given.password,
    }


def _params(params: Params) -> JSON:
    storage = [
        {"name": name, "mount": mount.mount or "", "readOnly": mount.read_only or False}
        for name, mount in sorted((params.storage or {}).items())
    ]
    made: JSON = {"storage": storage or None}
    if params.permissions is not None:
        made["permissions"] = {"read": list(params.permissions)}
    if params.tee is not None:
        made["tee"] = {"attestation": True, "type": params.tee}
    return made


def _exposes(service: Service, numbers: dict[str, int]) -> list[JSON]:
    made = [_expose(expose, to, numbers) for expose in service.expose for to in expose.to]
    return sorted(
        made, key=lambda each: (each["service"], each["port"], each["proto"], not each["global"])
    )


def _expose(expose: Expose, to: ExposeTo, numbers: dict[str, int]) -> JSON:
    return {
        "port": expose.port,
        "externalPort": expose.as_port or 0,
        "proto": expose.proto,
        "service": to.service or "",
        "global": to.is_global or False,
        "hosts": list(expose.accept or ()) or None,
        "httpOptions": _http_options(expose.http_options),
        "ip": to.ip or "",
        "endpointSequenceNumber": numbers.get(to.ip or "", 0),
    }


def _http_options(options: HTTPOptions) -> JSON:
    given = {
        "maxBodySize": options.max_body_size,
        "nextCases": None if options.next_cases is None else list(options.next_cases),
        "nextTimeout": options.next_timeout,
        "nextTries": options.next_tries,
        "readTimeout": options.read_timeout,
        "sendTimeout": options.send_timeout,
        "proxyBufferSize": options.proxy_buffer_size or None,
    }
    return _DEFAULT_HTTP | {key: value for key, value in given.items() if value is not None}
