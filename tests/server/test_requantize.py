"""`python -m server --requantize`: what it says of it, and that it is done once."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.serving import ROOT, Serving


def logged(server: Serving) -> list[dict[str, Any]]:
    """The lines about weights in another type."""
    lines = map(json.loads, server.log.read_text().splitlines())
    return [line for line in lines if line["logger"] == "akash_llm.requantize"]


def test_a_server_that_requantizes_says_so_and_does_it_once(
    stocked_home: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    args = ("--preload", "smollm2:135m", "--requantize", "q8_0", "--context", "512")
    with Serving(tmp_path, free_port(), args=args, fake=False) as server, server.client() as client:
        asked = {
            "model": "smollm2:135m",
            # Without the system text that its template adds, which confuses so small a model.
            "prompt": "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
            "<|im_start|>assistant\n",
            "raw": True,
            "stream": False,
            "options": {"temperature": 0, "num_predict": 40},
        }
        assert "Paris" in client.post("/api/generate", json=asked).json()["response"]
        shown = client.post("/api/show", json={"model": "smollm2:135m"}).json()
        assert shown["requantized"] == "Q8_0"
        assert shown["details"]["quantization_level"] == "Q4_1"
        [running] = client.get("/api/ps").json()["models"]
        assert running["requantized"] == "Q8_0"
    [_, made] = logged(server)
    assert (made["message"], made["type"], made["new_type"]) == (
        "weights requantized",
        "Q4_1",
        "Q8_0",
    )
    [file] = (stocked_home / "models").rglob("*.gguf")
    status = file.stat()
    with Serving(tmp_path, free_port(), args=args, fake=False) as server:
        pass
    assert logged(server) == []
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def test_a_server_that_does_not_says_nothing(
    stocked_home: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    with Serving(tmp_path, free_port()) as server, server.client() as client:
        shown = client.post("/api/show", json={"model": "smollm2:135m"}).json()
    assert "requantized" not in shown


def held_child(server: psutil.Process) -> psutil.Process:
    """The process that rewrites weights for a server, held where it is."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in server.children():
            if "server.engine.quantize" in process.cmdline():
                process.suspend()
                return process
        time.sleep(0.01)
    raise AssertionError("no weights are rewritten")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_is_ended_meanwhile_leaves_nothing(
    stocked_home: Path, free_port: Callable[[], int], number: signal.Signals
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "server", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--preload", "smollm2:135m", "--requantize", "q8_0"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        child = held_child(psutil.Process(server.pid))
        (part,) = {Path(word) for word in child.cmdline() if word.endswith(".part")}
        part.write_bytes(b"half")
        # It listens from the beginning, and answers once it also knows how to be ended.
        live = f"http://127.0.0.1:{port}/health/live"
        assert httpx2.get(live, trust_env=False, timeout=30).is_success
        server.send_signal(number)
        server.wait(30)
    if number is signal.SIGKILL:
        child.resume()  # nobody was left to end it, so it does that itself
        psutil.wait_procs([child], timeout=30)
    assert not child.is_running()
    assert list((stocked_home / "models").rglob("*.part")) == []
    assert list((stocked_home / "models").rglob("*.gguf")) == []
