"""Manifest, group specifications and hash of our own files."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from tests.toolkit.sdl.real import OWN, VALID
from toolkit.sdl import parse, validate
from toolkit.sdl.groups import Units, endpoint_numbers, group_specs
from toolkit.sdl.manifest import canonical, manifest, manifest_hash


def test_the_manifest_says_what_runs(full: str) -> None:
    (group,) = manifest(parse(full).sdl)
    chat, model = group["services"]
    assert group["name"] == "akash"
    assert chat == {
        "name": "chat",
        "image": "registry.example.com/team/chat:1.4.2",
        "command": ["/bin/chat"],
        "args": ["--verbose"],
        "env": ["BACKEND=http://model:8000"],
        "count": 2,
        "credentials": {
            "host": "registry.example.com",
            "email": "",
            "username": "team",
            "password": "not-a-real-one",
        },
        "expose": [
            {
                "port": 3000,
                "externalPort": 80,
                "proto": "TCP",
                "service": "",
                "global": True,
                "hosts": ["chat.example.com"],
                "httpOptions": {
                    "maxBodySize": 1048576,
                    "nextCases": ["error", "timeout"],
                    "nextTimeout": 0,
                    "nextTries": 3,
                    "readTimeout": 60000,
                    "sendTimeout": 60000,
                },
                "ip": "",
                "endpointSequenceNumber": 0,
            }
        ],
        "resources": {
            "id": 1,
            "cpu": {"units": {"val": "500"}},
            "memory": {"size": {"val": "536870912"}},
            "storage": [{"name": "default", "size": {"val": "1073741824"}}],
            "gpu": {"units": {"val": "0"}},
            "endpoints": [{"sequence_number": 0}],
        },
    }
    assert model["args"] is None
    assert [each["global"] for each in model["expose"]] == [True, False]
    assert model["params"] == {
        "storage": [
            {"name": "data", "mount": "/data", "readOnly": False},
            {"name": "shm", "mount": "/dev/shm", "readOnly": False},
        ],
        "permissions": {"read": ["logs"]},
    }
    assert model["resources"]["gpu"] == {
        "units": {"val": "1"},
        "attributes": [
            {"key": "vendor/nvidia/model/a100/ram/80Gi/interface/sxm", "value": "true"},
            {"key": "vendor/nvidia/model/h100", "value": "true"},
        ],
    }


def test_the_group_says_what_is_paid_for(leased_ip: str) -> None:
    (group,) = group_specs(parse(leased_ip).sdl)
    (unit,) = group["resources"]
    assert unit["count"] == 1
    assert unit["price"] == {"denom": "uakt", "amount": "0.5"}
    assert unit["resource"]["endpoints"] == [
        {"sequence_number": 0},
        {"kind": 1, "sequence_number": 0},
        {"kind": 2, "sequence_number": 1},
    ]
    assert endpoint_numbers(parse(leased_ip).sdl) == {"public": 1}


def test_services_that_share_a_profile_share_a_unit(full: str) -> None:
    text = full.replace("profile: model", "profile: chat").replace(
        "    params:\n      permissions:\n        read: [logs]\n      storage:\n        data:\n"
        "          mount: /data\n          readOnly: false\n        shm:\n"
        "          mount: /dev/shm\n",
        "",
    )
    (group,) = group_specs(parse(text).sdl)
    assert [unit["count"] for unit in group["resources"]] == [3]


def test_a_tee_is_asked_of_the_provider(full: str) -> None:
    text = full.replace("      permissions:", "      tee: cpu\n      permissions:")
    (group,) = group_specs(parse(text).sdl)
    assert group["requirements"]["attributes"] == [
        {"key": "region", "value": "us-west"},
        {"key": "tee/type", "value": "cpu"},
    ]
    assert manifest(parse(text).sdl)[0]["services"][1]["params"]["tee"] == {
        "attestation": True,
        "type": "cpu",
    }


def test_canonical_json_is_sorted_and_escaped() -> None:
    assert canonical({"b": "<&>", "a": ["ü", None, True, 1]}) == (
        '{"a":["ü",null,true,1],"b":"\\u003c\\u0026\\u003e"}'.encode()
    )


def test_the_hash_is_of_the_manifest_and_nothing_else(
    full: str, edited: Callable[[str, str], str]
) -> None:
    sdl = parse(full).sdl
    text = canonical(manifest(sdl))
    assert json.loads(text) == manifest(sdl)
    assert manifest_hash(sdl) == hashlib.sha256(text).hexdigest()
    assert validate(full).hash == manifest_hash(sdl)
    assert validate(edited("amount: 1000\n", "amount: 2000\n")).hash == manifest_hash(sdl)
    assert validate(edited("count: 2", "count: 3")).hash != manifest_hash(sdl)


def test_spelling_does_not_change_the_hash(full: str, edited: Callable[[str, str], str]) -> None:
    same: list[Any] = [
        edited("units: 0.5", "units: 500m"),
        edited("size: 512Mi", 'size: "0.5Gi"'),
        edited("proto: TCP", "proto: tcp"),
        full.replace("\n", "\r\n"),
        "# a comment\n---\n" + full,
    ]
    assert {validate(text).hash for text in same} == {validate(full).hash}


def test_services_that_share_a_profile_are_one_unit_or_one_each() -> None:
    sdl = parse((OWN / "agreed" / "shared-profile.yaml").read_text()).sdl
    (shared,) = group_specs(sdl)
    assert [(unit["resource"]["id"], unit["count"]) for unit in shared["resources"]] == [(1, 3)]
    (each,) = group_specs(sdl, Units.SERVICE)
    assert [(unit["resource"]["id"], unit["count"]) for unit in each["resources"]] == [
        (1, 2),
        (2, 1),
    ]
    assert [service["resources"]["id"] for service in manifest(sdl)[0]["services"]] == [1, 1]
    by_service = manifest(sdl, Units.SERVICE)[0]["services"]
    assert [service["resources"]["id"] for service in by_service] == [1, 2]
    assert manifest_hash(sdl) != manifest_hash(sdl, Units.SERVICE)


def test_units_make_no_difference_where_no_profile_is_shared() -> None:
    alike = 0
    for file in VALID:
        sdl = parse(file.read_bytes()).sdl
        used = [(placement, each.profile) for _, placement, each in sdl.allocations()]
        if len(used) == len(set(used)):
            assert group_specs(sdl) == group_specs(sdl, Units.SERVICE)
            assert manifest_hash(sdl) == manifest_hash(sdl, Units.SERVICE)
            alike += 1
    assert alike > 10
