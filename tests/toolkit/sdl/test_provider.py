"""Rules that only the chain and the providers apply."""

from collections.abc import Callable
from typing import Any

import pytest

from toolkit.sdl import Level, validate

CHAT = "/services/chat"
RESOURCES = "/profiles/compute/model/resources"
SMALL = "/profiles/compute/chat/resources"
NVIDIA = f"{RESOURCES}/gpu/attributes/vendor/nvidia"
PRICE = "/profiles/placement/akash/pricing/chat"

MISTAKES = [
    # old, new, path, what is pointed at, message, hint
    ('"BACKEND=http', '"2BACK=http', f"{CHAT}/env/0", '"2BACK', "name of an environment", "NAME="),
    ('"BACKEND=http', '"..=http', f"{CHAT}/env/0", '"..', "name of an environment", "NAME="),
    (
        "image: vllm/vllm-openai:v0.10.1",
        "image: ' '",
        "/services/model/image",
        "' '",
        "blank",
        "name",
    ),
    ("username: team", "username: '  '", f"{CHAT}/credentials/username", "'", "blank", "fill"),
    (
        '"chat.example.com"',
        '"Chat_1"',
        f"{CHAT}/expose/0/accept/0",
        '"Chat',
        "no host name",
        "chat.",
    ),
    (
        '["chat.example.com"]',
        '["a.example.com", "a.example.com"]',
        f"{CHAT}/expose/0/accept/1",
        '"a.',
        "two entries",
        "one expose",
    ),
    (
        "          mount: /dev/shm",
        "          readOnly: false",
        "/services/model/params/storage/shm",
        "shm:",
        "no mount path",
        "mount: /data",
    ),
    (
        "          - size: 10Gi",
        "          - size: 10Gi\n            name: shm",
        f"{RESOURCES}/storage/1",
        "name: shm",
        "two volumes are called `shm`",
        "name:",
    ),
    (
        "class: beta3",
        "class: beta9",
        f"{RESOURCES}/storage/2/attributes/class",
        "beta9",
        "no class",
        "beta3",
    ),
    (
        "persistent: false",
        "persistent: 'no'",
        f"{RESOURCES}/storage/1/attributes/persistent",
        "'no'",
        "true or false",
        "quotes",
    ),
    ("units: 0.5", "units: 5m", f"{SMALL}/cpu/units", "5m", "out of range", "10m to 384"),
    ("units: 0.5", "units: 385", f"{SMALL}/cpu/units", "385", "out of range", "10m to 384"),
    ("units: 0.5", "units: 2cores", f"{SMALL}/cpu/units", "2cores", "no amount of CPU", "500m"),
    ("units: 0.5", "units: 500.5m", f"{SMALL}/cpu/units", "500.5m", "no amount of CPU", "500m"),
    (
        "arch: amd64",
        "numa: 1",
        f"{RESOURCES}/cpu/attributes/numa",
        "1",
        "no attribute `numa`",
        "arch",
    ),
    (
        "arch: amd64",
        "arch: [amd64]",
        f"{RESOURCES}/cpu/attributes/arch",
        "arch",
        "one value",
        "text",
    ),
    ("size: 64Gi", "size: 3Ti", f"{RESOURCES}/memory/size", "3Ti", "out of range", "1Mi to 2Ti"),
    ("size: 64Gi", "size: 64GB", f"{RESOURCES}/memory/size", "64GB", "cannot read", "64G or 64Gi"),
    (
        "size: 64Gi",
        "size: 64gib",
        f"{RESOURCES}/memory/size",
        "64gib",
        "cannot read",
        "64G or 64Gi",
    ),
    ("size: 1Gi", "size: 900K", f"{SMALL}/storage/size", "900K", "cannot read", "900k or 900Ki"),
    ("size: 1Gi", "size: 4Mi", f"{SMALL}/storage/size", "4Mi", "out of range", "5Mi to 32Ti"),
    (
        "          units: 1\n",
        "          units: 25\n",
        f"{RESOURCES}/gpu/units",
        "25",
        "cannot be had",
        "up to 24",
    ),
    (
        "          units: 1\n",
        "          units: 1.5\n",
        f"{RESOURCES}/gpu/units",
        "1.5",
        "cannot be had",
        "whole",
    ),
    ("ram: 80Gi", "ram: 80G", f"{NVIDIA}/0/ram", "80G", "no GPU memory", '"80Gi"'),
    ("- model: h100", "- interface: sxm", f"{NVIDIA}/1", "interface", "no model", "model: a100"),
    ("- model: h100", "- model: h 100", f"{NVIDIA}/1", "model: h 100", "no GPU model", "providers"),
    (
        "region: us-west",
        "9region: us-west",
        "/profiles/placement/akash/attributes/9region",
        "us-west",
        "cannot name",
        "letter",
    ),
    ("amount: 1000\n", "amount: 0\n", f"{PRICE}/amount", "0", "above 0", "10000"),
    ("amount: 1000\n", "amount: 10000001\n", f"{PRICE}/amount", "10000001", "at most 10000000", ""),
    ("amount: 1000\n", "amount: 1e-7\n", f"{PRICE}/amount", "1e-7", "cannot hold", "exponent"),
    (
        "denom: uact\n          amount: 1000\n",
        "denom: uakt\n          amount: 1000\n",
        "/profiles/placement/akash/pricing/model/denom",
        "uact",
        "uakt and uact",
        "uakt everywhere",
    ),
    ("count: 2", "count: 100000", "/profiles/placement/akash", "akash:", "too much cpu", "lower"),
]


@pytest.mark.parametrize(("old", "new", "path", "pointed_at", "message", "hint"), MISTAKES)
def test_a_mistake_is_found_where_it_stands(
    edited: Callable[[str, str], str],
    problems: Callable[[str], Any],
    old: str,
    new: str,
    path: str,
    pointed_at: str,
    message: str,
    hint: str,
) -> None:
    found = [each for each in problems(edited(old, new)) if each.level is not Level.WARNING]
    first = found[0]
    assert first.level is Level.REJECTED
    assert first.path == path
    assert first.pointed_at.startswith(pointed_at)
    assert message in first.message
    assert hint in first.hint


def test_a_rejected_file_is_not_ok_and_has_a_hash(edited: Callable[[str, str], str]) -> None:
    report = validate(edited("amount: 1000\n", "amount: 0\n"))
    assert not report.ok
    assert report.hash is not None


def test_a_service_needs_a_name_that_hosts_can_have(
    full: str, problems: Callable[[str], Any]
) -> None:
    (found,) = problems(
        full.replace("  chat:\n    image", "  Chat:\n    image").replace(
            "\n  chat:\n    akash", "\n  Chat:\n    akash"
        )
    )
    assert (found.level, found.path) == (Level.REJECTED, "/services/Chat")


def test_something_must_be_reachable(full: str, problems: Callable[[str], Any]) -> None:
    found = problems(full.replace("          - global: true\n", "          - service: model\n"))
    assert found[0].message == "no port of any service can be reached from outside"


def test_nothing_to_deploy_is_rejected(problems: Callable[[str], Any]) -> None:
    text = 'version: "2.0"\nservices: {}\nprofiles: {compute: {}, placement: {}}\ndeployment: {}\n'
    (found,) = problems(text)
    assert (found.level, found.message) == (Level.REJECTED, "nothing is deployed")


def test_a_gpu_is_listed_once(
    edited: Callable[[str, str], str], problems: Callable[[str], Any]
) -> None:
    found = problems(edited("- model: h100", "- model: h100\n                - model: h100"))
    assert [(each.path, each.message) for each in found] == [
        (f"{NVIDIA}/2", "`h100` is listed twice")
    ]


def test_leased_ports_need_an_as_to_be_told_apart(
    leased_ip: str, problems: Callable[[str], Any]
) -> None:
    text = leased_ip.replace("        as: 53\n", "").replace(
        "        as: 80\n        to:\n          - global: true",
        "        to:\n          - global: true\n            ip: public",
    )
    found = [each for each in problems(text) if each.level is Level.REJECTED]
    assert [each.path for each in found] == ["/services/dns/expose/0", "/services/dns/expose/1"]
    assert found[1].hint == "write as: 8080"


def test_memory_volumes_are_writable_in_2_1(full: str, problems: Callable[[str], Any]) -> None:
    text = full.replace("mount: /dev/shm", "mount: /dev/shm\n          readOnly: true")
    assert problems(text) == []
    (found,) = problems(text.replace('version: "2.0"', 'version: "2.1"'))
    assert found.path == "/services/model/params/storage/shm/readOnly"
