"""The same endpoint measured by us and by `vllm bench serve`: the figures agree within 5 %.

It needs vLLM's own environment and its form of the embedded model, which `make engines`
makes. Both measure our server over the fake engine, in turns; a busy machine may delay one
of them, so what is off is measured again.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.models.name import ModelName
from server.models.store import Store
from tests.goals import Measure
from tests.performance import peers
from tests.support import vllm_server
from tests.support.ports import free_port
from tests.support.serving import Serving, write_gguf
from tests.toolkit.bench.conftest import skip_if_busy
from toolkit.bench import BenchConfig, Workload, run
from toolkit.bench.theirs import vllm
from toolkit.client import Endpoint

WITHIN, TRIES = 0.05, 3
MODEL = "fake:1b"
STEP_S, TOKENS, STREAMS, REQUESTS = 0.1, 8, 4, 24
# Not the mean of first tokens: it is as the streams happen to fall into step.
FIGURES = [f"median_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el")]
FIGURES += ["mean_itl_ms", "mean_e2el_ms", "request_throughput", "output_throughput"]

pytestmark = pytest.mark.skipif(bool(vllm_server.missing()), reason=vllm_server.missing() or "-")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Our server, with an engine whose steps take known times."""
    folder = tmp_path_factory.mktemp("serving")
    Store(folder / "models").add_file(ModelName.parse(MODEL), write_gguf(folder / "m.gguf"))
    args = ["--models", str(folder / "models"), "--preload", MODEL, "--parallel", str(STREAMS)]
    with Serving(folder, free_port(), args=[*args, "--context", "2000"], step_s=STEP_S) as server:
        yield server


async def ours(url: str) -> dict[str, Any]:
    """What we find, under vLLM's names."""
    work = Workload(prompt_words=20, output_tokens=TOKENS)
    config = BenchConfig(
        concurrency=(STREAMS,), requests=REQUESTS, workload=work, warmup=2, api="openai"
    )
    async with Endpoint.open(url=url, model=MODEL) as endpoint:
        names, row = vllm(await run(config, endpoint))
    return dict(zip(names, row, strict=True))


async def theirs(url: str, folder: Path) -> dict[str, Any]:
    """What `vllm bench serve` finds."""
    program = peers.python_of(peers.VLLM).with_name("vllm")
    tokenizer = peers.hugging_face(peers.embedded_weights())
    argv = [str(program), "bench", "serve", "--backend=openai-chat", f"--base-url={url}"]
    argv += ["--endpoint=/v1/chat/completions", f"--model={MODEL}", f"--tokenizer={tokenizer}"]
    argv += ["--dataset-name=random", "--random-input-len=30", f"--random-output-len={TOKENS}"]
    argv += [f"--num-prompts={REQUESTS}", f"--max-concurrency={STREAMS}", "--ignore-eos"]
    argv += ["--percentile-metrics=ttft,tpot,itl,e2el", "--disable-tqdm", "--num-warmups=2"]
    argv += ["--save-result", f"--result-dir={folder}", "--result-filename=vllm.json"]
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-3000:]
    found: dict[str, Any] = json.loads((folder / "vllm.json").read_text())
    assert found["completed"] == REQUESTS, said.decode()[-3000:]
    return found


@pytest.mark.goal(7)
@pytest.mark.alone
async def test_both_find_the_same(serving: Serving, tmp_path: Path, measured: Measure) -> None:
    for _ in range(TRIES):
        here, there = await ours(serving.url), await theirs(serving.url, tmp_path)
        off = {name: here[name] / there[name] - 1 for name in FIGURES}
        if max(map(abs, off.values())) <= WITHIN:
            break
    for name, share in off.items():
        what = f"{name} {here[name]:.2f}, vllm bench serve {there[name]:.2f}, apart by"
        measured(7, what, 100 * abs(share), "%", 100 * WITHIN)
    if max(map(abs, off.values())) > WITHIN:
        skip_if_busy()
    assert max(map(abs, off.values())) <= WITHIN
