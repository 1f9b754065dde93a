"""Settings: flag before variable before default, and what makes no sense is refused."""

import math
from pathlib import Path

import pytest

from server.engine.config import Attention, EngineConfig, Placement
from server.keys import digest
from server.local import engine_config
from server.settings import ENVIRONMENT, SETTINGS, SettingsError, load

KEYS = f"me:inference:{digest('secret')}"


def test_defaults(akash_home: Path) -> None:
    settings = load([], {"AKASH_LLM_HOME": str(akash_home)})
    assert (settings.host, settings.port, settings.url) == (
        "127.0.0.1",
        11434,
        "http://127.0.0.1:11434",
    )
    assert settings.models == akash_home / "models"
    assert settings.state == akash_home / "state"
    assert settings.management and settings.usage_days == 400
    assert (settings.parallel, settings.context, settings.engine) == (4, 2048, "llama-cpp")
    assert settings.memory is None and settings.max_loaded == 0
    assert settings.preload == () and not settings.keys
    assert (settings.keep_alive, settings.preload_keep_alive) == (300.0, math.inf)


def test_every_flag_is_a_variable_and_the_flag_wins() -> None:
    values = {
        "host": ("::1", "localhost"),
        "port": ("1", "2"),
        "models": ("/a", "/b"),
        "preload": ("a,b", "c"),
        "pull": ("never", "missing"),
        "parallel": ("1", "2"),
        "context": ("8", "16"),
        "engine": ("vllm", "ollama"),
        "upstream": ("http://engine:8000/v1", "https://[::1]/base/"),
        "upstream_timeout": ("1", "2.5"),
        "pool": ("100", "200"),
        "parking": ("1GiB", "2048"),
        "share_prefixes": ("on", "off"),
        "speculate": ("on", "auto"),
        "threads": ("1", "2"),
        "batch_threads": ("1", "2"),
        "batch": ("64", "128"),
        "micro_batch": ("16", "32"),
        "flash_attention": ("auto", "on"),
        "cache_type_k": ("f32", "q4_0"),
        "cache_type_v": ("bf16", "iq4_nl"),
        "swa_full": ("off", "on"),
        "gpu_layers": ("all", "12"),
        "split_mode": ("none", "row"),
        "main_gpu": ("1", "2"),
        "tensor_split": ("1,1", "3,0.5"),
        "mmap": ("on", "off"),
        "mlock": ("off", "on"),
        "requantize": ("q8_0", "q4_0"),
        "keep_alive": ("1m", "forever"),
        "memory": ("8GiB", "512 MB"),
        "max_loaded": ("1", "2"),
        "max_queue": ("1", "2"),
        "max_body_bytes": ("1024", "2048"),
        "registries": ("none", "hf.co,http://127.0.0.1:5000"),
        "body_memory": ("1MiB", "1GiB"),
        "max_connections": ("10", "20"),
        "header_timeout": ("1", "2.5"),
        "body_timeout": ("1", "2.5"),
        "write_timeout": ("1", "2.5"),
        "idle_timeout": ("1", "2.5"),
        "heartbeat": ("0", "2.5"),
        "drain": ("0", "2.5"),
        "origins": ("https://a", "https://b,https://c"),
        "state": ("/s", "/t"),
        "management": ("on", "off"),
        "prune": ("on", "off"),
        "usage_days": ("1", "2"),
    }
    assert set(values) == {setting.name for setting in SETTINGS}
    environ = {setting.variable: values[setting.name][0] for setting in SETTINGS}
    argv = [part for s in SETTINGS for part in (s.flag, values[s.name][1])]
    assert set(environ) < set(ENVIRONMENT)
    one, other = load([], environ), load(argv, environ)
    assert (one.host, one.port, one.models, one.preload) == ("::1", 1, Path("/a"), ("a", "b"))
    assert (one.url, one.keep_alive, one.preload_keep_alive) == ("http://[::1]:1", 60.0, 60.0)
    assert (other.host, other.port, other.preload) == ("localhost", 2, ("c",))
    assert (one.engine, one.upstream) == ("vllm", "http://engine:8000")
    assert (other.engine, other.upstream) == ("ollama", "https://[::1]/base")
    assert (one.memory, other.memory, one.max_loaded) == (8 << 30, 512_000_000, 1)
    assert (one.parking, other.parking, other.speculate) == (1 << 30, 2048, "auto")
    assert not one.registries.urls
    assert other.registries.url("127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert other.keep_alive == math.inf and other.origins == ("https://b", "https://c")
    assert (one.state, one.management, one.usage_days) == (Path("/s"), True, 1)
    assert not other.management and not load(["--no-management"], {}).management
    assert one.placement == Placement(split_mode="none", main_gpu=1, tensor_split=(1.0, 1.0))
    assert other.placement == Placement(
        gpu_layers=12,
        split_mode="row",
        main_gpu=2,
        tensor_split=(3.0, 0.5),
        mmap=False,
        mlock=True,
    )
    assert one.attention == Attention(keys="f32", values="bf16")
    assert other.attention == Attention(flash="on", keys="q4_0", values="iq4_nl", swa_full=True)
    assert (one.requantize, other.requantize) == ("q8_0", "q4_0")
    config = engine_config(other)
    assert (config.placement, config.attention) == (other.placement, other.attention)
    assert (config.threads, config.batch_threads, config.batch, config.micro_batch) == (
        *(2, 2),
        *(128, 32),
    )


def test_the_defaults_of_loading_are_those_of_the_engine() -> None:
    settings, plain = load([], {}), EngineConfig()
    config = engine_config(settings)
    assert settings.requantize == "off"
    assert (config.placement, config.attention) == (plain.placement, plain.attention)
    assert (config.batch, config.micro_batch) == (plain.batch, plain.micro_batch)
    assert (config.threads, config.batch_threads) == (0, 0)


def test_preload_repeats() -> None:
    assert load(["--preload", "a", "--preload", "b:1"], {}).preload == ("a", "b:1")


def test_an_empty_variable_is_none() -> None:
    assert load([], {"AKASH_LLM_PORT": ""}).port == 11434


@pytest.mark.parametrize(
    ("argv", "environ", "code", "text"),
    [
        (["--port", "x"], {}, 2, "--port: expected a whole number from 1 to 65535, got 'x'"),
        (["--port", "0"], {}, 2, "--port"),
        (["--parallel", "1e3"], {}, 2, "--parallel"),
        (["--engine", "tgi"], {}, 2, "--engine: expected one of llama-cpp, vllm, ollama, got"),
        (["--engine", "vllm"], {}, 3, "--engine vllm needs --upstream, the address where it"),
        (["--upstream", "http://a"], {}, 3, "--upstream goes with --engine vllm or --engine ol"),
        (["--upstream", "localhost:8000"], {}, 2, "expected an address such as http://localh"),
        (["--upstream", "http://a:99999"], {}, 2, "--upstream: expected an address such as"),
        (["--upstream", "unix:run/a.sock"], {}, 2, "the whole path of a socket, of at most 100 b"),
        (["--upstream", "unix:/" + "a" * 100], {}, 2, "the whole path of a socket"),
        (["--upstream", "http://a?b=c"], {}, 2, "--upstream: expected an address such as"),
        (["--upstream", "http://me:canary@a"], {}, 2, "put a key into AKASH_LLM_UPSTREAM_KEY"),
        (
            ["--engine", "vllm", "--upstream", "http://a"],
            {"AKASH_LLM_UPSTREAM_KEY": "a\tb"},
            3,
            "AKASH_LLM_UPSTREAM_KEY is no key",
        ),
        (["--pool", "100", "--context", "200"], {}, 3, "a pool of 100 tokens holds no request"),
        (["--parking", "1 parsec"], {}, 2, "--parking: expected a size such as 8GiB"),
        (["--parking", "GiB"], {}, 2, "--parking"),
        (["--speculate", "yes"], {}, 2, "--speculate: expected one of off, auto, on"),
        (["--keep-alive", "5 parsecs"], {}, 2, "--keep-alive"),
        (["--memory", "lots"], {}, 2, "--memory: expected a size such as 8GiB, got 'lots'"),
        (["--max-loaded", "-1"], {}, 2, "--max-loaded"),
        (["--models", ""], {}, 2, "--models"),
        (["--host", "http://a"], {}, 2, "--host"),
        (["--nope"], {}, 2, "--nope"),
        (["--por", "1"], {}, 2, "--por"),
        (["--flash-attention", "yes"], {}, 2, "expected one of auto, on, off, got 'yes'"),
        (["--cache-type-k", "q2_k"], {}, 2, "--cache-type-k: expected one of f16, f32, bf16, q8_0"),
        (["--gpu-layers", "-1"], {}, 2, "expected all or a number of layers, got '-1'"),
        (["--gpu-layers", "most"], {}, 2, "--gpu-layers"),
        (["--split-mode", "tensor"], {}, 2, "expected one of none, layer, row, got 'tensor'"),
        (["--tensor-split", "3,x"], {}, 2, "expected shares such as 3,1, got '3,x'"),
        (["--tensor-split", "1,-1"], {}, 2, "--tensor-split"),
        (["--registries", "ftp://x"], {}, 2, "expected a host such as hf.co"),
        (["--tensor-split", "1,nan"], {}, 2, "--tensor-split"),
        (["--mmap", "true"], {}, 2, "--mmap: expected one of on, off, got 'true'"),
        (["--requantize", "q4_1"], {}, 2, "--requantize: expected one of off, q8_0, q4_0"),
        ([], {"AKASH_LLM_MLOCK": "1"}, 3, "AKASH_LLM_MLOCK: expected one of on, off, got '1'"),
        (
            ["--flash-attention", "off", "--cache-type-v", "q8_0"],
            {},
            3,
            "a cache of values in q8_0 needs flash attention, which is off: set",
        ),
        (["--batch", "8", "--parallel", "9"], {}, 3, "a --batch of 8 has no room"),
        ([], {"AKASH_LLM_PORT": "x"}, 3, "AKASH_LLM_PORT"),
        ([], {"AKASH_LLM_KEYS": "me"}, 3, "AKASH_LLM_KEYS: entry 1"),
        (["--management", "no"], {}, 2, "--management: expected one of on, off"),
        (["--usage-days", "0"], {}, 2, "--usage-days"),
        ([], {"AKASH_LLM_KEY_LIMITS": '{"me": {}}'}, 3, "no key is called 'me'"),
        (
            [],
            {"AKASH_LLM_KEYS": KEYS, "AKASH_LLM_KEY_LIMITS": '{"me": {"limit": {}}}'},
            3,
            "AKASH_LLM_KEY_LIMITS: Object contains unknown field `limit`",
        ),
    ],
)
def test_what_makes_no_sense(
    argv: list[str], environ: dict[str, str], code: int, text: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(argv, environ)
    assert caught.value.exit_code == code
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_keys_and_their_limits() -> None:
    terms = '{"me": {"models": ["a*"], "limits": {"parallel": 2}}}'
    environ = {"AKASH_LLM_KEYS": KEYS, "AKASH_LLM_KEY_LIMITS": terms}
    settings = load(["--host", "0.0.0.0"], environ)
    assert not settings.is_loopback
    (grant,) = settings.keys
    assert (grant.key.name, grant.key.sha256) == ("me", digest("secret"))
    assert (grant.terms.models, grant.terms.limits.parallel) == (("a*",), 2)
    assert settings.url == "http://127.0.0.1:11434"


def test_a_key_put_where_its_digest_belongs_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        load([], {"AKASH_LLM_KEYS": "me:inference:ak-canary-key"})
    assert "canary" not in str(caught.value)
