"""`python -m server`: how it starts, what it says, and how it refuses."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from server.models.store import Store
from tests.support.serving import ROOT, Serving, write_gguf


def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The server until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "server", *args],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "Traceback" not in line
    return line


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one model."""
    store = Store(tmp_path / "models")
    store.add_file("m", write_gguf(tmp_path / "m.gguf"))
    return store


def test_a_port_in_use(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port), "--models", str(store.root))
    assert done.returncode == 3
    assert str(port) in one_line(done) and "--port" in done.stderr


def test_an_address_that_is_not_ours(store: Store) -> None:
    env = {"AKASH_LLM_KEYS": "a:admin:" + "0" * 64}
    done = run("--host", "192.0.2.1", "--models", str(store.root), env=env)
    assert done.returncode == 3 and "192.0.2.1" in one_line(done)


def test_beyond_loopback_without_a_key() -> None:
    done = run("--host", "0.0.0.0")
    assert done.returncode == 3 and "key" in one_line(done)


def test_broken_keys() -> None:
    done = run(env={"AKASH_LLM_KEYS": "a:admin:ak-canary"})
    assert done.returncode == 3
    assert "AKASH_LLM_KEYS" in one_line(done) and "canary" not in done.stderr


def test_an_unknown_flag_and_an_unknown_model(store: Store, free_port: Callable[[], int]) -> None:
    assert run("--nope").returncode == 2
    args = ("--port", str(free_port()), "--models", str(store.root))
    done = run(*args, "--preload", "nope")
    assert done.returncode == 3 and "nope" in one_line(done)
    assert run(*args, "--preload", "a b").returncode == 3


def test_a_preload_that_is_cut_short(store: Store, free_port: Callable[[], int]) -> None:
    weights, _ = store.get("m").check()
    weights.write_bytes(weights.read_bytes()[:-40])
    done = run("--port", str(free_port()), "--models", str(store.root), "--preload", "m")
    assert done.returncode == 3 and "m:latest" in one_line(done)


def test_a_store_that_is_a_file_is_refused(tmp_path: Path, free_port: Callable[[], int]) -> None:
    file = tmp_path / "models"
    file.touch()
    done = run("--port", str(free_port()), "--models", str(file))
    assert done.returncode == 3
    assert "must be a folder" in done.stderr


def test_help_lists_flags_and_variables() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--preload" in done.stdout and "AKASH_LLM_PRELOAD" in done.stdout


def test_it_says_where_it_is_once_it_is_ready(
    tmp_path: Path, store: Store, free_port: Callable[[], int]
) -> None:
    args = ["--models", str(store.root), "--preload", "m"]
    with Serving(tmp_path, free_port(), args=args) as server, server.client() as client:
        assert client.get("/health/live").json() == {"status": "live"}
        assert client.get("/health/ready").json() == {"status": "ready", "models": {"m": "ready"}}
        (model,) = client.get("/api/ps").json()["models"]
        assert model["expires_at"] > "2300"
        server.process.terminate()
        assert server.process.wait(20) in (0, -15)
    assert server.out.read_text() == f"akash-llm server is ready at {server.url}\n"
    for line in server.log.read_text().splitlines():
        json.loads(line)


def test_readiness_and_log_tell_how_far_a_load_is(
    tmp_path: Path, store: Store, free_port: Callable[[], int]
) -> None:
    args = ["--models", str(store.root), "--preload", "m"]
    with Serving(tmp_path, free_port(), args=args, load_s=3) as server:
        assert server.seen[-1] == {"status": "ready", "models": {"m": "ready"}}
    loading = [seen for seen in server.seen if seen["models"]["m"] == "loading"]
    percents = [seen["percent"]["m"] for seen in loading]
    assert percents == sorted(percents) and any(0 < percent < 100 for percent in percents)
    told = [json.loads(line)["message"] for line in server.log.read_text().splitlines()]
    parts = [message.rpartition(" ")[2] for message in told if "is loaded to" in message]
    assert len(parts) == 3 and parts == sorted(parts)


def test_two_models_where_one_fits(
    tmp_path: Path, store: Store, free_port: Callable[[], int]
) -> None:
    store.add_file("n", write_gguf(tmp_path / "n.gguf", fields={"general.name": "n"}))
    args = ["--models", str(store.root), "--max-loaded", "1"]
    with Serving(tmp_path, free_port(), args=args) as server, server.client() as client:
        for name in ("m", "n", "m"):
            body = {"model": name, "prompt": f"⟦{name}⟧", "raw": True, "stream": False}
            assert client.post("/api/generate", json=body).json()["response"] == name
            (model,) = client.get("/api/ps").json()["models"]
            assert model["name"] == f"{name}:latest" and model["size"] > 0


def test_a_model_that_does_not_fit_the_memory(
    tmp_path: Path, store: Store, free_port: Callable[[], int]
) -> None:
    args = ["--models", str(store.root), "--memory", "1MiB"]
    with Serving(tmp_path, free_port(), args=args) as server, server.client() as client:
        refused = client.post("/api/generate", json={"model": "m", "prompt": "x"})
        assert refused.status_code == 500
        assert re.fullmatch(
            r"the model needs about [\d.]+ MiB of memory, the budget is 1 MiB: "
            "lower --context or --parallel, or raise --memory",
            refused.json()["error"],
        )


def test_a_preload_that_fails_keeps_the_server_up_and_red(
    tmp_path: Path, store: Store, free_port: Callable[[], int]
) -> None:
    """The file passes for a model, but the real engine cannot load it."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "--port", str(port), "--preload", "m"],
        env={**os.environ, "AKASH_LLM_MODELS": str(store.root)},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        failed = next(line for line in process.stderr if "preloading m failed" in line)
        assert json.loads(failed)["level"] == "error"
        ready = httpx2.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False)
        assert ready.status_code == 503
        assert ready.json()["models"] == {"m": "failed"} and ready.json()["reason"]
        assert httpx2.get(f"http://127.0.0.1:{port}/health/live", trust_env=False).is_success
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_an_empty_store_without_a_network_is_a_warning(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    env = {
        "AKASH_LLM_MODELS": str(tmp_path / "none"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
    }
    with Serving(tmp_path, free_port(), env=env) as server, server.client() as client:
        assert client.get("/api/tags").json() == {"models": []}
    levels = {
        line["logger"]: line["level"]
        for line in map(json.loads, server.log.read_text().splitlines())
    }
    assert levels["akash_llm.preload"] == "warning"


def test_the_command_line_passes_everything_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "serve", "--host", "0.0.0.0", "--port", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3 and "key" in one_line(done)
