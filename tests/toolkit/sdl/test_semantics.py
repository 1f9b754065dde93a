"""Rules that compare two places of the file."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.goals import Measure
from toolkit.sdl import Level, validate

RESOURCES = "/profiles/compute/model/resources"
MOUNTS = "/services/model/params/storage"

MISTAKES = [
    # old, new, path, what is pointed at, message, hint
    (
        "\nprofiles:\n  compute:\n    chat:",
        "\n  extra:\n    image: a:1\nprofiles:\n  compute:\n    chat:",
        "/deployment",
        "deployment:",
        "`extra` is not deployed",
        "add extra:",
    ),
    (
        "deployment:\n  chat:",
        "deployment:\n  other:\n    akash: {profile: chat, count: 1}\n  chat:",
        "/deployment/other",
        "other:",
        "`other` is deployed but is no service",
        "the services are: chat, model",
    ),
    (
        "      profile: model\n      count: 1",
        "      profile: model\n      count: 1\n    moon:\n      profile: model\n      count: 1",
        "/deployment/model/moon",
        "moon:",
        "the placement `moon` is not defined",
        "the placements are: akash",
    ),
    (
        "        chat:\n          denom: uact\n          amount: 1000\n",
        "",
        "/profiles/placement/akash/pricing",
        "pricing:",
        "no price for the profile `chat`",
        "add chat: with denom: and amount:",
    ),
    (
        "      storage:\n        data:",
        "      storage:\n        cache: {mount: /cache}\n        data:",
        f"{MOUNTS}/cache",
        "cache:",
        "no volume called `cache`",
        "add name: cache",
    ),
    (
        "mount: /dev/shm",
        "mount: /dev/shm\n        default:\n          mount: /x",
        f"{MOUNTS}/default",
        "default:",
        "no volume called `default`",
        "add name: default",
    ),
    (
        "        data:\n          mount: /data\n          readOnly: false\n",
        "",
        f"{RESOURCES}/storage/2",
        "name: data",
        "does not mount the persistent volume `data`",
        "{data: {mount: /data}}",
    ),
    (
        "          units: 1\n          attributes:\n            vendor:\n              nvidia:\n"
        "                - model: a100\n                  ram: 80Gi\n"
        "                  interface: sxm\n                - model: h100\n",
        '          units: "0"\n',
        f"{RESOURCES}/gpu",
        "gpu:",
        "does not say which GPUs",
        "remove gpu:",
    ),
    (
        "            vendor:\n              nvidia:\n"
        "                - model: a100\n                  ram: 80Gi\n"
        "                  interface: sxm\n                - model: h100\n",
        "            {}\n",
        f"{RESOURCES}/gpu/attributes",
        "attributes:",
        "names no vendor",
        "{nvidia: }",
    ),
    (
        "      password: not-a-real-one",
        "      password: not-a-real-one\n    params:\n      tee: cpu-gpu",
        "/services/chat/params/tee",
        "cpu-gpu",
        "needs a GPU",
        "tee: cpu",
    ),
    (
        "            ip: public",
        "            ip: public\n          - global: true\n            ip: other",
        "/services/dns/expose/0/to/1/ip",
        "other",
        "the endpoint `other` is not defined",
        "{other: {kind: ip}}",
    ),
    (
        "            ip: public",
        "            ip: public\n          - global: true\n            ip: public",
        "/services/dns/expose/0/to/1/ip",
        "public",
        "port 53 UDP of the endpoint `public` is already taken by `dns`",
        "another as:",
    ),
    (
        "    kind: ip",
        "    kind: ip\n  spare:\n    kind: ip",
        "/endpoints/spare",
        "spare:",
        "`spare` is never used",
        "ip: spare",
    ),
    (
        "mount: /dev/shm",
        "mount: /data",
        f"{MOUNTS}/shm/mount",
        "/data",
        "/data is already the mount of `data`",
        "a path of its own",
    ),
    ("size: 64Gi", "size: '64'", f"{RESOURCES}/memory/size", "'64'", "is no size", '"64Gi"'),
    ("size: 100Gi", "size: big", f"{RESOURCES}/storage/2/size", "big", "is no size", "10Gi"),
]


@pytest.mark.goal(9)
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
    (found,) = (each for each in problems(edited(old, new)) if each.level is Level.INVALID)
    assert found.path == path
    assert found.pointed_at.startswith(pointed_at)
    assert message in found.message
    assert hint in found.hint


@pytest.mark.goal(9)
def test_every_mistake_has_a_path_a_line_and_a_remedy(
    edited: Callable[[str, str], str], measured: Measure
) -> None:
    for old, new, *_ in MISTAKES:
        text = edited(old, new)
        began = time.perf_counter()
        report = validate(text)
        took_ms = 1e3 * (time.perf_counter() - began)
        measured(9, "a file with a mistake is read, checked and told of", took_ms, "ms", 100)
        invalid = [each for each in report.problems if each.level is Level.INVALID]
        assert invalid and all(each.line > 0 and each.path and each.hint for each in invalid)


def test_an_unknown_profile_has_neither_resources_nor_a_price(
    edited: Callable[[str, str], str], problems: Callable[[str], Any]
) -> None:
    found = problems(edited("profile: chat", "profile: cat"))
    assert [(each.path, each.message) for each in found] == [
        (
            "/profiles/placement/akash/pricing",
            "the placement `akash` has no price for the profile `cat`",
        ),
        ("/deployment/chat/akash/profile", "the compute profile `cat` is not defined"),
    ]


def test_one_placement_has_one_kind_of_tee(full: str, problems: Callable[[str], Any]) -> None:
    text = full.replace("      permissions:", "      tee: cpu-gpu\n      permissions:")
    text = text.replace("-real-one", "-real-one\n    params:\n      tee: cpu")
    (found,) = problems(text)
    assert found.path == "/services/model/params/tee"
    assert "`chat` for cpu in the same placement `akash`" in found.message


def test_a_profile_that_is_not_used_may_be_odd(full: str, problems: Callable[[str], Any]) -> None:
    odd = "    odd: {resources: {cpu: {units: 1}, memory: {size: 1Gi}, storage: []}}"
    assert problems(full.replace("  compute:\n", f"  compute:\n{odd}\n")) == []
