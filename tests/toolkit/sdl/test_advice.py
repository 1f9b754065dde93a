"""What is accepted everywhere and still not what one wants."""

from collections.abc import Callable
from typing import Any

import pytest

from toolkit.sdl import GPURequest, Level, RenderInputs, render, validate
from toolkit.sdl.advice import repository

CHAT = "/services/chat"
MODEL = "/services/model"
RESOURCES = "/profiles/compute/model/resources"

GPUS = f"{RESOURCES}/gpu/attributes/vendor/nvidia"
MISTAKES = [
    # old, new, path, message, hint
    ("model: h100", "model: h1000", f"{GPUS}/1/model", "called `h1000`", "write h100"),
    ("model: h100", "model: zx81", f"{GPUS}/1/model", "called `zx81`", "providers offer"),
    ("ram: 80Gi", "ram: 96Gi", f"{GPUS}/0", "a100 like this", "80Gi sxm"),
    (
        '"HF_HOME=/data"',
        '"MODEL=meta-llama/Llama-3.1-70B-Instruct"',
        f"{RESOURCES}/storage",
        "140 GB of weights",
        "157Gi or more",
    ),
    (":1.4.2", "", f"{CHAT}/image", "has no tag", "one version"),
    (":1.4.2", ":latest", f"{CHAT}/image", "has the tag latest", "one version"),
    ("mount: /dev/shm", "mount: /shm", f"{MODEL}/image", "more shared memory", "/dev/shm"),
    ("size: 64Gi", "size: 16Gi", f"{RESOURCES}/memory/size", "come out of this memory", "add"),
    (
        "        as: 80\n        proto",
        "        as: 3000\n        proto",
        f"{CHAT}/expose/0",
        "without TLS",
        "as: 80",
    ),
    ("          max_body_size: 104857600\n", "", f"{MODEL}/expose/0", "above 1 MiB", "104857600"),
    (
        "read_timeout: 60000",
        "read_timeout: 5000",
        f"{MODEL}/expose/0/http_options/read_timeout",
        "after 5000 ms",
        "read_timeout: 60000",
    ),
    ('          next_cases: ["off"]\n', "", f"{MODEL}/expose/0", "twice", 'next_cases: ["off"]'),
    (
        "        as: 80\n        proto: TCP\n",
        "        as: 80\n        proto: TCP\n        http_options: {next_tries: 0}\n",
        f"{CHAT}/expose/0/http_options/next_tries",
        "empty next_tries",
        "remove",
    ),
    ("        as: 53\n", "", "/services/dns/expose/0", "without as:", "as: 53"),
    ('args: ["--verbose"]', "args: []", f"{CHAT}/args", "empty args", "remove"),
    (
        'accept: ["chat.example.com"]',
        "accept: []",
        f"{CHAT}/expose/0/accept",
        "empty accept",
        "remove",
    ),
    ("port: 8080", "port: 20", "/services/dns/expose", "order of these ports", "sort"),
    (
        "            ip: public",
        "            ip: public\n          - service: dns",
        "/services/dns/expose/0/to/1",
        "numbers of leased IPs",
        "of their own",
    ),
    ("size: 16Gi", "size: 1Gi", f"{RESOURCES}/storage", "order of these volumes", "smallest first"),
    ("units: 0.5", "units: 2.01", "/profiles/compute/chat/resources/cpu/units", "round", "2010m"),
    ("size: 64Gi", "size: 64.3Gi", f"{RESOURCES}/memory/size", "round", "1331Mi"),
    (
        "size: 1Gi",
        "size: 1.3Gi",
        "/profiles/compute/chat/resources/storage/size",
        "round",
        "1331Mi",
    ),
    ("- model: h100", "- model: a10", f"{RESOURCES}/gpu/attributes/vendor/nvidia", "order", "sort"),
    (
        "region: us-west",
        "Region: us-west",
        "/profiles/placement/akash/attributes/Region",
        "sorted",
        "lower-case",
    ),
]


@pytest.mark.parametrize(("old", "new", "path", "message", "hint"), MISTAKES)
def test_a_trap_is_pointed_out(
    only_problem: Callable[[str, str], Any],
    old: str,
    new: str,
    path: str,
    message: str,
    hint: str,
) -> None:
    found = only_problem(old, new)
    assert found.level is Level.WARNING
    assert found.path == path
    assert message in found.message
    assert hint in found.hint


def test_a_file_with_warnings_is_ok(edited: Callable[[str, str], str]) -> None:
    report = validate(edited(":1.4.2", ":latest"))
    assert report.ok
    assert report.hash is not None


def test_a_port_for_nobody_is_pointed_out(
    edited: Callable[[str, str], str], problems: Callable[[str], Any]
) -> None:
    text = edited("        to:\n          - service: chat\n          - global: true\n", "")
    assert [each.message for each in problems(text)] == ["tools disagree about a port without to:"]


def test_a_digest_says_the_version(
    edited: Callable[[str, str], str], problems: Callable[[str], Any]
) -> None:
    assert problems(edited(":1.4.2", f"@sha256:{'0' * 64}")) == []


def test_a_shared_profile_is_pointed_out(full: str, problems: Callable[[str], Any]) -> None:
    text = full.replace("profile: chat", "profile: model").replace(
        "chat:\n          denom", "spare:\n          denom"
    )
    found = [each for each in problems(text) if "share a compute profile" in each.message]
    assert [each.path for each in found] == ["/deployment/model/akash/profile"]


def test_our_server_without_a_key_is_pointed_out(problems: Callable[[str], Any]) -> None:
    keys = f"me:admin:{'0' * 64}"
    text = render(RenderInputs(image="ghcr.io/me/akash-llm-server:1", keys_text=keys))
    (found,) = problems(text.replace(f"AKASH_LLM_KEYS={keys}", "OTHER=1"))
    assert "has no key" in found.message


@pytest.mark.parametrize(
    ("template", "model", "weights"),
    [
        ("vllm", "meta-llama/Llama-3.1-70B-Instruct", "140 GB"),
        ("ollama", "llama3.1:70b", "35 GB"),
    ],
)
def test_the_engine_holds_what_its_gateway_asks_it_for(
    template: str, model: str, weights: str, problems: Callable[[str], Any]
) -> None:
    keys = f"me:admin:{'0' * 64}"
    inputs = RenderInputs(
        image="akash-llm-gateway:1",
        keys_text=keys,
        model=model,
        gpu=GPURequest(),
        storage="200Gi",
    )
    text = render(inputs, template)
    assert problems(text) == []
    (found,) = problems(text.replace('"200Gi"', '"15Gi"'))
    assert found.path == "/profiles/compute/llm/resources/storage"
    assert f"at least {weights} of weights, and the volumes of `llm`" in found.message
    # Weights that lie somewhere else need no volume here.
    elsewhere = text.replace("AKASH_LLM_UPSTREAM=http://llm:", "AKASH_LLM_UPSTREAM=http://else:")
    small = problems(elsewhere.replace('"200Gi"', '"15Gi"'))
    assert len(small) == (1 if template == "vllm" else 0)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("ollama", "ollama"),
        ("vllm/vllm-openai:v0.8", "vllm-openai"),
        ("localhost:5000/a/b:1", "b"),
        (f"ghcr.io/me/akash-llm-server:1@sha256:{'0' * 64}", "akash-llm-server"),
    ],
)
def test_the_repository_of_an_image(image: str, name: str) -> None:
    assert repository(image) == name
