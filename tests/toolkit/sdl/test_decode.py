"""The structure of an SDL: one mistake at a time, and what is said about it."""

from collections.abc import Callable
from typing import Any

import pytest

from toolkit.errors import SDLError
from toolkit.sdl import Level, parse
from toolkit.sdl.model import (
    CPU,
    Allocation,
    Credentials,
    Expose,
    ExposeTo,
    GPUModel,
    HTTPOptions,
    Mount,
    Price,
    SignedBy,
    Volume,
    VolumeAttributes,
)

CHAT = "/services/chat"
MODEL = "/services/model"
RESOURCES = "/profiles/compute/model/resources"
NVIDIA = f"{RESOURCES}/gpu/attributes/vendor/nvidia"
PRICE = "/profiles/placement/akash/pricing/chat"


def test_every_part_becomes_a_typed_value(full: str, leased_ip: str) -> None:
    sdl = parse(full).sdl
    chat, model = sdl.services["chat"], sdl.services["model"]
    assert sdl.version == "2.0"
    assert chat.command == ("/bin/chat",)
    assert chat.args == ("--verbose",)
    assert chat.environment == {"BACKEND": "http://model:8000"}
    assert chat.dependencies == ("model",)
    assert chat.credentials == Credentials("registry.example.com", "team", "not-a-real-one")
    assert chat.expose == (
        Expose(3000, 80, "TCP", (ExposeTo(is_global=True),), ("chat.example.com",)),
    )
    assert model.expose[0].http_options == HTTPOptions(
        max_body_size=104857600, read_timeout=60000, next_cases=("off",)
    )
    assert model.mounts == {"data": Mount("/data", False), "shm": Mount("/dev/shm")}
    assert model.params is not None
    assert model.params.permissions == ("logs",)
    resources = sdl.profiles.compute["model"]
    assert resources.cpu == CPU(8, {"arch": "amd64"})
    assert resources.memory == "64Gi"
    assert resources.volumes == (
        Volume("10Gi"),
        Volume("16Gi", "shm", VolumeAttributes("ram", "false")),
        Volume("100Gi", "data", VolumeAttributes("beta3", "true")),
    )
    assert resources.gpu is not None
    assert resources.gpu.attributes is not None
    assert resources.gpu.attributes.vendor is not None
    assert resources.gpu.attributes.vendor.nvidia == (
        GPUModel("a100", "80Gi", "sxm"),
        GPUModel("h100"),
    )
    assert sdl.profiles.compute["chat"].volumes == (Volume("1Gi"),)
    placement = sdl.profiles.placement["akash"]
    assert placement.attributes == {"region": "us-west"}
    assert placement.signed_by == SignedBy(("akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63",))
    assert placement.pricing["chat"] == Price("uact", 1000)
    assert sdl.allocations() == [
        ("chat", "akash", Allocation("chat", 2)),
        ("model", "akash", Allocation("model", 1)),
    ]
    other = parse(leased_ip).sdl
    assert other.endpoints == ("public",)
    assert other.min_window == "24h"
    assert other.services["dns"].expose[0].to == (ExposeTo(is_global=True, ip="public"),)


MISTAKES = [
    # old, new, path, what is pointed at, message, hint
    ('version: "2.0"', "version: 2.0", "/version", "2.0", "not the number 2", 'quotes: "2"'),
    ('version: "2.0"', 'version: "3"', "/version", '"3"', "2.0 or 2.1", ""),
    ('version: "2.0"', "", "", "services:", "needs the key `version`", "add version:"),
    ("\nservices:\n  chat", "\nextra: 1\nservices:\n  chat", "", "extra", "`extra`", "it may have"),
    (
        "    dependencies:\n      - service: model",
        "    depends_on: [model]",
        CHAT,
        "depends_on",
        "`chat` has no key `depends_on`",
        "must retry",
    ),
    (
        "    image: vllm/vllm-openai:v0.10.1\n",
        "",
        MODEL,
        "model:",
        "needs the key `image`",
        "image",
    ),
    (
        "image: vllm/vllm-openai:v0.10.1",
        "image: ''",
        f"{MODEL}/image",
        "''",
        "must not be empty",
        "",
    ),
    (
        '["--verbose"]',
        "--verbose",
        f"{CHAT}/args",
        "--verbose",
        "must be a list, not the text '--verbose'",
        "- ",
    ),
    ('["--verbose"]', "[8080]", f"{CHAT}/args/0", "8080", "entry 1 of `args`", 'quotes: "8080"'),
    ('["--verbose"]', "[2024-01-01]", f"{CHAT}/args/0", "2024", "the date", 'quotes: "2024-01-01"'),
    ('["--verbose"]', "[null]", f"{CHAT}/args/0", "null", "not empty", "give it a value"),
    ("port: 3000", 'port: "3000"', f"{CHAT}/expose/0/port", '"3000"', "1 to 65535", "write 3000"),
    ("port: 3000", "port: 65536", f"{CHAT}/expose/0/port", "65536", "1 to 65535", ""),
    ("port: 3000", "port: 0", f"{CHAT}/expose/0/port", "0", "1 to 65535", ""),
    ("port: 3000", "port: 80.5", f"{CHAT}/expose/0/port", "80.5", "whole number", ""),
    ("port: 3000", "port: true", f"{CHAT}/expose/0/port", "true", "not true", ""),
    ("port: 3000", "port: .inf", f"{CHAT}/expose/0/port", ".inf", "Infinity", ""),
    ("proto: TCP", "proto: Tcp", f"{CHAT}/expose/0/proto", "Tcp", "TCP, UDP, tcp, udp", ""),
    ("proto: TCP", "prot: TCP", f"{CHAT}/expose/0", "prot", "no key `prot`", "proto"),
    (
        "- service: chat\n          - global: true",
        "- service: chat\n          - global: yes",
        f"{MODEL}/expose/0/to/1/global",
        "yes",
        "true or false",
        "write true, without quotes",
    ),
    (
        "            ip: public",
        "            ip: ''",
        "/services/dns/expose/0/to/0/ip",
        "''",
        "must not be empty",
        "",
    ),
    (
        "          - global: true\n            ip: public",
        "          - ip: public",
        "/services/dns/expose/0/to/0",
        "ip: public",
        "needs global: true",
        "add global: true",
    ),
    (
        "max_body_size: 104857600",
        "max_body_size: 104857601",
        f"{MODEL}/expose/0/http_options/max_body_size",
        "104857601",
        "0 to 104857600",
        "",
    ),
    (
        'next_cases: ["off"]',
        'next_cases: ["off", error]',
        f"{MODEL}/expose/0/http_options/next_cases",
        "next_cases",
        "excludes all others",
        'next_cases: ["off"]',
    ),
    (
        'next_cases: ["off"]',
        "next_cases: [500]",
        f"{MODEL}/expose/0/http_options/next_cases/0",
        "500",
        "one of",
        'quotes: "500"',
    ),
    ("read: [logs]", "read: [shell]", f"{MODEL}/params/permissions/read/0", "shell", "logs", ""),
    (
        "mount: /dev/shm",
        "mount: dev",
        f"{MODEL}/params/storage/shm/mount",
        "dev",
        "absolute path",
        "begin it with /",
    ),
    (
        "readOnly: false",
        "readOnly: 'no'",
        f"{MODEL}/params/storage/data/readOnly",
        "'no'",
        "true or false",
        "write false",
    ),
    (
        "username: team",
        "username: team\n      token: x",
        f"{CHAT}/credentials",
        "token",
        "no key `token`",
        "username",
    ),
    (
        "units: 0.5",
        "units: 0",
        "/profiles/compute/chat/resources/cpu/units",
        "0",
        "above 0",
        "500m",
    ),
    (
        "units: 0.5",
        "units: -1m",
        "/profiles/compute/chat/resources/cpu/units",
        "-1m",
        "above 0",
        "",
    ),
    ("size: 64Gi", "size: 64", f"{RESOURCES}/memory/size", "64", "text with a unit", '"64Gi"'),
    (
        "size: 64Gi",
        "size: 64Gi\n          limit: 1",
        f"{RESOURCES}/memory",
        "limit",
        "no key `limit`",
        "size",
    ),
    (
        "              class: ram\n              persistent: false",
        "              class: ram",
        f"{RESOURCES}/storage/1/attributes",
        "attributes",
        "needs the key `persistent`",
        "add persistent:",
    ),
    (
        "persistent: false",
        "persistent: true",
        f"{RESOURCES}/storage/1/attributes",
        "attributes",
        "class ram cannot be persistent",
        "persistent: false",
    ),
    (
        "persistent: true",
        "persistent: false",
        f"{RESOURCES}/storage/2/attributes",
        "attributes",
        "class beta3 must be persistent",
        "persistent: true",
    ),
    ("interface: sxm", "interface: nv", f"{NVIDIA}/0/interface", "nv", "pcie or sxm", ""),
    ("- model: h100", "- model: 4000", f"{NVIDIA}/1/model", "4000", "must be text", '"4000"'),
    (
        "              nvidia:",
        "              amd:",
        f"{RESOURCES}/gpu/attributes/vendor",
        "amd",
        "no key `amd`",
        "only nvidia",
    ),
    ("          units: 1\n", "", f"{RESOURCES}/gpu", "gpu", "no units", "units: 1"),
    ("          units: 1\n", "          units: 0\n", f"{RESOURCES}/gpu", "gpu", "no units", ""),
    ("amount: 1000\n", "amount: -1\n", f"{PRICE}/amount", "-1", "without unit or sign", "10000"),
    ("amount: 1000\n", "amount: 1 uact\n", f"{PRICE}/amount", "1 uact", "without unit", ""),
    (
        'amount: "0.5"',
        "amount: .5e",
        "/profiles/placement/akash/pricing/dns/amount",
        ".5e",
        "amount",
        "",
    ),
    (
        "denom: uakt",
        "denom: akt",
        "/profiles/placement/akash/pricing/dns/denom",
        "akt",
        "uact",
        "uact",
    ),
    (
        "- akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63",
        "- 1",
        "/profiles/placement/akash/signedBy/anyOf/0",
        "1",
        "must be text",
        'quotes: "1"',
    ),
    ("count: 2", "count: 0", "/deployment/chat/akash/count", "0", "from 1", ""),
    ("count: 2", 'count: "2"', "/deployment/chat/akash/count", '"2"', "from 1", "write 2"),
    ("kind: ip", "kind: dns", "/endpoints/public/kind", "dns", "must be ip", ""),
    (
        "min_window: 24h",
        "min_window: 1h30m",
        "/reclamation/min_window",
        "1h30m",
        "s, m or h",
        "24h",
    ),
    (
        "endpoints:\n  public:\n    kind: ip",
        "endpoints:\n  public:\n    kind: ip\n  X:\n    kind: ip",
        "/endpoints",
        "X:",
        "`X` cannot name an endpoint",
        "lower-case",
    ),
]


@pytest.mark.parametrize(("old", "new", "path", "pointed_at", "message", "hint"), MISTAKES)
def test_a_mistake_is_found_where_it_stands(
    only_problem: Callable[[str, str], Any],
    old: str,
    new: str,
    path: str,
    pointed_at: str,
    message: str,
    hint: str,
) -> None:
    found = only_problem(old, new)
    assert found.level is Level.INVALID
    assert found.path == path
    assert found.pointed_at.startswith(pointed_at)
    assert message in found.message
    assert hint in found.hint


def test_all_mistakes_are_reported_at_once(full: str, problems: Callable[[str], Any]) -> None:
    text = full.replace("port: 3000", "port: x").replace("count: 2", "count: x")
    text = text.replace("mount: /dev/shm", "mount: /data").replace("units: 0.5", "units: 1000")
    found = problems(text)
    assert [each.path for each in found if each.level is Level.INVALID] == [
        f"{CHAT}/expose/0/port",
        f"{MODEL}/params/storage/shm/mount",
        "/deployment/chat/akash/count",
    ]
    assert [each.path for each in found if each.level is Level.REJECTED] == [
        "/profiles/compute/chat/resources/cpu/units"
    ]


@pytest.mark.parametrize("section", ["services", "profiles", "deployment"])
def test_one_broken_section_brings_no_follow_up_problems(
    full: str, problems: Callable[[str], Any], section: str
) -> None:
    broken = problems(full.replace(f"\n{section}:", f"\n{section}: 1\n{section}_old:"))
    assert sorted(each.path for each in broken if each.level is Level.INVALID) == [
        "",
        f"/{section}",
    ]


def test_a_password_is_never_repeated(edited: Callable[[str, str], str]) -> None:
    for value in ("12345678", "4321"):
        with pytest.raises(SDLError) as caught:
            parse(edited("password: not-a-real-one", f"password: {value}"))
        assert value not in str(caught.value)
    assert "4321" not in repr(Credentials("host", "user", "4321"))


@pytest.mark.parametrize("root", ["[]", "text", "80", "null"])
def test_a_file_that_is_no_mapping_is_one_problem(
    problems: Callable[[str], Any], root: str
) -> None:
    (found,) = problems(root)
    assert found.path == ""
    assert "the file must be a mapping with version, services" in found.message
