"""Weights in another type: made once by a real child process, kept, and loaded by a runner."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.engine.budget import Budget
from server.engine.config import EngineConfig, WeightType
from server.engine.requantizer import Requantizer
from server.engine.supervisor import State, Supervisor
from server.engine.types import Piece, Request, Sampling, Segment
from server.errors import LoadFailed, ModelUnusable, ServerError, StorageFull
from server.models.gguf import read_header
from server.models.model_files import Adapter, ModelFiles
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.serving import write_gguf
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora

CHILD = "server.engine.quantize"
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "requantized"


@pytest.fixture
def tiny(tmp_path: Path) -> ModelFiles:
    return ModelFiles(write_tiny_llama(tmp_path / "tiny.gguf"))


@pytest.fixture
def embedded(embedded_store: Path) -> ModelFiles:
    return Store(embedded_store).get("smollm2:135m").files()


async def say(supervisor: Supervisor, files: ModelFiles, prompt: str) -> str:
    async with supervisor.use(files) as lease:
        tokens = await lease.model.tokenize([Segment(prompt)], add_bos=True)
        request = Request(tokens=tokens, sampling=Sampling(temperature=0), max_tokens=16)
        async with aclosing(lease.model.generate(request)) as events:
            return "".join([event.text async for event in events if isinstance(event, Piece)])


def requantized(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of the lines that say that weights were rewritten."""
    return [r.__dict__["fields"] for r in caplog.records if r.message == "weights requantized"]


def names(folder: Path) -> list[str]:
    """The suffixes of what lies in the folder, without its lock."""
    return sorted(path.suffix for path in folder.iterdir() if path.name != "lock")


@pytest.mark.parametrize(("kind", "level"), [("q8_0", "Q8_0"), ("q4_0", "Q4_0")])
async def test_the_embedded_model_answers_in_another_type(
    embedded: ModelFiles,
    folder: Path,
    kind: WeightType,
    level: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    supervisor = Supervisor(EngineConfig(context=256), requantizer=Requantizer(folder, kind))
    try:
        assert "Paris" in await say(supervisor, embedded, QUESTION)
        assert supervisor.loaded()[0].key == embedded
    finally:
        await supervisor.close()
    [fields] = requantized(caplog)
    before = read_header(embedded.weights)
    assert (fields["type"], fields["bytes"]) == ("Q4_1", before.file_size)
    assert fields["new_type"] == level and fields["seconds"] > 0
    [made] = folder.glob("*.gguf")
    after = read_header(made, whole=True)
    assert (after.quantization_level, after.file_size) == (level, fields["new_bytes"])
    # What chooses the token stays in 8 bits, whichever type was asked for.
    types = {tensor.name: tensor.type_name for tensor in after.tensors}
    assert types["token_embd.weight"] == "Q8_0" and types["blk.0.ffn_up.weight"] == level


async def test_it_is_done_once(
    tiny: ModelFiles, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = await Requantizer(folder, "q8_0").prepare(tiny)
    status = first.weights.stat()
    again = await Requantizer(folder, "q8_0").prepare(tiny)
    assert again == first and again.weights.stat() == status
    other = await Requantizer(folder, "q4_0").prepare(tiny)
    assert other.weights != first.weights
    assert len(requantized(caplog)) == 2
    assert names(folder) == [".gguf", ".gguf", ".json", ".json"]


async def test_two_at_once_make_it_once(
    tiny: ModelFiles, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = await asyncio.gather(*(Requantizer(folder, "q8_0").prepare(tiny) for _ in range(3)))
    assert made[0] == made[1] == made[2]
    assert len(requantized(caplog)) == 1


async def test_other_weights_under_the_same_path_are_others(tiny: ModelFiles, folder: Path) -> None:
    requantizer = Requantizer(folder, "q8_0")
    first = await requantizer.prepare(tiny)
    write_tiny_llama(tiny.weights, seed=7)
    assert (await requantizer.prepare(tiny)).weights != first.weights


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def scratch(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-2000, os.SEEK_END)
        file.write(b"scratched")


def unmark(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


@pytest.mark.parametrize("damage", [cut, scratch, unmark, Path.unlink])
async def test_a_file_that_was_damaged_is_made_again(
    tiny: ModelFiles, folder: Path, damage: Any
) -> None:
    requantizer = Requantizer(folder, "q8_0")
    made = await requantizer.prepare(tiny)
    data = made.weights.read_bytes()
    damage(made.weights)
    assert await requantizer.prepare(tiny) == made
    assert made.weights.read_bytes() == data


async def test_weights_that_are_it_already_are_left_alone(
    tiny: ModelFiles, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = await Requantizer(folder, "q8_0").prepare(tiny)
    elsewhere = Requantizer(tmp_path / "elsewhere", "q8_0")
    assert elsewhere.type_for(read_header(tiny.weights)) == "Q8_0"
    assert elsewhere.type_for(read_header(made.weights)) == ""
    assert await elsewhere.prepare(made) == made
    assert not (tmp_path / "elsewhere").exists()
    assert "the weights are Q8_0 already" in caplog.messages


async def test_adapters_stay_on(tiny: ModelFiles, folder: Path, tmp_path: Path) -> None:
    lora = Adapter(write_tiny_lora(tmp_path / "lora.gguf"))
    supervisor = Supervisor(EngineConfig(context=256), requantizer=Requantizer(folder, "q8_0"))
    try:
        plain = await say(supervisor, tiny, "Once")
        assert await say(supervisor, ModelFiles(tiny.weights, (lora,)), "Once") != plain
    finally:
        await supervisor.close()


async def test_left_overs_and_older_versions_go(tiny: ModelFiles, folder: Path) -> None:
    made = await Requantizer(folder, "q8_0").prepare(tiny)
    old = made.weights.name.replace("-python-", "-python-0.0.")
    made.weights.rename(folder / old)
    (folder / "killed.part").write_bytes(b"half")
    (folder / "0-q8_0-llama-cpp-python-1.gguf").write_bytes(b"of another model")
    await Requantizer(folder, "q8_0").prepare(tiny)
    assert not (folder / old).exists() and not (folder / "killed.part").exists()
    assert (folder / "0-q8_0-llama-cpp-python-1.gguf").exists()


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
async def test_rows_that_are_no_whole_blocks(
    tmp_path: Path, folder: Path, kind: WeightType
) -> None:
    files = ModelFiles(write_gguf(tmp_path / "narrow.gguf"))
    with pytest.raises(LoadFailed, match=f"to {kind}: their rows of 8 numbers") as caught:
        await Requantizer(folder, kind).prepare(files)
    assert "--requantize" in caught.value.hint


async def test_what_llama_cpp_cannot_rewrite(tmp_path: Path, folder: Path) -> None:
    files = ModelFiles(write_model(tmp_path / "odd.gguf", architecture="nonsense"))
    with pytest.raises(LoadFailed, match="unknown model architecture: 'nonsense'"):
        await Requantizer(folder, "q8_0").prepare(files)
    assert names(folder) == []


async def test_what_cannot_be_rewritten_is_a_failed_load(tmp_path: Path, folder: Path) -> None:
    weights = write_model(tmp_path / "odd.gguf", architecture="nonsense")
    supervisor = Supervisor(EngineConfig(), requantizer=Requantizer(folder, "q8_0"))
    try:
        with pytest.raises(LoadFailed, match="unknown model architecture: 'nonsense'"):
            await say(supervisor, ModelFiles(weights), "x")
        assert supervisor.state(weights) is State.FAILED
        assert "nonsense" in supervisor.problem(weights)
        [counts] = supervisor.counts()
        assert (counts.num_failed_loads, counts.num_loads) == (1, 0)
    finally:
        await supervisor.close()


async def test_what_does_not_fit_is_not_rewritten(tiny: ModelFiles, folder: Path) -> None:
    requantizer = Requantizer(folder, "q8_0")
    budget = Budget(memory_bytes=1 << 20)
    supervisor = Supervisor(EngineConfig(), requantizer=requantizer, budget=budget)
    try:
        with pytest.raises(LoadFailed, match="the budget is 1 MiB"):
            await say(supervisor, tiny, "x")
        assert not folder.exists()
    finally:
        await supervisor.close()


async def test_what_is_no_model(tmp_path: Path, folder: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"junk")
    with pytest.raises(ModelUnusable, match="not a GGUF file"):
        await Requantizer(folder, "q8_0").prepare(ModelFiles(junk))
    assert not folder.exists()


async def test_a_full_disk_is_noticed_before_anything_is_written(
    tiny: ModelFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageFull, match="no space left"):
        await Requantizer(folder, "q8_0").prepare(tiny)
    assert names(folder) == []


async def test_a_folder_that_cannot_be_made(tiny: ModelFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match="cannot be changed"):
        await Requantizer(tmp_path / "file" / "in", "q8_0").prepare(tiny)


async def child() -> psutil.Process:
    """The process that rewrites, held where it is."""
    async with asyncio.timeout(20):
        while True:
            for process in psutil.Process().children():
                with suppress(psutil.ZombieProcess):  # of a test before this one
                    if CHILD in process.cmdline():
                        process.suspend()
                        return process
            await asyncio.sleep(0)


async def test_cancelling_ends_the_work_and_leaves_nothing(
    embedded: ModelFiles, folder: Path
) -> None:
    supervisor = Supervisor(EngineConfig(), requantizer=Requantizer(folder, "q8_0"))
    loading = asyncio.create_task(say(supervisor, embedded, QUESTION))
    process = await child()
    (part,) = {Path(word) for word in process.cmdline() if word.endswith(".part")}
    part.write_bytes(b"half")
    await supervisor.close()
    with pytest.raises(ServerError, match="shutting down"):
        await loading
    assert not process.is_running()
    assert names(folder) == []


async def test_a_child_that_dies_is_an_error_and_not_the_end(
    embedded: ModelFiles, folder: Path
) -> None:
    requantizer = Requantizer(folder, "q8_0")
    making = asyncio.create_task(requantizer.prepare(embedded))
    (await child()).kill()
    with pytest.raises(LoadFailed, match="ended unexpectedly"):
        await making
    assert names(folder) == []
    assert (await requantizer.prepare(embedded)).weights.exists()


def test_a_child_does_not_outlive_its_server(embedded: ModelFiles, tmp_path: Path) -> None:
    target = tmp_path / "new.part"
    target.write_bytes(b"half")
    with subprocess.Popen(
        [sys.executable, "-m", CHILD, str(embedded.weights), str(target), "q8_0", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.send_signal(signal.SIGSTOP)
        assert process.stdin is not None
        process.stdin.close()
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 1
    assert not target.exists()
