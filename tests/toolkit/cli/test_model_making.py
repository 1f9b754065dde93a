"""`akash-llm models pull`, `create` and what keeps the store in order."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.ollama_store import blob_names
from tests.support.rough_proxy import Answer, Request, RoughProxy
from tests.support.serving import ROOT
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_split import write_tiny_split
from toolkit.cli import run

Output = pytest.CaptureFixture[str]


def models(*arguments: object) -> int:
    return run(["models", *map(str, arguments)])


def lines(capsys: Output) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def name(registry: ImageRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in a registry that may be used."""
    monkeypatch.setenv("AKASH_LLM_REGISTRIES", registry.url)
    weights = write_model(tmp_path / "w.gguf").read_bytes()
    registry.push("library/cli:1b", [("model", weights), ("system", b"From afar.")])
    return f"{registry.host}/library/cli:1b"


def test_pull_says_what_it_does(name: str, akash_home: Path, capsys: Output) -> None:
    assert models("pull", name) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "pulling manifest",
        "verifying sha256 digest",
        "writing manifest",
        f"{name} is in {akash_home / 'models'}",
    ]


def test_pull_as_json(name: str, capsys: Output) -> None:
    assert models("pull", name, "--as", "mine", "--json") == 0
    *steps, pulled = lines(capsys)
    assert steps[0] == {"status": "pulling manifest"}
    assert steps[-1] == {"status": "success"}
    assert any("total" in step and step.get("completed") == step["total"] for step in steps)
    assert (pulled["name"], pulled["problem"]) == ("mine:latest", None)


def test_pull_of_what_is_not_there(name: str, capsys: Output) -> None:
    assert models("pull", f"{name}x") == 2
    assert "pull model manifest: file does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_pull_that_is_interrupted_goes_on_later(
    registry: ImageRegistry, akash_home: Path, tmp_path: Path, number: signal.Signals
) -> None:
    weights = write_model(tmp_path / "w.gguf").read_bytes()
    registry.push("library/slow:x", [("model", weights)])
    proxy, gate = RoughProxy(registry.url), asyncio.Event()

    def script(request: Request, answer: Answer) -> Answer:
        return answer._replace(hold=gate) if request.is_blob else answer

    proxy.script = script
    async with proxy.serve():
        command = [sys.executable, "-m", "toolkit", "models", "pull"]
        asked = [*command, f"{proxy.host}/library/slow:x", "--registries", proxy.url]
        process = await asyncio.create_subprocess_exec(
            *asked, cwd=ROOT, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        while not proxy.blobs:
            proxy.asked.clear()
            await proxy.asked.wait()
        process.send_signal(number)
        _, error = await process.communicate()
        assert (process.returncode, error.strip()) == (130, b"interrupted")
        partial = next((akash_home / "models" / "blobs").glob("*-partial"))
        assert partial.stat().st_size == len(weights)
        gate.set()
        again = await asyncio.create_subprocess_exec(*asked, cwd=ROOT)
        assert await again.wait() == 0
    assert models("verify", f"{proxy.host}/library/slow:x") == 0


def test_create_of_another_model(name: str, tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "Modelfile"
    file.write_text(
        f'FROM {name}\nPARAMETER stop <a>\nPARAMETER mirostat 1\nSYSTEM "Be here."\n'
        "TEMPLATE {% for m in messages %}{{ m.content }}{% endfor %}\n"
    )
    assert models("create", "mine", "-f", file) == 0
    out = capsys.readouterr().out
    assert "pulling manifest" in out and "parameter mirostat is deprecated" in out
    assert models("show", "mine", "--json") == 0
    (shown,) = lines(capsys)
    assert (shown["system"], shown["parameters"]) == ("Be here.", {"stop": ["<a>"]})


def test_create_of_files_beside_the_modelfile(tmp_path: Path, capsys: Output) -> None:
    parts = write_tiny_split(tmp_path)
    file = tmp_path / "Modelfile"
    file.write_text(f"FROM ./{parts[0].name}\n")
    assert models("create", "split", "--file", file, "--json") == 0
    assert lines(capsys)[-1]["problem"] is None
    parts[1].unlink()
    assert models("create", "other", "--file", file) == 3
    assert "cannot be read" in capsys.readouterr().err


def test_create_in_another_type(tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "Modelfile"
    file.write_text(f"FROM {write_tiny_llama(tmp_path / 'w.gguf')}\n")
    assert models("create", "small", "--file", file, "--quantize", "q8_0", "--json") == 0
    details = lines(capsys)[-1]["details"]
    assert isinstance(details, dict) and details["quantization_level"] == "Q8_0"


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("SYSTEM x", 2, "no FROM line"),
        ("FROM a\nFROM b", 2, "FROM names one model"),
        ("FROM ./none.gguf", 3, "none.gguf cannot be read"),
        ("FROM ./Modelfile", 2, "is not a GGUF file"),
        ("FROM ./w.gguf\nPARAMETER x 1", 2, "unknown parameter 'x'"),
        ("FROM ./w.gguf\nTEMPLATE {{ .Prompt }}", 2, "Go's language"),
    ],
)
def test_modelfile_that_makes_no_model(
    tmp_path: Path, capsys: Output, text: str, code: int, why: str
) -> None:
    write_model(tmp_path / "w.gguf")
    file = tmp_path / "Modelfile"
    file.write_text(text)
    assert models("create", "m", "--file", file) == code
    assert why in capsys.readouterr().err


def test_copy_verify_and_collect(akash_home: Path, tmp_path: Path, capsys: Output) -> None:
    assert models("add", "a", write_model(tmp_path / "m.gguf")) == 0
    assert models("cp", "a", "b") == 0
    capsys.readouterr()
    assert models("verify", "b", "--json") == 0
    assert {line["state"] for line in lines(capsys)} == {"good"}
    blobs = akash_home / "models" / "blobs"
    unused = blobs / f"sha256-{'0' * 64}"
    unused.write_bytes(b"1234")
    os.utime(unused, (0, time.time() - 2 * 86400))
    assert models("gc", "--json") == 0
    assert lines(capsys) == [{"num_files": 1, "num_bytes": 4, "is_busy": False}]
    assert models("gc") == 0
    assert capsys.readouterr().out == "removed 0 files, 0 MB\n"
    for name in blob_names(akash_home / "models"):
        (blobs / name).write_bytes(b"x")
    assert models("verify", "a") == 3
    captured = capsys.readouterr()
    assert "damaged  sha256:" in captured.out
    assert "2 of 2 files of a are missing or damaged" in captured.err
