"""Settings: flag before variable before default, and what makes no sense is refused."""

import math
from pathlib import Path

import pytest

from server.keys import digest
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
        "parallel": ("1", "2"),
        "context": ("8", "16"),
        "engine": ("llama-cpp", "llama-cpp"),
        "threads": ("1", "2"),
        "keep_alive": ("1m", "forever"),
        "memory": ("8GiB", "512 MB"),
        "max_loaded": ("1", "2"),
        "max_queue": ("1", "2"),
        "max_body_bytes": ("1024", "2048"),
        "origins": ("https://a", "https://b,https://c"),
    }
    assert set(values) == {setting.name for setting in SETTINGS}
    environ = {setting.variable: values[setting.name][0] for setting in SETTINGS}
    argv = [part for s in SETTINGS for part in (s.flag, values[s.name][1])]
    assert set(environ) < set(ENVIRONMENT)
    one, other = load([], environ), load(argv, environ)
    assert (one.host, one.port, one.models, one.preload) == ("::1", 1, Path("/a"), ("a", "b"))
    assert (one.url, one.keep_alive, one.preload_keep_alive) == ("http://[::1]:1", 60.0, 60.0)
    assert (other.host, other.port, other.preload) == ("localhost", 2, ("c",))
    assert (one.memory, other.memory, one.max_loaded) == (8 << 30, 512_000_000, 1)
    assert other.keep_alive == math.inf and other.origins == ("https://b", "https://c")


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
        (["--engine", "vllm"], {}, 2, "--engine: expected one of llama-cpp"),
        (["--keep-alive", "5 parsecs"], {}, 2, "--keep-alive"),
        (["--memory", "lots"], {}, 2, "--memory: expected a size such as 8GiB, got 'lots'"),
        (["--max-loaded", "-1"], {}, 2, "--max-loaded"),
        (["--models", ""], {}, 2, "--models"),
        (["--host", "http://a"], {}, 2, "--host"),
        (["--nope"], {}, 2, "--nope"),
        (["--por", "1"], {}, 2, "--por"),
        ([], {"AKASH_LLM_PORT": "x"}, 3, "AKASH_LLM_PORT"),
        ([], {"AKASH_LLM_KEYS": "me"}, 3, "AKASH_LLM_KEYS: entry 1"),
        (["--host", "0.0.0.0"], {}, 3, "without a key"),
        (["--host", "::"], {}, 3, "without a key"),
        (["--host", "example.org"], {}, 3, "without a key"),
    ],
)
def test_what_makes_no_sense(
    argv: list[str], environ: dict[str, str], code: int, text: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(argv, environ)
    assert caught.value.exit_code == code
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_beyond_loopback_with_a_key() -> None:
    settings = load(["--host", "0.0.0.0"], {"AKASH_LLM_KEYS": KEYS})
    assert not settings.is_loopback and settings.keys.find("secret")
    assert settings.url == "http://127.0.0.1:11434"


def test_a_key_put_where_its_digest_belongs_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        load([], {"AKASH_LLM_KEYS": "me:inference:ak-canary-key"})
    assert "canary" not in str(caught.value)
