"""What of an SDL of two services reaches an engine of this machine, and what is refused."""

import re
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.support.pairs import pair_sdl
from toolkit.deploy.engines.vllm_flags import as_words, read_flags
from toolkit.deploy.services import Jobs, Program, jobs_of
from toolkit.errors import ConfigError
from toolkit.sdl.parse import parse

PROGRAMS = {"akash-llm-gateway": Program(("/bin/server",))}
SECOND = """\
  third:
    image: {image}
    expose:
      - port: 8000
        to: [{{service: gateway}}]
"""


def jobs(engine: str = "vllm", *, asked: str = "org/tiny", **changes: Any) -> Jobs:
    sdl = pair_sdl(engine, **changes)
    return jobs_of(parse(sdl).sdl, PROGRAMS, Path("/mounts"), asked)


def test_a_gateway_and_vllm() -> None:
    made = jobs()
    assert made.server.argv == ("/bin/server",)
    assert made.server.environment["AKASH_LLM_ENGINE"] == "vllm"
    assert "AKASH_LLM_UPSTREAM" not in made.server.environment
    assert made.engine is not None and made.engine.engine == "vllm"
    assert made.engine.arguments == (
        *("org/tiny", "--max-model-len", "512", "--max-num-seqs", "2"),
        *("--tensor-parallel-size", "1", "--enable-prompt-tokens-details"),
        *("--served-model-name", "org/tiny"),
    )
    assert made.notices == ()


def test_a_gateway_and_ollama() -> None:
    known = {"OLLAMA_CONTEXT_LENGTH": "512", "OLLAMA_KEEP_ALIVE": "-1"}
    ours = {"OLLAMA_HOST": "0.0.0.0:8000", "OLLAMA_MODELS": "/models"}
    made = jobs("ollama", engine_env={**known, **ours}, env={"AKASH_LLM_PRELOAD": "another"})
    assert made.engine is not None
    assert (made.engine.arguments, made.engine.environment) == ((), known)
    assert made.server.environment["AKASH_LLM_PRELOAD"] == "org/tiny"
    assert ["no keys" in notice for notice in made.notices] == [True]


def test_a_folder_is_served_by_its_name() -> None:
    made = jobs(model="/home/me/my models/Tiny (1)", asked="/home/me/my models/Tiny (1)")
    assert made.engine is not None
    assert made.engine.arguments[0] == "/home/me/my models/Tiny (1)"
    assert made.engine.serves == "Tiny-1"
    assert made.server.environment["AKASH_LLM_PRELOAD"] == "Tiny-1"


def test_a_name_of_its_own_is_kept() -> None:
    args = ["vllm", "serve", "org/tiny", "--served-model-name=tiny"]
    made = jobs(args=args, env={"AKASH_LLM_PRELOAD": "tiny"})
    assert made.engine is not None
    assert made.engine.arguments == ("org/tiny", "--served-model-name", "tiny")
    assert made.server.environment["AKASH_LLM_PRELOAD"] == "tiny"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--config", "/etc/passwd"], "--config"),
        (["--trust-remote-code"], "--trust-remote-code"),
        (["--tool-parser-plugin=../evil.py"], "--tool-parser-plugin"),
        (["--chat-template", "../../secret"], "--chat-template"),
        (["--load-format", "runai", "--api-key", "mine"], "--api-key"),
        (["--max-log-len\n--config", "x"], "--max-log-len"),
        (["-O3"], "-O3"),
    ],
)
def test_flags_that_are_not_known_are_left_out_and_told(words: list[str], told: str) -> None:
    made = jobs(args=["vllm", "serve", "org/tiny", *words, "--max-num-seqs", "2"])
    assert made.engine is not None
    assert made.engine.arguments == (
        *("org/tiny", "--max-num-seqs", "2"),
        *("--served-model-name", "org/tiny"),
    )
    assert any(told in notice and "ignored" in notice for notice in made.notices)
    assert all("\n" not in notice for notice in made.notices)


@pytest.mark.parametrize(
    "words",
    [
        ["--max-model-len", "512; rm -rf /"],
        ["--max-model-len", "0"],
        ["--max-model-len", "-1"],
        ["--max-model-len", "1e9"],
        ["--max-model-len", "٣"],
        ["--max-model-len"],
        ["--max-model-len", "1", "2"],
        ["--max-num-seqs", "2\n--config"],
        ["--dtype", "../x"],
        ["--served-model-name", "a\nb"],
        ["--served-model-name", "../a"],
        ["--served-model-name="],
        ["--enable-prefix-caching", "yes"],
        ["--quantization", "a b"],
        ["--tensor-parallel-size", "4096"],
    ],
)
def test_values_that_cannot_be_meant(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="of vLLM cannot be") as caught:
        jobs(args=["vllm", "serve", "org/tiny", *words])
    assert caught.value.hint


@pytest.mark.parametrize(
    "args",
    [
        ["vllm serve org/tiny --max-model-len 512"],
        ["vllm", "serve"],
        ["vllm", "serve", "--model", "org/tiny"],
        ["vllm", "bench", "org/tiny"],
        ["vllm", "serve", "org/other"],
        ["vllm", "serve", "../tiny"],
        ["vllm", "serve", "/etc"],
    ],
)
def test_another_model_than_the_one_asked_for(args: list[str]) -> None:
    with pytest.raises(ConfigError):
        jobs(args=args)


@pytest.mark.parametrize(
    "model", ["../tiny", "a/b/c", "org/..", "org/tiny\n", "org--x/tiny", "~/tiny", "s3://a/b", "-x"]
)
def test_names_that_vllm_might_read_as_something_else(model: str) -> None:
    with pytest.raises(ConfigError):
        jobs(model=model, asked=model)


def test_nothing_of_the_engines_service_is_run() -> None:
    variables = {"LD_PRELOAD": "/tmp/evil.so", "VLLM_PLUGINS": "evil", "HF_TOKEN": "x"}
    made = jobs(command=["sh", "-c", "touch /tmp/owned"], engine_env=variables)
    assert made.engine is not None and made.engine.environment == {}
    for ignored in ("command", *variables):
        assert any(ignored in notice for notice in made.notices)
    assert "touch" not in str(made)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OLLAMA_CONTEXT_LENGTH", "many"),
        ("OLLAMA_KV_CACHE_TYPE", "f16 "),
        ("OLLAMA_KEEP_ALIVE", "5m; x"),
    ],
)
def test_variables_of_ollama_have_their_form(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        jobs("ollama", engine_env={name: value})


def test_unknown_variables_of_ollama_are_told() -> None:
    made = jobs("ollama", engine_env={"OLLAMA_ORIGINS": "*"}, args=["runner"])
    assert made.engine is not None and made.engine.environment == {}
    assert any("OLLAMA_ORIGINS" in notice for notice in made.notices)
    assert any("args" in notice for notice in made.notices)


@pytest.mark.parametrize(
    "upstream",
    [
        "http://example.org:8000",
        "http://engine:8001",
        "http://engine",
        "https://engine:8000",
        "http://engine:8000@example.org",
        "http://user:pass@engine:8000",
        "http://engine:8000/../x",
        "http://engine:8000/?to=example.org",
        "http://ENGINE:8000.example.org",
        "http://gateway:11434",
        "http://127.0.0.1:8000",
        "",
    ],
)
def test_a_gateway_sends_to_no_other_place(upstream: str) -> None:
    with pytest.raises(ConfigError, match="AKASH_LLM_UPSTREAM") as caught:
        jobs(env={"AKASH_LLM_UPSTREAM": upstream})
    assert "pass@" not in str(caught.value)


def test_nor_does_a_gateway_alone() -> None:
    sdl = pair_sdl("vllm")
    start, end = sdl.index("  engine:\n"), sdl.index("profiles:")
    alone = sdl[:start] + sdl[end : sdl.rindex("  engine:\n")]
    with pytest.raises(ConfigError, match="no service of the SDL"):
        jobs_of(parse(alone).sdl, PROGRAMS, Path("/mounts"), "org/tiny")


@pytest.mark.parametrize("engine", ["ollama", "llama-cpp", "", "vllm\n"])
def test_the_engine_is_the_one_beside_it(engine: str) -> None:
    with pytest.raises(ConfigError, match="AKASH_LLM_ENGINE"):
        jobs(env={"AKASH_LLM_ENGINE": engine})


@pytest.mark.parametrize(
    "changes",
    [
        {"also": SECOND.format(image="vllm/vllm-openai:v0.11.0")},
        {"also": SECOND.format(image="example.org/akash-llm-gateway:1")},
        {"also": SECOND.format(image="example.org/miner:1")},
        {"image": "example.org/miner:1"},
        {"gateway": "example.org/miner:1"},
        {"gateway": "vllm/vllm-openai:v0.11.0"},
    ],
)
def test_other_services_are_refused(changes: dict[str, str]) -> None:
    sdl = pair_sdl("vllm", **changes)  # type: ignore[arg-type]
    if "also" in changes:
        sdl += "  third:\n    akash: {profile: small, count: 1}\n"
    with pytest.raises(ConfigError) as caught:
        jobs_of(parse(sdl).sdl, PROGRAMS, Path("/mounts"), "org/tiny")
    assert caught.value.hint


def test_replicas_of_the_engine_are_said() -> None:
    sdl = pair_sdl("vllm")
    head, _, tail = sdl.rpartition("count: 1")
    made = jobs_of(parse(f"{head}count: 2{tail}").sdl, PROGRAMS, Path("/mounts"), "org/tiny")
    assert "engine: one of 2 replicas runs on this machine" in made.notices


def test_the_last_of_two_equal_flags_counts() -> None:
    flags = read_flags(["m", "--max-num-seqs", "1", "--max-num-seqs=3"])
    assert flags.values == {"--max-num-seqs": "3"}


FLAGS = (
    *("--max-model-len", "--dtype", "--served-model-name", "--enable-prefix-caching", "--config"),
    *("--tensor-parallel-size=2", "--quantization=awq", "512", "bfloat16", "awq", "-tp"),
)


@hypothesis.given(st.lists(st.sampled_from(FLAGS) | st.text(max_size=8)))
def test_whatever_is_said_only_checked_words_come_out(words: list[str]) -> None:
    try:
        flags = read_flags(["org/m", *words])
    except ConfigError as error:
        assert error.hint
        return
    assert flags.model == "org/m" and "--config" not in flags.values
    for word in as_words(flags.values):
        assert re.fullmatch(r"(--)?[A-Za-z0-9][A-Za-z0-9._:/-]*", word)
    assert len(as_words(flags.values)) + len(flags.ignored) <= 2 * len(words)
